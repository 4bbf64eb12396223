"""``AutoscaleVectorEnv``: many clusters stepped together by one kernel call."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray

from podgym.envs.config import EnvConfig
from podgym.envs.core import AutoscaleCore, configure
from podgym.envs.protocols import Planner, RateForecaster
from podgym.envs.totals import INFO_KEYS
from podgym.envs.workloads.profile import Workload
from podgym.errors import InputError, require_whole, unknown_name


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
            self._core.reset(int(index), self._rngs[index])
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
        if not self._rngs:
            raise InputError("no episode was started; call reset() first.")
        core = self._core
        restarting = self._ended
        if self.autoreset_mode == AutoresetMode.DISABLED and restarting.any():
            raise InputError(
                f"environment {int(np.flatnonzero(restarting)[0])} has ended; reset it with "
                "options={'reset_mask': ...} before the next step."
            )
        core.step(actions)
        rewards, truncated = core.rewards.copy(), core.truncated
        if self.autoreset_mode == AutoresetMode.NEXT_STEP and restarting.any():
            for index in np.flatnonzero(restarting):
                core.reset(int(index), self._rngs[index])
                rewards[index] = 0.0
                truncated[index] = False
        infos = self._infos()
        if self.autoreset_mode == AutoresetMode.SAME_STEP and truncated.any():
            self._restart_now(truncated, infos)
        else:
            self._ended = truncated.copy()
        return core.observation.copy(), rewards, np.zeros(self.num_envs, dtype=np.bool_), truncated, infos

    def _restart_now(self, ended: NDArray[np.bool_], infos: dict[str, Any]) -> None:
        """Restart ended episodes in the step that ended them, keeping their last observation and info."""
        final = np.full(self.num_envs, None, dtype=object)
        final_info = {key: np.where(ended, values, 0.0) for key, values in infos.items()}
        final_info |= {f"_{key}": ended.copy() for key in INFO_KEYS}
        for index in np.flatnonzero(ended):
            final[index] = self._core.observation[index].copy()
            self._core.reset(int(index), self._rngs[index])
            for column, key in enumerate(INFO_KEYS):
                infos[key][index] = self._core.totals[index, column]
        infos["final_obs"], infos["_final_obs"] = final, ended.copy()
        infos["final_info"], infos["_final_info"] = final_info, ended.copy()

    def _infos(self) -> dict[str, Any]:
        columns = self._core.totals.T.copy()  # (keys, num_envs)
        return dict(zip(INFO_KEYS, columns, strict=True))

    def action_masks(self) -> NDArray[np.bool_]:
        """Masks of the next action, (num_envs, sum of the choices), for maskable policies."""
        if not self._rngs:
            raise InputError("no episode was started; call reset() first.")
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
