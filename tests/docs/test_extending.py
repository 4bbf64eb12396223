"""Every example of docs/extending.md runs as it stands, in the order of the page."""

import csv
import os
import shlex
import sys
from pathlib import Path

import pytest
from oracles.fenced_blocks import Block, fenced_blocks

from podgym.cli import main

pytest.importorskip("stable_baselines3")
pytestmark = [
    pytest.mark.source_tree,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning"),
]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "extending.md"


def commands(block: Block) -> list[list[str]]:
    """Return the command lines of a block, lines that end in a backslash joined."""
    lines = block.text.replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.strip()]


def run(block: Block, scope: dict[str, object]) -> None:
    if block.title:
        Path(block.title).write_text(block.text, encoding="utf-8")
    elif block.language == "python":
        padding = "\n" * (block.line - 1)  # so that an error names the line of the page
        exec(compile(padding + block.text, str(PAGE), "exec"), scope)
    elif block.language == "sh":
        for program, *arguments in commands(block):
            assert program == "podgym"
            assert main(arguments) == 0, arguments


@pytest.fixture
def empty_folder(tmp_path, monkeypatch):
    """Work in an empty folder from which modules can be imported, and forget them afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PODGYM_CACHE", str(tmp_path / "cache"))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if (tmp_path / f"{name}.py").is_file():
            del sys.modules[name]


def test_every_example_runs(empty_folder, capsys):
    blocks = fenced_blocks(PAGE.read_text(encoding="utf-8"))
    assert {block.language for block in blocks} == {"python", "sh", "yaml"}
    scope: dict[str, object] = {"__name__": "__main__"}
    for block in blocks:
        run(block, scope)
    assert {"episode.parquet", "ppo.zip", "mine.csv", "results"} <= set(os.listdir(empty_folder))
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("Follow", "Threshold", "Model"))
    results = (empty_folder / "results" / "results.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(results.splitlines()))
    assert {row["method"] for row in rows} == {"hpa", "follow", "threshold"}
    assert not any(row["failure"] for row in rows)


def test_every_block_is_of_a_kind_that_runs():
    for block in fenced_blocks(PAGE.read_text(encoding="utf-8")):
        assert block.title or block.language in ("python", "sh"), block.line


def test_long_commands_are_joined():
    block = Block("sh", "", "podgym a \\\n  --b 'c d'  # why\n\npodgym e\n", 1)
    assert commands(block) == [["podgym", "a", "--b", "c d"], ["podgym", "e"]]
