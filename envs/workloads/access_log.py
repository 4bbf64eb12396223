"""From a web server's access log to requests per minute."""

import gzip
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from podgym.envs.workloads.profile import DAY_S
from podgym.envs.workloads.sources import Trace, checked_trace
from podgym.errors import InputError

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MINUTE_LENGTH = len("01/Jul/1995:00:00")
# More unreadable lines, or more empty minutes, than this share: not an access log, or a wrong date in it.
_MAX_BAD_SHARE = 0.01
_MAX_EMPTY_SHARE = 0.9


def read_access_log(path: Path, name: str) -> Trace:
    """Return the requests per minute of a log in common log format, plain or gzip (ending ``.gz``).

    A line counts in the minute of its time stamp, in the log's own local time, whatever the order of lines.
    The first and the last minute are left out, because a log may begin and end inside them. A minute without
    a line counts 0: a log cannot tell a silent minute from a stopped server. Lines without a time stamp are
    skipped as long as they are few.

    Args:
        path: the log.
        name: name of the trace.

    Raises:
        InputError: the file cannot be read, or is not such a log.
    """
    lines_per_minute: Counter[bytes] = Counter()
    try:
        with gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as log:
            for line in log:
                start = line.find(b"[") + 1
                lines_per_minute[line[start : start + _MINUTE_LENGTH] if start else b""] += 1
    except (OSError, EOFError) as error:
        raise InputError(f"{path} cannot be read: {error}.") from error
    counts: Counter[datetime] = Counter()
    for stamp, lines in lines_per_minute.items():
        minute = _minute(stamp)
        if minute is not None:
            counts[minute] += lines
    bad = lines_per_minute.total() - counts.total()
    if bad > _MAX_BAD_SHARE * lines_per_minute.total():
        raise InputError(
            f"{path} is no access log: {bad} of {lines_per_minute.total()} lines have no time stamp."
        )
    return _trace(path, name, counts)


def _minute(stamp: bytes) -> datetime | None:
    """Return the minute of a stamp like ``01/Jul/1995:00:00``; the month names depend on no locale."""
    try:
        day, month, rest = stamp.decode("ascii").split("/")
        year, hour, minute = rest.split(":")
        return datetime(int(year), _MONTHS.index(month) + 1, int(day), int(hour), int(minute))
    except ValueError:
        return None


def _trace(path: Path, name: str, counts: Counter[datetime]) -> Trace:
    if len(counts) < 4:
        raise InputError(f"{path} covers {len(counts)} minutes; a trace needs 4 or more.")
    first, last = min(counts) + timedelta(minutes=1), max(counts)
    minutes = round((last - first).total_seconds() / 60.0)
    if len(counts) < (1.0 - _MAX_EMPTY_SHARE) * minutes:
        raise InputError(f"{path} runs from {first} to {last}, but almost all minutes are empty.")
    requests = np.zeros(minutes)  # (minutes,) requests per minute
    for minute, lines in counts.items():
        if first <= minute < last:
            requests[round((minute - first).total_seconds() / 60.0)] = lines
    clock_start_s = first.weekday() * DAY_S + first.hour * 3600.0 + first.minute * 60.0
    return checked_trace(
        name, "requests", np.arange(minutes, dtype=np.float64) * 60.0, requests, clock_start_s
    )
