"""``podgym train``: what a user types, gets and may get wrong; the training itself is a stand-in."""

import argparse
import json
import shlex
import subprocess
import sys
import types

import pytest

pytest.importorskip("torch")
pytest.importorskip("stable_baselines3")
pytest.importorskip("sb3_contrib")
pytest.importorskip("yaml")

from podgym import cli
from podgym.cli import train
from podgym.errors import InputError
from podgym.train.folder import begin_run
from podgym.train.results import DevResult, Progress, TrainingResult
from podgym.train.settings_file import settings_for

ENV = "podgym/Burst-v0"
UNTRAINED = DevResult(0, 1234.5, 0.0345, 3.25, 40.0, True)
WORSE = DevResult(16384, 1300.0, 0.05, 3.0, 50.0, False)
BEST = DevResult(32768, 1111.0, 0.0123, 3.5, 42.0, True)


def parse(*argv):
    parser = argparse.ArgumentParser(exit_on_error=False)
    train.add_arguments(parser)
    return parser.parse_args(argv)


@pytest.fixture
def calls(monkeypatch):
    """What the training was called with; it writes what a real one would and reports three evaluations."""
    made = []

    def fake(settings, folder, *, environment, algorithm, resume, on_progress, on_evaluation, on_remark):
        made.append((settings, folder, environment, algorithm, resume))
        begin_run(folder, settings, environment=environment, algorithm=algorithm, resume=resume)
        for result in (UNTRAINED, WORSE, BEST):
            on_progress(Progress(result.frames, 32768, 41234.5))
            on_evaluation(result)
        (folder / "checkpoints").mkdir(exist_ok=True)
        for name in ("best.policy", "final.policy", "progress.csv"):
            (folder / name).write_text("")
        return TrainingResult(BEST, UNTRAINED, 32768, 75.4, folder / "best.policy")

    install(monkeypatch, fake)
    return made


def install(monkeypatch, function):
    module = types.ModuleType("podgym.train.run")
    module.train = function
    monkeypatch.setitem(sys.modules, "podgym.train.run", module)


def run(tmp_path, *argv):
    return train.run(parse("--env", ENV, "--algo", "ppo", "--logdir", str(tmp_path), *argv))


def test_a_run_for_people(tmp_path, capsys, calls):
    assert run(tmp_path, "--total-steps", "2e5", "--seed", "3", "--set", "policy_kwargs.net_arch=[32]") == 0
    ((settings, folder, environment, algorithm, resume),) = calls
    assert folder == tmp_path / "Burst-v0" / "ppo-seed3"
    assert (environment, algorithm, resume) == (ENV, "ppo", False)
    changes = {"n_timesteps": 200_000, "seed": 3, "policy_kwargs.net_arch": [32]}
    assert settings == settings_for("ppo", ENV, changes=changes)
    captured = capsys.readouterr()
    out = " ".join(captured.out.replace("│", " ").split())
    assert "ppo on podgym/Burst-v0, seed 3: 32,768 frames in 1 min 15 s." in out
    assert "untrained (the plan) 1,234.5 3.45 % 3.25 40" in out
    assert "best, after 32,768 frames 1,111.0 1.23 % 3.5 42" in out
    assert "Cost, lower is better: -10.0 % by training" in out
    wrote = [line.removeprefix(f"wrote {folder}/") for line in captured.out.splitlines() if "wrote" in line]
    assert wrote == [
        "best.policy", "final.policy", "result.json", "config.yml", "progress.csv", "checkpoints"
    ]  # fmt: skip
    assert max(map(len, captured.out.partition("wrote")[0].splitlines())) <= 80


def test_evaluations_are_told_as_they_come(tmp_path, capsys, calls):
    run(tmp_path)
    began, *lines = capsys.readouterr().err.splitlines()
    assert began.endswith(f"Burst-v0/ppo-seed0; watch with tensorboard --logdir {tmp_path}")
    first, second, third = (" ".join(line.split()) for line in lines)
    assert first == "0 frames: cost 1,234.5, SLO violated 3.45 %, 3.25 core hours, churn 40 best so far"
    assert second == "16,384 frames: cost 1,300.0, SLO violated 5.00 %, 3 core hours, churn 50"
    assert third.endswith("best so far")


def test_the_bar_tells_speed_and_the_best():
    shown = []
    on_progress, on_evaluation = train._reporters(lambda *arguments: shown.append(arguments))
    on_progress(Progress(100, 400, 41234.5))
    on_evaluation(UNTRAINED)
    on_evaluation(WORSE)
    on_progress(Progress(200, 400, 40000.0))
    assert shown == [(100, 400, "41,234 frames/s"), (200, 400, "40,000 frames/s, dev cost 1,234.5")]


def test_json_is_the_result_file(tmp_path, capsys, calls):
    assert run(tmp_path, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    folder = tmp_path / "Burst-v0" / "ppo-seed0"
    assert document == json.loads((folder / "result.json").read_text())
    assert (document["environment"], document["algorithm"]) == (ENV, "ppo")
    assert (document["best"]["cost"], document["untrained"]["frames"]) == (1111.0, 0)
    assert document["policy_file"] == str(folder / "best.policy")


def test_a_run_that_is_there_is_refused_with_the_remedy(tmp_path, calls):
    run(tmp_path)
    with pytest.raises(InputError, match="holds a run; continue it with --resume, or start another"):
        run(tmp_path)
    assert len(calls) == 1
    assert run(tmp_path, "--seed", "1") == 0
    assert run(tmp_path, "--resume") == 0
    assert [call[4] for call in calls] == [False, False, True]


def test_a_run_goes_on_with_its_own_settings_unless_others_are_named(tmp_path, calls):
    first = ["--set", "n_envs=1024", "--set", "planner.options.headroom=0.1"]
    run(tmp_path, *first)
    run(tmp_path, "--resume")
    run(tmp_path, *first, "--resume")
    assert calls[0][0] == calls[1][0] == calls[2][0]
    assert calls[0][0].n_envs == 1024
    with pytest.raises(InputError, match=r"config.yml says n_envs = 1024, but it is 512 now"):
        run(tmp_path, "--set", "planner.options.headroom=0.1", "--resume")
    with pytest.raises(InputError, match=r"says n_timesteps = 2000000, but it is 5 now"):
        run(tmp_path, *first, "--total-steps", "5", "--resume")


def test_resume_where_there_is_nothing_begins(tmp_path, calls):
    assert run(tmp_path, "--resume") == 0
    assert len(calls) == 1


def test_a_run_repeats_an_earlier_one_from_its_settings(tmp_path, calls):
    run(tmp_path, "--set", "ent_coef=lin_0.1", "--set", "prior=null")
    config = tmp_path / "Burst-v0" / "ppo-seed0" / "config.yml"
    run(tmp_path / "again", "--config", str(config))
    assert calls[0][0] == calls[1][0]
    assert calls[1][0].prior is None


def test_interrupted_runs_say_how_to_go_on(tmp_path, capsys, monkeypatch, calls):
    fake = sys.modules["podgym.train.run"].train

    def interrupt(settings, folder, *, environment, algorithm, resume, **_):
        begin_run(folder, settings, environment=environment, algorithm=algorithm, resume=resume)
        raise KeyboardInterrupt

    install(monkeypatch, interrupt)
    argv = ["--seed", "2", "--set", "policy_kwargs.net_arch=[32, 32]", "--total-steps", "300000"]
    assert run(tmp_path, *argv) == 130
    captured = capsys.readouterr()
    assert captured.out == ""
    *_, said, command = captured.err.splitlines()
    assert said == "podgym: interrupted; go on with"
    install(monkeypatch, fake)
    program, name, *words = shlex.split(command)
    assert (program, name) == ("podgym", "train")
    assert train.run(parse(*words)) == 0
    ((settings, folder, _, _, resume),) = calls
    assert (folder, resume) == (tmp_path / "Burst-v0" / "ppo-seed2", True)
    assert (settings.policy_kwargs.net_arch, settings.n_timesteps) == ((32, 32), 300_000)


def test_resume_command_is_short_where_it_can_be():
    assert train.resume_command(parse("--env", ENV, "--algo", "ppo")) == (
        "podgym train --env podgym/Burst-v0 --algo ppo --resume"
    )
    argv = ["--env", ENV, "--algo", "ppo", "--config", "my settings.yml", "--json"]
    assert train.resume_command(parse(*argv)).endswith("--config 'my settings.yml' --resume --json")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--algo", "pp0"], r"unknown algorithm 'pp0'.*Did you mean 'ppo'\?"),
        (["--env", "podgym/Brust-v0"], r"unknown environment.*Did you mean 'podgym/Burst-v0'\?"),
        (["--set", "n_step=3"], r"unknown setting 'n_step'.*Did you mean 'n_steps'\?"),
        (["--set", "n_envs"], "key=value is needed"),
        (["--set", "gamma=2"], "gamma is 2; it must be a number from 0 to 1"),
        (["--set", "batch_size=1000"], "it must divide n_envs"),
        (["--config", "none.yml"], "there is no file none.yml"),
        (["--seed", "-1"], "seed is -1; it must be a whole number from 0"),
        (["--seed", "1", "--set", "seed=2"], "--seed 1 and --set seed=2: give one of the two"),
        (["--total-steps", "9", "--set", "n_timesteps=9"], "--total-steps 9 and --set n_timesteps=9"),
    ],
)
def test_bad_input_writes_nothing(tmp_path, calls, argv, message):
    with pytest.raises(InputError, match=message):
        run(tmp_path / "out", *argv)
    assert not (tmp_path / "out").exists()
    assert calls == []


@pytest.mark.parametrize("steps", ["many", "1.5", "0", "-3", "inf"])
def test_steps_are_a_whole_number(steps):
    with pytest.raises(argparse.ArgumentError, match=f"'{steps}' is not a whole number above 0"):
        parse("--env", ENV, "--algo", "ppo", f"--total-steps={steps}")


def test_failures_of_the_training_itself_are_one_line_and_status_2(tmp_path, capsys, monkeypatch):
    def fail(*_, **__):
        raise InputError("the reward became nan in environment 3.")

    install(monkeypatch, fail)
    monkeypatch.setattr(cli, "COMMANDS", tuple({*cli.COMMANDS, "train"}))
    argv = ["train", "--env", ENV, "--algo", "ppo", "--logdir", str(tmp_path)]
    assert cli.main(argv) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "podgym: error: the reward became nan in environment 3."
    )


def test_missing_libraries_are_named(tmp_path, monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else find(name))
    with pytest.raises(InputError, match=r"training needs torch; install with pip install 'podgym\[rl\]'"):
        run(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_results_of_any_size_fit():
    line = train.evaluation_line(DevResult(2_000_000, 1234567.8, 1.0, 12345.6, float("nan"), True))
    assert "2,000,000 frames: cost 1,234,567.8, SLO violated 100.00 %" in line
    assert "churn    nan" in line
    free = TrainingResult(BEST, DevResult(0, 0.0, 0.0, 0.0, 0.0, True), 1, 1.0, None)
    kept = TrainingResult(UNTRAINED, UNTRAINED, 1, 1.0, None)
    assert train._change(kept).startswith("no trained policy was better")
    assert train._change(free) == "0.000 untrained, 1,111.0 trained"


def test_help_teaches_without_torch():
    code = (
        "import sys, argparse\nfrom podgym.cli import train\n"
        "parser = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter)\n"
        "train.add_arguments(parser)\nprint(parser.format_help())\n"
        "loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "print(*loaded & {'torch', 'stable_baselines3', 'yaml', 'rich', 'numpy'}, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=240
    )
    assert done.stdout.count("podgym train ") >= 6
    assert "torch" not in done.stderr
    assert "stable_baselines3" not in done.stderr
    assert "yaml" not in done.stderr
