"""What a tuner may open; above all, that no way leads to the test part."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from podgym.envs.config import EnvConfig
from podgym.envs.core import open_workload
from podgym.envs.make import scenario_config
from podgym.envs.splits import (
    DEV_SEEDS,
    TEST_SEEDS,
    TRAIN_SEEDS,
    check_tuning_seed,
    require_part,
    tuning_config,
    tuning_seeds,
)
from podgym.errors import InputError
from podgym.eval.tuning.episodes import Episode, EpisodeRunner


@pytest.fixture
def trace_config(tmp_path):
    """An environment on a trace whose rate tells which part a sample is of: 100, 200 or 300 requests/s."""
    path = tmp_path / "parts.csv"
    rates = np.repeat([100.0, 200.0, 300.0], [70, 15, 15])
    pd.DataFrame({"t_seconds": np.arange(100) * 60.0, "rate_rps": rates}).to_csv(path, index=False)
    return EnvConfig(workload=str(path), episode_s=300.0)


def test_the_seeds_of_the_three_parts_are_disjoint():
    assert not set(TRAIN_SEEDS) & set(DEV_SEEDS)
    assert not set(DEV_SEEDS) & set(TEST_SEEDS)
    assert not set(TRAIN_SEEDS) & set(TEST_SEEDS)


@pytest.mark.parametrize(
    ("seed", "part", "message"),
    [
        (200_000, "dev", "seed 200000 is for the final evaluation"),
        (299_999, "train", "is for the final evaluation"),
        (100_000, "train", "belongs to another part; when tuning, part 'train' has seeds 0 to 99999"),
        (99_999, "dev", "belongs to another part"),
        (-1, "train", "belongs to another part"),
        (0, "test", "unknown part for tuning 'test'; allowed: dev, train"),
        (0, "all", "unknown part for tuning 'all'"),
    ],
)
def test_a_seed_of_another_part_makes_no_episode(seed, part, message):
    with pytest.raises(InputError, match=message):
        check_tuning_seed(seed, part)
    with pytest.raises(InputError, match=message):
        Episode({}, part, seed)


def test_seeds_are_the_first_of_their_part():
    assert tuning_seeds("train", 2, 3) == (2, 3, 4)
    assert tuning_seeds("dev", 0, 2) == (100_000, 100_001)
    with pytest.raises(InputError, match="belongs to another part"):
        tuning_seeds("train", 99_999, 2)


@pytest.mark.parametrize("part", ["test", "all", "dev"])
@pytest.mark.parametrize("workload", ["family:burst", "alibaba2018"])
def test_a_configuration_that_names_a_part_is_refused(part, workload):
    config = EnvConfig(workload=workload, workload_options={"part": part})
    with pytest.raises(InputError, match=f"part is '{part}'; tuning searches on part 'train'"):
        EpisodeRunner("hpa", config)


@pytest.mark.parametrize("part", ["test", "all"])
def test_no_configuration_of_another_part_is_made(part, trace_config):
    with pytest.raises(InputError, match="unknown part for tuning"):
        tuning_config(trace_config, part)
    opened = dataclasses.replace(trace_config, workload_options={"part": part})
    for due in ("train", "dev"):
        with pytest.raises(InputError, match=f"opens part '{part}'; only '{due}' may be opened"):
            require_part(opened, due)


def test_parts_of_a_trace_hold_their_own_samples(trace_config):
    rates = {
        part: set(open_workload(tuning_config(trace_config, part)).rates_rps) for part in ("train", "dev")
    }
    assert rates == {"train": {100.0}, "dev": {200.0}}


def test_generated_families_get_the_streams_of_the_part():
    config = EnvConfig(workload="family:diurnal", workload_options={"mean_rate_rps": 100.0})
    loads = {}
    for part in ("train", "dev"):
        workload = open_workload(tuning_config(config, part))
        assert (workload.part, workload.mean_rate_rps) == (part, 100.0)
        loads[part] = workload.sample(np.random.default_rng(0), 600.0).values
    assert not np.array_equal(loads["train"], loads["dev"])


def test_a_scenario_has_no_parts_but_seeds():
    config = scenario_config("burst")
    assert tuning_config(config, "dev") is config
