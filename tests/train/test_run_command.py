"""A run and the command line: what repeats it, what it tells, and what becomes of a nan."""

import argparse
import dataclasses
import json
import shlex

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("stable_baselines3")
pytest.importorskip("sb3_contrib")
pytest.importorskip("tensorboard")

from oracles.training_problems import LOW_LOAD, run_small, small_settings

from podgym import cli
from podgym.agents.policy_file import load_policy
from podgym.cli.train import add_arguments, asked_settings
from podgym.train.run import training_command
from podgym.train.settings_file import settings_for
from podgym.train.vec_env import TrainingEnvs

ALGORITHMS = ("ppo", "maskable_ppo", "recurrent_ppo")


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("PODGYM_CACHE", str(tmp_path / "cache"))


def typed(command):
    """Return the settings that a command line asks for."""
    program, name, *words = shlex.split(command)
    assert (program, name) == ("podgym", "train")
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return asked_settings(parser.parse_args(words))


CHANGES = {
    "nothing": {},
    "seed": {"seed": 7},
    "numbers": {"gamma": 0.5, "n_timesteps": 12345, "target_kl": 0.02, "policy_kwargs.net_arch": [3, 4]},
    "schedules": {"learning_rate": 0.5, "ent_coef.to": 0.0, "clip_range": {"from": 0.3, "to": 0.1}},
    "null": {"planner": None, "prior": None, "reference": "none", "critic_future_steps": 0},
    "groups": {"constraint.max_violation_ratio": 0.5, "clone": {"controller": "hpa"}},
    "options": {"planner.options": {"headroom": 0.25, "rate": "upper", "preset": "slo_cost"}},
    "another controller": {"clone": {"controller": "static", "options": {"replicas": 3}, "epochs": 4}},
    "environment": {"env_kwargs.action": {"quotas": True, "quota_steps": [-2, 0, 1]},
                    "env_kwargs.cluster.nodes.count": 5, "env_kwargs.reward.preset": "paper"},
    "words": {"forecaster": "oracle", "policy_kwargs.activation_fn": "tanh", "normalize_advantage": False},
}  # fmt: skip


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("case", CHANGES)
def test_the_command_says_all_that_differs_from_what_ships(algorithm, case):
    settings = settings_for(algorithm, LOW_LOAD, changes=CHANGES[case])
    command = training_command(LOW_LOAD, algorithm, settings)
    assert "--config" not in command
    assert typed(command) == settings
    assert ("--set" in command) == (case not in ("nothing", "seed"))
    if case == "nothing":
        assert command == f"podgym train --env {LOW_LOAD} --algo {algorithm} --seed 0"


def test_what_no_option_can_say_is_in_the_file_of_the_run():
    settings = dataclasses.replace(settings_for("ppo", LOW_LOAD), env_kwargs={})
    command = training_command(LOW_LOAD, "ppo", settings)
    assert command == f"podgym train --env {LOW_LOAD} --algo ppo --seed 0 --config config.yml"


def test_the_policy_says_where_it_comes_from(tmp_path):
    run_small(tmp_path / "run")
    description = load_policy(tmp_path / "run" / "final.policy").description
    provenance = description.provenance
    assert typed(provenance["command"]) == small_settings()
    assert provenance["settings"] == json.loads(json.dumps(small_settings().as_dict()))
    assert (provenance["seed"], provenance["frames"]) == (0, 256)
    assert set(provenance["versions"]) >= {"torch", "stable_baselines3", "numpy"}
    assert description.environment == LOW_LOAD


def typed_small(tmp_path, **changes):
    """Return the arguments of a small run."""
    words = shlex.split(training_command(LOW_LOAD, "ppo", small_settings(**changes)))
    return [*words[1:], "--logdir", str(tmp_path)]


def test_what_is_not_finite_is_one_line_and_status_1(tmp_path, capsys, monkeypatch):
    step_wait = TrainingEnvs.step_wait
    steps = []

    def broken(envs):
        steps.append(0)
        if len(steps) > 30:
            envs.weights[2] = np.nan
        return step_wait(envs)

    monkeypatch.setattr(TrainingEnvs, "step_wait", broken)
    assert cli.main(typed_small(tmp_path)) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    errors = [line for line in captured.err.splitlines() if "error" in line]
    assert errors == [
        "podgym: error: the reward of environment 0 is not finite; training stops before it learns from it."
    ]


def test_a_run_from_the_command_line_tells_its_remarks(tmp_path, capsys):
    assert cli.main([*typed_small(tmp_path, n_timesteps=64, checkpoint_every=1), "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["frames"] == 64
    remarks = [line for line in captured.err.splitlines() if line.startswith("podgym: steps 9 to 10")]
    assert len(remarks) == 1
