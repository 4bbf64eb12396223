"""What a live evaluation needs of a real cluster, and how the one of Kubernetes is opened."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from podgym.envs.kubernetes.settings import KubernetesSettings
from podgym.envs.protocols import Planner, RateForecaster
from podgym.errors import InputError
from podgym.eval.environment import Environment

if TYPE_CHECKING:
    from podgym.envs.kubernetes.cluster import StepLog


class LiveEnvironment(Environment, Protocol):
    """An environment on a real cluster: a step takes as long as it takes."""

    @property
    def problems(self) -> tuple[str, ...]:
        """What went wrong in the last step, in words; empty: nothing did."""

    @property
    def ended_because(self) -> str | None:
        """Why the episode ended before its time; None: it did not."""

    @property
    def log(self) -> "StepLog":
        """How the last step went, and what became of its decisions."""

    def close(self) -> None:
        """Restore what was found at the start, if the settings say so; a second call does nothing."""


class OpenEnvironment(Protocol):
    """Opens the environment of one episode."""

    def __call__(
        self,
        settings: KubernetesSettings,
        *,
        planner: Planner | None,
        forecaster: RateForecaster | None,
        changes: Mapping[str, Any],
    ) -> LiveEnvironment:
        """Return an environment of which nothing was changed yet.

        Args:
            settings: the cluster.
            planner: makes the plans; None: there are none.
            forecaster: behind the forecasts; None: the observation's own.
            changes: fields of ``EnvConfig``, over those of the settings.
        """


def open_kubernetes(
    settings: KubernetesSettings,
    *,
    planner: Planner | None,
    forecaster: RateForecaster | None,
    changes: Mapping[str, Any],
) -> LiveEnvironment:
    """Return the environment on a Kubernetes cluster; see ``OpenEnvironment``.

    Raises:
        InputError: the libraries are not installed, or the cluster is not as the settings say.
    """
    try:
        from podgym.envs.kubernetes.env import KubernetesEnv
    except ImportError as error:
        raise InputError(
            f"a real cluster needs a library that is not installed ({error.name}); pip install 'podgym[k8s]'."
        ) from error
    env: LiveEnvironment = KubernetesEnv(settings, planner=planner, forecaster=forecaster, **changes)
    return env
