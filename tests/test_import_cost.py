"""``import podgym`` stays cheap: the heavy libraries are imported only by what needs them."""

import subprocess
import sys
from pathlib import Path

HEAVY = (
    "torch", "stable_baselines3", "sb3_contrib", "numba", "pandas", "matplotlib", "pyarrow", "rich",
    "statsmodels", "prophet", "onnx", "onnxruntime", "tensorboard", "deap", "optuna", "yaml",
)  # fmt: skip


def imported_by(statement: str, folder: Path) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after ``statement``."""
    code = f"import sys\n{statement}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    command = [sys.executable, "-c", code]
    finished = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=240)
    return set(finished.stdout.split())


def test_import_leaves_heavy_libraries_alone(tmp_path: Path) -> None:
    modules = imported_by("import podgym", tmp_path)
    assert "podgym" in modules
    assert modules.isdisjoint(HEAVY), sorted(modules.intersection(HEAVY))


def test_probe_sees_a_heavy_library(tmp_path: Path) -> None:
    assert "pandas" in imported_by("import podgym, pandas", tmp_path)
