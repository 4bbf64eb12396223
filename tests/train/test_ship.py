"""What ships is what was trained, with the loads it was trained on."""

import hashlib
import json
import shlex
import shutil

import pytest

pytest.importorskip("torch")
pytest.importorskip("stable_baselines3")

from podgym.agents import shipped
from podgym.agents.policy_file import load_policy
from podgym.envs.core import open_workload
from podgym.envs.splits import tuning_config
from podgym.envs.workloads.profile import profile_sha256
from podgym.errors import InputError
from podgym.eval.protocol import results
from podgym.eval.protocol.units import EpisodeRow
from podgym.files import write_json
from podgym.train.folder import RESULT_FILE, run_folder
from podgym.train.problem import training_pool, training_problem
from podgym.train.run import train
from podgym.train.settings_file import settings_for
from podgym.train.ship import loads_sha256, ship

ID = "podgym/FamilyBurst-v0"
SMALL = {
    "n_timesteps": 64, "n_envs": 8, "n_steps": 4, "batch_size": 32, "episode_pool": 3, "eval_episodes": 2,
    "planner": None, "prior": None, "reference": "none", "forecaster": "naive", "env_kwargs.episode_s": 120,
    "figure_every": 0,
}  # fmt: skip


def small(**changes):
    return settings_for("ppo", ID, changes={**SMALL, **changes})


@pytest.fixture(scope="module")
def logdir(tmp_path_factory):
    """Runs of two seeds, one of which is not finished."""
    root = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        folder = run_folder(root, ID, "ppo", seed)
        train(small(seed=seed), folder, environment=ID, algorithm="ppo")
        write_json(folder / RESULT_FILE, {})
    unfinished = run_folder(root, ID, "ppo", 2)
    shutil.copytree(run_folder(root, ID, "ppo", 0), unfinished)
    (unfinished / RESULT_FILE).unlink()
    return root


def test_the_manifest_says_where_each_policy_comes_from(logdir, tmp_path):
    tmp_path = tmp_path / "new"
    manifest = json.loads(ship(logdir, tmp_path).read_text())
    entries = manifest["policies"][ID]
    assert [entry["seed"] for entry in entries] == [0, 1]
    for seed, entry in enumerate(entries):
        file = tmp_path / entry["file"]
        assert file.name == f"seed{seed}.policy"
        assert hashlib.sha256(file.read_bytes()).hexdigest() == entry["sha256"]
        assert (
            file.read_bytes() == (logdir / "FamilyBurst-v0" / f"ppo-seed{seed}" / "best.policy").read_bytes()
        )
        assert load_policy(file).description.provenance["dev"] == entry["dev"]
        assert entry["loads_sha256"] == loads_sha256(ID, small(seed=seed))
        assert entry["frames"] == entry["dev"]["frames"]
        assert entry["planner"] is None
    assert entries[0]["loads_sha256"] != entries[1]["loads_sha256"]


def test_other_ids_stay_and_old_seeds_go(logdir, tmp_path):
    other = {"format": "podgym policies/1", "policies": {"podgym/Trace-v0": [{"seed": 7}]}}
    write_json(tmp_path / shipped.MANIFEST, other)
    stale = tmp_path / "FamilyBurst-v0" / "seed9.policy"
    stale.parent.mkdir()
    stale.write_bytes(b"old")
    manifest = json.loads(ship(logdir, tmp_path).read_text())
    assert manifest["policies"]["podgym/Trace-v0"] == [{"seed": 7}]
    assert not stale.exists()


def test_loads_depend_on_what_decides_them_and_on_nothing_else():
    known = loads_sha256(ID, small())
    assert known == loads_sha256(ID, small(learning_rate=1e-4, n_envs=16, batch_size=64))
    assert known == loads_sha256(ID, small(forecaster="shipped"))
    assert known != loads_sha256(ID, small(episode_pool=4))
    assert known != loads_sha256(ID, small(**{"env_kwargs.episode_s": 180}))
    assert loads_sha256(ID, small(episode_pool=0)) is None


def test_an_evaluation_of_the_same_loads_records_the_same_hash():
    problem = training_problem(ID, small())
    pool = training_pool(problem, open_workload(tuning_config(problem.config, "train")))
    rows = [
        EpisodeRow(ID, "hpa", None, seed, profile_sha256(profile))
        for seed, profile in enumerate(pool.profiles(120.0))
    ]
    assert len(rows) == 3
    assert loads_sha256(ID, small()) == results.loads_sha256(ID, rows)


def test_nothing_to_ship(tmp_path, logdir):
    with pytest.raises(InputError, match=r"no finished run of ppo.*podgym train --logdir"):
        ship(tmp_path, tmp_path / "out")
    with pytest.raises(InputError, match="no finished run of recurrent_ppo"):
        ship(logdir, tmp_path / "out", "recurrent_ppo")


def test_all_that_ships_stands_in_the_manifest_with_its_hash():
    folder = shipped.files("podgym.agents").joinpath(shipped.PRETRAINED)
    manifest = json.loads(folder.joinpath(shipped.MANIFEST).read_text())
    assert set(manifest["policies"]) == set(shipped.shipped_environments())
    for environment, entries in manifest["policies"].items():
        files = shipped.shipped_policies(environment)
        assert list(files) == [entry["seed"] for entry in entries]
        for entry in entries:
            assert hashlib.sha256(files[entry["seed"]].read_bytes()).hexdigest() == entry["sha256"]


def test_recorded_loads_are_those_of_the_recorded_command():
    """Which trains with the settings that ship, whether it still has to name them or not."""
    folder = shipped.files("podgym.agents").joinpath(shipped.PRETRAINED)
    policies = json.loads(folder.joinpath(shipped.MANIFEST).read_text())["policies"]
    for environment, entries in policies.items():
        last = entries[-1]
        seed = last["seed"]
        words = shlex.split(last["command"])
        assert words[:8] == shlex.split(f"podgym train --env {environment} --algo ppo --seed {seed}")
        assert set(words[8::2]) <= {"--set"}
        named = dict(word.split("=", 1) for word in words[9::2])
        settings = settings_for("ppo", environment, changes={"seed": seed})
        told = {name: json.loads(value) for name, value in named.items()}
        assert settings_for("ppo", environment, changes={"seed": seed, **told}) == settings
        assert last["loads_sha256"] == loads_sha256(environment, settings), environment
