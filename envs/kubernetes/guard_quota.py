"""What the guard lets pass of a wanted quota: a whole quota, or nothing."""

import math
from dataclasses import astuple

from podgym.envs.cluster import Quota
from podgym.envs.kubernetes.guard_state import REASONS, Verdict

QUOTA_REFUSALS = {code: text for code, text in REASONS.items() if code.startswith("quota_")}
"""Every code for a quota that is not written, and what it means."""

LEAST_CPU_CORES, MOST_CPU_CORES = 0.001, 1024.0
LEAST_MEMORY_BYTES, MOST_MEMORY_BYTES = 2.0**20, 2.0**46
"""No pod is given less or more: a millicore and 1 MiB; 1024 cores and 64 TiB."""

_ROUNDING = 1e-6  # of a millicore or a byte: 0.29 cores * 1000 is a hair below 290


def guard_quota(wanted: Quota | None, now: Quota, verdict: Verdict) -> Quota | None:
    """Return the quota that may be written, in the whole millicores and bytes that the API server keeps.

    An amount that is nan now is not set; wanted as nan, it stays so.

    Args:
        wanted: what is wanted of each pod; None: no change.
        now: what pods have now.
        verdict: of ``guard`` on the same decision.

    Returns:
        The quota; None: nothing is to be written, and ``quota_refusal`` says why.
    """
    if wanted is None or quota_refusal(wanted, now, verdict) is not None:
        return None
    return _rounded(wanted)


def quota_refusal(wanted: Quota | None, now: Quota, verdict: Verdict) -> str | None:
    """Return why a wanted quota does not pass, a code of ``REASONS``; None: it passes.

    Arguments as for ``guard_quota``.
    """
    if wanted is None:
        return "quota_not_wanted"
    pairs = list(zip(astuple(wanted), astuple(now), strict=True))
    if any(not math.isfinite(amount) and not _unset(amount, current) for amount, current in pairs):
        return "quota_not_a_number"
    if not _in_range(wanted):
        return "quota_out_of_range"
    wanted, now = _rounded(wanted), _rounded(now)
    if wanted.cpu_limit_cores < wanted.cpu_request_cores:
        return "quota_limit_below_request"
    if wanted.memory_limit_bytes < wanted.memory_request_bytes:
        return "quota_limit_below_request"
    if _same(wanted, now):
        return "quota_not_wanted"
    if verdict.quotas == "none":
        return "quota_held"
    if verdict.quotas != "any" and shrinks(wanted, now):
        return "quota_down"
    return None


def _unset(amount: float, current: float) -> bool:
    return math.isnan(amount) and math.isnan(current)


def _in_range(quota: Quota) -> bool:
    """Tell whether all amounts that are set are ones that a pod can have."""
    cores = (quota.cpu_request_cores, quota.cpu_limit_cores)
    sizes = (quota.memory_request_bytes, quota.memory_limit_bytes)
    return all(math.isnan(each) or LEAST_CPU_CORES <= each <= MOST_CPU_CORES for each in cores) and all(
        math.isnan(each) or LEAST_MEMORY_BYTES <= each <= MOST_MEMORY_BYTES for each in sizes
    )


def _rounded(quota: Quota) -> Quota:
    """Round up to whole millicores and bytes, so that what is read back equals what was written."""
    return Quota(
        _up(quota.cpu_request_cores, 1000.0),
        _up(quota.cpu_limit_cores, 1000.0),
        _up(quota.memory_request_bytes, 1.0),
        _up(quota.memory_limit_bytes, 1.0),
    )


def _up(amount: float, parts: float) -> float:
    scaled = amount * parts
    return math.ceil(scaled - _ROUNDING) / parts if math.isfinite(scaled) else amount


def _same(one: Quota, other: Quota) -> bool:
    return all(a == b or _unset(a, b) for a, b in zip(astuple(one), astuple(other), strict=True))


def shrinks(wanted: Quota, now: Quota) -> bool:
    """Tell whether any amount gets smaller; a limit where there was none is a cut, too."""
    if any(amount < current for amount, current in zip(astuple(wanted), astuple(now), strict=True)):
        return True
    limits = (
        (wanted.cpu_limit_cores, now.cpu_limit_cores),
        (wanted.memory_limit_bytes, now.memory_limit_bytes),
    )
    return any(math.isnan(current) and not math.isnan(amount) for amount, current in limits)
