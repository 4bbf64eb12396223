"""The ledger, and searches that are killed and continued."""

import json

import pytest
from oracles.tuning_problem import EPISODE_STEPS, bowl

from podgym.errors import InputError
from podgym.eval.tuning.ledger import Ledger, read_ledger

BUDGET = {"budget": 60 * EPISODE_STEPS, "further": 60 * EPISODE_STEPS}


def sloped(options, seed):
    """Best at the upper edge of x, so that there is a further search too."""
    return bowl(options, seed) - 20.0 * options["x"]


def summary(run):
    best = run.found.best
    return run.lines, best.number, best.options, best.values, run.spent_steps


@pytest.fixture
def whole(search, tmp_path):
    return search(sloped, tmp_path / "whole.jsonl", **BUDGET)


def test_the_search_of_these_tests_has_all_kinds_of_lines(whole):
    assert {(line.get("kind"), line.get("stage")) for line in whole.lines[1:]} == {
        ("evaluation", "screen"),
        ("evaluation", "promote"),
        ("evaluation", "choose"),
        ("widening", None),
    }


@pytest.mark.parametrize("share", [0.0, 0.003, 0.1, 0.33, 0.5, 0.71, 0.9, 0.999, 1.0])
def test_a_ledger_cut_anywhere_is_continued_to_the_same_result(search, tmp_path, whole, share):
    content = (tmp_path / "whole.jsonl").read_bytes()
    path = tmp_path / "cut.jsonl"
    path.write_bytes(content[: round(share * len(content))])
    resumed = search(sloped, path, resume=True, **BUDGET)
    assert path.read_bytes() == content
    assert summary(resumed) == summary(whole)
    kept = content[: round(share * len(content))].count(b'"kind": "evaluation"')
    assert len(resumed.evaluations.episodes) <= len(whole.evaluations.episodes) - max(kept - 1, 0)


def test_a_search_killed_again_and_again_comes_to_the_same_result(search, tmp_path, whole):
    path, kills = tmp_path / "killed.jsonl", 0
    while True:
        try:
            resumed = search(sloped, path, resume=True, stop_after=23, **BUDGET)
            break
        except KeyboardInterrupt:
            kills += 1
    assert kills >= 3
    assert summary(resumed) == summary(whole)
    assert path.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_a_finished_search_runs_nothing_again(search, tmp_path, whole):
    again = search(sloped, tmp_path / "whole.jsonl", resume=True, stop_after=0, **BUDGET)
    assert summary(again) == summary(whole)


def test_a_ledger_is_not_overwritten(search, tmp_path, whole):
    with pytest.raises(InputError, match=r"is the ledger of an earlier search; continue it with --resume"):
        search(sloped, tmp_path / "whole.jsonl", **BUDGET)


def test_a_ledger_of_another_search_is_refused(search, tmp_path, whole):
    with pytest.raises(InputError, match=r"of another search \(seed: 0 there, 1 now\)"):
        search(sloped, tmp_path / "whole.jsonl", resume=True, seed=1, **BUDGET)


def test_a_ledger_that_was_changed_is_refused(search, tmp_path, whole):
    path = tmp_path / "whole.jsonl"
    lines = path.read_text().splitlines()
    changed = json.loads(lines[5])
    changed["options"]["x"] += 1e-9
    lines[5] = json.dumps(changed)
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match=r"line 6: options is .* the ledger was changed"):
        search(sloped, path, resume=True, **BUDGET)


@pytest.mark.parametrize("content", ["no JSON\n", "[1]\n", '{"format": "something else"}\n', "3\n"])
def test_another_file_is_no_ledger(tmp_path, content):
    path = tmp_path / "ledger.jsonl"
    path.write_text(content)
    with pytest.raises(InputError, match="is not a ledger"):
        Ledger(path, {}, resume=True)
    with pytest.raises(InputError, match="is not a ledger"):
        read_ledger(path)
    assert path.read_text() == content


def test_missing_and_empty_files(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_ledger(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(InputError, match="is empty"):
        read_ledger(tmp_path / "empty.jsonl")
    with Ledger(tmp_path / "new" / "ledger.jsonl", {"a": (1, 2)}, resume=True) as ledger:
        assert ledger.recorded({}) is None
        assert ledger.add({"b": 0.1 + 0.2, "c": (1,)}) == {"b": 0.1 + 0.2, "c": [1]}
    first, second = read_ledger(tmp_path / "new" / "ledger.jsonl")
    assert first["a"] == [1, 2]
    assert second["b"] == 0.1 + 0.2


def test_a_folder_that_cannot_be_used(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be used"):
        Ledger(tmp_path / "file" / "ledger.jsonl", {})
