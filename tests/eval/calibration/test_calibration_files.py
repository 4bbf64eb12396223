"""Recordings on disk: the folder of a live run, and what is wrong with one."""

import dataclasses
import json

import numpy as np
import pytest

from podgym.envs import scenarios
from podgym.envs.cluster import ServiceDecision
from podgym.envs.env import AutoscaleEnv
from podgym.errors import InputError
from podgym.eval.calibration import (
    LoggedController,
    RecordedDecisions,
    RunLog,
    read_recording,
    recorded_configuration,
    write_recording,
)


@pytest.fixture
def folder(long_run, tmp_path):
    return write_recording(tmp_path / "run", long_run)


def test_a_recording_comes_back_from_its_folder(long_run, folder):
    back = read_recording(folder)
    assert back.pods == long_run.pods
    assert len(back.scrapes) == len(long_run.scrapes)
    for own, other in zip(back.scrapes, long_run.scrapes, strict=True):
        assert own.time_s == pytest.approx(other.time_s, abs=1e-3)
        assert own.sample_time_s == pytest.approx(other.sample_time_s, abs=1e-3)
    for name, values in long_run.record.columns.items():
        np.testing.assert_array_equal(back.record.columns[name], values)
    assert not back.live


def test_settings_of_a_live_run_are_read(folder):
    settings = {
        "environment": "podgym/HighLoad-v0",
        "changes": {"cluster": {"services": {"web": {"max_replicas": 9}}}},
        "metrics": {"window_s": 20.0, "url": "http://somewhere"},
    }
    (folder / "run.json").write_text(json.dumps({"settings": settings}), encoding="utf-8")
    recording = read_recording(folder)
    assert recording.live
    assert recording.window_s == 20.0
    config = recorded_configuration(recording)
    assert config.workload == "high_load"
    assert config.cluster.services[0].max_replicas == 9
    assert config.cluster.services[0].parameters.start_up_s == 15.0  # as stamped on the record


def test_another_environment_brings_its_own_constants(folder):
    config = recorded_configuration(read_recording(folder), "podgym/HighLoad-v0", {"cluster.tick_s": 0.5})
    assert config.cluster.services[0].parameters.start_up_s == 10.0
    assert config.cluster.tick_s == 0.5
    with pytest.raises(InputError, match=r"Did you mean 'podgym/HighLoad-v0'"):
        recorded_configuration(read_recording(folder), "podgym/HighLod-v0")
    with pytest.raises(InputError, match="has the service 'web'"):
        recorded_configuration(read_recording(folder), "podgym/Boutique-v0")


def test_rows_that_are_not_complete_are_left_out(folder):
    (folder / "pods.csv").write_text(
        "service,pod,start_s,ready_s\nweb,a,1.0,\nweb,b,,5\nweb,c,2,nan\nweb,d,2.0,9.0\n", encoding="utf-8"
    )
    pods = read_recording(folder).pods
    assert [(pod.pod, pod.start_s, pod.ready_s) for pod in pods] == [("d", 2.0, 9.0)]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("pods.csv", "service,pod,ready_s\n", "start_s is missing"),
        ("scrapes.csv", "service,time_s,sample_time_s\nwep,1,2\n", "Did you mean 'web'"),
        ("run.json", "{", "is not JSON"),
        ("live.parquet", "no", "not a readable parquet file"),
    ],
)
def test_broken_files_are_named(folder, file, content, message):
    (folder / file).write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        read_recording(folder)
    assert file in str(caught.value)


def test_what_is_no_recording(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds no live\.parquet"):
        read_recording(tmp_path / "empty")
    with pytest.raises(InputError, match="there is no file"):
        read_recording(tmp_path / "missing.parquet")
    assert read_recording(folder / "live.parquet").pods == ()


def test_the_folder_of_an_evaluation_stands_for_its_only_episode(folder, tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "results.json").write_text("{}", encoding="utf-8")
    recording = read_recording(tmp_path)
    assert recording.label == str(folder)
    assert len(recording.pods) == len(read_recording(folder).pods) > 0


def test_of_several_episodes_one_has_to_be_named(long_run, folder, tmp_path):
    other = write_recording(tmp_path / "hpa-seed1", long_run)
    with pytest.raises(InputError, match="holds 2 episodes; name one of them") as caught:
        read_recording(tmp_path)
    assert f"{other}, {folder}" in str(caught.value)
    assert read_recording(other).label == str(other)


def test_the_log_notes_what_observations_show():
    class Growing:
        name = "growing"

        def reset(self):
            self.wanted = 3

        def decide(self, observation):
            self.wanted += 1
            return (ServiceDecision(replicas=self.wanted),)

    env = AutoscaleEnv(dataclasses.replace(scenarios.low_load(), episode_s=300.0))
    controller = LoggedController(Growing())
    env.reset(seed=1)
    controller.reset()
    for _ in range(10):
        env.step_decisions(controller.decide(env.observe()))
    controller.log.note(env.observe())
    started = [pod for pod in controller.log.pods if pod.start_s >= 0.0]
    truth = {pod.name: pod for pod in env.observe().services[0].pods if pod.ready}
    assert controller.name == "growing"
    assert len(started) >= 5
    for pod in started:
        assert (pod.start_s, pod.ready_s) == (
            truth[pod.pod].start_time_s,
            truth[pod.pod].ready_transition_time_s,
        )
    assert all(sight.sample_time_s <= sight.time_s - 2.0 for sight in controller.log.scrapes)
    controller.reset()
    assert controller.log.pods == ()


def test_the_first_readiness_counts_not_a_later_flap():
    env = AutoscaleEnv(dataclasses.replace(scenarios.low_load(), episode_s=60.0))
    env.reset(seed=1)
    seen = env.observe()
    log = RunLog()
    for time_s, ready_s in ((15.0, 12.0), (30.0, 29.0)):
        pods = tuple(
            dataclasses.replace(pod, start_time_s=2.0, ready_transition_time_s=ready_s)
            for pod in seen.services[0].pods
        )
        service = dataclasses.replace(seen.services[0], pods=pods)
        log.note(dataclasses.replace(seen, time_s=time_s, services=(service,)))
    assert {(pod.start_s, pod.ready_s) for pod in log.pods} == {(2.0, 12.0)}
    assert log.scrapes == ()  # nothing was scraped yet


def test_recorded_decisions_come_at_their_time(long_run):
    class Moment:
        services = (None,)

        def __init__(self, time_s):
            self.time_s = time_s

    decisions = RecordedDecisions(long_run)
    wanted = long_run.record.columns["replicas_wanted"][:, 0]
    for step in (0, 1, 17, 359):
        decided = decisions.decide(Moment(15.0 * step))[0]
        assert decided.replicas == wanted[step]
        assert (decided.cpu_request_cores, decided.cpu_limit_cores) == (0.5, 0.5)
    assert decisions.decide(Moment(1e6))[0].replicas == wanted[-1]
