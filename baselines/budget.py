"""Sharing a budget of cores and memory among services that together want more than it holds."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Claim:
    """What one service wants."""

    wanted: int
    """Replicas."""
    least: int
    """Replicas that it gets whatever the budget says, at most ``wanted``."""
    cores: float
    """CPU request of a replica."""
    gib: float
    """Memory request of a replica."""


def within_budget(
    claims: Sequence[Claim], budget_cores: float | None, budget_gib: float | None
) -> tuple[int, ...]:
    """Return the replicas that each service may have.

    Replicas are given out one by one, each to the service that has the smallest share of what it wants
    and whose replica still fits, so all get nearly the same share.

    Args:
        claims: what each service wants.
        budget_cores: most cores requested by all together; None: no limit.
        budget_gib: most GiB requested by all together; None: no limit.
    """
    free_cores = float("inf") if budget_cores is None else budget_cores
    free_gib = float("inf") if budget_gib is None else budget_gib
    cores = sum(claim.wanted * claim.cores for claim in claims)
    gib = sum(claim.wanted * claim.gib for claim in claims)
    if cores <= free_cores and gib <= free_gib:
        return tuple(claim.wanted for claim in claims)
    counts = [claim.least for claim in claims]
    free_cores -= sum(claim.least * claim.cores for claim in claims)
    free_gib -= sum(claim.least * claim.gib for claim in claims)
    open_claims = {index for index, claim in enumerate(claims) if claim.least < claim.wanted}
    while open_claims:
        index = min(open_claims, key=lambda i: (counts[i] / claims[i].wanted, i))
        claim = claims[index]
        if claim.cores > free_cores + _ROUNDING or claim.gib > free_gib + _ROUNDING:
            open_claims.remove(index)
            continue
        counts[index] += 1
        free_cores -= claim.cores
        free_gib -= claim.gib
        if counts[index] == claim.wanted:
            open_claims.remove(index)
    return tuple(counts)


_ROUNDING = 1e-9  # so that ten times 0.1 core fit into one
