"""Saving and loading policies: one file, whole or not there, in which nothing can run.

The file is a zip archive of float32 arrays (NumPy's ``.npz``, which ``numpy.load`` opens too) with the
description as JSON. It is read here without NumPy's own reader: arrays are stored as they are, never
compressed, their headers are compared with one pattern and never evaluated, and nothing is allocated that
the file does not hold. So a file from a stranger is refused or is a policy, and cannot do anything else.
"""

import hashlib
import io
import json
import re
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any, NoReturn, cast

import numpy as np
from numpy.typing import NDArray

from podgym.agents.actor import Policy
from podgym.agents.description import FORMAT, PolicyDescription
from podgym.errors import InputError
from podgym.files import missing_with_hint, write_atomically

SUFFIX = ".policy"
"""Ending of the files."""
MOST_BYTES = 256 * 1024**2
"""Larger files are refused before they are read: a policy has some hundred kilobytes."""

_REMEDY = "copy the file again, or train the policy again (`podgym train`)."
_MANIFEST, _DIGESTS = "manifest", "sha256"
_TYPES: dict[str, np.dtype[Any]] = {"<f4": np.dtype("<f4"), "|u1": np.dtype("u1")}
_MAGIC = b"\x93NUMPY\x01\x00"
_HEADER = re.compile(
    rb"\{'descr': '(<f4|\|u1)', 'fortran_order': False, 'shape': \(((?:\d{1,9}, ?)*\d{0,9})\), \} *\n"
)
# What zipfile and json raise for a damaged file, down to "is encrypted" and "nested too deeply".
_UNREADABLE = (
    ValueError, KeyError, EOFError, RuntimeError, NotImplementedError, OverflowError, IndexError,
    MemoryError, struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def save_policy(policy: Policy, path: str | Path) -> Path:
    """Write a policy to a file, in one step. Equal policies give equal bytes.

    Args:
        policy: what to write.
        path: the file; the ending ``.policy`` is added when it has none.

    Returns:
        The path written.

    Raises:
        InputError: another ending, or the file cannot be written.
    """
    path = Path(path)
    path = path if path.suffix else path.with_suffix(SUFFIX)
    if path.suffix != SUFFIX:
        raise InputError(
            f"{path}: the file of a policy ends in {SUFFIX}; `podgym export` writes other formats."
        )
    digests = {name: _digest(array) for name, array in policy.arrays.items()}
    manifest = json.dumps({**policy.description.as_dict(), _DIGESTS: digests}, allow_nan=False)
    arrays = {_MANIFEST: np.frombuffer(manifest.encode(), dtype=np.uint8), **policy.arrays}

    def write(draft: Path) -> None:
        with draft.open("wb") as file:
            np.savez(file, allow_pickle=False, **cast(dict[str, Any], arrays))

    return write_atomically(path, write)


def load_policy(path: str | Path) -> Policy:
    """Read a policy that ``save_policy`` wrote. It needs NumPy only, and runs nothing that the file holds.

    Raises:
        InputError: no such file, not a policy, damaged, or of another format version; the message says
            which, and what to do.
    """
    path = Path(path)
    if not path.is_file():
        raise missing_with_hint(path, (SUFFIX,))
    content = _content(path)
    try:
        arrays = _arrays(content)
        manifest = json.loads(arrays.pop(_MANIFEST).tobytes(), parse_constant=_refuse_constant)
    except _UNREADABLE as error:
        raise InputError(f"{path} cannot be read as a policy; {_REMEDY}") from error
    try:
        return _policy(manifest, arrays)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except RecursionError as error:
        raise InputError(f"{path} holds a description that is nested too deeply; {_REMEDY}") from error


def policy_sha256(policy: Policy) -> str:
    """Return a hash of all that a policy decides by: its description, but for its provenance, and arrays."""
    described = policy.description.as_dict()
    del described["provenance"], described["podgym_version"]
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for name, array in policy.arrays.items():
        digest.update(f"{name} {_digest(array)} ".encode())
    return digest.hexdigest()


def _content(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise InputError(
                f"{path} has {size:,} bytes; a policy has at most {MOST_BYTES:,}. Name another file."
            )
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error


def _arrays(content: bytes) -> dict[str, NDArray[Any]]:
    """Return the arrays of an archive, none of which is larger than its bytes in the file.

    Raises:
        ValueError: anything else than uncompressed float32 or uint8 arrays; and what zipfile raises.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        stored = all(each.compress_type == zipfile.ZIP_STORED for each in members)
        if not stored or sum(each.file_size for each in members) > len(content):
            raise ValueError("compressed, or members that overlap")
        arrays = {each.filename.removesuffix(".npy"): _array(archive.read(each)) for each in members}
    if len(arrays) != len(members):
        raise ValueError("two members of one name")
    return arrays


def _array(member: bytes) -> NDArray[Any]:
    """Return the array of one ``.npy`` file, version 1.0."""
    start = len(_MAGIC) + 2
    length = int.from_bytes(member[len(_MAGIC) : start], "little")
    header = _HEADER.fullmatch(member[start : start + length])
    if not member.startswith(_MAGIC) or header is None:
        raise ValueError("not an array of numbers that a policy holds")
    shape = tuple(int(part) for part in header[2].split(b",") if part.strip())
    data = np.frombuffer(member[start + length :], dtype=_TYPES[header[1].decode()])
    array: NDArray[Any] = data.reshape(shape)  # a ValueError where the header says more or less than there is
    return array


def _policy(manifest: object, arrays: dict[str, NDArray[Any]]) -> Policy:
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise InputError("this is no file of a policy; `podgym train` writes policies.")
    digests = manifest.pop(_DIGESTS, None)
    description = PolicyDescription.from_dict(manifest)
    if {name: _digest(array) for name, array in arrays.items()} != digests:
        raise InputError(f"the arrays are not those that the manifest names; {_REMEDY}")
    return Policy(description, arrays)


def _digest(array: NDArray[Any]) -> str:
    header = repr((array.dtype.str, array.shape)).encode()
    return hashlib.sha256(header + np.ascontiguousarray(array).tobytes()).hexdigest()


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")
