"""How many pods of one controller may be disrupted at once, by eviction or by a resize in place.

Upstream: ``updater/restriction/pods_restriction_factory.go``, ``pods_eviction_restriction.go`` and
``pods_inplace_restriction.go``. A group is rebuilt for every pass of the updater.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import isfinite
from typing import Literal, TypeAlias, get_args

from podgym.errors import InputError, unknown_name

ResizeStatus: TypeAlias = Literal["InProgress", "Deferred", "Infeasible", "Error"]
"""What the kubelet reports of a resize that has not come to its end."""
InPlaceDecision: TypeAlias = Literal["resize", "wait", "evict"]

DEFERRED_TIMEOUT_S = 300.0
"""A resize that the kubelet defers for longer gives way to an eviction."""
IN_PROGRESS_TIMEOUT_S = 3600.0
"""So does one that is in progress for longer."""


@dataclass(frozen=True, slots=True)
class GroupPod:
    """One live pod of a group."""

    phase: str = "Running"
    """Phase of the pod; all but ``Pending`` count as running."""
    resize: ResizeStatus | None = None
    """None: the pod is not being resized."""
    resize_age_s: float = 0.0
    """Time since that resize was asked for."""

    def __post_init__(self) -> None:
        if self.resize is not None and self.resize not in get_args(ResizeStatus):
            raise unknown_name("resize status", self.resize, get_args(ResizeStatus))

    @property
    def pending(self) -> bool:
        """Whether the pod has not started."""
        return self.phase == "Pending"


@dataclass(frozen=True, slots=True)
class EvictionGroup:
    """The live pods of one controller during one pass of the updater."""

    configured: int
    """Replicas that the controller is to have."""
    running: int
    """Live pods that are not pending."""
    tolerance_count: int
    """How many pods may be missing."""
    evicted: int = 0
    """Running pods evicted in this pass."""
    resized: int = 0
    """Pods whose resize began in this pass."""

    @property
    def can_disrupt(self) -> bool:
        """Whether one more running pod may be disrupted; without any tolerance: one at a time."""
        disrupted = self.evicted + self.resized
        if self.running - disrupted > self.configured - self.tolerance_count:
            return True
        return self.running == self.configured and self.tolerance_count == 0 and disrupted == 0


def eviction_group(
    pods: Iterable[GroupPod], configured: int, *, min_replicas: int = 2, eviction_tolerance: float = 0.5
) -> EvictionGroup | None:
    """Count a controller's pods.

    Args:
        pods: its live pods.
        configured: replicas that it is to have.
        min_replicas: with fewer live pods nothing is touched.
        eviction_tolerance: fraction of the replicas that may be missing, truncated to whole pods.

    Returns:
        None: no pod of the controller may be touched.

    Raises:
        InputError: the tolerance is not a number of 0 or more.
    """
    if not (isfinite(eviction_tolerance) and eviction_tolerance >= 0.0):
        raise InputError(f"eviction_tolerance is {eviction_tolerance!r}; a number of 0 or more is needed.")
    live = tuple(pods)
    if len(live) < min_replicas or configured <= 0:
        return None
    running = sum(not pod.pending for pod in live)
    return EvictionGroup(configured, running, int(configured * eviction_tolerance))


def can_evict(group: EvictionGroup | None, pod: GroupPod) -> bool:
    """Whether a pod may be evicted now: a pending one always, others within the limit.

    A pod that is being resized may be evicted only once the resize has failed.
    """
    if group is None:
        return False
    if pod.pending:
        return True
    return group.can_disrupt and (pod.resize is None or resize_has_failed(pod))


def resize_has_failed(pod: GroupPod) -> bool:
    """Whether a resize cannot be carried out, or has waited too long."""
    timeouts_s = {"Deferred": DEFERRED_TIMEOUT_S, "InProgress": IN_PROGRESS_TIMEOUT_S}
    return pod.resize is not None and pod.resize_age_s > timeouts_s.get(pod.resize, -1.0)


def evict(group: EvictionGroup | None, pod: GroupPod) -> tuple[bool, EvictionGroup | None]:
    """Evict a pod if that is allowed.

    Returns:
        Whether it was evicted, and the group from now on.
    """
    if group is None or not can_evict(group, pod):
        return False, group
    return True, group if pod.pending else replace(group, evicted=group.evicted + 1)


def decide_in_place(group: EvictionGroup | None, pod: GroupPod) -> InPlaceDecision:
    """Decide what mode InPlaceOrRecreate does with a pod that needs an update."""
    if group is None or pod.pending or not group.can_disrupt:
        return "wait"
    if pod.resize is None:
        return "resize"
    return "evict" if resize_has_failed(pod) else "wait"


def begin_resize(group: EvictionGroup) -> EvictionGroup:
    """Return the group after the resize of one pod was asked for."""
    return replace(group, resized=group.resized + 1)
