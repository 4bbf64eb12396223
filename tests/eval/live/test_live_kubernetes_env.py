"""Live evaluation through ``KubernetesEnv`` itself, with guard, custody and a monitoring that lags."""

import json

import numpy as np
import pytest
from oracles.simulated_backend import FakeClock, SimulatedBackend

from podgym.envs.config import override
from podgym.envs.kubernetes import KubernetesEnv, parse_settings
from podgym.envs.kubernetes.snapshot import ANNOTATION
from podgym.envs.workloads.traces import open_trace
from podgym.eval.contenders import Contender
from podgym.eval.live.agreement import MetricsView, agreement
from podgym.eval.live.plan import LivePlan, base_config
from podgym.eval.live.run import LiveRun

STEPS = 80
SEED = 5
QUIET = {"cluster": {"load": {"rate_noise_cv": 0.0}, "monitoring": {"sampling_noise": False}}}


class Backends:
    """Opens ``KubernetesEnv`` on a simulated backend, by a clock that tests turn."""

    def __init__(self):
        self.opened = []

    def __call__(self, settings, *, planner, forecaster, changes):
        clock = FakeClock()
        problem = override(override(base_config(settings), QUIET), {"episode_s": 2.0 * changes["episode_s"]})
        backend = SimulatedBackend(problem, SEED, clock)
        self.opened.append(backend)
        return KubernetesEnv(
            settings, api=backend, metrics=backend, clock=clock, planner=planner, forecaster=forecaster,
            **changes,
        )  # fmt: skip


def run(folder, *contenders, **fields):
    settings = parse_settings(
        {
            "environment": "podgym/FamilyBurst-v0",
            "services": {"web": {"namespace": "demo"}},
            "metrics": {"url": "http://nowhere", "history_s": 0.0, "window_s": 30.0},
            **fields,
        }
    )
    backends = Backends()
    plan = LivePlan("cluster x", settings, contenders, folder, STEPS * 15.0, pause_s=0.0)
    return LiveRun(plan, open_environment=backends).run(), backends.opened


HPA = Contender("hpa", "hpa")


def test_an_episode_is_measured_given_back_and_predicted(tmp_path):
    result, (backend,) = run(tmp_path, HPA)
    (episode,) = result.episodes
    record = episode.recording.record
    assert record.num_steps == STEPS
    assert len(set(record.columns["replicas_wanted"][:, 0])) > 3
    assert ANNOTATION not in backend.annotations
    found = backend.deployment("demo", "web").replicas
    assert found == episode.recording.config.cluster.services[0].initial_replicas
    errors = {each.quantity: each for each in episode.recording.agreements["replayed"]}
    # The world is the one that is believed in. What is left is the monitoring, whose means over 30 s lag, and
    # pods that were not scraped yet, under a load that bursts.
    assert errors["replicas_ready"].mean_absolute_percentage_error < 3.0
    assert abs(errors["replicas_ready"].bias) < 0.02 * errors["replicas_ready"].observed
    assert errors["cpu_utilisation"].predicted == pytest.approx(errors["cpu_utilisation"].observed, rel=0.05)
    # Through the window of the monitoring it is this near; the intervals themselves are 6 % off.
    assert errors["response_time_s"].mean_absolute_percentage_error < 2.0
    assert errors["response_time_s"].intervals > STEPS - 4
    trace = open_trace(episode.folder / "series.csv", part="all")
    assert trace.max_duration_s == pytest.approx(STEPS * 15.0, abs=15.0)


def test_what_the_guard_held_back_is_what_is_replayed(tmp_path):
    result, _ = run(tmp_path, HPA, safety={"allow_scale_up": False})
    (episode,) = result.episodes
    wanted = episode.recording.record.columns["replicas_wanted"][:, 0]
    assert wanted.max() == wanted[0]
    entries = [json.loads(line) for line in (episode.folder / "decisions.jsonl").read_text().splitlines()]
    held = [each for each in entries if "disabled_up" in each["carried_out"][0]["reasons"]]
    assert held
    assert all(each["carried_out"][0]["replicas_asked"] > wanted[0] for each in held)
    np.testing.assert_array_equal(episode.beside.replayed.columns["replicas_wanted"][:, 0], wanted)
    assert episode.beside.alone.columns["replicas_wanted"].max() > wanted[0]


def test_whoever_only_watches_writes_nothing(tmp_path):
    result, (backend,) = run(tmp_path, Contender("cluster", "cluster"))
    assert backend.writes == []
    assert result.episodes[0].recording.settings.mode == "shadow"


def test_errors_are_those_of_the_record(tmp_path):
    (episode,) = run(tmp_path, HPA)[0].episodes
    view = MetricsView(window_s=30.0, age_s=episode.recording.notes.age_s)
    assert 0.0 < view.age_s <= 15.0
    again = agreement([(episode.recording.record, episode.beside.replayed)], [view])
    assert again == episode.recording.agreements["replayed"]
    document = json.loads((episode.folder / "run.json").read_text())
    assert document["simulated"]["replayed"][0]["predicted"] == pytest.approx(again[0].predicted)
    assert document["api_calls"]["most_in_an_interval"] <= 12
