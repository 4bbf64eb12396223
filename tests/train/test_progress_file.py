"""The table of a run: rows, columns that come later, and going on after a kill."""

import csv

import pytest

from podgym.errors import InputError
from podgym.train.progress_file import ProgressFile


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_rows_and_columns_grow(tmp_path):
    path = tmp_path / "progress.csv"
    table = ProgressFile(path)
    table.append(0, {"dev/cost": 9.5})
    table.append(100, {"train/loss": 0.1, "policy/entropy": 1 / 3})
    table.append(200, {"train/loss": 0.05})
    assert path.read_text().splitlines()[0] == "time/frames,dev/cost,policy/entropy,train/loss"
    assert [row["time/frames"] for row in rows(path)] == ["0", "100", "200"]
    assert [row["dev/cost"] for row in rows(path)] == ["9.5", "", ""]
    assert float(rows(path)[1]["policy/entropy"]) == 1 / 3
    assert [entry.name for entry in tmp_path.iterdir()] == ["progress.csv"]


def test_a_run_that_goes_on_forgets_what_comes_again(tmp_path):
    path = tmp_path / "progress.csv"
    table = ProgressFile(path)
    for frames in (0, 100, 200, 300):
        table.append(frames, {"a": float(frames)})
    table = ProgressFile(path, frames=200)
    table.append(300, {"a": -1.0, "b": 2.0})
    assert [(row["time/frames"], row["a"], row["b"]) for row in rows(path)] == [
        ("0", "0.0", ""), ("100", "100.0", ""), ("200", "200.0", ""), ("300", "-1.0", "2.0")
    ]  # fmt: skip


def test_a_new_run_begins_an_empty_table(tmp_path):
    path = tmp_path / "progress.csv"
    ProgressFile(path).append(0, {"a": 1.0})
    ProgressFile(path)
    assert rows(path) == []


@pytest.mark.parametrize(
    "torn", ["300,3", "300,3.0,", "300", "300,3.0", "nonsense,1.0\n", "1,2,3,4\n", "300\n"]
)
def test_a_row_cut_off_by_a_kill_is_left_out(tmp_path, torn):
    path = tmp_path / "progress.csv"
    ProgressFile(path).append(200, {"a": 2.0})
    with path.open("a") as file:
        file.write(torn)
    ProgressFile(path, frames=400).append(300, {"a": 4.0})
    assert [row["a"] for row in rows(path)] == ["2.0", "4.0"]


def test_a_file_that_is_no_table_is_named(tmp_path):
    path = tmp_path / "progress.csv"
    path.write_bytes(b"\xff\xfe\n")
    with pytest.raises(InputError, match=r"progress.csv cannot be read: .*move it away"):
        ProgressFile(path, frames=1)


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    path = tmp_path / "progress.csv"
    table = ProgressFile(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(InputError, match=r"progress.csv cannot be written"):
        table.append(1, {})
