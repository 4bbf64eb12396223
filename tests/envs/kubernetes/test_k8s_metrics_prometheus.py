"""Readings from a real Prometheus that scrapes exporters in this process."""

import math
import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from oracles.prometheus_servers import Pod, RealPrometheus, running_prometheus, wait_until, watched
from prometheus_client import Gauge

from podgym.envs.kubernetes.histograms import Histogram
from podgym.envs.kubernetes.prometheus import PrometheusMetrics
from podgym.envs.kubernetes.queries import QUERIES, chosen_queries, render
from podgym.envs.kubernetes.readings import ServiceReading
from podgym.envs.kubernetes.settings import MetricsSettings
from podgym.errors import InputError

WINDOW_S = 2.0
LEVELS = (0.0, 0.01, 0.25, 0.5, 0.9, 0.95, 0.99, 1.0)
ORACLE_CASES = 60


@dataclass
class World:
    """A Prometheus, and the pods that it scrapes."""

    prometheus: RealPrometheus
    pods: dict[str, list[Pod]]

    def source(self, **changes: Any) -> PrometheusMetrics:
        fields = {"url": self.prometheus.url, "window_s": WINDOW_S, "timeout_s": 10.0} | changes
        return PrometheusMetrics(MetricsSettings(**fields))

    def read(self, name: str, **changes: Any) -> ServiceReading:
        (reading,) = self.source(**changes).read([watched(name)])
        return reading


def names(deployment: str, *suffixes: str) -> list[str]:
    return [f"{deployment}-7d9f8b6c5d-{suffix}" for suffix in suffixes]


def oracle_pod() -> Pod:
    """A pod with many histograms as plain gauges: empty buckets, falling counts, bounds written twice."""
    pod = Pod("oracle", with_http=False)
    gauge = Gauge("oracle_bucket", "cumulative counts", ["case", "le"], registry=pod.registry)
    generator = random.Random(7)
    for case in range(ORACLE_CASES):
        count = 0.0
        for bound in sorted(generator.sample([0.005, 0.01, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0], k=case % 7 + 1)):
            count += generator.choice([0.0, 0.0, 1.0, 2.5, 17.0, 1e-3, -0.5])
            gauge.labels(str(case), str(bound)).set(max(count, 0.0))
            if generator.random() < 0.2:
                gauge.labels(str(case), f"{bound:.4f}").set(generator.choice([0.0, 3.0]))
        gauge.labels(str(case), "+Inf").set(max(count, 0.0) + generator.choice([0.0, 1.0]))
    return pod


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    pods = {
        "one": [Pod(name) for name in names("one", "x2k4q")],
        "web": [Pod(name) for name in names("web", "x2k4q", "b8m6z")],
        "quiet": [Pod(name) for name in names("quiet", "x2k4q")],
        "calm": [Pod(name) for name in names("calm", "x2k4q")],
        "gone": [Pod(name) for name in names("gone", "x2k4q")],
        "lost": [Pod(name) for name in names("lost", "x2k4q", "b8m6z")],
        "twice": [Pod(name) for name in names("twice", "x2k4q")],
        "seldom": [Pod(name) for name in names("seldom", "x2k4q")],
        "plain": [Pod(name, with_http=False) for name in names("plain", "x2k4q")],
        "others": [Pod(name) for name in ("web-api-0", "web-api-x7k2p", "web-api-7d9f8b6c5d-x2k4q")],
        "oracle": [oracle_pod()],
    }
    every = [pod for name, group in pods.items() if name != "seldom" for pod in group]
    jobs = {"pods": ("200ms", every), "again": ("200ms", pods["twice"]), "seldom": ("1100ms", pods["seldom"])}
    ended = threading.Event()

    def make_traffic() -> None:
        generator = random.Random(1)
        while not ended.wait(0.005):
            pods["calm"][0].serve(0.01)
            for name in ("one", "web", "gone", "lost", "others"):
                for pod in pods[name]:
                    code = "503" if generator.random() < 0.1 else "200"
                    pod.serve(generator.expovariate(5.0), code)
                    pod.in_flight.set(generator.randrange(1, 9))

    traffic = threading.Thread(target=make_traffic, daemon=True)
    with running_prometheus(tmp_path_factory.mktemp("prometheus"), jobs) as prometheus:
        traffic.start()
        try:
            yield World(prometheus, pods)
        finally:
            ended.set()
            traffic.join()
            for group in pods.values():
                for pod in group:
                    pod.close()


def settled(world: World, name: str) -> ServiceReading:
    """A reading after the rates have been there for a whole window."""

    def whole_window() -> ServiceReading | None:
        query = f'min_over_time(http_requests_total{{pod=~"{name}-.*"}}[{WINDOW_S + 1:g}s] offset 1s)'
        reading = world.read(name)
        return reading if world.prometheus.query(query) and not reading.problems else None

    reading: ServiceReading = wait_until(whole_window, f"{name} can be read")
    return reading


def test_reading_is_what_prometheus_itself_answers(world: World) -> None:
    reading = settled(world, "one")
    pod = world.pods["one"][0].name
    at_s, selector, window = reading.time_s, f'pod="{pod}"', f"[{WINDOW_S:g}s]"

    def number(promql: str) -> float:
        return world.prometheus.number(promql.replace("%", selector).replace("@", window), at_s)

    rate = number("sum(rate(http_requests_total{%}@))")
    assert rate > 10.0
    assert reading.request_rate_rps == pytest.approx(rate, rel=1e-9)
    errors = number('sum(rate(http_requests_total{%,code="503"}@))')
    assert 0.0 < errors < rate
    assert reading.error_ratio == pytest.approx(errors / rate, rel=1e-9)
    count = "sum(rate(http_request_duration_seconds_count{%}@))"
    mean = f"sum(rate(http_request_duration_seconds_sum{{%}}@)) / {count}"
    assert reading.response_time_s == pytest.approx(number(mean), rel=1e-9)
    buckets = "sum by (le) (rate(http_request_duration_seconds_bucket{%}@))"
    for level, value in (
        (0.50, reading.response_time_p50_s),
        (0.95, reading.response_time_p95_s),
        (0.99, reading.response_time_p99_s),
    ):
        assert value == pytest.approx(number(f"histogram_quantile({level}, {buckets})"), rel=1e-9)
    slow = number(f"1 - sum(rate(http_request_duration_seconds_bucket{{%,le='0.25'}}@)) / {count}")
    assert reading.slow_ratio == pytest.approx(slow, rel=1e-9)
    assert 0.05 < reading.response_time_std_s < 0.5
    assert reading.in_flight == number("http_requests_in_flight{%}")
    usage = reading.pods[pod]
    cpu = f"rate(container_cpu_usage_seconds_total{{{selector}}}{window})"
    assert usage.cpu_usage_cores == pytest.approx(world.prometheus.number(cpu, usage.time_s), rel=1e-9)
    assert usage.memory_usage_bytes == 64e6
    assert world.prometheus.number("vector(time())") - reading.time_s < 10.0


def test_pods_of_a_deployment_are_added_up_and_those_of_others_are_not(world: World) -> None:
    settled(world, "web")

    def agrees() -> bool:
        reading = world.read("web")
        selector = "|".join(pod.name for pod in world.pods["web"])
        promql = f'sum(rate(http_requests_total{{pod=~"{selector}"}}[{WINDOW_S:g}s]))'
        # A pod scraped a moment before the newest may be stored a moment after the reading.
        return reading.request_rate_rps == pytest.approx(
            world.prometheus.number(promql, reading.time_s), rel=1e-9
        )

    wait_until(agrees, "the reading agrees with Prometheus")
    assert set(world.read("web").pods) == {pod.name for pod in world.pods["web"]}


def test_quantiles_are_those_of_prometheus(world: World) -> None:
    series = wait_until(lambda: world.prometheus.query("oracle_bucket"), "the oracle is scraped")
    cases: dict[str, list[tuple[float, float]]] = {}
    for each in series:
        bucket = (float(each["metric"]["le"]), float(each["value"][1]))
        cases.setdefault(each["metric"]["case"], []).append(bucket)
    assert len(cases) == ORACLE_CASES
    compared = 0
    for level in LEVELS:
        answer = world.prometheus.query(f"histogram_quantile({level}, oracle_bucket)")
        theirs = {each["metric"]["case"]: float(each["value"][1]) for each in answer}
        assert set(theirs) == set(cases)
        for case, buckets in cases.items():
            ours = Histogram.of(buckets).quantile(level)
            assert ours == pytest.approx(theirs[case], abs=1e-9, nan_ok=True), (case, level)
            compared += not math.isnan(ours)
    assert compared > 300


def test_service_without_requests_is_at_zero(world: World) -> None:
    reading = settled(world, "quiet")
    assert reading.request_rate_rps == 0.0
    assert reading.error_ratio == 0.0
    assert reading.in_flight == 0.0
    assert math.isnan(reading.response_time_s)
    assert reading.problems == {}


def test_service_without_failures_has_an_error_ratio_of_zero(world: World) -> None:
    reading = settled(world, "calm")
    assert reading.request_rate_rps > 10.0
    assert reading.error_ratio == 0.0


def test_service_that_is_not_there_is_unknown(world: World) -> None:
    world.source().check([watched("absent")])
    reading = world.read("absent")
    assert math.isnan(reading.request_rate_rps)
    assert math.isnan(reading.time_s)
    assert "no data" in reading.problems["request_rate_rps"]


def test_service_with_container_metrics_alone(world: World) -> None:
    reading = wait_until(
        lambda: (found := world.read("plain")).pods and "pods" not in found.problems and found,
        "plain is read",
    )
    assert math.isnan(reading.request_rate_rps)
    (usage,) = reading.pods.values()
    assert usage.cpu_usage_cores == 0.0
    assert reading.time_s == usage.time_s


def test_targets_that_went_down_are_unknown_not_at_zero(world: World) -> None:
    assert settled(world, "gone").request_rate_rps > 10.0
    world.pods["gone"][0].close()
    # A query that many write, and that turns an outage into no load.
    promql = f'sum(rate(http_requests_total{{pod=~"gone-.*"}}[{WINDOW_S:g}s])) or vector(0)'
    seen = []

    def is_zero_for_prometheus() -> bool:
        seen.append(world.read("gone", queries={"request_rate_rps": promql}))
        return world.prometheus.number(promql) == 0.0

    wait_until(is_zero_for_prometheus, "the rate of the dead target has become 0")
    seen.append(world.read("gone", queries={"request_rate_rps": promql}))
    rates = [reading.request_rate_rps for reading in seen]
    assert math.isnan(rates[-1])
    assert all(math.isnan(rate) or rate > 10.0 for rate in rates), "a gap must not look like less load"
    assert "no live sample" in seen[-1].problems["request_rate_rps"]


def test_lost_pod_makes_the_reading_partial(world: World) -> None:
    assert settled(world, "lost").partial is False
    world.pods["lost"][1].close()
    reading = wait_until(lambda: (found := world.read("lost")).partial and found, "the loss is noticed")
    assert reading.problems["partial"].startswith("1 of the pods")
    assert reading.request_rate_rps > 0.0
    wait_until(lambda: not world.read("lost").partial, "the lost pod has left the window")


def test_check_passes(world: World) -> None:
    settled(world, "one")
    world.source().check([watched("one"), watched("quiet")])


def test_check_refuses_what_prometheus_cannot_read(world: World) -> None:
    with pytest.raises(InputError, match=r"query in_flight: .*parse error.*PromQL: sum\(rate\("):
        world.source(queries={"in_flight": "sum(rate("}).check([watched("one")])
    settled(world, "one")
    source = world.source(queries={"in_flight": 'http_requests_in_flight{pod=~"one-.*"}[1m]'})
    with pytest.raises(InputError, match=r"query in_flight: a range of samples where a number is meant"):
        source.check([watched("one")])


def test_check_refuses_several_series(world: World) -> None:
    settled(world, "one")
    queries = {"request_rate_rps": 'rate(http_requests_total{pod=~"${pods}"}[${window}])'}
    wait_until(
        lambda: "several series" in world.read("one", queries=queries).problems["request_rate_rps"], "503s"
    )
    with pytest.raises(
        InputError, match=r"several series \(2\).*code=200.*code=503.*wrap the query in sum\("
    ):
        world.source(queries=queries).check([watched("one")])


def test_check_refuses_a_window_shorter_than_two_scrapes(world: World) -> None:
    promql = 'count_over_time(http_requests_total{pod=~"seldom-.*"}[1m]) >= 3'
    wait_until(lambda: world.prometheus.query(promql), "three scrapes")
    world.source(window_s=2.5).check([watched("seldom")])
    for window_s in (2.0, 2.25):  # the second holds two if neither is late
        with pytest.raises(
            InputError, match=rf"samples come every 1\.1 s.*window of {window_s:g} s.*metrics.window_s to 5"
        ):
            world.source(window_s=window_s).check([watched("seldom")])


def test_check_refuses_pods_that_are_scraped_twice(world: World) -> None:
    settled(world, "twice")
    with pytest.raises(
        InputError, match=r"scraped by job=again and by job=pods.*metrics.queries.request_rate_rps"
    ):
        world.source().check([watched("twice")])
    selected = 'sum(rate(http_requests_total{pod=~"${pods}",job="pods"}[${window}]))'
    of_container = (
        'sum by (pod) (rate(container_cpu_usage_seconds_total{pod=~"${pods}",job="pods"}[${window}]))'
    )
    world.source(queries={"request_rate_rps": selected, "pod_cpu_cores": of_container}).check(
        [watched("twice")]
    )


def test_history_has_the_past(world: World) -> None:
    settled(world, "one")

    def past() -> tuple[tuple[float, float], ...]:
        points = world.source().history(watched("one"), 30.0, 1.0)
        return points if len(points) >= 3 else ()

    points = wait_until(past, "three seconds of past")
    times = [time_s for time_s, _ in points]
    assert times == sorted(set(times))
    assert {later - before for before, later in pairwise(times)} == {1.0}
    promql = render(QUERIES["request_rate_rps"], watched("one"), WINDOW_S)
    time_s, rate = points[-2]
    assert rate == pytest.approx(world.prometheus.number(promql, time_s), rel=1e-9)
    assert world.source().history(watched("absent"), 30.0, 1.0) == ()


def test_every_default_is_read_by_prometheus(world: World) -> None:
    for query in chosen_queries({}).values():
        if query.promql:
            world.prometheus.query(render(query, watched("one"), WINDOW_S))


def test_read_before_the_first_scrape_needs_no_luck(tmp_path: Path) -> None:
    with running_prometheus(tmp_path, {}) as prometheus:
        source = PrometheusMetrics(MetricsSettings(url=f"{prometheus.url}/"))
        source.check([watched()])
        (reading,) = source.read([watched()])
        assert math.isnan(reading.request_rate_rps)
        assert source.history(watched(), 3600.0, 15.0) == ()
        assert source.history_problem is None
