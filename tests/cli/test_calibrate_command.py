"""``podgym calibrate``: what a user types, gets and may get wrong."""

import argparse
import json

import pytest
import yaml

from podgym.baselines import make_controller
from podgym.cli import calibrate
from podgym.envs import scenarios
from podgym.envs.config import override
from podgym.envs.env import AutoscaleEnv
from podgym.errors import InputError
from podgym.eval.calibration import record_simulated_run, write_recording


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    changes = {"cluster": {"services": {"web": {"parameters": {"cpu_demand_core_s": 0.01}}}}}
    env = AutoscaleEnv(override(scenarios.burst(), changes))
    recording = record_simulated_run(env, make_controller("hpa"), 0, environment="podgym/Burst-v0")
    return write_recording(tmp_path_factory.mktemp("calibrate") / "run", recording)


def parse(*argv):
    parser = argparse.ArgumentParser(exit_on_error=False)
    calibrate.add_arguments(parser)
    return parser.parse_args([str(each) for each in argv])


def run(*argv):
    return calibrate.run(parse(*argv))


def test_tables_for_people(capsys, folder, tmp_path):
    file = tmp_path / "shop.yml"
    assert run(folder, "--env", "podgym/Burst-v0", "--output", file) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 110
    words = " ".join(out.replace("│", " ").split())
    for text in (
        "service web", "cpu_demand_core_s 0.0086 0.01 0.01 to 0.01", "Mean error of an interval: response",
        "the simulator on load and replicas of the run that was fitted", "CPU, cores",
        "Judged by the data that it was fitted to; --validate names another run.", f"wrote {file}",
        "20 pod starts, 60 sample times", "scrape_interval_s 15 kept", "may be several scrapes",
    ):  # fmt: skip
        assert text in words


def test_the_file_is_a_mapping_of_changes(capsys, folder, tmp_path):
    file = tmp_path / "deep" / "shop.yml"
    assert run(folder, "--env", "podgym/Burst-v0", "--output", file) == 0
    changes = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert f"wrote {file}" in capsys.readouterr().out
    made = override(scenarios.burst(), changes)
    assert made.cluster.services[0].parameters.cpu_demand_core_s == pytest.approx(0.01, rel=1e-3)
    assert made.cluster.services[0].parameters.base_latency_s == pytest.approx(0.097, rel=0.01)
    assert "monitoring" not in changes["cluster"]


def test_json_holds_everything(capsys, folder, tmp_path):
    file = tmp_path / "shop.yml"
    assert run(folder, "--env", "podgym/Burst-v0", "--json", "--output", file) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["changes"] == yaml.safe_load(file.read_text(encoding="utf-8"))
    constants = {each["name"]: each for each in document["services"]["web"]["constants"]}
    assert constants["cpu_demand_core_s"]["was"] == 0.0086
    assert constants["start_up_s"]["status"] == "fitted"
    assert document["monitoring"][0]["status"] == "kept"
    assert document["validation"]["in_sample"] is True
    cpu = {each["measure"]: each for each in document["validation"]["after"]}["cpu_cores"]
    assert abs(cpu["error"]) < 0.05


def test_the_file_lands_beside_the_data(capsys, folder):
    assert run(folder) == 0
    assert f"wrote {folder / 'calibration.yml'}" in capsys.readouterr().out
    assert calibrate.default_file(folder / "live.parquet") == folder / "live-calibration.yml"
    (folder / "calibration.yml").unlink()


def test_judged_by_another_run(capsys, folder, tmp_path):
    other = tmp_path / "other"
    env = AutoscaleEnv(override(scenarios.low_load(), {"episode_s": 900.0}))
    write_recording(other, record_simulated_run(env, make_controller("hpa"), 1))
    assert run(folder, "--service", "web", "--validate", other, "--output", tmp_path / "a.yml") == 0
    out = capsys.readouterr().out
    assert "--validate names another run" not in out
    assert "other" in out


def test_bad_input_writes_nothing(folder, tmp_path):
    file = tmp_path / "never.yml"
    for argv, message in (
        ([tmp_path / "nowhere.parquet"], "there is no file"),
        ([tmp_path], "holds no live.parquet"),
        ([folder, "--service", "wep"], "Did you mean 'web'"),
        ([folder, "--env", "podgym/Brust-v0"], "Did you mean"),
        (
            [folder, "--set", "cluster.services.web.parameters.probe_period=1"],
            "Did you mean 'probe_period_s'",
        ),
        ([folder, "--validate", tmp_path / "no"], "there is no file"),
    ):
        with pytest.raises(InputError, match=message):
            run(*argv, "--output", file)
    assert not file.exists()
