"""How kernels are compiled: once per machine, serial, and never from a stale cache.

numba's disk cache looks only at the file of the function that was compiled, so a change in a function
that it calls from another file would go unnoticed. Kernels that call others live in this folder and the one
above; when any of their sources is newer than a cached kernel, the caches are emptied.
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


class MachineCode:
    """The compiled code of a kernel for one set of argument types.

    Calling a kernel makes numba look up the types of all arguments, which for arrays of records takes
    longer than a step of one cluster. This skips the search after the first call, and with it every
    check: all calls must have arguments of the same types. Pickles as the kernel alone.
    """

    def __init__(self, function: Callable[..., object]) -> None:
        """Name the kernel; it is compiled, or loaded from the cache, at the first call."""
        self._function = function
        self._code: Callable[..., Any] | None = None

    def __call__(self, *arguments: object) -> Any:  # noqa: ANN401
        """Run the kernel."""
        if self._code is None:
            dispatcher = cast(Any, self._function)
            result = dispatcher(*arguments)
            signatures = list(dispatcher.overloads)
            if len(signatures) > 1:  # finding out which of them ran takes as long as some ten intervals
                signatures = [tuple(cast(Any, numba.typeof)(argument) for argument in arguments)]
            self._code = dispatcher.overloads[signatures[0]].entry_point
            return result
        return self._code(*arguments)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the machine code out: it belongs to this process."""
        return {"_function": self._function, "_code": None}
