"""docs/kubernetes.md holds every key of the settings; its least settings are enough, its commands exist."""

import argparse
import dataclasses
import re
import shlex
from pathlib import Path

import pytest
import yaml
from oracles.fenced_blocks import fenced_blocks

from podgym.cli import load_command
from podgym.cli.cluster_keys import cluster_keys, described_keys
from podgym.envs.kubernetes.settings import (
    KubernetesSettings,
    MetricsSettings,
    SafetySettings,
    TargetSettings,
    parse_settings,
)

pytestmark = pytest.mark.source_tree

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docs" / "kubernetes.md"
PAGE = FILE.read_text(encoding="utf-8") if FILE.is_file() else ""  # collected beside a wheel, too
PARTS = {"services.NAME.": TargetSettings, "metrics.": MetricsSettings, "safety.": SafetySettings}


def test_the_page_ends_with_what_the_command_prints():
    renew = "renew the table: podgym envs podgym/Kubernetes-v0 --cards"
    assert PAGE.endswith(f" -->\n\n{cluster_keys()}\n"), renew


def test_the_page_has_every_key_with_its_default():
    rows = dict(
        re.findall(r"^\| `([\w.]+)` \| (.*?) \| .+ \|$", PAGE.partition("## Every key")[2], re.MULTILINE)
    )
    smallest = parse_settings({"services": {"NAME": {}}, "metrics": {"url": "http://localhost:9090"}})
    own = {item.name for item in dataclasses.fields(KubernetesSettings)}
    nested = {f"{prefix}{item.name}" for prefix, kind in PARTS.items() for item in dataclasses.fields(kind)}
    assert set(rows) == own | nested
    assert {key for key, default in rows.items() if default == "required"} == {"services", "metrics"}
    for key, default in rows.items():
        if key in ("services", "metrics", "safety", "metrics.url"):
            continue
        value = smallest
        for step in key.split("."):
            value = value[step] if isinstance(value, dict) else getattr(value, step)
        assert yaml.safe_load(default) == value, key


def test_every_key_has_a_meaning_of_its_own():
    for key, _, meaning in described_keys():
        assert meaning.endswith("...") or meaning.endswith("."), key
        assert "None:" not in meaning
        assert not meaning.startswith("See "), key


def test_the_least_settings_are_settings():
    (block,) = [each for each in fenced_blocks(PAGE) if each.title == "cluster.yml"]
    assert parse_settings(yaml.safe_load(block.text)).services["web"].max_replicas == 10


def test_the_commands_take_their_options():
    blocks = [each.text.replace("\\\n", " ") for each in fenced_blocks(PAGE)]
    commands = re.findall(r"^podgym (\w+) ((?:[^\n\"]|\"[^\"]*\")*)", "\n".join(blocks), re.MULTILINE)
    assert len(commands) >= 4
    for name, rest in commands:
        parser = argparse.ArgumentParser(exit_on_error=False)
        load_command(name).add_arguments(parser)
        parser.parse_args(shlex.split(rest))
