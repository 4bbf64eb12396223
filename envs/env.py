"""``AutoscaleEnv``: one cluster as a Gymnasium environment."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import gymnasium as gym
import numpy as np
from numpy.typing import ArrayLike, NDArray

from podgym.envs.cluster import ClusterObservation, ServiceDecision
from podgym.envs.config import EnvConfig
from podgym.envs.core import AutoscaleCore, configure
from podgym.envs.outlook import Outlook
from podgym.envs.protocols import Planner, RateForecaster
from podgym.envs.simulator.cluster import merge_decisions
from podgym.envs.simulator.constants import Provenance, provenance
from podgym.envs.simulator.parameters import ClusterConfig
from podgym.envs.simulator.pod_actions import act_on_pods
from podgym.envs.simulator.records import INTERVAL_COLUMNS
from podgym.envs.simulator.required import RequiredReplicas
from podgym.envs.simulator.world import visits_per_request
from podgym.envs.totals import INFO_KEYS
from podgym.envs.workloads.profile import LoadProfile, Workload
from podgym.errors import InputError, unknown_name

RENDER_MODES = ("ansi", "rgb_array")
REPORT_COLUMNS = (*INTERVAL_COLUMNS, "required_replicas")
"""Columns of the report of one control interval."""


class AutoscaleEnv(gym.Env[NDArray[np.float32], NDArray[Any]]):
    """Decide replicas and quotas of the services of a simulated Kubernetes cluster.

    A step is one control interval (15 s unless configured otherwise). The observation is what the
    monitoring pipeline shows, scaled to fixed bounds; its layout is ``observation_names``. The action
    depends on ``action.mode``, see ``ActionConfig``. The reward is a sum of named terms, see
    ``RewardConfig``; every raw term is in ``info``. Episodes end only by truncation at their time limit;
    the true problem is endless.

    Args:
        config: the configuration; ids registered by ``podgym`` bring their own.
        render_mode: ``ansi`` (a line of text) or ``rgb_array`` (a figure of the episode so far).
        workload: name of a workload or path of a trace; or a workload object.
        planner: makes the plans of an episode; default: what the services start with.
        forecaster: makes the forecasts of an episode for the observation; it changes the default of
            ``observation.forecast`` to "learned".
        **changes: fields of ``EnvConfig`` to change, as nested mappings, for example
            ``action={"mode": "absolute"}`` or ``cluster={"nodes": {"count": 8}}``.

    Raises:
        InputError: an unknown key (with the closest match), a bad value, or a forecaster together with
            another forecast than "learned".
    """

    metadata = {"render_modes": list(RENDER_MODES), "render_fps": 4}  # noqa: RUF012  (Gymnasium's contract)

    def __init__(
        self,
        config: EnvConfig | None = None,
        render_mode: str | None = None,
        *,
        workload: Workload | str | None = None,
        planner: Planner | None = None,
        forecaster: RateForecaster | None = None,
        **changes: Any,  # noqa: ANN401
    ) -> None:
        if render_mode is not None and render_mode not in RENDER_MODES:
            raise unknown_name("render mode", render_mode, RENDER_MODES)
        self.config, opened = configure(config, workload, changes, forecaster)
        self.render_mode = render_mode
        self._core = AutoscaleCore(self.config, 1, workload=opened, planner=planner, forecaster=forecaster)
        self.observation_space = cast(Any, self._core.layout.space)
        self.action_space = cast(Any, self._core.decoder.space)
        self._required = RequiredReplicas(self.config.cluster)
        self._outlook = Outlook(self._core.layout, self.config.cluster.services, planned=planner is not None)
        self._rendered: list[dict[str, float]] = []
        self._started = False

    @property
    def observation_names(self) -> tuple[str, ...]:
        """Name of each number of the observation, in order."""
        return self._core.layout.names

    @property
    def service_names(self) -> tuple[str, ...]:
        """Names of the services, in the order of every per-service array."""
        return tuple(service.name for service in self.config.cluster.services)

    @property
    def slo_response_time_s(self) -> NDArray[np.float64]:
        """SLO of each service, (num_services,)."""
        return self._core.layout.scales.slo_s

    @property
    def entry_share(self) -> NDArray[np.float64]:
        """Share of the external requests that enters at each service, (num_services,)."""
        shares = np.array([service.entry_share for service in self.config.cluster.services])
        return np.asarray(shares / shares.sum())

    @property
    def visits(self) -> NDArray[np.float64]:
        """Calls of each service per external request, (num_services,)."""
        return visits_per_request(self.config.cluster)

    @property
    def episode_steps(self) -> int:
        """Steps until an episode is truncated."""
        return self._core.episode_steps

    @property
    def profile(self) -> LoadProfile | None:
        """Load of the present episode."""
        return self._core.profiles[0]

    @property
    def episode_factors(self) -> NDArray[np.float64]:
        """What multiplies the configured parameters in the present episode, (num_services, num_factors).

        In the order of ``podgym.envs.randomisation.FACTORS``; ones where nothing is randomised. No policy
        knows them.
        """
        return np.array(self._core.factors[0])

    @property
    def cluster_config(self) -> ClusterConfig:
        """The simulated cluster as configured; ``randomisation`` may change an episode's parameters."""
        return self.config.cluster

    def provenance(self) -> list[Provenance]:
        """Every constant of the simulated cluster with its value, unit and source."""
        return list(provenance(self.config.cluster, "cluster."))

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, float]]:
        """Start an episode; equal seeds give bitwise equal episodes. There are no options."""
        if options:
            raise InputError(f"unknown reset option {next(iter(options))!r}; this environment has none.")
        super().reset(seed=seed)
        self._core.reset(0, self.np_random)
        self._started = True
        self._rendered = []
        return self._core.observation[0].copy(), self._info()

    def step(self, action: ArrayLike) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, float]]:
        """Apply an action and let one control interval pass.

        Raises:
            InputError: an action outside the space, or no episode was started.
        """
        self._require_episode()
        self._core.step(action)
        return self._result()

    def step_decisions(
        self, decisions: Sequence[ServiceDecision]
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, float]]:
        """Apply a controller's decisions, one per service, and let one control interval pass."""
        self._require_episode()
        core = self._core
        wanted, quotas = core.wanted[0].copy(), core.quotas[0].copy()
        merge_decisions(self.config.cluster, decisions, wanted, quotas)
        core.wanted[0], core.quotas[0] = wanted, quotas
        act_on_pods(core.clusters.world, 0, decisions)
        core.advance()
        return self._result()

    def observe(self) -> ClusterObservation:
        """Return what a controller may know: the monitoring pipeline's view, the forecast and the plan."""
        self._require_episode()
        core = self._core
        rates_rps = core.clusters.world.services[0]["seen_rate_rps"]
        return core.clusters.observe(0, self._outlook.ahead(rates_rps, core.observation[0], core.plan[0]))

    @property
    def interval(self) -> dict[str, NDArray[np.float64]]:
        """Report of the last control interval: one array (num_services,) per column."""
        return dict(zip(REPORT_COLUMNS, self.report(), strict=True))

    def report(self) -> NDArray[np.float64]:
        """Return the report of the last control interval as one array, (num_columns, num_services).

        Its rows are ``REPORT_COLUMNS``; ``interval`` has them by name.
        """
        world = self._core.clusters.world
        interval = world.interval[0]  # (num_services,) records of nothing but floats
        report = np.empty((len(REPORT_COLUMNS), len(interval)))
        report[:-1] = interval.view(np.float64).reshape(len(interval), -1).T
        known = {name: interval[name] for name in ("offered_rps", "cpu_limit_cores")}
        drawn = world.service_parameters[0] if self.config.randomisation.active else None
        report[-1] = self._required.count(known, drawn)
        return report

    def action_masks(self) -> NDArray[np.bool_]:
        """Choices of the next action that have an effect of their own, for maskable policies."""
        self._require_episode()
        return np.asarray(self._core.action_masks()[0])

    def render(self) -> str | NDArray[np.uint8] | None:
        """Show the episode so far in the mode chosen at construction."""
        if self.render_mode is None:
            gym.logger.warn("render() was called without a render_mode; choose one in gym.make.")
            return None
        from podgym.envs.render import draw_text, figure_pixels

        if self.render_mode == "ansi":
            return draw_text(self._info())
        return figure_pixels(self._rendered, float(self.slo_response_time_s.max()))

    def _require_episode(self) -> None:
        if not self._started:
            raise InputError("no episode was started; call reset() first.")

    def _info(self) -> dict[str, float]:
        return dict(zip(INFO_KEYS, self._core.totals[0].tolist(), strict=True))

    def _result(self) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, float]]:
        info = self._info()
        if self.render_mode is not None:
            self._rendered.append(info)
        truncated = bool(self._core.steps[0] >= self._core.time_limit_steps)
        return self._core.observation[0].copy(), info["reward"], False, truncated, info
