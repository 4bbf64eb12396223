"""The folder of a run: begun, refused, taken up again, finished."""

import json

import pytest

pytest.importorskip("yaml")

from podgym.errors import InputError
from podgym.train.folder import (
    begin_run,
    check_run,
    files_of_run,
    finish_run,
    result_document,
    run_folder,
    settings_of_run,
)
from podgym.train.results import DevResult, TrainingResult
from podgym.train.settings_file import settings_for

BURST = "podgym/Burst-v0"
RUN = {"environment": BURST, "algorithm": "ppo"}


def begin(folder, settings=None, *, resume=False, environment=BURST):
    settings = settings or settings_for("ppo", BURST)
    begin_run(folder, settings, environment=environment, algorithm="ppo", resume=resume)


def test_where_a_run_lies(tmp_path):
    assert run_folder(tmp_path, BURST, "ppo", 3) == tmp_path / "Burst-v0" / "ppo-seed3"


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_begins_with_its_settings(tmp_path, resume):
    settings = settings_for("ppo", BURST, changes={"seed": 3, "learning_rate": "lin_1e-3"})
    begin(tmp_path / "a" / "b", settings, resume=resume)
    text = (tmp_path / "a" / "b" / "config.yml").read_text()
    assert text.startswith(f"# podgym train --env {BURST} --algo ppo: every setting of this run\n{BURST}:\n")
    assert settings_of_run(tmp_path / "a" / "b", BURST, "ppo") == settings


def test_a_run_that_is_there_is_not_overwritten(tmp_path):
    begin(tmp_path)
    before = (tmp_path / "config.yml").read_bytes()
    with pytest.raises(
        InputError, match="holds a run; continue it with --resume, or start another with --seed"
    ):
        begin(tmp_path, settings_for("ppo", BURST, changes={"n_envs": 1024}))
    assert (tmp_path / "config.yml").read_bytes() == before


def test_a_run_goes_on_with_the_settings_it_began_with(tmp_path):
    begin(tmp_path)
    config = tmp_path / "config.yml"
    config.write_text(config.read_text() + "# a note\n")
    begin(tmp_path, resume=True)
    assert config.read_text().endswith("# a note\n")  # it is left as it is
    changed = settings_for("ppo", BURST, changes={"prior.cap": 4, "seed": 0})
    with pytest.raises(
        InputError, match=r"config.yml says prior.cap = 3.0, but it is 4.0 now.*Leave the option"
    ):
        begin(tmp_path, changed, resume=True)
    with pytest.raises(InputError, match="neither a block 'podgym/LowLoad-v0' nor"):
        begin(tmp_path, resume=True, environment="podgym/LowLoad-v0")


def test_an_empty_folder_is_free(tmp_path):
    (tmp_path / "run").mkdir()
    begin(tmp_path / "run")
    assert (tmp_path / "run" / "config.yml").is_file()


def test_a_run_killed_before_its_settings_were_written_begins_anew(tmp_path):
    (tmp_path / ".unfinished-x").mkdir()
    begin(tmp_path, resume=True)
    assert (tmp_path / "config.yml").is_file()


def test_checkpoints_without_settings_are_not_trusted(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(InputError, match=r"has checkpoints but no config.yml"):
        begin(tmp_path, resume=True)


def test_looking_writes_nothing(tmp_path):
    folder = tmp_path / "run"
    check_run(folder, settings_for("ppo", BURST), **RUN, resume=False)
    assert not folder.exists()


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file; name a folder"):
        begin(tmp_path / "file" / "run")


def test_the_result_is_written_as_it_is(tmp_path):
    best = DevResult(200, 80.0, 0.01, 3.0, 40.0, True)
    untrained = DevResult(0, 100.0, 0.02, 4.0, 30.0, True)
    result = TrainingResult(best, untrained, 400, 12.5, tmp_path / "best.policy")
    document = result_document(result, BURST, "ppo")
    assert document["best"]["cost"] == 80.0
    finish_run(tmp_path, document)
    assert json.loads((tmp_path / "result.json").read_text()) == document
    assert document["policy_file"] == str(tmp_path / "best.policy")
    begin(tmp_path, resume=True)
    assert [path.name for path in files_of_run(tmp_path)] == ["result.json", "config.yml"]
