"""What Prometheus answered, checked: nothing that is not a finite number ever becomes one.

Format: https://prometheus.io/docs/prometheus/latest/querying/api/#expression-query-result-formats
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any, Literal

from podgym.envs.kubernetes.errors import MetricsUnavailableError
from podgym.envs.kubernetes.histograms import Histogram

Fault = Literal["query", "setup", "timeout", "down"]
"""``query``: this query cannot be answered, others may be. ``setup``: the address or the credentials are
wrong; the user mends it. ``timeout``: no answer in time. ``down``: no usable answer, it may work later."""

# Kinds of errors that are the query's own, see the source's format. The others pass with time.
_QUERY_ERRORS = ("bad_data", "execution")
_LONGEST_TEXT = 200
# What tells two scrapes of one thing apart: by whom, and what else the scraper adds.
_JOB_LABELS = ("job", "prometheus", "prometheus_replica")
_TARGET_LABELS = (*_JOB_LABELS, "instance", "endpoint", "service")


class PrometheusError(MetricsUnavailableError):
    """A request to Prometheus gave no usable answer."""

    def __init__(self, text: str, fault: Fault) -> None:
        super().__init__(text)
        self.fault: Fault = fault


class UnusableAnswerError(ValueError):
    """An answer holds no number where one is meant.

    Attributes:
        remedy: what to do about the query; None where the query is right and the data is not there.
    """

    def __init__(self, text: str, remedy: str | None = None) -> None:
        super().__init__(text)
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Series:
    """One series of an answer."""

    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]
    """(time in seconds since 1970, value), oldest first; the value may be nan or infinite."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What Prometheus answered to one query."""

    kind: str
    """``vector``, ``scalar``, ``matrix`` or ``string``."""
    series: tuple[Series, ...]
    warnings: tuple[str, ...] = ()
    """Why the answer may be incomplete."""

    @property
    def evaluated_s(self) -> float | None:
        """Time of the evaluation by the server's clock; None where nothing was found."""
        instant = self.kind in ("vector", "scalar")
        return next((each.points[0][0] for each in self.series if instant and each.points), None)


def parse_payload(body: bytes) -> Any:  # noqa: ANN401  (JSON)
    """Return the JSON of a body.

    Raises:
        PrometheusError: it is no JSON, or not an object with ``status``.
    """
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise PrometheusError(
            "the answer is not JSON; is this the address of Prometheus?", "setup"
        ) from error
    if not isinstance(payload, dict) or payload.get("status") not in ("success", "error"):
        raise PrometheusError("the answer is not of Prometheus; is this its address?", "setup")
    return payload


def require_success(payload: Mapping[str, Any]) -> None:
    """Refuse an answer that says of itself that it is an error, whatever its HTTP status."""
    if payload["status"] == "success":
        return
    kind = payload.get("errorType")
    fault: Fault = "query" if kind in _QUERY_ERRORS else "down"
    raise PrometheusError(f"Prometheus reports an error: {shortened(payload.get('error') or kind)}", fault)


def parse_answer(payload: Mapping[str, Any]) -> Answer:
    """Return what a successful payload holds.

    Raises:
        PrometheusError: it has not the form of an answer to a query.
    """
    try:
        data = payload["data"]
        kind, result = data["resultType"], data["result"]
        if kind in ("scalar", "string"):
            series: tuple[Series, ...] = (Series({}, (_point(result),)),) if kind == "scalar" else ()
        else:
            series = tuple(_series(kind, each) for each in result)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise PrometheusError(
            "the answer is JSON, but has not the form of Prometheus' answers", "down"
        ) from error
    warnings = [shortened(each) for each in payload.get("warnings") or ()]
    if payload.get("isPartial") is True:  # VictoriaMetrics, which answers the same queries
        warnings.append("the answer is partial")
    return Answer(str(kind), series, tuple(warnings))


def _series(kind: str, entry: Mapping[str, Any]) -> Series:
    labels = {str(name): str(value) for name, value in entry["metric"].items()}
    points = entry.get("values", []) if kind == "matrix" else [entry["value"]] if "value" in entry else []
    return Series(labels, tuple(_point(each) for each in points))


def _point(pair: Any) -> tuple[float, float]:  # noqa: ANN401  (JSON)
    time_s, value = pair
    if isinstance(time_s, bool) or not isinstance(time_s, int | float) or not isinstance(value, str):
        raise ValueError("a sample is a time and a text")
    return float(time_s), float(value)


def one_value(answer: Answer) -> float:
    """Return the one number of an answer, 0 or more.

    Raises:
        UnusableAnswerError: no series, several, something other than a number, or one that is not finite or
            below 0.
    """
    _require_instant(answer)
    if len(answer.series) > 1:
        raise UnusableAnswerError(
            f"several series ({len(answer.series)}) where one is meant: {_named(answer.series)}",
            "wrap the query in sum(...) or max(...), or select one series by its labels",
        )
    return _measured(answer.series[0])


def values_by_pod(answer: Answer) -> dict[str, float]:
    """Return a number per pod; a pod whose value is not finite or below 0 is left out.

    Raises:
        UnusableAnswerError: no series, one without the label ``pod``, or several for one pod.
    """
    _require_instant(answer)
    values: dict[str, float] = {}
    seen: set[str] = set()
    for series in answer.series:
        pod = series.labels.get("pod")
        if not pod or pod in seen:
            what = f"several series for the pod {pod}" if pod else "a series without the label pod"
            raise UnusableAnswerError(
                f"{what}: {_named(answer.series)}", "wrap the query in sum by (pod) (...)"
            )
        seen.add(pod)
        try:
            values[pod] = _measured(series)
        except UnusableAnswerError as error:
            if error.remedy is not None:
                raise
    if not values:
        raise UnusableAnswerError(
            f"no pod has a usable value, the first is {answer.series[0].points[0][1]:g}"
        )
    return values


def histogram_of(answer: Answer) -> Histogram:
    """Return the histogram of an answer with one series per ``le``.

    Raises:
        UnusableAnswerError: no series, one without a number in the label ``le``, several for one bound, a
            count that is not finite or below 0, or no infinite bound.
    """
    _require_instant(answer)
    remedy = 'wrap the rate of the metric that ends in "_bucket" in sum by (le) (...)'
    buckets: dict[str, tuple[float, float]] = {}
    for series in answer.series:
        bound = series.labels.get("le")
        if bound is None or bound in buckets:
            what = f"several series for le={bound}" if bound else "a series without the label le"
            raise UnusableAnswerError(f"{what}: {_named(answer.series)}", remedy)
        try:
            buckets[bound] = (float(bound), _measured(series))
        except UnusableAnswerError:
            raise
        except ValueError as error:
            raise UnusableAnswerError(f"the label le={shortened(bound)} is not a number", remedy) from error
    try:
        return Histogram.of(buckets.values())
    except ValueError as error:
        raise UnusableAnswerError(str(error), remedy) from error


def scrape_interval_s(answer: Answer) -> float:
    """Return the median time between two samples of a series, seconds; nan where fewer than 3 are known."""
    gaps_s = [
        after - before for series in answer.series for (before, _), (after, _) in pairwise(series.points)
    ]
    return median(gaps_s) if len(gaps_s) > 1 else math.nan


def scraped_twice(answer: Answer) -> tuple[str, ...]:
    """Return the jobs that scrape one and the same series; empty where each is scraped once."""
    jobs: dict[frozenset[tuple[str, str]], set[str]] = {}
    for series in answer.series:
        own = frozenset((k, v) for k, v in series.labels.items() if k not in _TARGET_LABELS)
        by = ", ".join(f"{k}={series.labels[k]}" for k in _JOB_LABELS if k in series.labels)
        jobs.setdefault(own, set()).add(by)
    return next((tuple(sorted(each)) for each in jobs.values() if len(each) > 1), ())


def _require_instant(answer: Answer) -> None:
    if answer.kind not in ("vector", "scalar"):
        what = "a range of samples" if answer.kind == "matrix" else f"a {answer.kind}"
        raise UnusableAnswerError(
            f"{what} where a number is meant", "take a rate(...) of the range, or leave the [...] out"
        )
    if not answer.series:
        raise UnusableAnswerError(
            "no data: no series matches, or it has fewer than two samples in the window"
        )


def _measured(series: Series) -> float:
    if not series.points:
        raise UnusableAnswerError(
            "a native histogram where a number is meant",
            "apply histogram_sum, histogram_count or histogram_quantile to it",
        )
    value = series.points[0][1]
    if not math.isfinite(value):
        raise UnusableAnswerError(f"the value is {value}, not a finite number")
    if value < 0.0:
        raise UnusableAnswerError(f"the value is {value:g}, below 0")
    return value


def _named(series: tuple[Series, ...]) -> str:
    """The labels of the first series, for a message."""
    texts = ["{" + ", ".join(f"{k}={v}" for k, v in sorted(each.labels.items())) + "}" for each in series[:3]]
    return shortened(", ".join(texts) + (", ..." if len(series) > 3 else ""))


def shortened(text: object) -> str:
    """Return foreign text on one line and not too long."""
    line = " ".join(str(text).split())
    return line if len(line) <= _LONGEST_TEXT else f"{line[:_LONGEST_TEXT]}..."
