"""What a reading makes of answers that came: no number is made up, and its age is true."""

import math
from collections.abc import Iterator
from typing import Any

import pytest
from oracles.prometheus_faults import HISTOGRAM_FIELDS, Source, nothing_measured, source_of
from oracles.prometheus_servers import (
    EVALUATED_S,
    HEALTHY,
    NAMED_QUERIES,
    SAMPLED_S,
    WEB_PODS,
    FakePrometheus,
    vector,
    watched,
)

from podgym.envs.kubernetes.prometheus import PrometheusMetrics
from podgym.envs.kubernetes.settings import MetricsSettings
from podgym.errors import InputError


@pytest.fixture
def fake() -> Iterator[FakePrometheus]:
    server = FakePrometheus()
    yield server
    server.close()


@pytest.fixture
def source(fake: FakePrometheus) -> Source:
    return source_of(fake)


def test_healthy_reading(source: Source, fake: FakePrometheus) -> None:
    (reading,) = source().read([watched()])
    assert reading.time_s == SAMPLED_S
    assert reading.window_s == 30.0
    assert reading.request_rate_rps == 20.0
    assert reading.error_ratio == pytest.approx(0.05)
    assert reading.response_time_s == pytest.approx(0.2)
    assert reading.response_time_p50_s == pytest.approx(0.1 + 0.4 * 5 / 15)
    assert reading.slow_ratio == pytest.approx(1.0 - (5 + 15 * 0.375) / 20)
    assert reading.in_flight == 3.0
    assert reading.problems == {}
    assert reading.partial is False
    assert set(reading.pods) == set(WEB_PODS)
    usage = reading.pods[WEB_PODS[0]]
    assert (usage.cpu_usage_cores, usage.memory_usage_bytes) == (0.25, 1e8)
    assert (usage.time_s, usage.window_s) == (SAMPLED_S - 1.0, 30.0)
    assert sorted(fake.names) == sorted(NAMED_QUERIES)


def test_rates_are_taken_over_the_window_that_ends_at_the_newest_sample(
    source: Source, fake: FakePrometheus
) -> None:
    source().read([watched()])
    at = {each.promql: each.params.get("time") for each in fake.asked}
    requests = f"{SAMPLED_S:.3f}"
    pods = f"{SAMPLED_S - 1.0:.3f}"
    assert at == {
        "sample_time_s": None, "request_rate_rps": requests, "response_time_sum_rate": requests,
        "response_time_count_rate": requests, "response_time_buckets": requests, "error_rate_rps": requests,
        "in_flight": requests, "lost_pods": None, "pod_sample_time_s": None, "pod_cpu_cores": pods,
        "pod_memory_bytes": pods,
    }  # fmt: skip


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-Inf", "-3"])
def test_p18_numbers_that_are_none_are_nan_with_a_problem(
    value: str, source: Source, fake: FakePrometheus
) -> None:
    fake.replies["request_rate_rps"] = vector([({}, value)])
    (reading,) = source().read([watched()])
    assert math.isnan(reading.request_rate_rps)
    assert "the value is" in reading.problems["request_rate_rps"]


def test_p17_empty_result_is_a_problem_not_a_zero(source: Source, fake: FakePrometheus) -> None:
    fake.replies["request_rate_rps"] = vector([])
    (reading,) = source().read([watched()])
    assert math.isnan(reading.request_rate_rps)
    assert reading.problems["request_rate_rps"].startswith("no data")


def test_p21_several_series_are_a_problem_and_name_themselves(source: Source, fake: FakePrometheus) -> None:
    fake.replies["in_flight"] = vector([({"path": "/a"}, 1), ({"path": "/b"}, 2)])
    (reading,) = source().read([watched()])
    assert math.isnan(reading.in_flight)
    assert reading.problems["in_flight"] == "several series (2) where one is meant: {path=/a}, {path=/b}"
    with pytest.raises(
        InputError, match=r"'web', query in_flight: several series.*wrap.*sum\(.*PromQL: in_flight"
    ):
        source().check([watched()])


@pytest.mark.parametrize("more", [{"warnings": ["store gateway: unavailable"]}, {"isPartial": True}])
@pytest.mark.parametrize("query", sorted(NAMED_QUERIES))
def test_p20_warnings_mark_the_reading_as_partial(
    more: dict[str, Any], query: str, source: Source, fake: FakePrometheus
) -> None:
    fake.replies[query] = vector(HEALTHY[query], **more)
    (reading,) = source().read([watched()])
    assert reading.partial
    assert reading.request_rate_rps == 20.0
    assert reading.problems["partial"] in ("store gateway: unavailable", "the answer is partial")


def test_lost_pods_mark_the_reading_as_partial(source: Source, fake: FakePrometheus) -> None:
    fake.replies["lost_pods"] = vector([({}, 2)])
    (reading,) = source().read([watched()])
    assert reading.partial
    assert reading.problems["partial"].startswith("2 of the pods")


@pytest.mark.parametrize("rate", ["0", "12"])
def test_p22_rate_without_a_live_sample_is_not_believed(
    rate: str, source: Source, fake: FakePrometheus
) -> None:
    # As "sum(rate(...)) or vector(0)" answers when every target is down.
    fake.replies["request_rate_rps"] = vector([({}, rate)])
    fake.replies["sample_time_s"] = vector([])
    (reading,) = source().read([watched()])
    assert nothing_measured(reading)
    assert "no live sample" in reading.problems["request_rate_rps"]
    # The pods have times of their own.
    assert reading.time_s == SAMPLED_S - 1.0
    assert len(reading.pods) == 2


def test_p22_rate_is_not_believed_when_the_newest_sample_is_older_than_the_window(
    source: Source, fake: FakePrometheus
) -> None:
    fake.replies["request_rate_rps"] = vector([({}, 0)])
    fake.replies["sample_time_s"] = vector([({}, EVALUATED_S - 31.0)])
    (reading,) = source().read([watched()])
    assert nothing_measured(reading)
    assert "31 s old" in reading.problems["request_rate_rps"]
    assert reading.time_s == EVALUATED_S - 31.0


def test_p22_no_request_at_a_live_service_is_zero(source: Source, fake: FakePrometheus) -> None:
    for name in ("request_rate_rps", "error_rate_rps", "response_time_sum_rate", "response_time_count_rate"):
        fake.replies[name] = vector([({}, 0)])
    fake.replies["response_time_buckets"] = vector([({"le": "1"}, 0), ({"le": "+Inf"}, 0)])
    (reading,) = source().read([watched()])
    assert reading.request_rate_rps == 0.0
    assert reading.error_ratio == 0.0
    assert all(math.isnan(getattr(reading, name)) for name in ("response_time_s", *HISTOGRAM_FIELDS))
    assert reading.problems == {}


def test_p16_age_of_a_sample_is_visible(source: Source, fake: FakePrometheus) -> None:
    fake.replies["sample_time_s"] = vector([({}, EVALUATED_S - 29.0)])
    (reading,) = source().read([watched()])
    assert reading.time_s == EVALUATED_S - 29.0
    assert reading.request_rate_rps == 20.0


@pytest.mark.parametrize("jump_s", [-7200.0, -90.0, 90.0, 7200.0])
def test_p23_age_is_true_whatever_our_clock_shows(jump_s: float, source: Source) -> None:
    ours = {"s": EVALUATED_S}
    metrics = source(now=lambda: ours["s"])
    assert metrics.read([watched()])[0].time_s == SAMPLED_S
    ours["s"] += jump_s
    (reading,) = metrics.read([watched()])
    assert ours["s"] - reading.time_s == pytest.approx(2.0)
    assert ours["s"] - reading.pods[WEB_PODS[0]].time_s == pytest.approx(3.0)
    ours["s"] = EVALUATED_S + 0.5  # within the tolerance of the first clock, but not of the one known now
    assert ours["s"] - metrics.read([watched()])[0].time_s == pytest.approx(2.0, abs=1e-6)


def test_small_difference_of_clocks_leaves_times_alone(source: Source) -> None:
    assert source(now=lambda: EVALUATED_S + 0.9).read([watched()])[0].time_s == SAMPLED_S


def test_more_errors_than_requests_do_not_fit(source: Source, fake: FakePrometheus) -> None:
    fake.replies["error_rate_rps"] = vector([({}, 20.5)])
    assert source().read([watched()])[0].error_ratio == 1.0
    fake.replies["error_rate_rps"] = vector([({}, 40)])
    (reading,) = source().read([watched()])
    assert math.isnan(reading.error_ratio)
    assert reading.problems["error_ratio"] == "40 errors/s do not fit 20 requests/s"


def test_slo_above_every_bound_is_unknown_where_it_matters(source: Source, fake: FakePrometheus) -> None:
    service = watched(slo_response_time_s=2.0)
    assert source().read([service])[0].slow_ratio == 0.0
    fake.replies["response_time_buckets"] = vector([({"le": "0.5"}, 10), ({"le": "+Inf"}, 20)])
    (reading,) = source().read([service])
    assert math.isnan(reading.slow_ratio)
    assert "SLO of 2 s" in reading.problems["slow_ratio"]
    assert reading.response_time_p50_s == 0.5


def test_pods_without_a_fresh_sample_are_missing(source: Source, fake: FakePrometheus) -> None:
    gone = "web-7d9f8b6c5d-zzzzz"
    fake.replies["pod_sample_time_s"] = vector(
        [({"pod": WEB_PODS[0]}, SAMPLED_S), ({"pod": WEB_PODS[1]}, SAMPLED_S - 31.0)]
    )
    fake.replies["pod_memory_bytes"] = vector([({"pod": pod}, 1e8) for pod in (*WEB_PODS, gone)])
    fake.replies["pod_cpu_cores"] = vector([({"pod": WEB_PODS[0]}, "NaN"), ({"pod": gone}, 0.1)])
    (reading,) = source().read([watched()])
    assert set(reading.pods) == {WEB_PODS[0]}
    assert math.isnan(reading.pods[WEB_PODS[0]].cpu_usage_cores)
    assert reading.pods[WEB_PODS[0]].memory_usage_bytes == 1e8


def test_times_of_requests_stand_in_where_pods_have_other_metrics(
    fake: FakePrometheus,
) -> None:
    queries = {name: name for name in NAMED_QUERIES if name != "pod_sample_time_s"}
    settings = MetricsSettings(url=fake.url, queries=queries)
    (reading,) = PrometheusMetrics(settings, now=lambda: EVALUATED_S).read([watched()])
    assert {usage.time_s for usage in reading.pods.values()} == {SAMPLED_S}
    assert "pod_sample_time_s" not in fake.names
    assert len(reading.pods) == 2


def test_queries_can_be_switched_off_and_derived_ones_given(source: Source, fake: FakePrometheus) -> None:
    fake.replies["p95"] = vector([({}, 0.7)])
    fake.replies["mean"] = vector([({}, "NaN")])
    given = {"in_flight": "", "lost_pods": "", "response_time_p95_s": "p95", "response_time_s": "mean"}
    (reading,) = source(queries=given).read([watched()])
    assert reading.response_time_p95_s == 0.7
    assert math.isnan(reading.response_time_s)
    assert "not a finite number" in reading.problems["response_time_s"]
    assert reading.problems["in_flight"] == "not asked: metrics.queries.in_flight is empty"
    assert set(reading.problems) == {"in_flight", "response_time_s"}
    assert not {"in_flight", "lost_pods", ""} & set(fake.names)
