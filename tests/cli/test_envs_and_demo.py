"""``podgym envs`` and ``podgym demo``."""

import json
import os

import pytest

from podgym import ENVIRONMENT_IDS
from podgym.cli import demo, main
from podgym.cli.envs import setting_leaves
from podgym.cli.settings import parse_changes
from podgym.envs.config import REWARD_TERMS, override
from podgym.envs.env import AutoscaleEnv
from podgym.envs.make import scenario_config


def test_list_names_every_id(capsys):
    assert main(["envs"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ENVIRONMENT_IDS)
    assert "SLO 250 ms" in out


def test_list_as_json(capsys):
    assert main(["envs", "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)["environments"]
    assert [entry["id"] for entry in entries] == list(ENVIRONMENT_IDS)
    assert next(e for e in entries if e["id"] == "podgym/Boutique-v0")["services"][0] == "frontend"


def test_one_environment_in_full(capsys):
    env = AutoscaleEnv(scenario_config("burst"))
    assert main(["envs", "podgym/Burst-v0"]) == 0
    out = capsys.readouterr().out
    for constant in env.provenance():
        assert constant.name.rpartition(".")[2] in out
    assert all(term in out for term in REWARD_TERMS)
    assert all(name.partition("[")[0] in out for name in env.observation_names)
    assert "* the paper's testbed" in out
    assert "536870912 (512 MiB)" in out


def test_one_environment_as_json(capsys):
    env = AutoscaleEnv(scenario_config("burst"))
    assert main(["envs", "podgym/Burst-v0", "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["environments"]
    assert [each["name"] for each in entry["observation"]] == list(env.observation_names)
    assert len(entry["constants"]) == len(env.provenance())
    assert entry["reward"]["cpu_cost"]["weight"] == -1.0


def test_every_shown_key_can_be_set_to_what_it_is(capsys):
    """What the listing calls a key of --set is one, and its value there is the one in force."""
    config = scenario_config("burst")
    assert main(["envs", "podgym/Burst-v0"]) == 0
    listing = capsys.readouterr().out.partition("CONFIGURATION")[2].splitlines()[1:]
    section, keys = "", []
    for line in listing:
        if line.startswith("    "):
            keys.append(section + line.split()[0])
        elif line.strip():
            section = "" if "top level" in line else line.strip()
    values = dict(setting_leaves(config))
    assert sorted(keys) == sorted(values)
    for key in keys:
        assert override(config, parse_changes([f"{key}={json.dumps(values[key])}"])) == config, key


def test_unknown_id(capsys):
    assert main(["envs", "podgym/Trce-v0"]) == 2
    captured = capsys.readouterr()
    assert "Did you mean 'podgym/Trace-v0'?" in captured.err
    assert captured.out == ""


@pytest.fixture
def short_demo(monkeypatch):
    for name in ("torch", "stable_baselines3", "sb3_contrib"):
        pytest.importorskip(name)
    monkeypatch.setattr(demo, "QUICK_FRAMES", 64)
    monkeypatch.setattr(demo, "QUICK_EPISODES", 1)
    monkeypatch.setattr(demo, "QUICK_EPISODE_S", 60.0)
    monkeypatch.setattr(demo, "_SMALL_POOL", 2)
    monkeypatch.setattr(demo, "_processes", lambda: 1)


def test_demo_goes_the_whole_way(short_demo, capsys, tmp_path):
    folder = tmp_path / "demo"
    (folder / "comparison").mkdir(parents=True)
    (folder / "comparison" / "stale.txt").write_text("of an earlier demonstration")
    assert main(["demo", "--quick", "--output", str(folder)]) == 0
    out = capsys.readouterr().out
    stages = [line[:5] for line in out.splitlines() if line.startswith("[")]
    assert stages == [f"[{i}/5]" for i in range(1, 6)]
    for words in ("users in the next 5 minutes", "untrained", "lstm_ga tuned", "ppo of this demo"):
        assert words in out
    for scenario in ("HighLoad", "Burst", "LowLoad", "Trace"):
        assert f"podgym/{scenario}-v0" in out
    assert max(map(len, out.splitlines()[-60:])) <= 160
    assert not (folder / "comparison" / "stale.txt").exists()
    assert (folder / "training" / "Burst-v0" / "ppo-seed0" / "best.policy").is_file()
    assert (folder / "report.html").is_file()
    summary = json.loads((folder / "comparison" / "summary.json").read_text())
    own = [row["environment"] for row in summary["summary"] if row["method"] == "ppo of this demo"]
    assert own == ["podgym/Burst-v0"]
    assert not any(row["failure"] for row in summary["summary"])
    assert [remark for remark in summary["remarks"] if "overlap" not in remark] == []


@pytest.mark.parametrize("place", [".pt", "protocol.json"])
def test_demo_on_a_disk_that_is_full(short_demo, capsys, tmp_path, monkeypatch, place):
    """Whichever file is the first that has no room: it is named, and nothing of it is there."""
    replace = os.replace

    def full(source, target):
        if str(target).endswith(place):
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr("podgym.files.os.replace", full)
    assert main(["demo", "--quick", "--output", str(tmp_path)]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"podgym: error: {tmp_path}")
    assert said.endswith(f"{place} cannot be written: No space left on device.")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in files if path.name.endswith(place) or ".unfinished" in str(path)]


def test_demo_in_a_read_only_folder(capsys, tmp_path, monkeypatch):
    pytest.importorskip("sb3_contrib")
    monkeypatch.setattr("podgym.files.os.access", lambda path, mode: False)
    monkeypatch.setattr(demo, "_prepare", None)
    assert main(["demo", "--quick", "--output", str(tmp_path)]) == 2
    assert "cannot be written to; name another folder" in capsys.readouterr().err


def test_demo_refuses_a_file_as_folder(capsys, tmp_path):
    pytest.importorskip("sb3_contrib")
    (tmp_path / "taken").write_text("")
    assert main(["demo", "--quick", "--output", str(tmp_path / "taken")]) == 2
    assert "is a file" in capsys.readouterr().err
