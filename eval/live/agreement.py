"""How far the simulator was off: its intervals against those of the live episode, at equal times.

The monitoring of a cluster shows means over a window that ends at its newest sample. The simulator is looked
at through the same window, so that a perfect one has no error.
"""

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
class MetricsView:
    """What the monitoring shows at the end of a control interval."""

    window_s: float = 0.0
    """Metrics are means over so many seconds; 0: over the interval itself."""
    age_s: float = 0.0
    """The window ends so many seconds before the interval does."""


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


def agreement(
    pairs: Sequence[tuple[EpisodeRecord, EpisodeRecord]], views: Sequence[MetricsView] = ()
) -> tuple[Agreement, ...]:
    """Compare episodes, all their intervals together.

    Args:
        pairs: a live episode and a simulated one of the same load, for each episode.
        views: what the monitoring of each live episode showed; empty: the intervals themselves.

    Returns:
        One per service and quantity.
    """
    names = pairs[0][0].metadata.service_names
    seen = list(zip(pairs, views or [MetricsView()] * len(pairs), strict=True))
    found = []
    for s, service in enumerate(names):
        for quantity, unit in QUANTITIES.items():
            observed = np.concatenate([series(live, quantity)[:, s] for live, _ in pairs])
            predicted = np.concatenate(
                [seen_at_times_of(live, other, quantity, view)[:, s] for (live, other), view in seen]
            )
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
    return at_times(live, simulated, series(simulated, quantity))


def at_times(live: EpisodeRecord, simulated: EpisodeRecord, values: Floats) -> Floats:
    """Return the rows of (num_simulated_steps, num_services) values at the middles of live intervals."""
    duration_s = live.columns["duration_s"][:, 0]  # (num_steps,) s
    middles_s = np.cumsum(duration_s) - 0.5 * duration_s
    ends_s = np.cumsum(simulated.columns["duration_s"][:, 0])
    at = np.minimum(np.searchsorted(ends_s, middles_s), simulated.num_steps - 1)
    return values[at]


def seen_at_times_of(
    live: EpisodeRecord, simulated: EpisodeRecord, quantity: str, view: MetricsView
) -> Floats:
    """Return a quantity of the simulation as the monitoring would have shown it with each live interval.

    Response time and CPU come from the monitoring. Ready replicas and requests come from the API server,
    which neither lags nor averages. Within a simulated interval everything counts as even.

    Returns:
        (num_steps, num_services); nan where the whole window lies before the episode.
    """
    own = at_times_of(live, simulated, quantity)
    if view.window_s <= 0.0 or quantity == "replicas_ready":
        return own
    columns = simulated.columns
    lasts_s = np.cumsum(live.columns["duration_s"][:, 0]) - view.age_s  # (num_steps,) s
    edges_s = np.maximum(np.stack([lasts_s - view.window_s, lasts_s]), 0.0)  # (2, num_steps) s
    if quantity == "response_time_s":
        completed = columns["completed"]
        waited_s = completed * np.nan_to_num(columns["response_time_mean_s"])
        return _quotient(_amount(simulated, waited_s, edges_s), _amount(simulated, completed, edges_s))
    used = _amount(simulated, columns["cpu_used_core_s"], edges_s)
    used_cores = _quotient(used, (edges_s[1] - edges_s[0])[:, None])
    requested = at_times(live, simulated, columns["cpu_requested_core_s"] / columns["duration_s"])
    return _quotient(used_cores, requested)


def _amount(simulated: EpisodeRecord, amounts: Floats, edges_s: Floats) -> Floats:
    """Return how much of (num_steps, num_services) amounts per interval falls between (2, k) moments."""
    ends_s = np.concatenate([[0.0], np.cumsum(simulated.columns["duration_s"][:, 0])])
    sums = np.concatenate([np.zeros((1, amounts.shape[1])), np.cumsum(amounts, axis=0)])
    parts = [np.interp(edges_s[1], ends_s, each) - np.interp(edges_s[0], ends_s, each) for each in sums.T]
    return np.stack(parts, axis=1)  # (k, num_services)


def _quotient(parts: Floats, wholes: Floats) -> Floats:
    """Return parts / wholes, nan where there is no whole."""
    wholes = np.broadcast_to(wholes, parts.shape)
    return np.divide(parts, wholes, out=np.full_like(parts, np.nan), where=wholes > 0.0)


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
