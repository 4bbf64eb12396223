"""What the planner is asked for: settings of the genetic algorithm, and the objective."""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from podgym.baselines.metrics import checked_number
from podgym.envs.config import REWARD_PRESETS, REWARD_TERMS
from podgym.errors import InputError, require_whole, unknown_name

MOST_GENERATIONS = 100_000
MOST_INDIVIDUALS = 10_000


@dataclass(frozen=True, slots=True)
class GaSettings:
    """The genetic algorithm; the defaults are the paper's.

    Raises:
        InputError: a probability outside 0 to 1, too few individuals or generations, a negative time.
    """

    population: int = 50
    """Individuals, an even number of 2 or more."""
    crossover: float = 0.81
    """Probability that two parents swap part of their quotas or counts."""
    mutation: float = 0.23
    """Probability that an individual changes some of its genes a little."""
    patience: int = 20
    """Generations without a better best individual after which it stops."""
    max_generations: int = 200
    """Generations after which it stops in any case; 0: the initial population only."""
    time_limit_s: float | None = None
    """Wall time after which the best individual so far is the plan; None: no limit. With a limit, plans
    depend on the speed of the machine, so they are not kept on disk."""
    seed: int = 0
    """Seed of everything random. Equal problems get equal plans under equal seeds."""

    def __post_init__(self) -> None:
        require_whole("population", self.population, 2, MOST_INDIVIDUALS)
        if self.population % 2:
            raise InputError(f"population is {self.population}; it must be even: parents come in pairs.")
        require_whole("patience", self.patience, 1, MOST_GENERATIONS)
        require_whole("max_generations", self.max_generations, 0, MOST_GENERATIONS)
        require_whole("seed", self.seed, 0, 2**63 - 1)
        for name in ("crossover", "mutation"):
            checked_number(name, getattr(self, name), 0.0, 1.0)
        if self.time_limit_s is not None:
            checked_number("time_limit_s", self.time_limit_s, 0.0, 1e9)


@dataclass(frozen=True, slots=True)
class Objective:
    """What a plan is judged by: the sum of the reward's raw terms, each per second, times its weight.

    The terms and their signs are those of the environment's reward (``podgym.envs.config.REWARD_TERMS``), so
    that the planner and an agent can want the same. Higher is better.

    Raises:
        InputError: a weight that is not a finite number, or whose sign rewards what is bad.
    """

    name: str
    """Name of the preset that it began with."""
    slo_violation: float = 0.0
    """Per share of requests that violate their SLO; 0 or less."""
    cpu_cost: float = 0.0
    """Per requested core; 0 or less."""
    memory_cost: float = 0.0
    """Per requested GiB; 0 or less."""
    churn: float = 0.0
    """Per replica changed; 0 or less. The change is spread over the minutes of the forecast."""
    cpu_utilisation: float = 0.0
    """Per CPU used / requested, the paper's alpha; 0 or more."""
    memory_utilisation: float = 0.0
    """Per memory used / requested, the paper's beta; 0 or more."""
    response_time: float = 0.0
    """Per second of mean response time, minus the paper's gamma; 0 or less."""

    def __post_init__(self) -> None:
        for name in REWARD_TERMS:
            rewarded = name.endswith("utilisation")
            low, high = (0.0, 1e12) if rewarded else (-1e12, 0.0)
            checked_number(f"weight of {name}", getattr(self, name), low, high)

    @property
    def weights(self) -> NDArray[np.float64]:
        """(7,) weights in the order of ``REWARD_TERMS``."""
        return np.array([getattr(self, name) for name in REWARD_TERMS], dtype=np.float64)

    @property
    def utilisation_weights(self) -> tuple[float, float]:
        """Shares of CPU and memory in the mean utilisation, which add up to 1; halves if neither counts."""
        total = self.cpu_utilisation + self.memory_utilisation
        if total <= 0.0:
            return 0.5, 0.5
        return self.cpu_utilisation / total, self.memory_utilisation / total


_PAPER_NAMES = {"alpha": "cpu_utilisation", "beta": "memory_utilisation", "gamma": "response_time"}


def objective(name: str, **changes: float) -> Objective:
    """Return an objective by name.

    Args:
        name: "paper" is ``F = alpha U_cpu + beta U_mem - gamma R`` with alpha = beta = 0.5, gamma = 1 and R
            in seconds; "slo_cost" is minus SLO violations, requested cores and GiB, and replicas changed.
            Both have the weights of the reward preset of the same name.
        **changes: other weights, by the fields of ``Objective``, or ``alpha``, ``beta`` and ``gamma``.

    Raises:
        InputError: an unknown name or weight, or a weight that cannot be.
    """
    if name not in REWARD_PRESETS:
        raise unknown_name("objective", name, REWARD_PRESETS)
    weights = dict(REWARD_PRESETS[name])
    allowed = {item.name for item in fields(Objective)} - {"name"}
    for key, value in changes.items():
        if key not in allowed and key not in _PAPER_NAMES:
            raise unknown_name("weight of the objective", key, [*allowed, *_PAPER_NAMES])
        checked_number(key, value, -1e12, 1e12)
        weights[_PAPER_NAMES.get(key, key)] = -value if key == "gamma" else value
    return Objective(name, **weights)
