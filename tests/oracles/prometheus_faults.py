"""Everything that can be wrong with an answer of Prometheus, and the source of metrics that meets it."""

import math
from collections.abc import Callable
from typing import Any

from oracles.prometheus_servers import (
    EVALUATED_S,
    NAMED_QUERIES,
    FakePrometheus,
    Reply,
    failure,
    success,
    vector,
)
from podgym.envs.kubernetes.prometheus import PrometheusMetrics
from podgym.envs.kubernetes.readings import ServiceReading
from podgym.envs.kubernetes.settings import MetricsSettings

TIMEOUT_S = 0.3
SLACK_S = 0.5  # for a busy machine
REQUEST_FIELDS = (
    "request_rate_rps", "error_ratio", "response_time_s", "response_time_std_s", "response_time_p50_s",
    "response_time_p95_s", "response_time_p99_s", "slow_ratio", "in_flight",
)  # fmt: skip
HISTOGRAM_FIELDS = REQUEST_FIELDS[3:8]
Source = Callable[..., PrometheusMetrics]
"""Makes a source of metrics from changes of its settings."""

HTML = Reply(b"<html>Sign in</html>", headers={"Content-Type": "text/html"})
FAULTS = {
    "500": Reply(b"boom", 500),
    "502 page": Reply(b"<html>bad gateway</html>", 502),
    "503": failure("unavailable", "starting up", 503),
    "503 with Retry-After": Reply(b"", 503, {"Retry-After": "30"}),
    "429 with Retry-After": Reply(b"", 429, {"Retry-After": "30"}),
    "401": Reply(b"", 401),
    "403": Reply(b"", 403),
    "404": Reply(b"404 page not found", 404),
    "400": failure("bad_data", "parse error", 400),
    "422": failure("execution", "too many samples", 422),
    "400 page": Reply(b"<html>", 400),
    "redirect": Reply(b"", 302, {"Location": "https://login.example/?state=s3cr3t"}),
    "redirect to nowhere": Reply(b"", 302),
    "HTML": HTML,
    "empty body": Reply(b""),
    "no object": Reply(b"[1, 2]"),
    "deep": Reply(b"[" * 200_000),
    "not UTF-8": Reply(b"\xff\xfe\xfa"),
    "200 with an error": failure("execution", "query failed"),
    "200 with an error and data": Reply(
        b'{"status": "error", "errorType": "internal", "error": "half", "data": {"resultType": "vector", '
        b'"result": [{"metric": {"pod": "a", "le": "+Inf"}, "value": [1700000100, "1700000099"]}]}}'
    ),
    "200 with an unknown error": Reply(b'{"status": "error"}'),
    "200 with a timeout": failure("timeout", "query timed out"),
    "no data": Reply(b'{"status": "success"}'),
    "null data": Reply(b'{"status": "success", "data": null}'),
    "null result": success(None),
    "no metric": success([{"value": [1.0, "1"]}]),
    "metric is a list": success([{"metric": [], "value": [1.0, "1"]}]),
    "short sample": success([{"metric": {}, "value": [1.0]}]),
    "sample is a number": success([{"metric": {}, "value": [1.0, 2.0]}]),
    "sample is a word": success([{"metric": {}, "value": [1.0, "many"]}]),
    "time is a text": success([{"metric": {}, "value": ["now", "1"]}]),
    "matrix": success([{"metric": {}, "values": [[1.0, "1"], [2.0, "1"]]}], "matrix"),
    "string": success([1.0, "hello"], "string"),
    "unknown kind": success([], "hologram"),
    "native histogram": success([{"metric": {"pod": "a", "le": "1"}, "histogram": [1.0, {"count": "1"}]}]),
    "empty": vector([]),
    "NaN": vector([({"pod": "a", "le": "+Inf"}, "NaN")]),
    "+Inf": vector([({"pod": "a", "le": "+Inf"}, "+Inf")]),
    "-Inf": vector([({"pod": "a", "le": "+Inf"}, "-Inf")]),
    "negative": vector([({"pod": "a", "le": "+Inf"}, "-0.5")]),
    "several": vector([({"pod": "a", "le": "1"}, 1), ({"pod": "a", "le": "1"}, 2)]),
    "cut": Reply(b'{"status": "succ', fault="cut"),
    "reset": Reply(fault="reset"),
}
TYPICAL_FAULTS = (
    "500", "401", "422", "HTML", "200 with an error", "200 with an error and data", "native histogram",
    "matrix", "empty", "NaN", "+Inf", "negative", "several", "reset",
)  # fmt: skip


def source_of(fake: FakePrometheus) -> Source:
    """What makes sources that ask the fake; the clocks agree unless ``now`` is given."""

    def make(*, now: Callable[[], float] = lambda: EVALUATED_S, **changes: Any) -> PrometheusMetrics:
        queries = NAMED_QUERIES | changes.pop("queries", {})
        fields = {"url": fake.url, "timeout_s": TIMEOUT_S, "window_s": 30.0, **changes}
        return PrometheusMetrics(MetricsSettings(queries=queries, **fields), now=now)

    return make


def nothing_measured(reading: ServiceReading) -> bool:
    """Whether nothing is known of the requests."""
    return all(math.isnan(getattr(reading, name)) for name in REQUEST_FIELDS)
