"""How fast the environments are: measured in one run, on one core, beside Gymnasium's own CartPole.

Absolute rates move with the machine and with whatever else it does, so every cost is divided by CartPole's
through the same interface, and all are measured in turns: each round visits every case once. Time is CPU
time of the whole process, so a hidden thread would cost, not gain; wall time is kept beside it. The best
round counts, because other work on the machine only ever makes one slower.

A round runs whole episodes, restarts included. Compilation, the first steps and the choice of random actions
are outside the clock; what choosing would add is measured apart.
"""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from podgym.envs.actions import ActionDecoder
from podgym.envs.config import EnvConfig, override
from podgym.envs.env import AutoscaleEnv
from podgym.envs.make import scenario_config
from podgym.envs.registration import ENVIRONMENT_IDS
from podgym.errors import InputError, require_whole, unknown_name
from podgym.eval.provisioning import peak_replicas

CARTPOLE = "CartPole-v1"
BATCH_ENVIRONMENTS = ("podgym/Trace-v0", "podgym/HighLoad-v0", "podgym/Boutique-v0")
"""Measured unless one is named: an hour of a trace, the paper's closed users, and eleven services."""

Actions = Literal["keep", "keep enough", "random replicas", "random"]
ACTIONS: dict[Actions, str] = {
    "keep": "the action that changes nothing, from the id's first replicas",
    "keep enough": "the same, from the replicas that the peak of the load needs",
    "random replicas": "any step of the replicas; quotas stay",
    "random": "any action; new quotas start a rolling update, so pods are replaced all the time",
}
"""What an agent may do, and what that is."""

_PLAIN_EPISODE = 500  # steps of a loop over an environment that does not tell the length of its episodes
_POOL = 64  # different random actions; they come in random order
_WARM_UP_STEPS = 3
_PROFILES = 16  # episodes whose peak decides how many replicas are enough
_OBSERVED_ENVS = 16  # environments whose health is looked at, outside the clock

Loop = Callable[[], int]
"""Something to measure: runs for a while and returns how many environment steps it took."""


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the table."""

    environment: str
    """Id."""
    num_envs: int | None
    """Environments behind ``gym.make_vec``; None: one, behind ``gym.make``."""
    actions: Actions
    """What the agent does."""


@dataclass(frozen=True, slots=True)
class Timing:
    """One round of one case."""

    steps: int
    """Environment steps: calls of ``step`` times environments. As in Gymnasium, the call in which an ended
    episode restarts is one of them."""
    cpu_s: float
    """CPU time of the process."""
    wall_s: float
    """Time on the clock."""

    @property
    def ns_per_step(self) -> float:
        """CPU nanoseconds per environment step."""
        return 1e9 * self.cpu_s / self.steps


@dataclass(frozen=True, slots=True)
class Measurement:
    """What was measured of one case."""

    case: Case
    episode_steps: int | None
    """Steps of an episode; None: as it happens."""
    rounds: tuple[Timing, ...]
    """Every round, in the order of measuring."""
    sample_ns: float
    """What ``action_space.sample()`` would add to an environment step."""
    restart_ns: float
    """``reset()``, per environment."""
    slo_violation_ratio: float
    """Mean over an episode: how well the clusters are that were stepped. nan for CartPole."""
    replicas_ready: float
    """Mean over an episode, all services. nan for CartPole."""

    @property
    def ns_per_step(self) -> float:
        """CPU nanoseconds per environment step, best round."""
        return best_ns(self.rounds)

    @property
    def spread(self) -> float:
        """How much longer the slowest round took than the best, as a fraction."""
        return max(each.ns_per_step for each in self.rounds) / self.ns_per_step - 1.0


def best_ns(rounds: Iterable[Timing]) -> float:
    """Return the CPU nanoseconds per environment step of the fastest round."""
    return min(each.ns_per_step for each in rounds)


def bench_environments(environment: str | None = None) -> tuple[str, ...]:
    """Return the ids to measure: the one named, or ``BATCH_ENVIRONMENTS``.

    Raises:
        InputError: there is no such id.
    """
    if environment is None:
        return BATCH_ENVIRONMENTS
    if environment not in ENVIRONMENT_IDS:
        raise unknown_name("environment", environment, ENVIRONMENT_IDS)
    return (environment,)


def bench_cases(environments: Sequence[str] = BATCH_ENVIRONMENTS, num_envs: int = 1024) -> list[Case]:
    """Return what a run measures: CartPole and batches of every id, then single ones of the first.

    Args:
        environments: ids.
        num_envs: environments in a batch.

    Raises:
        InputError: ``num_envs`` is not a whole number of at least 1.
    """
    require_whole("--num-envs", num_envs, 1, 10**7)
    return [
        Case(CARTPOLE, num_envs, "random"),
        *(Case(name, num_envs, actions) for name in environments for actions in ACTIONS),
        Case(CARTPOLE, None, "random"),
        *(Case(environments[0], None, actions) for actions in ACTIONS),
    ]


def check_effort(seconds: float, repeats: int) -> None:
    """Refuse what cannot be measured with.

    Raises:
        InputError: ``seconds`` is not above 0, or ``repeats`` not a whole number of at least 1.
    """
    if not 0.0 < seconds < math.inf:
        raise InputError(f"--seconds is {seconds!r}; it must be a number above 0.")
    require_whole("--repeats", repeats, 1, 1000)


def bench(
    cases: Sequence[Case],
    *,
    seconds: float = 2.0,
    repeats: int = 3,
    on_round: Callable[[], None] = lambda: None,
) -> list[Measurement]:
    """Measure every case.

    Args:
        cases: what to measure.
        seconds: CPU time for each case over all rounds; each round is at least one episode.
        repeats: rounds.
        on_round: called after each round of each case.

    Raises:
        InputError: ``seconds`` is not above 0, or ``repeats`` not a whole number of at least 1.
    """
    check_effort(seconds, repeats)
    subjects = [_subject(case) for case in cases]
    timings = time_rounds([each.loop for each in subjects], seconds, repeats, on_round)
    results = []
    for case, subject, rounds in zip(cases, subjects, timings, strict=True):
        results.append(_finish(case, subject, rounds))
    return results


def time_rounds(
    loops: Sequence[Loop], seconds: float, repeats: int, on_round: Callable[[], None] = lambda: None
) -> list[tuple[Timing, ...]]:
    """Run all loops in turns and return the rounds of each.

    Args:
        loops: what to run.
        seconds: CPU time for each over all rounds; a loop that has begun is finished.
        repeats: rounds.
        on_round: called after each round of each loop.
    """
    rounds: list[list[Timing]] = [[] for _ in loops]
    for _ in range(repeats):
        for timings, loop in zip(rounds, loops, strict=True):
            timings.append(_time(loop, seconds / repeats))
            on_round()
    return [tuple(timings) for timings in rounds]


def _time(loop: Loop, at_least_s: float) -> Timing:
    steps = 0
    spent_s = 0.0
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    while spent_s < at_least_s:
        steps += loop()
        spent_s = time.process_time() - cpu_s
    return Timing(steps, spent_s, time.perf_counter() - wall_s)


@dataclass(frozen=True, slots=True)
class _Subject:
    """An environment made ready to be measured."""

    env: Any
    loop: Loop
    episode_steps: int | None


def _subject(case: Case) -> _Subject:
    env = _make(case, case.num_envs)
    episode_steps = getattr(env.unwrapped, "episode_steps", None)
    # The call after the last of an episode restarts a batch.
    count = _PLAIN_EPISODE if episode_steps is None else episode_steps + (case.num_envs is not None)
    actions = _draw_actions(env, case.actions, count)
    env.reset(seed=0)
    for action in actions[:_WARM_UP_STEPS]:
        env.step(action)
    env.reset()
    return _Subject(
        env, partial(_run_one if case.num_envs is None else _run_batch, env, actions), episode_steps
    )


def _make(case: Case, num_envs: int | None) -> Any:  # noqa: ANN401  (any Gymnasium environment)
    options: dict[str, Any] = {"config": _sized(case.environment)} if case.actions == "keep enough" else {}
    if num_envs is None:
        return gym.make(case.environment, **options)
    return gym.make_vec(
        case.environment, num_envs=num_envs, vectorization_mode="vector_entry_point", **options
    )


def _sized(environment: str) -> EnvConfig:
    """The configuration of an id, begun with the replicas that meet the SLO at the peak of some episodes."""
    env = AutoscaleEnv(scenario_config(ENVIRONMENT_IDS[environment]))
    counts = np.zeros(len(env.service_names), dtype=np.int64)
    for seed in range(_PROFILES):
        env.reset(seed=seed)
        if env.profile is not None:
            counts = np.maximum(counts, peak_replicas(env.cluster_config, env.profile))
    services = zip(env.service_names, counts.tolist(), strict=True)
    changes = {name: {"initial_replicas": count} for name, count in services}
    return override(env.config, {"cluster": {"services": changes}})


def _draw_actions(env: Any, kind: Actions, count: int) -> list[Any]:  # noqa: ANN401
    env.action_space.seed(0)
    pool = [env.action_space.sample() for _ in range(min(_POOL, count))]
    config = getattr(env.unwrapped, "config", None)
    if isinstance(config, EnvConfig):
        null = ActionDecoder(config.action, config.cluster).null_action
        pool = [_restricted(action, kind, null, len(config.cluster.services)) for action in pool]
    order = np.random.default_rng(0).integers(0, len(pool), size=count)
    return [pool[index] for index in order]


def _restricted(
    action: NDArray[np.int64], kind: Actions, null: NDArray[np.int64], services: int
) -> NDArray[np.int64]:
    """The part of a random action that ``kind`` allows; the numbers of a service begin with its replicas."""
    if kind == "random":
        return action
    result = np.array(np.broadcast_to(null, action.shape))
    if kind == "random replicas":
        width = len(null) // services
        result[..., ::width] = action[..., ::width]
    return result


def _run_batch(env: Any, actions: Sequence[Any]) -> int:  # noqa: ANN401
    step = env.step
    for action in actions:
        step(action)
    return len(actions) * int(env.num_envs)


def _run_one(env: Any, actions: Sequence[Any]) -> int:  # noqa: ANN401
    step = env.step
    for action in actions:
        _, _, terminated, truncated, _ = step(action)
        if terminated or truncated:
            env.reset()
    return len(actions)


def _finish(case: Case, subject: _Subject, rounds: tuple[Timing, ...]) -> Measurement:
    """Measure what is not part of a step, and look at the clusters that were stepped."""
    num_envs = case.num_envs or 1
    few = max(1, 200 // num_envs)
    sample_ns = _call_ns(subject.env.action_space.sample, 10 * few) / num_envs
    restart_ns = _call_ns(subject.env.reset, few) / num_envs
    subject.env.close()
    violations, ready = _health(case)
    return Measurement(case, subject.episode_steps, rounds, sample_ns, restart_ns, violations, ready)


def _call_ns(function: Callable[[], object], count: int) -> float:
    """CPU nanoseconds per call, best of three."""
    best_s = math.inf
    for _ in range(3):
        begin_s = time.process_time()
        for _ in range(count):
            function()
        best_s = min(best_s, time.process_time() - begin_s)
    return 1e9 * best_s / count


def _health(case: Case) -> tuple[float, float]:
    """Share of bad requests and ready replicas, means over an episode of a few environments."""
    if case.environment == CARTPOLE:
        return math.nan, math.nan
    env = _make(case, _OBSERVED_ENVS)
    env.reset(seed=0)
    infos = [env.step(action)[4] for action in _draw_actions(env, case.actions, env.unwrapped.episode_steps)]
    env.close()
    violations, ready = (
        float(np.mean([info[key] for info in infos])) for key in ("slo_violation_ratio", "replicas_ready")
    )
    return violations, ready


def times_cartpole(measurement: Measurement, measurements: Iterable[Measurement]) -> float:
    """Return the cost of a step over CartPole's through the same interface; nan if that was not measured."""
    for each in measurements:
        if each.case.environment == CARTPOLE and each.case.num_envs == measurement.case.num_envs:
            return measurement.ns_per_step / each.ns_per_step
    return math.nan


def as_rows(measurements: Sequence[Measurement]) -> list[dict[str, Any]]:
    """Return plain data of every case, raw rounds included."""
    return [
        {
            **asdict(each.case),
            "interface": "gym.make" if each.case.num_envs is None else "gym.make_vec",
            "steps_per_s": 1e9 / each.ns_per_step,
            "ns_per_step": each.ns_per_step,
            "times_cartpole": times_cartpole(each, measurements),
            "spread": each.spread,
            "sample_ns": each.sample_ns,
            "restart_ns": each.restart_ns,
            "episode_steps": each.episode_steps,
            "slo_violation_ratio": each.slo_violation_ratio,
            "replicas_ready": each.replicas_ready,
            "rounds": [asdict(timing) for timing in each.rounds],
        }
        for each in measurements
    ]
