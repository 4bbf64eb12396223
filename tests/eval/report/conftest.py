"""Folders of results: made up by hand, with all that can happen, and a real one of short episodes."""

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
from oracles import pages

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


@pytest.fixture
def read_page():
    """Read a page of HTML."""
    return pages.read_page
