"""Protocols as files: what ships can be read and resolved, and what is wrong is refused with a hint."""

import json
import re
from pathlib import Path

import pytest

from podgym.cli.settings import parse_changes
from podgym.errors import InputError
from podgym.eval.protocol import (
    BoundMethod,
    ControllerMethod,
    PolicyMethod,
    RunsMethod,
    read_protocol,
    shipped_protocols,
)
from podgym.eval.protocol.entrants import resolve
from podgym.eval.protocol.protocol_file import parse_protocol, protocol_of
from podgym.files import to_json
from podgym.train.settings_file import settings_for

GOOD = """
name: mine
ids: [podgym/Burst-v0]
first_seed: 210000
episodes: 4
methods:
  - {controller: hpa}
"""


def test_protocols_that_ship():
    assert shipped_protocols() == ("ablation", "demo", "families", "paper", "quick", "shift", "traces")
    for name in shipped_protocols():
        protocol = read_protocol(name)
        assert protocol.name == name
        assert protocol.description
        published = name != "quick"  # a trial opens no episode that results are published of
        assert protocol.part == ("test" if published else "dev")
        own = {"quick": 160_000, "ablation": 221_000, "demo": 250_000}  # no episode of the main results
        assert protocol.first_seed == own.get(name, 230_000)


@pytest.mark.source_tree
def test_every_variant_of_the_ablation_can_be_trained():
    """The script has a variant for each folder of runs that the protocol names, and no other."""
    script = (Path(__file__).parents[3] / "scripts" / "train_ablation.sh").read_text(encoding="utf-8")
    trained = dict(re.findall(r'^    \[([a-z-]+)\]="(.*)"$', script, re.MULTILINE))
    named = [each.runs for each in read_protocol("ablation").methods if isinstance(each, RunsMethod)]
    assert sorted(named) == sorted(f"results/ablation/{name}" for name in trained)
    for changes in trained.values():
        words = changes.replace("${no_plan[*]}", "planner=null prior=null reference=none").split()
        settings_for("ppo", "podgym/FamilyBurst-v0", changes=parse_changes(words))


@pytest.mark.parametrize("name", ["families", "traces", "paper"])
def test_every_tuned_controller_takes_part(name):
    entrants, _ = resolve(read_protocol(name))
    for environment in read_protocol(name).ids:
        labels = {each.method for each in entrants if each.environment == environment}
        assert {"hpa", "kubernetes_default", "hpa tuned", "rule tuned", "keda tuned"} <= labels
        assert sum(label.endswith(" tuned") for label in labels) == 11
        assert sum(each.tuned for each in entrants if each.environment == environment) == 11


def test_all_that_can_be_said(tmp_path):
    text = """
    name: mine
    description: >
      Two
      lines.
    ids: [podgym/Burst-v0, podgym/Trace-v0]
    part: dev
    first_seed: 100000
    episodes: 4
    rival: fast
    changes: {episode_s: 60}
    episodes_per_unit: 3
    time_limit_s: 5
    resamples: 500
    processes: 2
    methods:
      - {controller: hpa, options: {cpu_target_percent: 60}, label: fast, vary: {tolerance: [0.0, 0.2]}}
      - {controller: keda, options: tuned, forecaster: naive, variant_of: fast}
      - {controller: kpa, label: small pods, changes: {cluster.services.web.cpu_request_cores: 0.25}}
      - {policy: a.policy, optional: true, episodes: 2}
      - {runs: logs, algorithm: maskable_ppo, trained_on: podgym/Burst-v0, ids: [podgym/Trace-v0]}
      - {bound: clairvoyant, quotas: true}
    """
    file = tmp_path / "mine.yml"
    file.write_text(text, encoding="utf-8")
    protocol = read_protocol(file)
    assert (protocol.description, protocol.ids[1]) == ("Two lines.", "podgym/Trace-v0")
    assert (protocol.part, list(protocol.seeds)) == ("dev", [100_000, 100_001, 100_002, 100_003])
    assert (protocol.rival, protocol.changes, protocol.time_limit_s) == ("fast", {"episode_s": 60}, 5.0)
    assert (protocol.episodes_per_unit, protocol.resamples, protocol.processes) == (3, 500, 2)
    assert protocol.methods == (
        ControllerMethod("hpa", {"cpu_target_percent": 60}, {"tolerance": [0.0, 0.2]}, label="fast"),
        ControllerMethod("keda", "tuned", forecaster="naive", variant_of="fast"),
        ControllerMethod("kpa", label="small pods", changes={"cluster.services.web.cpu_request_cores": 0.25}),
        PolicyMethod("a.policy", optional=True, episodes=2),
        RunsMethod("logs", "maskable_ppo", "podgym/Burst-v0", ids=("podgym/Trace-v0",)),
        BoundMethod("clairvoyant", quotas=True),
    )
    written = json.loads(to_json(protocol.as_dict()))
    assert protocol_of(written, "protocol.json") == protocol


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("episodes: 4", "episdoes: 4", "the field episodes is missing"),
        ("name: mine", "name: mine\nrivl: hpa", "Did you mean 'rival'"),
        ("{controller: hpa}", "{controller: hpa, otpions: tuned}", r"methods\[0\].*Did you mean 'options'"),
        ("{controller: hpa}", "{policy: a, quotas: true}", "unknown field of methods.0. 'quotas'"),
        ("{controller: hpa}", "{contoller: hpa}", "needs one of controller, policy, runs, bound"),
        ("{controller: hpa}", "{controller: hpa, policy: a}", "and not two"),
        ("{controller: hpa}", "hpa", "must be a mapping"),
        ("{controller: hpa}", "{bound: upper}", "allowed: clairvoyant, lower_bound"),
        ("{controller: hpa}", "{bound: lower_bound, quotas: 1}", "true or false"),
        ("{controller: hpa}", "{controller: hpa, optional: maybe}", "true or false"),
        ("{controller: hpa}", "{controller: hpa, episodes: 5}", "whole number from 1 to 4"),
        ("{controller: hpa}", "{controller: 3}", "must be a string"),
        (
            "{controller: hpa}",
            "{controller: hpa, ids: [podgym/Brust-v0]}",
            "environment of methods.0. among the protocol's: 'podgym/Brust-v0'.*Did you mean 'podgym/Burst",
        ),
        ("{controller: hpa}", "{controller: hpa, ids: [podgym/Trace-v0]}", "allowed: podgym/Burst-v0"),
        ("{controller: hpa}", "{bound: lower_bound, ids: podgym/Burst-v0}", "methods.0..ids .*be a list"),
        ("{controller: hpa}", "{controller: hpa, ids: [3]}", "methods.0..ids.0. is 3; it must be a string"),
        ("{controller: hpa}", "{controller: hpa, ids: []}", "methods.0..ids must name one environment"),
        ("{controller: hpa}", "{controller: hpa, ids: [podgym/Burst-v0, podgym/Burst-v0]}", "each once"),
        ("methods:\n  - {controller: hpa}", "methods: hpa", "must be a list"),
        ("methods:\n  - {controller: hpa}", "methods: []", "methods is empty"),
        ("[podgym/Burst-v0]", "[podgym/Brust-v0]", "Did you mean 'podgym/Burst-v0'"),
        ("[podgym/Burst-v0]", "[podgym/Burst-v0, podgym/Burst-v0]", "each once"),
        ("episodes: 4", "episodes: 4.5", "whole number"),
        ("episodes: 4", "episodes: 4\npart: test\nfirst_seed: 210001", "'first_seed' is given twice"),
        ("first_seed: 210000", "first_seed: 3", "not all of part 'test', which has 200000 to 299999"),
        ("first_seed: 210000", "first_seed: 299998", "not all of part 'test'"),
        ("episodes: 4", "episodes: 4\npart: tset", "Did you mean 'test'"),
        ("episodes: 4", "episodes: 4\ntime_limit_s: 0", "seconds above 0"),
        ("name: mine", "name: [", "is no YAML"),
        ("name: mine", "name: &a mine\ndescription: *a", "an alias stands in line"),
        ("name: mine", "name: !!python/object/apply:os.getcwd []", "is no YAML"),
        ("name: mine", "name: 2026-13-45", "cannot be read"),
    ],
)
def test_what_is_wrong_is_said(old, new, words):
    assert old in GOOD
    with pytest.raises(InputError, match=f"(?s)mine.yml.*{words}"):
        parse_protocol(GOOD.replace(old, new), "mine.yml")


def test_no_protocol(tmp_path):
    with pytest.raises(InputError, match="must hold a protocol"):
        parse_protocol("- 1", "mine.yml")
    with pytest.raises(InputError, match="Did you mean 'families'"):
        read_protocol("familes")
    (tmp_path / "mine.yml").write_bytes(b"\xff")
    with pytest.raises(InputError, match="cannot be read"):
        read_protocol(tmp_path / "mine.yml")
    with pytest.raises(InputError, match=r"Did you mean 'mine.yml'"):
        read_protocol(tmp_path / "mien.yml")
