"""Whatever Prometheus does, a reading comes in time, holds no made-up number and says what went wrong."""

import math
import time
from collections.abc import Iterator
from typing import Any

import pytest
from oracles.prometheus_faults import (
    FAULTS,
    HISTOGRAM_FIELDS,
    REQUEST_FIELDS,
    SLACK_S,
    TIMEOUT_S,
    TYPICAL_FAULTS,
    Source,
    nothing_measured,
    source_of,
)
from oracles.prometheus_servers import (
    EVALUATED_S,
    HEALTHY,
    NAMED_QUERIES,
    FakePrometheus,
    Reply,
    vector,
    watched,
)

from podgym.envs.kubernetes import prometheus_session
from podgym.envs.kubernetes.errors import MetricsUnavailableError
from podgym.envs.kubernetes.metrics_reader import Asking, ServerClock
from podgym.envs.kubernetes.prometheus_session import PrometheusClient
from podgym.envs.kubernetes.queries import chosen_queries
from podgym.envs.kubernetes.settings import MetricsSettings


@pytest.fixture
def fake() -> Iterator[FakePrometheus]:
    server = FakePrometheus()
    yield server
    server.close()


@pytest.fixture
def source(fake: FakePrometheus) -> Source:
    return source_of(fake)


@pytest.mark.parametrize("name", FAULTS)
def test_fault_of_every_query_leaves_nothing_measured(
    name: str, source: Source, fake: FakePrometheus
) -> None:
    fake.otherwise = FAULTS[name]
    started_s = time.monotonic()
    (reading,) = source().read([watched()])
    assert time.monotonic() - started_s < 3 * TIMEOUT_S + SLACK_S
    assert nothing_measured(reading)
    assert math.isnan(reading.time_s)
    assert dict(reading.pods) == {}
    assert set(reading.problems) == {"time_s", "pods", *REQUEST_FIELDS}
    assert all(reading.problems.values())
    # Never asked again behind our back.
    assert len(fake.names) == len(set(fake.names))


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize(
    "query", [name for name in NAMED_QUERIES if name not in ("sample_time_s", "lost_pods")]
)
def test_fault_of_one_query_takes_its_own_fields(
    query: str, name: str, source: Source, fake: FakePrometheus
) -> None:
    fake.replies[query] = FAULTS[name]
    (reading,) = source().read([watched()])
    fields = {
        "request_rate_rps": {"request_rate_rps", "error_ratio"},
        "error_rate_rps": {"error_ratio"},
        "response_time_sum_rate": {"response_time_s"},
        "response_time_count_rate": {"response_time_s"},
        "response_time_buckets": set(HISTOGRAM_FIELDS),
        "in_flight": {"in_flight"},
    }.get(query, {"pods"})
    assert fields <= set(reading.problems)
    assert all(math.isnan(getattr(reading, field)) for field in fields - {"pods"})
    for field in REQUEST_FIELDS:
        assert math.isnan(getattr(reading, field)) == (field in reading.problems)
    for usage in reading.pods.values():
        assert usage.cpu_usage_cores in (0.25,) or math.isnan(usage.cpu_usage_cores)
        assert usage.memory_usage_bytes in (1e8,) or math.isnan(usage.memory_usage_bytes)


@pytest.mark.parametrize("name", TYPICAL_FAULTS)
def test_fault_of_the_age_leaves_nothing_measured(name: str, source: Source, fake: FakePrometheus) -> None:
    fake.replies["sample_time_s"] = FAULTS[name]
    (reading,) = source().read([watched()])
    assert nothing_measured(reading)
    assert set(REQUEST_FIELDS) <= set(reading.problems)


@pytest.mark.parametrize("name", sorted(set(TYPICAL_FAULTS) - {"empty"}))
def test_not_knowing_whether_pods_are_lost_counts_as_partial(
    name: str, source: Source, fake: FakePrometheus
) -> None:
    fake.replies["lost_pods"] = FAULTS[name]
    (reading,) = source().read([watched()])
    assert reading.request_rate_rps == 20.0
    assert reading.partial
    assert "partial" in reading.problems


@pytest.mark.parametrize("fault", ["hang", "drip_headers", "drip_body"])
def test_hung_server_costs_one_timeout_and_the_rest_is_not_asked(
    fault: str, source: Source, fake: FakePrometheus
) -> None:
    fake.otherwise = Reply(b" " * 10_000, fault=fault)
    started_s = time.monotonic()
    (reading,) = source().read([watched()])
    took_s = time.monotonic() - started_s
    assert 0.8 * TIMEOUT_S < took_s < TIMEOUT_S + SLACK_S
    assert fake.names == ["sample_time_s"]
    assert "did not answer within 0.3 s" in reading.problems["time_s"]
    assert reading.problems["pods"].startswith("not asked, after")
    assert nothing_measured(reading)


@pytest.mark.parametrize("fault", ["hang", "drip_headers", "drip_body"])
def test_query_that_hangs_ends_the_reading_of_its_service(
    fault: str, source: Source, fake: FakePrometheus
) -> None:
    fake.replies["response_time_buckets"] = Reply(b" " * 10_000, fault=fault)
    started_s = time.monotonic()
    (reading,) = source().read([watched()])
    assert time.monotonic() - started_s < TIMEOUT_S + SLACK_S
    assert reading.request_rate_rps == 20.0
    assert reading.response_time_s == pytest.approx(0.2)
    assert math.isnan(reading.in_flight)
    assert "not asked, after" in reading.problems["in_flight"]
    assert fake.names[-1] == "response_time_buckets"


def test_slow_answers_are_bounded_together(source: Source, fake: FakePrometheus) -> None:
    def slow(asked: Any) -> Reply:
        reply = vector(HEALTHY[asked.promql])
        reply.delay_s = 0.6 * TIMEOUT_S
        return reply

    fake.replies = dict.fromkeys(NAMED_QUERIES, slow)
    metrics = source()
    assert metrics.longest_per_service_s == pytest.approx(3 * TIMEOUT_S)
    started_s = time.monotonic()
    (reading,) = metrics.read([watched()])
    took_s = time.monotonic() - started_s
    assert 2.5 * TIMEOUT_S < took_s < 3 * TIMEOUT_S + SLACK_S
    assert reading.request_rate_rps == 20.0
    assert math.isnan(reading.in_flight)
    assert 5 <= len(fake.names) <= 6


def test_nothing_is_asked_when_the_time_is_over(fake: FakePrometheus) -> None:
    settings = MetricsSettings(url=fake.url, queries=NAMED_QUERIES)
    clock = ServerClock(lambda: EVALUATED_S)
    with PrometheusClient(settings) as client:
        asking = Asking(client, clock, chosen_queries(NAMED_QUERIES), watched(), 30.0, 0.0)
        assert math.isnan(asking.value("request_rate_rps"))
    assert asking.problems["request_rate_rps"] == "not asked: the answers before took too long"
    assert fake.asked == []


def test_two_silent_services_end_the_reading_of_all(source: Source, fake: FakePrometheus) -> None:
    fake.otherwise = Reply(fault="hang")
    started_s = time.monotonic()
    readings = source().read([watched(f"s{i}") for i in range(6)])
    assert time.monotonic() - started_s < 2 * TIMEOUT_S + SLACK_S
    assert len(readings) == 6
    assert all(nothing_measured(reading) and math.isnan(reading.time_s) for reading in readings)
    assert "services before" in readings[5].problems["time_s"]
    assert len(fake.names) == 2


def test_one_service_that_hangs_does_not_silence_the_others(source: Source, fake: FakePrometheus) -> None:
    fake.replies["in_flight"] = Reply(fault="hang")
    readings = source().read([watched(f"s{i}") for i in range(3)])
    assert [reading.request_rate_rps for reading in readings] == [20.0] * 3


def test_requests_that_never_end_are_not_piled_up(source: Source, fake: FakePrometheus) -> None:
    # Headers byte by byte pass every timeout of a socket: only the watch ends such a request.
    fake.otherwise = Reply(fault="drip_headers")
    metrics = source(timeout_s=0.1)
    for _ in range(5):
        (reading,) = metrics.read([watched()])
    assert len(fake.names) == 3
    assert "3 earlier requests still hang" in reading.problems["time_s"]


def test_recovers_after_requests_that_never_ended(source: Source, fake: FakePrometheus) -> None:
    fake.otherwise = Reply(fault="drip_headers")
    metrics = source()
    abandoned = metrics._client._session
    metrics.read([watched()])
    # An answer that comes too late must not be taken for that of a later query.
    assert metrics._client._session is not abandoned
    fake.otherwise = None
    (reading,) = metrics.read([watched()])
    assert reading.request_rate_rps == 20.0
    assert reading.problems == {}


def test_nothing_listens(source: Source, fake: FakePrometheus) -> None:
    metrics = source()
    fake.close()
    (reading,) = metrics.read([watched()])
    assert nothing_measured(reading)
    assert "Connection refused" in reading.problems["request_rate_rps"]
    assert fake.url in reading.problems["request_rate_rps"]
    with pytest.raises(MetricsUnavailableError, match="Connection refused"):
        metrics.check([watched()])


def test_host_without_address(source: Source) -> None:
    (reading,) = source(url="http://prometheus.invalid:9090", timeout_s=5.0).read([watched()])
    assert "http://prometheus.invalid:9090 cannot be reached" in reading.problems["time_s"]


def test_answer_without_end_is_refused(
    source: Source, fake: FakePrometheus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prometheus_session, "LARGEST_ANSWER_BYTES", 2**20)
    fake.replies["request_rate_rps"] = Reply(b" " * 2**21)
    (reading,) = source(timeout_s=3.0).read([watched()])
    assert "longer than 1 MiB" in reading.problems["request_rate_rps"]
    assert reading.in_flight == 3.0
