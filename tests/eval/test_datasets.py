"""Datasets in Minari's format: written, loaded by Minari, and made again to the last bit."""

import copy
import importlib.util
import json
import os

import gymnasium as gym
import numpy as np
import pytest
from oracles.policies import short_config

from podgym.agents.description import PlannerSpec
from podgym.baselines import make_controller
from podgym.envs.config import override
from podgym.envs.make import scenario_config
from podgym.errors import InputError
from podgym.eval import datasets
from podgym.eval.datasets import (
    Source,
    check_name,
    config_changes,
    dataset_environment,
    datasets_root,
    load_dataset,
    write_dataset,
)
from podgym.eval.runner import make_environment
from podgym.eval.transitions import KEPT_INFOS, record_transitions, replay
from podgym.files import to_json

minari = pytest.importorskip("minari")
NAME = "mine/Burst/test-v0"


def recorded(controller="hpa", forecaster=None, seeds=(3, 8), options=None, **changes):
    """Return source and episodes of a controller on short bursts."""
    config = short_config(**changes)
    decider = make_controller(controller, **(options or {}))
    env = make_environment(config, decider, forecaster)
    planner = PlannerSpec(controller, options or {}) if hasattr(decider, "planner") else None
    source = Source(
        "podgym/Burst-v0", env.config, controller, {"options": options or {}}, planner=planner,
        forecaster=forecaster or "naive", forecast_shown=forecaster is not None, command="podgym dataset ...",
    )  # fmt: skip
    return source, [record_transitions(env, decider, seed) for seed in seeds]


def assert_same(loaded, fresh):
    """Compare an episode as Minari gives it with transitions, bit by bit."""
    for name in ("observations", "actions", "rewards", "terminations", "truncations"):
        kept, made = getattr(loaded, name), getattr(fresh, name)
        assert kept.dtype == made.dtype
        assert kept.shape == made.shape
        assert kept.tobytes() == made.tobytes(), name
    assert set(loaded.infos) == set(KEPT_INFOS)
    for key in KEPT_INFOS:
        assert loaded.infos[key].tobytes() == fresh.infos[key].tobytes(), key


@pytest.mark.parametrize(
    "case",
    [
        {},
        {"controller": "lstm_ga", "forecaster": "oracle", "options": {"preset": "slo_cost"}},
        {"controller": "random", "options": {"seed": 1}, "action": {"mode": "continuous"}},
        {
            "cluster": {"services": {"web": {"max_replicas": 20}}, "faults": {"node_failures_per_hour": 9.0}},
            "action": {"replica_steps": [-2, 0, 2], "quotas": False},
            "randomisation": {"cpu_demand": [0.7, 1.4]},
            "workload_options": {"user_variation": 0.2},
            "reward": {"weights": {"churn": -3.0}},
        },
    ],
    ids=["plain", "planned", "continuous", "changed"],
)
def test_loaded_by_minari_and_made_again(tmp_path, monkeypatch, case):
    source, episodes = recorded(**case)
    registered = copy.deepcopy(gym.spec(source.environment))
    write_dataset(tmp_path, NAME, source, iter(episodes))
    assert gym.spec(source.environment) == registered  # what others make is what it was
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    assert list(minari.list_local_datasets()) == [NAME]
    dataset = minari.load_dataset(NAME)
    assert dataset.total_episodes == 2
    assert dataset.total_steps == 80
    env = dataset_environment(dataset)
    assert dataset.observation_space == env.observation_space
    assert dataset.action_space == env.action_space
    metadata = list(dataset.storage.get_episode_metadata([0, 1]))
    for loaded, kept, about in zip(dataset, episodes, metadata, strict=True):
        assert_same(loaded, kept)
        assert_same(loaded, replay(env, loaded.actions, about["seed"]))
        assert about["load_sha256"] == kept.load_sha256
        assert about["return"] == kept.rewards.sum()


def test_the_environment_that_minari_recovers_has_the_same_spaces_and_load(tmp_path):
    source, episodes = recorded(action={"quotas": False}, cluster={"nodes": {"count": 7}})
    write_dataset(tmp_path, NAME, source, episodes)
    env = load_dataset(tmp_path, NAME).recover_environment().unwrapped
    assert env.config == source.config
    assert replay(env, episodes[0].actions, 3).rewards.tolist() == episodes[0].rewards.tolist()


def test_the_metadata_tell_what_made_it(tmp_path):
    source, episodes = recorded("lstm_ga", "oracle", options={"seed": 4}, cluster={"nodes": {"count": 7}})
    write_dataset(tmp_path, NAME, source, episodes)
    metadata = load_dataset(tmp_path, NAME).storage.metadata
    assert metadata["algorithm_name"] == "lstm_ga"
    assert metadata["requirements"][0].startswith("podgym==")
    assert "dataset_environment" in metadata["description"]
    entry = metadata["podgym"]
    assert entry["environment"] == "podgym/Burst-v0"
    assert entry["changes"] == {"cluster": {"nodes": {"count": 7}}, "episode_s": 600}
    assert entry["configuration"]["cluster"]["nodes"]["count"] == 7
    assert entry["decided_by"] == {"name": "lstm_ga", "options": {"seed": 4}}
    assert entry["planner"] == {"controller": "lstm_ga", "options": {"seed": 4}}
    assert entry["forecaster"] == "oracle"
    assert set(entry["versions"]) >= {"podgym", "numba", "numpy", "python"}
    assert any(each["name"] == "cluster.nodes.count" for each in entry["constants"])
    assert entry["mean_return"] == np.mean([each.rewards.sum() for each in episodes])


def test_written_whole_or_not_at_all(tmp_path, monkeypatch):
    source, episodes = recorded()

    def broken():
        yield episodes[0]
        raise InputError("the second episode failed")

    monkeypatch.setenv("MINARI_DATASETS_PATH", "elsewhere")
    for content, words in ((broken(), "second episode"), (iter(()), "one episode or more")):
        with pytest.raises(InputError, match=words):
            write_dataset(tmp_path, NAME, source, content)
        assert os.listdir(tmp_path) == []
    assert os.environ["MINARI_DATASETS_PATH"] == "elsewhere"
    write_dataset(tmp_path, NAME, source, episodes)
    before = (tmp_path / NAME / "data" / "metadata.json").read_bytes()
    with pytest.raises(
        InputError, match=r"there is a dataset mine/Burst/test-v0 .*such as mine/Burst/test-v1"
    ):
        write_dataset(tmp_path, NAME, source, episodes[:1])
    assert (tmp_path / NAME / "data" / "metadata.json").read_bytes() == before


@pytest.mark.parametrize("failing", ["os.replace", "pathlib.Path.mkdir", "pyarrow.dataset.write_dataset"])
def test_a_disk_that_is_full_or_read_only_leaves_nothing(tmp_path, monkeypatch, failing):
    source, episodes = recorded(seeds=(1,))

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(failing, full)
        with pytest.raises(InputError, match=r"dataset mine/Burst/test-v0 cannot be .* No space left on dev"):
            write_dataset(tmp_path, NAME, source, episodes)
    assert os.listdir(tmp_path) == []
    write_dataset(tmp_path, NAME, source, episodes)


def test_namespaces_that_are_there_keep_what_is_said_of_them(tmp_path):
    """Of a folder that is none yet, Minari's note is written; of others it stays."""
    source, episodes = recorded(seeds=(1,))
    (tmp_path / "mine" / "Burst").mkdir(parents=True)
    (tmp_path / "mine" / "namespace_metadata.json").write_text('{"description": "own"}')
    write_dataset(tmp_path, NAME, source, episodes)
    assert json.loads((tmp_path / "mine" / "namespace_metadata.json").read_text()) == {"description": "own"}
    assert json.loads((tmp_path / "mine" / "Burst" / "namespace_metadata.json").read_text()) == {}
    write_dataset(tmp_path, "other/new/test-v0", source, episodes)
    assert (tmp_path / "other" / "new" / "namespace_metadata.json").is_file()
    assert sorted(os.listdir(tmp_path)) == ["mine", "other"]


def test_without_a_namespace_and_beside_others(tmp_path):
    source, episodes = recorded(seeds=(1,))
    for name in ("bare-v0", "bare-v1", "mine/one-v0", "mine/two-v0"):
        write_dataset(tmp_path, name, source, episodes)
        assert load_dataset(tmp_path, name).id == name


@pytest.mark.parametrize(
    "name", ["bare", "a/b", "a/b-v", "../up-v0", "/abs-v0", "a/b-v0", "aa//b-v0", "a b-v0", "a/-v1x"]
)
def test_names_that_minari_does_not_take(tmp_path, name):
    with pytest.raises(InputError, match="NAMESPACE/NAME-vN is needed"):
        check_name(name, tmp_path)


@pytest.mark.parametrize("name", ["a-v0", "ab/c-v12", "podgym/FamilyBurst/hpa-tuned-v0"])
def test_names_that_it_takes(tmp_path, name):
    assert check_name(name, tmp_path) == name
    assert minari.dataset.minari_dataset.parse_dataset_id(name)[2] == int(name.rpartition("v")[2])


def test_where_datasets_lie(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "root"))
    assert datasets_root() == tmp_path / "root"
    assert datasets_root(tmp_path / "other") == tmp_path / "other"
    monkeypatch.delenv("MINARI_DATASETS_PATH")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert datasets_root() == tmp_path / ".minari" / "datasets"


def test_without_minari_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'podgym\[datasets\]'"):
        datasets.require_minari()


def test_datasets_of_others_and_changed_forecasters_are_refused(tmp_path):
    source, episodes = recorded(seeds=(1,))
    write_dataset(tmp_path, NAME, source, episodes)
    dataset = load_dataset(tmp_path, NAME)
    entry = dataset.storage.metadata["podgym"]
    dataset.storage.update_metadata({"podgym": {**entry, "forecaster_sha256": "0" * 64}})
    with pytest.raises(
        InputError, match="naive is not the one that dataset mine/Burst/test-v0 was made with"
    ):
        dataset_environment(dataset)
    dataset.storage.update_metadata({"podgym": {**entry, "format": "other"}})
    with pytest.raises(InputError, match="was not made by podgym dataset"):
        dataset_environment(dataset)
    with pytest.raises(InputError, match="there is no dataset mine/none-v0"):
        load_dataset(tmp_path, "mine/none-v0")


@pytest.mark.parametrize(
    ("scenario", "changes"),
    [
        ("burst", {}),
        ("burst", {"cluster.nodes.count": 9, "action.replica_steps": [-1, 0, 1], "episode_s": 300}),
        ("boutique", {"cluster.services.cart.parameters.start_up_s": 31.5, "reward.preset": "paper"}),
        ("trace", {"workload_options": {"part": "dev"}, "randomisation.start_up": [0.5, 2.0]}),
        ("family_burst", {"cluster.faults.node_failures": [{"time_s": 60.0, "node": 1}]}),
    ],
)
def test_changes_through_json_give_the_configuration_again(scenario, changes):
    base = scenario_config(scenario)
    config = override(base, changes)
    found = config_changes(base, config)
    assert override(base, json.loads(to_json(found))) == config
    assert bool(found) == bool(changes)
