"""One container's usage: which samples count, and what each of them does to the histograms.

Upstream: ``recommender/model/container.go``. Every CPU sample counts. Of memory the peak of each
aggregation interval counts, entered at the end of the interval; an OOM kill counts as a peak above the
request. The functions are pure: a state and an observation give the next state and the operations that
the container's aggregate is to carry out.
"""

from dataclasses import dataclass
from math import fmod
from typing import Literal, NamedTuple

from podgym.baselines.vpa.amounts import (
    Resource,
    bytes_from_memory_amount,
    cores_from_cpu_amount,
    memory_amount_from_bytes,
    scale_amount,
)
from podgym.baselines.vpa.checks import require_positive, require_within

CPU_SAMPLE_WEIGHT = 0.1
"""Weight of every CPU sample (kubernetes/autoscaler#7818: the request never entered into it)."""
MEMORY_SAMPLE_WEIGHT = 1.0
"""Weight of a memory peak."""
DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class UsageSettings:
    """How memory peaks are aggregated and OOM kills answered (``aggregations_config.go``)."""

    memory_aggregation_interval_s: float = DAY_S
    """One memory peak counts per container and interval."""
    memory_aggregation_interval_count: int = 8
    """After so many intervals without a CPU sample an aggregate is dropped."""
    oom_bump_up_ratio: float = 1.2
    """After an OOM kill, memory needed over memory used."""
    oom_min_bump_up_bytes: float = 100 * 1024**2
    """After an OOM kill, least bytes needed beyond those used."""

    def __post_init__(self) -> None:
        require_positive(self, "memory_aggregation_interval_s", "memory_aggregation_interval_count")
        require_within(self, "oom_bump_up_ratio", "oom_min_bump_up_bytes")


DEFAULT_USAGE_SETTINGS = UsageSettings()


class HistogramOperation(NamedTuple):
    """What one observation does to a histogram."""

    resource: Resource
    """Whose histogram: of CPU usage or of memory peaks."""
    operation: Literal["add", "subtract"]
    value: float
    """Cores or bytes."""
    weight: float
    time_s: float


class ContainerUsage(NamedTuple):
    """What is remembered of one container. None: not seen yet."""

    last_cpu_s: float | None = None
    """Time of the last CPU sample that counted."""
    last_memory_s: float | None = None
    """Time of the last memory sample that counted."""
    memory_peak_bytes: int = 0
    """Largest sample of the present interval."""
    oom_peak_bytes: int = 0
    """Largest need estimated from an OOM kill of the present interval."""
    window_end_s: float | None = None
    """End of the present interval, itself not part of it."""


class Observed(NamedTuple):
    """What came of one observation."""

    accepted: bool
    usage: ContainerUsage
    """The state from now on."""
    operations: tuple[HistogramOperation, ...] = ()
    """To be carried out in this order."""


def observe_cpu(usage: ContainerUsage, amount_milli: int, time_s: float) -> Observed:
    """Take a CPU sample; one that is negative or not newer than the last is rejected.

    Args:
        usage: what is remembered of the container.
        amount_milli: millicores used.
        time_s: time of the sample.
    """
    if amount_milli < 0 or (usage.last_cpu_s is not None and time_s <= usage.last_cpu_s):
        return Observed(False, usage)
    cores = cores_from_cpu_amount(amount_milli)
    operation = HistogramOperation("cpu", "add", cores, CPU_SAMPLE_WEIGHT, time_s)
    return Observed(True, usage._replace(last_cpu_s=time_s), (operation,))


def observe_memory(
    usage: ContainerUsage, amount_bytes: int, time_s: float, settings: UsageSettings = DEFAULT_USAGE_SETTINGS
) -> Observed:
    """Take a memory sample; one that is negative or older than the last is rejected.

    Args:
        usage: what is remembered of the container.
        amount_bytes: bytes used.
        time_s: time of the sample.
        settings: interval of aggregation.
    """
    if usage.last_memory_s is not None and time_s < usage.last_memory_s:
        return Observed(False, usage)
    return _take_memory(usage, amount_bytes, time_s, settings, oom=False)


def observe_oom(
    usage: ContainerUsage,
    requested_bytes: int,
    time_s: float,
    settings: UsageSettings = DEFAULT_USAGE_SETTINGS,
    *,
    max_memory_bytes: int = 0,
) -> Observed:
    """Take an OOM kill as a sample of what would have been needed.

    The peak of earlier kills is left out, so that one kill after another does not compound. A kill from
    before the present interval is rejected; one that opens the next interval still sees the peak of the
    one before.

    Args:
        usage: what is remembered of the container.
        requested_bytes: memory request at that time.
        time_s: when the container was killed.
        settings: interval of aggregation and size of the bump.
        max_memory_bytes: cap on what is taken as used and as needed; 0, as upstream has it: none. The
            cap is the unmerged proposal kubernetes/autoscaler#9526.
    """
    window_end_s = usage.window_end_s
    if window_end_s is not None and time_s < window_end_s - settings.memory_aggregation_interval_s:
        return Observed(False, usage)
    cap = max_memory_bytes if max_memory_bytes > 0 else None
    used = max(requested_bytes, usage.memory_peak_bytes)
    used = used if cap is None else min(used, cap)
    needed = max(
        used + memory_amount_from_bytes(settings.oom_min_bump_up_bytes),
        scale_amount(used, settings.oom_bump_up_ratio),
    )
    needed = needed if cap is None else min(needed, cap)
    return _take_memory(usage, needed, time_s, settings, oom=True)


def _take_memory(
    usage: ContainerUsage, amount_bytes: int, time_s: float, settings: UsageSettings, *, oom: bool
) -> Observed:
    if amount_bytes < 0:
        return Observed(False, usage)
    window_end_s = time_s if usage.window_end_s is None else usage.window_end_s
    usage = usage._replace(last_memory_s=time_s, window_end_s=window_end_s)
    if time_s >= window_end_s:
        interval_s = settings.memory_aggregation_interval_s
        late_s = time_s - window_end_s
        end_s = window_end_s + (late_s - fmod(late_s, interval_s)) + interval_s
        usage = usage._replace(window_end_s=end_s, memory_peak_bytes=0, oom_peak_bytes=0)
        return Observed(True, _with_peak(usage, amount_bytes, oom), (_peak("add", amount_bytes, end_s),))
    peak_bytes = max(usage.memory_peak_bytes, usage.oom_peak_bytes)
    if peak_bytes == 0 or amount_bytes <= peak_bytes:
        return Observed(True, usage)
    operations = (_peak("subtract", peak_bytes, window_end_s), _peak("add", amount_bytes, window_end_s))
    return Observed(True, _with_peak(usage, amount_bytes, oom), operations)


def _with_peak(usage: ContainerUsage, amount_bytes: int, oom: bool) -> ContainerUsage:
    if oom:
        return usage._replace(oom_peak_bytes=amount_bytes)
    return usage._replace(memory_peak_bytes=amount_bytes)


def _peak(
    operation: Literal["add", "subtract"], amount_bytes: int, window_end_s: float
) -> HistogramOperation:
    value = bytes_from_memory_amount(amount_bytes)
    return HistogramOperation("memory", operation, value, MEMORY_SAMPLE_WEIGHT, window_end_s)
