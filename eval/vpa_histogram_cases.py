"""Conformance cases of the VPA's histograms: options, operations, percentiles and checkpoints."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from podgym.baselines import vpa
from podgym.errors import InputError, unknown_name
from podgym.eval.vpa_answers import Answer, answer_pairs

Json: TypeAlias = Any


def _buckets(raw: Json) -> vpa.Buckets:
    match raw["type"]:
        case "linear":
            return vpa.LinearBuckets(raw["max_value"], raw["bucket_size"], raw["epsilon"])
        case "exponential":
            return vpa.ExponentialBuckets(
                raw["max_value"], raw["first_bucket_size"], raw["ratio"], raw["epsilon"]
            )
        case unknown:
            raise unknown_name("type of histogram", unknown, ("linear", "exponential"))


def _histogram(options: Json, half_life_s: float | None) -> vpa.Histogram:
    buckets = _buckets(options)
    return vpa.Histogram(buckets) if half_life_s is None else vpa.DecayingHistogram(buckets, half_life_s)


def _operate(histogram: vpa.Histogram, operation: Json) -> None:
    name, value, weight, time_s = operation
    operations = {"add": histogram.add, "subtract": histogram.subtract}
    if name not in operations:
        raise unknown_name("operation on a histogram", name, operations)
    operations[name](value, weight, time_s)


def _filled(options: Json, half_life_s: float | None, operations: Iterable[Json]) -> vpa.Histogram:
    histogram = _histogram(options, half_life_s)
    for operation in operations:
        _operate(histogram, operation)
    return histogram


def _histogram_options(raw: Json) -> dict[str, Json]:
    try:
        buckets = _buckets(raw)
    except InputError:
        return {"error": True}
    return {
        "error": False,
        "num_buckets": buckets.num_buckets,
        "bucket_starts": answer_pairs(buckets, buckets.start),
        "find_bucket": answer_pairs(buckets, buckets.find),
    }


def _histogram_case(raw: Json) -> dict[str, Json]:
    options, half_life_s = raw["options"], raw["half_life_s"]
    histogram = _histogram(options, half_life_s)
    empty = [histogram.is_empty]
    for operation in raw["operations"]:
        _operate(histogram, operation)
        empty.append(histogram.is_empty)
    if raw["merge_with"] is not None:
        histogram.merge(_filled(options, half_life_s, raw["merge_with"]))
    return {
        "percentiles": answer_pairs(histogram, histogram.percentile),
        "empty_after_each": empty,
        "equals_operations": Answer(
            histogram, lambda operations: histogram == _filled(options, half_life_s, operations)
        ),
    }


def _weights(weights: Mapping[int, float]) -> dict[str, float]:
    return {str(bucket): weight for bucket, weight in weights.items()}


def _checkpoint_save(raw: Json) -> dict[str, Json]:
    checkpoint = _filled(raw["options"], raw["half_life_s"], raw["operations"]).save()
    return {
        "total_weight": checkpoint.total_weight,
        "bucket_weights": _weights(checkpoint.bucket_weights),
        "reference_s": checkpoint.reference_s,
    }


def _checkpoint_load(raw: Json) -> dict[str, Json]:
    histogram = _histogram(raw["options"], raw.get("half_life_s"))
    try:
        histogram.load(_checkpoint(raw["checkpoint"]))
    except InputError:
        return {"error": True}
    first, last = histogram.bucket_range
    return {
        "error": False,
        "total_weight": histogram.total_weight,
        "bucket_weights": _weights(histogram.bucket_weights),
        "min_bucket": first,
        "max_bucket": last,
        "empty": histogram.is_empty,
        "percentiles": answer_pairs(histogram, histogram.percentile),
    }


def _checkpoint(raw: Json) -> vpa.HistogramCheckpoint | None:
    if raw is None:
        return None
    weights = {int(bucket): weight for bucket, weight in (raw["bucket_weights"] or {}).items()}
    return vpa.HistogramCheckpoint(raw["total_weight"], weights, raw.get("reference_s", vpa.ZERO_TIME_S))


HISTOGRAM_KINDS: Mapping[str, Callable[[Json], Mapping[str, Json]]] = {
    "histogram_options": _histogram_options,
    "histogram": _histogram_case,
    "checkpoint_save": _checkpoint_save,
    "checkpoint_load": _checkpoint_load,
}
"""Kind of case -> function from its input to what our histograms make of it."""
