"""The queue of a service: a stationary law made to move in time.

Model. A service is a queue with ``c`` servers in all (``load_balancing="pooled"``) or ``n`` such queues
with an equal share of the load each (``"random"``). Its state is the expected number in system ``L``.
The pointwise stationary fluid-flow approximation (Wang, Tipper and Banerjee, 1996) moves it by

    dL/dt = lambda(t) - c mu rho(L),        L(rho) = c rho + kappa C(c, rho) rho / (1 - rho)

where ``C`` is Erlang's delay probability and ``kappa`` is (1 + cv^2)/2 for first come first served
(Allen and Cunneen) and 1 for processor sharing, whose mean does not depend on the variation. It is exact
at steady state for M/M/c and M/G/1, and becomes the fluid queue in overload. Time is stepped
implicitly, so a step may be longer than the relaxation time of the queue.

Randomness is counted once. Poisson arrivals and random service are *inside* ``C``: the queue is driven
by the arrival *rate*, and ``L``, waits and percentiles are those of the random queue at that rate. What
is drawn with random numbers is only what the stationary law does not know: the rate's own disturbance
(``LoadParameters.rate_noise_cv``, over-dispersion on top of Poisson), start-up times, faults, and the
scatter of *measured* counts (``MonitoringParameters.sampling_noise``), which never feeds back into the
queue.

Spread. The wait of those who wait is exponential at steady state but nearly the same for all in
overload. A second state, the variance ``V`` of the number in system, tells the two apart: it relaxes to
the stationary variance ``V_s(rho)``, and the ratio of the wait's standard deviation to its mean is
``sqrt(V / V_s)``, at most 1.
"""

import math

import numpy as np
from numpy.typing import NDArray

from podgym.envs.simulator.compile import kernel

UTILISATION_CELLS = 128
EXACT_SERVERS = 64
ROWS_PER_DOUBLING = 8
DOUBLINGS = 5
_MAX_ITERATIONS = 12


def erlang_c(servers: int, utilisation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probability that a request has to wait in M/M/c.

    Args:
        servers: number of servers, at least 1.
        utilisation: load per server, 0 to 1, any shape.

    Returns:
        Array of the shape of ``utilisation``. Erlang's recursion in the inverse blocking probability,
        which is stable for any number of servers.
    """
    load = np.maximum(utilisation * servers, 1e-300)  # erlangs
    inverse_blocking = np.ones_like(load)
    with np.errstate(over="ignore"):
        for count in range(1, servers + 1):
            inverse_blocking = 1.0 + inverse_blocking * (count / load)
        return np.asarray(1.0 / (inverse_blocking * (1.0 - utilisation) + utilisation))


def server_grid() -> NDArray[np.int64]:
    """Numbers of servers with a row in the table: each up to 64, then eight per doubling."""
    exact = np.arange(1, EXACT_SERVERS + 1)
    steps = np.arange(1, DOUBLINGS * ROWS_PER_DOUBLING + 1)
    return np.concatenate([exact, np.rint(EXACT_SERVERS * 2.0 ** (steps / ROWS_PER_DOUBLING))]).astype(
        np.int64
    )


def delay_table() -> NDArray[np.float64]:
    """Tabulate Erlang C.

    Returns:
        Array (rows, UTILISATION_CELLS + 1): row r for ``server_grid()[r]`` servers, column j for
        utilisation j / UTILISATION_CELLS. About 100 KiB.
    """
    utilisation = np.linspace(0.0, 1.0, UTILISATION_CELLS + 1)
    return np.array([erlang_c(int(servers), utilisation) for servers in server_grid()])


@kernel
def table_row(servers: float) -> float:
    """Fractional row of the delay table for a (possibly fractional) number of servers."""
    if servers <= 1.0:
        return 0.0
    if servers <= EXACT_SERVERS:
        return servers - 1.0
    row = EXACT_SERVERS - 1.0 + ROWS_PER_DOUBLING * math.log2(servers / EXACT_SERVERS)
    return min(row, EXACT_SERVERS - 1.0 + ROWS_PER_DOUBLING * DOUBLINGS)


@kernel
def delay_probability(table: NDArray[np.float64], row: float, utilisation: float) -> float:
    """Look up Erlang C, linear in both the row and the utilisation."""
    position = min(max(utilisation, 0.0), 1.0) * UTILISATION_CELLS
    cell = min(int(position), UTILISATION_CELLS - 1)
    part = position - cell
    lower = int(row)
    value = table[lower, cell] * (1.0 - part) + table[lower, cell + 1] * part
    weight = row - lower
    if weight > 0.0:
        upper = table[lower + 1, cell] * (1.0 - part) + table[lower + 1, cell + 1] * part
        value += weight * (upper - value)
    return value


@kernel
def solve_utilisation(
    table: NDArray[np.float64],
    row: float,
    servers: float,
    kappa: float,
    capacity: float,
    inflow: float,
    think: float,
    guess: float,
) -> tuple[float, float]:
    """Utilisation and delay probability at the end of a tick: one implicit step of one queue.

    Solves ``(1 + think) L(rho) + capacity rho = inflow`` for rho. Inside one cell of the table C is
    linear, and the equation times (1 - rho) is quadratic; so each iteration solves a cell exactly and
    moves to the cell of its root.

    Args:
        table: delay table.
        row: fractional row of the table for ``servers``.
        servers: servers of the queue.
        kappa: variation correction of the waiting part.
        capacity: requests that the queue can complete in the tick.
        inflow: requests in the system before the tick plus those that arrive in it.
        think: tick over think time for closed users, 0 for open arrivals.
        guess: utilisation one tick ago.

    Returns:
        rho in [0, 1) and Erlang's C there.
    """
    lower = int(row)
    weight = row - lower
    linear = (1.0 + think) * servers + capacity
    waiting = (1.0 + think) * kappa
    cell = min(int(guess * UTILISATION_CELLS), UTILISATION_CELLS - 1)
    utilisation = guess
    slope = 0.0
    offset = 0.0
    for _ in range(_MAX_ITERATIONS):
        left = table[lower, cell]
        right = table[lower, cell + 1]
        if weight > 0.0:
            left += weight * (table[lower + 1, cell] - left)
            right += weight * (table[lower + 1, cell + 1] - right)
        slope = (right - left) * UTILISATION_CELLS
        offset = left - slope * cell * (1.0 / UTILISATION_CELLS)
        total = linear + waiting * offset + inflow
        discriminant = total * total - 4.0 * (linear - waiting * slope) * inflow
        utilisation = 2.0 * inflow / (total + math.sqrt(max(discriminant, 0.0)))
        found = min(int(utilisation * UTILISATION_CELLS), UTILISATION_CELLS - 1)
        if found == cell:
            break
        cell = found
    utilisation = min(utilisation, 1.0 - 1e-12)
    return utilisation, offset + slope * utilisation


@kernel
def stationary_variance(servers: float, utilisation: float, delay: float, free_share: float) -> float:
    """Variance of the number in system of M/M/c at steady state (Kleinrock, Queueing Systems I).

    ``free_share`` is 1 / (1 - utilisation), which the caller has at hand.
    """
    queue = (1.0 + utilisation - utilisation * delay) * free_share * free_share
    return servers * utilisation + delay * utilisation * (queue + servers)


@kernel
def relax_variance(variance: float, stationary: float, inflow: float, outflow: float) -> float:
    """Move the variance of the number in system by one tick.

    ``inflow`` and ``outflow`` are the requests that came and left: each adds its Poisson variance. The
    pull towards the stationary variance balances them there; it weakens as (V/V_s)^1.5 while the system
    is overloaded, which matches the negative-binomial closure of the M/M/1 queue (Rothkopf and Oren,
    1979) closely. Semi-implicit, so stable for any tick.
    """
    if stationary <= 1e-12:
        return 0.0
    inverse = 1.0 / stationary
    pull = 2.0 * outflow * math.sqrt(variance * inverse) * inverse
    return (variance + inflow + outflow) / (1.0 + pull)
