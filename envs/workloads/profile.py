"""What every workload gives: a load profile, and the protocol of the workloads that give it."""

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, Protocol, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from podgym.errors import InputError

LoadKind = Literal["open", "closed"]
"""``open``: arrivals do not wait for answers; ``closed``: users wait for each answer and then think."""

DAY_S = 86_400.0
"""Seconds of a day."""
WEEK_S = 7 * DAY_S
"""Seconds of a week."""

_NUMBERS = (int, float, np.integer, np.floating)


def require_number(name: str, value: object, *, low: float = -math.inf, above: float = -math.inf) -> float:
    """Return ``value`` as a float, or refuse it.

    Args:
        name: what the number is, for the message.
        value: the number as given.
        low: smallest value allowed.
        above: the value must be strictly greater than this.

    Raises:
        InputError: not a number, not finite, or too small.
    """
    number = isinstance(value, _NUMBERS) and not isinstance(value, bool)
    if number and math.isfinite(cast(float, value)) and low <= cast(float, value) > above:
        return float(cast(float, value))
    limits = [f"at least {low:g}"] if low > -math.inf else []
    limits += [f"above {above:g}"] if above > -math.inf else []
    raise InputError(f"{name} is {value!r}; it must be a finite number {' and '.join(limits)}".rstrip() + ".")


@dataclass(frozen=True, slots=True, eq=False)
class LoadProfile:
    """The external load of one episode: equidistant samples, linear in between.

    The samples are copied, checked and made read-only, so a profile can be shared and never changes.

    Raises:
        InputError: fewer than 2 samples, a step that is not positive, a sample that is negative, NaN or
            infinite (the message names its index and value), or a trace without its place or the reverse.
    """

    values: NDArray[np.float64]
    """(n,) requests/s when ``kind`` is "open", concurrent users when it is "closed"."""
    step_s: float
    """Seconds between two samples; sample i holds at ``i * step_s``."""
    kind: LoadKind
    """What ``values`` counts."""
    start_time_s: float
    """Clock at the first sample, seconds since Monday 00:00; 0 when the workload has no clock."""
    label: str
    """Says what the profile is, for tables."""
    trace: str | None = None
    """Name of the trace and column that the profile was cut from, ``TraceWorkload.name``, such as
    "alibaba2018:cpu_util_percent"; None: it was generated."""
    trace_start_s: float | None = None
    """Where in the trace the first sample lies, seconds since the start of the whole trace; None: there is
    no trace."""
    scale: float = 1.0
    """Factor by which the rates of the trace were multiplied, ``TraceWorkload.scale``; ``values / scale``
    are the rates of the trace opened without a wanted peak or mean."""

    def __post_init__(self) -> None:
        if self.kind not in ("open", "closed"):
            raise InputError(f"kind is {self.kind!r}; allowed: closed, open.")
        object.__setattr__(self, "values", _checked_values(self.values))
        object.__setattr__(self, "step_s", require_number("step_s", self.step_s, above=0.0))
        object.__setattr__(self, "start_time_s", require_number("start_time_s", self.start_time_s, low=0.0))
        object.__setattr__(self, "scale", require_number("scale", self.scale, above=0.0))
        self._check_trace()

    def _check_trace(self) -> None:
        trace: object = self.trace
        if trace is not None and (not isinstance(trace, str) or trace == ""):
            raise InputError(f"trace is {self.trace!r}; it must be the name of a trace, or None.")
        if (self.trace is None) != (self.trace_start_s is None):
            raise InputError(
                f"trace is {self.trace!r} and trace_start_s {self.trace_start_s!r}; a profile that was cut "
                "from a trace has both, a generated one neither."
            )
        if self.trace_start_s is not None:
            start_s = require_number("trace_start_s", self.trace_start_s, low=0.0)
            object.__setattr__(self, "trace_start_s", start_s)

    @property
    def duration_s(self) -> float:
        """Time from the first sample to the last."""
        return (len(self.values) - 1) * self.step_s

    @property
    def times_s(self) -> NDArray[np.float64]:
        """(n,) s: when each sample holds, from the start of the episode."""
        return np.arange(len(self.values), dtype=np.float64) * self.step_s


def _checked_values(values: ArrayLike) -> NDArray[np.float64]:
    try:
        checked = np.array(values, dtype=np.float64)  # (n,) requests/s or users
    except (TypeError, ValueError) as error:
        raise InputError(f"the values of a load profile must be numbers: {error}.") from error
    if checked.ndim != 1 or len(checked) < 2:
        raise InputError(f"a load profile needs 2 or more samples in one row; got shape {checked.shape}.")
    # A NaN makes both comparisons false, so two reductions find every kind of bad sample.
    if not (checked.min() >= 0.0 and checked.max() < math.inf):
        index = int(np.flatnonzero(~(np.isfinite(checked) & (checked >= 0.0)))[0])
        raise InputError(
            f"sample {index} of the load profile is {checked[index]}; it must be finite and 0 or more."
        )
    checked.setflags(write=False)
    return checked


class Workload(Protocol):
    """A source of load profiles: each call of ``sample`` is the load of one episode."""

    @property
    def name(self) -> str:
        """Short name, the same for all episodes."""

    @property
    def kind(self) -> LoadKind:
        """Whether the profiles count requests/s or users."""

    @property
    def step_s(self) -> float:
        """Seconds between two samples of a profile."""

    @property
    def max_duration_s(self) -> float:
        """Longest episode that can be sampled; infinite for generated workloads."""

    def sample(self, rng: np.random.Generator, duration_s: float) -> LoadProfile:
        """Return the load of one episode: ``ceil(duration_s / step_s) + 1`` samples from time 0 on.

        Equal generators give equal profiles.

        Raises:
            InputError: ``duration_s`` is not positive or longer than ``max_duration_s``.
        """


def sample_count(duration_s: float, step_s: float, *, max_duration_s: float, name: str) -> int:
    """Return how many samples cover [0, ``duration_s``]: both ends count.

    Raises:
        InputError: ``duration_s`` is not a positive number or exceeds ``max_duration_s``.
    """
    duration_s = require_number("duration_s", duration_s, above=0.0)
    # Rounding in duration / step must not add a sample, hence the tolerance.
    steps = max(1, math.ceil(duration_s / step_s - 1e-9))
    if steps * step_s > max_duration_s * (1 + 1e-9):
        raise InputError(
            f"workload {name!r} lasts at most {max_duration_s:g} s in steps of {step_s:g} s; the episode "
            f"asks for {duration_s:g} s. Shorten the episode or use a longer workload."
        )
    return steps + 1


def resample(profile: LoadProfile, step_s: float) -> LoadProfile:
    """Return the same load at another step, read off the straight lines between the samples.

    Kind, clock, label and the place in a trace stay as they are.

    Nothing is averaged: a step longer than the profile's own can miss a peak between two of its samples.
    When ``step_s`` does not divide the duration, the last sample lies past the end and repeats the last
    value.

    Args:
        profile: the load as sampled.
        step_s: seconds between two samples of the result, above 0.

    Raises:
        InputError: ``step_s`` is not a positive number.
    """
    step_s = require_number("step_s", step_s, above=0.0)
    count = max(1, math.ceil(profile.duration_s / step_s - 1e-9)) + 1
    values = np.interp(np.arange(count) * step_s, profile.times_s, profile.values)
    return replace(profile, values=values, step_s=step_s)


def profile_sha256(profile: LoadProfile) -> str:
    """Return a hash of everything that a load profile does to a cluster: samples, step, kind and clock."""
    digest = hashlib.sha256(f"{profile.kind} {profile.step_s!r} {profile.start_time_s!r} ".encode())
    digest.update(np.ascontiguousarray(profile.values, dtype="<f8").tobytes())
    return digest.hexdigest()


def joint_sha256(hashes: Iterable[str]) -> str:
    """Return one hash of the loads of several episodes.

    Args:
        hashes: ``profile_sha256`` of each, in the order of the episodes.
    """
    return hashlib.sha256("".join(hashes).encode()).hexdigest()
