"""Checkpoints of a training run: complete or not there, and nothing in them can run.

A checkpoint is two files: ``checkpoint-000012.pt`` with the tensors and plain values of interval 12, and
``checkpoint-000012.json``, the manifest with the checksum of the first. The manifest is written last, so a
checkpoint whose manifest is there is complete. A writer may be killed at any moment: what it leaves behind
is not a checkpoint, and the one before is only removed when there are two newer ones.
"""

import hashlib
import io
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from podgym.errors import InputError
from podgym.files import write_atomically, write_text
from podgym.train.settings import first_difference

FORMAT = "podgym checkpoint"
FORMAT_VERSION = 1
"""Raised whenever an older program could not use the files."""
KEPT = 2
"""Intervals that are kept: should the newest be damaged, the one before is there."""

_MANIFEST = re.compile(r"checkpoint-(\d{6,})\.json")
_STATE = re.compile(r"checkpoint-(\d{6,})\.pt")
_UNFINISHED = ".unfinished-*"  # what `write_atomically` leaves when it is killed
_PLAIN = (bool, int, float, str, type(None))


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A checkpoint as read."""

    index: int
    """Interval that it was written after, from 1."""
    state: dict[str, Any]
    """What was saved: tensors and plain values."""
    remarks: tuple[str, ...]
    """What is to be told of newer checkpoints that could not be used; one sentence each."""


class _DamagedError(Exception):
    """A checkpoint that cannot be used; the text says why."""


def save_checkpoint(folder: Path, index: int, state: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Write the checkpoint of an interval, and remove those that are older than the one before it.

    Args:
        folder: where the checkpoints of the run lie.
        index: the interval, from 1.
        state: nested mappings and lists of tensors, numbers, strings and None.
        settings: everything that must be the same when the run goes on, as plain data.

    Raises:
        InputError: the files cannot be written; the checkpoints that are there stay as they are.
        TypeError: the state holds something else.
    """
    content = _plain(state, "state")
    state_path, manifest_path = _paths(folder, index)
    for leftover in folder.glob(_UNFINISHED):
        shutil.rmtree(leftover, ignore_errors=True)
    # Should this interval have been written before: its manifest must never stand beside other contents.
    manifest_path.unlink(missing_ok=True)
    # Into memory first: on a full disk torch's own writing ends in an error that names neither disk nor file.
    archive = io.BytesIO()
    torch.save(content, archive)

    def write(draft: Path) -> None:
        draft.write_bytes(archive.getbuffer())

    write_atomically(state_path, write)
    # Through JSON once, so that what is compared later is what was written.
    plain_settings = json.loads(json.dumps(settings))
    manifest = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "index": index,
        "sha256": {state_path.name: hashlib.sha256(archive.getbuffer()).hexdigest()},
        "settings_sha256": _digest(plain_settings),
        "settings": plain_settings,
    }
    write_text(manifest_path, json.dumps({**manifest, "manifest_sha256": _digest(manifest)}, indent=2) + "\n")
    _remove_all_but_newest(folder, index)


def latest_checkpoint(folder: Path, settings: Mapping[str, Any]) -> Checkpoint | None:
    """Read the newest checkpoint that is whole.

    Args:
        folder: where the checkpoints of the run lie; need not exist.
        settings: see ``save_checkpoint``.

    Returns:
        None if no checkpoint was written yet.

    Raises:
        InputError: a checkpoint of other settings (the message names the first that differs) or of another
            format version, or every checkpoint is damaged.
    """
    remarks: list[str] = []
    for index in sorted(_indices(folder, _MANIFEST), reverse=True):
        try:
            manifest = _read_manifest(folder, index)
            _check_settings(folder, manifest, settings)
            return Checkpoint(index, _read_state(folder, index, manifest), tuple(remarks))
        except _DamagedError as damage:
            remarks.append(f"checkpoint {index} in {folder} {damage} and is left out.")
    if remarks:
        raise InputError(
            f"no checkpoint in {folder} can be used: {' '.join(remarks)} Remove the folder of the run to "
            "start anew."
        )
    return None


def _paths(folder: Path, index: int) -> tuple[Path, Path]:
    stem = f"checkpoint-{index:06d}"
    return folder / f"{stem}.pt", folder / f"{stem}.json"


def _indices(folder: Path, pattern: re.Pattern[str]) -> Iterator[int]:
    if folder.is_dir():
        for entry in folder.iterdir():
            match = pattern.fullmatch(entry.name)
            if match:
                yield int(match[1])


def _remove_all_but_newest(folder: Path, index: int) -> None:
    """Keep the checkpoint just written and those before it, ``KEPT`` in all.

    Newer ones are from before a resume that had to go back to an older one.
    """
    kept = sorted((each for each in _indices(folder, _MANIFEST) if each <= index), reverse=True)[:KEPT]
    for place, pattern in ((1, _MANIFEST), (0, _STATE)):  # manifests first: no manifest without its state
        for old in set(_indices(folder, pattern)) - set(kept):
            _paths(folder, old)[place].unlink(missing_ok=True)


def _read_manifest(folder: Path, index: int) -> dict[str, Any]:
    """Return the manifest of an interval.

    Raises:
        InputError: another format version.
        _DamagedError: it is not what was written.
    """
    path = _paths(folder, index)[1]
    try:
        manifest = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise _DamagedError("has a manifest that cannot be read") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise _DamagedError("has a manifest that is none")
    own = manifest.pop("manifest_sha256", None)
    if own != _digest(manifest) or manifest["index"] != index:
        raise _DamagedError("has a manifest that was changed")
    if manifest["format_version"] != FORMAT_VERSION:
        raise InputError(
            f"{path} has format version {manifest['format_version']}; this podgym reads version "
            f"{FORMAT_VERSION}. Go on with the podgym that wrote it, or start anew in another folder."
        )
    return manifest


def _check_settings(folder: Path, manifest: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    present = json.loads(json.dumps(settings))
    if _digest(present) == manifest["settings_sha256"]:
        return
    difference = first_difference(present, manifest["settings"])
    if difference is not None:
        name, ours, theirs = difference
        raise InputError(
            f"the checkpoints in {folder} are of a run with {name} = {theirs!r}, but it is {ours!r} now; go "
            "on with the settings that the run was started with, or start another run in another folder."
        )


def _read_state(folder: Path, index: int, manifest: Mapping[str, Any]) -> dict[str, Any]:
    path = _paths(folder, index)[0]
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _DamagedError("has no file of tensors that can be read") from error
    if hashlib.sha256(content).hexdigest() != manifest["sha256"].get(path.name):
        raise _DamagedError("does not hold what its manifest says")
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a different error for each kind of damage
        raise _DamagedError("holds something else than tensors and plain values") from error
    if not isinstance(state, dict):
        raise _DamagedError("holds no mapping")
    return state


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _plain(value: Any, place: str) -> Any:  # noqa: ANN401  (any value of a state)
    """Return the value without classes that only a full unpickler could restore.

    Raises:
        TypeError: it holds something that has no such form.
    """
    if isinstance(value, torch.Tensor):
        return value.detach()
    if isinstance(value, np.generic):
        value = value.item()
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Mapping):
        return {_plain(key, place): _plain(each, f"{place}[{key!r}]") for key, each in value.items()}
    if isinstance(value, list | tuple):
        items = [_plain(each, f"{place}[{number}]") for number, each in enumerate(value)]
        return tuple(items) if isinstance(value, tuple) else items
    raise TypeError(
        f"{place} is a {type(value).__name__}; a checkpoint holds tensors, numbers, strings, None, and "
        "mappings and lists of these."
    )
