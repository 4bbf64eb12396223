"""The episode that is drawn: which, of whom, and that it is the one in the results."""

import csv
import json
import shutil

import numpy as np
import pytest

from podgym.envs.env import AutoscaleEnv
from podgym.envs.forecasts import TrueRates
from podgym.errors import InputError
from podgym.eval.report import Drawn, page, read_run, report_of
from podgym.eval.report.drawing import looks
from podgym.eval.report.episode_figure import episode_figure
from podgym.eval.report.episodes import choose, job_of, repeat

BURST = "podgym/FamilyBurst-v0"


@pytest.fixture
def folder(tiny_folder, tmp_path):
    shutil.copytree(tiny_folder, tmp_path / "run")
    return tmp_path / "run"


def costs(folder, method):
    with (folder / "results.csv").open(encoding="utf-8") as file:
        return {
            int(row["seed"]): float(row["cost"]) for row in csv.DictReader(file) if row["method"] == method
        }


def test_the_median_difference_is_drawn_and_no_better_one(tiny_folder):
    run = read_run(tiny_folder)
    choice = choose(run, run.fields[0])
    first, second = (each.method for each in choice.entrants)
    means = {name: np.mean(list(costs(tiny_folder, name).values())) for name in ("hpa", "keda", "planner")}
    least, next_least = sorted(means, key=means.get)[:2]
    assert first == least
    assert second == ("hpa" if least != "hpa" else next_least)  # the rival, or the next
    own, other = costs(tiny_folder, first), costs(tiny_folder, second)
    ranked = sorted(own, key=lambda seed: own[seed] - other[seed])
    assert choice.seed == ranked[2]  # of four the third: of the two medians the worse for the first
    assert choice.median


def test_learned_methods_come_first_with_the_median_policy(rich_folder):
    run = read_run(rich_folder)
    choice = choose(run, run.fields[1])
    assert [each.method for each in choice.entrants] == ["ppo", "rule"]
    assert choice.entrants[0].training_seed == 2  # costs ascend with the seed of the training


def test_methods_and_seed_of_ones_own(tiny_folder):
    run = read_run(tiny_folder)
    choice = choose(run, run.fields[0], ("planner", "keda"), 160_001)
    assert [each.method for each in choice.entrants] == ["planner", "keda"]
    assert (choice.seed, choice.median) == (160_001, False)
    with pytest.raises(InputError, match="160000 to 160003"):
        choose(run, run.fields[0], None, 7)
    with pytest.raises(InputError, match="Did you mean 'planner'"):
        choose(run, run.fields[0], ("plannr", "keda"))
    with pytest.raises(InputError, match="method with results"):
        choose(run, run.fields[0], ("too many", "keda"))


def test_what_is_drawn_is_the_episode_of_the_results(tiny_folder):
    run = read_run(tiny_folder)
    episode = repeat(run, choose(run, run.fields[0], ("planner", "keda")))
    assert episode.problem == ""
    planner, keda = episode.shown
    for shown in episode.shown:
        known = costs(tiny_folder, shown.entrant.method)[episode.choice.seed]
        assert -shown.record.totals["reward"].sum() == pytest.approx(known, rel=1e-12)
    assert planner.planned
    assert not keda.planned
    assert keda.forecast is None


def test_forecasts_stand_at_the_minute_that_they_are_of(tiny_folder):
    """With a forecaster that knows the future, what was forecast for a minute is the load of that minute."""
    run = read_run(tiny_folder)
    choice = choose(run, run.fields[0], ("planner", "keda"))
    forecast = repeat(run, choice).shown[0].forecast
    env = AutoscaleEnv(job_of(run, choice.entrants[0], choice.seed).config)
    env.reset(seed=choice.seed)
    minutes = np.arange(5, 15)
    assert forecast.minutes_ahead == 5
    assert forecast.time_s.tolist() == (60.0 * (np.arange(4, 15) + 0.5)).tolist()
    truth = TrueRates().forecast_rates(env.profile, 900.0, 1)[minutes, 0, 0]  # (10,) mean of the minute after
    assert forecast.mean[1:] == pytest.approx(truth)


def test_another_cost_is_found_out_and_said(folder):
    path = folder / "results.csv"
    rows = path.read_text(encoding="utf-8").splitlines()
    run = read_run(folder)
    seed = choose(run, run.fields[0], ("planner", "keda")).seed
    place = next(at for at, row in enumerate(rows) if f"keda,,{seed}," in row)
    cells = rows[place].split(",")
    cells[5] = repr(float(cells[5]) + 1.0)
    run = read_run(folder)
    changed = [row for row in run.rows if (row.method, row.seed) == ("keda", seed)]
    object.__setattr__(changed[0], "cost", float(cells[5]))
    episode = repeat(run, choose(run, run.fields[0], ("planner", "keda"), seed))
    assert episode.shown == ()
    assert "keda could not be run again" in episode.problem
    assert "another podgym" in episode.problem


def test_a_policy_that_is_gone_leaves_a_line(rich_folder, read_page):
    run = read_run(rich_folder)
    text = "".join(read_page(page(report_of(run))).text)
    assert "is not drawn: ppo could not be run again: there is no file /nowhere/ppo-2.policy" in text
    assert "/nowhere/ppo-4.policy: file not found" in text
    assert "do not confirm that these are what ran" in text


def test_the_figure_and_its_page(tiny_folder, read_page):
    run = read_run(tiny_folder)
    episode = repeat(run, choose(run, run.fields[0], ("planner", "keda")))
    figure = episode_figure(episode, looks(["planner", "keda"]))
    legend = "needed for the SLO,plan,wanted,ready,95th percentile,SLO,its 80 % interval,load,miss the SLO"
    for words in (*legend.split(","), "no forecast but the last load"):
        assert f">{words}" in figure.svg
    text = page(report_of(run, Drawn(methods=("planner", "keda"), seed=160_002)))
    found = read_page(text)
    assert "figure-episode-FamilyBurst-v0" in found.ids
    assert "episode 160002: planner and keda on the same load" in "".join(found.text)
    assert "The episode was asked for by its seed" in "".join(found.text)
    assert "confirm that these are what ran" in "".join(found.text)


def test_what_no_environment_has_is_refused(tiny_folder):
    run = read_run(tiny_folder)
    with pytest.raises(InputError, match="episode seed 5"):
        report_of(run, Drawn(seed=5))
    with pytest.raises(InputError, match="method with results"):
        report_of(run, Drawn(methods=("nobody", "hpa")))


def test_a_controller_that_raises_is_a_line_too(folder):
    def edit(content):
        for entrant in content["entrants"]:
            if entrant["method"] == "keda":
                entrant["options"] = {"no_such": 1}

    path = folder / "protocol.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    edit(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    run = read_run(folder)
    assert "no_such" in repeat(run, choose(run, run.fields[0], ("keda", "hpa"))).problem
