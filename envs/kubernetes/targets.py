"""What is scaled: the services of the settings, resolved against what the cluster really holds."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from podgym.envs.cluster import Quota
from podgym.envs.config import EnvConfig, override
from podgym.envs.kubernetes.errors import TargetGoneError
from podgym.envs.kubernetes.readings import DeploymentState, WatchedService
from podgym.envs.kubernetes.settings import KubernetesSettings, TargetSettings
from podgym.envs.make import scenario_config
from podgym.envs.registration import ENVIRONMENT_IDS
from podgym.envs.simulator.parameters import ServiceConfig
from podgym.errors import InputError, unknown_name


class DeploymentReader(Protocol):
    """Reads Deployments, as ``KubernetesApi`` does."""

    def deployment(self, namespace: str, name: str) -> DeploymentState:
        """Return a Deployment as it is now."""
        ...


@dataclass(frozen=True, slots=True)
class Target:
    """One service and the Deployment behind it."""

    service: ServiceConfig
    """Bounds, levels and constants, with the replicas and the quota that were found."""
    watched: WatchedService
    """Whose metrics are read."""
    found: DeploymentState
    """The Deployment before anything was changed."""

    @property
    def name(self) -> str:
        """Name of the service."""
        return self.service.name

    @property
    def container(self) -> str:
        """Container whose quota is scaled."""
        return self.watched.container


def resolve(
    settings: KubernetesSettings, reader: DeploymentReader, changes: Mapping[str, object] | None = None
) -> tuple[EnvConfig, tuple[Target, ...]]:
    """Read every Deployment and lay what is found over the simulated environment.

    Args:
        settings: what is scaled.
        reader: reads the Deployments.
        changes: of the configuration, laid over those of the settings.

    Returns:
        The configuration and the targets, in the order of its services.

    Raises:
        InputError: a service that the simulated environment does not have or that it has and the settings
            lack, no such Deployment, no such container, no requests on its pods, or a bad value.
    """
    config = _configured(settings, changes or {})
    names = [service.name for service in config.cluster.services]
    for name in settings.services:
        if name not in names:
            raise unknown_name(f"service of {settings.environment}", name, names)
    missing = [name for name in names if name not in settings.services]
    if missing:
        raise InputError(
            f"{settings.environment} has the service {missing[0]!r}, the settings have not; add it under "
            "services, or choose another environment."
        )
    targets = tuple(_target(service, settings, reader) for service in config.cluster.services)
    cluster = dataclasses.replace(config.cluster, services=tuple(target.service for target in targets))
    return dataclasses.replace(config, cluster=cluster), targets


def _configured(settings: KubernetesSettings, changes: Mapping[str, object]) -> EnvConfig:
    if settings.environment not in ENVIRONMENT_IDS:
        raise unknown_name("environment", settings.environment, ENVIRONMENT_IDS)
    config = scenario_config(ENVIRONMENT_IDS[settings.environment])
    return override(override(config, settings.changes), changes)


def _target(service: ServiceConfig, settings: KubernetesSettings, reader: DeploymentReader) -> Target:
    given = settings.services[service.name]
    name = given.deployment or service.name
    try:
        found = reader.deployment(given.namespace, name)
    except TargetGoneError as error:
        raise InputError(
            f"services.{service.name}: there is no Deployment {name!r} in namespace {given.namespace!r}; "
            f"`kubectl get deployments -n {given.namespace}` lists what there is."
        ) from error
    container = _container(service.name, given, found)
    bounded = _bounded(service, given, found)
    if settings.mode == "act":
        _refuse_surprise(bounded, given, found)
    quota = _checked_quota(service.name, found, container)
    resolved = dataclasses.replace(
        bounded,
        cpu_request_cores=quota.cpu_request_cores,
        memory_request_bytes=quota.memory_request_bytes,
        cpu_limit_ratio=quota.cpu_limit_cores / quota.cpu_request_cores,
        memory_limit_ratio=quota.memory_limit_bytes / quota.memory_request_bytes,
    )
    watched = WatchedService(
        service.name, given.namespace, name, container, resolved.slo_response_time_s, dict(given.labels)
    )
    return Target(resolved, watched, found)


def _bounded(service: ServiceConfig, given: TargetSettings, found: DeploymentState) -> ServiceConfig:
    slo_s = given.slo_response_time_s
    return dataclasses.replace(
        service,
        **bounds(service, given, found.replicas),
        slo_response_time_s=service.slo_response_time_s if slo_s is None else slo_s,
    )


def bounds(service: ServiceConfig, given: TargetSettings, initial_replicas: int) -> dict[str, Any]:
    """Return the replicas of a service as fields of its configuration.

    A scale of observations that was set stays, unless there may be more replicas than that, so that a policy
    acts within narrower bounds than those of its training.

    Args:
        service: as simulated.
        given: what the settings say.
        initial_replicas: at the start, before it is brought within the bounds.

    Raises:
        InputError: the least is above the most.
    """
    least = given.min_replicas if given.min_replicas is not None else service.min_replicas
    most = given.max_replicas if given.max_replicas is not None else service.max_replicas
    if least > most:
        raise InputError(
            f"services.{service.name}: min_replicas {least} is above max_replicas {most}; give both."
        )
    return {
        "min_replicas": least,
        "max_replicas": most,
        "scale_replicas": None if service.scale_replicas is None else max(most, service.scale_replicas),
        "initial_replicas": min(max(initial_replicas, least), most),
    }


def _refuse_surprise(service: ServiceConfig, given: TargetSettings, found: DeploymentState) -> None:
    """Refuse bounds that nobody chose and that the first step would enforce."""
    for name, outside in (
        ("max_replicas", found.replicas > service.max_replicas),
        ("min_replicas", 0 < found.replicas < service.min_replicas),
    ):
        if outside and getattr(given, name) is None:
            raise InputError(
                f"services.{service.name}: Deployment {found.name!r} has {found.replicas} replicas, and "
                f"{name} is {getattr(service, name)}, the simulated environment's, so the first step would "
                f"scale it; give {name}."
            )


def _container(service: str, given: TargetSettings, found: DeploymentState) -> str:
    names = list(found.quotas)
    if given.container is not None:
        if given.container not in names:
            raise unknown_name(f"container of Deployment {found.name!r}", given.container, names)
        return given.container
    if len(names) != 1:
        raise InputError(
            f"services.{service}: the pods of {found.name!r} have {len(names)} containers "
            f"({', '.join(sorted(names))}); say which is scaled with container."
        )
    return names[0]


def _checked_quota(service: str, found: DeploymentState, container: str) -> Quota:
    """Return the quota in the template; a limit that is not set is taken to be the request."""
    quota = found.quotas[container]
    for resource, value in (("cpu", quota.cpu_request_cores), ("memory", quota.memory_request_bytes)):
        if not value > 0.0:
            raise InputError(
                f"services.{service}: container {container!r} of Deployment {found.name!r} has no {resource} "
                f"request, so there is nothing to measure its use against; set one: kubectl set resources "
                f"-n {found.namespace} deployment {found.name} -c {container} "
                f"--requests={resource}={'500m' if resource == 'cpu' else '512Mi'}."
            )
    cpu_limit = quota.cpu_limit_cores if quota.cpu_limit_cores > 0.0 else quota.cpu_request_cores
    memory_limit = quota.memory_limit_bytes if quota.memory_limit_bytes > 0.0 else quota.memory_request_bytes
    return Quota(quota.cpu_request_cores, cpu_limit, quota.memory_request_bytes, memory_limit)
