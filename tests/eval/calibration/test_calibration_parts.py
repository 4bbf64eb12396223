"""The parts of the fit, each against an answer known by other means."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podgym.envs.config import override
from podgym.envs.simulator.parameters import LoadParameters, MonitoringParameters, ServiceParameters
from podgym.eval.calibration.constants import judged
from podgym.eval.calibration.recording import PodStart, ScrapeSight
from podgym.eval.calibration.regression import robust_regression
from podgym.eval.calibration.replay import QueueReplay, fluctuating
from podgym.eval.calibration.scrapes import fit_scrapes
from podgym.eval.calibration.series import ReadySteps, service_series
from podgym.eval.calibration.start_up import fit_start_up

STEADY = LoadParameters(rate_noise_cv=0.0)


def linear_data(seed, coefficients, noise, count=200):
    rng = np.random.default_rng(seed)
    design = rng.uniform(0.5, 3.0, (count, len(coefficients)))
    return design, design @ np.array(coefficients) + noise * rng.standard_normal(count)


@given(
    seed=st.integers(0, 10**6),
    coefficients=st.lists(st.floats(-2.0, 2.0), min_size=1, max_size=3),
)
def test_no_coefficient_below_zero_and_as_good_as_scipys(seed, coefficients):
    nnls = pytest.importorskip("scipy.optimize").nnls
    design, target = linear_data(seed, coefficients, 0.01)
    fit = robust_regression(design, target, np.ones(len(target)))
    root = np.sqrt(fit.weights)  # those of Huber in the end
    expected = nnls(design * root[:, None], target * root)[0]
    np.testing.assert_allclose(fit.coefficients, expected, atol=1e-5)
    assert (fit.replicates >= 0.0).all()


def test_wrong_samples_do_not_move_the_fit():
    design, target = linear_data(1, (2.0, 0.5), 0.05)
    clean = robust_regression(design, target, np.ones(200)).coefficients
    target[::20] *= 10.0
    np.testing.assert_allclose(robust_regression(design, target, np.ones(200)).coefficients, clean, rtol=0.03)
    least_squares = np.linalg.lstsq(design, target, rcond=None)[0]
    assert abs(least_squares[0] - 2.0) > 0.3  # what the robust loss is for


def test_intervals_hold_the_truth_as_often_as_they_say():
    held = 0
    for seed in range(100):
        design, target = linear_data(seed, (2.0, 0.5), 0.3)
        fit = robust_regression(design, target, np.ones(200))
        held += int(fit.lower[0] <= 2.0 <= fit.upper[0])
    assert 88 <= held <= 99


def test_intervals_of_correlated_errors_are_wider():
    design = np.ones((200, 1))
    independent = np.random.default_rng(0).standard_normal(200)
    correlated = np.repeat(independent[:20], 10)
    widths = []
    for errors in (independent, correlated):
        fit = robust_regression(design, 20.0 + errors, np.ones(200))
        widths.append(float(fit.upper[0] - fit.lower[0]))
    assert widths[1] > 1.8 * widths[0]


def test_replay_is_the_simulator(record_run, truth, shipped):
    """Steady load without noise: the queue alone, moved by recorded numbers, does what the cluster did."""
    recording = record_run(
        truth(demand_cv=1.7), 0, load=(0.9, 0.9), replicas=(6, 9), hours=0.5, tick_s=1.0, rate_noise_cv=0.0
    )
    series = service_series(recording, "web", 0.5)
    physics = dataclasses.replace(shipped.cluster.services[0].parameters, demand_cv=1.7)
    replayed = QueueReplay(series, 1.0, STEADY).run([physics, dataclasses.replace(physics, demand_cv=0.5)])
    recorded_s = recording.record.columns["response_time_mean_s"][:, 0] - physics.base_latency_s
    np.testing.assert_allclose(replayed.pod_time_s[0], recorded_s, rtol=1e-6)
    np.testing.assert_allclose(replayed.completed[0], series.completed, rtol=1e-6)
    assert (replayed.wait_s[1] < 0.7 * replayed.wait_s[0]).all()
    base = physics.base_memory_bytes * recording.record.columns["ready_replica_s"][:, 0]
    held = (recording.record.columns["memory_used_byte_s"][:, 0] - base) / physics.memory_per_request_bytes
    np.testing.assert_allclose(replayed.held_request_s[0], held, rtol=1e-6)


def test_replay_of_one_server_is_the_closed_form(make_record):
    """M/M/1 with a service time of 20 ms at 80 %: R = S / (1 - rho)."""
    rate_rps = 40.0
    columns = {
        "arrived": [15.0 * rate_rps] * 40, "completed": [15.0 * rate_rps] * 40, "replicas_ready": [1.0] * 40,
        "ready_replica_s": [15.0] * 40, "replica_s": [15.0] * 40, "cpu_limit_cores": [1.0] * 40,
        "response_time_mean_s": [0.1] * 40, "duration_s": [15.0] * 40,
    }  # fmt: skip
    from podgym.eval.calibration import Recording

    series = service_series(Recording("hand", make_record(columns)), "web", 1.0)
    physics = ServiceParameters(cpu_demand_core_s=0.02, demand_cv=1.0)
    sharing = dataclasses.replace(physics, discipline="ps", demand_cv=3.0)
    replayed = QueueReplay(series, 1.0, STEADY).run([physics, sharing])
    np.testing.assert_allclose(replayed.pod_time_s[:, -1], 0.02 / (1.0 - 0.8), rtol=2e-3)


def test_fluctuation_keeps_the_mean_of_every_interval():
    rates_rps = np.array([10.0, 50.0, 20.0])
    interval_of = np.repeat(np.arange(3), 15)
    noise = LoadParameters(rate_noise_cv=0.3, rate_noise_period_s=5.0)
    ticks = fluctuating(rates_rps, interval_of, 1.0, noise, np.random.default_rng(0))
    np.testing.assert_allclose(ticks.reshape(3, 15).mean(axis=1), rates_rps)
    blocks = ticks.reshape(9, 5)
    np.testing.assert_allclose(blocks, blocks[:, :1].repeat(5, axis=1))
    assert len(np.unique(blocks[:, 0])) == 9


def test_ready_steps_know_their_integral():
    steps = ReadySteps(np.array([0.0, 20.0, 50.0]), np.array([2.0, 5.0, 3.0]))
    starts_s, ends_s = np.array([0.0, 15.0, 45.0, 60.0]), np.array([15.0, 45.0, 60.0, 70.0])
    np.testing.assert_allclose(steps.integral(starts_s, ends_s), [30.0, 135.0, 55.0, 30.0])
    np.testing.assert_allclose(steps.at(np.array([0.0, 19.9, 20.0, 99.0])), [2.0, 2.0, 5.0, 3.0])


def test_the_moment_of_a_change_follows_from_the_integral(make_record):
    columns = {
        "arrived": [150.0] * 20, "completed": [150.0] * 20, "response_time_mean_s": [0.1] * 20,
        "replicas_ready": [2.0] * 9 + [5.0] * 11, "cpu_limit_cores": [0.5] * 20,
        "ready_replica_s": [30.0] * 9 + [2.0 * 4.0 + 5.0 * 11.0] + [75.0] * 10, "replica_s": [75.0] * 20,
    }  # fmt: skip
    from podgym.eval.calibration import Recording

    series = service_series(Recording("hand", make_record(columns)), "web", 0.5)
    np.testing.assert_allclose(series.ready.times_s, [0.0, 139.0])
    np.testing.assert_allclose(series.ready.replicas, [2.0, 5.0])


def pod_starts(rng, count, mean_s, cv, probe_s):
    sigma = np.sqrt(np.log1p(cv**2))
    delays_s = mean_s * np.exp(sigma * rng.standard_normal(count) - 0.5 * sigma**2)
    noticed_s = np.ceil(delays_s / probe_s) * probe_s
    return tuple(PodStart("web", f"web-{i}", 10.0 * i, 10.0 * i + noticed_s[i]) for i in range(count))


@pytest.mark.parametrize("probe_s", [1.0, 5.0, 10.0])
@pytest.mark.parametrize(("mean_s", "cv"), [(12.0, 0.3), (40.0, 0.1), (90.0, 0.5)])
def test_start_up_is_seen_through_the_probe(probe_s, mean_s, cv):
    was = ServiceParameters(probe_period_s=probe_s)
    pods = pod_starts(np.random.default_rng(4), 400, mean_s, cv, probe_s)
    start_up, variation = fit_start_up(pods, "web", was)
    assert start_up.value == pytest.approx(mean_s, rel=0.05)
    assert start_up.lower <= mean_s <= start_up.upper
    assert variation.lower <= cv <= variation.upper
    naive_s = np.mean([pod.ready_s - pod.start_s for pod in pods])
    assert abs(naive_s - mean_s) > 0.3 * probe_s  # what the likelihood of intervals is for


def test_start_up_leaves_out_pulls_and_pods_from_before():
    pods = pod_starts(np.random.default_rng(1), 100, 12.0, 0.1, 1.0)
    pulls = tuple(PodStart("web", f"pull-{i}", 5.0, 95.0) for i in range(4))
    before = tuple(PodStart("web", f"old-{i}", -3600.0, -3540.0) for i in range(30))
    others = tuple(PodStart("cart", f"cart-{i}", 5.0, 65.0) for i in range(30))
    start_up, _ = fit_start_up(
        (*pods, *pulls, *before, *others), "web", ServiceParameters(probe_period_s=1.0)
    )
    assert start_up.value == pytest.approx(12.0, rel=0.03)
    assert start_up.how == "100 pod starts"
    assert start_up.note.startswith("4 far slower or faster pods")


def sights(delay_s, every_s, phase_s, looks_s, lost=()):
    taken_s = np.array([phase_s + every_s * k for k in range(1000) if k not in lost])
    newest = np.searchsorted(taken_s + delay_s, looks_s + 1e-9, side="right") - 1
    return [
        ScrapeSight("web", float(look_s), float(taken_s[at]))
        for look_s, at in zip(looks_s, newest, strict=True)
        if at >= 0
    ]


@given(
    delay_s=st.floats(0.0, 9.0),
    every_s=st.sampled_from([5.0, 7.3, 10.0, 13.4, 15.0, 30.0]),
    phase_s=st.floats(0.0, 5.0),
    lost=st.sets(st.integers(5, 60), max_size=3),
)
def test_the_bounds_hold_the_delay(delay_s, every_s, phase_s, lost):
    looked = np.arange(1, 121) * 15.0 + 20.0
    _, delay = fit_scrapes(sights(delay_s, every_s, phase_s, looked, lost), MonitoringParameters())
    assert delay.lower - 1e-3 <= delay_s <= delay.upper + 1e-3
    if delay.status == "fitted":
        assert abs(float(delay.value) - delay_s) <= 0.5 * (delay.upper - delay.lower) + 1e-3


@pytest.mark.parametrize("every_s", [4.0, 7.3, 10.0, 13.4, 40.0])
def test_time_between_scrapes(every_s):
    looked = np.arange(1, 121) * 15.0 + 40.0
    interval, _ = fit_scrapes(sights(1.0, every_s, 0.3, looked), MonitoringParameters())
    assert interval.value == pytest.approx(every_s, rel=1e-4)


def test_scrapes_five_times_as_often_as_looks_are_not_told_from_fewer():
    looked = np.arange(1, 121) * 15.0 + 40.0
    interval, delay = fit_scrapes(sights(1.0, 3.0, 0.3, looked), MonitoringParameters())
    assert interval.status == "kept"
    assert "may be several scrapes" in interval.note
    assert delay.status == "kept"


def test_scrapes_of_several_pods_do_not_tell_the_time_between_those_of_one():
    looked = np.arange(1, 121) * 15.0 + 40.0
    interval, _ = fit_scrapes(sights(1.0, 4.0, 0.3, looked), MonitoringParameters(), staggered=True)
    assert interval.status == "kept"
    assert interval.value == MonitoringParameters().scrape_interval_s


def test_looks_at_odd_moments_pin_the_delay():
    looked = np.cumsum(np.random.default_rng(0).uniform(0.5, 4.0, 600)) + 40.0
    interval, delay = fit_scrapes(sights(3.0, 5.0, 0.3, looked), MonitoringParameters())
    assert interval.value == pytest.approx(5.0, rel=0.01)
    assert delay.value == pytest.approx(3.0, rel=0.05)
    assert delay.status == "fitted"


@pytest.mark.parametrize(
    ("was", "estimate", "lower", "upper", "status", "value"),
    [
        (1.0, 2.0, 1.9, 2.1, "fitted", 2.0),
        (1.0, 2.0, 0.5, 3.5, "kept", 1.0),
        (9.0, 2.0, 0.5, 3.5, "bounded", 2.0),
        (9.0, 0.0, 0.0, 3.0, "bounded", 1.5),
        (9.0, np.nan, np.nan, np.nan, "kept", 9.0),
    ],
)
def test_when_a_constant_changes(was, estimate, lower, upper, status, value):
    constant = judged("x", "s", was, estimate, lower, upper, how="h", if_wide="wide")
    assert (constant.status, constant.value) == (status, value)
    assert constant.changed == (status != "kept")
    assert ("wide" in constant.note) == (status != "fitted")


def test_the_noise_of_the_configuration_reaches_the_replay(record_run, truth, shipped):
    recording = record_run(truth(), 0, load=(0.9, 0.9), replicas=(6, 6), hours=0.2)
    series = service_series(recording, "web", 0.5)
    noisy = override(shipped, {"cluster": {"load": {"rate_noise_cv": 0.3}}}).cluster.load
    waits_s = [
        float(QueueReplay(series, 1.0, noise).run([ServiceParameters()]).wait_s.mean())
        for noise in (STEADY, noisy)
    ]
    assert waits_s[1] > 1.3 * waits_s[0]
