"""What the check before a run refuses, and what it says to do."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from oracles.prometheus_faults import FAULTS, SLACK_S, TIMEOUT_S, Source, source_of
from oracles.prometheus_servers import EVALUATED_S, FakePrometheus, success, vector, watched

from podgym.envs.kubernetes.errors import MetricsUnavailableError
from podgym.errors import InputError


@pytest.fixture
def fake() -> Iterator[FakePrometheus]:
    server = FakePrometheus()
    yield server
    server.close()


@pytest.fixture
def source(fake: FakePrometheus) -> Source:
    return source_of(fake)


def test_check_passes_where_everything_is_well_or_not_there_yet(source: Source, fake: FakePrometheus) -> None:
    source().check([watched(), watched("other")])
    fake.otherwise = vector([])
    source().check([watched()])
    fake.otherwise = vector([({"pod": "a", "le": "+Inf"}, "NaN")])
    fake.replies = {"response_time_buckets": vector([])}
    source().check([watched()])


@pytest.mark.parametrize(
    "name", ["401", "403", "404", "redirect", "HTML", "400", "422", "400 page", "empty body"]
)
def test_check_names_what_the_user_can_mend(name: str, source: Source, fake: FakePrometheus) -> None:
    fake.otherwise = FAULTS[name]
    with pytest.raises(
        InputError, match=r"metrics\.url|metrics\.token_file|PromQL|address of Prometheus"
    ) as caught:
        source().check([watched()])
    assert fake.url in str(caught.value)
    assert "state=" not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    ["500", "502 page", "503", "429 with Retry-After", "200 with a timeout", "reset", "cut", "null data"],
)
def test_check_tells_an_outage_from_an_error(name: str, source: Source, fake: FakePrometheus) -> None:
    fake.otherwise = FAULTS[name]
    with pytest.raises(MetricsUnavailableError):
        source().check([watched()])


@pytest.mark.parametrize(
    ("query", "series", "remedy"),
    [
        ("pod_cpu_cores", [({}, 1)], r"without the label pod.*sum by \(pod\)"),
        ("pod_memory_bytes", [({"pod": "a"}, 1), ({"pod": "a", "id": "x"}, 1)], r"for the pod a.*by \(pod\)"),
        ("response_time_buckets", [({}, 1)], r"without the label le.*sum by \(le\)"),
        ("response_time_buckets", [({"le": "1"}, 1), ({"le": "1", "pod": "b"}, 1)], r"le=1.*sum by \(le\)"),
        ("response_time_buckets", [({"le": "fast"}, 1)], "le=fast is not a number"),
        ("response_time_buckets", [({"le": "1"}, 1)], "Inf"),
        ("sample_time_s", [({}, 12)], r"no time in seconds since 1970; give max\(timestamp"),
    ],
)
def test_check_refuses_the_wrong_form(
    query: str, series: list[Any], remedy: str, source: Source, fake: FakePrometheus
) -> None:
    fake.replies[query] = vector(series)
    with pytest.raises(InputError, match=remedy) as caught:
        source().check([watched()])
    assert "service 'web'" in str(caught.value)
    assert query in str(caught.value)


@pytest.mark.parametrize("kind", ["matrix", "string", "native histogram"])
def test_check_refuses_the_wrong_kind(kind: str, source: Source, fake: FakePrometheus) -> None:
    fake.replies["request_rate_rps"] = FAULTS[kind]
    with pytest.raises(InputError, match=r"request_rate_rps: a .* where a number is meant; "):
        source().check([watched()])


def test_scalar_is_a_number(source: Source, fake: FakePrometheus) -> None:
    fake.replies["in_flight"] = success([EVALUATED_S, "4"], "scalar")
    metrics = source()
    metrics.check([watched()])
    assert metrics.read([watched()])[0].in_flight == 4.0


def test_check_refuses_rates_whose_age_is_unknown(source: Source, fake: FakePrometheus) -> None:
    fake.replies["sample_time_s"] = vector([])
    with pytest.raises(InputError, match=r"sample_time_s has none.*set metrics.queries.sample_time_s"):
        source().check([watched()])


def test_check_refuses_a_placeholder_that_one_service_does_not_fill(
    source: Source,
) -> None:
    metrics = source(queries={"in_flight": 'sum(x{job="${job}"})'})
    metrics.check([watched(labels={"job": "a"})])
    with pytest.raises(InputError, match=r"placeholder in the query in_flight of 'other' 'job'"):
        metrics.check([watched(labels={"job": "a"}), watched("other")])


def test_check_is_bounded(source: Source, fake: FakePrometheus) -> None:
    fake.otherwise = vector([])
    fake.otherwise.delay_s = 0.6 * TIMEOUT_S
    started_s = time.monotonic()
    with pytest.raises(MetricsUnavailableError, match=r"raise metrics\.timeout_s|did not answer"):
        source().check([watched()])
    assert time.monotonic() - started_s < 3 * TIMEOUT_S + SLACK_S
    with pytest.raises(MetricsUnavailableError, match=r"raise metrics\.timeout_s, which is 0.3 s"):
        source()._asked("up", "here", time.monotonic() - 1.0)
