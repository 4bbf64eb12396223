"""One reading of one service: which queries are asked, at what time, and what their answers make together.

Every rate is taken over the window that ends at the newest sample, not at the present: a gap between the two
would otherwise look like less load. Where no sample is live, or the newest is older than the window, nothing
is known of the requests, not even a rate of 0.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from podgym.envs.kubernetes.histograms import Histogram
from podgym.envs.kubernetes.prometheus_answers import (
    Answer,
    PrometheusError,
    UnusableAnswerError,
    histogram_of,
    one_value,
    values_by_pod,
)
from podgym.envs.kubernetes.prometheus_session import PrometheusClient
from podgym.envs.kubernetes.queries import QUERIES, Query, render
from podgym.envs.kubernetes.readings import NAN, PodUsage, ServiceReading, WatchedService

TIMEOUTS_PER_SERVICE = 3.0
"""A reading of one service takes no longer than this many timeouts."""
# Errors can be counted elsewhere than requests, and a little apart in time; beyond this they do not fit.
_MOST_ERRORS = 1.05
_CLOCK_TOLERANCE_S = 1.0
_LEAST_TIME_S = 1e9  # 2001: a smaller number is no time at which something was scraped

_Value = TypeVar("_Value")

_DERIVED_FROM: Mapping[str, tuple[str, ...]] = {
    "request_rate_rps": ("request_rate_rps",),
    "in_flight": ("in_flight",),
    "error_ratio": ("error_rate_rps", "request_rate_rps"),
    "response_time_s": ("response_time_sum_rate", "response_time_count_rate"),
    "response_time_std_s": ("response_time_buckets",),
    "response_time_p50_s": ("response_time_buckets",),
    "response_time_p95_s": ("response_time_buckets",),
    "response_time_p99_s": ("response_time_buckets",),
    "slow_ratio": ("response_time_buckets",),
}
"""Fields of a reading that tell of requests, and the queries each is made of."""


class ServerClock:
    """The clock of Prometheus beside ours: the age of a sample is true by one clock alone.

    Virtual machines on notebooks fall minutes behind while the notebook sleeps.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        """Our clock, seconds since 1970."""
        self._ahead_s = 0.0  # how far the server's clock is ahead of ours

    def compare(self, server_s: float, before_s: float) -> None:
        """Take note of a time of the server that was asked for at ``before_s`` and has just arrived."""
        after_s = self.now()
        ahead_s = server_s - (before_s + after_s) / 2.0
        doubt_s = _CLOCK_TOLERANCE_S + abs(after_s - before_s) / 2.0
        # Within the doubt nothing changes, so that one sample keeps one time, to the digit.
        if abs(ahead_s - self._ahead_s) > doubt_s:
            self._ahead_s = ahead_s

    def local(self, server_s: float) -> float:
        """Return a time of the server by our clock."""
        return server_s - self._ahead_s


class Asking:
    """The queries of one service in one reading: their answers, and why there is none.

    The first failure that is not the query's own ends it: the rest is not asked.
    """

    def __init__(
        self, client: PrometheusClient, clock: ServerClock, queries: Mapping[str, Query],
        service: WatchedService, window_s: float, longest_s: float,
    ) -> None:  # fmt: skip
        self._client, self._clock = client, clock
        self._deadline_s = time.monotonic() + longest_s
        self._promql = {
            name: render(query, service, window_s) for name, query in queries.items() if query.promql
        }
        changed = {name for name, query in queries.items() if query.promql != QUERIES[name].promql}
        self.pods_have_times = "pod_sample_time_s" in changed or changed.isdisjoint(
            {"pod_cpu_cores", "pod_memory_bytes"}
        )
        """Whether the query for the pods' times tells of the metrics that are read. Where CPU or memory come
        from elsewhere than by default, the times of the request metrics stand in."""
        self._stopped: str | None = None
        self.problems: dict[str, str] = {}
        """Why there is no answer, by name of the query."""
        self.warnings: list[str] = []
        """What Prometheus warned of."""
        self.answered = False
        """Whether Prometheus answered anything at all."""
        self.evaluated_s = NAN
        """When the last answer about the present was worked out, by the server's clock."""

    def value(self, name: str, at_s: float | None = None) -> float:
        """Return the answer to a query that means one number; nan where there is none."""
        value = self._parsed(name, at_s, one_value)
        return NAN if value is None else value

    def count(self, name: str) -> float:
        """Return the answer to a query that counts, where no series means 0; nan where it is not known."""
        answer = self._answer(name, None)
        if answer is None:
            return NAN
        if answer.kind == "vector" and not answer.series:
            return 0.0
        value = self._used(name, answer, one_value)
        return NAN if value is None else value

    def by_pod(self, name: str, at_s: float | None = None) -> dict[str, float]:
        """Return the answer to a query that means a number per pod; empty where there is none."""
        return self._parsed(name, at_s, values_by_pod) or {}

    def histogram(self, name: str, at_s: float | None = None) -> Histogram | None:
        """Return the answer to a query that means a histogram; None where there is none."""
        return self._parsed(name, at_s, histogram_of)

    def asks(self, name: str) -> bool:
        """Whether the query is switched on."""
        return name in self._promql

    def _parsed(self, name: str, at_s: float | None, parse: Callable[[Answer], _Value]) -> _Value | None:
        if name not in self._promql:
            self.problems[name] = f"not asked: metrics.queries.{name} is empty"
            return None
        answer = self._answer(name, at_s)
        return None if answer is None else self._used(name, answer, parse)

    def _used(self, name: str, answer: Answer, parse: Callable[[Answer], _Value]) -> _Value | None:
        try:
            return parse(answer)
        except UnusableAnswerError as error:
            self.problems[name] = str(error)
            return None

    def _answer(self, name: str, at_s: float | None) -> Answer | None:
        left_s = self._deadline_s - time.monotonic()
        if self._stopped is None and left_s <= 0.0:
            self._stopped = "not asked: the answers before took too long"
        if self._stopped is not None:
            self.problems[name] = self._stopped
            return None
        before_s = self._clock.now()
        try:
            answer = self._client.query(self._promql[name], at_s=at_s, timeout_s=left_s)
        except PrometheusError as error:
            self.problems[name] = str(error)
            self.answered |= error.fault == "query"
            if error.fault != "query":
                self._stopped = f"not asked, after: {error}"
            return None
        self.answered = True
        if at_s is None and answer.evaluated_s is not None:
            self.evaluated_s = answer.evaluated_s
            self._clock.compare(answer.evaluated_s, before_s)
        self.warnings += [warning for warning in answer.warnings if warning not in self.warnings]
        return answer


@dataclass(frozen=True, slots=True)
class _Anchor:
    """The newest sample of the request metrics, by the server's clock."""

    sample_s: float
    """When it was scraped, seconds since 1970; nan: there is none."""
    problem: str | None
    """Why nothing is known of the requests; None: the sample is fresh enough for rates."""


@dataclass(slots=True)
class _Requests:
    """What is known of the requests, by field of the reading."""

    values: dict[str, float] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


def _find_anchor(asking: Asking, window_s: float) -> _Anchor:
    """Ask for the newest sample and judge it."""
    sample_s = asking.value("sample_time_s")
    if math.isnan(sample_s):
        return _Anchor(NAN, f"no live sample: {asking.problems['sample_time_s']}")
    if sample_s < _LEAST_TIME_S:
        return _Anchor(NAN, f"sample_time_s is {sample_s:g}, which is no time in seconds since 1970")
    age_s = asking.evaluated_s - sample_s
    if age_s > window_s:
        text = f"the newest sample is {age_s:.3g} s old, which is more than the window of {window_s:g} s"
        return _Anchor(sample_s, text)
    return _Anchor(min(sample_s, asking.evaluated_s), None)


def read_service(
    asking: Asking, service: WatchedService, window_s: float, local: Callable[[float], float]
) -> ServiceReading:
    """Ask for everything of one service and put it together.

    Args:
        asking: asks, within its time.
        service: whose metrics.
        window_s: averaging window, seconds.
        local: turns a time of the server's clock into one of ours.
    """
    anchor = _find_anchor(asking, window_s)
    requests = _Requests()
    partial = False
    if anchor.problem is None:
        requests = _read_requests(asking, anchor.sample_s, service.slo_response_time_s)
        partial = _notice_lost_pods(asking, requests.problems)
    else:
        requests.problems = dict.fromkeys(("time_s", *_DERIVED_FROM), anchor.problem)
    pods = _read_pods(asking, anchor, window_s, requests.problems)
    if asking.warnings:
        partial = True
        requests.problems["partial"] = "; ".join(asking.warnings[:3])
    newest_s = anchor.sample_s
    if math.isnan(newest_s):
        newest_s = max((usage.time_s for usage in pods.values() if not math.isnan(usage.time_s)), default=NAN)
    return ServiceReading(
        time_s=local(newest_s),
        window_s=window_s,
        pods={name: replace(usage, time_s=local(usage.time_s)) for name, usage in pods.items()},
        problems=requests.problems,
        partial=partial,
        **requests.values,
    )


def _read_requests(asking: Asking, at_s: float, slo_s: float) -> _Requests:
    rate = asking.value("request_rate_rps", at_s)
    sum_rate = asking.value("response_time_sum_rate", at_s)
    count_rate = asking.value("response_time_count_rate", at_s)
    histogram = asking.histogram("response_time_buckets", at_s)
    errors = asking.value("error_rate_rps", at_s)
    found = _Requests(
        {
            "request_rate_rps": rate,
            "in_flight": asking.value("in_flight", at_s),
            "error_ratio": _error_ratio(errors, rate),
            "response_time_s": sum_rate / count_rate if count_rate else NAN,
            **_histogram_fields(histogram, slo_s),
        }
    )
    for name, sources in _DERIVED_FROM.items():
        if QUERIES[name].promql == "" and asking.asks(name):
            sources = (name,)
            found.values[name] = asking.value(name, at_s)
        # No request, no response time: nothing is wrong where every query behind a field was answered.
        if math.isnan(found.values[name]):
            told = [asking.problems[source] for source in sources if source in asking.problems]
            found.problems.update({name: told[0]} if told else {})
    if math.isnan(found.values["error_ratio"]) and "error_ratio" not in found.problems:
        found.problems["error_ratio"] = f"{errors:g} errors/s do not fit {rate:g} requests/s"
    if histogram is not None and histogram.total and math.isnan(found.values["slow_ratio"]):
        found.problems.setdefault(
            "slow_ratio",
            f"the SLO of {slo_s:g} s lies above the highest bound of the histogram, "
            f"{histogram.upper_bounds[-2]:g} s",
        )
    return found


def _error_ratio(errors: float, rate: float) -> float:
    if rate == 0.0 and errors == 0.0:
        return 0.0
    return min(errors / rate, 1.0) if rate and errors <= _MOST_ERRORS * rate else NAN


def _histogram_fields(histogram: Histogram | None, slo_s: float) -> dict[str, float]:
    return {
        "response_time_std_s": histogram.std() if histogram else NAN,
        "response_time_p50_s": histogram.quantile(0.50) if histogram else NAN,
        "response_time_p95_s": histogram.quantile(0.95) if histogram else NAN,
        "response_time_p99_s": histogram.quantile(0.99) if histogram else NAN,
        "slow_ratio": histogram.share_above(slo_s) if histogram else NAN,
    }


def _notice_lost_pods(asking: Asking, problems: dict[str, str]) -> bool:
    """Whether pods vanished from the metrics within the window, so that every sum is too low."""
    if not asking.asks("lost_pods"):
        return False
    lost = asking.count("lost_pods")
    if lost == 0.0:
        return False
    reason = asking.problems.get("lost_pods")
    problems["partial"] = (
        f"whether pods are missing is not known: {reason}"
        if reason
        else f"{lost:g} of the pods were scraped within the window and cannot be scraped any more"
    )
    return True


def _read_pods(
    asking: Asking, anchor: _Anchor, window_s: float, problems: dict[str, str]
) -> dict[str, PodUsage]:
    """Use of the pods that have a fresh sample, by the server's clock."""
    times_s = asking.by_pod("pod_sample_time_s") if asking.pods_have_times else {}
    at_s = max(times_s.values(), default=anchor.sample_s)
    usable = bool(times_s) if asking.pods_have_times else anchor.problem is None
    cpu = asking.by_pod("pod_cpu_cores", at_s) if usable else {}
    memory = asking.by_pod("pod_memory_bytes", at_s) if usable else {}
    told = [asking.problems.get(name) for name in ("pod_sample_time_s", "pod_cpu_cores", "pod_memory_bytes")]
    told.append(None if asking.pods_have_times else anchor.problem)
    reasons = [text for text in told if text]
    if reasons:
        problems["pods"] = reasons[0]
    pods = {}
    for name in sorted(cpu.keys() | memory.keys()):
        time_s = times_s.get(name, NAN) if asking.pods_have_times else at_s
        # A pod without a fresh sample is gone, or out of sight: its rate would only be too low.
        if at_s - time_s <= window_s:
            pods[name] = PodUsage(cpu.get(name, NAN), memory.get(name, NAN), time_s, window_s)
    return pods
