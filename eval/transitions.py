"""Episodes as transitions: what was seen, which action was taken, and what followed of it.

The action is always one of the environment's own, and it is what was applied: a controller's decision is
brought to the nearest action first. So a transition says what its action did, as offline learning needs it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from podgym.agents.actor import Actor, LstmState
from podgym.agents.nearest_action import nearest_action_with_quotas
from podgym.baselines import Controller, ObservationPolicy
from podgym.envs.actions import ActionDecoder
from podgym.envs.env import AutoscaleEnv
from podgym.envs.workloads.profile import LoadProfile, profile_sha256
from podgym.errors import InputError

KEPT_INFOS = (
    "time_s",
    "users",
    "offered_rps",
    "response_time_mean_s",
    "response_time_p95_s",
    "slo_violation_ratio",
    "cost",
    "requested_cores",
    "requested_gib",
    "replicas_wanted",
    "replicas_ready",
    "term_slo_violation",
    "term_cpu_cost",
    "term_memory_cost",
    "term_churn",
    "term_cpu_utilisation",
    "term_memory_utilisation",
    "term_response_time",
)
"""Keys of ``info`` that are kept: what other rewards and constraints can be computed from."""

Decider: TypeAlias = Controller | ObservationPolicy | Actor
"""Whoever can choose actions."""
Choose: TypeAlias = Callable[[NDArray[np.float32]], NDArray[Any]]
"""From an observation (size,) to an action (numbers,)."""


@dataclass(frozen=True, slots=True, eq=False)
class Transitions:
    """One episode of T steps."""

    seed: int
    """Seed of the episode."""
    load: str
    """What its load says of itself."""
    load_sha256: str
    """Hash of the load; equal hashes prove equal loads."""
    observations: NDArray[np.float32]
    """(T + 1, size), the first of the reset and the last of the end among them."""
    actions: NDArray[Any]
    """(T, numbers)"""
    rewards: NDArray[np.float64]
    """(T,)"""
    terminations: NDArray[np.bool_]
    """(T,) never: the task goes on."""
    truncations: NDArray[np.bool_]
    """(T,) the last one, at the time limit."""
    infos: Mapping[str, NDArray[np.float64]]
    """(T + 1,) each of ``KEPT_INFOS``, those of the reset first."""


def record_transitions(env: AutoscaleEnv, decider: Decider, seed: int) -> Transitions:
    """Run one episode to its time limit.

    Args:
        env: with the planner and the forecaster that whoever decides needs.
        decider: a controller, a policy of this package, or whatever acts on the array of the environment.
        seed: of the episode.

    Raises:
        InputError: a policy for another environment, an action outside the space, or a decision that no
            action can express.
    """
    return _recorded(env, seed, lambda: _chooser(env, decider))


def replay(env: AutoscaleEnv, actions: NDArray[Any], seed: int) -> Transitions:
    """Run one episode by actions that were recorded, (T, numbers); it may end before the time limit."""
    given = iter(actions)
    return _recorded(env, seed, lambda: lambda _: next(given), len(actions))


def _recorded(
    env: AutoscaleEnv, seed: int, begin: Callable[[], Choose], steps: int | None = None
) -> Transitions:
    """Run an episode; ``begin`` is called after its reset."""
    observation, info = env.reset(seed=seed)
    profile = _profile_of(env)
    choose = begin()
    count = env.episode_steps if steps is None else steps
    observations, infos = [observation], [info]
    actions, rewards, ends = [], [], []
    for number in range(1, count + 1):
        action = _chosen(env, choose, observation, f"interval {number} of seed {seed}")
        observation, reward, terminated, truncated, info = env.step(action)
        observations.append(observation)
        infos.append(info)
        actions.append(action)
        rewards.append(reward)
        ends.append((terminated, truncated))
    ended = np.array(ends, dtype=np.bool_)  # (T, 2)
    return Transitions(
        seed=seed,
        load=profile.label,
        load_sha256=profile_sha256(profile),
        observations=np.stack(observations),
        actions=np.stack(actions),
        rewards=np.array(rewards, dtype=np.float64),
        terminations=ended[:, 0],
        truncations=ended[:, 1],
        infos={key: np.array([each[key] for each in infos]) for key in KEPT_INFOS},
    )


def _chosen(env: AutoscaleEnv, choose: Choose, observation: NDArray[np.float32], where: str) -> NDArray[Any]:
    """Return the next action in the type of the space: what is recorded is what is applied, to the last bit.

    Raises:
        InputError: choosing failed, or what was chosen is no action.
    """
    try:
        given = np.asarray(choose(observation))
        action = given.astype(env.action_space.dtype)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    except Exception as error:
        raise InputError(f"{where}: choosing failed with {type(error).__name__}: {error}") from error
    whole = env.action_space.dtype == np.float32 or np.array_equal(given, action)
    if not (whole and env.action_space.contains(action)):
        raise InputError(f"{where}: {given.tolist()} is no action of {env.action_space}.")
    return action


def _profile_of(env: AutoscaleEnv) -> LoadProfile:
    if env.profile is None:
        raise RuntimeError("the environment has no load profile after its reset.")
    return env.profile


def _chooser(env: AutoscaleEnv, decider: Decider) -> Choose:
    """Return what chooses the actions of an episode that has just begun."""
    if isinstance(decider, Actor):
        return _by_policy(env, decider)
    decider.reset()
    if isinstance(decider, ObservationPolicy):
        return lambda observation: np.asarray(decider.act(observation))
    decoder = ActionDecoder(env.config.action, env.config.cluster)

    def choose(_: NDArray[np.float32]) -> NDArray[Any]:
        seen = env.observe()
        return nearest_action_with_quotas(decoder, decider.decide(seen), seen.services)

    return choose


def _by_policy(env: AutoscaleEnv, policy: Actor) -> Choose:
    policy.check(env)
    state: LstmState | None = None

    def choose(observation: NDArray[np.float32]) -> NDArray[Any]:
        nonlocal state
        masks = env.action_masks() if policy.description.masked else None
        action, state = policy.act(observation, state=state, masks=masks)
        return action

    return choose
