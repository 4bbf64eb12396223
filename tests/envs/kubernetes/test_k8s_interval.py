"""The report of an interval against hand-worked cases, and the grid of steps."""

import dataclasses
import math

import pytest
from oracles.simulated_backend import FakeClock

from podgym.envs.cluster import Quota
from podgym.envs.kubernetes.clock import Pacer
from podgym.envs.kubernetes.interval import ServiceState, interval_report
from podgym.envs.kubernetes.readings import PodState, PodUsage, ServiceReading
from podgym.envs.kubernetes.settings import MetricsSettings
from podgym.envs.kubernetes.signals import carried_forward, signals_of

QUOTA = Quota(0.5, 1.0, 100.0, 200.0)


def pod(name, *, ready=True, deleted=False, placed=True, **changes):
    return PodState(name, "Running", ready, 0.0 if placed else None, 0.0, deleted, QUOTA, **changes)


def state(pods, reading=None, wanted=3):
    return ServiceState(wanted, QUOTA, tuple(pods), reading or ServiceReading())


READING = ServiceReading(
    time_s=100.0, window_s=30.0, request_rate_rps=20.0, error_ratio=0.1, response_time_s=0.2,
    response_time_std_s=0.1, response_time_p50_s=0.15, response_time_p95_s=0.5, response_time_p99_s=0.7,
    slow_ratio=0.25, in_flight=4.0,
    pods={"a": PodUsage(0.3, 50.0, 100.0, 30.0), "b": PodUsage(0.1, 30.0, 100.0, 30.0)},
)  # fmt: skip


def test_a_hand_worked_interval():
    before = state([pod("a"), pod("b"), pod("c", placed=False)])
    now = state([pod("a", restarts=2), pod("b", oom_killed_s=5.0), pod("d", ready=False)], READING, wanted=1)
    report = interval_report(before, now, time_s=45.0, duration_s=15.0)
    assert report["offered_rps"] == 20.0
    assert report["arrived"] == 300.0
    assert report["rejected"] == pytest.approx(30.0)
    assert report["completed"] == pytest.approx(270.0)
    assert report["slo_violations"] == pytest.approx(30.0 + 0.25 * 270.0)
    assert report["cpu_used_core_s"] == pytest.approx(0.4 * 15.0)
    assert report["memory_used_byte_s"] == pytest.approx(80.0 * 15.0)
    assert report["cpu_requested_core_s"] == pytest.approx(0.5 * (2 + 3) * 0.5 * 15.0)  # c has no node
    assert report["memory_requested_byte_s"] == pytest.approx(0.5 * (2 + 3) * 100.0 * 15.0)
    assert report["replica_s"] == pytest.approx(3 * 15.0)
    assert report["ready_replica_s"] == pytest.approx(0.5 * (3 + 2) * 15.0)
    assert (report["restarts"], report["oom_kills"], report["replica_change"]) == (2.0, 1.0, -2.0)
    assert (report["pods_created"], report["pods_removed"]) == (1.0, 1.0)
    assert report["service_cv"] == pytest.approx(0.5)
    assert report["in_system"] == 4.0


def test_what_was_not_measured_adds_nothing_and_stays_nan_where_it_is_a_mean():
    report = interval_report(state([]), state([]), time_s=15.0, duration_s=15.0)
    assert report["arrived"] == report["slo_violations"] == report["cpu_used_core_s"] == 0.0
    assert math.isnan(report["response_time_mean_s"])


def test_terminating_pods_are_neither_ready_nor_alive():
    seen = state([pod("a"), pod("b", deleted=True), pod("c", placed=False)], READING)
    assert (len(seen.alive), seen.replicas_ready, seen.replicas_pending) == (2, 2, 1)
    assert seen.cpu_per_ready_pod_cores == 0.3  # b is terminating, c was not scraped


def signals(reading, now_s=110.0, source="prometheus"):
    settings = MetricsSettings(source=source, url="http://x")
    return {each.name: each.state for each in signals_of(state([pod("a")], reading), settings, now_s)}


def test_signals():
    assert signals(READING) == {"pods": "ok", "requests": "ok", "responses": "ok"}
    assert signals(READING, now_s=161.0) == {"pods": "stale", "requests": "stale", "responses": "ok"}
    partial = dataclasses.replace(READING, partial=True)
    assert signals(partial) == {"pods": "partial", "requests": "partial", "responses": "ok"}
    assert signals(dataclasses.replace(READING, pods={}))["pods"] == "missing"
    broken = dataclasses.replace(READING, problems={"request_rate_rps": "no data"})
    assert signals(broken)["requests"] == "invalid"
    assert signals(dataclasses.replace(READING, request_rate_rps=math.nan))["requests"] == "missing"
    silent = dataclasses.replace(READING, problems={"response_time_s": "no data"})
    assert signals(silent)["responses"] == "invalid"
    idle = dataclasses.replace(READING, response_time_s=math.nan)  # no request ended
    assert signals(idle)["responses"] == "ok"
    assert signals(ServiceReading(pods=READING.pods), source="metrics-server") == {"pods": "ok"}


def test_a_service_that_tells_no_response_times_can_say_so():
    silent = dataclasses.replace(READING, problems={"response_time_s": "not asked"})
    seen = state([pod("a")], silent)
    for queries, judged in (
        ({}, True),
        ({"response_time_sum_rate": ""}, False),
        ({"response_time_sum_rate": "", "response_time_s": "my_mean"}, True),
    ):
        names = [
            each.name for each in signals_of(seen, MetricsSettings(url="http://x", queries=queries), 110.0)
        ]
        assert ("responses" in names) == judged, queries


@pytest.mark.parametrize(
    ("usage", "state"),
    [
        ({"a": PodUsage(math.nan, 1.0, 109.0, 30.0)}, "missing"),
        ({"a": PodUsage(0.1, math.nan, 109.0, 30.0)}, "missing"),
        ({"a": PodUsage(0.1, 1.0, 20.0, 30.0)}, "stale"),
        ({"b": PodUsage(0.1, 1.0, 109.0, 30.0)}, "partial"),  # a has been ready for long, and is not seen
        ({"a": PodUsage(0.1, 1.0, 20.0, 30.0), "b": PodUsage(0.1, 1.0, 109.0, 30.0)}, "partial"),
        ({"a": PodUsage(0.1, 1.0, 109.0, 30.0)}, "ok"),  # c became ready a moment ago
    ],
)
def test_every_pod_that_is_ready_for_long_must_be_seen(usage, state):
    pods = (pod("a"), dataclasses.replace(pod("c"), ready_transition_time_s=100.0))
    seen = ServiceState(3, QUOTA, pods, dataclasses.replace(READING, pods=usage))
    assert signals_of(seen, MetricsSettings(url="http://x"), 110.0)[0].state == state


def test_what_failed_keeps_its_last_value():
    lost = dataclasses.replace(
        READING, time_s=115.0, request_rate_rps=math.nan, error_ratio=0.0, response_time_s=math.nan, pods={},
        problems={"request_rate_rps": "no data"},
    )  # fmt: skip
    kept = carried_forward(lost, READING)
    assert kept.request_rate_rps == 20.0
    assert math.isnan(kept.response_time_s)  # no problem: no request ended
    assert kept.error_ratio == 0.0
    assert kept.pods == READING.pods
    assert (kept.time_s, kept.problems) == (115.0, lost.problems)


def test_nothing_at_all_keeps_the_age_of_the_last_reading():
    gone = carried_forward(ServiceReading(problems={"time_s": "timeout"}, partial=True), READING)
    assert dataclasses.replace(gone, problems={}, partial=False) == READING
    assert gone.problems == {"time_s": "timeout"}
    assert gone.partial


def test_steps_keep_to_a_grid_and_leave_out_what_was_missed():
    clock = FakeClock()
    pacer = Pacer(clock, 10.0)
    start_s = clock.now_s
    assert pacer.wait() == 0.0
    assert clock.now_s == start_s + 10.0
    clock.now_s += 37.0  # at 47: the moments 20, 30 and 40 are over
    assert pacer.wait() == pytest.approx(27.0)
    assert pacer.wait() == 0.0
    assert clock.now_s == start_s + 50.0
