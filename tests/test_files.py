"""Files are written whole or not at all."""

import os
from pathlib import Path
from typing import Any

import pytest

from podgym.errors import InputError
from podgym.files import missing_with_hint, write_atomically


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "result.bin"
    write_atomically(path, lambda draft: draft.write_bytes(b"old") and None)

    def fail(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, function, fail)
    with pytest.raises(InputError, match="cannot be written: No space left on device"):
        write_atomically(path, lambda draft: draft.write_bytes(b"new") and None)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["result.bin"]


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def write(draft: Path) -> None:
        draft.write_bytes(b"half")
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError):
        write_atomically(tmp_path / "deep" / "result.bin", write)
    assert list((tmp_path / "deep").iterdir()) == []


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="cannot be written"):
        write_atomically(tmp_path / "file" / "result.bin", lambda draft: None)


def test_a_missing_file_is_named_with_the_closest(tmp_path: Path) -> None:
    (tmp_path / "load.csv").touch()
    (tmp_path / "loud.txt").touch()
    error = missing_with_hint(tmp_path / "laod.csv", (".csv",))
    assert "Did you mean 'load.csv'" in str(error)
    assert "folder" in str(missing_with_hint(tmp_path / "no" / "load.csv", (".csv",)))
    assert "Did you mean" not in str(missing_with_hint(tmp_path / "zebra.csv", (".csv",)))
