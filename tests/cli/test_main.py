"""The command line itself: finding commands, errors on one line, exit statuses."""

import re
import subprocess
import sys

import pytest

from podgym import __version__, cli
from podgym.cli import COMMANDS, load_command, main


def test_help_lists_every_command(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(re.search(rf"^  {name} ", out, re.MULTILINE) for name in COMMANDS)
    assert "examples:" in out


def test_no_arguments_is_help(capsys):
    assert main([]) == 0
    assert "commands:" in capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_each_command(name, capsys):
    assert main([name, "--help"]) == 0
    assert f"podgym {name}" in capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_each_module_is_a_command(name):
    command = load_command(name)
    assert name == command.NAME
    assert command.HELP[0].islower()
    assert not command.HELP.endswith(".")


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"podgym {__version__}\n"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["evaluat"], "Did you mean 'evaluate'?"),
        (["--vresion"], "Did you mean '--version'?"),
        (["envs", "--jsn"], "Did you mean '--json'?"),
        (["evaluate", "--enw", "x"], "Did you mean '--env'?"),
        (["evaluate", "--seed"], "--seed: expected one argument"),
        (["evaluate", "--seed", "x"], "invalid int value: 'x'"),
        (["conformance"], "required: FILE"),
        (["envs", "podgym/Burst-v0", "extra"], "unexpected argument 'extra'"),
    ],
)
def test_bad_usage_is_one_line_and_status_2(argv, words, capsys):
    assert main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("podgym: error: ")
    assert words in captured.err


def test_interrupt_is_status_130(monkeypatch, capsys):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(load_command("envs"), "run", interrupt)
    assert main(["envs"]) == 130
    assert capsys.readouterr().err == "podgym: interrupted\n"


def test_a_defect_is_not_dressed_up_as_bad_input(monkeypatch):
    def fail(_):
        raise ValueError("a defect")

    monkeypatch.setattr(load_command("envs"), "run", fail)
    with pytest.raises(ValueError, match="a defect"):
        main(["envs"])


def test_module_runs_and_help_imports_nothing_heavy(tmp_path):
    code = (
        "import sys; from podgym.cli import main; status = main(['--help']); "
        "heavy = {'numba', 'pandas', 'matplotlib', 'rich', 'pyarrow'} & set(sys.modules); "
        "sys.exit(status or len(heavy))"
    )
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, timeout=99).returncode == 0
    command = [sys.executable, "-m", "podgym", "--version"]
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=99)
    assert finished.stdout == f"podgym {cli.__version__}\n"


def test_reader_that_goes_away_is_no_error(tmp_path):
    command = f"{sys.executable} -m podgym --help | true; echo ${{PIPESTATUS[0]}}"
    finished = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=99
    )
    assert "Traceback" not in finished.stderr
    assert finished.stdout.strip() == "0"
