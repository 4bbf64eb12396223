"""Short episodes of every kind of load, and random courses of replicas and quotas to attack bounds with."""

import dataclasses

import numpy as np
import pytest

from podgym.envs.config import override
from podgym.envs.scenarios import burst, high_load, low_load, trace

FAMILIES = ("constant", "diurnal", "variable", "burst", "flash")
SCENARIOS = {"high_load": high_load, "burst": burst, "low_load": low_load}


def _make(load, *, episode_s=300.0, rate_rps=300.0, changes=None, physics=None, options=None):
    """Return a configuration by the name of its load; ``changes`` and ``physics`` change service and pods."""
    if load in SCENARIOS:  # "burst" is the paper's; the family is "family:burst"
        config = dataclasses.replace(SCENARIOS[load](), episode_s=episode_s)
    elif load == "trace":
        config = dataclasses.replace(trace(), episode_s=episode_s)
    else:
        options = {"mean_rate_rps": rate_rps, **(options or {})}
        family = f"family:{load.removeprefix('family:')}"
        config = dataclasses.replace(trace(), workload=family, workload_options=options, episode_s=episode_s)
    service = {**(changes or {}), "parameters": physics or {}}
    return override(config, {"cluster": {"services": {"web": service}}})


def _replicas(rng, count, num_steps, *, most=16):
    """Return (count, num_steps) courses of replicas, calm and wild ones."""
    courses = np.empty((count, num_steps), dtype=np.int64)
    for course in courses:
        at, restless = int(rng.integers(1, most)), rng.choice([0.0, 0.1, 0.4, 0.9])
        for step in range(num_steps):
            if rng.random() < restless:
                jump = rng.random() < 0.3
                at = int(rng.integers(1, 29)) if jump else int(np.clip(at + rng.integers(-2, 3), 1, 28))
            course[step] = at
    return courses


@pytest.fixture
def make_config():
    """Build a short episode of one load."""
    return _make


@pytest.fixture
def random_replicas():
    """Draw courses of replicas."""
    return _replicas
