"""The plan as a prior on the logits of an action, soft and capped: what an untrained policy acts by.

The nearer a step is to the one that would bring what is wanted to what is planned, the higher its logit.
Beyond a distance all steps are equally bad, so that a network can overrule an extreme plan; and not to move
is a little better than the plan asks for, as every change costs something.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from podgym.agents.description import PolicyDescription, ServiceSpec, prior_columns

Floats = NDArray[np.float32]


class PriorPart(NamedTuple):
    """The prior of one number of an action."""

    plan: int
    """Column of the plan in the observation."""
    present: int
    """Column of what is wanted now."""
    scale: np.float32
    """What both columns are shares of: replicas, cores or bytes."""
    levels: Floats | None
    """(num_levels,) cores or bytes to choose from; None: replicas, which are counted."""
    steps: Floats
    """(choices,) steps to choose from, in replicas or levels."""
    strength: np.float32
    """Taken off per unit of distance."""
    bonus: Floats
    """(choices,) added whatever the plan says."""


class PlanPrior:
    """The prior of a description, in float32 as everything that a policy computes."""

    def __init__(self, description: PolicyDescription) -> None:
        """Find the columns of plan and present in the observation.

        Args:
            description: has a prior.
        """
        prior = description.prior
        if prior is None:
            raise ValueError("this description has no prior")
        self._cap = np.float32(prior.cap)
        self._parts = prior_parts(description)

    def __call__(self, observations: Floats) -> Floats:
        """Return what is added to the logits.

        Args:
            observations: (B, n) as the environment gives them, not normalised.

        Returns:
            (B, sum of the choices), per service replicas, then CPU and memory.
        """
        return np.concatenate([self._logits(part, observations) for part in self._parts], axis=1)

    def _logits(self, part: PriorPart, observations: Floats) -> Floats:
        plan = observations[:, part.plan] * part.scale  # (B,) replicas, cores or bytes
        present = observations[:, part.present] * part.scale
        difference = _position(plan, part.levels) - _position(present, part.levels)
        wanted = np.clip(difference, part.steps.min(), part.steps.max())  # (B,) step that the plan asks for
        distance = np.minimum(np.abs(part.steps - wanted[:, None]), self._cap)  # (B, choices)
        return np.asarray(part.bonus - part.strength * distance, dtype=np.float32)


def plan_prior(description: PolicyDescription) -> PlanPrior | None:
    """Return the prior of a policy, a function of observations (B, n); None if it has none."""
    return None if description.prior is None else PlanPrior(description)


def prior_parts(description: PolicyDescription) -> list[PriorPart]:
    """Return the prior of each number of an action, in order; none without a prior."""
    places = {name: index for index, name in enumerate(description.observation_names)}
    return [part for service in description.services for part in _service_parts(description, service, places)]


def _service_parts(
    description: PolicyDescription, service: ServiceSpec, places: dict[str, int]
) -> list[PriorPart]:
    """Return the parts of one service, in the order of the action."""
    prior = description.prior
    if prior is None:
        return []
    columns = [places[name] for name in prior_columns(service.name, quotas=bool(description.quota_steps))]
    steps = np.array(description.replica_steps, dtype=np.float32)
    bonus = np.where(steps == 0.0, np.float32(prior.keep), np.float32(0.0))
    strength = np.float32(prior.strength)
    parts = [
        PriorPart(columns[0], columns[1], np.float32(service.max_replicas), None, steps, strength, bonus)
    ]
    if description.quota_steps:
        steps = np.array(description.quota_steps, dtype=np.float32)
        strength, none = np.float32(prior.quota_strength), np.zeros(len(steps), dtype=np.float32)
        for kind, levels in enumerate((service.cpu_levels_cores, service.memory_levels_bytes)):
            table = np.array(levels, dtype=np.float32)
            plan, present = columns[2 + 2 * kind], columns[3 + 2 * kind]
            parts.append(PriorPart(plan, present, table[-1], table, steps, strength, none))
    return parts


def _position(values: Floats, levels: Floats | None) -> Floats:
    """Return whole replicas, or the index of the nearest level, (B,); the lower one of two equally near."""
    if levels is None:
        return np.rint(values)
    nearest = np.abs(levels - values[:, None]).argmin(axis=1)
    return np.asarray(nearest, dtype=np.float32)
