"""Statistics of comparisons: pure functions on arrays (training seeds, episodes) of paired results.

In reading order: ``resampling`` (how replicates are drawn, and what is made of them), ``estimates`` (mean and
interquartile mean of one method), ``comparisons`` (two methods on the same episodes), ``fronts`` (two methods
at equal SLO violation) and ``profiles``. Holm's correction is that of the forecasters' evaluation.
"""

from podgym.eval.statistics.comparisons import (
    PairedDifference,
    paired_difference,
    probability_of_improvement,
)
from podgym.eval.statistics.estimates import Estimate, iqm, iqm_interval, mean_estimate
from podgym.eval.statistics.fronts import EqualViolation, cost_at_violation, equal_violation_difference
from podgym.eval.statistics.profiles import Profile, performance_profile
from podgym.eval.statistics.resampling import (
    Bootstrap,
    Interval,
    checked_values,
    interval_of,
    mean_replicates,
    sign_flip_p_value,
    two_sided_p_value,
)
from podgym.forecasters.evaluation.significance import holm

__all__ = [
    "Bootstrap",
    "EqualViolation",
    "Estimate",
    "Interval",
    "PairedDifference",
    "Profile",
    "checked_values",
    "cost_at_violation",
    "equal_violation_difference",
    "holm",
    "interval_of",
    "iqm",
    "iqm_interval",
    "mean_estimate",
    "mean_replicates",
    "paired_difference",
    "performance_profile",
    "probability_of_improvement",
    "sign_flip_p_value",
    "two_sided_p_value",
]
