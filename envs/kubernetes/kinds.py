"""Kinds of objects beyond the Deployment, and what a run must be allowed to do with all of them."""

from collections.abc import Callable
from dataclasses import dataclass

from podgym.envs.kubernetes.answers import Access
from podgym.envs.kubernetes.settings import KubernetesSettings


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object that is reached by its group, version and plural."""

    name: str
    group: str
    version: str
    plural: str
    older: tuple[str, ...] = ()
    """Versions with the same fields, for servers without ``version``; the first that is served is taken."""

    @property
    def custom(self) -> bool:
        """Whether it is no kind of Kubernetes' own, so that a cluster may be without it."""
        return "." in self.group


DEPLOYMENT = Kind("Deployment", "apps", "v1", "deployments")
HPA = Kind("HorizontalPodAutoscaler", "autoscaling", "v2", "horizontalpodautoscalers", older=("v2beta2",))
"""Before Kubernetes 1.23 it was v2beta2."""
SCALED_OBJECT = Kind("ScaledObject", "keda.sh", "v1alpha1", "scaledobjects")
VPA = Kind("VerticalPodAutoscaler", "autoscaling.k8s.io", "v1", "verticalpodautoscalers")
POD_METRICS = Kind("PodMetrics", "metrics.k8s.io", "v1beta1", "pods")

AUTOSCALERS = (HPA, SCALED_OBJECT, VPA)
"""What may manage a Deployment beside us."""


def needed_access(
    settings: KubernetesSettings, namespace: str, serves: Callable[[Kind], bool]
) -> tuple[Access, ...]:
    """Return what a run with these settings must be allowed in a namespace, and nothing more.

    Nodes are not among it: a run does without them.

    Args:
        settings: mode and features.
        namespace: of a target.
        serves: whether the server knows a kind.
    """
    autoscalers = [kind for kind in AUTOSCALERS if serves(kind)]
    needed = [("get", "apps", "deployments"), ("list", "apps", "deployments"), ("list", "", "pods")]
    needed += [("list", kind.group, kind.plural) for kind in autoscalers]
    if settings.metrics.source == "metrics-server":
        needed.append(("list", POD_METRICS.group, POD_METRICS.plural))
    if settings.mode != "shadow":
        needed += _to_write(settings, autoscalers)
    return tuple(Access(verb, group, resource, namespace) for verb, group, resource in needed)


def _to_write(settings: KubernetesSettings, autoscalers: list[Kind]) -> list[tuple[str, str, str]]:
    needed = [("patch", "apps", "deployments"), ("patch", "apps", "deployments/scale")]
    if settings.safety.allow_quotas:
        needed.append(("create", "", "pods/eviction"))
        if settings.resize != "template":
            needed.append(("patch", "", "pods/resize"))
    if settings.take_over:
        needed += [(verb, kind.group, kind.plural) for kind in autoscalers for verb in ("get", "patch")]
    if settings.emit_events:
        needed.append(("create", "", "events"))
    return needed
