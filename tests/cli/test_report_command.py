"""``podgym report``: from a folder of results to a page, and what it refuses."""

import os

import pytest

from podgym.cli import main

TEXT = """
name: mine
ids: [podgym/FamilyBurst-v0]
part: dev
first_seed: 160000
episodes: 3
changes: {episode_s: 300}
resamples: 200
methods:
  - {controller: hpa}
  - {controller: keda}
  - {controller: static, options: {replicas: 5000}, label: many}
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    (folder / "mine.yml").write_text(TEXT, encoding="utf-8")
    assert main(["evaluate", "--protocol", str(folder / "mine.yml"), "--output", str(folder / "run")]) == 0
    return folder / "run"


def test_verdict_and_paths(capsys, results):
    capsys.readouterr()
    assert main(["report", str(results)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("On FamilyBurst-v0 the controller with the lowest mean is ")
    assert max(map(len, out.splitlines()[:-3])) <= 80
    assert "- Without results: many on FamilyBurst-v0" in " ".join(out.split())
    assert f"wrote {results / 'report.html'}\nwrote {results / 'report.md'}\n" in out
    text = (results / "report.html").read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>")
    assert 'id="figure-episode-FamilyBurst-v0"' in text
    assert (results / "report_files" / "episode-FamilyBurst-v0.svg").is_file()


def test_another_folder_and_nothing_run_again(capsys, results, tmp_path, monkeypatch):
    def never(*args):
        raise AssertionError

    monkeypatch.setattr("podgym.eval.report.episodes.run_job", never)
    target = tmp_path / "deep" / "page"
    assert main(["report", str(results), "--output", str(target), "--no-episodes"]) == 0
    assert sorted(path.name for path in target.iterdir()) == ["report.html", "report.md", "report_files"]
    assert "figure-episode" not in (target / "report.html").read_text(encoding="utf-8")


def test_two_methods_and_an_episode(results, tmp_path):
    argv = [
        "report",
        str(results),
        "--output",
        str(tmp_path),
        "--methods",
        "keda",
        "hpa",
        "--episode-seed",
        "160001",
    ]
    assert main(argv) == 0
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "episode 160001: keda and hpa on the same load" in text


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (
            ["--episode-seed", "1"],
            "episode seed 1 is not among those of podgym/FamilyBurst-v0: 160000 to 160002",
        ),
        (["--methods", "hpa", "kedda"], "Did you mean 'keda'?"),
        (["--methods", "hpa", "many"], "unknown method with results"),
        (["--no-episodes", "--episode-seed", "160001"], "--no-episodes draws no episode"),
        (["--outptu", "x"], "Did you mean '--output'?"),
    ],
)
def test_what_does_not_go(capsys, results, tmp_path, more, words):
    assert main(["report", str(results), "--output", str(tmp_path / "page"), *more]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "page").exists()


def test_a_folder_of_something_else(capsys, tmp_path):
    assert main(["report", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "holds no summary.json" in error
    assert "podgym evaluate --protocol NAME" in error
    assert "podgym evaluate --cluster FILE.yml" in error
    assert main(["report", str(tmp_path / "nowhere")]) == 2
    assert "there is no folder" in capsys.readouterr().err


def test_a_disk_that_is_full_leaves_no_half_page(capsys, results, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert main(["report", str(results), "--output", str(tmp_path), "--no-episodes"]) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_read_only_folder_gets_no_half_page(capsys, results, tmp_path, monkeypatch):
    def read_only(*arguments, **options):
        raise OSError(30, "Read-only file system")

    argv = ["report", str(results), "--output", str(tmp_path), "--no-episodes"]
    with monkeypatch.context() as broken:
        broken.setattr("tempfile.mkdtemp", read_only)
        assert main(argv) == 2
    assert ".svg cannot be written: Read-only file system." in capsys.readouterr().err
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    monkeypatch.setattr("podgym.files.os.access", lambda path, mode: False)
    monkeypatch.setattr("podgym.eval.report.write.report_of", None)  # nothing is computed in vain
    assert main(argv) == 2
    assert "cannot be written to; name another folder" in capsys.readouterr().err


def test_help_teaches(capsys):
    assert main(["report", "--help"]) == 0
    out = capsys.readouterr().out
    for words in ("podgym report results/quick", "--episode-seed", "--no-episodes", "median"):
        assert words in out
