"""From a controller's decision to the action of an environment that comes closest to it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from podgym.envs.actions import ABSOLUTE, CONTINUOUS, DELTA, ActionDecoder
from podgym.envs.cluster import ServiceDecision, ServiceView
from podgym.errors import InputError

_MODES = {DELTA: "delta", ABSOLUTE: "absolute", CONTINUOUS: "continuous"}


def nearest_action(
    decoder: ActionDecoder, decisions: Sequence[ServiceDecision], wanted: Sequence[int]
) -> NDArray[np.int64]:
    """Return the action whose steps of the replicas come closest to a decision; quotas are kept.

    Args:
        decoder: of the actions, in the mode ``delta``.
        decisions: one per service.
        wanted: (num_services,) replicas wanted now.
    """
    action = decoder.null_action
    for service, (decision, now) in enumerate(zip(decisions, wanted, strict=True)):
        if decision.replicas is not None:
            step = np.abs(decoder.steps - (decision.replicas - now)).argmin()
            action[service * decoder.width] = step
    return action


def nearest_action_with_quotas(
    decoder: ActionDecoder, decisions: Sequence[ServiceDecision], services: Sequence[ServiceView]
) -> NDArray[Any]:
    """Return the action that comes closest to a decision in replicas and, where they can be chosen, quotas.

    Requests are brought to the nearest level, or in the mode ``continuous`` into the range of the levels;
    limits follow them, whatever the decision says. What a decision leaves out stays as it is or, in the mode
    ``absolute``, becomes the nearest level.

    Args:
        decoder: of the actions.
        decisions: one per service.
        services: what the controller saw of each service.

    Returns:
        (num_services * numbers,) int64, or float32 in the mode ``continuous``.

    Raises:
        InputError: the mode ``residual``, or a decision about single pods, which no action can express.
    """
    if decoder.mode not in _MODES:
        raise InputError(
            f"action.mode is {decoder.config.mode!r}; a controller's decisions can be brought into "
            f"{', '.join(_MODES.values())}."
        )
    numbers: list[float] = []
    for s, (decision, service) in enumerate(zip(decisions, services, strict=True)):
        if decision.admission is not None or decision.evict or decision.resize:
            raise InputError(
                f"a decision for service {service.name!r} admits, evicts or resizes single pods, which no "
                "action of an environment does; choose a controller that decides replicas and quotas."
            )
        now = service.replicas_wanted
        replicas = now if decision.replicas is None else decision.replicas
        numbers.append(_replicas(decoder, s, replicas, now))
        if decoder.width > 1:
            quota = service.quota
            numbers.append(_request(decoder, s, 0, decision.cpu_request_cores, quota.cpu_request_cores))
            numbers.append(_request(decoder, s, 1, decision.memory_request_bytes, quota.memory_request_bytes))
    return np.array(numbers, dtype=np.float32 if decoder.mode == CONTINUOUS else np.int64)


def _replicas(decoder: ActionDecoder, s: int, replicas: int, now: int) -> float:
    low, high = decoder.bounds[s].tolist()
    target = min(max(replicas, low), high)
    if decoder.mode == DELTA:
        return int(np.abs(decoder.steps - (target - now)).argmin())
    if decoder.mode == ABSOLUTE:
        return int(target - low)
    return 2.0 * (target - low) / (high - low) - 1.0 if high > low else -1.0


def _request(decoder: ActionDecoder, s: int, kind: int, request: float | None, now: float) -> float:
    """Return the number for CPU (kind 0) or memory (kind 1)."""
    levels = decoder.levels[s, kind, : decoder.level_counts[s, kind]]  # cores or bytes, ascending
    target = now if request is None else request
    if decoder.mode == CONTINUOUS:
        low, high = float(levels[0]), float(levels[-1])
        part = np.log(min(max(target, low), high) / low) / np.log(high / low) if high > low else 0.0
        return float(2.0 * part - 1.0)
    nearest = int(np.abs(levels - target).argmin())
    if decoder.mode == ABSOLUTE:
        return nearest
    levels_to_go = nearest - int(np.abs(levels - now).argmin())
    return int(np.abs(decoder.quota_steps - levels_to_go).argmin())
