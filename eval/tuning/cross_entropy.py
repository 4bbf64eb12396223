"""The cross-entropy method for a vector of real numbers.

R. Y. Rubinstein, "The Cross-Entropy Method for Combinatorial and Continuous Optimization", Methodology and
Computing in Applied Probability 1 (1999), with the smoothing of de Boer et al., "A Tutorial on the
Cross-Entropy Method", Annals of Operations Research 134 (2005), and the added noise of Szita and Lőrincz,
"Learning Tetris Using the Noisy Cross-Entropy Method", Neural Computation 18 (2006).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from podgym.errors import InputError, require_whole


@dataclass(frozen=True, slots=True)
class CrossEntropySettings:
    """How the method samples and learns."""

    population: int = 40
    """Vectors of one generation."""
    elite_share: float = 0.2
    """Share of a generation, the best of it, that the next one is drawn around."""
    smoothing: float = 0.7
    """Weight of the elite in the new mean and deviation; the rest is the old one's."""
    initial_deviation: float = 0.2
    """Standard deviation of every number in the first generation."""
    noise_floor: float = 0.05
    """Standard deviation below which no number falls, so that the search does not freeze."""

    def __post_init__(self) -> None:
        require_whole("population", self.population, 2, 100_000)
        for name in ("elite_share", "smoothing"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise InputError(f"{name} is {getattr(self, name)!r}; it must be above 0 and at most 1.")
        for name in ("initial_deviation", "noise_floor"):
            if not 0.0 <= getattr(self, name) < np.inf:
                raise InputError(f"{name} is {getattr(self, name)!r}; it must be a number of 0 or more.")


class CrossEntropy:
    """Draws vectors from independent normal laws, and moves the laws to the best of what it drew."""

    def __init__(self, count: int, seed: int, settings: CrossEntropySettings | None = None) -> None:
        """Begin at zero.

        Args:
            count: length of the vectors.
            seed: of everything random.
            settings: how to sample and learn.
        """
        self.settings = settings or CrossEntropySettings()
        self.mean = np.zeros(count)  # (count,)
        self.deviation = np.full(count, self.settings.initial_deviation)  # (count,)
        self._rng = np.random.default_rng(seed)

    def draw(self) -> NDArray[np.float64]:
        """Return a generation, (population, count), whose first vector is the mean itself."""
        shape = (self.settings.population, len(self.mean))
        vectors = self.mean + self.deviation * self._rng.standard_normal(shape)
        vectors[0] = self.mean
        return vectors

    def learn(self, vectors: NDArray[np.float64], costs: Sequence[float]) -> None:
        """Move mean and deviation towards the vectors of least cost.

        Args:
            vectors: (n, count) what was drawn.
            costs: (n,) of each; infinity for one that could not be run, which is never among the best.
        """
        order = np.argsort(np.asarray(costs), kind="stable")  # ties: the one drawn first
        usable = order[np.isfinite(np.asarray(costs)[order])]
        elite = vectors[usable[: max(round(self.settings.elite_share * len(costs)), 1)]]
        if len(elite) == 0:
            return
        new = self.settings.smoothing
        self.mean = (1.0 - new) * self.mean + new * elite.mean(axis=0)
        spread = (1.0 - new) * self.deviation + new * elite.std(axis=0)
        self.deviation = np.maximum(spread, self.settings.noise_floor)
