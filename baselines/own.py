"""Controllers and policies from a file of one's own: ``my_file.py:MyController``.

The file is Python and runs with all rights of whoever names it, like any script.
"""

import hashlib
import importlib.util
import re
import sys
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from podgym.errors import InputError, unknown_name
from podgym.files import missing_with_hint

_OWN = re.compile(r"(?P<file>.+\.py):(?P<name>[A-Za-z_]\w*)")
_METHODS = ("decide", "act")


def is_own(name: str) -> bool:
    """Return whether a name means a class in a file, such as ``my_file.py:MyController``."""
    return _OWN.fullmatch(name) is not None


def own_file(name: str) -> Path:
    """Return the file of a name for which ``is_own`` holds."""
    return Path(_parts(name)[0])


def own_label(name: str) -> str:
    """Return what tables call it: the name of the class."""
    return _parts(name)[1]


def load_own(name: str) -> type[Any]:
    """Return a class from a file, with a ``name`` and a ``reset`` should it have none.

    It decides by ``decide(observation)``, as ``podgym.baselines.Controller`` does, or by
    ``act(observation)``: the array of the Gymnasium environment in, its action out.

    Raises:
        InputError: no such file or class, a file that cannot be imported, or a class without either method.
    """
    file, wanted = _parts(name)
    path = Path(file)
    if not path.is_file():
        raise missing_with_hint(path, (".py",))
    module = _module(str(path.resolve()), path.stat().st_mtime_ns)
    classes = [key for key, value in vars(module).items() if isinstance(value, type)]
    found = getattr(module, wanted, None)
    if not isinstance(found, type):
        raise unknown_name(f"class in {path}", wanted, classes)
    if not any(callable(getattr(found, method, None)) for method in _METHODS):
        raise InputError(
            f"{name} has neither decide(observation) nor act(observation); give it one: decide sees what a "
            "controller sees (podgym.baselines.Controller), act the array of the environment."
        )
    fields = {"__module__": found.__module__, "name": getattr(found, "name", found.__name__)}
    return type(found.__name__, (found, _Defaults), fields)


class _Defaults:
    """What a class need not do itself."""

    def reset(self) -> None:
        """Forget nothing."""


def _parts(name: str) -> tuple[str, str]:
    match = _OWN.fullmatch(name)
    if match is None:
        raise InputError(f"{name!r} is no class in a file; write FILE.py:CLASS.")
    return match["file"], match["name"]


@lru_cache(maxsize=64)
def _module(path: str, changed_ns: int) -> ModuleType:
    """Import a file, once for each time that it was changed; neighbours of the file can be imported."""
    key = hashlib.sha256(f"{path} {changed_ns}".encode()).hexdigest()[:12]
    spec = importlib.util.spec_from_file_location(f"podgym_own_{Path(path).stem}_{key}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} cannot be imported.")
    module = importlib.util.module_from_spec(spec)
    folder = str(Path(path).parent)
    sys.path.insert(0, folder)
    sys.modules[spec.name] = module  # as an import does, so that its classes can be pickled
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[spec.name]
        raise InputError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(folder)
    return module
