"""The oracles agree with one another: closed forms, exact transients, and two discrete-event simulators."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.linalg import expm
from scipy.special import gammaincc

from oracles import closed_forms
from oracles.closed_forms import MMc
from oracles.discrete_event import (
    Outcome,
    RequestLog,
    mean_and_standard_error,
    replicate,
    simulate_closed_simpy,
    simulate_fcfs_simpy,
)
from oracles.fast_queues import simulate_closed, simulate_fcfs, simulate_ps
from oracles.inputs import (
    FloatArray,
    Requests,
    ServiceTime,
    StepLoad,
    constant_load,
    draw_requests,
    draw_sessions,
)
from oracles.scenarios import (
    CASES,
    OVERLOAD_END_S,
    drain_time_s,
    load_overload_recovery,
    overload_load,
    run_overload_recovery,
)
from oracles.transient import transient

STANDARD_ERRORS = 4.0
"""A Monte-Carlo mean may be this many standard errors off."""


def assert_means(values: list[float], expected: float, relative_precision: float) -> None:
    """The mean agrees within its error, and the error is small enough for that to say something."""
    mean, standard_error = mean_and_standard_error(values)
    assert standard_error < relative_precision * expected
    assert abs(mean - expected) < STANDARD_ERRORS * standard_error


def assert_same_log(one: RequestLog, other: RequestLog) -> None:
    np.testing.assert_array_equal(one.outcome, other.outcome)
    np.testing.assert_allclose(one.arrival_s, other.arrival_s, rtol=0.0, atol=1e-9)
    np.testing.assert_allclose(one.wait_s, other.wait_s, rtol=0.0, atol=1e-9)
    np.testing.assert_allclose(one.departure_s, other.departure_s, rtol=0.0, atol=1e-9)


# Closed forms


@pytest.mark.parametrize(("servers", "utilization"), [(1, 0.5), (4, 0.8), (16, 0.95), (300, 0.99)])
def test_erlang_c_equals_the_incomplete_gamma_form(servers: int, utilization: float) -> None:
    load = servers * utilization
    poisson = math.exp(servers * math.log(load) - load - math.lgamma(servers + 1))
    blocking = poisson / gammaincc(servers + 1, load)
    assert closed_forms.erlang_b(servers, load) == pytest.approx(blocking, rel=1e-10)
    expected = blocking / (1.0 - utilization * (1.0 - blocking))
    assert closed_forms.erlang_c(servers, load) == pytest.approx(expected, rel=1e-10)


def test_erlang_c_known_values() -> None:
    assert closed_forms.erlang_c(1, 0.3) == pytest.approx(0.3, rel=1e-12)
    assert closed_forms.erlang_c(2, 1.0) == pytest.approx(1.0 / 3.0, rel=1e-12)
    with pytest.raises(ValueError, match="no stationary law"):
        closed_forms.erlang_c(2, 2.0)


@pytest.mark.parametrize(("servers", "utilization"), [(1, 0.9), (3, 0.3), (16, 0.95)])
def test_mmc_figures_agree_with_its_distribution(servers: int, utilization: float) -> None:
    queue = MMc(servers * utilization * 5.0, 5.0, servers)
    probability = queue.distribution()
    number = np.arange(len(probability))
    assert probability[servers:].sum() == pytest.approx(queue.wait_probability, rel=1e-9)
    assert probability @ number == pytest.approx(queue.mean_number_in_system, rel=1e-9)
    area_s, _ = quad(queue.response_time_tail, 0.0, 60.0 * queue.mean_response_time_s, limit=200)
    assert area_s == pytest.approx(queue.mean_response_time_s, rel=1e-7)
    assert queue.response_time_tail(queue.response_time_quantile(0.95)) == pytest.approx(0.05, rel=1e-9)


def test_mm1_special_cases() -> None:
    queue = MMc(8.0, 10.0)
    assert queue.mean_response_time_s == pytest.approx(0.5, rel=1e-12)
    assert queue.response_time_quantile(0.95) == pytest.approx(-math.log(0.05) * 0.5, rel=1e-9)
    assert queue.variance_number_in_system == pytest.approx(0.8 / 0.2**2, rel=1e-9)
    assert closed_forms.mg1_fcfs_mean_response_time_s(8.0, 0.1, 1.0) == pytest.approx(0.5, rel=1e-12)
    assert closed_forms.mg1_ps_mean_response_time_s(8.0, 0.1) == pytest.approx(0.5, rel=1e-12)


def test_response_time_tail_is_continuous_where_service_and_wait_rates_meet() -> None:
    meeting = MMc(10.0, 10.0, 2)  # spare rate 10/s = service rate
    beside = MMc(10.0 + 1e-6, 10.0, 2)
    expected = math.exp(-2.0) * (1.0 + 2.0 / 3.0)
    assert meeting.response_time_tail(0.2) == pytest.approx(expected, rel=1e-12)
    assert beside.response_time_tail(0.2) == pytest.approx(expected, rel=1e-6)


def test_limited_queues_agree() -> None:
    for utilization in (0.5, 1.0, 1.7):
        blocking = closed_forms.mm1k_blocking_probability(utilization * 3.0, 3.0, 7)
        assert closed_forms.mmck_distribution(utilization * 3.0, 3.0, 1, 7)[-1] == pytest.approx(blocking)
    assert closed_forms.mmck_distribution(9.0, 3.0, 4, 4)[-1] == pytest.approx(closed_forms.erlang_b(4, 3.0))
    assert closed_forms.mmc_timeout_probability(9.0, 3.0, 4, 0.0) == pytest.approx(
        closed_forms.erlang_b(4, 3.0)
    )
    assert closed_forms.mmc_timeout_probability(20.0, 3.0, 4, 50.0) == pytest.approx(
        1.0 - 12.0 / 20.0, rel=1e-6
    )


def test_machine_repairman_limits() -> None:
    alone = closed_forms.machine_repairman(1, 2.0, 4.0, 1)
    assert alone.mean_response_time_s == pytest.approx(0.25, rel=1e-12)
    assert alone.throughput_rps == pytest.approx(1.0 / 2.25, rel=1e-12)
    crowded = closed_forms.machine_repairman(1000, 2.0, 4.0, 3)
    assert crowded.throughput_rps == pytest.approx(12.0, rel=1e-9)
    assert crowded.mean_number_in_system == pytest.approx(
        crowded.throughput_rps * crowded.mean_response_time_s, rel=1e-9
    )


# Exact transients


def test_transient_equals_the_matrix_exponential() -> None:
    load = StepLoad((0.5, 0.7), (3.0, 9.0))
    path = transient(load, 2.0, 3, np.array([0.0, 0.5, 1.2]), capacity=12, initial_number=2)
    law = np.eye(13)[2]
    for row, (duration_s, rate_rps) in enumerate(zip(load.durations_s, load.rates_rps, strict=True), start=1):
        generator = np.diag(np.full(12, rate_rps), 1) + np.diag(2.0 * np.minimum(np.arange(1, 13), 3), -1)
        generator -= np.diag(generator.sum(axis=1))
        law = law @ expm(generator * duration_s)
        np.testing.assert_allclose(path.distribution[row], law, atol=1e-8)
    assert path.mean[0] == 2.0


def test_transient_settles_at_the_stationary_law() -> None:
    queue = MMc(30.0, 10.0, 4)
    path = transient(constant_load(30.0, 50.0), 10.0, 4, np.array([50.0]), num_states=400, initial_number=20)
    assert path.mean[0] == pytest.approx(queue.mean_number_in_system, rel=1e-6)
    assert path.variance[0] == pytest.approx(queue.variance_number_in_system, rel=1e-6)
    assert path.all_busy_probability[0] == pytest.approx(queue.wait_probability, rel=1e-6)


def test_transient_refuses_too_few_states_and_too_short_a_load() -> None:
    with pytest.raises(ValueError, match="too few"):
        transient(constant_load(30.0, 50.0), 10.0, 2, np.array([50.0]), num_states=100)
    with pytest.raises(ValueError, match="lasts"):
        transient(constant_load(3.0, 5.0), 10.0, 2, np.array([6.0]))


def test_simulation_follows_the_transient() -> None:
    load = StepLoad((5.0, 10.0, 10.0), (25.0, 60.0, 25.0))
    times_s = np.arange(26.0)
    exact = transient(load, 10.0, 4, times_s, num_states=600)
    runs = replicate(lambda rng: simulate_fcfs(draw_requests(load, ServiceTime(0.1), rng), 4), 1500, seed=11)
    paths = np.array([log.number_in_system(times_s) for log in runs])  # (runs, seconds) requests
    standard_error = np.sqrt(exact.variance / len(paths))
    assert standard_error[15] < 0.01 * exact.mean[15]
    assert np.all(np.abs(paths.mean(axis=0) - exact.mean)[1:] < STANDARD_ERRORS * standard_error[1:])
    np.testing.assert_allclose(paths.var(axis=0)[1:], exact.variance[1:], rtol=0.25)
    np.testing.assert_allclose((paths >= 4).mean(axis=0), exact.all_busy_probability, atol=0.06)


# Random inputs


@pytest.mark.parametrize("cv", [0.0, 0.4, 1.0, 2.5])
def test_service_time_moments(cv: float) -> None:
    service = ServiceTime(0.2, cv)
    sample_s = service.sample(np.random.default_rng(1), 400_000)
    assert sample_s.mean() == pytest.approx(0.2, rel=0.015)
    assert (sample_s**2).mean() == pytest.approx(service.second_moment_s2, rel=0.05)
    assert sample_s.min() >= 0.2 * max(0.0, 1.0 - cv) - 1e-15


def test_arrivals_follow_the_rate() -> None:
    load = StepLoad((100.0, 50.0, 50.0), (20.0, 0.0, 80.0))
    arrival_s = load.sample_arrivals(np.random.default_rng(2))
    counts = np.histogram(arrival_s, [0.0, 100.0, 150.0, 200.0])[0]
    assert np.all(np.diff(arrival_s) >= 0.0)
    assert counts[1] == 0
    assert abs(counts[0] - 2000) < STANDARD_ERRORS * math.sqrt(2000)
    assert abs(counts[2] - 4000) < STANDARD_ERRORS * math.sqrt(4000)


# The fast simulator equals simpy on the same numbers


@pytest.mark.parametrize(
    ("servers", "num_queues", "timeout_s", "capacity", "horizon_s"),
    [
        (1, 1, math.inf, None, math.inf),
        (3, 1, math.inf, None, 25.0),
        (3, 1, 0.5, None, 25.0),
        (2, 1, math.inf, 9, 25.0),
        (2, 1, 0.3, 8, math.inf),
        (1, 3, 0.7, 6, 25.0),
    ],
)
def test_fast_queue_equals_simpy(
    servers: int, num_queues: int, timeout_s: float, capacity: int | None, horizon_s: float
) -> None:
    capacity_rps = servers * num_queues / 0.1
    load = StepLoad((10.0, 10.0, 10.0), (0.8 * capacity_rps, 1.6 * capacity_rps, 0.5 * capacity_rps))
    requests = draw_requests(load, ServiceTime(0.1, 1.5), np.random.default_rng(3), num_queues)
    fast, plain = (
        simulate(requests, servers, timeout_s=timeout_s, capacity=capacity, horizon_s=horizon_s)
        for simulate in (simulate_fcfs, simulate_fcfs_simpy)
    )
    assert_same_log(fast, plain)
    assert len(fast.arrival_s) == np.sum(requests.arrival_s < horizon_s)
    assert (fast.share(Outcome.TIMED_OUT) > 0.02) == math.isfinite(timeout_s)
    assert (fast.share(Outcome.REJECTED) > 0.02) == (capacity is not None)
    assert (fast.share(Outcome.IN_SYSTEM) > 0.0) == math.isfinite(horizon_s)


@pytest.mark.parametrize("timeout_s", [math.inf, 0.4])
def test_fast_closed_queue_equals_simpy(timeout_s: float) -> None:
    sessions = draw_sessions(30, 0.5, ServiceTime(0.1, 0.5), 40.0, np.random.default_rng(4))
    fast = simulate_closed(sessions, 3, timeout_s=timeout_s)
    assert_same_log(fast, simulate_closed_simpy(sessions, 3, timeout_s=timeout_s))
    assert (fast.share(Outcome.TIMED_OUT) > 0.02) == math.isfinite(timeout_s)
    assert fast.number_in_system(np.arange(40.0)).max() <= 30


def test_number_in_system_of_three_requests() -> None:
    requests = draw_requests(constant_load(0.0, 1.0), ServiceTime(1.0), np.random.default_rng(0))
    assert simulate_fcfs_simpy(requests, 1).arrival_s.shape == (0,)
    log = RequestLog(
        np.array([0.5, 1.0, 1.2]),
        np.zeros(3),
        np.array([1.5, 1.0, np.inf]),
        np.array([0, 1, 3], dtype=np.int8),
    )
    np.testing.assert_array_equal(log.number_in_system(np.array([0.0, 0.5, 1.1, 1.3, 1.5])), [0, 1, 1, 2, 1])
    np.testing.assert_array_equal(log.response_times_between(0.0, 2.0), [1.0])


# Simulation against closed forms


def stationary_runs(
    rate_rps: float,
    service: ServiceTime,
    servers: int,
    *,
    num_runs: int = 30,
    sharing: bool = False,
    timeout_s: float = math.inf,
    capacity: int | None = None,
) -> list[RequestLog]:
    """Runs of 500 s at a constant rate."""
    load = constant_load(rate_rps, 500.0)

    def simulate(rng: np.random.Generator) -> RequestLog:
        requests = draw_requests(load, service, rng)
        if sharing:
            return simulate_ps(requests, servers)
        return simulate_fcfs(requests, servers, timeout_s=timeout_s, capacity=capacity)

    return list(replicate(simulate, num_runs, seed=5))


def warm(log: RequestLog) -> FloatArray:
    """Response times of the completed requests that arrived after 50 s."""
    return np.asarray(log.response_time_s[(log.arrival_s > 50.0) & (log.outcome == Outcome.COMPLETED)])


@pytest.mark.parametrize(("servers", "utilization"), [(1, 0.3), (4, 0.8), (16, 0.9)])
def test_fcfs_against_mmc(servers: int, utilization: float) -> None:
    queue = MMc(servers * utilization * 20.0, 20.0, servers)
    runs = stationary_runs(queue.arrival_rate_rps, ServiceTime(0.05), servers)
    assert_means([warm(log).mean() for log in runs], queue.mean_response_time_s, 0.01)
    p95_s = queue.response_time_quantile(0.95)
    assert_means([float(np.mean(warm(log) > p95_s)) for log in runs], 0.05, 0.05)
    assert_means([float(np.mean(log.wait_s > 0.0)) for log in runs], queue.wait_probability, 0.01)
    times_s = np.arange(50.0, 500.0)
    numbers = [float(log.number_in_system(times_s).mean()) for log in runs]
    assert_means(numbers, queue.mean_number_in_system, 0.03)
    squares = [float((log.number_in_system(times_s).astype(float) ** 2).mean()) for log in runs]
    assert_means(squares, queue.variance_number_in_system + queue.mean_number_in_system**2, 0.06)


@pytest.mark.parametrize("cv", [0.0, 0.5, 2.0])
def test_fcfs_against_pollaczek_khinchine(cv: float) -> None:
    runs = stationary_runs(35.0, ServiceTime(0.02, cv), 1)
    expected_s = closed_forms.mg1_fcfs_mean_response_time_s(35.0, 0.02, cv)
    assert_means([warm(log).mean() for log in runs], expected_s, 0.02)


@pytest.mark.parametrize(("servers", "cv"), [(1, 0.0), (1, 2.0), (4, 0.5), (4, 2.0)])
def test_processor_sharing_mean_is_insensitive(servers: int, cv: float) -> None:
    runs = stationary_runs(35.0 * servers, ServiceTime(0.02, cv), servers, sharing=True)
    expected_s = closed_forms.mgc_ps_mean_response_time_s(35.0 * servers, 0.02, servers)
    assert_means([warm(log).mean() for log in runs], expected_s, 0.02)


def test_processor_sharing_variance_of_mm1() -> None:
    runs = stationary_runs(25.0, ServiceTime(0.02), 1, num_runs=200, sharing=True)
    mean_s = closed_forms.mg1_ps_mean_response_time_s(25.0, 0.02)
    variance_s2 = closed_forms.mm1_ps_response_time_variance_s2(25.0, 50.0)
    assert_means([float(((warm(log) - mean_s) ** 2).mean()) for log in runs], variance_s2, 0.008)


def test_processor_sharing_of_two_requests_by_hand() -> None:
    requests = Requests(np.array([0.0, 1.0]), np.array([3.0, 1.0]), np.zeros(2, dtype=np.int64), 1)
    np.testing.assert_allclose(simulate_ps(requests, 1).departure_s, [4.0, 3.0], rtol=1e-12)
    np.testing.assert_allclose(simulate_ps(requests, 2).departure_s, [3.0, 2.0], rtol=1e-12)


def test_rejections_against_the_limited_queue() -> None:
    runs = stationary_runs(60.0, ServiceTime(0.02), 1, capacity=6)
    blocking = closed_forms.mm1k_blocking_probability(60.0, 50.0, 6)
    assert_means([log.share(Outcome.REJECTED) for log in runs], blocking, 0.01)


@pytest.mark.parametrize("rate_rps", [160.0, 260.0])
def test_timeouts_against_the_queue_with_constant_patience(rate_rps: float) -> None:
    runs = stationary_runs(rate_rps, ServiceTime(0.02), 4, timeout_s=0.03)
    expected = closed_forms.mmc_timeout_probability(rate_rps, 50.0, 4, 0.03)
    assert_means([log.share(Outcome.TIMED_OUT) for log in runs], expected, 0.02)


@pytest.mark.parametrize(("num_users", "servers"), [(10, 1), (60, 4)])
def test_closed_users_against_the_machine_repairman(num_users: int, servers: int) -> None:
    exact = closed_forms.machine_repairman(num_users, 1.0, 10.0, servers)

    def simulate(rng: np.random.Generator) -> RequestLog:
        return simulate_closed(draw_sessions(num_users, 1.0, ServiceTime(0.1), 300.0, rng), servers)

    runs = list(replicate(simulate, 40, seed=6))
    assert_means([warm(log).mean() for log in runs], exact.mean_response_time_s, 0.02)
    throughputs = [len(log.response_times_between(50.0, 300.0)) / 250.0 for log in runs]
    assert_means(throughputs, exact.throughput_rps, 0.005)


# Overload and recovery


def test_cached_overload_matches_the_exact_transient() -> None:
    cached = load_overload_recovery()[1, 0.1]
    load, times_s = overload_load(1, 0.1), np.arange(601.0)
    exact = transient(load, 10.0, 1, times_s, num_states=1200)
    standard_error = np.sqrt(exact.variance / cached.replications)
    assert np.all(
        np.abs(np.array(cached.backlog) - exact.mean)[1:] < STANDARD_ERRORS * standard_error[1:] + 1e-3
    )
    deviation = np.arange(exact.distribution.shape[1]) - exact.mean[:, None]  # (seconds, states) requests
    fourth_moment = (exact.distribution * deviation**4).sum(axis=1)
    tolerance = STANDARD_ERRORS * np.sqrt((fourth_moment - exact.variance**2) / cached.replications)
    assert np.all(np.abs(np.array(cached.backlog_std) ** 2 - exact.variance)[1:] < tolerance[1:])
    drain_s = drain_time_s(times_s, exact.mean, cached.drain_threshold)
    assert cached.drain_time_s == pytest.approx(drain_s, rel=0.01)


def test_cached_overload_is_reproduced_by_fewer_replications() -> None:
    cached = load_overload_recovery()[4, 0.1]
    again = run_overload_recovery(4, 0.1, replications=60, seed=99)
    assert again.peak_backlog == pytest.approx(cached.peak_backlog, rel=0.03)
    assert again.drain_time_s == pytest.approx(cached.drain_time_s, rel=0.05)
    assert again.drain_time_of_a_run_s == pytest.approx(cached.drain_time_of_a_run_s, rel=0.05)
    assert again.response_time_p95_s == pytest.approx(cached.response_time_p95_s, rel=0.03)
    np.testing.assert_allclose(again.interval_p95_s[5:13], cached.interval_p95_s[5:13], rtol=0.1)


def test_overload_by_simpy_equals_overload_by_the_fast_queue() -> None:
    fast = run_overload_recovery(1, 0.1, replications=2)
    slow = run_overload_recovery(1, 0.1, replications=2, engine=simulate_fcfs_simpy)
    assert fast.backlog == slow.backlog
    assert fast.response_time_p95_of_a_run_s == pytest.approx(slow.response_time_p95_of_a_run_s, rel=1e-9)


@pytest.mark.parametrize(("servers", "service_mean_s"), CASES)
def test_cached_overload_is_sound(servers: int, service_mean_s: float) -> None:
    cached = load_overload_recovery()[servers, service_mean_s]
    capacity_rps = servers / service_mean_s
    assert cached.replications == CASES[servers, service_mean_s]
    assert cached.backlog[int(OVERLOAD_END_S)] == cached.peak_backlog
    # Fluid bounds: the servers are busy throughout the overload, but for a moment at its start.
    assert cached.peak_backlog == pytest.approx(0.5 * capacity_rps * 120.0, rel=0.02)
    fluid_drain_s = (cached.peak_backlog - cached.drain_threshold) / (0.3 * capacity_rps)
    assert cached.drain_time_of_a_run_s == pytest.approx(fluid_drain_s, rel=0.03)
    assert fluid_drain_s < cached.drain_time_s < 1.4 * fluid_drain_s
    assert cached.backlog[-1] < cached.drain_threshold
    assert sum(cached.interval_completed) == pytest.approx(
        capacity_rps * (0.7 * 480.0 + 1.5 * 120.0), rel=0.01
    )
