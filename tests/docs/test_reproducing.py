"""Every command and every file that docs/reproducing.md names is there, and takes the options it is given."""

import re
import shlex
from pathlib import Path

import pytest
from oracles.fenced_blocks import fenced_blocks

from podgym.cli import _Parser, load_command
from podgym.envs.registration import ENVIRONMENT_IDS
from podgym.eval.protocol import read_protocol, shipped_protocols
from podgym.eval.protocol.protocol_file import parse_protocol

pytestmark = pytest.mark.source_tree

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docs" / "reproducing.md"
PAGE = FILE.read_text(encoding="utf-8") if FILE.is_file() else ""  # collected beside a wheel, too
CODES = re.findall(r"`([^`\n]+)`", PAGE)
COMMANDS = sorted({code for code in CODES if code.startswith("podgym ")})


def arguments_of(command):
    """Parse a command line as the program does, without running it."""
    _, name, *words = shlex.split(command)
    module = load_command(name)
    parser = _Parser(prog=f"podgym {name}", allow_abbrev=False)
    module.add_arguments(parser)
    return parser.parse_strictly(words)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_takes_these_options(command):
    args = arguments_of(command)
    environment = getattr(args, "env", None)
    assert environment is None or environment in ENVIRONMENT_IDS
    protocol = getattr(args, "protocol", None)
    assert protocol in (None, "bounds.yml", *shipped_protocols())


def test_there_are_commands_for_most_of_the_program():
    assert len(COMMANDS) > 15
    assert {command.split()[1] for command in COMMANDS} >= {"bench", "paper", "tune", "train", "evaluate"}


def test_every_file_is_there():
    named = [code.split()[0] for code in CODES]
    files = [name for name in named if re.match(r"(scripts|tests|baselines|forecasters)/", name)]
    files += re.findall(r"(?:pytest|python) ((?:tests|scripts)/\S+?)[` ]", PAGE)
    assert len(files) > 8
    for name in files:
        assert (ROOT / name).exists(), name
    for target in re.findall(r"\]\(([^)#]+)", PAGE):
        assert (ROOT / "docs" / target).exists(), target
    for target in re.findall(r"`make ([a-z-]+)`", PAGE):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def test_every_page_of_results_is_accounted_for():
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"reproducing.md"}
    missing = sorted(page for page in pages if f"]({page})" not in PAGE)
    assert missing == [], "say in docs/reproducing.md how their numbers are made again"


def test_the_protocol_of_the_bounds_is_one():
    (block,) = [block for block in fenced_blocks(PAGE) if block.title == "bounds.yml"]
    protocol = parse_protocol(block.text, "bounds.yml")
    assert len(protocol.methods) == 6
    assert protocol.part == "test"
    for name in ("families", "paper", "traces", "shift", "ablation"):
        assert read_protocol(name).name == name
