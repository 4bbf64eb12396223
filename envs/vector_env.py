"""``AutoscaleVectorEnv``: many clusters stepped together by one kernel call."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray

from podgym.envs.config import EnvConfig, override, require_whole
from podgym.envs.core import AutoscaleCore
from podgym.envs.protocols import Planner
from podgym.envs.totals import INFO_KEYS
from podgym.envs.workloads.profile import Workload
from podgym.errors import InputError, unknown_name


class AutoscaleVectorEnv(VectorEnv[NDArray[np.float32], NDArray[Any], NDArray[Any]]):
    """A batch of ``AutoscaleEnv`` with the same episodes: environment i equals the scalar one, bit by bit.

    ``reset(seed=n)`` seeds environment i with n + i, as Gymnasium's own vector environments do. An ended
    episode restarts as ``autoreset_mode`` says; the default is Gymnasium's, on the next step.

    Args:
        num_envs: how many environments.
        config: the configuration; ids registered by ``podgym`` bring their own.
        max_episode_steps: shorter time limit, as ``gym.make_vec`` passes it.
        autoreset_mode: ``NextStep``, ``SameStep`` or ``Disabled``.
        workload: a workload object instead of the one that ``config`` names.
        planner: makes the plans of an episode.
        **changes: fields of ``EnvConfig`` to change, see ``AutoscaleEnv``.

    Raises:
        InputError: an unknown key (with the closest match) or a bad value.
    """

    def __init__(
        self,
        num_envs: int = 1,
        config: EnvConfig | None = None,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        *,
        workload: Workload | None = None,
        planner: Planner | None = None,
        **changes: Any,  # noqa: ANN401
    ) -> None:
        super().__init__()
        require_whole("num_envs", num_envs, 1, 10**7)
        if max_episode_steps is not None:
            require_whole("max_episode_steps", max_episode_steps, 1, 10**9)
        changes.pop("render_mode", None)
        self.config = override(config if config is not None else EnvConfig(), changes)
        self.num_envs = num_envs
        self.autoreset_mode = _autoreset_mode(autoreset_mode)
        self.metadata = {"autoreset_mode": self.autoreset_mode, "render_modes": []}
        self._core = AutoscaleCore(self.config, num_envs, workload=workload, planner=planner)
        if max_episode_steps is not None:
            self._core.episode_steps = min(max_episode_steps, self._core.episode_steps)
        self.single_observation_space = self._core.layout.space
        self.single_action_space = cast(Any, self._core.decoder.space)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self._core.decoder.space, num_envs)
        self._rngs: list[np.random.Generator] = []
        self._ended = np.zeros(num_envs, dtype=np.bool_)

    @property
    def episode_steps(self) -> int:
        """Steps until an episode is truncated."""
        return self._core.episode_steps

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
            mask = np.asarray(options["reset_mask"], dtype=np.bool_)
            if mask.shape != (self.num_envs,):
                raise InputError(f"reset_mask has shape {mask.shape}; it must be ({self.num_envs},).")
        self._seed(seed, mask)
        for index in np.flatnonzero(mask):
            self._core.reset(int(index), self._rngs[index])
        self._ended[mask] = False
        return self._core.observation.copy(), self._infos()

    def _seed(self, seed: int | Sequence[int | None] | None, mask: NDArray[np.bool_]) -> None:
        seeds: list[int | None]
        if seed is None:
            seeds = [None] * self.num_envs
        elif isinstance(seed, int | np.integer):
            seeds = [int(seed) + index for index in range(self.num_envs)]
        else:
            seeds = list(seed)
            if len(seeds) != self.num_envs:
                raise InputError(f"got {len(seeds)} seeds for {self.num_envs} environments.")
        if not self._rngs:
            self._rngs = [seeding.np_random(value)[0] for value in seeds]
            return
        for index in np.flatnonzero(mask):
            if seeds[index] is not None:
                self._rngs[index] = seeding.np_random(seeds[index])[0]

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
            for key in INFO_KEYS:
                infos[key][index] = 0.0
        infos["final_obs"], infos["_final_obs"] = final, ended.copy()
        infos["final_info"], infos["_final_info"] = final_info, ended.copy()

    def _infos(self) -> dict[str, Any]:
        columns = self._core.totals.T.copy()  # (keys, num_envs)
        return dict(zip(INFO_KEYS, columns, strict=True))

    def action_masks(self) -> NDArray[np.bool_]:
        """Masks of the next action, (num_envs, sum of the choices), for maskable policies."""
        return self._core.action_masks()


def _autoreset_mode(mode: AutoresetMode | str) -> AutoresetMode:
    if isinstance(mode, AutoresetMode):
        return mode
    for member in AutoresetMode:
        if mode in (member.value, member.name):
            return member
    raise unknown_name("autoreset_mode", mode, [member.value for member in AutoresetMode])
