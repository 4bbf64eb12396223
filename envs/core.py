"""The core of both environments: a batch of clusters with actions, observations, rewards and plans.

``AutoscaleEnv`` is the batch of one and ``AutoscaleVectorEnv`` the batch of many; neither adds physics.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import astuple
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from podgym.envs.actions import ActionDecoder
from podgym.envs.config import EnvConfig, override
from podgym.envs.forecasts import ForecastTables, choose_forecast
from podgym.envs.observation import ObservationLayout, Scales, write_observation
from podgym.envs.protocols import PLAN_PERIOD_S, DefaultPlanner, Planner, RateForecaster
from podgym.envs.randomisation import FACTORS
from podgym.envs.simulator.cluster import SimulatedClusters, stream_seeds
from podgym.envs.simulator.compile import MachineCode, kernel
from podgym.envs.simulator.engine import advance_cluster, decide_all
from podgym.envs.simulator.parameters import GIB
from podgym.envs.simulator.records import World
from podgym.envs.simulator.world import check_monitoring
from podgym.envs.totals import INFO_KEYS, add_up
from podgym.envs.workloads import make_workload
from podgym.envs.workloads.profile import LoadProfile, Workload
from podgym.errors import InputError

DEFAULT_EPISODE_S = 3600.0
_COLUMN = {name: index for index, name in enumerate(INFO_KEYS)}
_REWARD = _COLUMN["reward"]
_WANTED = _COLUMN["replicas_wanted"]
_READY = _COLUMN["replicas_ready"]
_PENDING = _COLUMN["replicas_pending"]
_REQUESTED_CORES = _COLUMN["requested_cores"]
_REQUESTED_GIB = _COLUMN["requested_gib"]
_PLAN_REPLICAS = _COLUMN["plan_replicas"]
_PLAN_STEP = _COLUMN["plan_step"]


@kernel
def _step(
    world: World,
    wanted: NDArray[np.int64],
    quotas: NDArray[np.float64],
    scales: Scales,
    plan: NDArray[np.float64],
    forecasts: NDArray[np.float64],
    weights: NDArray[np.float64],
    observation: NDArray[np.float32],
    totals: NDArray[np.float64],
) -> int:
    """Decide, advance, add up and observe; returns the first cluster without a finite reward, or -1."""
    decide_all(world, wanted, quotas)
    broken = -1
    for b in range(world.clusters.shape[0]):
        advance_cluster(world, b)
        add_up(world, scales.visits, plan, weights, totals, b)
        write_observation(world, scales, plan, forecasts, observation, b)
        if not math.isfinite(totals[b, _REWARD]) and broken < 0:
            broken = b
    return broken


@kernel
def first_look(
    world: World,
    scales: Scales,
    plan: NDArray[np.float64],
    forecasts: NDArray[np.float64],
    observation: NDArray[np.float32],
    totals: NDArray[np.float64],
    b: int,
) -> None:
    """Write the first observation of an episode, and what ``info`` can say before anything happened."""
    observation[b] = 0.0
    write_observation(world, scales, plan, forecasts, observation, b)
    row = totals[b]
    row[:] = 0.0
    for s in range(world.services.shape[1]):
        service = world.services[b, s]
        row[_WANTED] += service.wanted
        row[_READY] += service.ready
        row[_PENDING] += service.pending
        row[_REQUESTED_CORES] += service.placed_cpu_cores
        row[_REQUESTED_GIB] += service.placed_memory_bytes / GIB
        row[_PLAN_REPLICAS] += plan[b, s, 0]
        row[_PLAN_STEP] += plan[b, s, 0] - service.wanted


@kernel
def _add_up_all(
    world: World,
    visits: NDArray[np.float64],
    plan: NDArray[np.float64],
    weights: NDArray[np.float64],
    totals: NDArray[np.float64],
) -> None:
    for b in range(world.clusters.shape[0]):
        add_up(world, visits, plan, weights, totals, b)


@kernel
def _any_due(steps: NDArray[np.int64], period: int) -> bool:
    """Whether a plan ends in some environment: (B,) steps done, and steps that a plan holds."""
    due = False
    for b in range(steps.shape[0]):
        due |= steps[b] % period == 0
    return due


def configure(
    config: EnvConfig | None,
    workload: Workload | str | None,
    changes: Mapping[str, Any],
    forecaster: RateForecaster | None = None,
) -> tuple[EnvConfig, Workload | None]:
    """Lay the keyword arguments of an environment over its configuration.

    A workload given by name brings options of its own: those of the workload that it replaces are
    dropped unless ``workload_options`` comes with it. A forecaster makes the forecast "learned".

    Returns:
        The configuration, and the workload if it was given as an object.

    Raises:
        InputError: an unknown key, a bad value, or a forecaster that contradicts the configuration.
    """
    changed, opened = _with_changes(config, workload, changes)
    return choose_forecast(changed, forecaster, changes), opened


def _with_changes(
    config: EnvConfig | None, workload: Workload | str | None, changes: Mapping[str, Any]
) -> tuple[EnvConfig, Workload | None]:
    if config is not None and not isinstance(config, EnvConfig):
        raise InputError(f"config is {config!r}; it must be an EnvConfig (or leave it out and name changes).")
    base = config if config is not None else EnvConfig()
    changes = dict(changes)
    if workload is None and isinstance(changes.get("workload_options"), Mapping):
        changes["workload_options"] = {**base.workload_options, **changes["workload_options"]}
    if workload is None or hasattr(workload, "sample"):
        return override(base, changes), cast(Workload | None, workload)
    if not isinstance(workload, str | Path):
        raise InputError(f"workload is {workload!r}; it must be a name, a path or a workload object.")
    base = override(base, {"workload": str(workload)})
    if "workload_options" not in changes and str(workload) != (config or EnvConfig()).workload:
        base = dataclasses.replace(base, workload_options={})
    return override(base, changes), None


def open_workload(config: EnvConfig) -> Workload:
    """Return the workload that a configuration names."""
    return make_workload(config.workload, **config.workload_options)


class AutoscaleCore:
    """A batch of episodes. Arrays are reused from step to step; whoever hands them on copies them."""

    def __init__(
        self,
        config: EnvConfig,
        num_envs: int = 1,
        *,
        workload: Workload | None = None,
        planner: Planner | None = None,
        forecaster: RateForecaster | None = None,
    ) -> None:
        """Open the workload and allocate the batch.

        Raises:
            InputError: a bad configuration, or an episode longer than the workload.
        """
        config = choose_forecast(config, forecaster)
        self._randomised = config.randomisation.active
        if self._randomised:
            for extreme in config.randomisation.extremes(config.cluster):
                check_monitoring(extreme)
        self.config = config
        self.workload = workload if workload is not None else open_workload(config)
        if planner is not None and not hasattr(planner, "plan"):
            raise InputError(f"planner is {planner!r}; it must have a method plan (envs/protocols.py).")
        self.planner: Planner = planner if planner is not None else DefaultPlanner()
        self.episode_steps = _episode_steps(config, self.workload)
        self.time_limit_steps = self.episode_steps  # may be lowered; the load stays that of a whole episode
        self.clusters = SimulatedClusters(config.cluster, num_envs)
        self.shadow = SimulatedClusters(config.cluster, num_envs) if config.reward.relative_to_plan else None
        self.decoder = ActionDecoder(config.action, config.cluster)
        self.layout = ObservationLayout(config.observation, config.cluster)
        horizon = config.observation.horizon_minutes
        self.forecasts = ForecastTables(forecaster, num_envs, self.duration_s, horizon)
        services = len(config.cluster.services)
        self.weights = np.array(config.reward.all_weights())  # (reward terms,)
        self.factors = np.ones((num_envs, services, len(FACTORS)))  # on the nominal parameters
        self.plan = np.zeros((num_envs, services, 3))  # replicas, cores, bytes
        self.plans: list[NDArray[np.float64]] = [np.zeros((1, services, 3))] * num_envs
        self.observation = np.zeros((num_envs, self.layout.size), dtype=np.float32)
        self.totals = np.zeros((num_envs, len(INFO_KEYS)))
        self.shadow_totals = np.zeros_like(self.totals)
        self.steps = np.zeros(num_envs, dtype=np.int64)
        self.profiles: list[LoadProfile | None] = [None] * num_envs
        services_config = config.cluster.services
        self._first_wanted = np.array([service.initial_replicas for service in services_config])
        self._first_quotas = np.array([astuple(service.quota) for service in services_config])
        self.wanted = np.tile(self._first_wanted, (num_envs, 1))  # (num_envs, num_services) replicas
        self.quotas = np.tile(self._first_quotas, (num_envs, 1, 1))  # (num_envs, num_services, 4)
        self._plans_change = False
        self._step_code = MachineCode(_step)
        self._look_code = MachineCode(first_look)
        self._any_due_code = MachineCode(_any_due)
        self._plan_steps = max(round(PLAN_PERIOD_S / config.cluster.control_interval_s), 1)

    @property
    def duration_s(self) -> float:
        """Length of an episode."""
        return self.episode_steps * self.config.cluster.control_interval_s

    def reset(self, index: int, rng: np.random.Generator) -> None:
        """Start an episode in one environment, with everything random drawn from ``rng``."""
        profile = self.workload.sample(rng, self.duration_s)
        words = stream_seeds(rng)
        if self._randomised:
            self._draw_factors(index, rng)
        self.forecasts.renew(index, profile)
        self.profiles[index] = profile
        self.clusters.reset(index, profile, words)
        self.plans[index] = self._checked_plans(profile)
        self.plan[index] = self.plans[index][0]
        self._plans_change |= len(self.plans[index]) > 1
        self.wanted[index] = self._first_wanted
        self.quotas[index] = self._first_quotas
        if self.config.action.first_action == "plan":  # nothing changes before the first action
            self.wanted[index] = self._planned_replicas(self.plan[index])
            if self.config.action.quotas:
                self._write_planned_quotas(self.plan[index], self.quotas[index])
        self.steps[index] = 0
        if self.shadow is not None:
            self.shadow.reset(index, profile, words)
        self._look_code(
            self.clusters.world, self.layout.scales, self.plan, self.forecasts.rates, self.observation,
            self.totals, index,
        )  # fmt: skip

    def _draw_factors(self, index: int, rng: np.random.Generator) -> None:
        """Draw what differs from the nominal cluster in the coming episode; the shadow gets the same."""
        factors = self.config.randomisation.draw(rng, self.factors.shape[1])
        self.factors[index] = factors
        by_name = dict(zip(FACTORS, factors.T, strict=True))
        self.clusters.scale_parameters(index, by_name)
        if self.shadow is not None:
            self.shadow.scale_parameters(index, by_name)

    def _checked_plans(self, profile: LoadProfile) -> NDArray[np.float64]:
        plans = self.planner.plan(self.config.cluster, profile, self.duration_s)
        array = np.asarray(plans, dtype=np.float64)
        good_shape = array.ndim == 3 and len(array) > 0 and array.shape[1:] == self.plan.shape[1:]
        if not good_shape or not array.min() > 0.0 or not array.max() < math.inf:  # nan fails both
            raise InputError(
                f"the planner returned an array of shape {array.shape}; it must be (1 or more, "
                f"{self.plan.shape[1]}, 3) with positive finite numbers."
            )
        return array

    def step(self, actions: ArrayLike) -> None:
        """Check the actions, apply them, and let one control interval pass."""
        self.decoder.decode(actions, self.wanted, self.quotas, self.plan)
        self.advance()

    def advance(self) -> None:
        """Let one control interval pass with what is ``wanted`` and its ``quotas``."""
        if self.shadow is not None:
            self._advance_shadow(self.shadow)
        self.steps += 1
        if self._plans_change and self._any_due_code(self.steps, self._plan_steps):
            self._renew_plans()
        broken = self._step_code(
            self.clusters.world, self.wanted, self.quotas, self.layout.scales, self.plan,
            self.forecasts.rates, self.weights, self.observation, self.totals,
        )  # fmt: skip
        if broken >= 0:
            raise FloatingPointError(f"reward of environment {broken} is not finite; please report the seed.")
        if self.shadow is not None:
            self.totals[:, _REWARD] -= self.shadow_totals[:, _REWARD]
            if not np.isfinite(self.totals[:, _REWARD]).all():
                raise FloatingPointError("the reward of a shadow that follows the plan is not finite.")

    def _renew_plans(self) -> None:
        due = np.flatnonzero(self.steps % self._plan_steps == 0)
        for index in due:
            plans = self.plans[index]
            if len(plans) > 1:
                self.plan[index] = plans[min(int(self.steps[index]) // self._plan_steps, len(plans) - 1)]

    def _planned_replicas(self, plan: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the replicas of plans (..., S, 3), within the bounds of each service."""
        bounds = self.decoder.bounds
        return np.clip(np.rint(plan[..., 0]).astype(np.int64), bounds[:, 0], bounds[:, 1])

    def _write_planned_quotas(self, plan: NDArray[np.float64], quotas: NDArray[np.float64]) -> None:
        """Write requests and limits of plans (..., S, 3) into (..., S, 4)."""
        ratios = self.decoder.ratios
        quotas[..., 0] = plan[..., 1]
        quotas[..., 1] = plan[..., 1] * ratios[:, 0]
        quotas[..., 2] = plan[..., 2]
        quotas[..., 3] = plan[..., 2] * ratios[:, 1]

    def _advance_shadow(self, shadow: SimulatedClusters) -> None:
        _, quotas = shadow.wanted()
        self._write_planned_quotas(self.plan, quotas)
        shadow.decide(self._planned_replicas(self.plan), quotas)
        shadow.advance()
        _add_up_all(shadow.world, self.layout.scales.visits, self.plan, self.weights, self.shadow_totals)

    @property
    def rewards(self) -> NDArray[np.float64]:
        """Reward of the last step, (num_envs,)."""
        return self.totals[:, _REWARD]

    def action_masks(self) -> NDArray[np.bool_]:
        """Masks of the choices of the next action, (num_envs, sum of the choices)."""
        return self.decoder.masks(self.wanted, self.quotas, self.plan)


def _episode_steps(config: EnvConfig, workload: Workload) -> int:
    interval_s = config.cluster.control_interval_s
    longest = workload.max_duration_s
    wanted = config.episode_s
    if wanted is None:
        scenario_s = getattr(workload, "duration_s", DEFAULT_EPISODE_S)
        wanted = min(float(scenario_s), longest)
    steps = math.floor(wanted / interval_s + 1e-9)
    if steps * interval_s > longest + 1e-6:
        raise InputError(
            f"an episode of {wanted:g} s is longer than what workload {workload.name!r} can give "
            f"({longest:g} s); lower episode_s or choose a longer trace or part."
        )
    if steps < 1:
        raise InputError(
            f"an episode of {wanted:g} s is shorter than one control interval ({interval_s:g} s)."
        )
    return steps
