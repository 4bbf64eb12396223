"""What episodes amount to, from rows made by hand: means, regret, comparisons, and the page to read."""

import csv
import hashlib
import math
from dataclasses import replace

import numpy as np
import pytest

from podgym.eval.protocol import ControllerMethod, PolicyMethod
from podgym.eval.protocol.entrants import Entrant
from podgym.eval.protocol.results import FORMAT, result_document, write_results
from podgym.eval.protocol.tables import _longer_side, environment_table, legend, markdown
from podgym.eval.protocol.units import MEASURES, EpisodeRow
from podgym.eval.statistics import Bootstrap, holm, iqm, mean_estimate, paired_difference

BURST, FLASH = "podgym/FamilyBurst-v0", "podgym/FamilyFlash-v0"
SEEDS = range(210_000, 210_030)
LOAD = 1000.0 + 300.0 * np.random.default_rng(0).normal(size=(2, 30))


class Made:
    """Entrants and rows of one protocol, method by method."""

    def __init__(self, protocol):
        self.protocol = protocol
        self.entrants = []
        self.rows = []

    def add(self, method, cost, *, kind="controller", violation=0.1, seeds=(None,), failure="", **fields):
        """Give a method's costs, (episodes,) or (training seeds, episodes), on each environment."""
        for place, environment in enumerate(self.protocol.ids):
            costs = np.atleast_2d(cost[place] if isinstance(cost, list) else cost + LOAD[place])
            for which, training_seed in enumerate(seeds):
                self.entrants.append(
                    Entrant(environment, method, kind, costs.shape[1], training_seed=training_seed, **fields)
                )
                for number, seed in zip(range(costs.shape[1]), SEEDS, strict=False):
                    row = EpisodeRow(environment, method, training_seed, seed, failure=failure)
                    if not failure:
                        row = EpisodeRow(
                            environment, method, training_seed, seed, f"load {seed}",
                            cost=float(costs[which, number]), slo_violation_ratio=violation,
                            slo_violation_time_ratio=violation, core_hours=4.0, gib_hours=8.0, churn=12.0,
                            scaling_events=6.0, response_time_mean_s=0.125,
                        )  # fmt: skip
                    self.rows.append(row)
        return self

    def document(self):
        return result_document(self.protocol, self.entrants, self.rows, ["a remark"])


@pytest.fixture
def made(make_protocol):
    """A rule, one that is 100 worse, one of which nothing is known on dev, and a bound 400 below."""
    protocol = make_protocol(
        ControllerMethod("rule"), ids=(BURST, FLASH), episodes=30, resamples=2000, rival="rule", changes={}
    )
    wobble = np.random.default_rng(1).normal(size=30)
    return (
        Made(protocol)
        .add("rule", np.zeros(30))
        .add("hpa", 100.0 + 10.0 * wobble)
        .add("static", 300.0 + wobble)
        .add("lower bound", np.full(30, -400.0), kind="lower_bound")
    )


def by(rows, **wanted):
    (found,) = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    return found


def test_means_intervals_and_spreads(made):
    row = by(made.document()["summary"], environment=BURST, method="rule")
    assert row["cost"] == pytest.approx(LOAD[0].mean())
    assert row["cost_lower"] < row["cost"] < row["cost_upper"]
    assert row["cost_iqm"] == pytest.approx(iqm(LOAD[0]))
    assert row["cost_between_episodes"] == pytest.approx(LOAD[0].std(ddof=1))
    assert math.isnan(row["cost_between_training_seeds"])
    assert (row["episodes"], row["training_seeds"], row["churn"]) == (30, 1, 12.0)
    assert math.isnan(row["response_time_p95_s"])


def test_intervals_end_where_measures_do_and_differences_do_not(make_protocol):
    """Of three episodes, one of which is far off, Student's tails reach below 0 and a share's above 1."""
    protocol = make_protocol(ControllerMethod("rule"), episodes=3, rival="rule", changes={}, resamples=2000)
    few, many = np.array([1.0, 1.0, 90.0]), np.array([80.0, 99.0, 0.5])
    made = Made(protocol).add("rule", [few]).add("hpa", [many])
    made.add("lower bound", [np.array([0.5, 0.5, 60.0])], kind="lower_bound")
    numbers = [name for name in MEASURES if name != "cost"]
    made.rows = [
        replace(each, **{name: each.cost / (100.0 if "ratio" in name else 1.0) for name in numbers})
        for each in made.rows
    ]
    document = made.document()
    row = by(document["summary"], method="rule")
    free = mean_estimate(few, Bootstrap(2000)).mean
    assert free.lower < 0.0
    assert 100.0 < free.upper < math.inf
    for name in (*MEASURES, "cost_iqm"):
        assert row[f"{name}_lower"] == 0.0, name
    assert row["churn_upper"] == row["cost_upper"] == free.upper
    for name in ("slo_violation_ratio", "slo_violation_time_ratio"):
        assert row[f"{name}_upper"] == 1.0
        assert row[name] == few.mean() / 100.0
    other = by(document["comparisons"], table="rival", method="hpa")
    assert other["difference_lower"] == paired_difference(many, few, Bootstrap(2000)).difference.lower < 0.0
    assert row["regret_lower"] < 0.0


def test_regret_and_gap_by_hand(made):
    made.add("ppo", np.full(30, -100.0), kind="policy")
    summary = made.document()["summary"]
    row = by(summary, environment=FLASH, method="ppo")
    assert (row["regret"], row["regret_lower"], row["regret_upper"]) == pytest.approx((300.0,) * 3)
    assert (row["gap_closed"], row["gap_closed_lower"], row["gap_closed_upper"]) == pytest.approx((0.25,) * 3)
    rival = by(summary, environment=FLASH, method="rule")
    assert rival["regret"] == pytest.approx(400.0)
    assert math.isnan(rival["gap_closed"])
    bound = by(summary, environment=FLASH, method="lower bound")
    assert bound["regret_against"] == ""
    assert math.isnan(bound["regret"])


@pytest.fixture
def two_bounds(make_protocol):
    """A rule of replicas, its bound 200 below, the bound of everything 400 below, and who changes quotas."""
    protocol = make_protocol(
        ControllerMethod("rule"), ids=(BURST, FLASH), episodes=30, resamples=2000, rival="rule", changes={}
    )
    return (
        Made(protocol)
        .add("rule", np.zeros(30), controller="rule")
        .add("hpa", np.full(30, -50.0), controller="hpa")
        .add("lstm_ga", np.full(30, -100.0), controller="lstm_ga")
        .add("lstm_ga of replicas", np.full(30, -20.0), controller="lstm_ga", options={"keep_quotas": True})
        .add("small pods", np.full(30, -60.0), controller="hpa", changes={"seed": 1})
        .add("lower bound, quotas", np.full(30, -400.0), kind="lower_bound", quotas=True)
        .add("lower bound", np.full(30, -200.0), kind="lower_bound")
    )


def test_the_gap_to_the_bound_of_replicas_is_of_methods_that_leave_the_pods_alone(two_bounds):
    document = two_bounds.document()
    shares = {
        row["method"]: (row["gap_closed"], row["replicas_gap_closed"])
        for row in document["summary"]
        if row["environment"] == FLASH
    }
    nan = math.nan
    expected = {
        "rule": (nan, nan),
        "hpa": (0.125, 0.25),
        "lstm_ga": (0.25, nan),
        "lstm_ga of replicas": (0.05, 0.1),
        "small pods": (0.15, nan),
        "lower bound, quotas": (nan, nan),
        "lower bound": (0.5, nan),
    }
    assert set(shares) == set(expected)
    for method, both in expected.items():
        assert shares[method] == pytest.approx(both, nan_ok=True), method
    overall = {row["method"]: row["replicas_gap_closed"] for row in document["overall"]}
    assert overall["hpa"] == pytest.approx(0.25)
    assert math.isnan(overall["lstm_ga"])
    assert [each["replicas_bound"] for each in document["environments"]] == ["lower bound"] * 2


def test_other_keys_are_another_format(made):
    """A report reads the keys of its format; one that is added needs a new number, and a new hash here."""
    document = made.document()
    tables = ("environments", "summary", "comparisons", "overall")
    keys = [sorted(document), *(sorted(document[name][0]) for name in tables)]
    digest = hashlib.sha256(repr(keys).encode()).hexdigest()[:16]
    assert (FORMAT, digest) == ("podgym.protocol_results/2", "bc84251b82dd3d89")


def test_a_bound_of_replicas_alone_is_not_named_twice(made):
    document = made.document()
    assert [each["replicas_bound"] for each in document["environments"]] == [None, None]
    assert all(math.isnan(row["replicas_gap_closed"]) for row in document["summary"])


def test_of_two_bounds_the_lower_one_holds_for_every_method(made):
    made.add("lower bound, quotas", np.full(30, -500.0), kind="lower_bound")
    summary = made.document()["summary"]
    row = by(summary, environment=BURST, method="hpa")
    assert row["regret_against"] == "lower bound, quotas"
    assert by(summary, environment=BURST, method="lower bound")["regret"] == pytest.approx(100.0)


def test_a_bound_of_fewer_episodes_is_paired_with_those(make_protocol):
    protocol = make_protocol(ControllerMethod("rule"), episodes=30, resamples=500, rival="rule", changes={})
    made = Made(protocol).add("rule", np.arange(30.0) - LOAD[0])
    made.add("lower bound", [np.full(4, -1.0)], kind="lower_bound")
    assert by(made.document()["summary"], method="rule")["regret"] == pytest.approx(1.5 + 1.0)
    assert "| lower bound (first 4) | 4 |" in markdown(made.document())


def test_comparisons_with_the_rival(made):
    document = made.document()
    rows = [row for row in document["comparisons"] if row["table"] == "rival"]
    assert [(row["environment"], row["method"], row["against"]) for row in rows] == [
        (BURST, "hpa", "rule"), (BURST, "static", "rule"), (FLASH, "hpa", "rule"), (FLASH, "static", "rule"),
    ]  # fmt: skip
    own, other = (
        [row.cost for row in made.rows if (row.environment, row.method) == (FLASH, name)]
        for name in ("hpa", "rule")
    )
    expected = paired_difference(own, other, Bootstrap(2000, stratum=1))
    found = rows[2]
    assert found["difference"] == expected.difference.estimate
    assert found["difference_lower"] == expected.difference.lower
    assert found["relative_difference"] == expected.relative.estimate
    assert found["p_value"] == expected.p_value
    assert found["probability_of_improvement"] == 0.0
    adjusted = holm([row["p_value"] for row in rows])
    assert [row["p_value_holm"] for row in rows] == adjusted.tolist()
    assert {row["verdict"] for row in rows} == {"higher cost"}
    assert by(document["environments"], environment=BURST)["rival_choice"] == "named in the protocol"


def test_a_difference_that_may_be_chance_has_no_verdict(made):
    made.add("keda", 30.0 * np.random.default_rng(2).normal(size=30))
    rows = [row for row in made.document()["comparisons"] if row["table"] == "rival"]
    assert by(rows, environment=BURST, method="keda")["verdict"] == "no difference shown"
    assert by(rows, environment=BURST, method="hpa")["verdict"] == "higher cost"


def test_holm_can_take_a_verdict_away(made):
    """The interval alone excludes no difference; among many comparisons that is not enough."""
    noise = np.random.default_rng(3).normal(size=30)
    made.add("keda", 20.0 * (noise - noise.mean()) / noise.std(ddof=1) - 8.2)
    for number in range(8):
        made.add(f"more {number}", 20.0 * np.random.default_rng(number).normal(size=30))
    row = by(made.document()["comparisons"], table="rival", environment=BURST, method="keda")
    assert row["difference_upper"] < 0.0
    assert row["p_value"] < 0.05 < row["p_value_holm"]
    assert row["verdict"] == "no difference shown"


def test_learned_methods_meet_every_controller_and_the_best_in_hindsight(made):
    """The rival is named; another controller happens to be better here, so beating that one says more."""
    made.add("lucky", np.full(30, -20.0))
    made.add("ppo", np.array([[-50.0], [-40.0], [-45.0]]) + np.zeros(30), kind="policy", seeds=(0, 1, 2))
    document = made.document()
    assert by(document["environments"], environment=BURST)["best_controller_in_hindsight"] == "lucky"
    every = [row for row in document["comparisons"] if row["table"] == "every"]
    assert {(row["method"], row["against"]) for row in every} == {
        ("ppo", name) for name in ("rule", "hpa", "static", "lucky")
    }
    assert len(every) == 8
    hindsight = by(document["comparisons"], table="hindsight", environment=BURST, method="ppo")
    assert hindsight["against"] == "lucky"
    assert hindsight["difference"] == pytest.approx(-25.0)
    assert hindsight["training_seeds"] == 3
    assert hindsight["difference_lower"] < -26.0  # the seeds differ, the episodes do not
    assert hindsight["p_value_sign_flip"] < hindsight["p_value"]
    summary = by(document["summary"], environment=BURST, method="ppo")
    assert summary["cost_between_training_seeds"] == pytest.approx(5.0)


def test_variants_are_points_of_a_front_and_nothing_else(made):
    for name, violation, cost in (("strict", 0.05, 50.0), ("lax", 0.2, -80.0)):
        made.add(f"rule {name}", np.full(30, cost), violation=violation, variant_of="rule")
    made.add("ppo", np.full(30, -60.0), kind="policy", violation=0.15)
    document = made.document()
    assert by(document["environments"], environment=BURST)["best_controller_in_hindsight"] == "rule"
    named = {name for row in document["comparisons"] for name in (row["method"], row["against"])}
    assert named.isdisjoint({"rule strict", "rule lax"})
    row = by(document["comparisons"], table="rival", environment=BURST, method="ppo")
    assert row["equal_violation_difference"] == pytest.approx(-60.0 + 40.0)  # half way between rule and lax
    assert row["equal_violation_note"] == "at the violation of ppo, 15 %"
    assert row["equal_violation_p_value_holm"] == pytest.approx(6 * 2 / 2001)


def test_the_own_front_serves_where_the_other_has_none(made):
    made.add("ppo", np.full(30, -60.0), kind="policy", violation=0.05)
    made.add("ppo lax", np.full(30, -120.0), kind="policy", violation=0.15, variant_of="ppo")
    document = made.document()
    row = by(document["comparisons"], table="rival", environment=BURST, method="ppo")
    assert row["equal_violation_difference"] == pytest.approx(-90.0)
    assert row["equal_violation_note"] == "at the violation of rule, 10 %"
    other = by(document["comparisons"], table="rival", environment=BURST, method="hpa")
    assert math.isnan(other["equal_violation_difference"])
    assert other["equal_violation_note"] == "neither has variants, so there is no front"


def test_not_comparable_is_a_result(made):
    made.add("rule lax", np.full(30, -80.0), violation=0.2, variant_of="rule")
    made.add("ppo", np.full(30, -60.0), kind="policy", violation=0.05)
    row = by(made.document()["comparisons"], table="rival", environment=BURST, method="ppo")
    assert row["equal_violation_note"].startswith("not comparable: the violation of ppo, 5 %, is outside the")
    assert math.isnan(row["equal_violation_difference"])
    assert math.isnan(row["equal_violation_p_value_holm"])


def test_what_failed_is_in_no_comparison_and_may_be_the_rival(made):
    made.add("keda", np.zeros(30), failure="it broke")
    document = made.document()
    row = by(document["summary"], environment=BURST, method="keda")
    assert row["failure"] == "it broke"
    assert math.isnan(row["cost"])
    assert "keda failed on podgym/FamilyBurst-v0: it broke" in document["remarks"]
    assert not [row for row in document["comparisons"] if "keda" in (row["method"], row["against"])]
    made.rows = [
        EpisodeRow(row.environment, row.method, None, row.seed, failure="gone")
        if row.method == "rule"
        else row
        for row in made.rows
    ]
    document = made.document()
    assert by(document["environments"], environment=BURST)["rival"] is None
    assert not [row for row in document["comparisons"] if row["table"] == "rival"]
    assert document["overall"] == []


def test_overall_is_the_mean_of_the_environments(made):
    made.add("ppo", [LOAD[0] - 0.1 * LOAD[0], LOAD[1] + 0.3 * LOAD[1]], kind="policy", policy="one file")
    document = made.document()
    row = by(document["overall"], method="ppo")
    assert row["relative_difference"] == pytest.approx(0.1)
    assert row["relative_difference_lower"] == pytest.approx(0.1)
    assert row["gap_closed"] == pytest.approx(np.mean([0.1 * LOAD[0].mean(), -0.3 * LOAD[1].mean()]) / 400.0)
    assert by(document["overall"], method="rule")["relative_difference"] == 0.0


def test_one_policy_everywhere_varies_everywhere_alike(made):
    """A generalist's training seeds are good or bad on all environments at once; specialists' are not."""
    spread = np.array([-60.0, -30.0, 0.0, 30.0, 60.0])[:, None] + np.zeros(30)
    made.add("general", spread, kind="policy", seeds=range(5))
    made.add("special", spread, kind="policy", seeds=range(5))
    made.entrants = [
        replace(each, policy=f"{each.training_seed} {each.environment if each.method == 'special' else ''}")
        for each in made.entrants
    ]
    overall = made.document()["overall"]
    width = {
        row["method"]: row["relative_difference_upper"] - row["relative_difference_lower"] for row in overall
    }
    assert width["general"] > 1.2 * width["special"]


def test_remark_on_traces_and_hash_of_the_loads(make_protocol):
    protocol = make_protocol(ControllerMethod("rule"), ids=("podgym/Trace-v0",), episodes=2, rival="rule")
    document = Made(protocol).add("rule", [np.array([1.0, 2.0])]).document()
    assert "so they overlap" in document["remarks"][-1]
    loads = hashlib.sha256(b"load 210000load 210001").hexdigest()
    assert document["environments"][0]["loads_sha256"] == loads


def test_files_of_results(made, tmp_path):
    made.add("keda", np.zeros(30), failure="it broke")
    document, paths = write_results(tmp_path, made.protocol, made.entrants, made.rows, [])
    assert all(path.is_file() for path in paths)
    with (tmp_path / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 10
    assert (
        float(by(rows, environment=BURST, method="hpa")["cost"])
        == by(document["summary"], environment=BURST, method="hpa")["cost"]
    )
    assert by(rows, environment=BURST, method="keda")["cost"] == ""
    with (tmp_path / "results.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 300


def test_page_to_read(made):
    made.add("keda", np.zeros(30), failure="it broke")
    made.add("ppo", np.full((5, 30), -100.0), kind="policy", seeds=range(5))
    page = markdown(made.document())
    for words in (
        "# Protocol tiny", "- a remark", "## podgym/FamilyBurst-v0", "rule¹²", "5 \u00d7 30", "| keda |",
        "named in the protocol", "chosen in hindsight", "## Against the rival", "corrected by Holm",
        "## Learned methods against every controller", "## All environments", "lower cost",
        "Regret: cost beyond lower bound",
    ):  # fmt: skip
        assert words in page
    assert "**" not in page
    lines = page.splitlines()
    rules = [number for number, line in enumerate(lines) if line.startswith("|---")]
    assert len(rules) == 6
    for at in rules:
        assert lines[at].count("|") == lines[at - 1].count("|") == lines[at + 1].count("|")


def test_table_for_a_terminal(made, capsys):
    from rich.console import Console

    made.add("keda", np.zeros(30), failure="it broke")
    made.add("rule lax", np.full(30, -80.0), violation=0.2, variant_of="rule")
    document = made.document()
    environment = by(document["environments"], environment=BURST)
    Console(width=80).print(environment_table(document, environment))
    out = capsys.readouterr().out
    assert out.index("lower bound") < out.index("rule¹²") < out.index("hpa") < out.index("static")
    assert "failed" in out
    assert "lax" not in out
    assert "(first" not in out
    assert "chosen in hindsight: rule" in legend(environment)


def test_an_interval_in_a_terminal_is_its_longer_side():
    row = {"cost": 10.0, "cost_lower": 0.0, "cost_upper": 35.0}
    assert _longer_side(row, "cost", 1.0, 0) == "\u00b1 25"
    assert _longer_side({**row, "cost": 30.0}, "cost", 2.0, 0) == "\u00b1 60"
    assert _longer_side({**row, "cost_upper": math.nan}, "cost", 1.0, 0) == "-"


def test_without_learned_methods_or_tuned_ones_there_is_no_such_table(make_protocol):
    protocol = make_protocol(
        ControllerMethod("hpa"), PolicyMethod("x"), episodes=30, changes={}, resamples=200
    )
    made = Made(protocol).add("hpa", np.zeros(30)).add("static", np.ones(30))
    document = made.document()
    assert document["environments"][0]["rival"] is None
    assert {row["table"] for row in document["comparisons"]} == {"hindsight"}
