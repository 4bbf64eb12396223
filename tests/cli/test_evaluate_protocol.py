"""``podgym evaluate --protocol``: from a file or a name to tables and files."""

import json

import pytest

from podgym.cli import main

TEXT = """
name: mine
ids: [podgym/FamilyBurst-v0]
first_seed: 210000
episodes: 3
changes: {episode_s: 60}
resamples: 200
methods:
  - {controller: hpa}
  - {controller: rule, options: tuned}
  - {controller: static, options: {replicas: 5000}, label: many}
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yml").write_text(TEXT, encoding="utf-8")
    return "mine.yml"


def test_tables_and_files(capsys, file, tmp_path):
    pytest.importorskip("torch")  # the shipped forecasters are networks
    assert main(["evaluate", "--protocol", file]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "Protocol mine: part test, seeds 210000 to 210002." in out
    for words in ("rule tuned¹", "rival: rule tuned (best tuned controller on dev)", "failed"):
        assert words in " ".join(out.split())
    for name in ("results.md", "summary.json", "comparisons.csv", "results.csv"):
        assert f"wrote results/mine/{name}" in out
        assert (tmp_path / "results" / "mine" / name).is_file()


def test_json_again_and_resumed(capsys, file, tmp_path):
    argv = ["evaluate", "--protocol", file, "--output", "out", "--json"]
    assert main(argv) == 0
    first = capsys.readouterr().out
    assert json.loads(first) == json.loads((tmp_path / "out" / "summary.json").read_text())
    assert main(argv) == 2
    assert "continue it with --resume" in capsys.readouterr().err
    assert main([*argv, "--resume"]) == 0
    assert capsys.readouterr().out == first


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--protocol", "famlies"], "Did you mean 'families'?"),
        (["--protocol", "quick", "--env", "podgym/Burst-v0"], "--env does not go with --protocol"),
        (["--protocol", "quick", "--episodes", "3"], "--episodes does not go with --protocol"),
        (["--protocol", "quick", "--agent", "x.policy"], "--agent does not go with --protocol"),
        (["--protocol", "quick", "--processes", "0"], "processes is 0"),
        (["--env", "podgym/Burst-v0", "--resume"], "--resume goes with --protocol"),
    ],
)
def test_what_does_not_go(capsys, file, tmp_path, argv, words):
    assert main(["evaluate", *argv]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "results").exists()
