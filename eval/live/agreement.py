"""How far the simulator was off: its intervals against those of the live episode, at equal times."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from podgym.eval.episode import EpisodeRecord

Floats = NDArray[np.float64]

QUANTITIES = {"replicas_ready": "pods", "response_time_s": "s", "cpu_utilisation": "1"}
"""What is compared, and its unit: mean ready replicas of an interval, mean response time, CPU used /
requested."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """One quantity of one service, predicted and observed."""

    service: str
    quantity: str
    """Name in ``QUANTITIES``."""
    unit: str
    """Of means and bias."""
    intervals: int
    """Intervals in which both are known."""
    observed: float
    """Mean of what was observed; nan without such an interval, like all that follows."""
    predicted: float
    """Mean of what was predicted in the same intervals."""
    bias: float
    """Predicted minus observed, mean over the intervals."""
    mean_absolute_percentage_error: float
    """|predicted - observed| / observed in per cent, mean over the intervals in which it is above 0."""


def agreement(pairs: Sequence[tuple[EpisodeRecord, EpisodeRecord]]) -> tuple[Agreement, ...]:
    """Compare episodes, all their intervals together.

    Args:
        pairs: a live episode and a simulated one of the same load, for each episode.

    Returns:
        One per service and quantity.
    """
    names = pairs[0][0].metadata.service_names
    found = []
    for s, service in enumerate(names):
        for quantity, unit in QUANTITIES.items():
            observed = np.concatenate([series(live, quantity)[:, s] for live, _ in pairs])
            predicted = np.concatenate([at_times_of(live, other, quantity)[:, s] for live, other in pairs])
            found.append(_compared(service, quantity, unit, observed, predicted))
    return tuple(found)


def series(record: EpisodeRecord, quantity: str) -> Floats:
    """Return a quantity of every interval, (num_steps, num_services); nan where it is not defined."""
    columns = record.columns
    if quantity == "replicas_ready":
        return columns["ready_replica_s"] / columns["duration_s"]
    if quantity == "response_time_s":
        return columns["response_time_mean_s"]
    requested = columns["cpu_requested_core_s"]
    return np.divide(
        columns["cpu_used_core_s"], requested, out=np.full_like(requested, np.nan), where=requested > 0.0
    )


def at_times_of(live: EpisodeRecord, simulated: EpisodeRecord, quantity: str) -> Floats:
    """Return a quantity of the simulated intervals in which those of a live episode have their middles.

    Live intervals need not be of equal length, so equal numbers would not be equal times.
    """
    duration_s = live.columns["duration_s"][:, 0]  # (num_steps,) s
    middles_s = np.cumsum(duration_s) - 0.5 * duration_s
    ends_s = np.cumsum(simulated.columns["duration_s"][:, 0])
    at = np.minimum(np.searchsorted(ends_s, middles_s), simulated.num_steps - 1)
    return series(simulated, quantity)[at]


def _compared(service: str, quantity: str, unit: str, observed: Floats, predicted: Floats) -> Agreement:
    known = np.isfinite(observed) & np.isfinite(predicted)
    if not known.any():
        return Agreement(service, quantity, unit, 0, *[np.nan] * 4)
    seen, told = observed[known], predicted[known]
    positive = seen > 0.0
    relative = np.abs(told - seen)[positive] / seen[positive]
    error = 100.0 * float(relative.mean()) if positive.any() else np.nan
    return Agreement(
        service, quantity, unit, int(known.sum()), float(seen.mean()), float(told.mean()),
        float((told - seen).mean()), error,
    )  # fmt: skip
