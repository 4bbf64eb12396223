"""The tuned parameters that ship with the package, and how they get there."""

import copy
import json

import pytest

from podgym.baselines import tuned
from podgym.baselines.tuned import parse_tuned, tuned_entries, tuned_entry, tuned_options
from podgym.errors import InputError
from podgym.eval.tuning.ship import entry_of, merged, ship


def result(controller="hpa", environment="podgym/Burst-v0", options=None, **changes):
    fields = dict.fromkeys(
        ("method", "forecast", "forecaster", "seed", "budget_steps", "spent_steps", "further_budget_steps",
         "further_spent_steps", "episode_steps", "candidates", "configuration_sha256", "versions", "command"),
        0,
    )  # fmt: skip
    document = {
        "format": "podgym.tuning/1",
        **fields,
        "controller": controller,
        "environment": environment,
        "changes": [],
        "objective": {"name": "slo_cost", "better": "lower"},
        "search_space": ["declared"],
        "train_seeds": [0, 1, 2],
        "dev_seeds": [100_000, 100_001],
        "searches": [
            {"search_space": ["declared"], "edges": ["x"]},
            {"search_space": ["wider"], "edges": []},
        ],
        "default": {"dev_mean": 12.5},
        "best": {
            "dev_mean": 11.25,
            "dev_values": [11.0, 11.5],
            "options": options or {"cpu_target_percent": 73},
        },
    }
    return {**document, **changes}


@pytest.fixture
def shipped(monkeypatch):
    """Put a document in place of the packaged file."""

    def put(document):
        entries = parse_tuned(json.dumps(document))
        monkeypatch.setattr(tuned, "_shipped", lambda: entries)

    return put


def write(path, document):
    path.write_text(json.dumps(document))
    return path


def test_from_results_to_options(shipped):
    shipped(merged({}, [result(), result("rule", options={"weights": [0.5, -1.0]})]))
    assert tuned_options("hpa", "podgym/Burst-v0") == {"cpu_target_percent": 73}
    assert tuned_options("rule", "podgym/Burst-v0") == {"weights": (0.5, -1.0)}
    assert tuned_options("hpa", "podgym/Trace-v0") is None
    assert tuned_options("static", "podgym/Burst-v0") is None
    assert [entry.controller for entry in tuned_entries()] == ["hpa", "rule"]
    entry = tuned_entry("hpa", "podgym/Burst-v0")
    assert entry is not None
    assert (entry.ledger["default_dev_mean"], entry.ledger["tuned_dev_mean"]) == (12.5, 11.25)
    assert (entry.ledger["search_space"], entry.ledger["searched_space"]) == (["declared"], ["wider"])
    assert (entry.ledger["train_seeds"], entry.ledger["dev_seeds"]) == ([0, 2], [100_000, 100_001])


def test_options_are_a_copy(shipped):
    shipped(merged({}, [result()]))
    tuned_options("hpa", "podgym/Burst-v0")["cpu_target_percent"] = 1
    assert tuned_options("hpa", "podgym/Burst-v0") == {"cpu_target_percent": 73}


def test_default_options_that_won_are_no_options():
    assert entry_of([result(options={})])["options"] is not None


def test_the_file_does_not_depend_on_the_order_of_the_results(tmp_path):
    paths = [
        write(tmp_path / f"{index}.json", result(controller, environment))
        for index, (controller, environment) in enumerate(
            [("hpa", "podgym/Burst-v0"), ("keda", "podgym/Burst-v0"), ("hpa", "podgym/Trace-v0")]
        )
    ]
    forth = ship(paths, tmp_path / "forth.json")
    back = ship(paths[::-1], tmp_path / "back.json")
    one_by_one = tmp_path / "one.json"
    for path in paths:
        ship([path], one_by_one)
    assert forth.read_bytes() == back.read_bytes() == one_by_one.read_bytes()
    assert len(parse_tuned(forth.read_text())) == 3


def test_a_new_result_replaces_its_own_entry_only():
    before = merged({}, [result(), result("keda")])["entries"]
    untouched = copy.deepcopy(before)
    after = merged(before, [result(options={"cpu_target_percent": 60})])["entries"]
    assert after["hpa"]["podgym/Burst-v0"]["options"] == {"cpu_target_percent": 60}
    assert after["keda"] == before["keda"]
    assert before == untouched


def test_of_several_searches_the_best_on_dev_is_kept_and_all_are_named():
    def search(seed, dev_mean):
        best = {"dev_mean": dev_mean, "dev_values": [dev_mean], "options": {"cpu_target_percent": 50 + seed}}
        return result(seed=seed, spent_steps=100 + seed, further_spent_steps=7, best=best)

    searches = [search(2, 9.0), search(0, 11.0), search(1, 9.0)]
    for order in (searches, searches[::-1]):
        entry = merged({}, order)["entries"]["hpa"]["podgym/Burst-v0"]
        assert entry["options"] == {"cpu_target_percent": 51}
        assert entry["ledger"]["seed"] == 1
        assert [each["seed"] for each in entry["ledger"]["all_searches"]] == [0, 1, 2]
        assert entry["ledger"]["all_searches"][2] == {"seed": 2, "spent_steps": 109, "tuned_dev_mean": 9.0}


def test_what_is_not_shipped(tmp_path):
    with pytest.raises(InputError, match="two results for controller 'hpa' on 'podgym/Burst-v0' with seed 0"):
        merged({}, [result(), result()])
    for name in ("budget_steps", "dev_seeds"):
        with pytest.raises(InputError, match=f"differ in {name}"):
            merged({}, [result(), result(seed=1, **{name: [3]})])
    with pytest.raises(InputError, match=r"of a changed environment \(episode_s=60\)"):
        merged({}, [result(changes=["episode_s=60"])])
    with pytest.raises(InputError, match="not a readable JSON file"):
        ship([tmp_path / "none.json"], tmp_path / "tuned.json")
    assert not (tmp_path / "tuned.json").exists()


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"format": "podgym.tuned/1"}', '{"format": "podgym.tuned/1", "entries": {"hpa": 3}}'],
)
def test_another_file_holds_no_tuned_parameters(tmp_path, text):
    with pytest.raises(InputError, match="not a file of tuned parameters"):
        parse_tuned(text)
    path = tmp_path / "tuned.json"
    path.write_text(text)
    with pytest.raises(InputError, match="not a file of tuned parameters"):
        ship([], path)


def test_another_format_is_named():
    with pytest.raises(InputError, match=r"of format 'podgym.tuned/9'; 'podgym.tuned/1' is needed"):
        parse_tuned('{"format": "podgym.tuned/9", "entries": {}}')


def test_what_ships_can_be_made():
    from podgym.baselines import make_controller

    for entry in tuned_entries():
        assert make_controller(entry.controller, **entry.options).name
        assert entry.ledger["tuned_dev_mean"] <= entry.ledger["default_dev_mean"]
