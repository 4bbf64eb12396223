"""Live episodes from end to end on a simulated cluster: files, ends, signals, loads that fail."""

import json
import signal
import sys
from dataclasses import replace

import numpy as np
import pytest
from oracles.policies import describe, random_policy
from oracles.simulated_live import HPA, ITSELF, STEPS, Opener, lines, live_settings, plan, raising, run

from podgym.agents.policy_file import save_policy
from podgym.envs.workloads.traces import open_trace
from podgym.errors import InputError
from podgym.eval.contenders import Contender, agent_contenders
from podgym.eval.episode import read_episode
from podgym.eval.live.load_command import parse_load
from podgym.eval.live.plan import base_config, named_by_mode
from podgym.eval.live.stopping import StopGate, Stopped
from podgym.eval.live.tables import all_agreements, live_document, live_groups, live_remarks


def test_an_episode_is_written_down_and_can_be_read_back(tmp_path):
    opener = Opener()
    result = run(tmp_path, opener=opener)
    (episode,) = result.episodes
    folder = tmp_path / "hpa-seed4"
    assert episode.folder == folder
    assert result.stopped is None
    assert [each.closed for each in opener.opened] == [1]
    record = read_episode(folder / "live.parquet")
    assert record.num_steps == STEPS
    np.testing.assert_array_equal(record.columns["completed"], episode.recording.record.columns["completed"])
    assert (record.metadata.environment, record.metadata.controller) == ("cluster x", "hpa")
    trace = open_trace(folder / "series.csv", part="all")
    np.testing.assert_allclose(trace.rates_rps, episode.recording.profile.values)
    assert trace.step_s == episode.recording.profile.step_s
    assert trace.rate_derivation == "rate_rps in requests/s"


def test_run_json_says_what_ran_and_holds_no_secret(tmp_path, monkeypatch):
    monkeypatch.setattr("podgym.eval.live.companions.FINISH_S", 0.0)
    command = f"{sys.executable} -c 'import time; time.sleep(60)' --token s3cret --header=Bearer-x https://u:p@h/a?k=v"
    run(tmp_path, load=parse_load(command))
    text = (tmp_path / "hpa-seed4" / "run.json").read_text()
    document = json.loads(text)
    for secret in ("hunter2", "abc", "s3cret", "Bearer-x", "u:p", "k=v"):
        assert secret not in text
    assert document["settings"]["metrics"]["url"] == "http://prometheus.example:9090/p"
    assert document["settings"]["metrics"]["token_file"] == "/t"
    assert document["load"]["command"][-4:] == ["--token", "***", "--header=***", "https://h/a"]
    assert (document["intervals"], document["intervals_planned"], document["mode"]) == (STEPS, STEPS, "act")
    assert document["problems"] == [{"interval": 2, "text": "request_rate_rps: no data"}]
    assert document["api_calls"] == {"total": 2 * STEPS, "most_in_an_interval": 2}
    assert document["lateness"] == {
        "late_intervals": STEPS - 6, "mean_s": pytest.approx(0.125 * (STEPS + 1)), "largest_s": 0.25 * STEPS
    }  # fmt: skip
    assert document["simulated"]["replayed"][0]["quantity"] == "replicas_ready"
    assert document["versions"]["podgym"]
    assert any(each["name"] == "cluster.nodes.count" for each in document["constants"])


def test_decisions_are_written_as_they_are_made(tmp_path):
    opener = Opener()
    (episode,) = run(tmp_path, opener=opener).episodes
    entries = lines(tmp_path / "hpa-seed4" / "decisions.jsonl")
    assert [entry["interval"] for entry in entries] == list(range(1, STEPS + 1))
    wanted = episode.recording.record.columns["replicas_wanted"][:, 0]
    decided = [(n, e["decisions"]["web"]["replicas"]) for n, e in enumerate(entries) if e["decisions"]["web"]]
    assert decided
    assert all(wanted[n] == replicas for n, replicas in decided)
    assert entries[1]["problems"] == ["request_rate_rps: no data"]
    assert entries[0]["carried_out"] == [{"service": "web", "reasons": ["down_window"]}]


def test_pods_and_scrapes_are_written_for_the_calibration(tmp_path):
    run(tmp_path)
    pods = (tmp_path / "hpa-seed4" / "pods.csv").read_text().splitlines()
    assert pods[0] == "service,pod,start_s,ready_s"
    rows = [row.split(",") for row in pods[1:]]
    assert len({row[1] for row in rows}) == len(rows) > 3
    start_up = base_config(live_settings()).cluster.services[0].parameters.start_up_s
    lives = [float(ready) - float(start) for _, _, start, ready in rows if float(start or -1) > 0 and ready]
    assert lives
    assert np.mean(lives) == pytest.approx(start_up, rel=0.5)
    scrapes = (tmp_path / "hpa-seed4" / "scrapes.csv").read_text().splitlines()
    assert scrapes[0] == "service,time_s,sample_time_s"
    ages = [float(t) - float(s) for _, t, s in (row.split(",") for row in scrapes[1:]) if s]
    assert len(scrapes) == STEPS + 2
    assert min(ages) >= 2.0  # the scrape delay of the simulated monitoring
    assert scrapes[1] == "web,0.0,"


def test_contenders_take_turns_and_each_opens_the_cluster_anew(tmp_path):
    opener, pauses = Opener(), []
    static = Contender("static 6", "static", {"replicas": 6})
    result = run(tmp_path, HPA, static, opener=opener, episodes=2, pause_s=1000.0, sleep=pauses.append)
    names = [(each.contender.label, each.recording.record.metadata.seed) for each in result.episodes]
    assert names == [("hpa", 4), ("static 6", 4), ("static 6", 5), ("hpa", 5)]
    assert [(each.resets, each.closed) for each in opener.opened] == [(1, 1)] * 4
    assert len(pauses) == 3
    assert all(900.0 < pause <= 1000.0 for pause in pauses)
    assert {path.name for path in tmp_path.iterdir()} == {
        "hpa-seed4", "hpa-seed5", "static-6-seed4", "static-6-seed5"
    }  # fmt: skip


def test_rows_are_live_then_replayed_then_simulated(tmp_path):
    contenders = (HPA, ITSELF)
    result = run(tmp_path, *contenders, opener=Opener(foreign=[4, 7]), episodes=2)
    groups = live_groups(result, contenders)
    names = [[each.metadata.controller for each in group] for group in groups]
    assert names == [["hpa"] * 2, ["hpa replayed"] * 2, ["hpa simulated"] * 2, ["cluster"] * 2,
                     ["cluster replayed"] * 2]  # fmt: skip
    agreements = all_agreements(result, contenders)
    assert set(agreements) == {("hpa", "replayed"), ("hpa", "simulated"), ("cluster", "replayed")}
    assert agreements["hpa", "replayed"][0].intervals == 2 * STEPS
    document = live_document(result, agreements)
    assert len(document["predicted_against_observed"]) == 9
    assert document["recordings"][0]["folder"] == str(tmp_path / "hpa-seed4")
    assert any("problems in 1 of 20 intervals" in each for each in live_remarks(result))


def test_the_autoscaler_in_the_cluster_is_watched_in_shadow_mode(tmp_path):
    opener = Opener(foreign=[5])
    run(tmp_path, ITSELF, HPA, opener=opener, settings=live_settings(take_over=True))
    assert [(each.mode, each.take_over) for each in opener.settings] == [("shadow", False), ("act", True)]


@pytest.mark.parametrize(("trained_with", "allowed"), [(28, 8), (20, 8), (50, 20), (20, None)])
def test_a_policy_keeps_the_scale_of_its_training_within_the_bounds_of_the_cluster(
    tmp_path, trained_with, allowed
):
    web = {"web": {"max_replicas": trained_with}}
    save_policy(random_policy(describe(changes={"cluster": {"services": web}})), tmp_path / "mine.policy")
    contenders = agent_contenders([str(tmp_path / "mine.policy")], "podgym/Burst-v0")
    settings = live_settings(services={"web": {"max_replicas": allowed} if allowed else {}})
    opener = Opener()
    result = run(tmp_path / "out", *contenders, opener=opener, settings=settings)
    changed = opener.changes[0]["cluster"]["services"]["web"]
    assert changed["scale_replicas"] == trained_with
    (episode,) = result.episodes
    assert episode.recording.record.columns["replicas_wanted"].max() <= (allowed or trained_with)


def test_a_policy_decides_with_its_own_observation_and_actions(tmp_path):
    policy = random_policy(describe(changes={"action": {"quotas": False}, "observation": {"lags": 4}}))
    save_policy(policy, tmp_path / "mine.policy")
    contenders = agent_contenders([str(tmp_path / "mine.policy")], "podgym/Burst-v0")
    opener = Opener()
    result = run(tmp_path / "out", *contenders, opener=opener)
    (episode,) = result.episodes
    assert opener.changes[0]["observation"].lags == 4
    assert not opener.changes[0]["action"].quotas
    assert episode.recording.record.metadata.controller_options["policy"] == "mine.policy"
    np.testing.assert_array_equal(
        episode.beside.alone.columns["replicas_wanted"],
        episode.recording.record.columns["replicas_wanted"],
    )
    assert len(lines(episode.folder / "decisions.jsonl")[0]["action"]) == 1


def test_an_episode_that_the_cluster_ended_counts_as_far_as_it_went(tmp_path):
    opener = Opener(ends_after=7)
    result = run(tmp_path, opener=opener)
    (episode,) = result.episodes
    assert episode.recording.record.num_steps == 7
    assert opener.opened[0].closed == 1
    document = json.loads((episode.folder / "run.json").read_text())
    assert document["ended_because"] == "demo/web: the Deployment was deleted"
    assert live_remarks(result)[0].startswith("hpa, seed 4 ended after 7 of 20 intervals: demo/web")
    assert episode.beside.replayed.num_steps == 7


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.usefixtures("hangup_is_not_ignored")
def test_a_signal_ends_the_episode_gives_back_the_cluster_and_keeps_what_was_measured(tmp_path, number):
    opener, before = Opener(raises=(6, raising(number))), signal.getsignal(number)
    result = run(tmp_path, opener=opener, episodes=3)
    assert result.stopped == number
    assert [each.closed for each in opener.opened] == [1]
    assert signal.getsignal(number) is before
    (episode,) = result.episodes
    assert read_episode(episode.folder / "live.parquet").num_steps == 5
    document = json.loads((episode.folder / "run.json").read_text())
    assert document["ended_because"] == signal.Signals(number).name
    assert len(lines(episode.folder / "decisions.jsonl")) == 5


def test_what_was_finished_before_a_signal_is_a_result_and_what_it_cut_short_is_not(tmp_path):
    class Later(Opener):
        def __call__(self, *args, **fields):
            self.options = {"raises": (6, raising(signal.SIGTERM))} if len(self.opened) == 2 else {}
            return super().__call__(*args, **fields)

    result = run(tmp_path, opener=Later(), episodes=4)
    assert [each.recording.record.num_steps for each in result.episodes] == [STEPS, STEPS, 5]
    assert result.finished.episodes == result.episodes[:2]
    groups = live_groups(result.finished, (HPA,))
    assert [[each.num_steps for each in group] for group in groups] == [
        [STEPS] * 2
    ] * 3  # simulated ones, too
    document = live_document(result, all_agreements(result.finished, (HPA,)))
    assert document["stopped"] == "SIGTERM"
    assert [each["ended_because"] for each in document["recordings"]] == [None, None, "SIGTERM"]
    assert {each["simulator"] for each in document["predicted_against_observed"]} == {"replayed", "simulated"}
    remarks = live_remarks(result)
    assert remarks[0] == "stopped by SIGTERM: rows are of the episodes that were over."
    assert "hpa, seed 6 ended after 5 of 20 intervals: SIGTERM." in remarks


def test_an_episode_that_was_over_when_the_signal_came_is_finished(tmp_path):
    def stop(_):
        signal.raise_signal(signal.SIGTERM)

    result = run(tmp_path, episodes=2, pause_s=1e3, sleep=stop)
    assert result.stopped == signal.SIGTERM
    assert result.finished.episodes == result.episodes
    assert len(result.episodes) == 1


def test_nothing_is_left_out_where_no_signal_came(tmp_path):
    result = run(tmp_path, opener=Opener(ends_after=7))
    assert result.finished is result
    assert live_document(result, {})["stopped"] is None


def test_a_signal_in_the_first_interval_leaves_no_record_but_gives_back_the_cluster(tmp_path):
    opener = Opener(raises=(1, raising(signal.SIGTERM)))
    result = run(tmp_path, opener=opener)
    assert (result.episodes, result.stopped) == ((), signal.SIGTERM)
    assert opener.opened[0].closed == 1


def test_a_signal_in_the_pause_ends_it(tmp_path):
    opener = Opener()
    result = run(
        tmp_path, opener=opener, episodes=2, pause_s=1e3, sleep=lambda s: signal.raise_signal(signal.SIGTERM)
    )
    assert len(result.episodes) == len(opener.opened) == 1
    assert result.stopped == signal.SIGTERM


def test_a_second_signal_does_not_cut_short_the_giving_back(tmp_path):
    class Slow(Opener):
        def __call__(self, *args, **fields):
            env = super().__call__(*args, **fields)
            close = env.close

            def impatient():
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGTERM)
                close()

            env.close = impatient
            return env

    opener = Slow(raises=(6, raising(signal.SIGTERM)))
    assert run(tmp_path, opener=opener).stopped == signal.SIGTERM
    assert opener.opened[0].closed == 1


def test_a_second_signal_does_not_cut_short_what_a_step_clears_up(tmp_path):
    cleared = []

    def step():
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGINT)
            cleared.append(True)

    assert run(tmp_path, opener=Opener(raises=(6, step))).stopped == signal.SIGTERM
    assert cleared == [True]


def test_a_gate_lets_a_signal_through_only_where_it_is_open():
    gate = StopGate()
    with gate.listening():
        signal.raise_signal(signal.SIGTERM)  # remembered
        assert gate.received == signal.SIGTERM
        with pytest.raises(Stopped), gate.interruptible():
            pytest.fail("a signal that came before ends the next thing that may be ended")


def test_a_recording_is_never_written_over(tmp_path):
    run(tmp_path)
    before = (tmp_path / "hpa-seed4" / "run.json").read_bytes()
    opener = Opener()
    with pytest.raises(InputError, match="holds a recording already"):
        run(tmp_path, opener=opener)
    assert not opener.opened
    assert (tmp_path / "hpa-seed4" / "run.json").read_bytes() == before
    with pytest.raises(InputError, match="two contenders would write"):
        run(tmp_path / "b", Contender("a b", "hpa"), Contender("a-b", "hpa"))


def test_the_simulator_cannot_spoil_what_was_measured(tmp_path, monkeypatch):
    def broken(*args, **fields):
        raise InputError("no such thing")

    monkeypatch.setattr("podgym.eval.live.run.run_beside", broken)
    result = run(tmp_path)
    (episode,) = result.episodes
    assert episode.beside is None
    assert "the simulator could not be run beside: no such thing" in live_remarks(result)[-1]
    assert len(live_groups(result, (HPA,))) == 1
    assert "no such thing" in (episode.folder / "run.json").read_text()


def test_without_restoring_only_one_episode_can_run(tmp_path):
    kept = live_settings(restore=False)
    with pytest.raises(InputError, match=r"these are 2: .*Set restore: true, or run one method"):
        plan(tmp_path, episodes=2, settings=kept)
    with pytest.raises(InputError, match="restore: false goes with a single episode"):
        plan(tmp_path, HPA, ITSELF, settings=kept)
    assert plan(tmp_path, settings=kept).jobs() == [(HPA, 4)]
    assert plan(tmp_path, episodes=2, settings=replace(kept, mode="shadow")).episodes == 2


def test_everybody_has_every_place_in_the_order(tmp_path):
    contenders = tuple(Contender(name, "static") for name in "abc")
    order = [each.label for each, _ in plan(tmp_path, *contenders, episodes=4).jobs()]
    assert "".join(order) == "abcbcacababc"


def test_labels_say_that_a_decision_has_no_effect():
    assert [each.label for each in named_by_mode((HPA, ITSELF), "shadow")] == ["hpa (shadow)", "cluster"]
    assert [each.label for each in named_by_mode((HPA,), "dry_run")] == ["hpa (dry run)"]
    assert named_by_mode((HPA,), "act") == (HPA,)


@pytest.mark.parametrize("mode", ["act", "shadow"])
def test_who_decides_without_an_effect_is_not_compared_by_itself(tmp_path, mode):
    result = run(tmp_path, settings=live_settings(mode=mode), opener=Opener(foreign=[5]))
    expected = {"replayed", "simulated"} if mode == "act" else {"replayed"}
    assert set(result.episodes[0].recording.agreements) == expected
    assert {how for _, how in all_agreements(result, (HPA,))} == expected


@pytest.mark.parametrize(
    ("fields", "words"),
    [({"seed": -1}, "seed is -1"), ({"episodes": 0}, "episodes is 0"),
     ({"episode_s": 3.0}, "an episode of 3 s"), ({"episode_s": float("nan")}, "an episode of nan s"),
     ({"pause_s": -1.0}, "a pause of -1 s"),
     ({"settings": live_settings("podgym/Brst-v0")}, "Did you mean 'podgym/Burst-v0'"),
     ({"settings": live_settings(changes={"rewrd": {}})}, "Did you mean 'reward'"),
     ({"settings": live_settings(services={"wob": {}})}, "Did you mean 'web'")],
)  # fmt: skip
def test_a_plan_that_cannot_work_is_refused(tmp_path, fields, words):
    with pytest.raises(InputError, match=words):
        plan(tmp_path, **fields)


def test_nobody_knows_the_future_of_a_real_cluster(tmp_path):
    with pytest.raises(InputError, match="nobody knows the future"):
        run(tmp_path, forecaster="oracle")


def test_bounds_of_the_settings_are_those_of_the_environment():
    settings = live_settings(services={"web": {"min_replicas": 8, "max_replicas": 9}})
    (service,) = base_config(settings).cluster.services
    assert (service.min_replicas, service.initial_replicas, service.max_replicas) == (8, 8, 9)


def test_curves_hold_what_was_measured(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (episode,) = run(tmp_path, tensorboard=True).episodes
    events = EventAccumulator(str(episode.folder / "tensorboard"))
    events.Reload()
    ready = [each.value for each in events.Scalars("web/replicas_ready")]
    assert ready == episode.recording.record.columns["replicas_ready"][:, 0].tolist()
    assert [each.step for each in events.Scalars("live/reward")] == list(range(1, STEPS + 1))
    assert "torch" not in str(sorted(events.Tags()["scalars"]))


def test_shadow_mode_reaches_the_environment(tmp_path):
    opener = Opener()
    run(tmp_path, opener=opener, settings=replace(live_settings(), mode="shadow"))
    assert opener.settings[0].mode == "shadow"
