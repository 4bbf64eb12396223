"""Folders that no report can be made of, and what is said of each."""

import json
import re
import shutil

import pytest

from podgym.errors import InputError
from podgym.eval.report import read_run


@pytest.fixture
def folder(rich_folder, tmp_path):
    shutil.copytree(rich_folder, tmp_path / "run")
    return tmp_path / "run"


def change(folder, name, edit):
    content = json.loads((folder / name).read_text(encoding="utf-8"))
    edit(content)
    (folder / name).write_text(json.dumps(content), encoding="utf-8")


def refused(folder):
    with pytest.raises(InputError) as caught:
        read_run(folder)
    return str(caught.value)


def test_what_was_written_is_read(folder):
    run = read_run(folder)
    assert [field.environment for field in run.fields] == list(run.protocol.ids)
    assert {field.rival.method for field in run.fields} == {"rule"}
    assert {field.bound.method for field in run.fields} == {"lower bound, quotas"}
    assert len(run.rows) == 2 * (6 * 30 + 5 * 30 + 4)


def test_the_rival_is_the_one_of_then(make_run):
    """What counts as best on dev may change with the package; a report chooses nobody anew."""
    made = make_run(ids=("podgym/FamilyBurst-v0",)).add("rule", [0.0] * 30).add("hpa", [9.0] * 30, tuned=True)
    run = read_run(made.write())
    assert run.fields[0].rival.method == "rule"
    assert run.fields[0].rival_choice == "named in the protocol"


def test_no_folder(tmp_path):
    message = refused(tmp_path / "nothing")
    assert "there is no folder" in message
    assert "podgym evaluate --protocol" in message


@pytest.mark.parametrize("name", ["summary.json", "protocol.json", "results.csv"])
def test_a_file_that_is_missing(folder, name):
    (folder / name).unlink()
    assert name in refused(folder)


def test_an_evaluation_that_is_not_finished(folder):
    (folder / "summary.json").unlink()
    assert "continue it with --resume" in refused(folder)


@pytest.mark.parametrize("name", ["summary.json", "protocol.json"])
def test_another_version(folder, name):
    change(folder, name, lambda content: content.update(format="podgym.other/7"))
    message = refused(folder)
    assert "podgym.other/7" in message
    assert "run the evaluation again" in message


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"text"'])
def test_no_json_of_ours(folder, text):
    (folder / "summary.json").write_text(text, encoding="utf-8")
    assert "summary.json" in refused(folder)


def test_a_column_that_is_missing(folder):
    change(folder, "summary.json", lambda content: content["summary"][0].pop("churn_lower"))
    assert "churn_lower" in refused(folder)


def test_an_entrant_of_another_kind(folder):
    change(folder, "protocol.json", lambda content: content["entrants"][0].pop("quotas"))
    assert "does not know" in refused(folder)


def test_a_protocol_that_is_none(folder):
    change(folder, "protocol.json", lambda content: content["protocol"].update(idz=[]))
    assert "idz" in refused(folder)


def test_a_mean_that_was_touched_up(folder):
    change(folder, "summary.json", lambda content: content["summary"][0].update(cost=1.0))
    message = refused(folder)
    assert "do not belong together" in message
    assert "--resume" in message


def test_an_episode_that_was_touched_up(folder):
    path = folder / "results.csv"
    path.write_text(path.read_text(encoding="utf-8").replace(",4.0,", ",3.9,", 1), encoding="utf-8")
    assert "core_hours" in refused(folder)


def test_an_episode_that_was_left_out(folder):
    path = folder / "results.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    del lines[1]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert re.search(r"30 episodes in one and 29", refused(folder))


def test_other_loads(folder):
    path = folder / "results.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("load 160003", "load x"), encoding="utf-8")
    assert "another hash" in refused(folder)


def test_a_method_that_vanished(folder):
    change(folder, "summary.json", lambda content: content["summary"].pop())
    assert "in one of them only" in refused(folder)


def test_a_failure_that_was_hidden(folder):
    def edit(content):
        (row,) = [row for row in content["summary"] if row["method"] == "broken"][:1]
        row["failure"] = ""

    change(folder, "summary.json", edit)
    assert "failure" in refused(folder)
