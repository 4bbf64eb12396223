"""The usage of all containers of one name, added up: what a recommendation is made of.

Upstream: ``recommender/model/aggregate_container_state.go`` and ``aggregations_config.go``. Containers with
the same name, namespace and pod labels share one aggregate; a VPA merges all aggregates of a name.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Self

from podgym.baselines.vpa.buckets import CPU_BUCKETS, MEMORY_BUCKETS
from podgym.baselines.vpa.histogram import (
    ZERO_TIME_S,
    DecayingHistogram,
    HistogramCheckpoint,
    nearest_reference_s,
)
from podgym.baselines.vpa.usage import DAY_S, DEFAULT_USAGE_SETTINGS, HistogramOperation, UsageSettings
from podgym.errors import InputError

HALF_LIFE_S = DAY_S
"""Default half-life of both histograms."""
CHECKPOINT_VERSION = "v3"
"""Version of the checkpoint format."""


@dataclass(slots=True)
class AggregateState:
    """Histograms of CPU usage and of memory peaks, and how much history stands behind them."""

    cpu: DecayingHistogram = field(default_factory=lambda: DecayingHistogram(CPU_BUCKETS, HALF_LIFE_S))
    """Of CPU samples, cores."""
    memory: DecayingHistogram = field(default_factory=lambda: DecayingHistogram(MEMORY_BUCKETS, HALF_LIFE_S))
    """Of memory peaks, bytes."""
    first_cpu_s: float | None = None
    """Time of the oldest CPU sample; None: there is none. Memory samples do not matter to it."""
    last_cpu_s: float | None = None
    """Time of the youngest CPU sample."""
    cpu_samples: int = 0
    """Number of CPU samples."""
    created_s: float = 0.0
    """When it was begun."""

    @classmethod
    def begin(cls, created_s: float = 0.0, *, half_life_s: float = HALF_LIFE_S) -> Self:
        """Begin an empty aggregate.

        Args:
            created_s: the time now.
            half_life_s: of both histograms.
        """
        return cls(
            DecayingHistogram(CPU_BUCKETS, half_life_s),
            DecayingHistogram(MEMORY_BUCKETS, half_life_s),
            created_s=created_s,
        )

    @property
    def lifespan_s(self) -> float:
        """Time from the first to the last CPU sample; 0 without any."""
        if self.first_cpu_s is None or self.last_cpu_s is None:
            return 0.0
        return self.last_cpu_s - self.first_cpu_s

    def apply(self, operations: Iterable[HistogramOperation]) -> None:
        """Carry out what observations of a container ask for."""
        for each in operations:
            histogram = self.cpu if each.resource == "cpu" else self.memory
            if each.operation == "add":
                histogram.add(each.value, each.weight, each.time_s)
            else:
                histogram.subtract(each.value, each.weight, each.time_s)
            if each.resource == "cpu":
                self._count(each.time_s)

    def _count(self, time_s: float) -> None:
        self.first_cpu_s = _earliest(self.first_cpu_s, time_s)
        self.last_cpu_s = _latest(self.last_cpu_s, time_s)
        self.cpu_samples += 1

    def merge(self, other: Self) -> None:
        """Add all that another aggregate holds; the other one stays as it is."""
        self.cpu.merge(other.cpu)
        self.memory.merge(other.memory)
        self.first_cpu_s = _earliest(self.first_cpu_s, other.first_cpu_s)
        self.last_cpu_s = _latest(self.last_cpu_s, other.last_cpu_s)
        self.cpu_samples += other.cpu_samples

    def is_expired(self, now_s: float, settings: UsageSettings = DEFAULT_USAGE_SETTINGS) -> bool:
        """Whether the last CPU sample, or the beginning if there is none, is too long ago."""
        last_s = self.created_s if self.last_cpu_s is None else self.last_cpu_s
        return is_expired(now_s - last_s, settings)

    def save(self) -> dict[str, Any]:
        """Return a checkpoint: numbers, strings and mappings that JSON can hold."""
        return {
            "version": CHECKPOINT_VERSION,
            "first_sample_s": self.first_cpu_s,
            "last_sample_s": self.last_cpu_s,
            "total_samples_count": self.cpu_samples,
            "cpu_histogram": _histogram_to_json(self.cpu.save()),
            "memory_histogram": _histogram_to_json(self.memory.save()),
        }

    @classmethod
    def load(cls, checkpoint: Mapping[str, Any], *, half_life_s: float = HALF_LIFE_S) -> Self:
        """Return the aggregate of a checkpoint.

        Args:
            checkpoint: as from ``save``.
            half_life_s: of both histograms; the one with which it was saved.

        Raises:
            InputError: a version or key that is not known or missing, or a value that cannot be used.
        """
        if not isinstance(checkpoint, Mapping):
            raise InputError(
                f"a checkpoint of VPA is a mapping as from AggregateState.save; got {checkpoint!r}."
            )
        if checkpoint.get("version") != CHECKPOINT_VERSION:
            raise InputError(
                f"the checkpoint has version {checkpoint.get('version')!r}; {CHECKPOINT_VERSION!r} is needed."
            )
        state = cls.begin(half_life_s=half_life_s)
        try:
            state.cpu.load(_histogram_from_json(checkpoint["cpu_histogram"]))
            state.memory.load(_histogram_from_json(checkpoint["memory_histogram"]))
            state.first_cpu_s = _time_from_json(checkpoint["first_sample_s"])
            state.last_cpu_s = _time_from_json(checkpoint["last_sample_s"])
            state.cpu_samples = int(checkpoint["total_samples_count"])
        except KeyError as error:
            raise InputError(f"the checkpoint lacks the key {error}.") from None
        except InputError:
            raise
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            raise InputError(f"the checkpoint cannot be used: {error}.") from None
        if state.last_cpu_s is not None:
            state.created_s = state.last_cpu_s
        return state


def is_expired(age_s: float, settings: UsageSettings = DEFAULT_USAGE_SETTINGS) -> bool:
    """Whether an aggregate whose last CPU sample is so old is to be dropped."""
    return age_s >= settings.memory_aggregation_interval_s * settings.memory_aggregation_interval_count


def merge_by_container(
    aggregates: Iterable[tuple[str, AggregateState]], *, half_life_s: float = HALF_LIFE_S
) -> dict[str, AggregateState]:
    """Merge the aggregates of each container name.

    Args:
        aggregates: pairs of container name and aggregate.
        half_life_s: that of all of them.

    Returns:
        One aggregate of its own per name, in the order of the names' first appearance.
    """
    merged: dict[str, AggregateState] = {}
    for name, aggregate in aggregates:
        if name not in merged:
            merged[name] = AggregateState.begin(aggregate.created_s, half_life_s=half_life_s)
        merged[name].merge(aggregate)
    return merged


def shifted_checkpoint(checkpoint: Mapping[str, Any], by_s: float, *, half_life_s: float) -> dict[str, Any]:
    """Return a checkpoint in which everything happened so much later (a negative number: earlier).

    References stay multiples of the half-life; the weights make up for the difference.

    Args:
        checkpoint: as from ``AggregateState.save``.
        by_s: what to add to its times.
        half_life_s: the half-life of its histograms.
    """
    shifted = dict(checkpoint)
    for key in ("first_sample_s", "last_sample_s"):
        shifted[key] = None if checkpoint[key] is None else checkpoint[key] + by_s
    for key in ("cpu_histogram", "memory_histogram"):
        histogram = dict(checkpoint[key])
        moved_s = histogram["reference_s"] + by_s
        if histogram["reference_s"] != ZERO_TIME_S:  # else nothing was ever entered
            histogram["reference_s"] = nearest_reference_s(moved_s, half_life_s)
            histogram["total_weight"] *= 2.0 ** ((moved_s - histogram["reference_s"]) / half_life_s)
        shifted[key] = histogram
    return shifted


def _earliest(mine: float | None, other: float | None) -> float | None:
    return other if mine is None else mine if other is None else min(mine, other)


def _latest(mine: float | None, other: float | None) -> float | None:
    return other if mine is None else mine if other is None else max(mine, other)


def _histogram_to_json(checkpoint: HistogramCheckpoint) -> dict[str, Any]:
    return {
        "total_weight": checkpoint.total_weight,
        "bucket_weights": {str(bucket): weight for bucket, weight in checkpoint.bucket_weights.items()},
        "reference_s": checkpoint.reference_s,
    }


def _histogram_from_json(raw: Mapping[str, Any]) -> HistogramCheckpoint:
    weights = {int(bucket): int(weight) for bucket, weight in raw["bucket_weights"].items()}
    reference_s = _time_from_json(raw["reference_s"])
    if reference_s is None:
        raise InputError("the reference of a histogram's checkpoint is missing.")
    return HistogramCheckpoint(float(raw["total_weight"]), weights, reference_s)


def _time_from_json(value: Any) -> float | None:  # noqa: ANN401  (checked here)
    if value is None:
        return None
    time_s = float(value)
    if not isfinite(time_s):
        raise InputError(f"a time of the checkpoint is {value!r}; a finite number of seconds is needed.")
    return time_s
