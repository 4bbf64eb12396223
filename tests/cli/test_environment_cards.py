"""``podgym envs --cards``: the page of all environments, and its copy among the documents."""

from dataclasses import dataclass
from pathlib import Path

import gymnasium as gym
import pytest
from oracles.fenced_blocks import fenced_blocks

from podgym import ENVIRONMENT_IDS
from podgym.cli import main
from podgym.cli.card_text import described_settings, field_meanings, join_names, markdown_table, value_text
from podgym.cli.cards import environment_page
from podgym.cli.envs import setting_leaves
from podgym.envs.config import REWARD_TERMS, EnvConfig
from podgym.envs.totals import INFO_KEYS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def page():
    return environment_page()


@pytest.mark.source_tree
def test_the_document_is_what_the_command_prints(capsys):
    assert main(["envs", "--cards"]) == 0
    kept = (ROOT / "docs" / "environments.md").read_text(encoding="utf-8")
    assert capsys.readouterr().out == kept, "renew it: podgym envs --cards > docs/environments.md"


def test_every_name_is_on_the_page(page):
    for name in ENVIRONMENT_IDS:
        assert f"\n### `{name}`\n" in page
    for name in (*REWARD_TERMS, *INFO_KEYS):
        assert f"| `{name}` |" in page


def test_every_table_is_whole(page):
    """Each row of a table has as many cells as its heading."""
    tables = [block for block in page.split("\n\n") if block.startswith("|")]
    assert len(tables) > 20
    for table in tables:
        widths = {line.replace("\\|", "").count("|") for line in table.splitlines()}
        assert len(widths) == 1, table.splitlines()[0]


def test_every_setting_is_described(page):
    for key, value, meaning in described_settings(EnvConfig(), ""):
        assert meaning, key
        shown = key if "cluster." not in key else f"`{key.strip('`').rpartition('.')[2]}`"
        assert f"| {shown} | {value}" in page
        assert meaning in page


def test_what_an_id_changes_stands_on_its_card(page):
    card = page.partition("### `podgym/Boutique-v0`")[2]
    env = gym.make("podgym/Boutique-v0").unwrapped
    assert f"{env.observation_space.shape[0]} numbers seen" in card
    assert "`cluster.nodes.count=6`" in card
    assert all(f"| `{name}` |" in card for name in env.service_names)
    assert f"| `cart` | 1 | {env.visits[env.service_names.index('cart')]:.3g} | redis-cart x 1 |" in card
    assert "`memory_levels_bytes=[128, 192, 256, 512] MiB`" in card
    burst = page.partition("### `podgym/Burst-v0`")[2].partition("###")[0]
    assert "From the paper: 500 to 1500 concurrent users" in burst
    assert "`cluster.services.web.initial_replicas=7`" in burst


def test_the_python_on_the_page_runs(page):
    scope: dict[str, object] = {}
    blocks = [block for block in fenced_blocks(page) if block.language == "python"]
    assert len(blocks) == 1
    exec(blocks[0].text, scope)
    env = scope["env"].unwrapped
    assert env.config.cluster.services[0].max_replicas == 50
    assert env.episode_steps == 40


def test_one_card(capsys, page):
    assert main(["envs", "podgym/LowLoad-v0", "--cards"]) == 0
    card = capsys.readouterr().out
    assert card.startswith("### `podgym/LowLoad-v0`\n\nLower load:")
    assert card.strip() in page


def test_two_forms_at_once_are_refused(capsys):
    assert main(["envs", "--cards", "--json"]) == 2
    assert "give --json or --cards, not both" in capsys.readouterr().err


def test_a_real_cluster_has_no_card_but_keys(capsys):
    assert main(["envs", "podgym/Kubernetes-v0", "--cards"]) == 0
    assert capsys.readouterr().out.startswith("| key | default | meaning |\n")


def test_pieces_of_markdown():
    assert markdown_table(("a", "b"), [("1 | 2", "3")]) == "| a | b |\n| --- | --- |\n| 1 \\| 2 | 3 |"
    assert join_names(["a"]) == "`a`"
    assert join_names(["a", "b", "c"], "or") == "`a`, `b` or `c`"
    assert value_text((1.0, 2.5)) == "[1, 2.5]"
    assert value_text([3 * 2**20, 2**19], "memory_levels_bytes") == "[3, 0.5] MiB"


@dataclass(frozen=True)
class _Sample:
    first: int = 1
    """One ``word``
    and more."""
    second: int = 2
    third: int = 3
    """Three."""


def test_meanings_are_the_docstrings_under_the_fields():
    assert field_meanings(_Sample) == {"first": "One `word` and more.", "third": "Three."}
    assert [key for key, _ in setting_leaves(_Sample(), "x.")] == ["x.first", "x.second", "x.third"]
