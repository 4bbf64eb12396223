"""Whole protocols on minute-long episodes: kills, processes, failures, and loads that differ."""

import time
from dataclasses import replace

import numpy as np
import pytest
from oracles.policies import describe, planning, random_policy

from podgym.agents.policy_file import save_policy
from podgym.agents.running import load_actor, policy_environment
from podgym.errors import InputError
from podgym.eval.forecast_choice import forecaster_file
from podgym.eval.measures import measure
from podgym.eval.protocol import (
    BoundMethod,
    ControllerMethod,
    PolicyMethod,
    RunsMethod,
    run,
    run_protocol,
)
from podgym.eval.protocol.entrants import protocol_config
from podgym.eval.protocol.episodes import time_limit
from podgym.eval.protocol.run import check_hashes
from podgym.eval.protocol.units import EpisodeRow, read_rows, write_rows
from podgym.eval.runner import Job, run_job, run_policy

BURST = "podgym/FamilyBurst-v0"
RESULTS = ("results.csv", "summary.csv", "summary.json", "comparisons.csv", "overall.csv", "results.md")


def contents(folder):
    return {name: (folder / name).read_bytes() for name in RESULTS}


def rows_of(folder, method):
    return [row for row in read_rows(folder / "results.csv") if row.method == method]


class KilledError(Exception):
    pass


def killed_after(count):
    """Progress that kills after so many reports, the first of which comes before any work."""
    reports = []

    def report(done, total, note):
        reports.append(done)
        if len(reports) > count:
            raise KilledError

    return report


def test_changes_of_one_method_are_its_own(make_protocol, tmp_path):
    """Static pods of half the size cost less, on the same load; the others are what they were."""
    pods = {"cluster.services.web.cpu_request_cores": 0.25}
    methods = (ControllerMethod("static"), ControllerMethod("static", label="small", changes=pods))
    run_protocol(make_protocol(*methods), tmp_path / "both")
    run_protocol(make_protocol(methods[0]), tmp_path / "alone")
    small, usual = rows_of(tmp_path / "both", "small"), rows_of(tmp_path / "both", "static")
    assert usual == rows_of(tmp_path / "alone", "static")
    for one, other in zip(small, usual, strict=True):
        assert one.profile_sha256 == other.profile_sha256
        assert one.core_hours == pytest.approx(other.core_hours / 2.0)


def test_numbers_are_those_of_the_runner_and_the_batch(make_protocol, make_runs, tmp_path):
    """Also of a controller that plans, and of every training seed."""
    pytest.importorskip("torch")  # the shipped forecasters are networks
    methods = (ControllerMethod("hpa"), ControllerMethod("lstm_ga"), RunsMethod(make_runs()))
    protocol = make_protocol(*methods)
    seen = []
    result = run_protocol(protocol, tmp_path / "out", on_progress=lambda *report: seen.append(report))
    assert seen[0] == (0, 12, "")
    assert seen[-1] == (12, 12, f"{BURST} ppo")
    assert {path.name for path in result.paths} == {*RESULTS, "protocol.json"}
    assert all(path.is_file() for path in result.paths)
    config = protocol_config(protocol, BURST)
    for name, forecaster in (("hpa", None), ("lstm_ga", "shipped")):
        second = rows_of(tmp_path / "out", name)[1]  # in an environment that has run an episode before
        job = Job(BURST, config, name, seed=210_001)
        if forecaster:
            job = replace(job, forecaster=forecaster_file(forecaster, config.workload))
        expected = measure(run_job(job))
        assert second.cost == -expected["reward"]
        assert second.response_time_p95_s == expected["response_time_p95_s"]
        assert second.churn == expected["replicas_changed"]
    rows = rows_of(tmp_path / "out", "ppo")
    assert [(row.training_seed, row.seed - 210_000) for row in rows] == [
        (0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2),
    ]  # fmt: skip
    policy = load_actor(f"{tmp_path}/runs/FamilyBurst-v0/ppo-seed1/best.policy")
    record = run_policy(policy_environment(policy, config=config), policy, 210_002)
    assert rows[5].cost == -measure(record)["reward"]
    assert rows[5].profile_sha256 == record.metadata.profile_sha256


def test_a_kill_between_any_two_units_changes_nothing(make_protocol, make_runs, tmp_path):
    pytest.importorskip("torch")  # the shipped forecasters are networks
    protocol = make_protocol(
        ControllerMethod("hpa"), ControllerMethod("rule", "tuned"), RunsMethod(make_runs())
    )
    run_protocol(protocol, tmp_path / "whole")
    for units in range(1, 6):
        with pytest.raises(KilledError):
            run_protocol(
                protocol, tmp_path / "killed", resume=True, on_progress=killed_after(1 if units > 1 else 0)
            )
        assert len(list((tmp_path / "killed").glob("units/*.csv"))) == units - 1
    run_protocol(protocol, tmp_path / "killed", resume=True)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_what_is_finished_is_not_run_again(make_protocol, tmp_path, monkeypatch):
    protocol = make_protocol()
    run_protocol(protocol, tmp_path / "out")
    before = contents(tmp_path / "out")
    monkeypatch.setattr(run, "run_unit", None)
    run_protocol(protocol, tmp_path / "out", resume=True)
    assert contents(tmp_path / "out") == before


def test_further_methods_and_episodes_take_up_what_is_there(make_protocol, tmp_path, monkeypatch):
    first = make_protocol(ControllerMethod("hpa"), episodes=2)
    run_protocol(first, tmp_path / "out")
    ran = []
    real = run.run_unit
    monkeypatch.setattr(
        run, "run_unit", lambda unit: ran.append((unit.entrant.method, unit.seeds)) or real(unit)
    )
    more = replace(first, methods=(*first.methods, ControllerMethod("keda")), episodes=4)
    run_protocol(more, tmp_path / "out", resume=True)
    assert ran == [
        ("hpa", (210_002, 210_003)), ("keda", (210_000, 210_001)), ("keda", (210_002, 210_003)),
    ]  # fmt: skip
    run_protocol(more, tmp_path / "fresh")
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_another_policy_in_the_same_file_is_run_again(make_protocol, tmp_path):
    file = tmp_path / "mine.policy"
    protocol = make_protocol(ControllerMethod("hpa"), PolicyMethod(str(file)))
    costs = []
    for seed in (0, 3):
        save_policy(random_policy(describe(BURST, prior=None), seed=seed, scale=2.0), file)
        run_protocol(protocol, tmp_path / "out", resume=True)
        costs.append([row.cost for row in rows_of(tmp_path / "out", "mine")])
    assert costs[0] != costs[1]


def test_a_file_that_was_spoilt_is_run_again(make_protocol, tmp_path):
    protocol = make_protocol()
    run_protocol(protocol, tmp_path / "out")
    before = contents(tmp_path / "out")
    first, second, *_ = sorted((tmp_path / "out" / "units").iterdir())
    first.write_text(first.read_text()[:-150])
    second.write_bytes(b"\xff")
    run_protocol(protocol, tmp_path / "out", resume=True)
    assert contents(tmp_path / "out") == before


@pytest.mark.slow
def test_two_processes_give_what_one_gives(make_protocol, make_runs, tmp_path):
    protocol = make_protocol(ControllerMethod("hpa"), RunsMethod(make_runs(seeds=(0,))))
    run_protocol(protocol, tmp_path / "one")
    run_protocol(protocol, tmp_path / "two", processes=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_policy_may_bring_its_planner(make_protocol, tmp_path):
    file = save_policy(random_policy(planning(environment=BURST)), tmp_path / "plans.policy")
    run_protocol(make_protocol(ControllerMethod("hpa"), PolicyMethod(str(file))), tmp_path / "out")
    assert not any(row.failure for row in rows_of(tmp_path / "out", "plans"))


def test_bounds_face_the_same_loads_and_lie_below(make_protocol, tmp_path):
    protocol = make_protocol(
        ControllerMethod("hpa"),
        ControllerMethod("rule", "tuned"),
        BoundMethod("lower_bound", episodes=2),
        BoundMethod("clairvoyant", episodes=1),
    )
    result = run_protocol(protocol, tmp_path / "out")
    hpa, rule, lower, best = (
        rows_of(tmp_path / "out", name) for name in ("hpa", "rule tuned", "lower bound", "clairvoyant")
    )
    assert (len(hpa), len(lower), len(best)) == (3, 2, 1)
    assert [row.profile_sha256 for row in lower] == [row.profile_sha256 for row in hpa[:2]]
    assert lower[0].cost <= best[0].cost <= min(hpa[0].cost, rule[0].cost)
    summary = {row["method"]: row for row in result.document["summary"]}
    regret = np.mean([hpa[i].cost - lower[i].cost for i in (0, 1)])
    assert summary["hpa"]["regret"] == pytest.approx(regret)
    assert summary["hpa"]["regret_against"] == "lower bound"


def row(method, seed, sha256, **fields):
    return EpisodeRow(BURST, method, None, seed, sha256, cost=1.0, **fields)


def test_methods_that_did_not_face_the_same_load_are_named():
    rows = [row("a", 1, "x" * 64), row("a", 2, "y" * 64), row("b", 1, "x" * 64)]
    check_hashes([*rows, row("c", 2, "", failure="broke")])
    with pytest.raises(
        InputError, match="'a' and 'b' did not face the same load in episode 2 of podgym/FamilyB"
    ):
        check_hashes([*rows, row("b", 2, "z" * 64)])


def test_a_load_that_was_tampered_with_is_found(make_protocol, tmp_path):
    protocol = make_protocol()
    run_protocol(protocol, tmp_path / "out")
    file = sorted((tmp_path / "out" / "units").iterdir())[0]
    rows = read_rows(file)
    write_rows(file, [replace(rows[0], profile_sha256="0" * 64), *rows[1:]])
    with pytest.raises(InputError, match=r"did not face the same load in episode 210000"):
        run_protocol(protocol, tmp_path / "out", resume=True)


def test_folders_that_cannot_be_used(make_protocol, tmp_path):
    protocol = make_protocol(ControllerMethod("static"), episodes=1)
    run_protocol(protocol, tmp_path / "out")
    with pytest.raises(InputError, match="continue it with --resume"):
        run_protocol(protocol, tmp_path / "out")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        run_protocol(protocol, tmp_path / "file")
    with pytest.raises(InputError, match="processes is 0"):
        run_protocol(protocol, tmp_path / "other", processes=0)
    assert not (tmp_path / "other").exists()


def test_a_disk_that_is_full_leaves_no_half_file(make_protocol, tmp_path, monkeypatch):
    protocol = make_protocol()

    def full(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr("podgym.files.os.replace", full)
        with pytest.raises(InputError, match="No space left on device"):
            run_protocol(protocol, tmp_path / "out")
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    run_protocol(protocol, tmp_path / "out")


def test_rows_keep_every_bit(tmp_path):
    rows = [
        EpisodeRow(BURST, 'a, "b"', 3, 1, "x", cost=0.1 + 0.2, churn=float(np.nextafter(1.0, 2.0))),
        EpisodeRow(BURST, "b", None, 2, failure="line, of words"),
    ]
    back = read_rows(write_rows(tmp_path / "rows.csv", rows))
    assert repr(back) == repr(rows)
    assert read_rows(tmp_path / "none.csv") is None


def sleep_after_another_limit():
    with time_limit(0.3):
        with time_limit(5.0):
            pass
        time.sleep(5.0)


def test_an_alarm_that_was_set_before_is_put_back():
    with pytest.raises(TimeoutError, match=r"longer than 0\.3 s"):
        sleep_after_another_limit()
