"""What a recording does not tell is said, and left as it was."""

import dataclasses

import numpy as np
import pytest

from podgym.envs.config import override
from podgym.errors import InputError
from podgym.eval.calibration import Recording, calibrate


def found(calibration):
    constants = [*calibration.services[0].constants, *calibration.monitoring]
    return {constant.name: constant for constant in constants}


def with_columns(recording, **columns):
    record = recording.record
    changed = {**record.columns, **{name: np.asarray(values, float) for name, values in columns.items()}}
    return dataclasses.replace(
        recording, record=type(record)(record.metadata, record.load, record.totals, changed)
    )


def cut(recording, count):
    record = recording.record
    columns = {name: values[:count] for name, values in record.columns.items()}
    totals = {name: values[:count] for name, values in record.totals.items()}
    shorter = type(record)(record.metadata, record.load[:count], totals, columns)
    return dataclasses.replace(recording, record=shorter)


def test_low_load_tells_nothing_of_the_variation_of_the_work(record_run, truth, shipped):
    recording = record_run(truth(demand_cv=2.5), 0, load=(0.1, 0.4), replicas=(8, 9))
    constants = found(calibrate(recording, shipped))
    for name in ("demand_cv", "load_balancing"):
        assert constants[name].status == "kept"
        assert constants[name].value == constants[name].was
        assert "load too low, no queueing seen" in constants[name].note
    assert constants["base_latency_s"].value == pytest.approx(0.097, rel=0.05)
    assert constants["cpu_demand_core_s"].value == pytest.approx(0.0086, rel=0.01)


def test_constants_that_are_kept_are_not_among_the_changes(record_run, truth, shipped):
    recording = record_run(truth(), 0, load=(0.1, 0.4), replicas=(8, 9))
    parameters = calibrate(recording, shipped).changes["cluster"]["services"]["web"]["parameters"]
    assert "demand_cv" not in parameters
    assert "load_balancing" not in parameters
    assert "cpu_demand_core_s" in parameters


def test_the_same_load_per_pod_all_the_time_does_not_tell_idle_use(record_run, truth, shipped):
    """As under an autoscaler that holds utilisation: idle use and demand cannot be told apart."""
    recording = record_run(truth(), 0, load=(0.5, 0.5), replicas=(6, 6), hours=1.0)
    rng = np.random.default_rng(0)
    used = recording.record.columns["cpu_used_core_s"]
    noisy = with_columns(recording, cpu_used_core_s=used * (1.0 + 0.03 * rng.standard_normal(used.shape)))
    constants = found(calibrate(noisy, shipped))
    assert constants["idle_cpu_cores"].status == "kept"
    assert "hardly varied" in constants["idle_cpu_cores"].note


def test_a_recording_without_pods_and_scrapes(long_run, shipped):
    constants = found(calibrate(Recording("bare", long_run.record), shipped))
    for name in ("start_up_s", "start_up_cv", "scrape_delay_s", "scrape_interval_s"):
        assert constants[name].status == "kept"
        assert "recorded" in constants[name].note
    assert constants["cpu_demand_core_s"].status == "fitted"


def test_a_recording_without_cpu_memory_or_response_times(long_run, shipped):
    nothing = np.full_like(long_run.record.columns["completed"], np.nan)
    blind = with_columns(
        long_run, cpu_used_core_s=nothing, memory_used_byte_s=nothing, response_time_mean_s=nothing
    )
    result = calibrate(blind, shipped)
    constants = found(result)
    for name in ("cpu_demand_core_s", "idle_cpu_cores", "base_latency_s", "demand_cv", "base_memory_bytes"):
        assert constants[name].status == "kept"
        assert "in 0 intervals only" in constants[name].note
    assert constants["start_up_s"].status == "fitted"
    assert np.isnan(result.services[0].response_error)


def test_decisions_and_scrapes_in_step_give_bounds_only(record_run, truth, shipped):
    recording = record_run(truth(), 3, scrape_interval_s=15.0, hours=0.5)
    delay = found(calibrate(recording, shipped))["scrape_delay_s"]
    assert delay.status in ("kept", "bounded")
    assert delay.lower <= 2.0 <= delay.upper
    assert "keep step" in delay.note


def test_a_value_outside_the_bounds_is_moved_into_them(record_run, truth, shipped):
    """Scrapes in step: the age of a sample bounds the delay from above, and 40 s are too many."""
    wrong = override(shipped, {"cluster": {"monitoring": {"scrape_delay_s": 40.0}}})
    delay = found(calibrate(record_run(truth(), 3, scrape_interval_s=15.0, hours=0.5), wrong))[
        "scrape_delay_s"
    ]
    assert delay.status == "bounded"
    assert delay.lower <= delay.value <= delay.upper < 40.0


def test_a_start_up_that_is_shorter_than_the_probe_period(record_run, truth, shipped):
    constants = found(calibrate(record_run(truth(start_up_s=3.0), 0), shipped))
    assert constants["start_up_s"].status == "bounded"
    assert constants["start_up_s"].lower <= 3.0 <= constants["start_up_s"].upper <= 5.0
    assert "too coarse" in constants["start_up_s"].note


def test_service_times_shorter_than_the_demand_at_the_limit(long_run, shipped):
    fast = with_columns(long_run, response_time_mean_s=long_run.record.columns["response_time_mean_s"] * 0.2)
    service = calibrate(fast, shipped).services[0]
    assert any("shorter than the CPU demand at the CPU limit" in each for each in service.cautions)


def test_bad_recordings_are_refused(long_run, shipped):
    with pytest.raises(InputError, match="5 control intervals; 20 are needed"):
        calibrate(cut(long_run, 5), shipped)
    silent = with_columns(long_run, arrived=np.zeros_like(long_run.record.columns["arrived"]))
    with pytest.raises(InputError, match="Check the query of the request rate"):
        calibrate(silent, shipped)
    with pytest.raises(InputError, match="Did you mean 'web'"):
        calibrate(long_run, shipped, ("wep",))
