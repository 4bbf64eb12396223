"""The notebooks run from the first cell to the last, without a kernel, and are kept without outputs."""

import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
FIGURES = {"1_traces_and_forecasts": 5, "2_training_an_agent": 2, "3_comparing_controllers": 2}
"""Figures that each draws with pyplot."""
TELLS = {
    "1_traces_and_forecasts": "",
    "2_training_an_agent": "cost on dev:",
    "3_comparing_controllers": "5 methods, 12 episodes each, 1 sequence of loads",
}
"""What each prints."""

pytestmark = [
    pytest.mark.source_tree,
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning"),
]


def cells(name, kind):
    notebook = json.loads((FOLDER / f"{name}.ipynb").read_text(encoding="utf-8"))
    return [(cell["id"], "".join(cell["source"])) for cell in notebook["cells"] if cell["cell_type"] == kind]


def test_every_notebook_is_tested():
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(FIGURES)


@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES)
def test_it_runs(name, tmp_path, monkeypatch, capsys):
    for library in ("stable_baselines3", "statsmodels"):
        pytest.importorskip(library)
    import matplotlib.pyplot as plt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PODGYM_CACHE", str(tmp_path / "cache"))
    with plt.rc_context():
        scope = {"__name__": "__main__"}
        for identifier, source in cells(name, "code"):
            exec(compile(source, f"{name}.ipynb, {identifier}", "exec"), scope)
        figures = [plt.figure(number) for number in plt.get_fignums()]
        for figure in figures:
            figure.canvas.draw()
            assert any(axes.has_data() for axes in figure.axes)
        plt.close("all")
    assert len(figures) == FIGURES[name]
    assert TELLS[name] in capsys.readouterr().out
    assert list(tmp_path.iterdir()) in ([], [tmp_path / "cache"])  # nothing is left in the reader's folder


@pytest.mark.parametrize("name", FIGURES)
def test_outputs_are_not_kept_and_every_step_is_explained(name):
    notebook = json.loads((FOLDER / f"{name}.ipynb").read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    kinds = [cell["cell_type"] for cell in notebook["cells"]]
    assert kinds[0] == "markdown"
    assert "".join(notebook["cells"][0]["source"]).startswith("# ")
    assert kinds.count("markdown") >= kinds.count("code") - 1
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
