"""What the monitoring pipeline shows: the past, averaged, late, noisy, and sometimes not at all."""

import math
from itertools import pairwise

import numpy as np
import pytest

from podgym.envs.simulator import ServiceParameters
from podgym.errors import InputError


def monitored(**changes):
    return {"monitoring": changes}


def run(lab, intervals):
    """Advance by intervals (of a second); return the views of the first service and the reports."""
    views, reports = [], []
    for _ in range(intervals):
        reports.append(lab.advance()[0, 0])
        views.append(lab.service())
    return views, np.array(reports)


@pytest.mark.parametrize(("interval_s", "delay_s"), [(15.0, 2.0), (10.0, 0.0), (5.0, 7.0), (1.0, 1.0)])
def test_scrapes_are_regular_and_late(quiet_lab, interval_s, delay_s):
    views, _ = run(
        quiet_lab(
            50.0, **monitored(scrape_interval_s=interval_s, scrape_delay_s=delay_s, window_s=interval_s)
        ),
        120,
    )
    ages = [
        second + 1 - view.sample_time_s for second, view in enumerate(views) if view.sample_time_s is not None
    ]
    assert len(ages) > 80
    assert min(ages) == delay_s
    assert max(ages) == delay_s + interval_s - 1
    times = sorted({view.sample_time_s for view in views if view.sample_time_s is not None})
    assert set(np.diff(times)) == {interval_s}


def test_nothing_is_known_before_two_scrapes(quiet_lab):
    views, _ = run(quiet_lab(50.0), 40)
    first = next(index for index, view in enumerate(views) if view.sample_time_s is not None)
    for view in views[:first]:
        numbers = (view.request_rate_rps, view.response_time_s, view.error_ratio, view.in_flight)
        assert all(math.isnan(number) for number in numbers)
        assert all(pod.sample is None for pod in view.pods)
    assert 1 <= first <= 17  # one scrape interval and the delay at most
    assert views[first].request_rate_rps == pytest.approx(50.0)


def test_clusters_are_not_scraped_in_step(quiet_lab):
    firsts = set()
    for seed in range(40):
        views, _ = run(quiet_lab(50.0, seed=seed), 20)
        firsts.add(next(view.sample_time_s for view in views if view.sample_time_s is not None))
    assert firsts <= set(np.arange(1.0, 16.0))
    assert len(firsts) >= 10


@pytest.mark.parametrize("window_s", [15.0, 30.0, 40.0, 60.0])
def test_rates_are_means_over_the_window(quiet_lab, window_s):
    # The load climbs by one request/s per second, so every window has a mean of its own.
    lab = quiet_lab(np.arange(400.0), web={"initial_replicas": 8}, **monitored(window_s=window_s))
    views, reports = run(lab, 300)
    arrivals = np.concatenate([[0.0], np.cumsum(reports["arrived"])])  # at second i
    cpu = np.concatenate([[0.0], np.cumsum(reports["cpu_used_core_s"])])
    spanned = math.ceil(window_s / 15.0) * 15.0  # whole scrape intervals, at least the window
    compared = 0
    for view in views:
        if view.sample_time_s is None or view.sample_time_s <= spanned:
            continue
        end, begin = int(view.sample_time_s), int(view.sample_time_s - spanned)
        sample = view.pods[0].sample
        assert sample.window_s == spanned
        assert sample.time_s == view.sample_time_s
        assert view.request_rate_rps == pytest.approx((arrivals[end] - arrivals[begin]) / spanned)
        assert sample.cpu_usage_cores == pytest.approx((cpu[end] - cpu[begin]) / spanned / 8)
        assert view.in_flight == pytest.approx(reports["in_system"][end - 1])
        memory = reports["memory_used_byte_s"][end - 1] / 8
        assert sample.memory_usage_bytes == pytest.approx(memory)
        compared += 1
    assert compared > 150


def busy_then_busier(quiet_lab, **changes):
    load = np.where(np.arange(400) < 150, 100.0, 400.0)  # three pods of half a core serve 176 requests/s
    return quiet_lab(load, physics={"queue_limit_per_pod": 20, "memory_per_request_bytes": 0.0}, **changes)


def test_errors_are_those_of_the_window(quiet_lab):
    views, reports = run(busy_then_busier(quiet_lab), 300)
    failed = reports["rejected"] + reports["timed_out"] + reports["lost"]
    assert failed[200] > 0
    for view in views[60:]:
        window = slice(int(view.sample_time_s) - 30, int(view.sample_time_s))
        ended = reports["completed"][window].sum() + failed[window].sum()
        assert view.error_ratio == pytest.approx(failed[window].sum() / ended, abs=1e-12)


def test_response_time_is_that_of_the_requests_completed(quiet_lab):
    views, reports = run(quiet_lab(100.0), 200)
    assert views[-1].response_time_s == pytest.approx(reports["response_time_mean_s"][-1])


def test_response_time_is_a_mean_of_the_window_s_own_requests(quiet_lab):
    views, reports = run(busy_then_busier(quiet_lab), 300)
    for view in views[60:]:
        window = slice(int(view.sample_time_s) - 30, int(view.sample_time_s))
        completed = reports["completed"][window]
        mean = (reports["response_time_mean_s"][window] * completed).sum() / completed.sum()
        assert view.response_time_s == pytest.approx(mean)


@pytest.mark.parametrize("seed", range(3))
def test_response_time_is_never_seen_below_what_a_request_takes_at_least(quiet_lab, seed):
    # Idle pods: every request takes base latency and service time, 0.107 s, at any rate.
    load = np.where(np.arange(400) < 150, 5.0, 50.0)
    lab = quiet_lab(load, seed=seed, control_interval_s=15.0, web={"initial_replicas": 20})
    seen, true = [], []
    for _ in range(20):
        true.append(lab.advance()[0, 0]["response_time_mean_s"])
        seen.append(lab.service().response_time_s)
    assert np.ptp(true) < 0.001
    assert np.array(seen[3:]) == pytest.approx(np.full(17, true[0]), rel=0.02)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_what_is_seen_is_the_past(quiet_lab, seed):
    changed_at = 100
    steady, burst = np.full(300, 50.0), np.full(300, 50.0)
    burst[changed_at + 1 :] = 500.0  # linear between samples: rises from second 100 on
    views = []
    for load in (steady, burst):
        # Without memory for requests, or the API server would tell of kills at once.
        lab = quiet_lab(
            load,
            seed=seed,
            load={"rate_noise_cv": 0.1},
            physics={"memory_per_request_bytes": 0.0},
            **monitored(sampling_noise=True),
        )
        views.append(run(lab, 150)[0])
    # As text, because nan differs from itself.
    same = [repr(first) == repr(second) for first, second in zip(*views, strict=True)]
    first_scrape_after = next(
        v.sample_time_s for v in views[1] if v.sample_time_s and v.sample_time_s > changed_at
    )
    seen_at = int(first_scrape_after) + 2  # the delay
    assert all(same[: seen_at - 1])
    assert not any(same[seen_at:])
    assert seen_at > changed_at + 1


def test_lost_scrapes_leave_the_last_sample_standing(quiet_lab):
    lab = quiet_lab(
        50.0, load={"rate_noise_cv": 0.3}, **monitored(sample_loss_probability=0.4, window_s=15.0)
    )
    views, _ = run(lab, 6000)
    seen = [view for view in views if view.sample_time_s is not None]
    times = np.array([view.sample_time_s for view in seen])
    gaps = np.diff(np.unique(times)) / 15.0
    assert set(gaps) <= set(range(1, 20))
    # The gap until the next scrape that succeeds is geometric.
    assert gaps.mean() == pytest.approx(1 / 0.6, rel=0.12)
    for before, after in pairwise(seen):
        if before.sample_time_s == after.sample_time_s:
            assert before.request_rate_rps == after.request_rate_rps
            assert before.pods[0].sample == after.pods[0].sample


def test_samples_after_a_loss_span_the_gap(quiet_lab):
    lab = quiet_lab(np.arange(700.0) / 4, **monitored(sample_loss_probability=0.5, window_s=15.0))
    views, reports = run(lab, 600)
    arrivals = np.concatenate([[0.0], np.cumsum(reports["arrived"])])
    spans = set()
    for view in views:
        sample = view.pods[0].sample
        if sample is None:
            continue
        begin, end = int(sample.time_s - sample.window_s), int(sample.time_s)
        assert view.request_rate_rps == pytest.approx((arrivals[end] - arrivals[begin]) / sample.window_s)
        spans.add(sample.window_s)
    assert {15.0, 30.0, 45.0} <= spans


def test_a_fresh_pod_has_no_sample_until_it_has_run_for_a_scrape_interval(quiet_lab):
    lab = quiet_lab(50.0)
    lab.advance(60)
    lab.want(replicas=4)
    lab.advance()
    (fresh,) = (pod for pod in lab.pods() if not pod.ready)
    for _ in range(50):
        lab.advance()
        for pod in lab.pods():
            if pod.name != fresh.name:
                assert pod.sample is not None
            elif pod.sample is not None:
                assert pod.sample.time_s - 15.0 >= fresh.start_time_s
            else:
                assert lab.service().sample_time_s - 15.0 < fresh.start_time_s
    assert all(pod.sample is not None for pod in lab.pods())


def test_a_waiting_or_terminating_pod_has_no_sample(quiet_lab):
    lab = quiet_lab(50.0, nodes={"count": 1}, web={"initial_replicas": 7}, physics={"termination_s": 30.0})
    lab.want(replicas=8)
    lab.advance(60)
    waiting = [pod for pod in lab.pods() if pod.phase == "Pending"]
    assert [(pod.sample, pod.start_time_s) for pod in waiting] == [(None, None)]
    lab.want(replicas=6)
    lab.advance()
    assert [pod.sample for pod in lab.pods() if pod.deleted] == [None]


def test_measured_counts_scatter_like_poisson_and_the_queue_knows_nothing_of_it(quiet_lab):
    def measure(noise):
        # Nothing else is random; 16 pods, so that the queue is calm.
        lab = quiet_lab(
            100.0,
            control_interval_s=15.0,
            web={"initial_replicas": 16},
            **monitored(sampling_noise=noise, window_s=15.0),
        )
        views, reports = run(lab, 600)
        rates = {view.sample_time_s: view.request_rate_rps for view in views}
        cores = {
            view.sample_time_s: view.pods[0].sample and view.pods[0].sample.cpu_usage_cores for view in views
        }
        return np.array(list(rates.values())[5:]), np.array(list(cores.values())[5:], dtype=float), reports

    exact_rates, exact_cores, without = measure(False)
    rates, cores, with_noise = measure(True)
    assert np.ptp(exact_rates) < 1e-9
    assert len(rates) > 590
    assert rates.mean() == pytest.approx(100.0, rel=0.01)
    # A window of 15 s holds 1,500 requests: standard deviation of the rate sqrt(1500) / 15.
    assert rates.std() == pytest.approx(math.sqrt(1500.0) / 15.0, rel=0.1)
    assert cores.mean() == pytest.approx(exact_cores.mean(), rel=0.01)
    # Work of n requests of mean d and variation 1: variance n d^2 (1 + 1).
    spread = ServiceParameters().cpu_demand_core_s * math.sqrt(1500.0 * 2.0) / 15.0 / 16
    assert cores.std() == pytest.approx(spread, rel=0.1)
    assert with_noise.tobytes() == without.tobytes()


def test_what_is_wanted_and_running_is_known_at_once(quiet_lab):
    lab = quiet_lab(50.0)
    lab.want(replicas=5)
    lab.want_quota(0.75, 2.0**30)
    lab.advance()
    service = lab.service()
    assert service.replicas_wanted == 5
    assert service.quota.cpu_request_cores == 0.75
    assert lab.observe().time_s == 1.0


def test_a_window_longer_than_the_scrapes_kept_is_refused(quiet_lab):
    with pytest.raises(InputError, match="scrapes kept"):
        quiet_lab(50.0, **monitored(window_s=1000.0))


def test_a_pod_that_starts_up_or_waits_after_a_crash_is_seen_idle(quiet_lab):
    lab = quiet_lab(
        50.0,
        physics={"start_failure_probability": 1.0, "start_up_s": 40.0, "restart_backoff_s": 100.0,
                 "start_up_cpu_cores": 0.3},
    )  # fmt: skip
    lab.want(replicas=4)
    seen = []
    for _ in range(120):
        lab.advance()
        pod = next(pod for pod in lab.pods() if not pod.ready)
        if pod.sample is not None:
            seen.append(pod.sample.cpu_usage_cores)
    assert seen[0] == 0.3  # starting
    assert seen[-1] == 0.0  # crashed at 40 s, waits until 140 s
