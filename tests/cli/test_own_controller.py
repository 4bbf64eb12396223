"""A controller or a policy from a file of one's own, in every table."""

import json
import os
import re

import pytest

from podgym.baselines import controller_options, looks_at_forecasts, make_controller
from podgym.cli import main
from podgym.errors import InputError

OWN = """
from dataclasses import dataclass

from podgym.envs.cluster import ServiceDecision

from constants import REPLICAS


class Fixed:
    def __init__(self, replicas: int = REPLICAS) -> None:
        self.replicas = replicas

    def decide(self, observation):
        return tuple(ServiceDecision(self.replicas) for _ in observation.services)


class Seer(Fixed):
    looks_at_forecasts = True


class Still:
    def act(self, observation):
        assert observation.ndim == 1
        return [7, 1, 1]  # the step 0 of replicas, CPU and memory


class Broken:
    calls = 0

    def reset(self):
        self.calls = 0

    def decide(self, observation):
        self.calls += 1
        return tuple(ServiceDecision(3 // (3 - self.calls)) for _ in observation.services)


class Neither:
    pass


def function(observation):
    return 1
"""
SHORT = ["--env", "podgym/Burst-v0", "--episode-hours", "0.05", "--tuned", "no"]


@pytest.fixture
def own(tmp_path):
    (tmp_path / "constants.py").write_text("REPLICAS = 7\n")
    file = tmp_path / "mine.py"
    file.write_text(OWN)
    return str(file)


def run_json(capsys, *argv):
    assert main(["evaluate", *argv, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def by_label(document):
    return {result["controller"]: result["mean"] for result in document["results"]}


def test_rows_like_those_of_the_package(capsys, own):
    """A fixed count decided by one's own class is, bit by bit, that of `static`."""
    names = [
        f"{own}:Fixed",
        f"{own}:Fixed:replicas=9",
        f"{own}:Still",
        "static:replicas=9",
        "static:replicas=7",
    ]
    found = by_label(run_json(capsys, *SHORT, "--controller", *names))
    assert set(found) == {"Fixed", "Fixed replicas=9", "Still", "static replicas=9", "static replicas=7"}
    assert found["Fixed replicas=9"] == found["static replicas=9"]
    assert found["Fixed"] == found["static replicas=7"]
    assert found["Still"]["replicas_changed"] == 0.0


def test_in_other_processes_and_in_files(capsys, own, tmp_path):
    out = tmp_path / "out"
    argv = [*SHORT, "--controller", f"{own}:Fixed", "--episodes", "2"]
    alone = run_json(capsys, *argv)
    parallel = run_json(capsys, *argv, "--processes", "2", "--output", str(out))
    assert alone["results"] == parallel["results"]
    assert (out / "Burst-v0-Fixed-seed1.parquet").is_file()


def test_in_a_protocol_a_change_of_the_file_is_noticed(own, tmp_path, capsys):
    protocol = tmp_path / "own.yml"
    protocol.write_text(
        f"name: own\nids: [podgym/FamilyBurst-v0]\nfirst_seed: 210000\nepisodes: 2\nresamples: 200\n"
        f"changes: {{episode_s: 60}}\nmethods:\n  - {{controller: {own}:Fixed, options: {{replicas: 5}}}}\n"
        f"  - {{controller: {own}:Still}}\n  - {{controller: {own}:Broken}}\n  - {{controller: static}}\n"
    )
    argv = ["evaluate", "--protocol", str(protocol), "--output", str(tmp_path / "out"), "--json"]

    def summary():
        assert main([*argv, "--resume"]) == 0
        document = json.loads(capsys.readouterr().out)
        return {row["method"]: row for row in document["summary"]}, document["remarks"]

    before, remarks = summary()
    assert any("Broken failed" in each and "ZeroDivisionError" in each for each in remarks)
    with open(own, "a") as file:
        file.write(
            "\n\nFixed.decide = lambda self, seen: tuple(ServiceDecision(20) for _ in seen.services)\n"
        )
    after, _ = summary()
    label = next(name for name in before if name.startswith("Fixed"))
    assert before[label]["cost"] != after[label]["cost"]
    assert before["static"] == after["static"]


def test_what_it_says_of_itself(own):
    assert controller_options(f"{own}:Fixed") == ("replicas",)
    assert make_controller(f"{own}:Fixed", replicas=3).name == "Fixed"
    make_controller(f"{own}:Fixed").reset()
    assert looks_at_forecasts(f"{own}:Seer")
    assert not looks_at_forecasts(f"{own}:Fixed")


def test_a_file_that_was_changed_is_read_again(own):
    assert make_controller(f"{own}:Fixed").replicas == 7
    with open(own, "a") as file:
        file.write("\n\nclass Fixed(Fixed):\n    def reset(self):\n        self.replicas = 1\n")
    os.utime(own, ns=(1, 1))
    changed = make_controller(f"{own}:Fixed")
    changed.reset()
    assert changed.replicas == 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Fixd", r"unknown class in .*mine\.py 'Fixd'.*Did you mean 'Fixed'"),
        ("Neither", r"neither decide\(observation\) nor act\(observation\)"),
        ("function", "unknown class"),
        ("Fixed:replica=3", "Did you mean 'replicas'"),
        ("Broken", r"Broken failed in interval 3 of seed 0: ZeroDivisionError.*\(mine\.py, line 35\)"),
    ],
)
def test_what_is_wrong_is_said(capsys, own, name, words):
    assert main(["evaluate", *SHORT, "--controller", f"{own}:{name}"]) == 2
    assert re.search(words, capsys.readouterr().err)


def test_files_that_cannot_be_had(own, tmp_path):
    with pytest.raises(InputError, match=r"there is no file .*mien\.py\. Did you mean 'mine\.py'"):
        make_controller(own.replace("mine", "mien") + ":Fixed")
    (tmp_path / "bad.py").write_text("import nothing_of_this_name\n")
    with pytest.raises(InputError, match=r"bad\.py cannot be imported: ModuleNotFoundError"):
        make_controller(str(tmp_path / "bad.py") + ":Fixed")
