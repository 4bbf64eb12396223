"""The ledger: a JSON Lines file of every evaluation, from which a search that was killed is continued.

The first line says what is searched. Each further line is an evaluation (one candidate on some episodes) or a
remark (a range that was widened). A search is deterministic, so continuing is repeating: as long as the file
has lines, the search takes its results from them and checks that it would have run the same; then it runs on.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from podgym.errors import InputError

FORMAT = "podgym.tuning-ledger/1"
Line = dict[str, Any]
"""One line as plain data."""


class Ledger:
    """The lines so far, and the file that further ones are added to.

    A line is on the disk before the next one is begun.
    """

    def __init__(self, path: Path, header: Mapping[str, Any], *, resume: bool = False) -> None:
        """Begin a ledger, or read one to continue it.

        Args:
            path: the file; missing folders are made.
            header: what is searched; a ledger is only continued by a search with an equal header.
            resume: continue a file that is there. Without one, begin.

        Raises:
            InputError: there is a ledger already (without ``resume``), it belongs to another search, or the
                file cannot be read or written.
        """
        self.path = path
        first = _plain({"format": FORMAT, **header})
        try:
            lines, size = _read(path) if path.exists() else ([], 0)
            if lines and not resume:
                raise InputError(
                    f"{path} is the ledger of an earlier search; continue it with --resume, or name another "
                    "output folder."
                )
            if lines and lines[0] != first:
                raise _other_search(path, lines[0], first)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: IO[str] = path.open("r+" if lines else "w", encoding="utf-8", newline="\n")
        except OSError as error:
            raise InputError(f"{path} cannot be used: {error.strerror or error}.") from error
        self._recorded = lines[1:]
        self._at = 0
        if lines:  # what a kill left of a last line goes
            self._file.truncate(size)
            self._file.seek(size)
        else:
            self._write(first)

    def __enter__(self) -> "Ledger":
        """Return the ledger."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._file.close()

    def recorded(self, expected: Mapping[str, Any]) -> Line | None:
        """Return the next recorded line, or None when all have been taken.

        Args:
            expected: fields that it must have if the search is the one that was recorded.

        Raises:
            InputError: the line says something else.
        """
        if self._at == len(self._recorded):
            return None
        line = self._recorded[self._at]
        for key, value in _plain(expected).items():
            if key not in line or line[key] != value:
                raise InputError(
                    f"{self.path}, line {self._at + 2}: {key} is {line.get(key)!r} where the search has "
                    f"{value!r}; the ledger was changed, or written by other software. Start afresh."
                )
        self._at += 1
        return line

    def add(self, line: Mapping[str, Any]) -> Line:
        """Write a line behind the last one and return it as it will be read."""
        if self._at != len(self._recorded):
            raise RuntimeError("a line was added before all recorded ones were taken.")
        plain = _plain(line)
        self._write(plain)
        return plain

    def note(self, line: Mapping[str, Any]) -> Line:
        """Write a line, or take it from the record if it is there."""
        return self.recorded(line) or self.add(line)

    def _write(self, line: Line) -> None:
        try:
            self._file.write(_text(line))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise InputError(f"{self.path} cannot be written: {error.strerror or error}.") from error


def read_ledger(path: Path) -> list[Line]:
    """Return the lines of a ledger, the one that says what was searched first.

    Raises:
        InputError: there is no such file, or it is no ledger.
    """
    try:
        lines, _ = _read(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error
    if not lines:
        raise InputError(f"{path} is empty; it is no ledger.")
    return lines


def _read(path: Path) -> tuple[list[Line], int]:
    """Return the whole lines of a file and their size in bytes; a kill may have left a part of one more."""
    content = path.read_bytes()
    size = content.rfind(b"\n") + 1
    try:
        lines = [json.loads(text) for text in content[:size].splitlines()]
    except ValueError as error:
        raise InputError(f"{path} is not a ledger: a line of it is not JSON.") from error
    if any(not isinstance(line, dict) for line in lines) or (lines and lines[0].get("format") != FORMAT):
        raise InputError(f"{path} is not a ledger of format {FORMAT}.")
    return lines, size


def _other_search(path: Path, found: Line, wanted: Line) -> InputError:
    keys = [key for key in wanted if found.get(key) != wanted[key]] + [
        key for key in found if key not in wanted
    ]
    what = "; ".join(
        f"{key}: {str(found.get(key))[:60]} there, {str(wanted.get(key))[:60]} now" for key in keys
    )
    return InputError(f"{path} is the ledger of another search ({what}); name another output folder.")


def _text(line: Line) -> str:
    return json.dumps(line, allow_nan=False) + "\n"


def _plain(line: Mapping[str, Any]) -> Line:
    """Return a line as it will be read back: tuples become lists, numbers stay what they are."""
    plain: Line = json.loads(json.dumps(line, allow_nan=False))
    return plain
