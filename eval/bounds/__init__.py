"""Bounds: what the best possible controller would pay on an episode, from below and from above.

To be read in this order: ``episode`` (what an episode will be, and what a schedule costs in it),
``relaxation`` (what a control interval violates at least), ``program`` (the dynamic program over replicas),
``lower`` (the lower bound, and what is proved of it), ``clairvoyant`` (a schedule made with the future known)
and ``regret`` (what both are for).

A lower bound is of one environment, one reward and one seed. ``lower_bound(config, seed, quotas=False).cost``
is never more than what a controller of replicas pays on ``AutoscaleEnv(config).reset(seed=seed)``;
``clairvoyant_schedule(config, seed).cost`` is what can be reached, so the truth lies between the two.
"""

from podgym.eval.bounds.clairvoyant import ClairvoyantSchedule, clairvoyant_schedule
from podgym.eval.bounds.lower import LowerBound, lower_bound
from podgym.eval.bounds.regret import gap_closed, regret

__all__ = [
    "ClairvoyantSchedule",
    "LowerBound",
    "clairvoyant_schedule",
    "gap_closed",
    "lower_bound",
    "regret",
]
