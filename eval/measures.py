"""Measures of an episode: one table of names, units, definitions and functions.

All are exact sums over the intervals of the record; ratios are ratios of sums, and percentiles come from
the mixture of the intervals' laws (see ``podgym.eval.mixture``). Of several services, requests and resources
are summed; a response time is that of one external request over all its calls.

Provisioning follows the elasticity measures of the SPEC Research Group (Herbst et al., "Ready for Rain? A
View from SPEC Research on the Future of Cloud Metrics", SPEC-RG-2016-01): demand is the smallest number of
ready pods that meets the SLO at the offered rate, supply the mean number of ready pods of the interval.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from podgym.eval.charges import LIST_PRICES, POWER, PriceTable
from podgym.eval.episode import EpisodeRecord
from podgym.eval.mixture import LAW_COLUMNS, Laws, mixture_mean_s, mixture_quantile_s

Floats = NDArray[np.float64]
Better = Literal["lower", "higher", "neither"]

BUSIEST_SHARE = 0.95
"""The busiest phase: intervals whose load is at least this share of the highest of the episode."""
ALPHA = BETA = 0.5
"""Weights of CPU and memory in the mean utilisation, as in the paper."""
GIB = 1024.0**3
SECONDS_PER_HOUR = 3600.0
_CORE_HOURS = ("cpu_requested_core_s", SECONDS_PER_HOUR)  # column, and its amount per unit
_GIB_HOURS = ("memory_requested_byte_s", SECONDS_PER_HOUR * GIB)
_SMALLEST_LACK = 1e-6  # pods: rounding of an integral over time is no lack


@dataclass(frozen=True, slots=True)
class Measure:
    """One number that an episode is judged by."""

    name: str
    """Name, also the key in tables and files."""
    unit: str
    """Unit; "1" for a ratio."""
    better: Better
    """Which way is better, other things being equal."""
    definition: str
    """What it is, in one sentence."""
    compute: Callable[[EpisodeRecord], float]
    """From a record to the number; nan when it is not defined, as the response time of no requests."""
    by_service: bool = True
    """Whether it is defined for one service of several."""


def measure(record: EpisodeRecord, prices: PriceTable = LIST_PRICES) -> dict[str, float]:
    """Return every measure of an episode by name, in the order of ``MEASURES``."""
    return {each.name: each.compute(record) for each in measures_at(prices)}


def measure_by_service(
    record: EpisodeRecord, prices: PriceTable = LIST_PRICES
) -> dict[str, dict[str, float]]:
    """Return, by service, every measure that is defined for a service alone."""
    chosen = [each for each in measures_at(prices) if each.by_service]
    return {
        name: {each.name: each.compute(alone) for each in chosen}
        for name in record.metadata.service_names
        for alone in [record.of_service(name)]
    }


def mean_and_spread(values: Iterable[float]) -> tuple[float, float]:
    """Return mean and sample standard deviation of finite values; the latter is 0 for a single one.

    Values that are not defined (nan) make both nan: a mean over the rest would hide them.
    """
    array = np.array(list(values), dtype=np.float64)
    spread = float(array.std(ddof=1)) if len(array) > 1 else 0.0
    return float(array.mean()), spread


def external_laws(record: EpisodeRecord) -> tuple[Laws, Floats]:
    """Return the response time laws of the external requests of each interval, and their numbers.

    One service has the law of its report. Of several, the calls of a request add up: constant parts, means
    and variances each weighted with the visits, and a law of the same two moments, as in ``info``.
    """
    columns = record.columns
    if record.num_services == 1:
        return _laws(record, 0), columns["completed"][:, 0]
    visits = np.array(record.metadata.visits) * (columns["completed"] > 1e-9)  # (num_steps, num_services)
    waits_s = np.nan_to_num(columns["wait_probability"] * columns["wait_mean_s"])
    squares = np.nan_to_num(
        columns["wait_probability"] * (columns["wait_mean_s"] ** 2 + columns["wait_std_s"] ** 2)
    )
    service_s = np.nan_to_num(columns["service_mean_s"])
    deviation_s = service_s * np.nan_to_num(columns["service_cv"])
    mean_s = (visits * (service_s + waits_s)).sum(axis=1)
    variance = (visits * (deviation_s**2 + squares - waits_s**2)).sum(axis=1)
    shift_s = (visits * np.nan_to_num(columns["service_shift_s"])).sum(axis=1)
    variation = np.sqrt(variance) / np.where(mean_s > 0.0, mean_s, 1.0)
    none = np.zeros(record.num_steps)
    return Laws(shift_s, mean_s, variation, none, none, none), _completed(record)


def _laws(record: EpisodeRecord, s: int) -> Laws:
    return Laws(*(np.nan_to_num(record.columns[name][:, s]) for name in LAW_COLUMNS))


def _completed(record: EpisodeRecord) -> Floats:
    """External requests completed in each interval, (num_steps,)."""
    return record.totals["completed_rps"] * record.columns["duration_s"][:, 0]


def _sum(record: EpisodeRecord, *names: str) -> float:
    return float(sum(record.columns[name].sum() for name in names))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0.0 else math.nan


def _response_time_mean(record: EpisodeRecord) -> float:
    return mixture_mean_s(*external_laws(record))


def _response_time_quantile(probability: float) -> Callable[[EpisodeRecord], float]:
    def compute(record: EpisodeRecord) -> float:
        return mixture_quantile_s(probability, *external_laws(record))

    return compute


def _share_of_ended(*names: str) -> Callable[[EpisodeRecord], float]:
    """Return a function that divides some requests by all that ended, well or badly."""

    def compute(record: EpisodeRecord) -> float:
        ended = _sum(record, "completed", "rejected", "timed_out", "lost")
        return _ratio(_sum(record, *names), ended)

    return compute


def _throughput(record: EpisodeRecord) -> float:
    return _ratio(float(_completed(record).sum()), record.duration_s)


def busiest(record: EpisodeRecord) -> NDArray[np.bool_]:
    """Return which intervals belong to the busiest phase, (num_steps,); the same for every controller."""
    chosen: NDArray[np.bool_] = record.load >= BUSIEST_SHARE * record.load.max()
    return chosen


def _throughput_busiest(record: EpisodeRecord) -> float:
    chosen = busiest(record)
    duration_s = float(record.columns["duration_s"][chosen, 0].sum())
    return _ratio(float(_completed(record)[chosen].sum()), duration_s)


def _cpu_utilisation(record: EpisodeRecord) -> float:
    return _ratio(_sum(record, "cpu_used_core_s"), _sum(record, "cpu_requested_core_s"))


def _memory_utilisation(record: EpisodeRecord) -> float:
    return _ratio(_sum(record, "memory_used_byte_s"), _sum(record, "memory_requested_byte_s"))


def _mean_utilisation(record: EpisodeRecord) -> float:
    return ALPHA * _cpu_utilisation(record) + BETA * _memory_utilisation(record)


def _scaled_sum(name: str, unit: float) -> Callable[[EpisodeRecord], float]:
    return lambda record: _sum(record, name) / unit


def _scaling_events(record: EpisodeRecord) -> float:
    return float(np.count_nonzero(record.columns["replica_change"]))


def _replicas_changed(record: EpisodeRecord) -> float:
    return float(np.abs(record.columns["replica_change"]).sum())


def _gap(record: EpisodeRecord, sign: float) -> tuple[Floats, Floats, Floats]:
    """Return how far supply is below (sign +1) or above (-1) demand, in pods; demand; and duration."""
    duration_s = record.columns["duration_s"]  # (num_steps, num_services), like all three
    demand = record.columns["required_replicas"]
    supply = record.columns["ready_replica_s"] / duration_s
    return np.maximum(sign * (demand - supply), 0.0), demand, duration_s


def _provisioning_accuracy(sign: float) -> Callable[[EpisodeRecord], float]:
    def compute(record: EpisodeRecord) -> float:
        gap, demand, duration_s = _gap(record, sign)
        return _ratio(float((gap / demand * duration_s).sum()), float(duration_s.sum()))

    return compute


def _provisioning_timeshare(sign: float) -> Callable[[EpisodeRecord], float]:
    def compute(record: EpisodeRecord) -> float:
        gap, _, duration_s = _gap(record, sign)
        return _ratio(float(duration_s[gap > _SMALLEST_LACK].sum()), float(duration_s.sum()))

    return compute


def _instability(record: EpisodeRecord) -> float:
    duration_s = record.columns["duration_s"]  # (num_steps, num_services), like the others
    supply = record.columns["ready_replica_s"] / duration_s
    demand_changes = np.sign(np.diff(record.columns["required_replicas"], axis=0))
    changes = np.diff(supply, axis=0)
    supply_changes = np.where(np.abs(changes) > _SMALLEST_LACK, np.sign(changes), 0.0)
    apart = duration_s[1:][supply_changes != demand_changes]
    return _ratio(float(apart.sum()), float(duration_s[1:].sum()))


def _money(prices: PriceTable) -> Callable[[EpisodeRecord], float]:
    core_hours, gib_hours = _scaled_sum(*_CORE_HOURS), _scaled_sum(*_GIB_HOURS)
    return lambda record: prices.money(core_hours(record), gib_hours(record))


def _energy_wh(record: EpisodeRecord) -> float:
    used = _sum(record, "cpu_used_core_s") / SECONDS_PER_HOUR
    return POWER.energy_wh(_scaled_sum(*_CORE_HOURS)(record), used, _scaled_sum(*_GIB_HOURS)(record))


def _money_measure(prices: PriceTable) -> Measure:
    definition = (
        f"Price of the requested resources: {prices.core_hour:g} {prices.currency} a core hour, "
        f"{prices.gib_hour:g} a GiB hour ({prices.source})."
    )
    return Measure("money", prices.currency, "lower", definition, _money(prices))


def measures_at(prices: PriceTable) -> tuple[Measure, ...]:
    """Return every measure, with money at other prices."""
    return tuple(_money_measure(prices) if each.name == "money" else each for each in MEASURES)


def _reward(record: EpisodeRecord) -> float:
    return float(record.totals["reward"].sum())


_RESPONSE = "response time of the requests completed in the whole episode"
_ENDED = "all requests that ended"

MEASURES: tuple[Measure, ...] = (
    Measure("response_time_mean_s", "s", "lower", f"Mean {_RESPONSE}.", _response_time_mean),
    Measure("response_time_p50_s", "s", "lower", f"Median {_RESPONSE}.", _response_time_quantile(0.50)),
    Measure(
        "response_time_p95_s", "s", "lower", f"95th percentile of the {_RESPONSE}.",
        _response_time_quantile(0.95),
    ),
    Measure(
        "response_time_p99_s", "s", "lower", f"99th percentile of the {_RESPONSE}.",
        _response_time_quantile(0.99),
    ),
    Measure(
        "slo_violation_ratio", "1", "lower",
        f"Requests slower than the SLO or failed / {_ENDED}.", _share_of_ended("slo_violations"),
    ),
    Measure("throughput_rps", "requests/s", "higher", "External requests completed / time.", _throughput),
    Measure(
        "throughput_busiest_rps", "requests/s", "higher",
        "The same over the intervals whose load is at least 95 % of the highest.", _throughput_busiest,
    ),
    Measure(
        "error_ratio", "1", "lower", f"Requests rejected, timed out or lost / {_ENDED}.",
        _share_of_ended("rejected", "timed_out", "lost"),
    ),
    Measure(
        "rejected_ratio", "1", "lower", f"Requests refused for a full queue or no ready pod / {_ENDED}.",
        _share_of_ended("rejected"),
    ),
    Measure(
        "timed_out_ratio", "1", "lower", f"Requests that gave up waiting / {_ENDED}.",
        _share_of_ended("timed_out"),
    ),
    Measure("lost_ratio", "1", "lower", f"Requests lost with their pod / {_ENDED}.", _share_of_ended("lost")),
    Measure(
        "cpu_utilisation", "1", "higher", "CPU used / requested, core-seconds over the episode.",
        _cpu_utilisation,
    ),
    Measure(
        "memory_utilisation", "1", "higher", "Memory used / requested, byte-seconds over the episode.",
        _memory_utilisation,
    ),
    Measure(
        "mean_utilisation", "1", "higher", "0.5 CPU utilisation + 0.5 memory utilisation.", _mean_utilisation
    ),
    Measure(
        "core_hours", "core h", "lower", "CPU requested by pods that hold a place on a node, over time.",
        _scaled_sum(*_CORE_HOURS),
    ),
    Measure(
        "gib_hours", "GiB h", "lower", "Memory requested by pods that hold a place on a node, over time.",
        _scaled_sum(*_GIB_HOURS),
    ),
    Measure(
        "replica_hours", "pod h", "lower", "Pods that exist and are not terminating, over time.",
        _scaled_sum("replica_s", SECONDS_PER_HOUR),
    ),
    _money_measure(LIST_PRICES),
    Measure(
        "energy_wh", "Wh", "lower",
        "Energy of the requested resources: idle power of the cores, more with their use, memory, and what "
        "the data centre adds; see podgym.eval.charges.", _energy_wh,
    ),
    Measure(
        "scaling_events", "changes", "lower", "Decisions that changed the wanted replicas of a service.",
        _scaling_events,
    ),
    Measure(
        "replicas_changed", "pods", "lower", "Replicas added or removed by those decisions.",
        _replicas_changed,
    ),
    Measure(
        "under_provisioning", "1", "lower",
        "Accuracy: pods lacking / pods required, mean over time and services.", _provisioning_accuracy(1.0),
    ),
    Measure(
        "over_provisioning", "1", "lower",
        "Accuracy: pods too many / pods required, mean over time and services.",
        _provisioning_accuracy(-1.0),
    ),
    Measure(
        "under_provisioned_time", "1", "lower",
        "Timeshare: share of time with fewer ready pods than required.", _provisioning_timeshare(1.0),
    ),
    Measure(
        "over_provisioned_time", "1", "lower",
        "Timeshare: share of time with more ready pods than required.", _provisioning_timeshare(-1.0),
    ),
    Measure(
        "instability", "1", "lower",
        "Share of time in which ready pods did not change in the direction of the pods required.",
        _instability,
    ),
    Measure("oom_kills", "kills", "lower", "Pods killed over their memory limit.",
            lambda record: _sum(record, "oom_kills")),
    Measure("restarts", "restarts", "lower", "Container restarts.", lambda record: _sum(record, "restarts")),
    Measure("reward", "reward", "higher", "Sum of the rewards of the episode.", _reward, by_service=False),
)  # fmt: skip
"""Every measure. One definition each: tables, files and documentation take it from here."""
