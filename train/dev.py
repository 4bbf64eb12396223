"""Evaluations during training: whole episodes of the dev part, the same ones each time."""

import numpy as np
from gymnasium.utils import seeding
from numpy.typing import NDArray

from podgym.agents.actor import LstmState, Policy
from podgym.envs.splits import tuning_seeds
from podgym.envs.totals import INFO_KEYS
from podgym.train.problem import TrainingProblem, make_episodes
from podgym.train.results import DevEpisode, DevResult

_PLACE = {name: index for index, name in enumerate(INFO_KEYS)}
_SECONDS_PER_HOUR = 3600.0


class DevEpisodes:
    """A fixed set of dev episodes to judge policies by."""

    def __init__(self, problem: TrainingProblem) -> None:
        """Make the environments; plans and forecasts are made at the first evaluation and kept.

        Args:
            problem: what is trained on.
        """
        count = problem.settings.eval_episodes
        self._seeds = tuning_seeds("dev", 0, count)
        self._core = make_episodes(problem, "dev", count)
        self._environment = problem.environment
        self._slo_s = problem.config.cluster.services[0].slo_response_time_s

    def evaluate(self, policy: Policy, frames: int) -> tuple[DevResult, DevEpisode]:
        """Run all episodes by the best choices of a policy.

        Args:
            policy: what decides.
            frames: that it was trained for.

        Returns:
            Means over the episodes, not yet said to be the best, and the first episode.
        """
        totals = self._run(policy)  # (steps, num_episodes, keys)
        sums = totals.sum(axis=0).mean(axis=0)  # (keys,) per episode
        duration_s = self._core.duration_s
        result = DevResult(
            frames=frames,
            cost=-float(sums[_PLACE["reward"]]),
            slo_violation_ratio=float(sums[_PLACE["cost"]]) / duration_s,
            requested_core_hours=float(sums[_PLACE["term_cpu_cost"]]) / _SECONDS_PER_HOUR,
            churn=float(sums[_PLACE["term_churn"]]),
            best=False,
        )
        series = {name: totals[:, 0, place] for name, place in _PLACE.items()}
        title = f"{self._environment}, dev episode {self._seeds[0]}, after {frames:,} frames"
        return result, DevEpisode(title, series, self._slo_s)

    def _run(self, policy: Policy) -> NDArray[np.float64]:
        core = self._core
        for index, seed in enumerate(self._seeds):
            core.reset(index, seeding.np_random(seed)[0])
        totals = np.empty((core.episode_steps, *core.totals.shape))
        state: LstmState | None = None
        for step in range(core.episode_steps):
            masks = core.action_masks() if policy.description.masked else None
            actions, state = policy.act(core.observation, state=state, masks=masks)
            core.step(actions)
            totals[step] = core.totals
        return totals
