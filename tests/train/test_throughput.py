"""What ``podgym bench --train`` measures."""

import json

import pytest

pytest.importorskip("sb3_contrib")

from podgym.cli import main
from podgym.errors import InputError
from podgym.train import throughput
from podgym.train.throughput import measure_training

SMALL = {"num_envs": 16, "iterations": 1, "repeats": 1}


@pytest.fixture(scope="module")
def speed():
    rounds = []
    measured = measure_training("podgym/LowLoad-v0", **SMALL, on_round=lambda: rounds.append(1))
    assert rounds == [1, 1]
    return measured


def test_rates_are_of_one_run_and_the_share_is_a_share(speed):
    assert speed.frames_per_s > 0.0
    assert speed.yardstick_frames_per_s > 0.0
    assert speed.times_yardstick == pytest.approx(speed.frames_per_s / speed.yardstick_frames_per_s)
    assert 0.0 < speed.environment_share < 1.0


def test_the_batch_divides_the_rollout(speed):
    assert (16 * 32) % speed.batch_size == 0
    assert speed.num_envs == 16


def test_nothing_to_measure_is_refused():
    with pytest.raises(InputError, match="repeats is 0"):
        measure_training("podgym/LowLoad-v0", repeats=0)


def test_the_command_prints_both_and_json(speed, monkeypatch, capsys):
    asked = []

    def measured(environment, **options):
        asked.append((environment, options["num_envs"], options["repeats"]))
        return speed

    monkeypatch.setattr(throughput, "measure_training", measured)
    assert main(["bench", "--train", "--env", "podgym/LowLoad-v0", "--num-envs", "16"]) == 0
    shown = capsys.readouterr().out
    assert "ppo on podgym/LowLoad-v0" in shown
    assert "CartPole-v1" in shown
    assert f"{speed.times_yardstick:.1f} times the yardstick" in shown
    assert main(["bench", "--train", "--repeats", "2", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["times_yardstick"] == pytest.approx(speed.times_yardstick)
    assert asked == [("podgym/LowLoad-v0", 16, 3), ("podgym/Trace-v0", 1024, 2)]
