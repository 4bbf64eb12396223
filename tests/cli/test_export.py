"""``podgym export``: a policy as an ONNX file that decides the same."""

import json

import numpy as np
import pytest
from oracles.policies import describe, observations, random_policy, recurrent

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import podgym.cli
from podgym.agents.policy_file import save_policy
from podgym.agents.running import load_actor
from podgym.cli import main


@pytest.fixture(autouse=True)
def command(monkeypatch):
    others = [name for name in podgym.cli.COMMANDS if name != "export"]
    monkeypatch.setattr(podgym.cli, "COMMANDS", (*others, "export"))


def test_what_is_written_decides_the_same(capsys, tmp_path):
    policy = random_policy(describe())
    source = save_policy(policy, tmp_path / "own.policy")
    target = tmp_path / "new" / "other.onnx"
    assert main(["export", str(source), "--to", str(target)]) == 0
    out = capsys.readouterr().out
    for words in ("podgym/Burst-v0", "91 numbers", "17 x 3 x 3", "16 - 12, relu", f"wrote {target}"):
        assert words in out
    rows = observations(policy.description, 20)
    np.testing.assert_array_equal(load_actor(target).act(rows)[0], policy.act(rows)[0])


def test_beside_the_policy_unless_told(capsys, tmp_path):
    source = save_policy(random_policy(recurrent()), tmp_path / "own.policy")
    assert main(["export", str(source), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["file"] == str(tmp_path / "own.onnx")
    assert document["algorithm"] == "recurrent_ppo"
    assert (tmp_path / "own.onnx").is_file()


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["own.onnx"], "is an exported policy already"),
        (["lost.policy"], "Did you mean 'own.policy'"),
        (["own.policy", "--to", "own.pt"], "ends in .onnx"),
        (["own.policy", "--to", "own.policy/x.onnx"], "cannot be written"),
    ],
)
def test_bad_arguments(argv, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_policy(random_policy(describe()), tmp_path / "own.policy")
    assert main(["export", *argv]) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["own.policy"]
