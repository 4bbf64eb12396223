"""Requests and limits of the pods of a service: memory from what they use, CPU as the cheapest size."""

from collections.abc import Callable
from dataclasses import dataclass

from podgym.baselines.metrics import HoldDown, is_size, with_limit
from podgym.envs.cluster import PodView, ServiceView

GIB = 1024.0**3
GIB_PRICE_CORES = 0.13
"""What a GiB costs in cores, a ratio of public list prices; it decides between pod sizes."""
MEMORY_WINDOW_S = 3600.0
"""How long the highest working set is remembered."""
NEAR_LIMIT = 0.9
"""Share of its memory limit from which a pod's request is raised at once."""


@dataclass(frozen=True, slots=True)
class QuotaSettings:
    """How quotas are planned."""

    plan_memory: bool = True
    """Whether memory requests are planned."""
    memory_margin: float = 0.2
    """What is added to the highest working set, as a share of it."""
    cpu_sizes_cores: tuple[float, ...] = ()
    """CPU requests to choose from; none: CPU requests stay."""
    tolerance: float = 0.25
    """Relative change of a memory request, and relative saving by another size, below which they stay."""
    period_s: float = 1800.0
    """Least time between two changes."""


@dataclass(frozen=True, slots=True)
class QuotaChange:
    """Requests that should be; None: as they are."""

    cpu_request_cores: float | None = None
    memory_request_bytes: float | None = None


STAY = QuotaChange()


class QuotaPlan:
    """Plans the quotas of one service. A change rolls all its pods, so there are few."""

    def __init__(self, settings: QuotaSettings, now_s: float) -> None:
        """Begin without history; the first change comes a whole period later."""
        self._settings = settings
        self._changed_s = now_s
        self._highest = HoldDown(MEMORY_WINDOW_S)

    def decide(
        self,
        service: ServiceView,
        pods: tuple[PodView, ...],
        now_s: float,
        replicas_for: Callable[[float], int],
    ) -> QuotaChange:
        """Return the change to make now.

        Args:
            service: the service.
            pods: its pods with samples that can be believed.
            now_s: the time now.
            replicas_for: replicas that the planned rate needs, whatever the maximum, as a function of the
                CPU limit of a pod in cores.
        """
        if not pods or not is_size(service.quota.memory_request_bytes):
            return STAY
        usage_bytes = max(pod.sample.memory_usage_bytes for pod in pods if pod.sample is not None)
        highest_bytes = self._highest.apply(int(usage_bytes), now_s)
        memory_bytes = self._memory(service, highest_bytes)
        if memory_bytes is not None and usage_bytes > NEAR_LIMIT * service.quota.memory_limit_bytes:
            self._changed_s = now_s
            return QuotaChange(memory_request_bytes=memory_bytes)
        if now_s - self._changed_s < self._settings.period_s:
            return STAY
        change = QuotaChange(self._cpu(service, memory_bytes, replicas_for), memory_bytes)
        if change != STAY:
            self._changed_s = now_s
        return change

    def _memory(self, service: ServiceView, highest_bytes: int) -> float | None:
        if not self._settings.plan_memory or highest_bytes <= 0:
            return None
        wanted_bytes = highest_bytes * (1.0 + self._settings.memory_margin)
        change = wanted_bytes / service.quota.memory_request_bytes - 1.0
        return wanted_bytes if abs(change) > self._settings.tolerance else None

    def _cpu(
        self, service: ServiceView, memory_bytes: float | None, replicas_for: Callable[[float], int]
    ) -> float | None:
        """The cheapest size that the maximum of replicas allows, if it is cheaper by enough."""
        present_cores = service.quota.cpu_request_cores
        if not self._settings.cpu_sizes_cores or not is_size(present_cores):
            return None
        memory_cores = (memory_bytes or service.quota.memory_request_bytes) / GIB * GIB_PRICE_CORES

        def cost_cores(size_cores: float) -> float:
            limit_cores = with_limit(size_cores, present_cores, service.quota.cpu_limit_cores)[1]
            replicas = replicas_for(limit_cores)
            if replicas > service.max_replicas:
                return float("inf")
            return max(replicas, service.min_replicas) * (size_cores + memory_cores)

        best_cores = min(self._settings.cpu_sizes_cores, key=cost_cores)
        saves = cost_cores(best_cores) < (1.0 - self._settings.tolerance) * cost_cores(present_cores)
        return best_cores if saves else None
