"""One unit of work: the episodes of one entrant, and what to say of an entrant that fails."""

import math
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from podgym.agents.running import load_actor
from podgym.baselines import Controller, make_controller
from podgym.envs.env import AutoscaleEnv
from podgym.envs.workloads.profile import profile_sha256
from podgym.errors import InputError
from podgym.eval.batch import evaluate_batch
from podgym.eval.bounds import clairvoyant_schedule, lower_bound
from podgym.eval.episode import EpisodeRecord
from podgym.eval.measures import MEASURES as ALL_MEASURES
from podgym.eval.protocol.units import EpisodeRow, Unit, failed_rows
from podgym.eval.runner import make_environment, run_episode

_COMPUTE = {each.name: each.compute for each in ALL_MEASURES}
_AS_MEASURED = {
    "slo_violation_ratio": "slo_violation_ratio",
    "core_hours": "core_hours",
    "gib_hours": "gib_hours",
    "churn": "replicas_changed",
    "scaling_events": "scaling_events",
    "response_time_mean_s": "response_time_mean_s",
    "response_time_p95_s": "response_time_p95_s",
}
_OF_BATCH = (
    "cost", "slo_violation_ratio", "slo_violation_time_ratio", "core_hours", "gib_hours", "churn",
    "scaling_events", "response_time_mean_s", "response_time_p95_s",
)  # fmt: skip


def run_unit(unit: Unit) -> list[EpisodeRow]:
    """Run a unit; whatever goes wrong in it is said in its rows, and nothing is raised.

    After the first episode that fails the rest of the unit is not run.
    """
    if unit.entrant.kind == "policy":
        try:
            with time_limit(unit.time_limit_s * len(unit.seeds)):
                return [_sound(row) for row in _policy_rows(unit)]
        except Exception as error:
            return failed_rows(unit, unit.seeds, _words(error))
    rows: list[EpisodeRow] = []
    try:
        run = _runner(unit)
        for seed in unit.seeds:
            with time_limit(unit.time_limit_s):
                rows.append(_sound(run(seed)))
    except Exception as error:
        rest = unit.seeds[len(rows) :]
        reason = f"seed {rest[0]}: {_words(error)}"
        rows += failed_rows(unit, rest, reason)
    return rows


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Stop what takes longer with a ``TimeoutError``, where the system has alarms (not on Windows).

    An alarm that was set before is put back with what is left of its time.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"took longer than {seconds:g} s")

    handler = signal.signal(signal.SIGALRM, stop)
    left_s, every_s = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        unused_s, _ = signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, handler)
        if left_s > 0.0:
            signal.setitimer(signal.ITIMER_REAL, max(left_s - (seconds - unused_s), 1e-3), every_s)


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"


def _sound(row: EpisodeRow) -> EpisodeRow:
    """Refuse a row whose numbers are none."""
    if not math.isfinite(row.cost):
        raise InputError(f"the cost of the episode is {row.cost}, which is no number to compare.")
    return row


def _policy_rows(unit: Unit) -> list[EpisodeRow]:
    entrant = unit.entrant
    if entrant.policy is None:
        raise RuntimeError("a policy has a file.")
    policy = load_actor(entrant.policy)
    result = evaluate_batch(policy, unit.config, unit.seeds, forecaster=entrant.forecaster)
    return [
        _row(unit, seed, result.profile_sha256[index],
             {name: float(getattr(result, name)[index]) for name in _OF_BATCH})
        for index, seed in enumerate(result.seeds)
    ]  # fmt: skip


def _runner(unit: Unit) -> Callable[[int], EpisodeRow]:
    """Return what runs one episode of a controller or a bound."""
    if unit.entrant.kind == "lower_bound":
        return lambda seed: _bound_row(unit, seed)
    if unit.entrant.kind == "clairvoyant":
        return lambda seed: _clairvoyant_row(unit, seed)
    return _ControllerRunner(unit).run


class _ControllerRunner:
    """Runs episodes of a controller, all in one environment, which is made with the first."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit
        self._made: tuple[AutoscaleEnv, Controller] | None = None

    def run(self, seed: int) -> EpisodeRow:
        """Run one episode; it depends on its seed alone, not on those before."""
        if self._made is None:
            self._made = self._make()
        env, controller = self._made
        return _record_row(self._unit, run_episode(env, controller, seed), seed)

    def _make(self) -> tuple[AutoscaleEnv, Controller]:
        entrant = self._unit.entrant
        controller = make_controller(entrant.controller, **entrant.options)
        return make_environment(self._unit.config, controller, entrant.forecaster), controller


def _row(unit: Unit, seed: int, sha256: str, numbers: Mapping[str, Any]) -> EpisodeRow:
    entrant = unit.entrant
    return EpisodeRow(entrant.environment, entrant.method, entrant.training_seed, seed, sha256, **numbers)


def _record_row(unit: Unit, record: EpisodeRecord, seed: int) -> EpisodeRow:
    numbers = {
        "cost": -_COMPUTE["reward"](record),
        "slo_violation_time_ratio": float(record.totals["cost"].sum()) / record.duration_s,
        **{name: _COMPUTE[measured](record) for name, measured in _AS_MEASURED.items()},
    }
    return _row(unit, seed, record.metadata.profile_sha256, numbers)


def _bound_row(unit: Unit, seed: int) -> EpisodeRow:
    bound = lower_bound(unit.config, seed, quotas=unit.entrant.quotas)
    env = AutoscaleEnv(unit.config)
    env.reset(seed=seed)
    if env.profile is None:
        raise RuntimeError("the environment has no load profile after its reset.")
    return _row(unit, seed, profile_sha256(env.profile), {"cost": bound.cost})


def _clairvoyant_row(unit: Unit, seed: int) -> EpisodeRow:
    schedule = clairvoyant_schedule(unit.config, seed, quotas=unit.entrant.quotas)
    return _record_row(unit, run_episode(AutoscaleEnv(unit.config), schedule.controller(), seed), seed)
