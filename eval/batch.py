"""Many episodes of one policy at once, in the batched core: what each of them amounts to.

An episode is bit by bit the one that ``runner.run_policy`` records for the same seed, and its numbers are
those of ``measures``; only the rest of the record is left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from gymnasium.utils import seeding
from numpy.typing import NDArray

from podgym.agents.actor import Actor, LstmState
from podgym.agents.running import Surroundings, surroundings
from podgym.envs.config import EnvConfig, override
from podgym.envs.core import AutoscaleCore
from podgym.envs.simulator.world import visits_per_request
from podgym.envs.totals import INFO_KEYS
from podgym.envs.workloads.profile import profile_sha256
from podgym.errors import InputError, require_whole
from podgym.eval.episode import EpisodeMetadata, EpisodeRecord
from podgym.eval.measures import MEASURES
from podgym.eval.mixture import LAW_COLUMNS

Floats = NDArray[np.float64]

MOST_ENVS = 512
"""Episodes at a time, unless told otherwise."""

_COLUMNS = (
    "duration_s", "completed", "rejected", "timed_out", "lost", "slo_violations", "cpu_requested_core_s",
    "memory_requested_byte_s", "replica_change", *LAW_COLUMNS,
)  # fmt: skip
_TOTALS = ("reward", "cost", "completed_rps")
_TOTAL_PLACES = [list(INFO_KEYS).index(name) for name in _TOTALS]
_MEASURES = {each.name: each.compute for each in MEASURES}


@dataclass(frozen=True, slots=True, eq=False)
class BatchResult:
    """What episodes of one policy amount to; every array (num_episodes,), in the order of the seeds."""

    seeds: tuple[int, ...]
    """Seed of each episode."""
    profile_sha256: tuple[str, ...]
    """Hash of the load of each; equal hashes prove that two methods faced the same load."""
    cost: Floats
    """Minus the sum of the rewards of the episode, not discounted and relative to nothing."""
    slo_violation_ratio: Floats
    """Share of the requests that ended slower than the SLO, or failed; as the measure of this name."""
    slo_violation_time_ratio: Floats
    """Mean over time of each interval's share of such requests: the sum of ``info["cost"]`` / duration."""
    core_hours: Floats
    """CPU requested by pods that hold a place on a node, core hours; as the measure of this name."""
    gib_hours: Floats
    """Memory requested by such pods, GiB hours; as the measure of this name."""
    churn: Floats
    """Replicas added or removed by decisions, pods; the measure ``replicas_changed``."""
    scaling_events: Floats
    """Decisions that changed the wanted replicas of a service; as the measure of this name."""
    response_time_mean_s: Floats
    """Mean response time of the requests completed in the episode, s; nan when there was none."""
    response_time_p95_s: Floats
    """Its 95th percentile, s; as the measure of this name."""


def evaluate_batch(
    policy: Actor,
    config: EnvConfig | None,
    seeds: Sequence[int] | NDArray[np.integer],
    *,
    forecaster: str | None = None,
    num_envs: int = MOST_ENVS,
) -> BatchResult:
    """Run one episode of a policy per seed, by its best choices, many at a time.

    Args:
        policy: what decides.
        config: the problem, see ``podgym.agents.running.surroundings``; None: what the policy was trained in.
            A reward relative to the plan is made absolute.
        seeds: of the episodes, 0 or more.
        forecaster: ``shipped``, ``oracle``, ``naive`` or a file, in place of the policy's own.
        num_envs: most episodes at a time; results do not depend on it.

    Raises:
        InputError: no seed or a bad one, or see ``surroundings``.
    """
    wanted = _checked_seeds(seeds)
    require_whole("num_envs", num_envs, 1, 10**6)
    around = surroundings(policy, config=config, forecaster=forecaster)
    rows: list[list[float]] = []
    hashes: list[str] = []
    for first in range(0, len(wanted), num_envs):
        core = _started(around, wanted[first : first + num_envs])
        hashes += [profile_sha256(profile) for profile in core.profiles if profile is not None]
        rows += [_numbers(record) for record in _records(policy, core)]
    columns = np.array(rows).T  # (numbers, num_episodes)
    return BatchResult(wanted, tuple(hashes), *(np.ascontiguousarray(column) for column in columns))


def _checked_seeds(seeds: Sequence[int] | NDArray[np.integer]) -> tuple[int, ...]:
    result = tuple(seeds.tolist() if isinstance(seeds, np.ndarray) else seeds)
    if not result:
        raise InputError("there is no episode to run; give seeds.")
    for seed in result:
        require_whole("seed", seed, 0, 2**63 - 1)
    return result


def _started(around: Surroundings, seeds: Sequence[int]) -> AutoscaleCore:
    """Return a batch in which the episode of each seed has begun, as in the scalar environment."""
    config = override(around.config, {"reward": {"relative_to_plan": False}})
    core = AutoscaleCore(config, len(seeds), planner=around.planner, forecaster=around.forecaster)
    for index, seed in enumerate(seeds):
        core.reset(index, seeding.np_random(seed)[0])
    return core


def _records(policy: Actor, core: AutoscaleCore) -> list[EpisodeRecord]:
    """Run the episodes of a batch and return what the measures need of each."""
    steps, services = core.episode_steps, len(core.config.cluster.services)
    batch = len(core.profiles)
    columns = np.empty((len(_COLUMNS), batch, steps, services))
    totals = np.empty((len(_TOTALS), batch, steps))
    state: LstmState | None = None
    for step in range(steps):
        masks = core.action_masks() if policy.description.masked else None
        actions, state = policy.act(core.observation, state=state, masks=masks)
        core.step(actions)
        interval = core.clusters.world.interval
        for place, name in enumerate(_COLUMNS):
            columns[place, :, step] = interval[name]
        totals[:, :, step] = core.totals[:, _TOTAL_PLACES].T
    metadata = _metadata(core.config)
    return [
        EpisodeRecord(
            metadata,
            np.zeros(steps),
            dict(zip(_TOTALS, totals[:, index], strict=True)),
            dict(zip(_COLUMNS, columns[:, index], strict=True)),
        )
        for index in range(batch)
    ]


def _metadata(config: EnvConfig) -> EpisodeMetadata:
    """Return metadata of which the measures read the services and their visits."""
    services = config.cluster.services
    return EpisodeMetadata(
        environment="", workload=config.workload, controller="", controller_options={}, seed=0,
        profile_label="", profile_kind="open", profile_sha256="",
        control_interval_s=config.cluster.control_interval_s,
        service_names=tuple(service.name for service in services),
        slo_response_time_s=tuple(service.slo_response_time_s for service in services),
        visits=tuple(visits_per_request(config.cluster).tolist()),
        entry_share=tuple(service.entry_share for service in services), provenance=(), versions={},
    )  # fmt: skip


def _numbers(record: EpisodeRecord) -> list[float]:
    """Return the numbers of an episode in the order of ``BatchResult``."""
    return [
        -_MEASURES["reward"](record),
        _MEASURES["slo_violation_ratio"](record),
        float(record.totals["cost"].sum()) / record.duration_s,
        _MEASURES["core_hours"](record),
        _MEASURES["gib_hours"](record),
        _MEASURES["replicas_changed"](record),
        _MEASURES["scaling_events"](record),
        _MEASURES["response_time_mean_s"](record),
        _MEASURES["response_time_p95_s"](record),
    ]
