"""Runs of the simulator whose constants the test knows, recorded as a live run would be."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from podgym.envs import scenarios
from podgym.envs.cluster import ServiceDecision
from podgym.envs.config import override
from podgym.envs.env import AutoscaleEnv
from podgym.envs.workloads.profile import LoadProfile
from podgym.eval.calibration import Recording, calibrate, record_simulated_run


class Ramps:
    """Open load that climbs and falls in straight lines."""

    name = "ramps"
    kind = "open"
    step_s = 10.0
    max_duration_s = 1e6

    def __init__(self, low_rps: float, high_rps: float, period_s: float = 1700.0) -> None:
        self.low_rps, self.high_rps, self.period_s = low_rps, high_rps, period_s

    def sample(self, rng, duration_s):
        times_s = np.arange(int(np.ceil(duration_s / self.step_s)) + 1) * self.step_s
        height = 1.0 - np.abs((times_s / self.period_s) % 1.0 * 2.0 - 1.0)
        return LoadProfile(
            self.low_rps + (self.high_rps - self.low_rps) * height, self.step_s, "open", 0.0, "ramps"
        )


class Sawtooth:
    """Scales up and down on a schedule of its own, so that many pods start."""

    name = "sawtooth"

    def __init__(self, low: int, high: int, period_s: float = 600.0) -> None:
        self.low, self.high, self.period_s = low, high, period_s

    def reset(self) -> None:
        pass

    def decide(self, observation):
        height = 1.0 - abs((observation.time_s / self.period_s) % 1.0 * 2.0 - 1.0)
        replicas = round(self.low + (self.high - self.low) * height)
        return tuple(ServiceDecision(replicas=replicas) for _ in observation.services)


@dataclass(frozen=True)
class Truth:
    """Constants that a fit is to find; None: as the simulator ships them."""

    cpu_demand_core_s: float = 0.0086
    base_latency_s: float = 0.097
    start_up_s: float = 10.0
    scrape_delay_s: float = 2.0
    demand_cv: float = 1.0
    load_balancing: str = "pooled"


def _record(
    truth: Truth,
    seed: int = 0,
    *,
    load: tuple[float, float] = (0.1, 2.1),
    replicas: tuple[int, int] = (6, 24),
    hours: float = 1.5,
    scrape_interval_s: float = 13.4,
    tick_s: float = 0.2,
    rate_noise_cv: float = 0.05,
) -> Recording:
    """``load`` is in parts of what the fewest replicas can serve."""
    service = {
        "initial_replicas": replicas[0],
        "parameters": {
            "cpu_demand_core_s": truth.cpu_demand_core_s,
            "base_latency_s": truth.base_latency_s,
            "start_up_s": truth.start_up_s,
            "demand_cv": truth.demand_cv,
            "load_balancing": truth.load_balancing,
        },
    }
    cluster = {
        "tick_s": tick_s,
        "load": {"rate_noise_cv": rate_noise_cv},
        "monitoring": {"scrape_delay_s": truth.scrape_delay_s, "scrape_interval_s": scrape_interval_s},
        "services": {"web": service},
    }
    capacity_rps = replicas[0] * 0.5 / truth.cpu_demand_core_s
    config = override(scenarios.trace(), {"cluster": cluster, "episode_s": hours * 3600.0})
    env = AutoscaleEnv(config, workload=Ramps(load[0] * capacity_rps, load[1] * capacity_rps))
    return record_simulated_run(env, Sawtooth(*replicas), seed)


@pytest.fixture(scope="session")
def record_run() -> Callable[..., Recording]:
    """Run the simulator with a truth: ``record_run(Truth(...), seed, load=..., replicas=...)``."""
    return _record


@pytest.fixture(scope="session")
def truth() -> type[Truth]:
    return Truth


@pytest.fixture(scope="session")
def shipped():
    """The environment with the constants that podgym ships, and coarser ticks than the recordings have."""
    return scenarios.trace()


@pytest.fixture(scope="session")
def long_run(record_run):
    """A recording with everything in it: ramps into overload, many pod starts, sample times."""
    return record_run(Truth(0.012, 0.05, 15.0, 4.0, 1.3), seed=5)


@pytest.fixture(scope="session")
def long_fit(long_run, shipped):
    """What is fitted to it."""
    return calibrate(long_run, shipped)
