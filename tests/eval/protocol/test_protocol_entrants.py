"""From declared methods to what decides: options, files, forecasters, and the choice of the rival."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from oracles.policies import describe, zero_policy

from podgym.agents import shipped
from podgym.agents.policy_file import save_policy
from podgym.baselines.tuned import tuned_entry, tuned_options
from podgym.envs.core import open_workload
from podgym.errors import InputError
from podgym.eval.protocol import BoundMethod, ControllerMethod, PolicyMethod, RunsMethod, entrants
from podgym.eval.protocol.entrants import best_by_dev, protocol_config, resolve

BURST, FLASH = "podgym/FamilyBurst-v0", "podgym/FamilyFlash-v0"


def labels(found):
    return [each.method for each in found]


def test_configuration_of_the_test_part_with_costs(make_protocol):
    protocol = make_protocol(changes={"episode_s": 60.0, "reward": {"preset": "paper"}})
    config = protocol_config(protocol, BURST)
    assert open_workload(config).part == "test"
    assert config.episode_s == 60.0
    assert config.reward.preset == "slo_cost"
    assert (
        "part"
        not in protocol_config(make_protocol(ids=("podgym/Burst-v0",)), "podgym/Burst-v0").workload_options
    )
    with pytest.raises(InputError, match="Did you mean 'episode_s'"):
        protocol_config(make_protocol(changes={"episod_s": 1}), BURST)


def test_options_of_controllers(make_protocol):
    found, remarks = resolve(
        make_protocol(
            ControllerMethod("hpa"),
            ControllerMethod("hpa", "tuned"),
            ControllerMethod("static", {"replicas": 4}, episodes=2),
            ControllerMethod("static", {"replicas": 4}, label="four"),
        )
    )
    assert labels(found) == ["hpa", "hpa tuned", "static replicas=4", "four"]
    assert [each.tuned for each in found] == [False, True, False, False]
    assert found[1].options == tuned_options("hpa", BURST)
    assert [each.episodes for each in found] == [3, 3, 2, 3]
    assert remarks == ()


def test_whoever_looks_at_forecasts_gets_the_shipped_forecaster(make_protocol):
    methods = [ControllerMethod(name) for name in ("hpa", "lstm_ga", "rule")]
    methods.append(ControllerMethod("rule", forecaster="oracle", label="knowing"))
    found, _ = resolve(make_protocol(*methods))
    assert found[0].forecaster is None
    assert found[1].forecaster.endswith("family-burst.forecaster")
    assert found[2].forecaster == found[1].forecaster
    assert found[3].forecaster == "oracle"


def test_a_varied_option_makes_variants(make_protocol):
    found, _ = resolve(make_protocol(ControllerMethod("hpa", "tuned", {"cpu_target_percent": [40, 60]})))
    assert labels(found) == [
        "hpa tuned",
        "hpa tuned cpu_target_percent=40",
        "hpa tuned cpu_target_percent=60",
    ]
    assert [each.variant_of for each in found] == [None, "hpa tuned", "hpa tuned"]
    assert found[2].options == {**found[0].options, "cpu_target_percent": 60}
    assert not found[2].tuned


def test_runs_are_training_seeds_of_one_method(make_protocol, make_runs):
    root = make_runs(seeds=(10, 2), names=("FamilyBurst-v0", "FamilyFlash-v0"))
    found, _ = resolve(make_protocol(RunsMethod(root), ids=(BURST, FLASH)))
    assert [(each.environment, each.method, each.training_seed) for each in found] == [
        (BURST, "ppo", 2), (BURST, "ppo", 10), (FLASH, "ppo", 2), (FLASH, "ppo", 10),
    ]  # fmt: skip
    assert found[3].policy.endswith("FamilyFlash-v0/ppo-seed10/best.policy")


def test_runs_of_one_folder_are_for_every_environment(make_protocol, make_runs):
    root = make_runs() + "/FamilyBurst-v0"
    found, _ = resolve(make_protocol(RunsMethod(root, label="generalist"), ids=(BURST, FLASH)))
    assert [each.policy for each in found[:2]] == [each.policy for each in found[2:]]


def test_a_matrix_of_trainings(make_protocol, make_runs):
    root = make_runs(seeds=(0,), names=("FamilyBurst-v0", "FamilyFlash-v0"))
    found, _ = resolve(make_protocol(RunsMethod(root, trained_on="each"), ids=(BURST, FLASH)))
    assert labels(found) == ["ppo of FamilyBurst-v0", "ppo of FamilyFlash-v0"] * 2
    one, _ = resolve(make_protocol(RunsMethod(root, trained_on=FLASH)))
    assert "FamilyFlash-v0" in one[0].policy


def test_a_method_may_take_part_on_some_environments(make_protocol, make_runs):
    """What it lacks elsewhere is neither missed nor remarked on."""
    own = RunsMethod(make_runs() + "/FamilyBurst-v0", trained_on=BURST, ids=(BURST,))
    bound = BoundMethod("lower_bound", ids=(FLASH,))
    found, remarks = resolve(make_protocol(ControllerMethod("hpa"), own, bound, ids=(BURST, FLASH)))
    assert [(each.environment, each.method) for each in found] == [
        (BURST, "hpa"), (BURST, "ppo"), (BURST, "ppo"), (FLASH, "hpa"), (FLASH, "lower bound"),
    ]  # fmt: skip
    assert remarks == ()
    missing = RunsMethod("nowhere", ids=(BURST,))
    with pytest.raises(InputError, match="there is no ppo-seed"):
        resolve(make_protocol(ControllerMethod("hpa"), missing, ids=(BURST, FLASH)))
    with pytest.raises(InputError, match=f"rival on {BURST}"):
        resolve(make_protocol(ControllerMethod("hpa"), bound, ids=(BURST, FLASH), rival="lower bound"))
    with pytest.raises(InputError, match=f"no method is left for {BURST}"):
        resolve(make_protocol(bound, ids=(BURST, FLASH)))


def test_pretrained_policies(make_protocol, monkeypatch, tmp_path):
    monkeypatch.setattr(shipped, "files", lambda package: tmp_path)
    policy = PolicyMethod("pretrained", optional=True)
    found, remarks = resolve(make_protocol(ControllerMethod("hpa"), policy))
    assert labels(found) == ["hpa"]
    assert "no policy for podgym/FamilyBurst-v0" in remarks[0]
    for seed in (0, 1):
        file = tmp_path / "pretrained" / "FamilyBurst-v0" / f"seed{seed}.policy"
        save_policy(zero_policy(describe(BURST)), file)
    found, _ = resolve(make_protocol(policy))
    assert [(each.method, each.kind, each.training_seed) for each in found] == [
        ("ppo", "policy", 0),
        ("ppo", "policy", 1),
    ]
    matrix = PolicyMethod("pretrained", "each", optional=True)
    found, _ = resolve(make_protocol(ControllerMethod("hpa"), matrix, ids=(BURST, FLASH)))
    assert labels(found) == ["hpa", *["ppo of FamilyBurst-v0"] * 2] * 2


def test_bounds_where_there_can_be_some(make_protocol):
    methods = (
        BoundMethod("lower_bound"),
        BoundMethod("lower_bound", quotas=True),
        BoundMethod("clairvoyant"),
    )
    found, _ = resolve(make_protocol(*methods))
    assert labels(found) == ["lower bound", "lower bound, quotas", "clairvoyant"]
    optional = BoundMethod("lower_bound", optional=True)
    changes = {"episode_s": 60.0, "randomisation": {"cpu_demand": [0.8, 1.25]}}
    _, remarks = resolve(make_protocol(ControllerMethod("hpa"), optional, changes=changes))
    assert "randomisation" in remarks[0]
    with pytest.raises(InputError, match="one service"):
        resolve(make_protocol(methods[0], ids=("podgym/Boutique-v0",), changes={}))


def test_the_rival_is_chosen_on_dev(make_protocol, monkeypatch):
    scores = {"hpa": 5.0, "keda": 3.0, "kpa": None, "rule": 4.0}
    methods = [ControllerMethod(name, "tuned") for name in scores]
    found, _ = resolve(make_protocol(*methods, ControllerMethod("hpa")))

    def entry(controller, environment):
        assert environment == BURST
        return SimpleNamespace(ledger={"tuned_dev_mean": scores[controller], **extra.get(controller, {})})

    same = {"dev_seeds": [100_000, 100_001]}
    extra = dict.fromkeys(scores, same)
    monkeypatch.setattr(entrants, "tuned_entry", entry)
    assert best_by_dev(found) == "keda tuned"
    assert best_by_dev(found[-1:]) is None
    # What was run on more episodes is judged by those that all were run on.
    extra = {**extra, "rule": {"dev_seeds": [100_000, 100_003], "tuned_dev_values": [2.0, 3.0, 5.0, 6.0]}}
    assert best_by_dev(found) == "rule tuned"
    extra["rule"]["tuned_dev_values"] = [4.0, 5.0, 0.0, 0.0]
    assert best_by_dev(found) == "keda tuned"


def test_dev_results_ship_for_every_family(make_protocol):
    found, _ = resolve(make_protocol(ControllerMethod("all", "tuned")))
    best = best_by_dev(found)
    means = [tuned_entry(each.controller, BURST).ledger["tuned_dev_mean"] for each in found]
    assert found[means.index(min(means))].method == best


PODS = {"cluster.services.web.cpu_request_cores": 0.25, "cluster.services.web.memory_request_bytes": 2.0**28}


def test_options_that_were_tuned_elsewhere(make_protocol, tmp_path):
    path = tmp_path / "result.json"
    result = {
        "format": "podgym.tuning/1", "controller": "hpa", "environment": BURST,
        "changes": [f"{name}={value}" for name, value in reversed(PODS.items())],
        "best": {"options": {"cpu_target_percent": 51}},
    }  # fmt: skip
    path.write_text(json.dumps(result))
    method = ControllerMethod("hpa", str(path), label="small pods", changes=PODS)
    (found,), _ = resolve(make_protocol(method))
    assert (found.method, found.options, found.changes) == ("small pods", {"cpu_target_percent": 51}, PODS)
    assert best_by_dev([replace(found, tuned=True)]) is None  # not the environment of the others
    for wrong, words in (
        (replace(method, changes={}), "tuned for changes"),
        (replace(method, controller="keda"), "tuned for controller 'hpa'"),
    ):
        with pytest.raises(InputError, match=words):
            resolve(make_protocol(wrong))
    with pytest.raises(InputError, match="tuned for environment"):
        resolve(make_protocol(method, ids=(FLASH,)))


def test_what_is_paid_is_the_same_for_all():
    with pytest.raises(InputError, match="a label that says so"):
        ControllerMethod("hpa", changes=PODS)
    for name in ("reward.preset", "reward", "workload", "episode_s"):
        with pytest.raises(InputError, match="must be the same for all"):
            PolicyMethod("a.policy", label="own", changes={name: 1})


@pytest.mark.parametrize(
    ("methods", "fields", "words"),
    [
        ((ControllerMethod("hpaa"),), {}, "Did you mean 'hpa'"),
        ((ControllerMethod("hpa", "tuend"),), {}, "Did you mean 'tuned'"),
        ((ControllerMethod("hpa", {"replicas": 1}),), {}, "option of controller 'hpa'"),
        ((ControllerMethod("random", "tuned"),), {}, "was not tuned on podgym/FamilyBurst-v0"),
        ((ControllerMethod("all"),), {}, "goes with options 'tuned'"),
        ((ControllerMethod("hpa"), ControllerMethod("hpa")), {}, "are called 'hpa'"),
        ((ControllerMethod("hpa", vary={"tolerance": [0.1], "behavior": [1]}),), {}, "a front varies one"),
        ((ControllerMethod("hpa", vary={"toleranc": [0.1]}),), {}, "Did you mean 'tolerance'"),
        ((ControllerMethod("hpa", vary={"tolerance": 0.1}),), {}, "must be a list"),
        ((ControllerMethod("hpa", variant_of="keda"),), {}, "is a variant of"),
        ((ControllerMethod("hpa"),), {"rival": "hap"}, "Did you mean 'hpa'"),
        ((PolicyMethod("no.policy"),), {}, "no file no.policy"),
        ((PolicyMethod("no.policy", trained_on="each"),), {}, "a file is one policy"),
        ((PolicyMethod("pretrained", trained_on="eech"),), {}, "Did you mean 'each'"),
        ((RunsMethod("nowhere"),), {}, "podgym train --env podgym/FamilyBurst-v0 --algo ppo"),
        ((PolicyMethod("no.policy", optional=True),), {}, "no method is left"),
        ((ControllerMethod("hpa", forecaster="no.onnx"),), {}, "no.onnx"),
    ],
)
def test_methods_that_are_not_to_be_had(make_protocol, methods, fields, words):
    with pytest.raises(InputError, match=words):
        resolve(make_protocol(*methods, **fields))
