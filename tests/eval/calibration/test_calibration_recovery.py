"""The fit finds the constants of a simulated run, whatever they are, and follows when they change."""

import numpy as np
import pytest

from podgym.baselines import make_controller
from podgym.envs import scenarios
from podgym.envs.config import override
from podgym.envs.env import AutoscaleEnv
from podgym.eval.calibration import (
    Recording,
    calibrate,
    record_simulated_run,
    recorded_configuration,
    validate,
)

ONLY_A_SIMULATOR_KNOWS = (
    "wait_probability", "wait_mean_s", "wait_std_s", "service_shift_s", "service_mean_s", "service_cv",
    "required_replicas", "throttled_ratio",
)  # fmt: skip

TRUTHS = [
    (0, (0.0086, 0.097, 10.0, 3.1, 1.0, "pooled")),
    (1, (0.02, 0.03, 25.0, 4.3, 1.5, "pooled")),
    (2, (0.004, 0.2, 14.0, 6.5, 0.7, "pooled")),
    (3, (0.012, 0.01, 30.0, 2.4, 1.0, "random")),
]


def found(calibration):
    constants = [*calibration.services[0].constants, *calibration.monitoring]
    return {constant.name: constant for constant in constants}


@pytest.mark.parametrize(("seed", "values"), TRUTHS)
def test_known_constants_are_recovered(record_run, truth, shipped, seed, values):
    known = truth(*values)
    recording = record_run(known, seed)
    result = calibrate(recording, shipped)
    constants = found(result)
    for name in ("cpu_demand_core_s", "base_latency_s", "start_up_s", "scrape_delay_s"):
        assert constants[name].value == pytest.approx(getattr(known, name), rel=0.05), name
        assert constants[name].status == "fitted"
        assert constants[name].lower <= constants[name].value <= constants[name].upper
    assert constants["scrape_interval_s"].value == pytest.approx(13.4, rel=1e-4)
    assert constants["demand_cv"].lower <= known.demand_cv <= constants["demand_cv"].upper
    if constants["demand_cv"].status == "fitted":
        assert constants["demand_cv"].value == pytest.approx(known.demand_cv, rel=0.2)
    assert constants["load_balancing"].value == known.load_balancing
    assert constants["idle_cpu_cores"].value == pytest.approx(0.005, rel=0.05)
    assert constants["start_up_cpu_cores"].value == pytest.approx(0.1, rel=0.05)
    assert constants["base_memory_bytes"].value == pytest.approx(325 * 1024**2, rel=0.01)
    assert constants["memory_per_request_bytes"].value == pytest.approx(3.7 * 1024**2, rel=0.05)
    after = validate(recording, result.fitted_config)
    assert abs(after.error("response_time_mean_s")) < 0.05
    assert abs(after.error("cpu_cores")) < 0.01
    assert abs(after.error("replicas_ready")) < 0.01


def test_wrong_constants_are_far_off_in_the_validation(long_run, long_fit, shipped):
    before = validate(long_run, shipped)
    after = validate(long_run, long_fit.fitted_config)
    assert before.error("response_time_mean_s") < -0.5
    assert before.error("cpu_cores") < -0.2
    assert abs(after.error("response_time_mean_s")) < 0.05
    assert abs(after.error("cpu_cores")) < 0.01


def test_a_run_that_was_not_fitted_is_predicted(record_run, truth, long_fit):
    """Other seed, other ramp, other replicas: the constants hold, not the course."""
    other = record_run(truth(0.012, 0.05, 15.0, 4.0, 1.3), 11, load=(0.3, 1.5), replicas=(8, 14))
    after = validate(other, long_fit.fitted_config)
    assert abs(after.error("response_time_mean_s")) < 0.1
    assert abs(after.error("cpu_cores")) < 0.01


def test_a_closed_load_is_replayed_as_users():
    """Users who wait send nothing: an open load of the same mean would queue less."""
    changes = {"cluster": {"services": {"web": {"parameters": {"cpu_demand_core_s": 0.01}}}}}
    env = AutoscaleEnv(override(scenarios.burst(), changes))
    recording = record_simulated_run(env, make_controller("hpa"), 0, environment="podgym/Burst-v0")
    result = calibrate(recording, scenarios.burst())
    after = validate(recording, result.fitted_config)
    assert abs(after.error("response_time_mean_s")) < 0.05
    assert abs(after.error("cpu_cores")) < 0.01
    assert after.simulated.metadata.profile_kind == "closed"


def test_services_of_a_call_graph_are_fitted_each():
    env = AutoscaleEnv(override(scenarios.boutique(), {"episode_s": 900.0}))
    recording = record_simulated_run(env, make_controller("hpa"), 0, environment="podgym/Boutique-v0")
    changes = {"cluster": {"services": {"cart": {"parameters": {"cpu_demand_core_s": 0.003}}}}}
    result = calibrate(recording, override(scenarios.boutique(), changes), ("cart", "frontend"))
    assert [service.name for service in result.services] == ["cart", "frontend"]
    constants = found(result)
    assert constants["cpu_demand_core_s"].value == pytest.approx(0.001, rel=0.01)
    assert constants["start_up_cpu_cores"].status == "kept"  # no pod of it started
    before = validate(recording, result.config)
    after = validate(recording, result.fitted_config)
    assert before.error("cpu_cores", "cart") > 1.0
    assert abs(after.error("cpu_cores", "cart")) < 0.01
    assert abs(after.error("cpu_cores")) < 0.01


def test_nothing_is_read_that_only_a_simulator_knows(long_run, long_fit, shipped):
    record = long_run.record
    columns = {
        name: np.full_like(values, np.nan) if name in ONLY_A_SIMULATOR_KNOWS else values
        for name, values in record.columns.items()
    }
    blind = Recording(
        long_run.label,
        type(record)(record.metadata, np.full_like(record.load, np.nan), {}, columns),
        long_run.pods,
        long_run.scrapes,
    )
    assert calibrate(blind, shipped).changes == long_fit.changes


def test_the_changes_make_an_environment(long_fit, shipped):
    made = override(shipped, long_fit.changes)
    assert made == long_fit.fitted_config
    assert made.cluster.services[0].parameters.start_up_s == found(long_fit)["start_up_s"].value
    assert made.cluster.monitoring.scrape_delay_s == found(long_fit)["scrape_delay_s"].value


def test_a_recording_of_the_simulator_brings_its_own_constants(long_run):
    config = recorded_configuration(long_run)
    physics = config.cluster.services[0].parameters
    assert (physics.cpu_demand_core_s, physics.start_up_s) == (0.012, 15.0)
    assert config.cluster.tick_s == 0.2
    assert config.cluster.monitoring.scrape_interval_s == 13.4


def test_measurement_noise_of_five_percent_is_averaged_out(long_run, shipped):
    rng = np.random.default_rng(8)
    record = long_run.record
    noisy = dict(record.columns)
    for name in ("cpu_used_core_s", "memory_used_byte_s", "response_time_mean_s"):
        noisy[name] = record.columns[name] * (1.0 + 0.05 * rng.standard_normal(record.columns[name].shape))
    noisy["cpu_used_core_s"][::40] *= 3.0  # a few samples that are plainly wrong
    recording = Recording("noisy", type(record)(record.metadata, record.load, record.totals, noisy))
    constants = found(calibrate(recording, shipped))
    for name, value in (("cpu_demand_core_s", 0.012), ("base_latency_s", 0.05)):
        assert constants[name].value == pytest.approx(value, rel=0.03)
        assert constants[name].lower < value < constants[name].upper
        assert constants[name].upper - constants[name].lower < 0.1 * value
