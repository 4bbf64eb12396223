"""Folders of results: made up by hand, with all that can happen, and a real one of short episodes."""

import json
import math
from dataclasses import asdict, dataclass, field
from html.parser import HTMLParser

import numpy as np
import pytest

from podgym.eval.protocol import ControllerMethod, Protocol, run_protocol
from podgym.eval.protocol.entrants import Entrant
from podgym.eval.protocol.results import write_results
from podgym.eval.protocol.units import EpisodeRow

BURST, FLASH = "podgym/FamilyBurst-v0", "podgym/FamilyFlash-v0"
SEEDS = range(160_000, 160_030)
LOAD = 1000.0 + 300.0 * np.random.default_rng(0).normal(size=(2, 30))
NASTY = "<script>alert('&')</script>\" onclick=\"x | $x$ ` [a](b)"
"""A label that would run, or break a table, were it not escaped."""


class MadeRun:
    """Entrants and rows made by hand, and the folder that they are written to."""

    def __init__(self, folder, **fields):
        self.folder = folder
        chosen = {
            "name": "made", "ids": (BURST, FLASH), "first_seed": 160_000, "episodes": 30, "resamples": 500,
            "part": "dev", "rival": "rule", "description": f"Made up {NASTY}.",
            "methods": (ControllerMethod("rule"), ControllerMethod("hpa")),
        }  # fmt: skip
        self.protocol = Protocol(**{**chosen, **fields})
        self.entrants, self.rows = [], []

    def add(self, method, cost, *, kind="controller", violation=0.1, seeds=(None,), failure="", **fields):
        """Give costs beyond the load, (episodes,) or (training seeds, episodes), alike everywhere."""
        for place, environment in enumerate(self.protocol.ids):
            costs = np.atleast_2d(cost) + LOAD[place][: np.atleast_2d(cost).shape[1]]
            for which, training_seed in enumerate(seeds):
                entrant = {"controller": "hpa" if kind == "controller" else "", **fields}
                if kind == "policy":
                    entrant["policy"] = f"/nowhere/{method}-{training_seed}.policy"
                self.entrants.append(
                    Entrant(environment, method, kind, costs.shape[1], training_seed=training_seed, **entrant)
                )
                for number in range(costs.shape[1]):
                    row = EpisodeRow(environment, method, training_seed, SEEDS[number], failure=failure)
                    if not failure:
                        row = self._row(row, float(costs[which, number]), violation, kind)
                    self.rows.append(row)
        return self

    @staticmethod
    def _row(row, cost, violation, kind):
        known = math.nan if kind == "lower_bound" else 1.0
        return EpisodeRow(
            row.environment, row.method, row.training_seed, row.seed, f"load {row.seed}", cost=cost,
            slo_violation_ratio=violation * known,
            slo_violation_time_ratio=(0.9 * violation + 1e-6 * (row.seed % 7)) * known,
            core_hours=4.0 * known, gib_hours=8.25 * known, churn=(12.0 + row.seed % 5) * known,
            scaling_events=6.0 * known, response_time_mean_s=0.125 * known,
            response_time_p95_s=0.5 * known,
        )  # fmt: skip

    def write(self):
        """Write the folder as an evaluation does."""
        write_results(self.folder, self.protocol, self.entrants, self.rows, [f"a remark {NASTY}"])
        description = {
            "format": "podgym.protocol/1",
            "protocol": self.protocol.as_dict(),
            "entrants": [asdict(each) for each in self.entrants],
            "remarks": [],
        }
        (self.folder / "protocol.json").write_text(json.dumps(description), encoding="utf-8")
        return self.folder


@pytest.fixture(scope="session")
def make_run(tmp_path_factory):
    """Start a folder of results; fields are those of the protocol."""
    return lambda **fields: MadeRun(tmp_path_factory.mktemp("made"), **fields)


@pytest.fixture(scope="session")
def rich_folder(make_run):
    """Five policies, a rule with variants, a nasty name, one that failed, and a bound of a few episodes."""
    wobble = np.random.default_rng(1).normal(size=30)
    return (
        make_run()
        .add("rule", np.zeros(30))
        .add("rule strict", np.full(30, 60.0) + wobble, violation=0.05, variant_of="rule")
        .add("rule lax", np.full(30, -30.0) - wobble, violation=0.2, variant_of="rule")
        .add("hpa", 100.0 + 10.0 * wobble, violation=0.15)
        .add(NASTY, 300.0 + wobble, violation=0.02)
        .add("broken", np.zeros(30), failure=f"seed 160000: {NASTY}")
        .add(
            "ppo",
            np.arange(-52.0, -47.0)[:, None] + wobble,
            kind="policy",
            violation=0.12,
            seeds=tuple(range(5)),
        )
        .add("lower bound, quotas", np.full(4, -400.0), kind="lower_bound", quotas=True)
        .write()
    )


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """A real run of short episodes: two rules, one that plans with the future known, and one that fails."""
    protocol = Protocol(
        name="tiny", ids=(BURST,), first_seed=160_000, episodes=4, part="dev", resamples=200,
        changes={"episode_s": 900.0}, rival="hpa",
        methods=(
            ControllerMethod("hpa"),
            ControllerMethod("keda"),
            ControllerMethod("lstm_ga", forecaster="oracle", label="planner"),
            ControllerMethod("static", {"replicas": 5000}, label="too many"),
        ),
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("tiny")
    run_protocol(protocol, folder)
    return folder


@dataclass
class FoundCell:
    """One cell of a page: its number or words, and its interval."""

    text: str = ""
    interval: str = ""

    @property
    def value(self):
        """The number; nan: there is none."""
        return number_in(self.text)

    @property
    def ends(self):
        """Both ends of the interval."""
        return tuple(map(number_in, self.interval.strip("[]").split(" to "))) if self.interval else ()


def number_in(text):
    """Read a number as the page writes it."""
    try:
        return float(text.replace("\u2212", "-").replace(",", "").replace("+", ""))
    except ValueError:
        return math.nan


@dataclass
class FoundTable:
    """One table of a page."""

    caption: str = ""
    rows: list = field(default_factory=list)

    @property
    def headings(self):
        """Texts of the first row."""
        return [cell.text for cell in self.rows[0]]

    def row(self, *start):
        """The cells of the row that begins with these words, by heading."""
        (found,) = [row for row in self.rows[1:] if tuple(cell.text for cell in row[: len(start)]) == start]
        return dict(zip(self.headings, found, strict=True))


class PageReader(HTMLParser):
    """Reads tables, ids, links and whatever would load something; complains of tags that do not match."""

    VOID = frozenset({"meta", "br", "hr", "img", "link", "input", "col", "wbr"})

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.tables, self.ids, self.links, self.loads, self.tags = [], [], [], [], []
        self.text, self._open = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        values = dict(attrs)
        self.ids += [values["id"]] if "id" in values else []
        for name, value in attrs:
            if name in ("href", "xlink:href"):
                self.links.append(value)
            if name in ("src", "srcset", "data", "action", "poster") or name.startswith("on"):
                self.loads.append((tag, name, value))
        if tag == "table":
            self.tables.append(FoundTable())
        elif tag == "tr":
            self.tables[-1].rows.append([])
        elif tag in ("td", "th"):
            self.tables[-1].rows[-1].append(FoundCell())
        if tag not in self.VOID:
            self._open.append((tag, values.get("class", "")))

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self._open, f"</{tag}> closes nothing"
        opened, _ = self._open.pop()
        assert opened == tag, f"</{tag}> closes <{opened}>"

    def handle_data(self, data):
        names = [tag for tag, _ in self._open]
        if "style" not in names:
            self.text.append(data)
        if "caption" in names:
            self.tables[-1].caption += data
        elif "td" in names or "th" in names:
            cell = self.tables[-1].rows[-1][-1]
            if any(kind == "interval" for _, kind in self._open):
                cell.interval += data
            else:
                cell.text = (cell.text + data).strip()

    def finish(self):
        """Return self, once all is closed."""
        self.close()
        assert self._open == []
        return self

    def table(self, caption):
        """The table of a caption."""
        (found,) = [table for table in self.tables if table.caption == caption]
        return found


@pytest.fixture
def read_page():
    """Read a page of HTML."""

    def read(text):
        reader = PageReader()
        reader.feed(text)
        return reader.finish()

    return read
