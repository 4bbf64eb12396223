"""Saving and loading forecasters: one file, whole or not there, in which nothing can run.

The file is a zip archive of arrays (NumPy's ``.npz``) with a manifest in JSON. No pickles: a file from a
stranger is read as numbers and text, and only into the class that its manifest names.
"""

import contextlib
import hashlib
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from podgym.errors import InputError
from podgym.files import missing_with_hint, write_atomically
from podgym.forecasters.anomalies import AnomalyConfig
from podgym.forecasters.base import Fitted, Forecaster, ForecastSpec
from podgym.forecasters.cleaning import CleaningConfig
from podgym.forecasters.factory import make_forecaster
from podgym.forecasters.intervals import ConformalIntervals
from podgym.forecasters.run import FitRun, Progress, silent
from podgym.forecasters.series import Series

SUFFIX = ".forecaster"
"""Ending of the files."""
FORMAT_VERSION = 1
"""Raised whenever an older program could not use the file."""

_FORMAT = "podgym forecaster"
# What zipfile and NumPy raise for a damaged archive, down to "is encrypted" and "version 17.3".
_UNREADABLE = (
    OSError, ValueError, KeyError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error
)  # fmt: skip
_MANIFEST, _SCORES, _FLOOR, _MODEL = "manifest", "interval_scores", "interval_floor", "model."


def save_forecaster(forecaster: Forecaster, path: str | Path) -> Path:
    """Write a fitted forecaster to a file, in one step.

    Args:
        forecaster: a fitted forecaster.
        path: the file; the ending ``.forecaster`` is added when it has none.

    Returns:
        The path written.

    Raises:
        InputError: the forecaster is not fitted, or the file cannot be written.
    """
    path = Path(path)
    path = path if path.suffix else path.with_suffix(SUFFIX)
    if path.suffix == ".onnx":
        raise InputError(f"{path}: use podgym.forecasters.export_onnx to write an ONNX file.")
    values, model = forecaster._state()
    arrays = {_SCORES: forecaster.intervals.scores, _FLOOR: forecaster.intervals.floor}
    arrays |= {f"{_MODEL}{name}": array for name, array in model.items()}
    manifest = {
        "format": _FORMAT,
        "format_version": FORMAT_VERSION,
        "model": forecaster.name,
        "options": forecaster.options(),
        "cleaning": asdict(forecaster.cleaning),
        "spec": asdict(forecaster.spec),
        "values": values,
        "sha256": {name: _digest(array) for name, array in arrays.items()},
    }
    text = np.frombuffer(json.dumps(manifest).encode(), dtype=np.uint8)

    def write(draft: Path) -> None:
        with draft.open("wb") as file:
            np.savez(file, allow_pickle=False, **cast(dict[str, Any], {_MANIFEST: text, **arrays}))

    return write_atomically(path, write)


def load_forecaster(path: str | Path) -> Forecaster:
    """Read a forecaster that ``save_forecaster`` or ``export_onnx`` wrote.

    Raises:
        InputError: no such file, not a forecaster, damaged, or of another format version; the message
            says which, and what to do.
    """
    path = Path(path)
    if not path.is_file():
        raise missing_with_hint(path, (SUFFIX, ".onnx"))
    if path.suffix == ".onnx":
        from podgym.forecasters.onnx.model import load_onnx

        return load_onnx(path)
    try:
        # Opened here, for NumPy leaves a file that is no archive open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        manifest = json.loads(arrays.pop(_MANIFEST).tobytes())
    except _UNREADABLE as error:
        raise _damaged(path, "cannot be read") from error
    if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT:
        raise InputError(f"{path} is no forecaster file; `podgym forecast train` writes one.")
    if manifest.get("format_version") != FORMAT_VERSION:
        raise InputError(
            f"{path} has format version {manifest.get('format_version')}; this podgym reads version "
            f"{FORMAT_VERSION}. Train the forecaster again, or use the podgym that wrote the file."
        )
    return _revived(path, manifest, arrays)


def checkpoint_of(path: Path) -> Path:
    """Return where the checkpoint of a forecaster's training lies."""
    return path.with_name(f".{path.name}.checkpoint")


def fit_and_save(
    forecaster: Forecaster,
    series: Series,
    path: str | Path,
    *,
    progress: Progress = silent,
    logdir: Path | None = None,
    reuse: bool = False,
) -> Forecaster:
    """Fit a forecaster and save it; an interrupted fit goes on when it is called again.

    Args:
        forecaster: not fitted yet.
        series: the training part.
        path: file of the forecaster; the checkpoint lies beside it and is removed at the end.
        progress: called after every epoch.
        logdir: folder of TensorBoard curves.
        reuse: return what ``path`` holds if it was fitted to the same series with the same options.

    Returns:
        The fitted forecaster, which may be another object.

    Raises:
        InputError: see ``Forecaster.fit`` and ``save_forecaster``; no forecaster is written then.
    """
    path = Path(path)
    if reuse and path.is_file():
        with contextlib.suppress(InputError):
            kept = load_forecaster(path)
            same_model = (kept.name, kept.options(), kept.cleaning) == (
                forecaster.name, forecaster.options(), forecaster.cleaning
            )  # fmt: skip
            if same_model and kept.spec.training_hash == series.content_hash:
                return kept
    checkpoint = checkpoint_of(path)
    forecaster.fit(series, FitRun(progress, checkpoint, logdir))
    save_forecaster(forecaster, path)
    checkpoint.unlink(missing_ok=True)
    return forecaster


def _revived(path: Path, manifest: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Forecaster:
    if {name: _digest(array) for name, array in arrays.items()} != manifest["sha256"]:
        raise _damaged(path, "does not hold what its manifest says")
    try:
        cleaning = dict(manifest["cleaning"])
        cleaning["anomaly_config"] = AnomalyConfig(**cleaning["anomaly_config"])
        forecaster = make_forecaster(manifest["model"], **manifest["options"])
        forecaster.cleaning = CleaningConfig(**cleaning)
        spec: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value
                for name, value in manifest["spec"].items()}  # fmt: skip
        intervals = ConformalIntervals(arrays[_SCORES], arrays[_FLOOR])
        forecaster.restore(
            Fitted(ForecastSpec(**spec), intervals),
            manifest["values"],
            {name[len(_MODEL) :]: array for name, array in arrays.items() if name.startswith(_MODEL)},
        )
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise _damaged(path, f"was written by another podgym ({error})") from error
    return forecaster


def _digest(array: NDArray[Any]) -> str:
    header = repr((array.dtype.str, array.shape)).encode()
    return hashlib.sha256(header + np.ascontiguousarray(array).tobytes()).hexdigest()


def _damaged(path: Path, what: str) -> InputError:
    return InputError(f"{path} {what}; copy the file again or train the forecaster again.")
