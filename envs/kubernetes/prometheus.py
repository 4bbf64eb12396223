"""Metrics from Prometheus, or from anything that answers its queries (Thanos, Mimir, VictoriaMetrics)."""

import math
import time
from collections.abc import Callable, Sequence

from podgym.envs.kubernetes.errors import MetricsUnavailableError
from podgym.envs.kubernetes.metrics_reader import (
    TIMEOUTS_PER_SERVICE,
    Asking,
    ServerClock,
    read_service,
)
from podgym.envs.kubernetes.prometheus_answers import (
    Answer,
    PrometheusError,
    UnusableAnswerError,
    histogram_of,
    one_value,
    scrape_interval_s,
    scraped_twice,
    values_by_pod,
)
from podgym.envs.kubernetes.prometheus_session import PrometheusClient
from podgym.envs.kubernetes.queries import QUERIES, Query, chosen_queries, render
from podgym.envs.kubernetes.readings import ServiceReading, WatchedService
from podgym.envs.kubernetes.settings import MetricsSettings
from podgym.errors import InputError

_SILENT_SERVICES = 2
_SCRAPES_PER_WINDOW = 4  # Prometheus' own advice for rate(): one or two scrapes may fail
_PUNCTUAL = 0.95  # two scrapes of 30 s fit into 60 s only if neither is late, and they are
_LOOKBACK_WINDOWS, _SHORTEST_LOOKBACK_S = 10.0, 600.0
_MOST_POINTS = 10_000  # Prometheus refuses more than 11 000 points per series

# What the samples behind the default queries are called, to see how often and by whom they are scraped.
_SAMPLED = {
    "request_rate_rps": Query(
        "request_rate_rps",
        '{__name__=~"http_requests_total|http_request_duration_seconds_count",'
        'namespace="${namespace}",pod=~"${pods}"}[${window}]',
        "samples of the request metrics",
    ),
    "pod_cpu_cores": Query(
        "pod_cpu_cores",
        'container_cpu_usage_seconds_total{namespace="${namespace}",pod=~"${pods}",'
        'container="${container}"}[${window}]',
        "samples of the container metrics",
    ),
}


class PrometheusMetrics:
    """The metrics of services as Prometheus has them; a ``MetricsSource``.

    One request takes no longer than ``timeout_s``; one service no longer than three times that, with
    ``check`` as with ``read``; ``read`` gives up after two services without any answer.
    """

    def __init__(self, settings: MetricsSettings, *, now: Callable[[], float] = time.time) -> None:
        """Prepare, without asking anything yet.

        Args:
            settings: address, queries and times.
            now: our clock, seconds since 1970.

        Raises:
            InputError: no address of Prometheus, a file with the token that cannot be used, an unknown name
                of a query, a dollar sign that begins no placeholder.
        """
        self._settings = settings
        self._queries = chosen_queries(settings.queries)
        self._client = PrometheusClient(settings)
        self._clock = ServerClock(now)
        self._history_problem: str | None = None

    def __repr__(self) -> str:
        return f"PrometheusMetrics({self._client.address})"

    @property
    def longest_per_service_s(self) -> float:
        """Longest time that ``check``, ``read`` or ``history`` takes for one service, seconds."""
        return TIMEOUTS_PER_SERVICE * self._settings.timeout_s

    @property
    def history_problem(self) -> str | None:
        """Why the last ``history`` is empty or ends early; None: nothing went wrong."""
        return self._history_problem

    def read(self, services: Sequence[WatchedService]) -> tuple[ServiceReading, ...]:
        """Return one reading per service; what could not be read is nan, with the reason.

        Raises:
            InputError: a query has a placeholder that the service does not fill; ``check`` finds that first.
        """
        readings: list[ServiceReading] = []
        silent = 0
        with self._client:
            for service in services:
                if silent >= _SILENT_SERVICES:
                    text = "not asked: Prometheus did not answer for the services before"
                    readings.append(
                        ServiceReading(window_s=self._settings.window_s, problems={"time_s": text})
                    )
                    continue
                reading, answered = self._read_one(service)
                readings.append(reading)
                silent = 0 if answered else silent + 1
        return tuple(readings)

    def _read_one(self, service: WatchedService) -> tuple[ServiceReading, bool]:
        window_s = self._settings.window_s
        asking = Asking(
            self._client, self._clock, self._queries, service, window_s, self.longest_per_service_s
        )
        reading = read_service(asking, service, window_s, self._clock.local)
        return reading, asking.answered

    def check(self, services: Sequence[WatchedService]) -> None:
        """Refuse what could never be read: wrong queries, a window shorter than two scrapes.

        Raises:
            InputError: see the class, and: a query that Prometheus cannot read, that gives several series
                where one is meant, or no series per pod or bucket; samples too far apart for the window;
                pods that are scraped twice; an address or credentials that Prometheus does not take.
            MetricsUnavailableError: Prometheus does not answer, or too slowly.
        """
        with self._client:
            for service in services:
                deadline_s = time.monotonic() + self.longest_per_service_s
                found = {
                    query.name: self._checked(query, service, deadline_s)
                    for query in self._queries.values()
                    if query.promql
                }
                self._require_times(service, found)
                for name, sampled in _SAMPLED.items():
                    if self._queries[name].promql == QUERIES[name].promql:
                        self._check_samples(sampled, service, deadline_s)

    def _checked(self, query: Query, service: WatchedService, deadline_s: float) -> float | None:
        """Ask a query and require the form that is meant; the number, where it is one and there is one."""
        promql = render(query, service, self._settings.window_s)
        where = f"service {service.name!r}, query {query.name}"
        try:
            answer = self._asked(promql, where, deadline_s)
            if query.shape == "one":
                return one_value(answer)
            _ = values_by_pod(answer) if query.shape == "pod" else histogram_of(answer)
        except UnusableAnswerError as error:
            if error.remedy is not None:
                raise InputError(f"{where}: {error}; {error.remedy}. PromQL: {promql}") from error
        return None

    def _asked(self, promql: str, where: str, deadline_s: float) -> Answer:
        left_s = deadline_s - time.monotonic()
        if left_s <= 0.0:
            raise MetricsUnavailableError(
                f"{where}: {self._client.address} answers too slowly; raise metrics.timeout_s, which is "
                f"{self._settings.timeout_s:g} s, or simplify the queries."
            )
        try:
            return self._client.query(promql, timeout_s=left_s)
        except PrometheusError as error:
            if error.fault == "query":
                raise InputError(f"{where}: {error}. PromQL: {promql}") from error
            if error.fault == "setup":
                raise InputError(f"metrics: {error}.") from error
            raise

    def _require_times(self, service: WatchedService, found: dict[str, float | None]) -> None:
        """Refuse metrics whose age nobody could tell."""
        sample_s, rate = found["sample_time_s"], found.get("request_rate_rps")
        if sample_s is not None and sample_s < 1e9:
            raise InputError(
                f"service {service.name!r}: the query sample_time_s gives {sample_s:g}, which is no time in "
                "seconds since 1970; give max(timestamp(METRIC))."
            )
        changed = self._queries["request_rate_rps"].promql != QUERIES["request_rate_rps"].promql
        if sample_s is None and rate is not None and changed:
            raise InputError(
                f"service {service.name!r}: request_rate_rps has an answer and sample_time_s has none, so "
                "that its age is unknown; set metrics.queries.sample_time_s to max(timestamp(METRIC)) of the "
                "metric behind metrics.queries.request_rate_rps."
            )

    def _check_samples(self, query: Query, service: WatchedService, deadline_s: float) -> None:
        window_s = self._settings.window_s
        where = f"service {service.name!r}, query {query.name}"
        lookback_s = max(_LOOKBACK_WINDOWS * window_s, _SHORTEST_LOOKBACK_S)
        left_s = max(deadline_s - time.monotonic(), 0.01)
        try:
            samples = self._client.query(render(query, service, lookback_s), timeout_s=left_s)
        except PrometheusError:
            return  # raw samples of many series may be too much; nothing else needs them
        interval_s = scrape_interval_s(samples)
        if 2.0 * interval_s > _PUNCTUAL * window_s:
            raise InputError(
                f"{where}: samples come every {interval_s:.3g} s, so a window of {window_s:g} s does not "
                f"always hold the two that a rate needs; set metrics.window_s to "
                f"{math.ceil(_SCRAPES_PER_WINDOW * interval_s)} or scrape more often."
            )
        jobs = scraped_twice(samples)
        if jobs:
            raise InputError(
                f"{where}: the same pods are scraped by {' and by '.join(jobs)}, so a sum counts everything "
                f"that often; let one of them scrape, or select one in metrics.queries.{query.name}."
            )

    def history(
        self, service: WatchedService, duration_s: float, step_s: float
    ) -> tuple[tuple[float, float], ...]:
        """Return (time_s, request_rate_rps) of the past, oldest first.

        Times at which no sample was fresh are left out. It never raises for what Prometheus does:
        ``history_problem`` says what went wrong.

        Args:
            service: whose past.
            duration_s: how far back, seconds; 0: nothing is asked.
            step_s: seconds between two values, above 0.

        Raises:
            InputError: a step that is not above 0, or a placeholder that the service does not fill.
        """
        self._history_problem = None
        if not (math.isfinite(step_s) and step_s > 0.0 and math.isfinite(duration_s)):
            raise InputError(f"history: {duration_s!r} s in steps of {step_s!r} s; the step must be above 0.")
        if duration_s <= 0.0:
            return ()
        points: list[tuple[float, float]] = []
        try:
            with self._client:
                self._read_history(service, duration_s, step_s, points)
        except (PrometheusError, UnusableAnswerError) as error:
            self._history_problem = str(error)
        return tuple(points)

    def _read_history(
        self, service: WatchedService, duration_s: float, step_s: float, points: list[tuple[float, float]]
    ) -> None:
        window_s = self._settings.window_s
        deadline_s = time.monotonic() + self.longest_per_service_s
        before_s = self._clock.now()
        evaluated_s = one_value(self._client.query("time()"))
        self._clock.compare(evaluated_s, before_s)
        end_s = float(math.floor(evaluated_s))
        start_s = float(math.ceil(end_s - duration_s))
        while start_s <= end_s:
            stop_s = min(end_s, start_s + math.floor(_MOST_POINTS * step_s))
            columns = []
            for name in ("sample_time_s", "request_rate_rps"):
                left_s = deadline_s - time.monotonic()
                if left_s <= 0.0:
                    raise PrometheusError(f"{self._client.address} answers too slowly", "timeout")
                promql = render(self._queries[name], service, window_s)
                answer = self._client.query_range(promql, start_s, stop_s, step_s, timeout_s=left_s)
                columns.append(_one_series(answer))
            sampled_s, rates = columns
            for time_s, rate in sorted(rates.items()):
                # Rates end at the present here, not at the newest sample: beyond this they are too low.
                fresh = time_s - sampled_s.get(time_s, -math.inf) <= window_s / 2.0
                later = not points or self._clock.local(time_s) > points[-1][0]
                if fresh and later and math.isfinite(rate) and rate >= 0.0:
                    points.append((self._clock.local(time_s), rate))
            start_s += (math.floor((stop_s - start_s) / step_s) + 1) * step_s


def _one_series(answer: Answer) -> dict[float, float]:
    if len(answer.series) > 1:
        raise UnusableAnswerError(f"several series ({len(answer.series)}) where one is meant")
    return dict(answer.series[0].points) if answer.series else {}
