"""The tuned options that come with the package: there for all, usable, and better than the defaults."""

import pytest

from podgym.baselines import make_controller
from podgym.baselines.search_spaces import SEARCH_SPACES
from podgym.baselines.tuned import TunedEntry, tuned_entries, tuned_options
from podgym.envs.registration import ENVIRONMENT_IDS

ENTRIES = tuned_entries()


def name(entry: TunedEntry) -> str:
    return f"{entry.controller} on {entry.environment}"


def test_every_controller_was_tuned_for_every_id() -> None:
    expected = {(controller, each) for controller in (*SEARCH_SPACES, "rule") for each in ENVIRONMENT_IDS}
    assert {(entry.controller, entry.environment) for entry in ENTRIES} == expected


@pytest.mark.parametrize("entry", ENTRIES, ids=name)
def test_options_make_a_controller(entry: TunedEntry) -> None:
    assert make_controller(entry.controller, **entry.options).name == entry.controller
    assert tuned_options(entry.controller, entry.environment) == dict(entry.options)


@pytest.mark.parametrize("entry", ENTRIES, ids=name)
def test_the_ledger_says_what_was_spent_and_gained(entry: TunedEntry) -> None:
    ledger = entry.ledger
    assert ledger["spent_steps"] <= ledger["budget_steps"]
    assert ledger["further_spent_steps"] <= ledger["further_budget_steps"]
    assert ledger["objective"] == {"name": "slo_cost", "better": "lower"}
    assert ledger["tuned_dev_mean"] <= ledger["default_dev_mean"]
    assert f"podgym tune {entry.controller} --env {entry.environment}" in ledger["command"]


def test_one_budget_for_all_of_an_id_but_more_for_the_rule_that_learns() -> None:
    """The rule gets as many searches of as many steps as a policy gets trainings of frames."""
    budgets = {
        (each.environment, each.ledger["budget_steps"]) for each in ENTRIES if each.controller != "rule"
    }
    assert len(budgets) == len(ENVIRONMENT_IDS)
    for entry in ENTRIES:
        own = entry.environment.removeprefix("podgym/")
        if entry.controller == "rule" and (own == "Trace-v0" or own.startswith("Family")):
            assert entry.ledger["budget_steps"] == 4_000_000
            assert [each["seed"] for each in entry.ledger["all_searches"]] == [0, 1, 2, 3, 4]


def test_of_several_searches_the_best_on_dev_ships() -> None:
    for entry in ENTRIES:
        searches = entry.ledger.get("all_searches", [])
        assert all(entry.ledger["tuned_dev_mean"] <= each["tuned_dev_mean"] for each in searches)
