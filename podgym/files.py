"""Files: written whole or not at all, and missed with a hint."""

import difflib
import json
import math
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from podgym.errors import InputError


def usable_folder(path: str | Path) -> Path:
    """Return the folder of results as a path, before anything is computed for it; nothing is made yet.

    Raises:
        InputError: it, or a folder above it, is a file or cannot be written to.
    """
    folder = Path(path)
    existing = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not existing.is_dir():
        raise InputError(f"output folder {folder}: {existing} is a file; name a folder.")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(f"output folder {folder}: {existing} cannot be written to; name another folder.")
    return folder


def missing_with_hint(path: Path, suffixes: tuple[str, ...]) -> InputError:
    """Build the error for a file that is not there, with the closest name in its folder."""
    if not path.parent.is_dir():
        return InputError(f"there is no file {path}: the folder {path.parent} does not exist.")
    names = [entry.name for entry in path.parent.iterdir() if entry.name.lower().endswith(suffixes)]
    near = difflib.get_close_matches(path.name, names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return InputError(f"there is no file {path}.{hint}")


def write_atomically(path: Path, write: Callable[[Path], None]) -> Path:
    """Let ``write`` make a temporary file beside ``path``, then move it there in one step.

    Args:
        path: where the file is to be; missing folders are made.
        write: writes the file it is given, which has the ending of ``path``.

    Returns:
        ``path``.

    Raises:
        InputError: the file cannot be written; nothing of it is left behind.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".unfinished-") as scratch:
            draft = Path(scratch) / path.name
            write(draft)
            with draft.open("rb") as written:
                os.fsync(written.fileno())  # on the disk before it has the name
            os.replace(draft, path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}.") from error
    return path


def write_json(path: Path, content: Mapping[str, Any]) -> Path:
    """Write plain data as JSON; see ``write_atomically``."""
    text = to_json(content)
    return write_text(path, text + "\n")


def write_text(path: Path, text: str) -> Path:
    """Write text in UTF-8 in one step, see ``write_atomically``."""
    return write_atomically(path, lambda draft: _write_text(draft, text))


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def to_json(content: Mapping[str, Any]) -> str:
    """Return plain data as JSON text; numbers that are not finite become null."""
    return json.dumps(_finite(content), indent=2, allow_nan=False, default=_plain)


def _finite(value: Any) -> Any:  # noqa: ANN401  (any JSON value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value


def _plain(value: Any) -> Any:  # noqa: ANN401  (any value that JSON does not know)
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)
