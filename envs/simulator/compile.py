"""How kernels are compiled: once per machine, serial, and never from a stale cache.

numba's disk cache looks only at the file of the function that was compiled, so a change in a function
that it calls from another file would go unnoticed. All kernels live in this folder and the one above;
when any of their sources is newer than a cached kernel, the caches are emptied.
"""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

_Function = TypeVar("_Function", bound=Callable[..., object])


def _drop_stale_cache(folders: list[Path]) -> None:
    cached = [file for folder in folders for file in (folder / "__pycache__").glob("*.nb[ic]")]
    if not cached:
        return
    newest_source = max(source.stat().st_mtime for folder in folders for source in folder.glob("*.py"))
    with contextlib.suppress(OSError):
        if min(file.stat().st_mtime for file in cached) < newest_source:
            for file in cached:
                file.unlink(missing_ok=True)


_HERE = Path(__file__).resolve().parent
_drop_stale_cache([_HERE, _HERE.parent])


def kernel(function: _Function) -> _Function:
    """Compile ``function`` with numba: cached on disk, serial, IEEE arithmetic, no exceptions inside.

    Kernels never allocate, so numba's reference counting is off: with it, every array that is handed on
    or sliced costs two atomic operations, and a step takes twice as long. A kernel that does allocate is
    refused by the compiler.
    """
    options: dict[str, Any] = {"cache": True, "error_model": "numpy", "forceinline": True, "_nrt": False}
    return cast(_Function, numba.njit(**options)(function))


def machine_code(function: Callable[..., object], *arguments: object) -> Callable[..., Any]:
    """Return the compiled code of a kernel for arguments of exactly these types.

    Calling a kernel makes numba look up the types of all arguments, which for arrays of records takes
    longer than a step of one cluster. The returned function skips that, and with it every check: it must
    only ever be called with arguments of the same types.
    """
    signature = tuple(cast(Any, numba.typeof)(argument) for argument in arguments)
    dispatcher = cast(Any, function)
    dispatcher.compile(signature)
    code: Callable[..., Any] = dispatcher.overloads[signature].entry_point
    return code
