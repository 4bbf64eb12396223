"""What proposes candidates: Optuna's TPE over a published space, or the cross-entropy method over weights."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from podgym.baselines import CONTROLLERS
from podgym.baselines.rule import NUM_WEIGHTS
from podgym.baselines.search_spaces import SEARCH_SPACES, Parameter
from podgym.errors import InputError, unknown_name
from podgym.eval.tuning.cross_entropy import CrossEntropy, CrossEntropySettings
from podgym.eval.tuning.schedule import Schedule, generation_schedule
from podgym.eval.tuning.spaces import contains, space_document

if TYPE_CHECKING:
    import optuna

Options = dict[str, Any]
"""Options of a controller, by name."""

TPE_BATCH = 8
"""Candidates that TPE proposes at a time. It does not depend on the number of processes."""
WEIGHT_VECTORS: Mapping[str, int] = {"rule": NUM_WEIGHTS}
"""Controllers whose option ``weights`` is tuned by the cross-entropy method, and its length."""
WEIGHT_DECIMALS = 4
"""Decimals of the weights that are proposed, as a ledger holds all of them."""
MANY_GENERATIONS = CrossEntropySettings(population=20, elite_share=0.25)
"""How the cross-entropy method learns when a budget pays for generations with episodes of their own."""
MANY_GENERATIONS_EPISODES = 4
"""Training episodes of each of these generations."""

_SPANS = (1, 5, 10)  # generations whose means are averaged for the first guesses


class Proposer(Protocol):
    """Proposes candidates and learns from what they cost."""

    batch_size: int
    """How many candidates to ask for at a time."""

    def ask(self, count: int) -> list[Options]:
        """Return the options of ``count`` candidates."""
        ...

    def tell(self, costs: Sequence[float]) -> None:
        """Learn the costs of the candidates asked for last, in order; infinity: it could not be run."""
        ...


@runtime_checkable
class GenerationProposer(Proposer, Protocol):
    """Moves from generation to generation, and arrives somewhere."""

    def guesses(self, count: int) -> list[Options]:
        """Return up to ``count`` different options that it takes for the best, the likeliest first."""
        ...


@dataclass(frozen=True, slots=True)
class Method:
    """How a controller is tuned."""

    name: str
    """``tpe`` or ``cross_entropy``."""
    space: tuple[Parameter, ...]
    """What is varied; empty for weights, which have no range to widen."""
    document: list[dict[str, Any]]
    """What is varied and how, as plain data."""
    wanted_candidates: int
    """How many candidates it can make use of."""
    versions: Mapping[str, str]
    """Libraries that its proposals depend on."""
    make: Callable[[Sequence[Parameter], Sequence[tuple[Options, float]], int], Proposer]
    """From a space, candidates that are known already with their costs, and a seed."""
    schedule: Schedule | None = None
    """The race, if generations have episodes of their own; ``make`` then gives a ``GenerationProposer``."""


def method_of(controller: str, episodes: int = 0) -> Method:
    """Return how a controller is tuned.

    Args:
        controller: its name.
        episodes: what the budget pays for.

    Raises:
        InputError: no such controller, one that has nothing to tune, or Optuna is not installed.
    """
    if controller in WEIGHT_VECTORS:
        return _cross_entropy(WEIGHT_VECTORS[controller], episodes)
    if controller not in CONTROLLERS:
        raise unknown_name("controller", controller, CONTROLLERS)
    if controller not in SEARCH_SPACES:
        raise InputError(
            f"controller {controller!r} has no search space, so there is nothing to tune; those with one: "
            f"{', '.join(sorted([*SEARCH_SPACES, *WEIGHT_VECTORS]))}."
        )
    if find_spec("optuna") is None:
        raise InputError("tuning needs Optuna; install it with pip install 'podgym[tune]'.")
    space = SEARCH_SPACES[controller]
    return Method("tpe", space, space_document(space), 100, {"optuna": version("optuna")}, TpeProposer)


def _cross_entropy(count: int, episodes: int) -> Method:
    schedule = generation_schedule(episodes, MANY_GENERATIONS.population, MANY_GENERATIONS_EPISODES)
    settings = CrossEntropySettings() if schedule is None else MANY_GENERATIONS

    def make(
        space: Sequence[Parameter], known: Sequence[tuple[Options, float]], seed: int
    ) -> "WeightProposer":
        return WeightProposer(CrossEntropy(count, seed, settings))

    law = {"name": "weights", "kind": "vector", "count": count, "decimals": WEIGHT_DECIMALS}
    return Method("cross_entropy", (), [{**law, **asdict(settings)}], 600, {}, make, schedule)


class TpeProposer:
    """Optuna's tree-structured Parzen estimator, asked and told in batches.

    Bergstra et al., "Algorithms for Hyper-Parameter Optimization" (NeurIPS 2011), with the multivariate
    kernels of Falkner et al. (BOHB, 2018), and a made-up poor result for what is asked for and not yet told.
    """

    batch_size = TPE_BATCH

    def __init__(
        self, space: Sequence[Parameter], known: Sequence[tuple[Options, float]] = (), seed: int = 0
    ) -> None:
        """Begin with what is known.

        Args:
            space: what to vary.
            known: candidates that were run before, with their costs; those outside the space are left out.
            seed: of everything random.
        """
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space = {each.name: _distribution(each) for each in space}
        sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
        self._study = optuna.create_study(direction="minimize", sampler=sampler)
        self._asked: list[optuna.trial.Trial] = []
        for options, cost in known:
            if contains(space, options) and np.isfinite(cost):
                chosen = {name: options[name] for name in self._space}
                self._study.add_trial(
                    optuna.trial.create_trial(params=chosen, distributions=self._space, value=cost)
                )

    def ask(self, count: int) -> list[Options]:
        """Return the options of ``count`` candidates, some perhaps known already."""
        self._asked = [self._study.ask(self._space) for _ in range(count)]
        return [dict(trial.params) for trial in self._asked]

    def tell(self, costs: Sequence[float]) -> None:
        """Learn the costs of the candidates asked for last."""
        for trial, cost in zip(self._asked, costs, strict=True):
            self._study.tell(trial, cost)


class WeightProposer:
    """The cross-entropy method, a generation at a time."""

    def __init__(self, method: CrossEntropy) -> None:
        """Begin with the proportional rule, all weights zero."""
        self.batch_size = method.settings.population
        self._method = method
        self._drawn = np.empty((0, 0))
        self._means = [method.mean]

    def ask(self, count: int) -> list[Options]:
        """Return a generation of weights, or its first ``count``."""
        self._drawn = _rounded(self._method.draw()[:count])
        return [_weights(weights) for weights in self._drawn]

    def tell(self, costs: Sequence[float]) -> None:
        """Learn from a generation; from a part of one, which ends a search, nothing is learnt."""
        if len(costs) == self.batch_size:
            self._method.learn(self._drawn, costs)
            self._means.append(self._method.mean)

    def guesses(self, count: int) -> list[Options]:
        """Return the last mean, averages of the last few, which are less noisy, and the means before."""
        averages = [np.mean(self._means[-span:], axis=0) for span in _SPANS if span <= len(self._means)]
        found = {
            canonical(options): options
            for options in map(_weights, map(_rounded, [*averages, *self._means[::-1]]))
        }
        return list(found.values())[:count]


def _rounded(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.round(weights, WEIGHT_DECIMALS) + 0.0  # no zero is negative


def _weights(weights: NDArray[np.float64]) -> Options:
    return {"weights": tuple(weights.tolist())}


def _distribution(parameter: Parameter) -> "optuna.distributions.BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if parameter.kind == "choice":
        return CategoricalDistribution(parameter.choices)
    if parameter.kind == "int":
        return IntDistribution(int(parameter.low), int(parameter.high), log=parameter.log)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log)


def canonical(options: Mapping[str, Any]) -> str:
    """Return options as text that is equal exactly when the options are."""
    return json.dumps(options, sort_keys=True)
