"""Quotas of running pods: brought to what is wanted in place, a few in each step."""

from typing import Protocol

from podgym.envs.cluster import Quota
from podgym.envs.kubernetes.errors import AccessDeniedError, ClusterError
from podgym.envs.kubernetes.guard import QuotaPermission
from podgym.envs.kubernetes.guard_quota import shrinks
from podgym.envs.kubernetes.interval import ServiceState
from podgym.envs.kubernetes.objects import same_quota
from podgym.envs.kubernetes.readings import PodState


class Resizer(Protocol):
    """What is needed of ``KubernetesApi``."""

    def resize_pod(self, namespace: str, pod: str, container: str, quota: Quota) -> None:
        """Resize a pod in place."""
        ...


class PodQuotas:
    """Keeps the pods of one service at a quota, new ones among them."""

    def __init__(self, api: Resizer, namespace: str, container: str, per_step: int) -> None:
        """Begin with the template's quota.

        Args:
            api: resizes.
            namespace: of the pods.
            container: whose quota it is.
            per_step: most pods to resize in one step.
        """
        self._api, self._namespace, self._container, self._per_step = api, namespace, container, per_step
        self.wanted: Quota | None = None
        """What pods are to have; None: what the template says."""
        self._refused: dict[str, Quota] = {}

    def reconcile(self, state: ServiceState, permission: QuotaPermission) -> tuple[str, ...]:
        """Resize pods that were asked for something else; return what went wrong.

        A pod that refused this quota is not asked again. With "up_only" none gets smaller.
        """
        if self.wanted is None or permission == "none":
            return ()
        waiting = [pod for pod in state.alive if self._waits(pod, self.wanted, permission)]
        problems: list[str] = []
        for pod in waiting[: self._per_step]:
            try:
                self._api.resize_pod(self._namespace, pod.name, self._container, self.wanted)
            except AccessDeniedError:
                raise
            except ClusterError as error:
                self._refused[pod.name] = self.wanted
                problems.append(f"pod {pod.name} was not resized: {error}")
        alive = {pod.name for pod in state.alive}
        self._refused = {name: quota for name, quota in self._refused.items() if name in alive}
        return tuple(problems)

    def _waits(self, pod: PodState, wanted: Quota, permission: QuotaPermission) -> bool:
        asked = pod.quota_asked if pod.quota_asked is not None else pod.quota
        if pod.start_time_s is None or same_quota(asked, wanted) or self._refused.get(pod.name) == wanted:
            return False
        return permission == "any" or not shrinks(wanted, asked)
