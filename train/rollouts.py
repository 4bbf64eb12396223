"""What happened in a rollout, added up step by step: what TensorBoard shows of it."""

import math

import numpy as np
from numpy.typing import NDArray

from podgym.envs.totals import INFO_KEYS
from podgym.train.results import RolloutStatistics

_PLACE = {name: index for index, name in enumerate(INFO_KEYS)}
_PLAN_STEP = _PLACE["plan_step"]


class RolloutCounter:
    """Adds up the steps of a batch of environments."""

    def __init__(self, names: tuple[str, ...], values: tuple[tuple[float, ...], ...]) -> None:
        """Begin with nothing.

        Args:
            names: of the numbers of the action.
            values: what the choices of each stand for.
        """
        self._names = names
        self._values = values
        self._returns: list[float] = []
        self._clear()

    def _clear(self) -> None:
        self._sums = np.zeros(len(INFO_KEYS))
        self._counts = [np.zeros(len(choices), dtype=np.int64) for choices in self._values]
        self._distance = 0.0
        self._frames = 0
        self._returns = []

    def add(self, totals: NDArray[np.float64], actions: NDArray[np.int64]) -> None:
        """Add one step.

        Args:
            totals: (num_envs, len(INFO_KEYS)).
            actions: (num_envs, numbers).
        """
        self._sums += totals.sum(axis=0)
        self._distance += float(np.abs(totals[:, _PLAN_STEP]).sum())
        self._frames += len(totals)
        for number, counts in enumerate(self._counts):
            counts += np.bincount(actions[:, number], minlength=len(counts))

    def add_returns(self, returns: NDArray[np.float64]) -> None:
        """Add the returns of whole episodes that ended."""
        self._returns.extend(returns.tolist())

    def mean(self, key: str) -> float:
        """Return the mean of a key of ``INFO_KEYS`` since ``drain`` was last called; nan before any step."""
        return float(self._sums[_PLACE[key]] / self._frames) if self._frames else math.nan

    def drain(self) -> RolloutStatistics:
        """Return what was added up, and begin anew."""
        frames = max(self._frames, 1)
        statistics = RolloutStatistics(
            totals=dict(zip(INFO_KEYS, (self._sums / frames).tolist(), strict=True)),
            action_counts=tuple(self._counts),
            action_names=self._names,
            episode_returns=np.array(self._returns),
            plan_distance=self._distance / frames,
            frames=self._frames,
            action_values=self._values,
        )
        self._clear()
        return statistics
