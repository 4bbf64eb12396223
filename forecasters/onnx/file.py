"""The file of an exported forecaster: an ONNX model with its manifest, its held-out scores and its hash.

A file is an ordinary ONNX model, which any runtime reads, followed by one more metadata entry with the
SHA-256 of all bytes before it. (Protobuf messages that follow each other are one merged message, so the
entry is part of the model.) The entry has a fixed length and is compared byte by byte: a file that was cut
or in which one bit changed is refused before anything in it is parsed. The hash finds damage, not forgery;
whoever can replace files needs to be kept out by other means, such as the signature of the image.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from podgym.errors import InputError
from podgym.forecasters.base import ForecastSpec

FORMAT_VERSION = 1
"""Version of manifest and layout; a file of another one is refused."""
MANIFEST_KEY = "podgym.manifest"
"""Metadata entry with the manifest, JSON."""
SCORES_KEY = "podgym.scores"
"""Metadata entry with the held-out scores: base64 of little-endian float64, (-1, horizon, num_features)."""
HASH_KEY = "podgym.sha256"
"""Last metadata entry: hash of all bytes before it, 64 hexadecimal digits."""

_HASH_DIGITS = 64
_EXPORT_AGAIN = "Export the forecaster again (podgym.forecasters.onnx.export) or restore a copy."


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an exported forecaster is, takes and gives."""

    format_version: int
    """Version of manifest and layout."""
    podgym_version: str
    """Version that exported the file."""
    model: str
    """Name of the forecaster, such as ``lstm``."""
    options: Mapping[str, Any]
    """Arguments of its constructor."""
    spec: ForecastSpec
    """Features, units, step (s), horizon (steps) and training series. ``fit_s`` is 0: it differs from run to
    run, and equal models give equal files."""
    horizon_minutes: int
    """How far ahead, minutes."""
    min_context: int
    """Measured samples that a forecast cannot do without."""
    context: int
    """Samples of history that the graph takes; where fewer are known the oldest one is repeated."""
    allowed_low: tuple[float, ...]
    """Smallest value of each feature that is forecast from, in its unit."""
    allowed_high: tuple[float, ...]
    """Largest value of each feature that is forecast from, in its unit."""
    scale_floor: tuple[float, ...]
    """Smallest scale of the intervals, in the unit of each feature."""
    opset: int
    """Version of the ONNX operators."""
    sha256: str = ""
    """Hash of the model, which the file carries after it; not part of the JSON."""

    def to_json(self) -> str:
        """Return the manifest as the file has it, with sorted keys."""
        plain = asdict(self)
        del plain["sha256"]
        return json.dumps(plain, sort_keys=True)


def manifest_from_json(text: str, sha256: str, origin: str) -> Manifest:
    """Read a manifest.

    Args:
        text: JSON.
        sha256: verified hash of the model.
        origin: name of the file, for messages.

    Raises:
        InputError: another format version, or not a manifest.
    """
    try:
        plain = json.loads(text)
        version = plain.get("format_version")
    except (ValueError, AttributeError) as error:
        raise InputError(f"{origin} has a manifest that is not a JSON object. {_EXPORT_AGAIN}") from error
    if version != FORMAT_VERSION:
        raise InputError(
            f"{origin} has format version {version!r}; this podgym reads version {FORMAT_VERSION}. Export "
            "the forecaster again with this version, or install the version that exported it "
            f"({plain.get('podgym_version', 'not named')})."
        )
    try:
        options, spec = plain.pop("options"), plain.pop("spec")
        return Manifest(
            options=options, spec=ForecastSpec(**_with_tuples(spec)), sha256=sha256, **_with_tuples(plain)
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{origin} has an incomplete manifest ({error}). {_EXPORT_AGAIN}") from error


def _with_tuples(plain: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()}


def scores_to_text(scores: NDArray[np.float64]) -> str:
    """Write scores (num_scores, horizon, num_features) as text that loses no bit."""
    return base64.b64encode(np.ascontiguousarray(scores, dtype="<f8").tobytes()).decode("ascii")


def scores_from_text(text: str, manifest: Manifest, origin: str) -> NDArray[np.float64]:
    """Return the scores (num_scores, horizon, num_features) of ``scores_to_text``.

    Raises:
        InputError: text that does not fit the manifest, no scores, or one that is not finite.
    """
    shape = (-1, manifest.spec.horizon, len(manifest.spec.features))
    try:
        numbers = np.frombuffer(base64.b64decode(text, validate=True), dtype="<f8")
        scores = numbers.reshape(shape).astype(np.float64)
    except (ValueError, binascii.Error) as error:
        raise InputError(f"{origin} has scores that do not fit its manifest. {_EXPORT_AGAIN}") from error
    if not len(scores) or not np.isfinite(scores).all():
        raise InputError(f"{origin} has scores that are not finite, or none. {_EXPORT_AGAIN}")
    return scores


def seal(model: bytes) -> bytes:
    """Return a serialized ONNX model with its hash behind it."""
    return model + _hash_entry(hashlib.sha256(model).hexdigest())


def verified_hash(content: bytes, origin: str) -> str:
    """Return the hash of a sealed model, after comparing it with the content.

    Args:
        content: all bytes of the file.
        origin: name of the file, for messages.

    Raises:
        InputError: not a file of podgym, cut or changed.
    """
    length = len(_hash_entry("0" * _HASH_DIGITS))
    digest = hashlib.sha256(content[:-length]).hexdigest()
    if content[-length:] == _hash_entry(digest):
        return digest
    if not content:
        raise InputError(f"{origin} is empty. {_EXPORT_AGAIN}")
    if any(key.encode() in content for key in (MANIFEST_KEY, SCORES_KEY, HASH_KEY)):
        raise InputError(
            f"{origin} is damaged: its {len(content)} bytes do not have the hash they were written with; it "
            f"was cut, or changed after the export. {_EXPORT_AGAIN}"
        )
    raise InputError(
        f"{origin} is not an ONNX file of podgym, or only a piece of one: it carries no manifest. Give a "
        "file that podgym.forecasters.onnx.export wrote, whole."
    )


def _hash_entry(digest: str) -> bytes:
    """Return the protobuf bytes of ``ModelProto { metadata_props { key: HASH_KEY value: digest } }``."""
    key, value = HASH_KEY.encode("ascii"), digest.encode("ascii")
    # StringStringEntryProto: field 1 is the key, field 2 the value, each with its wire type 2 and length.
    entry = b"\x0a" + bytes([len(key)]) + key + b"\x12" + bytes([len(value)]) + value
    return b"\x72" + bytes([len(entry)]) + entry  # ModelProto: field 14 is metadata_props


def read_bytes(path: Path) -> bytes:
    """Return the content of a file.

    Raises:
        InputError: no such file, or one that cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(
            f"there is no file {path}; export a forecaster with podgym.forecasters.onnx.export."
        ) from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}. Give a readable file.") from error
