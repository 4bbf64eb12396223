import gzip
from pathlib import Path

import pytest

from podgym.envs.workloads.access_log import read_access_log
from podgym.errors import InputError

LINE = 'host.example - - [{stamp}:{second:02d} -0400] "GET /x HTTP/1.0" 200 1839'


def _log(requests_per_minute: dict[str, int]) -> str:
    lines = [
        LINE.format(stamp=stamp, second=second)
        for stamp, requests in requests_per_minute.items()
        for second in range(requests)
    ]
    return "\n".join(lines) + "\n"


FOUR_MINUTES = {
    "30/Jun/1995:23:58": 1,
    "01/Jul/1995:00:01": 4,  # out of order in the file, as in real logs
    "30/Jun/1995:23:59": 3,
    "01/Jul/1995:00:02": 2,
    "01/Jul/1995:00:03": 9,
}


@pytest.mark.parametrize("packed", [False, True])
def test_requests_are_counted_per_minute_without_the_ragged_ends(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / ("access_log.gz" if packed else "access_log")
    text = _log(FOUR_MINUTES).encode("latin-1")
    path.write_bytes(gzip.compress(text) if packed else text)
    trace = read_access_log(path, "mine")
    assert trace.values.tolist() == [3.0, 0.0, 4.0, 2.0]  # 23:59, silent midnight, 00:01, 00:02
    assert (trace.name, trace.column, trace.step_s) == ("mine", "requests", 60.0)
    assert trace.clock_start_s == 4 * 86400.0 + 23 * 3600.0 + 59 * 60.0  # Friday 23:59


def test_a_few_broken_lines_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "access_log"
    many = {stamp: 50 for stamp in FOUR_MINUTES}
    path.write_bytes(_log(many).encode() + b"alyssa.p\n" + b"\xff\xfe [99/Foo/1995:00:00:00]\n")
    assert read_access_log(path, "mine").values.tolist() == [50.0, 0.0, 50.0, 50.0]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"<html>not found</html>\n", "no access log: 1 of 1 lines"),
        (_log({"01/Jul/1995:00:00": 2, "01/Jul/1995:00:01": 2}).encode(), "covers 2 minutes"),
        (_log(FOUR_MINUTES | {"01/Jul/2005:00:00": 1}).encode(), "almost all minutes are empty"),
    ],
)
def test_what_is_no_log_is_refused(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "access_log"
    path.write_bytes(content)
    with pytest.raises(InputError, match=complaint):
        read_access_log(path, "mine")


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "access_log.gz"
    path.write_bytes(gzip.compress(_log(FOUR_MINUTES).encode())[:-20])
    with pytest.raises(InputError, match="cannot be read"):
        read_access_log(path, "mine")
