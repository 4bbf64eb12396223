"""A package folder exists for Python, for pip and for the linters only if four lists agree: compare them."""

import os
import tomllib
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.source_tree

ROOT = Path(__file__).resolve().parents[1]
NOT_PACKAGES = {"tests", "docs", "scripts", "deploy", "build", "dist", "results", "podgym"}


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def top_folders() -> list[str]:
    """Top-level folders with Python modules that belong inside ``podgym``."""
    return sorted(
        folder.name
        for folder in ROOT.iterdir()
        if folder.is_dir()
        and not folder.name.startswith(".")
        and folder.name not in NOT_PACKAGES
        and next(folder.rglob("*.py"), None) is not None
    )


@pytest.fixture(scope="module")
def folders_of_packages(top_folders: list[str]) -> dict[str, str]:
    """Every folder that holds Python modules: import name -> path relative to the repository."""
    found = {}
    for top in ["podgym", *top_folders]:
        for folder, subfolders, files in os.walk(ROOT / top):  # does not follow the links in podgym/
            subfolders[:] = [name for name in subfolders if name != "__pycache__"]
            if any(file.endswith(".py") for file in files):
                path = Path(folder).relative_to(ROOT)
                parts = path.parts if top == "podgym" else ("podgym", *path.parts)
                found[".".join(parts)] = path.as_posix()
    return found


def link_target(link: Path) -> str | None:
    """Where a link leads; git writes it as a small text file where links are not supported."""
    if link.is_symlink():
        return os.readlink(link)
    if link.is_file() and link.suffix == "":
        return link.read_text(encoding="utf-8").strip()
    return None


def test_every_folder_with_modules_has_an_init(folders_of_packages: dict[str, str]) -> None:
    without = [path for path in folders_of_packages.values() if not (ROOT / path / "__init__.py").is_file()]
    assert without == []


def test_every_package_folder_is_installed_and_nothing_else(
    folders_of_packages: dict[str, str], pyproject: dict[str, Any]
) -> None:
    listed = pyproject["tool"]["setuptools"]["packages"]
    assert sorted(listed) == sorted(folders_of_packages)


def test_every_package_is_mapped_to_its_own_folder(
    folders_of_packages: dict[str, str], pyproject: dict[str, Any]
) -> None:
    assert pyproject["tool"]["setuptools"]["package-dir"] == folders_of_packages


def test_every_top_folder_is_linked_into_the_package(top_folders: list[str]) -> None:
    targets = {path.name: link_target(path) for path in (ROOT / "podgym").iterdir()}
    links = {name: target for name, target in targets.items() if target is not None and name != "py.typed"}
    assert links == {name: f"../{name}" for name in top_folders}


def test_every_top_folder_may_only_be_imported_through_the_package(
    top_folders: list[str], pyproject: dict[str, Any]
) -> None:
    banned = pyproject["tool"]["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"]
    assert sorted(banned) == top_folders


def test_every_top_folder_counts_for_coverage(top_folders: list[str], pyproject: dict[str, Any]) -> None:
    assert sorted(pyproject["tool"]["coverage"]["run"]["source"]) == sorted([*top_folders, "podgym"])


def test_text_file_stands_in_for_a_link(tmp_path: Path) -> None:
    (tmp_path / "envs").write_text("../envs", encoding="utf-8")
    (tmp_path / "errors.py").write_text("", encoding="utf-8")
    assert link_target(tmp_path / "envs") == "../envs"
    assert link_target(tmp_path / "errors.py") is None
