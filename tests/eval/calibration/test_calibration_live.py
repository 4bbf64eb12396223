"""A recording as a real cluster gives it: means over an overlapping window, late, with nan and gaps."""

import dataclasses

import numpy as np
import pytest

from podgym.eval.calibration import Recording, calibrate, validate
from podgym.eval.calibration.series import service_series

WINDOW_S, AGE_S = 30.0, 4.0
UNKNOWN = (
    "wait_probability", "wait_mean_s", "wait_std_s", "service_shift_s", "throttled_ratio", "timed_out", "lost"
)  # fmt: skip


def windowed(values, ends_s):
    """Means over the 30 s that end 4 s before each interval's end, of values per second in intervals."""
    sums = np.concatenate([[0.0], np.cumsum(values * np.diff(ends_s, prepend=0.0))])
    edges_s = np.concatenate([[0.0], ends_s])
    stops_s = np.maximum(ends_s - AGE_S, 1.0)
    starts_s = np.maximum(stops_s - WINDOW_S, 0.0)
    return (np.interp(stops_s, edges_s, sums) - np.interp(starts_s, edges_s, sums)) / (stops_s - starts_s)


def as_live(recording, seed=0):
    """Degrade the record of a simulated run to what ``podgym.envs.kubernetes.interval`` can report."""
    rng = np.random.default_rng(seed)
    record = recording.record
    old = {name: values[:, 0] for name, values in record.columns.items()}
    duration_s, ends_s = old["duration_s"], np.cumsum(old["duration_s"])
    arrived = windowed(old["arrived"] / duration_s, ends_s) * duration_s
    completed = windowed(old["completed"] / duration_s, ends_s) * duration_s
    spent_s = windowed(np.nan_to_num(old["completed"] * old["response_time_mean_s"]) / duration_s, ends_s)
    noise = 1.0 + 0.02 * rng.standard_normal(len(ends_s))
    ready = old["replicas_ready"]
    new = {name: np.zeros_like(values) for name, values in old.items()}
    new |= {name: old[name] for name in ("time_s", "duration_s", "replicas_wanted", "replica_change")}
    new |= {name: old[name] for name in ("cpu_request_cores", "cpu_limit_cores", "memory_request_bytes")}
    new |= {
        "arrived": arrived,
        "completed": completed,
        "offered_rps": arrived / duration_s,
        "response_time_mean_s": spent_s * duration_s / np.maximum(completed, 1e-9) * noise,
        "cpu_used_core_s": windowed(old["cpu_used_core_s"] / duration_s, ends_s) * duration_s * noise,
        "memory_used_byte_s": windowed(old["memory_used_byte_s"] / duration_s, ends_s) * duration_s,
        "replicas_ready": ready,
        "ready_replica_s": 0.5 * (np.concatenate([[ready[0]], ready[:-1]]) + ready) * duration_s,
        "replica_s": old["replica_s"],
    }
    for gap in (50, 51, 52, 200):  # Prometheus did not answer
        for name in ("arrived", "completed", "offered_rps", "cpu_used_core_s", "memory_used_byte_s"):
            new[name][gap] = 0.0
        new["response_time_mean_s"][gap] = np.nan
    columns = {name: values[:, None] for name, values in new.items()}
    live = type(record)(record.metadata, arrived / duration_s, {}, columns)
    return Recording("live", live, recording.pods, recording.scrapes, live=True, window_s=WINDOW_S)


@pytest.fixture(scope="module")
def live_run(record_run, truth):
    simulated = record_run(
        truth(0.012, 0.05, 15.0, 4.0), 2, load=(0.1, 1.6), tick_s=1.0, scrape_interval_s=15.0
    )
    return as_live(simulated)


def test_constants_and_means_survive_windows_lags_and_gaps(live_run, shipped):
    result = calibrate(live_run, shipped)
    constants = {constant.name: constant for constant in result.services[0].constants}
    assert constants["cpu_demand_core_s"].value == pytest.approx(0.012, rel=0.05)
    assert constants["base_latency_s"].value == pytest.approx(0.05, rel=0.15)
    assert constants["start_up_s"].value == pytest.approx(15.0, rel=0.05)
    assert any("lag" in caution for caution in result.services[0].cautions)
    after = validate(live_run, result.fitted_config)
    assert abs(after.error("response_time_mean_s")) < 0.15
    assert abs(after.error("cpu_cores")) < 0.05


def test_gaps_are_neither_zero_load_nor_zero_use(live_run):
    series = service_series(live_run, "web", 0.5)
    assert not series.offered_known[[50, 51, 52, 200]].any()
    assert series.arrived[200] == pytest.approx(0.5 * (series.arrived[199] + series.arrived[201]))
    assert np.isnan(series.cpu_core_s[200])
    assert np.isnan(series.response_s[200])


def test_ready_replicas_are_shifted_to_where_the_metrics_are(live_run):
    moved = service_series(live_run, "web", 0.5)
    plain = service_series(dataclasses.replace(live_run, live=False), "web", 0.5)
    ages_s = [sight.time_s - sight.sample_time_s for sight in live_run.scrapes]
    assert moved.lag_s == pytest.approx(np.median(ages_s) + 7.5)
    assert plain.lag_s == 0.0
    np.testing.assert_allclose(moved.ready.times_s[1:], plain.ready.times_s[1:] + moved.lag_s)
    np.testing.assert_allclose(plain.ready_s, live_run.record.columns["ready_replica_s"][:, 0])
