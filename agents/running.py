"""The environment that a policy needs: its actions and observation, its planner and its forecaster."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from podgym.agents.actor import Actor
from podgym.agents.description import PlannerSpec, PolicyDescription
from podgym.agents.policy_file import load_policy
from podgym.baselines import CONTROLLERS, PlanningController, make_controller
from podgym.envs.config import EnvConfig, override
from podgym.envs.env import AutoscaleEnv
from podgym.envs.make import scenario_config
from podgym.envs.protocols import Planner, RateForecaster
from podgym.envs.registration import ENVIRONMENT_IDS
from podgym.envs.vector_env import AutoscaleVectorEnv
from podgym.errors import InputError, unknown_name
from podgym.files import missing_with_hint
from podgym.forecasters.choice import NAIVE, forecaster_file, forecaster_sha256, open_forecaster

_INTERFACE = ("action", "observation")  # fields of EnvConfig that a policy brings along


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a policy is run in: arguments of an environment."""

    config: EnvConfig
    """The configuration."""
    planner: Planner | None
    """Makes the plan in the observation; None: the environment's own, which changes nothing."""
    forecaster: RateForecaster | None
    """Behind the forecast in the observation; None: the configuration says what that is."""


def load_actor(path: str | Path) -> Actor:
    """Read a policy, or what ``podgym export`` made of one: the ending says which.

    Raises:
        InputError: see ``load_policy`` and ``load_onnx_policy``.
    """
    path = Path(path)
    if path.suffix != ".onnx":
        return load_policy(path)
    if not path.is_file():
        raise missing_with_hint(path, (".policy", ".onnx"))
    from podgym.agents.onnx_policy import load_onnx_policy

    return load_onnx_policy(path)


def surroundings(
    policy: Actor | PolicyDescription, *, config: EnvConfig | None = None, forecaster: str | None = None
) -> Surroundings:
    """Return what a policy needs around it.

    Args:
        policy: the policy, or its description alone.
        config: the problem: cluster, load, reward and length of an episode. The policy's own actions and
            observation are laid over it. None: the configuration that the policy was trained in.
        forecaster: ``shipped``, ``oracle``, ``naive`` or a file, in place of the policy's own.

    Raises:
        InputError: the policy does not fit the configuration, its planner or forecaster cannot be made, or
            the forecaster is another version of the one that the policy was trained with.
    """
    description = policy if isinstance(policy, PolicyDescription) else policy.description
    own = _own_config(description)
    problem = own if config is None else override(config, _interface_changes(description.changes))
    rates = _rates(description, forecaster, problem.workload, own.workload)
    planner = open_planner(description.planner, rates)
    shown = rates if _shows_forecasts(description, problem) else None
    if isinstance(policy, Actor):
        policy.check(problem)
    return Surroundings(problem, planner, shown)


@overload
def policy_environment(
    policy: Actor,
    *,
    config: EnvConfig | None = None,
    forecaster: str | None = None,
    num_envs: None = None,
    **options: Any,  # noqa: ANN401  (whatever the environment takes)
) -> AutoscaleEnv: ...
@overload
def policy_environment(
    policy: Actor,
    *,
    config: EnvConfig | None = None,
    forecaster: str | None = None,
    num_envs: int,
    **options: Any,  # noqa: ANN401
) -> AutoscaleVectorEnv: ...
def policy_environment(
    policy: Actor,
    *,
    config: EnvConfig | None = None,
    forecaster: str | None = None,
    num_envs: int | None = None,
    **options: Any,
) -> AutoscaleEnv | AutoscaleVectorEnv:
    """Make the environment that a policy needs.

    A forecaster that is a network needs torch, also when the policy does not: those that come with the
    package are. Exported with ``podgym forecast export``, and given here, it needs ONNX Runtime only.

    Args:
        policy: the policy.
        config: the problem, see ``surroundings``; part of the load, length of an episode and so on are its
            to say. None: what the policy was trained in.
        forecaster: ``shipped``, ``oracle``, ``naive`` or a file, in place of the policy's own.
        num_envs: how many environments to step together; None: a scalar environment.
        **options: further arguments of the environment, such as ``render_mode``.

    Raises:
        InputError: see ``surroundings``.
    """
    around = surroundings(policy, config=config, forecaster=forecaster)
    if num_envs is None:
        return AutoscaleEnv(around.config, planner=around.planner, forecaster=around.forecaster, **options)
    return AutoscaleVectorEnv(
        num_envs, around.config, planner=around.planner, forecaster=around.forecaster, **options
    )


def open_planner(spec: PlannerSpec | None, rates: RateForecaster | None) -> Planner | None:
    """Return the planner that a description names.

    Args:
        spec: who plans; None: nobody.
        rates: what is planned for; None: the last load.

    Raises:
        InputError: an unknown controller, one that makes no plans, or an option that it refuses.
    """
    if spec is None:
        return None
    controller = make_controller(spec.controller, **spec.options)
    if not isinstance(controller, PlanningController):
        planning = [name for name in CONTROLLERS if isinstance(make_controller(name), PlanningController)]
        raise InputError(
            f"controller {spec.controller!r} makes no plans; controllers that do: {', '.join(planning)}."
        )
    return controller.planner(rates)


def _own_config(description: PolicyDescription) -> EnvConfig:
    """Return the configuration that a policy was trained in."""
    if description.environment not in ENVIRONMENT_IDS:
        raise unknown_name("environment of the policy", description.environment, ENVIRONMENT_IDS)
    return override(scenario_config(ENVIRONMENT_IDS[description.environment]), description.changes)


def _interface_changes(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the changes of actions and observation alone, be they nested or dotted."""
    return {key: value for key, value in changes.items() if key.partition(".")[0] in _INTERFACE}


def _rates(
    description: PolicyDescription, forecaster: str | None, workload: str, own_workload: str
) -> RateForecaster | None:
    """Open the forecaster, and refuse another version of the policy's own."""
    file = forecaster_file(forecaster or description.forecaster or NAIVE, workload)
    expected = description.forecaster_sha256
    if forecaster is None and expected is not None and workload == own_workload:
        found = forecaster_sha256(file)
        if found != expected:
            raise InputError(
                f"the policy was trained with another version of the forecaster {description.forecaster!r} "
                f"(hash {expected[:12]}, here {(found or 'no file')[:12]}); restore that file, or name one "
                "to take in its place (forecaster=, or --forecaster)."
            )
    return None if file is None else open_forecaster(file)


def _shows_forecasts(description: PolicyDescription, config: EnvConfig) -> bool:
    """Whether the forecaster is behind the observation too, or behind the plan alone."""
    forecast = config.observation.forecast
    observation = description.changes.get("observation")
    nested = isinstance(observation, Mapping) and "forecast" in observation
    chosen = nested or "observation.forecast" in description.changes
    return forecast == "learned" or (forecast == NAIVE and not chosen)
