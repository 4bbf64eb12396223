"""A synthetic problem: the objective is a function of the options and the seed, and episodes cost nothing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from podgym.baselines.search_spaces import Parameter
from podgym.eval.tuning.episodes import Episode, Outcome
from podgym.eval.tuning.ledger import Ledger, read_ledger
from podgym.eval.tuning.proposers import Method
from podgym.eval.tuning.search import Found, Problem, Search

EPISODE_STEPS = 60
DEFAULTS = {"x": 2.0, "n": 3}
SPACE = (Parameter("x", "float", 0.0, 10.0, hard_low=0.0), Parameter("n", "int", 1, 5, hard_low=1))


class UniformProposer:
    """Draws from the ranges, one time in six an end; what it is told it keeps for the test."""

    batch_size = 8

    def __init__(self, space: Sequence[Parameter], known: Sequence[tuple[dict, float]], seed: int) -> None:
        self.space, self.known, self.told = space, known, []
        self._rng = np.random.default_rng(seed)

    def ask(self, count: int) -> list[dict[str, Any]]:
        return [{each.name: self._draw(each) for each in self.space} for _ in range(count)]

    def _draw(self, parameter: Parameter) -> float | int:
        if parameter.kind == "int":
            return int(self._rng.integers(int(parameter.low), int(parameter.high), endpoint=True))
        beyond = 0.1 * (parameter.high - parameter.low)
        drawn = self._rng.uniform(parameter.low - beyond, parameter.high + beyond)
        return float(min(max(drawn, parameter.low), parameter.high))

    def tell(self, costs: Sequence[float]) -> None:
        self.told.append(list(costs))


@dataclass
class Evaluations:
    """An evaluator that counts what it runs and can be made to stop."""

    cost: Callable[[Mapping[str, Any], int], float]
    stop_after: float = float("inf")
    episodes: list[Episode] = field(default_factory=list)

    def __call__(self, episodes: Sequence[Episode]):
        for episode in episodes:
            if len(self.episodes) >= self.stop_after:
                raise KeyboardInterrupt
            self.episodes.append(episode)
            yield self._outcome({**DEFAULTS, **episode.options}, episode.seed)

    def _outcome(self, options: Mapping[str, Any], seed: int) -> Outcome:
        cost = self.cost(options, seed)
        if cost is None:
            return Outcome(7, 0.0, "refused in the middle")
        return Outcome(EPISODE_STEPS, -cost)


def bowl(options: Mapping[str, Any], seed: int) -> float:
    """Least at x = 4, n = 2; noisy in the seed, alike for all candidates."""
    noise = 3.0 * np.random.default_rng(seed).standard_normal()
    return 10.0 + (options["x"] - 4.0) ** 2 + abs(options["n"] - 2) + float(noise)


def uniform_method(space: tuple[Parameter, ...] = SPACE) -> Method:
    return Method("uniform", space, [], 50, {}, UniformProposer)


@dataclass
class Run:
    """One search and its traces."""

    found: Found
    evaluations: Evaluations
    lines: list[dict[str, Any]]
    spent_steps: int
    reports: list[int]


def search(path, cost=bowl, *, budget=200 * EPISODE_STEPS, further=0, method=None, resume=False,
            stop_after=float("inf"), objective="slo_cost", seed=0) -> Run:  # fmt: skip
    problem = Problem(method or uniform_method(), objective, EPISODE_STEPS, budget, further, seed, DEFAULTS)
    evaluations = Evaluations(cost, stop_after)
    reports: list[int] = []
    with Ledger(path, {"seed": seed, "budget": budget}, resume=resume) as ledger:
        search = Search(problem, evaluations, ledger, reports.append)
        found = search.run()
    return Run(found, evaluations, read_ledger(path), search.spent_steps, reports)
