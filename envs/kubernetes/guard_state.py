"""What the guard is told, what it says, why, and what it remembers: plain frozen data.

The guard itself is ``podgym.envs.kubernetes.guard``. All times are monotonic seconds.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from operator import index
from typing import Literal, Self

from podgym.envs.kubernetes.settings import SafetySettings
from podgym.errors import InputError, require_whole

SignalState = Literal["ok", "stale", "missing", "invalid", "partial"]
QuotaPermission = Literal["any", "up_only", "none"]

MAX_REPLICAS = 5000
"""Most replicas that a bound may name, as in ``TargetSettings``."""

REASONS: dict[str, str] = {
    # What is known of the target.
    "cannot_count_replicas": "the number of replicas is not known: nothing changes",
    "target_at_zero": "the target is switched off (0 replicas): it is never switched on",
    "replicas_above_max": "there are more replicas than max_replicas: back to it at once",
    "replicas_below_min": "there are fewer replicas than min_replicas: up to it at once",
    "cannot_count_pods": "the pods could not be listed: nothing changes",
    # What is wanted.
    "no_proposal": "nobody proposed anything: nothing changes",
    "not_a_number": "a proposal is no finite number",
    "negative": "a proposal is negative",
    "above_max": "more was wanted than max_replicas",
    "below_min": "less was wanted than min_replicas",
    "tolerance": "the wanted change is within the tolerance",
    # What the decision rests on. Each forbids shrinking for as long as it lasts.
    "held_invalid": "a metric or a proposal is invalid: nothing shrinks",
    "held_missing": "a metric is missing: nothing shrinks",
    "held_stale": "a metric is too old: nothing shrinks",
    "held_partial": "a metric may be incomplete: nothing shrinks",
    "blind": "there is no metric at all to go by: nothing changes",
    # How far the change may go.
    "disabled_up": "scaling up is switched off (allow_scale_up)",
    "up_rate": "more growth was wanted than one rate period allows",
    "disabled_down": "scaling down is switched off (allow_scale_down)",
    "no_history": "less than one down window of good data was seen since the start",
    "down_window": "more was wanted within the down window",
    "down_rate": "a larger cut was wanted than one rate period allows",
    # Why a wanted quota does not pass.
    "quota_not_wanted": "no other quota is wanted",
    "quota_held": "quotas may not change now",
    "quota_not_a_number": "an amount is no finite number",
    "quota_out_of_range": "an amount is not positive, or more or less than any pod can have",
    "quota_limit_below_request": "a limit is below its request",
    "quota_down": "an amount shrinks, which it may not now",
    "quota_paused": "the Deployment is paused (spec.paused): a changed template would reach no pod",
}
"""Every code that a verdict, ``quota_refusal`` or the actuator can give, and what it means."""

# Sums of binary fractions such as 0.1 s must not be a hair short of the window that they add up to.
_ROUNDING_S = 1e-6


def describe(reasons: Iterable[str]) -> str:
    """Return codes in words, for a log; one that is no code of the guard stays as it is."""
    return "; ".join(REASONS.get(code, code) for code in reasons)


@dataclass(frozen=True, slots=True)
class Signal:
    """How far one of the metrics behind a decision can be trusted."""

    name: str
    """Which metric, for logs."""
    state: SignalState
    """``invalid``: an answer that is none; ``missing``: no sample; ``stale``: the newest sample is too old;
    ``partial``: the monitoring system warned that it may be incomplete. Anything else than these and
    ``ok`` counts as ``invalid``."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What no decision on one service can pass."""

    safety: SafetySettings
    """Rates, windows and what is switched off."""
    min_replicas: int
    """Least replicas, 0 to ``max_replicas``."""
    max_replicas: int
    """Most replicas."""
    longest_step_s: float
    """More time than this between two decisions is taken for a jump of the clock, and counts as this."""

    def __post_init__(self) -> None:
        """Refuse bounds that contradict each other."""
        require_whole("max_replicas", self.max_replicas, 1, MAX_REPLICAS)
        require_whole("min_replicas", self.min_replicas, 0, MAX_REPLICAS)
        if self.min_replicas > self.max_replicas:
            raise InputError(f"min_replicas {self.min_replicas} is above max_replicas {self.max_replicas}.")
        if not 0.0 < self.longest_step_s < math.inf:
            raise InputError(
                f"longest_step_s is {self.longest_step_s!r}; it must be a positive number of seconds."
            )

    @classmethod
    def of(
        cls, safety: SafetySettings, min_replicas: int, max_replicas: int, *, interval_s: float | None = None
    ) -> Self:
        """Return the limits of one service.

        Args:
            safety: the settings.
            min_replicas: least replicas.
            max_replicas: most replicas.
            interval_s: usual time between two decisions. Twice as much is believed to have passed at most,
                so that a clock that jumps ahead takes no more than one interval too many out of the windows.
                None: not known; half the down window or one rate period is believed, the longer of them, so
                windows last longer than they should where decisions are further apart.

        Raises:
            InputError: bounds that are no whole numbers or contradict each other, or an interval that is
                not positive.
        """
        longest_s = max(safety.rate_period_s, safety.down_window_s / 2.0)
        if interval_s is not None:
            longest_s = 2.0 * interval_s
        return cls(safety, _whole(min_replicas), _whole(max_replicas), longest_s)


def _whole(value: int) -> int:
    """Turn the integers of numpy into Python's, and leave to ``Limits`` what is none."""
    try:
        return value if isinstance(value, bool) else index(value)
    except TypeError:
        return value


@dataclass(frozen=True, slots=True)
class Verdict:
    """What may be done about one service now."""

    replicas: int
    """What ``spec.replicas`` is to be; what it is where nothing changes."""
    change: bool
    """Whether anything is to be written."""
    quotas: QuotaPermission
    """How CPU and memory of its pods may change."""
    reasons: tuple[str, ...]
    """Codes of ``REASONS``: every rule that stood between what was wanted and this, and all that is wrong
    with the data even where it changed nothing."""


@dataclass(frozen=True, slots=True)
class Count:
    """A number of replicas and since when it was wanted or there."""

    time_s: float
    replicas: int


@dataclass(frozen=True, slots=True)
class GuardMemory:
    """What the guard knows of the past of one service. It begins without any, and is never changed.

    It keeps two clocks of its own, so that the one it is given may jump. Time without good data does not
    count for the down window: a gap neither empties it nor makes it begin again.
    """

    started_s: float
    """When the run began, by the clock that the guard is given."""
    last_s: float | None = None
    """That clock at the last decision; None: there was none."""
    elapsed_s: float = 0.0
    """Time that passed since the start, without jumps of the clock; ``present`` and ``decided`` use it."""
    good_s: float = 0.0
    """The part of it with good data; ``wanted`` uses it."""
    wanted: tuple[Count, ...] = ()
    """Wishes of the down window, oldest first, without those that a later one exceeds or equals: each is
    smaller than the one before it, so there are never more than ``max_replicas + 1``."""
    present: tuple[Count, ...] = ()
    """Replicas at the start of the rate period and at each change since."""
    decided: Count | None = None
    """The change that the last decision asked for; it need not have been carried out."""

    @property
    def most_wanted(self) -> int:
        """Most replicas that were wanted within the down window."""
        return self.wanted[0].replicas if self.wanted else 0

    @property
    def at_period_start(self) -> int:
        """Replicas one rate period ago."""
        return self.present[0].replicas

    @property
    def most_present(self) -> int:
        """Most replicas since one rate period ago."""
        return max(count.replicas for count in self.present)

    def has_history(self, window_s: float) -> bool:
        """Tell whether one down window of good data was seen."""
        return self.good_s >= window_s - _ROUNDING_S

    def step_s(self, now_s: float, longest_step_s: float) -> float:
        """Return how much time to believe in since the last decision, 0 to ``longest_step_s`` seconds."""
        if not math.isfinite(now_s):
            return 0.0
        since_s = self.started_s if self.last_s is None else self.last_s
        return min(max(now_s - since_s, 0.0), longest_step_s) if math.isfinite(since_s) else 0.0

    def after(self, step_s: float, now_s: float) -> Self:
        """Let time pass. A clock that went back goes on from where it is."""
        last_s = now_s if math.isfinite(now_s) else self.last_s
        return replace(self, last_s=last_s, elapsed_s=self.elapsed_s + step_s)

    def with_present(self, replicas: int, period_s: float) -> Self:
        """Note the replicas that there are.

        A change that was decided counts from its decision, any other from when it was seen.
        """
        present = self.present
        if not present or present[-1].replicas != replicas:
            ours = self.decided is not None and self.decided.replicas == replicas
            since_s = self.decided.time_s if ours and self.decided else self.elapsed_s
            present = (*present, Count(since_s, replicas))
        start_s = self.elapsed_s - period_s + _ROUNDING_S
        first = max((i for i, count in enumerate(present) if count.time_s <= start_s), default=0)
        return replace(self, present=present[first:], decided=None)

    def with_wanted(self, replicas: int | None, good_s: float, window_s: float) -> Self:
        """Note a wish.

        Args:
            replicas: what is wanted; None: nothing that counts.
            good_s: time with good data since the last decision; 0: this one's data is not good.
            window_s: a wish that is older leaves; one exactly as old stays.
        """
        time_s = self.good_s + good_s
        oldest_s = time_s - window_s - _ROUNDING_S
        wanted = tuple(count for count in self.wanted if count.time_s >= oldest_s)
        if replicas is not None:
            wanted = (*(count for count in wanted if count.replicas > replicas), Count(time_s, replicas))
        return replace(self, good_s=time_s, wanted=wanted)

    def with_verdict(self, verdict: Verdict) -> Self:
        """Note what was decided."""
        decided = Count(self.elapsed_s, verdict.replicas) if verdict.change else None
        return replace(self, decided=decided)

    def without_history(self) -> Self:
        """Forget what was wanted, as at the start."""
        return replace(self, good_s=0.0, wanted=())
