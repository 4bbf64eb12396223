"""A recorded episode holds what a slow look at every interval finds, whoever decides."""

import numpy as np
import pytest
from oracles import field_by_field

from podgym.baselines import make_controller
from podgym.envs import AutoscaleEnv
from podgym.envs.config import override
from podgym.envs.make import scenario_config
from podgym.envs.totals import INFO_KEYS
from podgym.eval.runner import run_episode

STORM = {
    "faults": {"node_failures_per_hour": 20.0, "node_failure_duration_s": 90.0},
    "monitoring": {"sample_loss_probability": 0.2},
}


@pytest.mark.parametrize("scenario", ["burst", "boutique"])
@pytest.mark.parametrize("name", ["hpa", "rule", "forecast_threshold", "kubernetes_default"])
def test_a_record_is_that_of_a_slow_look(scenario: str, name: str) -> None:
    config = override(scenario_config(scenario), {"cluster": STORM, "episode_s": 450.0})
    record = run_episode(AutoscaleEnv(config), make_controller(name), seed=3)
    env, controller = AutoscaleEnv(config), make_controller(name)
    env.reset(seed=3)
    intervals, infos = [], []
    for _ in range(env.episode_steps):
        infos.append(env.step_decisions(controller.decide(field_by_field.observe_env(env)))[-1])
        intervals.append(field_by_field.interval(env))
    assert tuple(record.totals) == tuple(INFO_KEYS)
    assert tuple(record.columns) == tuple(intervals[0])
    for key, values in record.totals.items():
        assert values.tobytes() == np.array([info[key] for info in infos]).tobytes(), key
    for key, values in record.columns.items():
        assert values.tobytes() == np.array([interval[key] for interval in intervals]).tobytes(), key
    assert len(set(record.totals["replicas_ready"])) > 1
