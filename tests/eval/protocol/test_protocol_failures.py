"""Methods that fail in a protocol: each is named in its rows, with the reason, and the others go on."""

import time
from dataclasses import replace

import numpy as np
import pytest
from oracles.policies import describe, random_policy

from podgym.agents.policy_file import save_policy
from podgym.baselines.hpa_controller import HpaController
from podgym.envs.cluster import ServiceDecision
from podgym.eval.batch import evaluate_batch
from podgym.eval.protocol import ControllerMethod, PolicyMethod, RunsMethod, episodes, run_protocol
from podgym.eval.protocol.units import read_rows


def rows_of(folder, method):
    return [row for row in read_rows(folder / "results.csv") if row.method == method]


def test_whoever_fails_is_named_and_the_others_go_on(make_protocol, tmp_path):
    protocol = make_protocol(
        ControllerMethod("hpa"),
        ControllerMethod("hpa", "tuned"),
        ControllerMethod("static", {"replicas": 5000}, label="many"),
    )
    result = run_protocol(protocol, tmp_path / "out")
    rows = rows_of(tmp_path / "out", "many")
    assert [row.seed for row in rows] == [210_000, 210_001, 210_002]
    assert all("service 'web' allows 1 to 28" in row.failure for row in rows)
    assert np.isnan([row.cost for row in rows]).all()
    summary = {row["method"]: row for row in result.document["summary"]}
    assert "5000" in summary["many"]["failure"]
    assert summary["hpa"]["cost"] > 0.0
    assert any("many failed on podgym/FamilyBurst-v0" in remark for remark in result.document["remarks"])
    assert {row["method"] for row in result.document["comparisons"]} <= {"hpa", "hpa tuned"}


@pytest.mark.parametrize(
    ("decide", "limit_s", "words"),
    [
        (lambda self, observation: 1 / 0, 60.0, "ZeroDivisionError"),
        (lambda self, observation: [], 60.0, "got 0"),
        (lambda self, observation: None, 60.0, "TypeError"),
        (lambda self, observation: time.sleep(30), 0.2, "took longer than 0.2 s"),
    ],
    ids=["raises", "too few decisions", "no decisions", "takes too long"],
)
def test_a_controller_that_breaks(make_protocol, tmp_path, monkeypatch, decide, limit_s, words):
    monkeypatch.setattr(HpaController, "decide", decide)
    protocol = make_protocol(
        ControllerMethod("hpa"), ControllerMethod("static"), time_limit_s=limit_s, episodes=1
    )
    run_protocol(replace(protocol, time_limit_s=60.0, methods=protocol.methods[1:]), tmp_path / "out")
    run_protocol(protocol, tmp_path / "out", resume=True)
    (failed,), (fine,) = rows_of(tmp_path / "out", "hpa"), rows_of(tmp_path / "out", "static")
    assert words in failed.failure
    assert failed.failure.startswith("seed 210000: ")
    assert (fine.failure, fine.cost > 0.0) == ("", True)


@pytest.mark.parametrize("name", ["replicas", "cpu_request_cores", "memory_request_bytes"])
def test_a_controller_that_wants_what_is_no_number(make_protocol, tmp_path, monkeypatch, name):
    decision = ServiceDecision(**{name: float("nan")})
    monkeypatch.setattr(HpaController, "decide", lambda self, seen: (decision,))
    run_protocol(make_protocol(ControllerMethod("hpa"), ControllerMethod("static")), tmp_path / "out")
    failed = rows_of(tmp_path / "out", "hpa")
    assert [row.seed for row in failed] == [210_000, 210_001, 210_002]
    assert all(f"interval 1 of seed {row.seed}: web: {name} nan" in row.failure for row in failed[::2])
    assert not any(row.failure for row in rows_of(tmp_path / "out", "static"))


OWN = """
class Own:
    def act(self, observation):
        {}
"""


@pytest.mark.parametrize(
    ("line", "limit_s", "words"),
    [
        ("raise KeyError('replicas')", 60.0, "KeyError: 'replicas'"),
        ("return [float('nan')] * 3", 60.0, "nan"),
        ("return observation[:3] * float('nan')", 60.0, "nan"),
        ("while True: pass", 0.2, "took longer than 0.2 s"),
    ],
    ids=["raises", "nan", "array of nan", "takes too long"],
)
def test_a_policy_of_ones_own_that_breaks(make_protocol, tmp_path, line, limit_s, words):
    file = tmp_path / "mine.py"
    file.write_text(OWN.format(line))
    own = ControllerMethod(f"{file}:Own", label="own")
    rows = rows_beside_static(make_protocol, own, limit_s, tmp_path / "out")
    assert all(words in row.failure and np.isnan(row.cost) for row in rows)


def rows_beside_static(make_protocol, own, limit_s, folder):
    """Run a method that fails beside one that has had all the time it needs; the rows of the former."""
    protocol = make_protocol(own, ControllerMethod("static"), time_limit_s=limit_s)
    run_protocol(replace(protocol, time_limit_s=60.0, methods=protocol.methods[1:]), folder)
    run_protocol(protocol, folder, resume=True)
    assert [row.failure for row in rows_of(folder, "static")] == [""] * 3
    rows = rows_of(folder, "own")
    assert [row.seed for row in rows] == [210_000, 210_001, 210_002]
    return rows


def for_ever(*arguments, **options):
    while True:
        pass


def no_numbers(policy, config, seeds, **options):
    return replace(evaluate_batch(policy, config, seeds, **options), cost=np.full(len(seeds), np.nan))


@pytest.mark.parametrize(
    ("run_batch", "limit_s", "words"),
    [
        (lambda *arguments, **options: 1 / 0, 60.0, "ZeroDivisionError"),
        (no_numbers, 60.0, "the cost of the episode is nan"),
        (for_ever, 0.2, "took longer than 0.6 s"),  # all episodes at once: the time of three
    ],
    ids=["raises", "nan", "takes too long"],
)
def test_a_learned_policy_that_breaks(
    make_protocol, make_runs, tmp_path, monkeypatch, run_batch, limit_s, words
):
    monkeypatch.setattr(episodes, "evaluate_batch", run_batch)
    own = RunsMethod(make_runs(seeds=(0,)), label="own")
    rows = rows_beside_static(make_protocol, own, limit_s, tmp_path / "out")
    assert all(words in row.failure and np.isnan(row.cost) for row in rows)


def test_a_cost_that_is_no_number_is_a_failure(make_protocol, tmp_path, monkeypatch):
    monkeypatch.setitem(episodes._COMPUTE, "reward", lambda record: float("nan"))
    run_protocol(make_protocol(ControllerMethod("static")), tmp_path / "out")
    assert all("no number to compare" in row.failure for row in rows_of(tmp_path / "out", "static"))


def test_what_failed_is_tried_again_on_resume(make_protocol, tmp_path, monkeypatch):
    protocol = make_protocol(ControllerMethod("hpa"), ControllerMethod("static"))
    run_protocol(protocol, tmp_path / "fine")
    with monkeypatch.context() as broken:
        broken.setattr(HpaController, "decide", lambda self, seen: 1 / 0)
        run_protocol(protocol, tmp_path / "out")
    assert rows_of(tmp_path / "out", "hpa")[0].failure
    run_protocol(protocol, tmp_path / "out", resume=True)
    for name in ("results.csv", "summary.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "fine" / name).read_bytes()


def test_a_policy_for_another_environment_fails_in_its_rows(make_protocol, tmp_path):
    file = save_policy(random_policy(describe("podgym/Boutique-v0")), tmp_path / "eleven.policy")
    run_protocol(make_protocol(ControllerMethod("hpa"), PolicyMethod(str(file))), tmp_path / "out")
    failures = {row.failure for row in rows_of(tmp_path / "out", "eleven")}
    assert len(failures) == 1
    assert "services" in failures.pop()
