import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from podgym.envs.workloads import PUBLIC_TRACES, PublicTrace, download, make_workload, open_trace
from podgym.envs.workloads.registry import default_folder, lock_path, read_downloaded
from podgym.envs.workloads.sources import read_file
from podgym.errors import InputError

CONTENT = b"t_seconds,requests\n" + b"".join(b"%d,%d\n" % (60 * row, row) for row in range(40))
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def entry(web_server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Register the trace "made_up", served on loopback; return the served file."""
    url, folder = web_server
    served = folder / "made_up.csv"
    served.write_bytes(CONTENT)
    _register(monkeypatch, f"{url}/made_up.csv")
    return served


def _register(monkeypatch: pytest.MonkeyPatch, url: str, sha256: str | None = None) -> None:
    made_up = PublicTrace(url, "made_up.csv", "free for tests", lambda path, name: read_file(path), sha256)
    monkeypatch.setitem(PUBLIC_TRACES, "made_up", made_up)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_the_first_download_is_shown_trusted_and_recorded(entry: Path, tmp_path: Path) -> None:
    folder, shown = tmp_path / "traces", []
    path = download("made_up", folder, show=shown.append)
    assert path.read_bytes() == CONTENT
    assert _names(folder) == ["made_up.csv", "made_up.csv.lock.json"]
    lock = json.loads(lock_path(path).read_text())
    assert (lock["sha256"], lock["url"]) == (DIGEST, PUBLIC_TRACES["made_up"].url)
    text = "\n".join(shown)
    assert "terms: free for tests" in text
    assert "trusted on first use" in text
    assert DIGEST in text


def test_a_downloaded_trace_opens_by_name_like_any_other(entry: Path, tmp_path: Path) -> None:
    download("made_up", tmp_path / "traces", show=lambda line: None)
    assert read_downloaded("made_up", tmp_path / "traces").values.tolist() == list(range(40))
    workload = open_trace("made_up", part="all", folder=tmp_path / "traces")
    assert workload.rates_rps.tolist() == [row / 60.0 for row in range(40)]
    with pytest.raises(InputError, match="has one column"):
        open_trace("made_up", column="requests", folder=tmp_path / "traces")


def test_a_trace_that_is_there_is_not_fetched_again(entry: Path, tmp_path: Path) -> None:
    folder, shown = tmp_path / "traces", []
    download("made_up", folder, show=shown.append)
    entry.unlink()
    assert download("made_up", folder, show=shown.append).read_bytes() == CONTENT
    assert "already" in shown[-1]


def test_a_changed_source_is_refused_and_leaves_nothing(entry: Path, tmp_path: Path) -> None:
    folder = tmp_path / "traces"
    path = download("made_up", folder, show=lambda line: None)
    path.unlink()
    entry.write_bytes(CONTENT + b"2400,1\n")
    with pytest.raises(InputError, match=rf"made_up\.csv has SHA-256 .*expected {DIGEST}; refused"):
        download("made_up", folder, show=lambda line: None)
    assert _names(folder) == ["made_up.csv.lock.json"]
    entry.write_bytes(CONTENT)
    assert download("made_up", folder, show=lambda line: None).read_bytes() == CONTENT


def test_a_published_checksum_beats_first_use(
    entry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _register(monkeypatch, PUBLIC_TRACES["made_up"].url, "0" * 64)
    with pytest.raises(InputError, match="expected 0000"):
        download("made_up", tmp_path / "traces", show=lambda line: None)
    assert _names(tmp_path / "traces") == []
    _register(monkeypatch, PUBLIC_TRACES["made_up"].url, DIGEST)
    path = download("made_up", tmp_path / "traces", show=lambda line: None)
    assert _names(path.parent) == ["made_up.csv"]


def test_a_file_that_changed_on_disk_is_refused(entry: Path, tmp_path: Path) -> None:
    path = download("made_up", tmp_path, show=lambda line: None)
    path.write_bytes(CONTENT.replace(b"60,1", b"60,9"))
    with pytest.raises(InputError, match="expected"):
        read_downloaded("made_up", tmp_path)
    with pytest.raises(InputError, match="expected"):
        download("made_up", tmp_path, show=lambda line: None)
    lock_path(path).write_text("{}")
    with pytest.raises(InputError, match="is not a lock file"):
        read_downloaded("made_up", tmp_path)
    lock_path(path).unlink()
    with pytest.raises(InputError, match="no lock file"):
        read_downloaded("made_up", tmp_path)


def test_an_answer_that_is_no_trace_is_never_trusted(entry: Path, tmp_path: Path) -> None:
    entry.write_bytes(b"<html>we have moved</html>")
    with pytest.raises(InputError):
        download("made_up", tmp_path / "traces", show=lambda line: None)
    assert _names(tmp_path / "traces") == []


@pytest.mark.parametrize(
    ("path", "complaint"), [("gone.csv", "404"), ("broken-off.csv", "9 of 1000 bytes|broke off")]
)
def test_a_failed_download_leaves_nothing(
    web_server: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, complaint: str
) -> None:
    _register(monkeypatch, f"{web_server[0]}/{path}")
    with pytest.raises(InputError, match=complaint):
        download("made_up", tmp_path / "traces", show=lambda line: None)
    assert _names(tmp_path / "traces") == []


def test_a_trace_that_was_not_downloaded_says_how(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"not in .*download\('nasa_jul95'"):
        make_workload("nasa_jul95", folder=tmp_path)
    with pytest.raises(InputError, match=r"unknown public trace .*'nasa_jul95'"):
        download("nasa_july95", tmp_path)


def test_a_tweet_series_is_read_as_counts_per_five_minutes(tmp_path: Path) -> None:
    path = tmp_path / "Twitter_volume_AAPL.csv"
    path.write_text(
        "timestamp,value\n2015-02-26 21:42:53,104\n2015-02-26 21:47:53,100\n2015-02-26 21:52:53,99\n"
    )
    entry = PUBLIC_TRACES["tweets_aapl"]
    trace = entry.reader(path, "tweets_aapl")
    assert (trace.name, trace.column, trace.step_s) == ("tweets_aapl", "mention_count", 300.0)
    assert np.array_equal(trace.values, [104.0, 100.0, 99.0])
    assert trace.clock_start_s == 3 * 86400.0 + 21 * 3600.0 + 42 * 60.0 + 53.0  # a Thursday


def test_every_entry_is_complete_and_the_folder_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len({entry.file_name for entry in PUBLIC_TRACES.values()}) == len(PUBLIC_TRACES)
    for entry in PUBLIC_TRACES.values():
        assert entry.url.startswith("https://")
        assert entry.url.endswith(entry.file_name)
        assert len(entry.licence) > 10
    monkeypatch.setenv("PODGYM_TRACES", "/somewhere")
    assert default_folder() == Path("/somewhere")
