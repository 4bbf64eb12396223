"""Live episodes of which something fails: the cluster is given back, and whoever can goes on."""

import json
import signal
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from oracles.policies import describe, random_policy
from oracles.simulated_live import HPA, STEPS, Opener, lines, plan, run

from podgym.agents.policy_file import save_policy
from podgym.baselines import make_controller
from podgym.envs.kubernetes.errors import AccessDeniedError, ClusterError
from podgym.errors import InputError
from podgym.eval.contenders import Contender, agent_contenders
from podgym.eval.episode import read_episode
from podgym.eval.live.load_command import parse_load
from podgym.eval.live.run import LiveRun
from podgym.eval.live.stopping import StopGate
from podgym.eval.live.tables import live_document, live_remarks


class Broken:
    name = "broken"

    def reset(self):
        pass

    def decide(self, observation):
        if observation.time_s > 60.0:
            raise ZeroDivisionError("mine")
        return make_controller("static").decide(observation)


def test_a_controller_that_fails_is_named_and_the_cluster_given_back(tmp_path, monkeypatch):
    monkeypatch.setattr("podgym.eval.live.plan.make_controller", lambda name, **options: Broken())
    opener = Opener()
    (failure,) = run(tmp_path, opener=opener).failures
    assert failure.reason.startswith("hpa failed in interval 6 of seed 4: ZeroDivisionError: mine")
    assert failure.recorded
    assert opener.opened[0].closed == 1
    assert len(lines(tmp_path / "hpa-seed4" / "decisions.jsonl")) == 5


@pytest.mark.parametrize("who", ["controller", "policy"])
def test_what_was_measured_before_a_failure_survives(who, tmp_path, monkeypatch):
    contender = HPA
    if who == "controller":
        monkeypatch.setattr("podgym.eval.live.plan.make_controller", lambda name, **options: Broken())
    else:
        policy, calls = random_policy(describe(changes={"action": {"quotas": False}})), []
        save_policy(policy, tmp_path / "mine.policy")
        (contender,) = agent_contenders([str(tmp_path / "mine.policy")], "podgym/Burst-v0")

        def act(*arguments, **fields):
            calls.append(1)
            if len(calls) > 5:
                raise ZeroDivisionError("mine")
            return original(*arguments, **fields)

        original = type(policy).act
        monkeypatch.setattr(type(policy), "act", act)
    opener = Opener()
    result = run(tmp_path / "out", contender, opener=opener)
    assert "failed in interval 6 of seed 4: ZeroDivisionError: mine" in result.failures[0].reason
    assert (len(result.episodes), result.aborted) == (1, None)
    assert opener.opened[0].closed == 1
    folder = tmp_path / "out" / f"{contender.label}-seed4"
    record = read_episode(folder / "live.parquet")
    assert (record.num_steps, record.metadata.controller) == (5, contender.label)
    assert record.metadata.workload == "measured on the cluster"
    assert {path.name for path in folder.iterdir()} - {"replayed.parquet", "simulated.parquet"} == {
        "decisions.jsonl", "live.parquet", "pods.csv", "run.json", "scrapes.csv", "series.csv"
    }  # fmt: skip
    document = json.loads((folder / "run.json").read_text())
    assert (document["intervals"], document["intervals_planned"]) == (5, STEPS)
    assert document["ended_because"].startswith(f"{contender.label} failed in interval 6 of seed 4: Zero")
    assert len(document["api_calls"]) == 2


def test_a_failure_in_the_first_interval_leaves_nothing_to_keep(tmp_path, monkeypatch):
    class Useless(Broken):
        def decide(self, observation):
            raise ZeroDivisionError("mine")

    monkeypatch.setattr("podgym.eval.live.plan.make_controller", lambda name, **options: Useless())
    result = run(tmp_path)
    assert (result.episodes, result.failures[0].recorded, result.aborted) == ((), False, None)
    assert "hpa failed in interval 1" in result.failures[0].reason
    assert [path.name for path in (tmp_path / "hpa-seed4").iterdir()] == ["decisions.jsonl"]


def test_a_cluster_that_denies_access_stops_the_run_but_not_the_record(tmp_path):
    denied = AccessDeniedError("patch deployments/scale in namespace demo")
    opener = Opener(raises=(9, denied))
    result = run(tmp_path, opener=opener, episodes=3)
    (episode,) = result.episodes
    assert episode.recording.record.num_steps == 8
    assert "patch deployments/scale" in episode.recording.notes.ended_because
    assert result.aborted == "permissions are missing: patch deployments/scale in namespace demo"
    assert [each.closed for each in opener.opened] == [1]
    result = run(tmp_path / "again", opener=Opener(raises=(1, denied)), episodes=3)
    assert not result.episodes
    assert "before its first interval was over: AccessDeniedError: patch" in result.aborted


def test_what_could_not_be_restored_is_said_after_everything_was_written(tmp_path):
    class Stuck(Opener):
        def __call__(self, *args, **fields):
            env = super().__call__(*args, **fields)

            def close():
                raise ClusterError("not restored: demo/web; do it later: podgym restore")

            env.close = close
            return env

    result = run(tmp_path, opener=Stuck(), episodes=3)
    assert result.aborted == "not restored: demo/web; do it later: podgym restore"
    assert len(result.episodes) == 1
    document = json.loads((tmp_path / "hpa-seed4" / "run.json").read_text())
    assert "podgym restore" in document["remarks"][0]


@pytest.mark.parametrize("broken", [ZeroDivisionError("mine"), TypeError("mine")])
def test_whatever_the_simulator_raises_is_a_remark(tmp_path, monkeypatch, broken):
    def fail(*args, **fields):
        raise broken

    monkeypatch.setattr("podgym.eval.live.run.run_beside", fail)
    result = run(tmp_path, episodes=2)
    assert len(result.episodes) == 2
    assert f"{type(broken).__name__}: mine" in result.episodes[0].recording.remarks[0]


def failing(name, calls):
    """Return a maker of controllers of which those called ``name`` fail in their third interval."""

    def make(called, **options):
        calls.append(called)
        return FailsLate() if called == name else make_controller(called, **options)

    return make


class FailsLate(Broken):
    def decide(self, observation):
        if observation.time_s >= 30.0:
            raise KeyError("mine")
        return make_controller("static").decide(observation)


def test_who_fails_does_not_end_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr("podgym.eval.live.plan.make_controller", failing("hpa", []))
    static, opener = Contender("static", "static"), Opener()
    result = run(tmp_path, HPA, static, opener=opener, episodes=2)
    assert result.aborted is None
    assert [(each.contender.label, each.seed, each.recorded) for each in result.failures] == [
        ("hpa", 4, True), ("hpa", 5, True)
    ]  # fmt: skip
    lengths = [(each.contender.label, each.recording.record.num_steps) for each in result.episodes]
    assert lengths == [("hpa", 2), ("static", STEPS), ("static", STEPS), ("hpa", 2)]
    assert [each.closed for each in opener.opened] == [1] * 4
    document = live_document(result, {})
    assert [each["controller"] for each in document["failures"]] == ["hpa", "hpa"]
    assert any("hpa, seed 4 ended after 2 of 20 intervals" in each for each in live_remarks(result))


def test_a_cluster_that_is_gone_ends_all_and_what_was_recorded_stays(tmp_path):
    class Gone(Opener):
        def __call__(self, *args, **fields):
            if self.opened:
                raise ClusterError("no route to the API server")
            return super().__call__(*args, **fields)

    result = run(tmp_path, opener=Gone(), episodes=4)
    assert len(result.episodes) == len(result.failures) == 1
    assert result.aborted == "hpa, seed 5: no route to the API server"
    assert live_remarks(result)[0] == "no recording of hpa, seed 5: no route to the API server."


def test_a_cluster_that_never_answers_is_no_result(tmp_path):
    def gone(*args, **fields):
        raise ClusterError("no route to the API server")

    with pytest.raises(ClusterError, match="no route"):
        LiveRun(plan(tmp_path), open_environment=gone).run()


def test_a_refusal_before_anything_began_is_bad_input_and_later_a_failure(tmp_path):
    class Refusing(Opener):
        def __call__(self, *args, **fields):
            if len(self.opened) == opened_before:
                self.opened.append(None)
                raise InputError("managed by an HPA")
            return super().__call__(*args, **fields)

    opened_before = 0
    with pytest.raises(InputError, match="managed by an HPA"):
        run(tmp_path / "a", opener=Refusing(), episodes=3)
    opened_before = 1
    result = run(tmp_path / "b", opener=Refusing(), episodes=3)
    assert [each.recording.record.metadata.seed for each in result.episodes] == [4, 6]
    assert [each.reason for each in result.failures] == ["hpa, seed 5: managed by an HPA"]
    assert result.aborted is None


@pytest.mark.parametrize("error", [RuntimeError("mine"), ClusterError("not restored: mine")])
def test_when_the_giving_back_fails_the_load_is_stopped_and_the_record_kept(tmp_path, monkeypatch, error):
    class Stuck(Opener):
        def __call__(self, *args, **fields):
            env = super().__call__(*args, **fields)

            def close():
                raise error

            env.close = close
            return env

    loads = []

    class Watched(subprocess.Popen):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            loads.append(self)

    monkeypatch.setattr("podgym.eval.live.load_command.subprocess.Popen", Watched)
    monkeypatch.setattr("podgym.eval.live.companions.FINISH_S", 0.0)
    load = parse_load(f"{sys.executable} -c 'import time; time.sleep(99)'")
    result = run(tmp_path, opener=Stuck(), load=load, episodes=2)
    assert len(result.episodes) == 1
    assert "not restored" in result.aborted
    assert "mine" in result.aborted
    assert not (tmp_path / "hpa-seed4" / "load.pgid").exists()
    assert len(loads) == 2  # the load, and who watches it
    assert all(process.returncode is not None for process in loads)  # ended, and waited for


def test_the_end_of_an_episode_is_noted_before_the_simulator_runs(tmp_path, monkeypatch):
    moments = []

    def late(*args, **fields):
        moments.append(datetime.now(UTC))
        raise InputError("too late")

    monkeypatch.setattr("podgym.eval.live.run.run_beside", late)
    (episode,) = run(tmp_path).episodes
    document = json.loads((episode.folder / "run.json").read_text())
    started, finished = (datetime.fromisoformat(document[name]) for name in ("started", "finished"))
    assert started < finished < moments[0]


def test_what_the_generator_says_of_itself_is_kept_and_a_remark(tmp_path, monkeypatch):
    monkeypatch.setattr("podgym.eval.live.companions.FINISH_S", 20.0)
    summary = {"asked": 100, "sent": 60, "failed": 3, "fell_behind": True, "settings": {"url": "x"}}
    script = tmp_path / "generator.py"
    text = json.dumps(summary)
    script.write_text(f"import pathlib, sys\npathlib.Path(sys.argv[1], 'load.json').write_text({text!r})")
    load = parse_load(f"{sys.executable} {script} {{output}}")
    (episode,) = run(tmp_path / "out", load=load).episodes
    document = json.loads((episode.folder / "run.json").read_text())
    assert document["load"]["generator"] == {"asked": 100, "sent": 60, "failed": 3, "fell_behind": True}
    assert any(
        "fell behind: of 100 requests that were due it sent 60" in each for each in document["remarks"]
    )


def test_hangups_that_nohup_ignores_stay_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    gate = StopGate()
    try:
        with gate.listening():
            signal.raise_signal(signal.SIGHUP)
        assert gate.received is None
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
