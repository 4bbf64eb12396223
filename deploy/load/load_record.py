"""What the load was and what became of it, second by second."""

import csv
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from arrivals import Array

COLUMNS = (
    "time_s", "asked", "sent", "completed", "failed", "response_time_mean_s", "response_time_p50_s",
    "response_time_p95_s", "response_time_p99_s", "response_time_max_s", "lateness_max_s",
)  # fmt: skip
BEHIND_SHARE = 0.01
"""The generator fell behind if more of the requests than this were sent a second late or more ..."""
BEHIND_LATENESS_S = 0.1
"""... or if one in a hundred was sent later than this, seconds."""


@dataclass(slots=True)
class LoadRecord:
    """Collects one row per request; all times in seconds since the start of the load.

    Response times count from the moment at which the request was due, not from when it was sent: a slow
    generator makes them longer, never shorter.
    """

    due_s: Array
    """(requests,) s: when each request was due."""
    sent_s: list[float] = field(default_factory=list)
    """When each was sent, in the order of sending."""
    late_s: list[float] = field(default_factory=list)
    """How much later than due that was."""
    ended_s: list[float] = field(default_factory=list)
    """When each answer or failure came, in the order of coming."""
    response_s: list[float] = field(default_factory=list)
    """From due to ended."""
    failed: list[bool] = field(default_factory=list)
    """Whether it was a failure: no answer, or a status of 400 or more."""
    stopped_s: float | None = None
    """When the load was stopped early; None: it was not."""

    def add_sent(self, now_s: float, due_s: float) -> None:
        """A request was sent."""
        self.sent_s.append(now_s)
        self.late_s.append(now_s - due_s)

    def add_ended(self, now_s: float, due_s: float, *, failed: bool) -> None:
        """A request was answered or has failed."""
        self.ended_s.append(now_s)
        self.response_s.append(now_s - due_s)
        self.failed.append(failed)

    @property
    def asked_s(self) -> Array:
        """(asked,) s: when requests were due before the load ended or was stopped."""
        return self.due_s if self.stopped_s is None else self.due_s[self.due_s <= self.stopped_s]

    def rows(self) -> list[dict[str, float]]:
        """Return one row per second, from the first to the last answer."""
        asked_s = self.asked_s
        sent_s, late_s = np.array(self.sent_s), np.array(self.late_s)
        ended_s, response_s = np.array(self.ended_s), np.array(self.response_s)
        failed = np.array(self.failed, dtype=bool)
        last_s = max((times_s.max() for times_s in (asked_s, sent_s, ended_s) if len(times_s)), default=0.0)
        rows = []
        for second in range(int(last_s) + 1):
            ended = (ended_s >= second) & (ended_s < second + 1)
            times_s = response_s[ended & ~failed]
            late = late_s[(sent_s >= second) & (sent_s < second + 1)]
            counts = (
                np.sum((asked_s >= second) & (asked_s < second + 1)),
                len(late), np.sum(ended & ~failed), np.sum(ended & failed),
            )  # fmt: skip
            values = (second, *counts, *_describe(times_s), late.max() if len(late) else np.nan)
            rows.append(dict(zip(COLUMNS, map(float, values), strict=True)))
        return rows

    def summary(self) -> dict[str, Any]:
        """Return totals, and whether the generator fell behind."""
        failed = np.array(self.failed, dtype=bool)
        response_s = np.array(self.response_s)[~failed]
        asked, sent, late_s = len(self.asked_s), len(self.sent_s), np.array(self.late_s)
        late_p99_s = float(np.quantile(late_s, 0.99)) if sent else 0.0
        very_late = int(np.sum(late_s >= 1.0)) + asked - sent
        behind = very_late > BEHIND_SHARE * asked or late_p99_s > BEHIND_LATENESS_S
        names = [name.removeprefix("response_time_") for name in COLUMNS[5:10]]
        return {
            "asked": asked,
            "sent": sent,
            "completed": int(np.sum(~failed)),
            "failed": int(np.sum(failed)),
            "response_time": dict(zip(names, map(float, _describe(response_s)), strict=True)),
            "lateness_p99_s": late_p99_s,
            "lateness_max_s": float(late_s.max()) if sent else 0.0,
            "fell_behind": bool(behind),
            "stopped_early_s": self.stopped_s,
        }

    def write(self, folder: Path, about: dict[str, Any]) -> None:
        """Write ``load.csv``, ``load_rate.csv`` (the rate that was sent, a trace) and ``load.json``."""
        folder.mkdir(parents=True, exist_ok=True)
        rows = self.rows()
        _write_csv(folder / "load.csv", COLUMNS, [[_cell(row[name]) for name in COLUMNS] for row in rows])
        rates = [[_cell(row["time_s"]), _cell(row["sent"])] for row in rows]
        _write_csv(folder / "load_rate.csv", ("time_s", "rate_rps"), rates)
        text = json.dumps({**about, **self.summary()}, indent=2, default=str)
        (folder / "load.json").write_text(text.replace("NaN", "null") + "\n", encoding="utf-8")


def _describe(times_s: Array) -> tuple[float, ...]:
    """Return mean, median, 95th and 99th percentile and the largest; nan of none."""
    if len(times_s) == 0:
        return (np.nan,) * 5
    return (times_s.mean(), *np.quantile(times_s, (0.5, 0.95, 0.99)), times_s.max())


def _cell(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.6g}"


def _write_csv(path: Path, columns: tuple[str, ...], rows: list[list[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
