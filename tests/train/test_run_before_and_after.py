"""Where training begins, at the plan of LSTM+GA, and that it leads away from there to something better."""

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("stable_baselines3")
pytest.importorskip("sb3_contrib")
pytest.importorskip("tensorboard")

from oracles.training_problems import run_small, small_problem

from podgym.agents.policy_file import load_policy
from podgym.envs.splits import DEV_SEEDS, tuning_config
from podgym.eval.batch import evaluate_batch
from podgym.eval.measures import MEASURES
from podgym.eval.runner import make_jobs, run_jobs
from podgym.train.run import TrainingRun
from podgym.train.settings_file import settings_for

SEEDS = list(DEV_SEEDS[:4])
LATER_SEEDS = list(DEV_SEEDS[100:108])


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("PODGYM_CACHE", str(tmp_path / "cache"))


def costs_of_lstm_ga(problem, config, seeds):
    """Return the costs of LSTM+GA with the options of the policy's planner and its forecaster."""
    jobs = make_jobs(
        problem.environment,
        config,
        "lstm_ga",
        problem.planner.options,
        seed=seeds[0],
        episodes=len(seeds),
        forecaster=problem.forecaster,
    )
    reward = next(each.compute for each in MEASURES if each.name == "reward")
    return np.array([-reward(record) for record in run_jobs(jobs)])


@pytest.mark.parametrize("scenario", ["HighLoad", "Burst", "LowLoad", "Trace"])
def test_the_untrained_policy_performs_like_lstm_ga(scenario, tmp_path):
    environment = f"podgym/{scenario}-v0"
    fewer = {"n_envs": 4, "batch_size": 64, "episode_pool": 2, "eval_episodes": 1}  # of nothing that acts
    settings = settings_for("ppo", environment, changes=fewer)
    run = TrainingRun(settings, tmp_path, environment, "ppo", lambda progress: None, lambda result: None)
    run.log.close()
    config = tuning_config(run.problem.config, "dev")
    ours = evaluate_batch(run.policy(), config, SEEDS)
    theirs = costs_of_lstm_ga(run.problem, config, SEEDS)
    assert ours.cost.mean() == pytest.approx(theirs.mean(), rel=0.02)
    assert ours.churn.sum() > 0.0  # there was something to follow
    assert len(np.unique(theirs)) == len(SEEDS)


# Plans for three times the load: a policy that follows them is dear, and need not be.
DEAR = {
    "planner": {"controller": "lstm_ga", "options": {"headroom": 2.0}},
    "env_kwargs": {"action": {"quotas": False}, "episode_s": 300.0},
    "n_envs": 64,
    "n_steps": 20,
    "batch_size": 320,
    "n_epochs": 4,
    "n_timesteps": 30 * 64 * 20,
    "learning_rate": {"from": 5e-3, "to": 1e-4},
    "ent_coef": {"from": 0.02, "to": 0.001},
    "gamma": 0.95,
    "gae_lambda": 0.8,
    "actor_frozen_iterations": 2,
    "episode_pool": 32,
    "eval_every": 10,
    "eval_episodes": 16,
    "checkpoint_every": 10,
}


@pytest.mark.parametrize("algorithm", ["ppo", "maskable_ppo"])
def test_training_leads_to_something_better(algorithm, tmp_path):
    """On episodes of dev that chose nothing; the untrained policy is the one that follows the plan."""
    result = run_small(tmp_path / "run", algorithm, **DEAR)
    assert result.best.frames > 0
    assert result.best.cost < 0.9 * result.untrained.cost
    problem = small_problem(algorithm, **DEAR)
    config = tuning_config(problem.config, "dev")
    trained = load_policy(tmp_path / "run" / "final.policy")
    ours = evaluate_batch(trained, config, LATER_SEEDS)
    plan = costs_of_lstm_ga(problem, config, LATER_SEEDS)
    assert ours.cost.mean() < 0.9 * plan.mean()
