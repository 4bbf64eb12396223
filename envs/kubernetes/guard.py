"""The guard: the one pure function between every decision and a real cluster.

It knows nothing of who decides. Whatever is proposed, whatever the metrics and the clock do:

* Bounds. The answer lies within ``min_replicas`` and ``max_replicas``. A target outside is brought to its
  bound at once, whatever else holds; one at zero is never switched on.
* Bad data. Nothing changes while the pods cannot be counted, no proposal is a number or no metric can be
  used. Nothing shrinks while any of them is invalid, missing, stale or partial.
* Windows. Nothing shrinks before one down window of good data was seen, nor below the most replicas that
  were wanted within it.
* Rates. Within one rate period a service grows and shrinks by what the settings allow, and by one always.

The rules are those of Kubernetes' HPA (bounds, tolerance, stabilisation, several metrics, invalid metrics)
and of Knative's autoscaler (rates, start without history, pods that cannot be counted). ``REASONS`` lists
the codes that a verdict gives.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real

from podgym.envs.kubernetes.guard_quota import guard_quota, quota_refusal
from podgym.envs.kubernetes.guard_state import (
    REASONS,
    GuardMemory,
    Limits,
    QuotaPermission,
    Signal,
    SignalState,
    Verdict,
    describe,
)

__all__ = [
    "REASONS",
    "GuardMemory",
    "Limits",
    "QuotaPermission",
    "Signal",
    "SignalState",
    "Verdict",
    "describe",
    "guard",
    "guard_quota",
    "quota_refusal",
]

_USABLE = ("ok", "stale", "partial")
_DOUBTS = {"stale": "held_stale", "missing": "held_missing", "partial": "held_partial"}
_ROUNDING = 1e-9  # 0.29 * 100 is a hair below 29


@dataclass(frozen=True, slots=True)
class _Wish:
    """What the proposals say, and what is wrong with the data behind them."""

    replicas: int | float | None
    """The largest proposal, not rounded and not bounded; None: none can be used."""
    doubts: tuple[str, ...]
    """Codes; with any of them, nothing shrinks."""
    blocked: bool
    """Nothing may change at all."""


def guard(
    proposals: Sequence[float | int | None],
    replicas_now: int | None,
    ready_now: int | None,
    signals: Sequence[Signal],
    limits: Limits,
    memory: GuardMemory,
    now_s: float,
) -> tuple[Verdict, GuardMemory]:
    """Judge what is wanted of one service.

    It never raises, whatever the proposals, the counts and the time are.

    Args:
        proposals: replicas that are wanted, by one or several parties; the largest counts. Fractions are
            rounded up. None: that party wants no change. nan, infinite and negative ones are invalid.
        replicas_now: ``spec.replicas``; None: not known.
        ready_now: pods that are ready; None: the pods could not be listed.
        signals: the metrics behind the proposals; none at all counts as none that can be used.
        limits: what cannot be passed.
        memory: of this service, from the last decision.
        now_s: monotonic seconds.

    Returns:
        The verdict, and the memory for the next decision.
    """
    safety = limits.safety
    step_s = memory.step_s(now_s, limits.longest_step_s)
    memory = memory.after(step_s, now_s)
    replicas = _count(replicas_now)
    if replicas is None:
        return Verdict(limits.min_replicas, False, "none", ("cannot_count_replicas",)), memory
    memory = memory.with_present(replicas, safety.rate_period_s)
    if replicas == 0 and limits.min_replicas > 0:
        return Verdict(0, False, "none", ("target_at_zero",)), memory.without_history()
    wish = _wish(proposals, replicas, _count(ready_now) is not None, signals)
    noted, good_s = _note(wish, replicas, limits), 0.0 if wish.doubts else step_s
    memory = memory.with_wanted(noted, good_s, safety.down_window_s)
    target, codes = _target(wish, replicas, limits, memory)
    reasons = tuple(dict.fromkeys((*codes, *wish.doubts)))
    verdict = Verdict(target, target != replicas, _quotas(wish, limits, memory), reasons)
    return verdict, memory.with_verdict(verdict)


def _count(value: object) -> int | None:
    """Return a number of pods as Python's int; None for what is none."""
    number = _number(value)
    return int(number) if number is not None and number >= 0 and number == int(number) else None


def _number(value: object) -> int | float | None:
    """Return a finite number as Python's own, so that no arithmetic overflows; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    if isinstance(value, Integral):
        return int(value)
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _wish(proposals: Sequence[object], replicas: int, pods_counted: bool, signals: Sequence[Signal]) -> _Wish:
    numbers = [_number(replicas if proposal is None else proposal) for proposal in proposals]
    usable = [number for number in numbers if number is not None and number >= 0]
    doubts = [] if pods_counted else ["cannot_count_pods"]
    if not numbers:
        doubts.append("no_proposal")
    if None in numbers:
        doubts += ["held_invalid", "not_a_number"]
    if any(number is not None and number < 0 for number in numbers):
        doubts += ["held_invalid", "negative"]
    doubts += [_DOUBTS.get(signal.state, "held_invalid") for signal in signals if signal.state != "ok"]
    blind = not any(signal.state in _USABLE for signal in signals)
    if blind:
        doubts.append("blind")
    blocked = blind or not usable or not pods_counted
    return _Wish(max(usable, default=None), tuple(doubts), blocked)


def _bounded(wanted: float, limits: Limits) -> int:
    return min(max(math.ceil(wanted), limits.min_replicas), limits.max_replicas)


def _note(wish: _Wish, replicas: int, limits: Limits) -> int | None:
    """Return the wish that goes into the down window: on bad data only one for more counts."""
    if wish.replicas is None or wish.blocked:
        return None
    wanted = _bounded(wish.replicas, limits)
    return None if wish.doubts and wanted <= replicas else wanted


def _target(wish: _Wish, replicas: int, limits: Limits, memory: GuardMemory) -> tuple[int, tuple[str, ...]]:
    """Return what the replicas may become, and the codes of the rules that had a say."""
    if replicas > limits.max_replicas:
        return limits.max_replicas, ("replicas_above_max",)
    if replicas < limits.min_replicas:
        return limits.min_replicas, ("replicas_below_min",)
    if wish.replicas is None or wish.blocked:
        return replicas, ()
    difference = abs(wish.replicas - replicas)
    if 0 < difference <= limits.safety.tolerance * replicas + _ROUNDING:
        return replicas, ("tolerance",)
    wanted = _bounded(wish.replicas, limits)
    codes: tuple[str, ...] = ()
    if math.ceil(wish.replicas) != wanted:
        codes = ("above_max",) if wish.replicas > wanted else ("below_min",)
    if wanted > replicas:
        target, rules = _raised(wanted, replicas, limits, memory)
    else:
        target, rules = _lowered(wanted, replicas, bool(wish.doubts), limits, memory)
    return target, codes + rules


def _raised(wanted: int, replicas: int, limits: Limits, memory: GuardMemory) -> tuple[int, tuple[str, ...]]:
    """Return how far a service may grow: to the lowest of the ceilings."""
    safety = limits.safety
    if not safety.allow_scale_up:
        return replicas, ("disabled_up",)
    start = memory.at_period_start
    by_factor = math.floor(safety.up_factor * start + _ROUNDING)
    ceiling = max(by_factor, start + safety.up_pods, start + 1, replicas)
    return (wanted, ()) if wanted <= ceiling else (ceiling, ("up_rate",))


def _lowered(
    wanted: int, replicas: int, doubtful: bool, limits: Limits, memory: GuardMemory
) -> tuple[int, tuple[str, ...]]:
    """Return how far a service may shrink: to the highest of the floors, no higher than where it is."""
    safety = limits.safety
    # The most within the period, not what there was at its start: what grew meanwhile shrinks no faster.
    most = memory.most_present
    by_rate = min(math.ceil(safety.down_factor * most - _ROUNDING), most - 1)
    floors = {
        "disabled_down": wanted if safety.allow_scale_down else replicas,
        "no_history": wanted if memory.has_history(safety.down_window_s) else replicas,
        "down_window": memory.most_wanted,
        "down_rate": by_rate,
    }
    target = replicas if doubtful else min(max(wanted, *floors.values()), replicas)
    return target, tuple(code for code, floor in floors.items() if wanted < min(floor, replicas))


def _quotas(wish: _Wish, limits: Limits, memory: GuardMemory) -> QuotaPermission:
    """Return how quotas may change: they shrink only where, and when, replicas may."""
    safety = limits.safety
    if wish.blocked or not safety.allow_quotas or not (safety.allow_scale_up or safety.allow_scale_down):
        return "none"
    shrinks = safety.allow_scale_down and not wish.doubts and memory.has_history(safety.down_window_s)
    return "any" if shrinks else "up_only"
