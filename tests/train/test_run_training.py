"""A training run: the same to the last bit whenever it is repeated, and however often it is interrupted."""

import csv
import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("stable_baselines3")
pytest.importorskip("sb3_contrib")
pytest.importorskip("tensorboard")

import torch
from oracles.training_problems import LOW_LOAD, STEPS, LoadPlanner, run_small, small_problem, small_settings

from podgym.agents.policy_file import load_policy
from podgym.errors import InputError
from podgym.train import problem as problem_module
from podgym.train import run as run_module
from podgym.train.dev import DevEpisodes
from podgym.train.results import DevResult
from podgym.train.run import TrainingRun
from podgym.train.vec_env import TrainingEnvs

ALGORITHMS = ("ppo", "maskable_ppo", "recurrent_ppo")
TEACHER = {"controller": "static", "options": {"replicas": 5}, "epochs": 1}
VARIANTS = {
    **{algorithm: (algorithm, {}) for algorithm in ALGORITHMS},
    "constrained, quotas": (
        "ppo",
        {"constraint": {"max_violation_ratio": 1e-4}, "env_kwargs.action.quotas": True, "seed": 3},
    ),
    "new loads, cloned": ("maskable_ppo", {"episode_pool": 0, "clone": TEACHER, "forecaster": "oracle"}),
}


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("PODGYM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("podgym.train.cloning.EPISODES", 4)


class StoppedError(Exception):
    """Raised where a run is to be interrupted."""


def stop_after(frames):
    def on_progress(progress):
        if progress.frames == frames:
            raise StoppedError

    return on_progress


def arrays(folder, name="final.policy"):
    return {key: array.tobytes() for key, array in load_policy(folder / name).arrays.items()}


def outcome(folder, result):
    """What must be the same to the last bit: both policies with their provenance, the result, the curves."""
    policies = [load_policy(folder / name) for name in ("final.policy", "best.policy")]
    return [
        *({key: array.tobytes() for key, array in policy.arrays.items()} for policy in policies),
        *(policy.description for policy in policies),
        dataclasses.replace(result, seconds=0.0, policy_file=None),
        curves(folder),
    ]


def curves(folder):
    """Return the table of the run without what the clock says."""
    with (folder / "progress.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 5
    assert all("time/frames_per_s" in row for row in rows)
    return [{name: each for name, each in row.items() if name != "time/frames_per_s"} for row in rows]


_WHOLE = {}


@pytest.fixture
def whole(tmp_path_factory):
    """Return the outcome of a variant that nothing interrupted; each is trained once."""

    def make(variant):
        if variant not in _WHOLE:
            algorithm, changes = VARIANTS[variant]
            folder = tmp_path_factory.mktemp("whole")
            _WHOLE[variant] = outcome(folder, run_small(folder, algorithm, **changes))
        return _WHOLE[variant]

    return make


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_that_was_interrupted_is_the_run_that_was_not(variant, whole, tmp_path, monkeypatch):
    """Once before anything was saved, once in the middle of an interval, and once right after the last."""
    algorithm, changes = VARIANTS[variant]
    if changes.get("episode_pool") == 0:  # a search per episode takes its time
        monkeypatch.setattr(problem_module, "open_planner", lambda *_: LoadPlanner(20.0))
    for frames in (64, 192, 256):
        with pytest.raises(StoppedError):
            run_small(tmp_path / "run", algorithm, resume=True, on_progress=stop_after(frames), **changes)
    told = []
    result = run_small(tmp_path / "run", algorithm, resume=True, on_progress=told.append, **changes)
    assert [progress.frames for progress in told] == [192, 256]
    assert {progress.total_frames for progress in told} == {256}
    assert outcome(tmp_path / "run", result) == whole(variant)
    again = run_small(tmp_path / "run", algorithm, resume=True, on_progress=stop_after(1), **changes)
    assert outcome(tmp_path / "run", again) == whole(variant)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_equal_seeds_give_equal_policies_and_others_do_not(algorithm, whole, tmp_path):
    again = run_small(tmp_path / "again", algorithm)
    assert outcome(tmp_path / "again", again) == whole(algorithm)
    run_small(tmp_path / "other", algorithm, seed=1)
    other = arrays(tmp_path / "other")
    assert not [name for name in other if other[name] == whole(algorithm)[0][name]]


_KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from oracles.training_problems import run_small

def on_progress(progress):
    if progress.frames == 192:
        os.kill(os.getpid(), signal.SIGKILL)

run_small(Path(sys.argv[1]), "ppo", on_progress=on_progress)
"""


@pytest.mark.source_tree
def test_a_run_that_was_killed_is_the_run_that_was_not(whole, tmp_path):
    tests = str(Path(__file__).resolve().parents[1])
    folder = tmp_path / "killed"
    command = [sys.executable, "-c", _KILLED, str(folder), tests]
    done = subprocess.run(
        command, capture_output=True, timeout=240, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert not (folder / "final.policy").exists()
    result = run_small(folder, "ppo", resume=True)
    assert outcome(folder, result) == whole("ppo")


def test_a_damaged_checkpoint_is_told_and_does_not_change_the_run(whole, tmp_path):
    folder = tmp_path / "run"
    run_small(folder)
    newest = max((folder / "checkpoints").glob("*.pt"))
    newest.write_bytes(newest.read_bytes()[:-100])
    remarks = []
    result = run_small(folder, resume=True, on_remark=remarks.append)
    assert outcome(folder, result) == whole("ppo")
    (remark,) = remarks
    assert "checkpoint 2" in remark
    assert "does not hold what its manifest says" in remark


def test_parts_of_episodes_that_are_never_seen_are_told(tmp_path):
    remarks = []
    changes = {"checkpoint_every": 1, "n_timesteps": 64}
    run_small(tmp_path / "run", on_remark=remarks.append, **changes)
    (remark,) = remarks
    assert f"steps 9 to {STEPS} of an episode are never trained on" in remark
    assert "raise checkpoint_every to 2 or more" in remark


def test_the_best_policy_is_the_one_that_was_evaluated_best(whole, tmp_path):
    evaluations = []
    changes = {"learning_rate": 0.05, "eval_every": 1, "n_timesteps": 64 * 6}
    result = run_small(tmp_path / "run", on_evaluation=evaluations.append, **changes)
    assert [each.frames for each in evaluations] == [64 * at for at in range(7)]
    costs = [each.cost for each in evaluations]
    assert len(set(costs)) > 2
    assert result.best == evaluations[int(np.argmin(costs))]
    assert result.untrained == evaluations[0]
    assert [each.best for each in evaluations] == [cost < min(costs[:at], default=np.inf)
                                                   for at, cost in enumerate(costs)]  # fmt: skip
    dev = DevEpisodes(small_problem(**changes))
    for name, expected in (("best.policy", result.best), ("final.policy", evaluations[-1])):
        policy = load_policy(tmp_path / "run" / name)
        assert dev.evaluate(policy, 0)[0].cost == expected.cost
        assert policy.description.provenance["dev"]["cost"] == expected.cost
        assert policy.description.provenance["frames"] == expected.frames


def results(*pairs):
    return [DevResult(0, cost, ratio, 1.0, 0.0, False) for cost, ratio in pairs]


def test_under_a_constraint_the_best_keeps_it(tmp_path):
    """A cheap policy that misses the SLO too often is no answer to a constraint."""
    changes = {"constraint": {"max_violation_ratio": 0.02}, "n_timesteps": 64}
    run = TrainingRun(
        small_settings(**changes), tmp_path, LOW_LOAD, "ppo", lambda progress: None, lambda result: None
    )
    cheap, dear, kept, better = results((5.0, 0.05), (9.0, 0.03), (12.0, 0.02), (11.0, 0.0))
    ranked = sorted([kept, cheap, better, dear], key=run._rank)
    assert ranked == [better, kept, dear, cheap]
    run.settings = small_settings()
    assert sorted([kept, cheap, better, dear], key=run._rank) == [cheap, dear, better, kept]
    run.log.close()


def test_the_rewards_of_a_constraint_are_of_size_one_with_its_multiplier(tmp_path):
    def scale(initial):
        changes = {"constraint": {"initial_multiplier": initial, "max_multiplier": 1e6}}
        settings = small_settings(**changes)
        run = TrainingRun(settings, tmp_path / str(initial), LOW_LOAD, "ppo", print, print)
        run.log.close()
        assert run.envs.weights[0] == -initial
        return run.envs.reward_scale

    assert scale(1e5) < 0.5 * scale(20.0)


def test_constants_are_measured_over_a_whole_episode(monkeypatch, tmp_path):
    measured = []
    measure = run_module.measure_constants

    def watched(envs, act, steps, seed):
        measured.append(steps)
        return measure(envs, act, steps, seed)

    monkeypatch.setattr(run_module, "measure_constants", watched)
    run_small(tmp_path / "run", n_timesteps=64)
    assert measured == [STEPS]
    run_small(tmp_path / "run", n_timesteps=64, resume=True)
    assert measured == [STEPS]  # they stand in the checkpoint


def test_the_settings_reach_the_algorithm(monkeypatch, tmp_path):
    bootstrapped = []
    on_step = run_module.BootstrapTimeLimits._on_step
    monkeypatch.setattr(
        run_module.BootstrapTimeLimits, "_on_step", lambda each: bootstrapped.append(1) or on_step(each)
    )
    run_small(tmp_path, ent_coef={"from": 0.4, "to": 0.0}, learning_rate=0.01, actor_frozen_iterations=2)
    rows = [row for row in curves(tmp_path) if row["train/ent_coef"]]
    assert [float(row["train/ent_coef"]) for row in rows] == pytest.approx([0.3, 0.2, 0.1, 0.0])
    assert [float(row["train/learning_rate"]) for row in rows] == [0.01] * 4
    moved = [float(row["policy/approx_kl"]) for row in rows]
    assert max(map(abs, moved[:2])) < 1e-6 < 1e-5 < min(moved[2:])
    assert len(bootstrapped) == 4 * 8


def test_each_interval_has_episodes_of_its_own(monkeypatch, tmp_path):
    begun = []
    reset = TrainingEnvs.reset

    def watched(envs):
        observations = reset(envs)
        begun.append(observations.tobytes() + envs.env._limit_steps.tobytes())
        return observations

    monkeypatch.setattr(TrainingEnvs, "reset", watched)
    run_small(tmp_path / "run", checkpoint_every=1, on_remark=lambda remark: None)
    run_small(tmp_path / "other", n_timesteps=64, seed=1)
    assert len(begun) == 1 + 4 + 1 + 1  # of measuring and of each interval
    assert len(set(begun)) == len(begun)


def test_a_run_uses_one_thread_and_leaves_the_number_as_it_was(tmp_path):
    seen = []
    torch.set_num_threads(2)
    try:
        with pytest.raises(StoppedError):
            run_small(
                tmp_path / "run",
                on_evaluation=lambda result: seen.append(torch.get_num_threads()),
                on_progress=stop_after(64),
            )
        assert (seen, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(1)


def test_curves_are_complete_also_when_a_run_fails(monkeypatch, tmp_path):
    closed = []
    close = run_module.TrainingLog.close
    monkeypatch.setattr(run_module.TrainingLog, "close", lambda log: (closed.append(log), close(log)))
    with pytest.raises(StoppedError):
        run_small(tmp_path / "run", on_progress=stop_after(128))
    assert len(closed) == 1


def test_other_settings_are_not_taken_up(tmp_path):
    with pytest.raises(StoppedError):
        run_small(tmp_path / "run", on_progress=stop_after(192))
    with pytest.raises(InputError, match=r"says gamma = 0.95, but it is 0.9 now"):
        run_small(tmp_path / "run", resume=True, gamma=0.9)
