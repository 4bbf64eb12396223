"""Opening what the settings name: the API server and the source of the metrics. Heavy libraries load here."""

from typing import Protocol

from podgym.envs.kubernetes.api import KubernetesApi
from podgym.envs.kubernetes.connection import connect
from podgym.envs.kubernetes.readings import DeploymentState, MetricsSource, PodUsage, WatchedService
from podgym.envs.kubernetes.settings import KubernetesSettings


def open_api(settings: KubernetesSettings) -> KubernetesApi:
    """Return the API server that the settings name.

    Raises:
        InputError: there is no such context, or no credentials.
    """
    return KubernetesApi(connect(settings), settings)


class UsageReader(Protocol):
    """Reads metrics-server, as ``KubernetesApi`` does."""

    def charge(self, service: str) -> None:
        """Let a service pay for the calls from here on."""
        ...

    def deployment(self, namespace: str, name: str) -> DeploymentState:
        """Read a Deployment."""
        ...

    def pod_usage(self, namespace: str, selector: str, container: str) -> dict[str, PodUsage]:
        """Read what pods use."""
        ...


def open_metrics(settings: KubernetesSettings, api: UsageReader) -> MetricsSource:
    """Return the source of metrics that the settings name."""
    if settings.metrics.source == "prometheus":
        from podgym.envs.kubernetes.prometheus import PrometheusMetrics

        return PrometheusMetrics(settings.metrics)
    from podgym.envs.kubernetes.metrics_server import MetricsServerMetrics

    def usage(service: WatchedService) -> dict[str, PodUsage]:
        api.charge(service.name)
        deployment = api.deployment(service.namespace, service.deployment)
        return api.pod_usage(service.namespace, deployment.selector, service.container)

    return MetricsServerMetrics(usage)
