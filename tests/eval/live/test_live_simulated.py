"""The simulator beside a live episode, where the live cluster is a simulation and everything is known."""

from dataclasses import replace

import numpy as np
import pytest
from oracles.simulated_live import SimulatedLive, live_settings, sawtooth

from podgym.baselines import make_controller
from podgym.envs.config import override
from podgym.envs.workloads.profile import LoadProfile
from podgym.errors import InputError
from podgym.eval.contenders import Contender
from podgym.eval.live.agreement import MetricsView, agreement, at_times_of, series
from podgym.eval.live.plan import base_config
from podgym.eval.live.simulated import (
    RecordedDecisions,
    recorded_load,
    run_beside,
    simulated_config,
)
from podgym.eval.runner import run_episode

STEPS = 40
CONFIG = override(base_config(live_settings()), {"episode_s": STEPS * 15.0})


def live_episode(controller="hpa", seed=3, config=CONFIG, **options):
    env = SimulatedLive(config, **options)
    decider = make_controller(controller)
    env.reset(seed=seed)
    first = env.observe()
    record = run_episode(env, decider, seed, environment="cluster x", label=controller)
    return record, env.profile, first


def beside(controller="hpa", **options):
    record, profile, first = live_episode(controller, **options)
    return record, run_beside(Contender(controller, controller), CONFIG, record, profile, first)


def errors(record, simulated):
    return {each.quantity: each for each in agreement([(record, simulated)])}


def test_the_replay_of_recorded_decisions_is_the_episode_itself():
    """Same world, same load, same decisions: nothing but rounding may differ."""
    record, other = beside()
    assert len(set(record.columns["replicas_wanted"][:, 0])) > 4
    for each in errors(record, other.replayed).values():
        assert each.intervals == STEPS
        assert each.mean_absolute_percentage_error == pytest.approx(0.0, abs=1e-9)
        assert each.bias == pytest.approx(0.0, abs=1e-9)
        assert each.predicted == pytest.approx(each.observed)
    np.testing.assert_allclose(other.replayed.columns["completed"], record.columns["completed"], rtol=1e-9)


def seen_through(record, window_s, age_s, grain_s=0.5):
    """Return a record as the monitoring shows it, added up in slices: a second, slow implementation."""
    columns = {name: values.copy() for name, values in record.columns.items()}
    lengths_s = record.columns["duration_s"][:, 0]
    owner = np.repeat(np.arange(STEPS), np.rint(lengths_s / grain_s).astype(int))  # interval of each slice
    share = grain_s / lengths_s[owner]
    ends_s = (np.arange(len(owner)) + 1) * grain_s
    completed = record.columns["completed"][owner, 0] * share
    waited_s = completed * np.nan_to_num(record.columns["response_time_mean_s"][owner, 0])
    used_core_s = record.columns["cpu_used_core_s"][owner, 0] * share
    for n, end_s in enumerate(np.cumsum(lengths_s)):
        inside = (ends_s > end_s - age_s - window_s + 1e-9) & (ends_s <= end_s - age_s + 1e-9)
        covered_s = inside.sum() * grain_s
        columns["response_time_mean_s"][n] = (
            waited_s[inside].sum() / completed[inside].sum() if completed[inside].any() else np.nan
        )
        columns["cpu_used_core_s"][n] = (
            used_core_s[inside].sum() / covered_s * lengths_s[n] if covered_s else np.nan
        )
    return replace(record, columns=columns)


@pytest.mark.parametrize(
    ("window_s", "age_s"), [(30.0, 0.0), (30.0, 7.5), (60.0, 20.0), (15.0, 0.0), (20.0, 3.0)]
)
def test_a_perfect_simulator_has_no_error_through_window_and_lag(window_s, age_s):
    record, _, _ = live_episode()
    shown, view = seen_through(record, window_s, age_s), MetricsView(window_s, age_s)
    for each in agreement([(shown, record)], [view]):
        assert each.intervals >= STEPS - 2
        assert each.mean_absolute_percentage_error == pytest.approx(0.0, abs=1e-6)
    blind = errors(shown, record)["response_time_s"].mean_absolute_percentage_error
    assert (blind > 3.0) == ((window_s, age_s) != (15.0, 0.0))


def test_a_window_before_the_episode_shows_nothing():
    record, _, _ = live_episode()
    _, response, use = agreement([(record, record)], [MetricsView(30.0, 60.0)])
    assert response.intervals == use.intervals == STEPS - 4


def test_the_same_controller_by_itself_decides_the_same_in_the_same_world():
    record, other = beside()
    np.testing.assert_array_equal(other.alone.columns["replicas_wanted"], record.columns["replicas_wanted"])


def test_another_demand_shows_as_a_bias_of_its_size():
    """A request really needs 20 % more CPU than is believed: use is predicted too low by 1/6."""
    demand = CONFIG.cluster.services[0].parameters.cpu_demand_core_s
    dearer = {"cluster": {"services": {"web": {"parameters": {"cpu_demand_core_s": 1.2 * demand}}}}}
    record, other = beside(truth=dearer)
    found = errors(record, other.replayed)
    use = found["cpu_utilisation"]
    assert use.bias < 0.0
    # 1 / 1.2 - 1 is -16.7 %; pods that are saturated or idle bring it nearer to 0
    assert use.predicted / use.observed == pytest.approx(1 / 1.2, abs=0.02)
    assert use.mean_absolute_percentage_error == pytest.approx(100 * (1 - 1 / 1.2), abs=3.0)
    assert found["response_time_s"].bias < 0.0
    assert found["replicas_ready"].mean_absolute_percentage_error < 1.0


def test_another_start_up_time_shows_in_the_ready_replicas_alone():
    slower = {"cluster": {"services": {"web": {"parameters": {"start_up_s": 60.0}}}}}
    record, other = beside(truth=slower)
    found = errors(record, other.replayed)
    assert found["replicas_ready"].bias > 0.2
    assert found["replicas_ready"].mean_absolute_percentage_error > 3.0


def test_what_an_autoscaler_in_the_cluster_did_is_replayed_and_nothing_runs_alone():
    foreign = [3, 3, 9, 9, 9, 5, 5, 12]
    record, other = beside("cluster", foreign=foreign)
    assert other.alone is None
    assert record.columns["replicas_wanted"][:8, 0].tolist() == foreign
    assert errors(record, other.replayed)["replicas_ready"].mean_absolute_percentage_error < 1e-9


def test_quotas_are_replayed_when_they_change_and_only_then():
    record, profile, first = live_episode()
    columns = {name: values.copy() for name, values in record.columns.items()}
    columns["cpu_request_cores"][10:] = columns["cpu_limit_cores"][10:] = 1.0
    changed = replace(record, columns=columns)
    controller = RecordedDecisions(changed, first)
    quotas = []
    for step in range(STEPS):
        (decision,) = controller.decide(replace(first, time_s=15.0 * step))
        quotas.append(decision.cpu_request_cores)
    assert [step for step, quota in enumerate(quotas) if quota is not None] == [10]
    assert quotas[10] == 1.0
    other = run_beside(Contender("hpa", "hpa"), CONFIG, changed, profile, first).replayed
    assert other.columns["cpu_request_cores"][9:11, 0].tolist() == [0.5, 1.0]
    limit = first.services[0].quota
    (decision,) = RecordedDecisions(changed, first).decide(replace(first, time_s=150.0))
    ratio = limit.memory_limit_bytes / limit.memory_request_bytes
    assert decision.memory_limit_bytes == pytest.approx(ratio * decision.memory_request_bytes)


def test_decisions_keep_their_time_when_intervals_were_late():
    """Live intervals of 20 s where 15 s were wanted: what held from 200 s on is repeated from then on."""
    record, _, first = live_episode()
    columns = {name: values.copy() for name, values in record.columns.items()}
    columns["duration_s"][:] = 20.0
    columns["replicas_wanted"][:10], columns["replicas_wanted"][10:] = 4.0, 8.0
    late = replace(record, columns=columns)
    controller = RecordedDecisions(late, first)
    wanted = {t: controller.decide(replace(first, time_s=t))[0].replicas for t in (0.0, 180.0, 195.0, 9e3)}
    assert wanted == {0.0: 4, 180.0: 4, 195.0: 8, 9e3: 8}
    config = simulated_config(CONFIG, late, first)
    assert config.episode_s == pytest.approx(STEPS * 20.0, abs=7.5)
    simulated = run_beside(
        Contender("cluster", "cluster"), CONFIG, late, sawtooth(STEPS * 20.0), first
    ).replayed
    aligned = at_times_of(late, simulated, "replicas_ready")
    assert aligned.shape == (STEPS, 1)
    assert aligned[9, 0] == pytest.approx(4.0)
    assert aligned[-1, 0] == pytest.approx(8.0)


def test_unknown_replicas_and_quotas_are_left_alone():
    record, _, first = live_episode()
    columns = {name: np.full_like(values, np.nan) for name, values in record.columns.items()}
    columns["duration_s"] = record.columns["duration_s"]
    (decision,) = RecordedDecisions(replace(record, columns=columns), first).decide(first)
    assert decision.replicas is None
    assert decision.cpu_request_cores is None


def test_the_simulator_begins_as_the_cluster_was_found():
    record, _, first = live_episode()
    quota = replace(first.services[0].quota, cpu_request_cores=0.8, cpu_limit_cores=1.6)
    found = replace(first, services=(replace(first.services[0], replicas_wanted=7, quota=quota),))
    (service,) = simulated_config(CONFIG, record, found).cluster.services
    assert (service.initial_replicas, service.cpu_request_cores, service.cpu_limit_ratio) == (7, 0.8, 2.0)
    beyond = replace(found, services=(replace(found.services[0], replicas_wanted=500),))
    (service,) = simulated_config(CONFIG, record, beyond).cluster.services
    assert service.initial_replicas == service.max_replicas == 28


def test_a_load_that_is_too_short_holds_its_last_value():
    short = LoadProfile(np.array([10.0, 20.0, 40.0]), 15.0, "open", 0.0, "short")
    load = recorded_load(short, 100.0)
    assert load.max_duration_s >= 100.0
    profile = load.sample(np.random.default_rng(0), 100.0)
    assert np.interp([15.0, 30.0, 100.0], profile.times_s, profile.values).tolist() == [20.0, 40.0, 40.0]
    with pytest.raises(InputError, match="lasts"):
        load.sample(np.random.default_rng(0), 1e4)


def test_labels_say_what_is_simulated():
    record, other = beside()
    names = [each.metadata.controller for each in (record, other.replayed, other.alone)]
    assert names == ["hpa", "hpa replayed", "hpa simulated"]
    assert {each.metadata.environment for each in (record, other.replayed, other.alone)} == {"cluster x"}


def test_errors_are_what_they_are_called(make_record):
    observed = make_record(
        {"ready_replica_s": [30, 60, 60], "response_time_mean_s": [0.1, np.nan, 0.2],
         "cpu_used_core_s": [5, 5, 0], "cpu_requested_core_s": [10, 10, 0]}
    )  # fmt: skip
    predicted = make_record(
        {"ready_replica_s": [45, 45, 60], "response_time_mean_s": [0.2, 0.3, 0.1],
         "cpu_used_core_s": [6, 4, 3], "cpu_requested_core_s": [10, 10, 10]}
    )  # fmt: skip
    pods, response, use = agreement([(observed, predicted)])
    assert (pods.observed, pods.predicted, pods.bias) == (pytest.approx(10 / 3), pytest.approx(10 / 3), 0.0)
    assert pods.mean_absolute_percentage_error == pytest.approx(100 * (0.5 + 0.25 + 0.0) / 3)
    assert (response.intervals, response.bias) == (2, pytest.approx(0.0))
    assert response.mean_absolute_percentage_error == pytest.approx(100 * (1.0 + 0.5) / 2)
    assert (use.intervals, use.observed, use.predicted) == (2, 0.5, 0.5)
    assert use.mean_absolute_percentage_error == pytest.approx(20.0)
    assert [each.unit for each in (pods, response, use)] == ["pods", "s", "1"]
    pooled = agreement([(observed, predicted), (observed, observed)])[0]
    assert pooled.intervals == 6
    assert pooled.mean_absolute_percentage_error == pytest.approx(12.5)


def test_nothing_in_common_is_said_to_be_unknown(make_record):
    empty = make_record({"response_time_mean_s": [np.nan, np.nan]})
    found = agreement([(empty, empty)])[1]
    assert found.intervals == 0
    assert np.isnan([found.observed, found.bias, found.mean_absolute_percentage_error]).all()
    assert series(empty, "cpu_utilisation").shape == (2, 1)
