"""The batched environment as stable-baselines3 wants it, with what only training knows.

Behind the observation stands the true load that lies ahead, for the critic. The reward is scaled, weighed
anew when a constraint asks for it, and counted relative to what the plan would have earned on the same load.
No Python loop runs over environments whose episode goes on.
"""

from collections.abc import Iterable, Sequence
from typing import Any, cast

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from podgym.envs.config import REWARD_TERMS
from podgym.envs.totals import INFO_KEYS
from podgym.envs.vector_env import AutoscaleVectorEnv, StepArrays
from podgym.train.reference import Reference
from podgym.train.results import RolloutStatistics
from podgym.train.rollouts import RolloutCounter

_FIRST_TERM = list(INFO_KEYS).index(f"term_{next(iter(REWARD_TERMS))}")
_TERMS = slice(_FIRST_TERM, _FIRST_TERM + len(REWARD_TERMS))
_FUTURE_HIGH = 1e3


class TrainingEnvs(VecEnv):
    """A batch of environments to train in.

    Every ``reset`` starts all of them out of phase, from the seed given to ``seed`` before: equal seeds give
    equal experience.

    Attributes:
        ended: environments whose episode ended in the last step, ascending.
        final_observations: (n_ended, n + future) their last observations, to bootstrap from.
        weights: (terms,) what each raw term of the reward counts; may be changed between two steps.
        reward_scale: what rewards are multiplied by.
    """

    def __init__(
        self,
        env: AutoscaleVectorEnv,
        *,
        future_steps: int = 0,
        reference: Reference | None = None,
    ) -> None:
        """Wrap an environment.

        Args:
            env: with ``autoreset_mode`` SameStep.
            future_steps: control intervals of the true load behind the observation.
            reference: what following the plan earns; None: rewards stand for themselves, or are relative to
                the plan already, as the environment's configuration says.
        """
        self.env = env
        self._future_steps = future_steps
        self._reference = reference
        self.weights = np.array(env.config.reward.all_weights())  # (terms,)
        self._shadowed = env.config.reward.relative_to_plan
        self._env_weights = self.weights.copy()  # (terms,) what the environment's own rewards are made with
        self.reward_scale = 1.0
        space = cast(spaces.Box, env.single_observation_space)
        low = np.concatenate([space.low, np.zeros(future_steps, dtype=np.float32)])
        high = np.concatenate([space.high, np.full(future_steps, _FUTURE_HIGH, dtype=np.float32)])
        super().__init__(env.num_envs, spaces.Box(low, high, dtype=np.float32), env.single_action_space)
        self._no_infos: list[dict[str, Any]] = [{} for _ in range(env.num_envs)]
        self._counter = RolloutCounter(*_numbers_of_action(env))
        self._actions: NDArray[np.int64] = np.zeros((env.num_envs, 0), dtype=np.int64)
        self._returns = np.zeros(env.num_envs)
        self._whole = np.zeros(env.num_envs, dtype=np.bool_)  # episodes that were not cut short
        self._seed_words: list[int] = [0]
        self._future = np.zeros((env.num_envs, 1), dtype=np.float32)  # (num_envs, future + 1)
        self.ended = np.zeros(0, dtype=np.int64)
        self.final_observations = np.zeros((0, len(low)), dtype=np.float32)

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Set the seed of the next ``reset``."""
        return self.seed_from([0 if seed is None else seed])

    def seed_from(self, words: Sequence[int]) -> Sequence[int | None]:
        """Set the seed of the next ``reset`` from several numbers, such as a run's seed and an interval."""
        self._seed_words = list(words)
        return [None] * self.num_envs

    def reset(self) -> NDArray[np.float32]:
        """Start all episodes out of phase."""
        rng = np.random.default_rng(self._seed_words)
        seeds = rng.integers(0, 2**62, size=self.num_envs)
        observations, _ = self.env.reset(seed=[int(each) for each in seeds])
        self.env.stagger(rng)
        self._returns[:] = 0.0
        self._whole[:] = False
        self.ended = self.ended[:0]
        if self._reference is not None:
            self._reference.begin(self.env, np.arange(self.num_envs))
        return self._with_future(observations)

    def step_async(self, actions: NDArray[np.int64]) -> None:
        """Take the actions, (num_envs, numbers)."""
        self._actions = actions

    def step_wait(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], Any]:
        """Let one control interval pass; ended episodes restart, without terminal observations in infos.

        Raises:
            FloatingPointError: a reward or an observation is not finite.
        """
        ahead = self._future[:, 1:]  # of episodes that end now, after this step
        step = self.env.step_arrays(self._actions)
        totals = step.totals  # a copy of our own
        totals[step.ended] = step.final_totals
        rewards = self._rewards(totals, step.rewards)
        self._counter.add(totals, self._actions)
        self._returns += totals[:, _TERMS] @ self.weights
        self._end(step, ahead)
        observations = self._with_future(step.observations)
        _require_finite("reward", rewards)
        _require_finite("observation", observations)
        if len(step.ended):
            _require_finite("observation", self.final_observations, step.ended)
        return observations, rewards, step.truncated, self._no_infos

    def _rewards(self, totals: NDArray[np.float64], own: NDArray[np.float64]) -> NDArray[np.float32]:
        terms = totals[:, _TERMS]  # (num_envs, terms)
        if self._shadowed:  # what the plan earns is taken off already, by the weights of the environment
            rewards = own + terms @ (self.weights - self._env_weights)
        elif self._reference is not None:
            rewards = (terms - self._reference.step()) @ self.weights
        else:
            rewards = terms @ self.weights
        return np.asarray(rewards * self.reward_scale, dtype=np.float32)

    def _end(self, step: StepArrays, ahead: NDArray[np.float32]) -> None:
        """Keep what bootstrapping needs of the episodes that ended, and what their returns were."""
        self.ended = step.ended
        if not len(step.ended):
            return
        self.final_observations = np.concatenate([step.final_observations, ahead[step.ended]], axis=1)
        whole = step.ended[self._whole[step.ended]]
        self._counter.add_returns(self._returns[whole])
        self._returns[step.ended] = 0.0
        self._whole[step.ended] = True
        if self._reference is not None:
            self._reference.begin(self.env, step.ended)

    def _with_future(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        if not self._future_steps:
            return observations
        self._future = self.env.true_future(self._future_steps + 1)
        return np.concatenate([observations, self._future[:, :-1]], axis=1)

    @property
    def violation_ratio(self) -> float:
        """Mean share of requests that missed their SLO, since ``drain_statistics`` was last called."""
        return self._counter.mean("slo_violation_ratio")

    def drain_statistics(self) -> RolloutStatistics:
        """Return what happened since this was last called."""
        return self._counter.drain()

    def action_masks(self) -> NDArray[np.bool_]:
        """Return the masks of the next action, (num_envs, sum of the choices)."""
        return self.env.action_masks()

    def close(self) -> None:
        """Close the environments."""
        self.env.close()

    def env_method(
        self,
        method_name: str,
        *args: Any,  # noqa: ANN401
        indices: Any = None,  # noqa: ANN401
        **kwargs: Any,  # noqa: ANN401
    ) -> list[Any]:
        """Call a method of this batch; it returns one result per environment."""
        results = getattr(self, method_name)(*args, **kwargs)
        return [results[index] for index in self._indices(indices)]

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:  # noqa: ANN401
        """Say that nothing is wrapped."""
        return [False] * self.num_envs

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:  # noqa: ANN401
        """Return an attribute of the batch for each environment."""
        owner = self if hasattr(self, attr_name) else self.env
        return [getattr(owner, attr_name)] * len(list(self._indices(indices)))

    def has_attr(self, attr_name: str) -> bool:
        """Whether the batch has an attribute or a method."""
        return hasattr(self, attr_name) or hasattr(self.env, attr_name)

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:  # noqa: ANN401
        """Refuse: the environments of a batch share their configuration."""
        raise NotImplementedError(f"{attr_name} cannot be set; make the environments anew")

    def _indices(self, indices: Any) -> Iterable[int]:  # noqa: ANN401
        return self._get_indices(indices)


def _numbers_of_action(env: AutoscaleVectorEnv) -> tuple[tuple[str, ...], tuple[tuple[float, ...], ...]]:
    """Return the name of each number of the action, and what its choices stand for."""
    action = env.config.action
    kinds = ("replicas", "cpu", "memory") if action.quotas else ("replicas",)
    names = tuple(f"{service.name}.{kind}" for service in env.config.cluster.services for kind in kinds)
    choices = [int(count) for count in cast(spaces.MultiDiscrete, env.single_action_space).nvec]
    if action.mode == "absolute":
        return names, tuple(tuple(map(float, range(count))) for count in choices)
    steps = (action.replica_steps, action.quota_steps, action.quota_steps)[: len(kinds)]
    values = tuple(tuple(map(float, each)) for each in steps)
    return names, values * len(env.config.cluster.services)


def _require_finite(what: str, values: NDArray[np.float32], rows: NDArray[np.int64] | None = None) -> None:
    """Stop with the cause named, before a nan becomes the weights of a policy.

    Args:
        what: name of the values.
        values: (n,) or (n, numbers).
        rows: (n,) environment of each row; None: all, in order.
    """
    if np.isfinite(values).all():
        return
    row, *number = np.argwhere(~np.isfinite(values))[0].tolist()
    environment = row if rows is None else int(rows[row])
    where = f"environment {environment}" + "".join(f", number {each}" for each in number)
    raise FloatingPointError(f"the {what} of {where} is not finite; training stops before it learns from it.")
