"""``AutoscaleVectorEnv``: many clusters stepped together by one kernel call."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray

from podgym.envs.config import EnvConfig
from podgym.envs.core import AutoscaleCore, configure
from podgym.envs.future import true_rates_ahead
from podgym.envs.protocols import Planner, RateForecaster
from podgym.envs.totals import INFO_KEYS
from podgym.envs.workloads.profile import LoadProfile, Workload
from podgym.errors import InputError, require_whole, unknown_name


class StepArrays(NamedTuple):
    """What a step gave, as arrays of all environments; nothing in it changes later."""

    observations: NDArray[np.float32]
    """(num_envs, size); of the new episode where one ended."""
    rewards: NDArray[np.float64]
    """(num_envs,)"""
    truncated: NDArray[np.bool_]
    """(num_envs,) whether the episode ended at its time limit."""
    totals: NDArray[np.float64]
    """(num_envs, len(INFO_KEYS)) what ``info`` holds, in the order of ``INFO_KEYS``; of the new episode where
    one ended."""
    ended: NDArray[np.int64]
    """(n_ended,) environments whose episode ended, ascending."""
    final_observations: NDArray[np.float32]
    """(n_ended, size) last observation of these episodes."""
    final_totals: NDArray[np.float64]
    """(n_ended, len(INFO_KEYS)) last totals of these episodes."""


class _Ended(NamedTuple):
    """The episodes that ended in a step, see ``StepArrays``."""

    truncated: NDArray[np.bool_]
    indices: NDArray[np.int64]
    observations: NDArray[np.float32]
    totals: NDArray[np.float64]


class AutoscaleVectorEnv(VectorEnv[NDArray[np.float32], NDArray[Any], NDArray[Any]]):
    """A batch of ``AutoscaleEnv`` with the same episodes: environment i equals the scalar one, bit by bit.

    ``reset(seed=n)`` seeds environment i with n + i, as Gymnasium's own vector environments do. An ended
    episode restarts as ``autoreset_mode`` says; the default is Gymnasium's, on the next step. Every key of
    ``info`` holds an array for all environments, so there are no ``_key`` masks beside them.

    Args:
        num_envs: how many environments.
        config: the configuration; ids registered by ``podgym`` bring their own.
        max_episode_steps: shorter time limit, as ``gym.make_vec`` passes it.
        autoreset_mode: ``NextStep``, ``SameStep`` or ``Disabled``.
        workload: name of a workload or path of a trace; or a workload object.
        planner: makes the plans of an episode.
        forecaster: makes the forecasts of all episodes, see ``AutoscaleEnv``.
        **changes: fields of ``EnvConfig`` to change, see ``AutoscaleEnv``.

    Raises:
        InputError: an unknown key (with the closest match), a bad value, or a forecaster together with
            another forecast than "learned".
    """

    def __init__(
        self,
        num_envs: int = 1,
        config: EnvConfig | None = None,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        *,
        workload: Workload | str | None = None,
        planner: Planner | None = None,
        forecaster: RateForecaster | None = None,
        **changes: Any,  # noqa: ANN401
    ) -> None:
        super().__init__()
        num_envs = _whole("num_envs", num_envs)
        if max_episode_steps is not None:
            max_episode_steps = _whole("max_episode_steps", max_episode_steps)
        if changes.pop("render_mode", None) is not None:
            raise InputError("the vector environment does not render; use gym.make with a render_mode.")
        self.config, opened = configure(config, workload, changes, forecaster)
        self.num_envs = num_envs
        self.autoreset_mode = _autoreset_mode(autoreset_mode)
        self.metadata = {"autoreset_mode": self.autoreset_mode, "render_modes": []}
        self._core = AutoscaleCore(
            self.config, num_envs, workload=opened, planner=planner, forecaster=forecaster
        )
        if max_episode_steps is not None:
            self._core.time_limit_steps = min(max_episode_steps, self._core.episode_steps)
        self.single_observation_space = self._core.layout.space
        self.single_action_space = cast(Any, self._core.decoder.space)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self._core.decoder.space, num_envs)
        self._limit_steps = np.full(num_envs, self.episode_steps)  # of the present episodes, (num_envs,)
        self._rngs: list[np.random.Generator] = []
        self._ended = np.zeros(num_envs, dtype=np.bool_)

    @property
    def episode_steps(self) -> int:
        """Steps until an episode is truncated."""
        return self._core.time_limit_steps

    @property
    def observation_names(self) -> tuple[str, ...]:
        """Name of each number of one observation, in order."""
        return self._core.layout.names

    @property
    def profiles(self) -> Sequence[LoadProfile | None]:
        """Load of the present episode of each environment, (num_envs,); None before the first reset."""
        return self._core.profiles

    @property
    def episode_factors(self) -> NDArray[np.float64]:
        """What multiplies the configured parameters in the present episodes.

        (num_envs, num_services, num_factors) in the order of ``podgym.envs.randomisation.FACTORS``; ones
        where nothing is randomised. No policy knows them.
        """
        return np.array(self._core.factors)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start episodes.

        Args:
            seed: n seeds environment i with n + i; a sequence seeds each by itself; None goes on with the
                present random numbers.
            options: ``reset_mask``, a boolean array (num_envs,): restart only these environments.
        """
        unknown = set(options or ()) - {"reset_mask"}
        if unknown:
            raise unknown_name("reset option", unknown.pop(), ("reset_mask",))
        mask = np.ones(self.num_envs, dtype=np.bool_)
        if options and "reset_mask" in options:
            mask = np.asarray(options["reset_mask"])
            if mask.shape != (self.num_envs,) or mask.dtype != np.bool_:
                raise InputError(
                    f"reset_mask has shape {mask.shape} and type {mask.dtype}; it must be ({self.num_envs},) "
                    "booleans."
                )
            if not mask.any():
                raise InputError("reset_mask names no environment.")
            if not self._rngs and not mask.all():
                raise InputError("the first reset must start every environment; leave reset_mask out.")
        self._seed(seed, mask)
        for index in np.flatnonzero(mask):
            self._restart(int(index))
        self._ended[mask] = False
        return self._core.observation.copy(), self._infos()

    def _seed(self, seed: int | Sequence[int | None] | None, mask: NDArray[np.bool_]) -> None:
        seeds: list[Any]
        if seed is None:
            seeds = [None] * self.num_envs
        elif isinstance(seed, int | np.integer):
            seeds = [int(seed) + index for index in range(self.num_envs)]
        else:
            if not isinstance(seed, Sequence | np.ndarray):
                raise InputError(f"seed {seed!r} is neither a whole number nor a sequence of them.")
            seeds = list(seed)
            if len(seeds) != self.num_envs:
                raise InputError(f"got {len(seeds)} seeds for {self.num_envs} environments.")
        fresh = not self._rngs
        rngs = {
            int(index): _generator(seeds[index])
            for index in np.flatnonzero(mask)
            if fresh or seeds[index] is not None
        }
        self._rngs = [rngs.get(index) or self._rngs[index] for index in range(self.num_envs)]

    def step(
        self, actions: ArrayLike
    ) -> tuple[
        NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]
    ]:
        """Let one control interval pass everywhere.

        Raises:
            InputError: an action outside the space, no episode was started, or an ended episode is stepped
                although resetting is disabled.
        """
        self._require_episode()
        if self.autoreset_mode == AutoresetMode.SAME_STEP:
            return self._step_and_restart(actions)
        core = self._core
        restarting = self._ended
        if self.autoreset_mode == AutoresetMode.DISABLED and restarting.any():
            raise InputError(
                f"environment {int(np.flatnonzero(restarting)[0])} has ended; reset it with "
                "options={'reset_mask': ...} before the next step."
            )
        core.step(actions)
        rewards, truncated = core.rewards.copy(), core.steps >= self._limit_steps
        if self.autoreset_mode == AutoresetMode.NEXT_STEP and restarting.any():
            for index in np.flatnonzero(restarting):
                self._restart(int(index))
                rewards[index] = 0.0
                truncated[index] = False
        self._ended = truncated.copy()
        terminated = np.zeros(self.num_envs, dtype=np.bool_)
        return core.observation.copy(), rewards, terminated, truncated, self._infos()

    def step_arrays(self, actions: ArrayLike) -> StepArrays:
        """Let one control interval pass everywhere, as ``step`` does, and return plain arrays.

        For ``autoreset_mode`` SameStep, where it tells the same as ``step`` without work for environments
        whose episode goes on.

        Raises:
            InputError: another ``autoreset_mode``, an action outside the space, or no episode was started.
        """
        self._require_episode()
        if self.autoreset_mode != AutoresetMode.SAME_STEP:
            raise InputError(
                f"step_arrays needs autoreset_mode SameStep; it is {self.autoreset_mode.value}. Use step, or "
                "make the environment with autoreset_mode='SameStep'."
            )
        rewards, ended = self._advance_and_restart(actions)
        core = self._core
        return StepArrays(
            core.observation.copy(), rewards, ended.truncated, core.totals.copy(),
            ended.indices, ended.observations, ended.totals,
        )  # fmt: skip

    def _advance_and_restart(self, actions: ArrayLike) -> tuple[NDArray[np.float64], _Ended]:
        """Let one control interval pass, and restart the episodes that it ended; return the rewards too."""
        core = self._core
        core.step(actions)
        rewards = core.rewards.copy()
        truncated = core.steps >= self._limit_steps
        indices = np.flatnonzero(truncated)
        ended = _Ended(truncated, indices, core.observation[indices], core.totals[indices])
        for index in indices.tolist():
            self._restart(index)
        return rewards, ended

    def _step_and_restart(
        self, actions: ArrayLike
    ) -> tuple[
        NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]
    ]:
        """``step`` in the mode SameStep: ended episodes leave their last observation and info behind."""
        rewards, ended = self._advance_and_restart(actions)
        infos = self._infos()
        if len(ended.indices) > 0:
            final = np.full(self.num_envs, None, dtype=object)
            for index, observation in zip(ended.indices.tolist(), ended.observations, strict=True):
                final[index] = observation.copy()
            final_totals = np.zeros((len(INFO_KEYS), self.num_envs))
            final_totals[:, ended.indices] = ended.totals.T
            final_info: dict[str, Any] = dict(zip(INFO_KEYS, final_totals, strict=True))
            final_info |= {f"_{key}": ended.truncated.copy() for key in INFO_KEYS}
            infos["final_obs"], infos["_final_obs"] = final, ended.truncated.copy()
            infos["final_info"], infos["_final_info"] = final_info, ended.truncated.copy()
        terminated = np.zeros(self.num_envs, dtype=np.bool_)
        return self._core.observation.copy(), rewards, terminated, ended.truncated, infos

    def _restart(self, index: int) -> None:
        """Start the next episode of an environment, of full length."""
        self._core.reset(index, self._rngs[index])
        self._limit_steps[index] = self.episode_steps

    def stagger(self, rng: np.random.Generator) -> None:
        """Put the environments out of phase, right after a ``reset`` of all.

        The present episode of each is truncated after a number of steps of its own, uniform from 1 to
        ``episode_steps``; all later ones have the full length. So not all episodes of a batch end in one
        step, and each batch of experience shows every part of an episode. Loads stay as they are.

        Args:
            rng: draws the numbers of steps, one per environment.

        Raises:
            InputError: no episode was started, or one is already under way.
        """
        self._require_episode()
        if self._core.steps.any():
            raise InputError(
                f"environment {int(np.flatnonzero(self._core.steps)[0])} is in the middle of an episode; "
                "call stagger right after a reset of all environments."
            )
        self._limit_steps[:] = rng.integers(1, self.episode_steps, size=self.num_envs, endpoint=True)

    def true_future(self, steps: int) -> NDArray[np.float32]:
        """Return the true load of the coming control intervals, (num_envs, steps).

        For a critic during training only: nobody knows it when it counts, and no policy may see it. 1 is the
        rate that the maximum of replicas can serve, see ``podgym.envs.future``.

        Args:
            steps: control intervals to look ahead, 1 or more.

        Raises:
            InputError: ``steps`` is no such number, or no episode was started.
        """
        self._require_episode()
        rates = np.empty((self.num_envs, _whole("steps", steps)), dtype=np.float32)
        true_rates_ahead(self._core, rates)
        return rates

    def _require_episode(self) -> None:
        if not self._rngs:
            raise InputError("no episode was started; call reset() first.")

    def _infos(self) -> dict[str, Any]:
        columns = self._core.totals.T.copy()  # (keys, num_envs)
        return dict(zip(INFO_KEYS, columns, strict=True))

    def action_masks(self) -> NDArray[np.bool_]:
        """Masks of the next action, (num_envs, sum of the choices), for maskable policies."""
        self._require_episode()
        return self._core.action_masks()


def _whole(name: str, value: object) -> int:
    number = int(value) if isinstance(value, np.integer) else value
    require_whole(name, number, 1, 10**9)
    return cast(int, number)


def _generator(seed: object) -> np.random.Generator:
    if seed is not None and (not isinstance(seed, int | np.integer) or seed < 0):
        raise InputError(f"seed {seed!r} is not a whole number of 0 or more.")
    return seeding.np_random(None if seed is None else int(seed))[0]


def _autoreset_mode(mode: AutoresetMode | str) -> AutoresetMode:
    if isinstance(mode, AutoresetMode):
        return mode
    for member in AutoresetMode:
        if mode in (member.value, member.name):
            return member
    raise unknown_name("autoreset_mode", mode, [member.value for member in AutoresetMode])
