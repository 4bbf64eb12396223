"""A package's ``__all__`` is its promise: every name in it exists, and what it re-exports is in it."""

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import podgym


def package_names() -> list[str]:
    """``podgym`` and every package below it, also where git wrote the links as text files."""
    folder = Path(inspect.getfile(podgym)).parent
    names = ["podgym"]
    for top in sorted(entry.name for entry in folder.iterdir() if entry.name.isidentifier()):
        if top != "__pycache__":
            name = f"podgym.{top}"
            walked = pkgutil.walk_packages(importlib.import_module(name).__path__, f"{name}.")
            names += [name, *(module.name for module in walked if module.ispkg)]
    return names


def public_names(package: str, source: str) -> set[str]:
    """Public names that a package's ``__init__`` takes from its own modules or defines itself."""
    names = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith(f"{package}."):
            names.update(alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
    return {name for name in names if not name.startswith("_")}


def test_walk_finds_the_linked_packages() -> None:
    assert {"podgym.envs", "podgym.envs.simulator", "podgym.baselines", "podgym.eval"} <= set(package_names())


@pytest.mark.parametrize("name", package_names())
def test_exported_names_resolve_once_and_are_complete(name: str) -> None:
    if name == "podgym.train":
        pytest.importorskip("sb3_contrib")  # it trains, and does nothing else
    package = importlib.import_module(name)
    exported = getattr(package, "__all__", None)
    if exported is None:
        return
    assert [member for member in exported if not hasattr(package, member)] == []
    assert len(exported) == len(set(exported))
    assert public_names(name, inspect.getsource(package)) <= set(exported)


def test_public_names_are_read_from_the_source() -> None:
    source = (
        "import numpy as np\nfrom podgym.a.b import One, _two, three as Four\n"
        "from podgym.errors import InputError\nfrom os import path\ndef run(): ...\ndef _hidden(): ...\n"
    )
    assert public_names("podgym.a", source) == {"One", "Four", "run"}
