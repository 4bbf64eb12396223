"""Episodes in batches: the same outcomes as one by one, to the last bit."""

import json
import os

import numpy as np
import pytest

from podgym.baselines.rule import NUM_WEIGHTS
from podgym.envs.config import override
from podgym.envs.make import scenario_config
from podgym.envs.splits import DEV_SEEDS
from podgym.envs.workloads import make_workload
from podgym.envs.workloads.traces import TraceWorkload
from podgym.errors import InputError
from podgym.eval.tuning import batch, evaluators
from podgym.eval.tuning.batch import BatchRunner, SharedLoads
from podgym.eval.tuning.episodes import Episode, EpisodeRunner, objective_config
from podgym.eval.tuning.evaluators import evaluating
from podgym.eval.tuning.ledger import read_ledger
from podgym.eval.tuning.run import Request, tune

STEPS = 40  # of an episode


def short(scenario="family_burst", **changes):
    return override(scenario_config(scenario), {"episode_s": 15.0 * STEPS, **changes})


def drawn(count, seed=0):
    rng = np.random.default_rng(seed)
    return [{"weights": tuple(0.3 * rng.standard_normal(NUM_WEIGHTS))} for _ in range(count)]


def mixed_episodes():
    """Candidates on the same episodes of both parts, with two that the controller refuses."""
    candidates = [{}, *drawn(3), {"weights": (1.0,) * 3}, {"weights": None, "target_utilisation": 7.0}]
    train = [Episode(options, "train", seed) for options in candidates for seed in (0, 1, 17)]
    dev = [Episode(options, "dev", DEV_SEEDS.start + seed) for options in candidates for seed in (0, 5)]
    return [each for pair in zip(train[::-1], dev * 2, strict=False) for each in pair]


@pytest.mark.parametrize(
    ("config", "forecaster"),
    [
        (short(), None),
        (short(), "oracle"),
        (short(randomisation={"cpu_demand": [0.5, 2.0]}, reward={"relative_to_plan": True}), None),
        (short("trace"), "oracle"),
        (short("burst"), None),
        (short("boutique"), "oracle"),
    ],
)
def test_outcomes_are_those_of_one_by_one(config, forecaster):
    runner = EpisodeRunner("rule", config, forecaster)
    episodes = mixed_episodes()
    alone = [runner.run(episode) for episode in episodes]
    assert list(BatchRunner(runner).run(episodes)) == alone
    assert {outcome.steps for outcome in alone} == {0, STEPS}
    assert {outcome.refusal[:20] for outcome in alone} == {"", "rule: weights is an ", "target_utilisation i"}
    assert len({outcome.reward for outcome in alone}) > 12


@pytest.mark.parametrize("most_envs", [1, 4, 7, 23])
def test_outcomes_do_not_depend_on_the_size_of_the_batch(most_envs):
    runner = EpisodeRunner("rule", short())
    episodes = mixed_episodes()
    assert list(BatchRunner(runner, most_envs).run(episodes)) == list(BatchRunner(runner).run(episodes))
    assert list(BatchRunner(runner).run([])) == []


def test_outcomes_come_batch_by_batch(monkeypatch):
    """So that progress shows, and what was run is written down before more is run."""
    ran = []
    run_part = batch._Part.run
    monkeypatch.setattr(
        batch._Part, "run", lambda part, rules, seeds: ran.append(len(seeds)) or run_part(part, rules, seeds)
    )
    outcomes = BatchRunner(EpisodeRunner("rule", short()), 4).run(
        [Episode({}, "train", seed) for seed in range(10)]
    )
    next(outcomes)
    assert ran == [3]
    assert len(list(outcomes)) == 9
    assert sorted(ran) == [3, 3, 4]


def test_a_load_and_its_forecasts_are_made_once(monkeypatch):
    sampled, forecast = [], []

    class Counting:
        def forecast_rates(self, profile, duration_s, horizon_minutes):
            forecast.append(profile)
            return np.mean(profile.values) * np.ones((int(duration_s / 60.0) + 1, horizon_minutes, 3))

    sample = TraceWorkload.sample
    monkeypatch.setattr(TraceWorkload, "sample", lambda *arguments: sampled.append(1) or sample(*arguments))
    monkeypatch.setattr(batch, "open_forecaster", lambda name: Counting())
    runner = BatchRunner(EpisodeRunner("rule", short("trace"), "counted"))
    episodes = [Episode(options, "train", seed) for options in drawn(5) for seed in (2, 3, 4)]
    first = list(runner.run(episodes))
    assert list(runner.run(episodes)) == first
    assert (len(sampled), len(forecast)) == (3, 3)
    monkeypatch.setattr(batch, "_MOST_LOADS", 2)
    assert list(runner.run(episodes)) == first  # made again, the same
    assert (len(sampled), len(forecast)) == (6, 6)


def test_shared_loads_leave_the_generator_as_the_workload_does():
    workload = make_workload("family:burst", part="dev")
    shared = SharedLoads(workload)
    for _ in range(2):
        for seed in (1, 2):
            own, other = np.random.default_rng(seed), np.random.default_rng(seed)
            assert np.array_equal(workload.sample(own, 600.0).values, shared.sample(other, 600.0).values)
            assert own.integers(2**63) == other.integers(2**63)
    assert shared.num_loads == 2
    assert shared.sample(np.random.default_rng(1), 600.0) is shared.sample(np.random.default_rng(1), 600.0)
    assert len(shared.sample(np.random.default_rng(1), 900.0).values) > len(
        shared.sample(np.random.default_rng(1), 600.0).values
    )
    assert (shared.name, shared.kind, shared.part) == (workload.name, workload.kind, "dev")
    assert (shared.step_s, shared.max_duration_s) == (workload.step_s, workload.max_duration_s)


def test_only_what_decides_for_many_runs_in_batches():
    with pytest.raises(InputError, match=r"'hpa' decides for one cluster at a time; those .*: rule"):
        BatchRunner(EpisodeRunner("hpa", short()))
    with pytest.raises(InputError, match="processes is 0"), evaluating(EpisodeRunner("rule", short()), 0):
        pass


def request(budget, **fields):
    config = override(scenario_config("family_burst"), {"episode_s": 60.0})
    return Request("rule", "podgym/FamilyBurst-v0", config, budget * 4, 0, **fields)


def test_a_search_in_batches_is_the_search_one_by_one(tmp_path, monkeypatch):
    together = tune(request(700), tmp_path / "batches", processes=2)
    monkeypatch.setattr(evaluators, "BATCHED", ())
    assert tune(request(700), tmp_path / "alone") == together
    ledgers = [(tmp_path / each / "ledger.jsonl").read_bytes() for each in ("batches", "alone")]
    assert ledgers[0] == ledgers[1]
    assert together["searches"][0]["schedule"]["generations"] == 0


def test_a_large_budget_searches_by_generations_and_can_be_resumed(tmp_path, monkeypatch):
    """5000 episodes of 4 steps: 52 generations."""
    monkeypatch.setattr(os, "fsync", lambda file: None)  # a thousand lines: seconds on some disks
    config = objective_config(request(1).config, "slo_cost")
    spent = []
    whole = tune(request(5000, seed=1), tmp_path / "whole", on_spent=spent.append)
    schedule = whole["searches"][0]["schedule"]
    assert (schedule["generations"], schedule["candidates"], schedule["screen_episodes"]) == (52, 1040, 4)
    assert whole["search_space"][0]["population"] == 20
    assert 0.98 * 20_000 < whole["spent_steps"] == spent[-1] <= 20_000
    assert len(whole["train_seeds"]) == 52 * 4 + 32
    assert len(whole["finalists"]) == 5
    lines = read_ledger(tmp_path / "whole" / "ledger.jsonl")[1:]
    runner = EpisodeRunner("rule", config)
    for line in (lines[3], lines[700], lines[-1]):
        own = [-runner.run(Episode(line["options"], line["part"], seed)).reward for seed in line["seeds"]]
        assert own == line["values"]
    weights = [number for line in lines for number in line["options"].get("weights", ())]
    assert weights == [round(number, 4) for number in weights]
    content = (tmp_path / "whole" / "ledger.jsonl").read_bytes()
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "ledger.jsonl").write_bytes(content[: len(content) // 3])
    assert tune(request(5000, seed=1), tmp_path / "cut", resume=True) == whole
    assert (tmp_path / "cut" / "ledger.jsonl").read_bytes() == content
    assert json.loads((tmp_path / "whole" / "result.json").read_text()) == whole
