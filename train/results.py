"""What a training run reports: progress, evaluations on dev, statistics of rollouts, the result."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is."""

    frames: int
    """Frames trained so far, those before a resume included."""
    total_frames: int
    """Frames of the whole run."""
    frames_per_s: float
    """Frames trained per second, lately."""


@dataclass(frozen=True, slots=True)
class DevResult:
    """Means over the episodes of an evaluation on dev."""

    frames: int
    """Frames trained before the evaluation; 0: the untrained policy."""
    cost: float
    """Cost of an episode by the reward ``slo_cost``: its negative return; lower is better."""
    slo_violation_ratio: float
    """Requests slower than the SLO or failed / all that ended."""
    requested_core_hours: float
    """CPU requested over an episode, core hours."""
    churn: float
    """Replicas added or removed in an episode."""
    best: bool
    """Whether no evaluation of the run before it was as good."""


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What a run came to."""

    best: DevResult
    """The evaluation of the policy that was kept."""
    untrained: DevResult
    """The evaluation before training: what the prior does, which is to follow the plan."""
    frames: int
    """Frames trained."""
    seconds: float
    """Time that took, evaluations and earlier parts of a resumed run included."""
    policy_file: Path
    """Where the best policy lies."""


@dataclass(frozen=True, slots=True, eq=False)
class RolloutStatistics:
    """What happened in the environments during one rollout."""

    totals: Mapping[str, float]
    """Mean over all frames of every key of ``podgym.envs.totals.INFO_KEYS``."""
    action_counts: tuple[NDArray[np.int64], ...]
    """How often each choice was taken, one array (num_choices,) per number of the action."""
    action_names: tuple[str, ...]
    """Name of each number of the action, such as ``web.replicas``."""
    episode_returns: NDArray[np.float64]
    """(num_episodes,) undiscounted rewards, not relative to a reference, of whole episodes that ended."""
    plan_distance: float
    """Mean distance of the wanted replicas from the planned ones."""
    frames: int
    """Frames of the rollout."""
    action_values: tuple[tuple[float, ...], ...] = ()
    """What the choices of each number stand for, ascending, such as steps of replicas; empty: their index."""


@dataclass(frozen=True, slots=True, eq=False)
class DevEpisode:
    """One evaluated episode, to be drawn."""

    title: str
    """What stands above the figure."""
    series: Mapping[str, NDArray[np.float64]]
    """Keys of the environment's ``info``, each (num_steps,); at least those that
    ``podgym.envs.render.draw_panels`` draws and ``plan_replicas``."""
    slo_response_time_s: float
    """SLO of the response time, seconds."""
