"""``podgym envs`` and ``podgym demo``."""

import json

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
    monkeypatch.setattr(demo, "QUICK_TRACE_HOURS", 0.1)
    monkeypatch.setattr(demo, "QUICK_EPISODES", 1)
    monkeypatch.setattr(demo, "_processes", lambda: 1)


def test_demo_prints_one_table_and_writes_figures_and_data(short_demo, capsys, tmp_path):
    assert main(["demo", "--quick", "--output", str(tmp_path / "demo")]) == 0
    out = capsys.readouterr().out
    assert out.count("response p95, ms") == 1
    assert [line[:5] for line in out.splitlines() if line.startswith("[")] == [
        f"[{i}/4]" for i in (1, 2, 3, 4)
    ]
    names = {path.name for path in (tmp_path / "demo").iterdir()}
    for load in ("6-h", "high", "burst", "low"):
        assert f"{load}-hpa-static-seed0.png" in names
        assert {f"{load}-hpa-seed0.parquet", f"{load}-static-seed0.parquet"} <= names
    results = json.loads((tmp_path / "demo" / "results.json").read_text())["results"]
    assert len(results) == 8
    for hpa, static in zip(results[::2], results[1::2], strict=True):
        assert hpa["controller"] == "hpa"
        assert static["controller_options"]["replicas"] >= 1
        hashes = [[episode["profile_sha256"] for episode in each["episodes"]] for each in (hpa, static)]
        assert hashes[0] == hashes[1]


def test_demo_refuses_a_file_as_folder(capsys, tmp_path):
    (tmp_path / "taken").write_text("")
    assert main(["demo", "--quick", "--output", str(tmp_path / "taken")]) == 2
    assert "is a file" in capsys.readouterr().err
