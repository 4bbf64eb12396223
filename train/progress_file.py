"""The table of a run: one row per iteration and one per evaluation, for a spreadsheet or pandas."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from podgym.errors import InputError
from podgym.files import write_text

FRAMES = "time/frames"
"""The first column: frames trained."""


class ProgressFile:
    """A CSV file that grows by rows, and by columns when a row brings a new one."""

    def __init__(self, path: Path, frames: int = 0) -> None:
        """Open the file of a run.

        Args:
            path: the file; it need not exist.
            frames: frames that the run goes on from: rows beyond are from before an interruption, come
                again, and are removed; 0: the run begins, and the table is emptied.

        Raises:
            InputError: the file cannot be read or written.
        """
        self._path = path
        self._columns: list[str] = [FRAMES]
        try:
            kept = self._rows(frames) if frames and path.is_file() else []
            self._rewrite(kept)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{path} cannot be read: {error}; move it away.") from error

    def append(self, frames: int, values: Mapping[str, float]) -> None:
        """Add a row; columns that it does not have stay empty in it."""
        new = sorted(set(values) - set(self._columns))
        if new:
            self._columns += new
            self._rewrite(self._rows(None))
        try:
            with self._path.open("a", encoding="utf-8", newline="") as file:
                csv.DictWriter(file, self._columns, lineterminator="\n").writerow({**values, FRAMES: frames})
        except OSError as error:
            raise InputError(f"{self._path} cannot be written: {error.strerror or error}.") from error

    def _rows(self, frames: int | None) -> list[dict[str, str]]:
        """Return the rows of the file up to some frames (None: all); a row cut off by a kill is left out."""
        with self._path.open(encoding="utf-8", newline="") as file:
            content = file.read()
        whole = content[: content.rfind("\n") + 1]
        reader = csv.DictReader(io.StringIO(whole))
        self._columns += [name for name in reader.fieldnames or () if name not in self._columns]
        rows = [row for row in reader if None not in row and None not in row.values()]
        return [row for row in rows if frames is None or _frames_of(row) <= frames]

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, self._columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(self._path, text.getvalue())


def _frames_of(row: Mapping[str, str]) -> float:
    try:
        return float(row.get(FRAMES, ""))
    except ValueError:
        return float("inf")
