"""Compare a built wheel with the source tree: every module is in it once, and nothing else is.

Usage: ``python scripts/check_wheel.py dist/podgym-*.whl``. Exit status 1 and one line per fault.
"""

import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def modules_of_tree() -> set[str]:
    """Paths that the wheel must hold, from the folders linked into ``podgym`` and from ``podgym`` itself."""
    package = ROOT / "podgym"
    modules = {path.relative_to(ROOT).as_posix() for path in package.rglob("*.py") if not _behind_link(path)}
    for link in package.iterdir():
        folder = ROOT / link.name
        if link.is_symlink() or (link.is_file() and folder.is_dir()):
            modules.update(f"podgym/{path.relative_to(ROOT).as_posix()}" for path in folder.rglob("*.py"))
    return modules


def _behind_link(path: Path) -> bool:
    return any(parent.is_symlink() for parent in path.parents if parent.is_relative_to(ROOT / "podgym"))


def faults_of(wheel: Path) -> list[str]:
    """What is wrong with the wheel, one sentence each; empty when nothing is."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    modules = {name for name in names if name.endswith(".py")}
    expected = modules_of_tree()
    tops = {name.partition("/")[0] for name in names}
    strangers = sorted(top for top in tops if top != "podgym" and not top.endswith(".dist-info"))
    faults = [
        f"not in the wheel, is its package listed in pyproject.toml? {name}" for name in expected - modules
    ]
    faults += [f"in the wheel but not in the source tree: {name}" for name in modules - expected]
    faults += [f"installs a top-level name other than podgym: {top}" for top in strangers]
    if "podgym/py.typed" not in names:
        faults.append("py.typed is missing: type checkers would ignore the annotations")
    if not any(name.endswith("licenses/LICENSE") for name in names):
        faults.append("the licence is missing")
    return sorted(faults)


def main() -> int:
    """Check the wheel named on the command line."""
    faults = faults_of(Path(sys.argv[1]))
    for fault in faults:
        print(f"check_wheel: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
