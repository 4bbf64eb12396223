"""The API server as this package uses it: few calls, in the words of Deployments, pods and quotas."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from podgym.envs.cluster import Quota
from podgym.envs.kubernetes.answers import Access, MissingError, RefusedError
from podgym.envs.kubernetes.caller import FIELD_MANAGER, Caller
from podgym.envs.kubernetes.connection import Connection
from podgym.envs.kubernetes.discovery import Discovery
from podgym.envs.kubernetes.errors import (
    AccessDeniedError,
    ConflictError,
    MetricsUnavailableError,
    TargetGoneError,
    TransientError,
)
from podgym.envs.kubernetes.kinds import POD_METRICS, Kind, needed_access
from podgym.envs.kubernetes.objects import (
    Json,
    NodeState,
    ScaleState,
    belongs_to,
    container_name,
    deployment_state,
    event_of,
    node_state,
    pod_state,
    pod_usage,
    resources_of,
    scale_state,
)
from podgym.envs.kubernetes.readings import DeploymentState, PodState, PodUsage
from podgym.envs.kubernetes.settings import KubernetesSettings

T = TypeVar("T")

MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
_NOT_SERVED = "could not find the requested resource"


class KubernetesApi(Caller):
    """What is asked of one API server; see ``Caller`` for counting, modes and errors."""

    def __init__(
        self,
        connection: Connection,
        settings: KubernetesSettings,
        *,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take a connection; see ``Caller``."""
        from kubernetes import client

        super().__init__(connection, settings, sleep=sleep, now=now)
        # Untyped in release 36; the answers are read as JSON anyway.
        self._core: Any = client.CoreV1Api(connection.client)
        self._apps: Any = client.AppsV1Api(connection.client)
        self._custom: Any = client.CustomObjectsApi(connection.client)
        self._reviews: Any = client.AuthorizationV1Api(connection.client)
        self._discovery = Discovery(self)

    # What is read.

    def deployment(self, namespace: str, name: str) -> DeploymentState:
        """Return a Deployment.

        Raises:
            TargetGoneError: there is none.
        """
        access = Access("get", "apps", "deployments", namespace, name)
        method = self._apps.read_namespaced_deployment
        try:
            return self.ask(access, method, name, namespace, parse=deployment_state)
        except MissingError as error:
            raise TargetGoneError(
                f"Deployment {name} in namespace {namespace} is not there: {error}"
            ) from None

    def pods(self, deployment: DeploymentState, container: str) -> tuple[PodState, ...]:
        """Return the Deployment's pods, those that ended or are terminating included.

        Args:
            deployment: whose.
            container: the container whose quota and restarts are meant.
        """

        def parse(content: Json) -> tuple[PodState, ...]:
            items = [each for each in content["items"] or () if belongs_to(each, deployment)]
            return tuple(pod_state(each, container) for each in items)

        return self.pages(
            Access("list", "", "pods", deployment.namespace),
            self._core.list_namespaced_pod,
            deployment.namespace,
            parse=parse,
            label_selector=deployment.selector,
        )

    def nodes(self) -> tuple[NodeState, ...]:
        """Return the nodes; none if they may not be listed."""
        try:
            return self.pages(
                Access("list", "", "nodes"),
                self._core.list_node,
                parse=lambda content: tuple(node_state(each) for each in content["items"] or ()),
            )
        except AccessDeniedError:
            return ()

    def pod_usage(self, namespace: str, selector: str, container: str) -> dict[str, PodUsage]:
        """Return what metrics-server says of the pods that a label selector takes, by name.

        Raises:
            MetricsUnavailableError: there is no metrics-server, or it does not answer.
        """

        def parse(content: Json) -> tuple[tuple[str, PodUsage | None], ...]:
            return tuple(
                (each["metadata"]["name"], pod_usage(each, container)) for each in content["items"] or ()
            )

        try:
            found = self._list(POD_METRICS, namespace, parse, label_selector=selector)
        except (MissingError, TransientError) as error:
            raise MetricsUnavailableError(f"metrics-server: {error}") from None
        return {name: usage for name, usage in found if usage is not None}

    def can_resize(self) -> bool:
        """Return whether the server serves ``pods/resize``; it is asked once."""
        return self._discovery.can_resize()

    def serves(self, kind: Kind) -> bool:
        """Return whether the server knows the group of a kind; it is asked once.

        Raises:
            InputError: it knows the group, but no version of the kind that is known here.
        """
        return self._discovery.version(kind) is not None

    def list_objects(self, kind: Kind, namespace: str) -> tuple[Json, ...]:
        """Return every object of a kind in a namespace, as JSON; none where the kind is not served.

        Raises:
            InputError: see ``serves``.
            MissingError: a kind of Kubernetes' own is not served, on a server that hides what it serves.
        """
        if not self.serves(kind):
            return ()
        try:
            return self._list(kind, namespace, _objects)
        except MissingError:
            if not kind.custom:
                raise
            return ()

    def find_object(self, kind: Kind, namespace: str, name: str) -> Json | None:
        """Return one object as JSON; None: there is none."""
        access = Access("get", kind.group, kind.plural, namespace, name)
        method, where = self._custom.get_namespaced_custom_object, self._where(kind, namespace)
        try:
            return self.ask(access, method, *where, name, parse=_object)
        except MissingError:
            return None

    def permissions(self, targets: Iterable[str]) -> tuple[str, ...]:
        """Return what the mode needs and is not allowed: ``patch deployments/scale in namespace demo``.

        Args:
            targets: namespaces of the Deployments.
        """
        return tuple(
            str(access)
            for namespace in sorted(set(targets))
            for access in needed_access(self.settings, namespace, self.serves)
            if not self._allowed(access)
        )

    def _allowed(self, access: Access) -> bool:
        resource, _, subresource = access.resource.partition("/")
        attributes = {
            "verb": access.verb,
            "group": access.group,
            "resource": resource,
            "namespace": access.namespace,
        } | ({"subresource": subresource} if subresource else {})
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        return self.ask(
            Access("create", "authorization.k8s.io", "selfsubjectaccessreviews"),
            self._reviews.create_self_subject_access_review,
            body,
            parse=lambda content: content["status"]["allowed"] is True,
        )

    def _list(
        self, kind: Kind, namespace: str, parse: Callable[[Json], tuple[T, ...]], **options: object
    ) -> tuple[T, ...]:
        return self.pages(
            Access("list", kind.group, kind.plural, namespace),
            self._custom.list_namespaced_custom_object,
            *self._where(kind, namespace),
            parse=parse,
            **options,
        )

    def _where(self, kind: Kind, namespace: str) -> tuple[str, str, str, str]:
        """Return group, version, namespace and plural, as the client's methods for any kind take them."""
        return kind.group, self._discovery.version(kind) or kind.version, namespace, kind.plural

    # What is written.

    def set_replicas(self, deployment: DeploymentState, replicas: int) -> ScaleState:
        """Set ``spec.replicas`` through ``scale``, unless the Deployment changed since it was read.

        Its status changes with every pod, so a conflict alone is no sign of a rival: read again and compare.

        Args:
            deployment: as it was read.
            replicas: what is wanted; any type of whole number.

        Returns:
            What holds now.

        Raises:
            ConflictError: the Deployment changed since it was read.
            TargetGoneError: it was deleted.
        """
        wanted = int(replicas)
        if wanted != replicas or wanted < 0:
            raise ValueError(f"replicas is {replicas!r}; it must be a whole number that is not negative.")
        body = {"metadata": {"resourceVersion": deployment.resource_version}, "spec": {"replicas": wanted}}
        before = self.calls
        try:
            return self._patch(
                deployment, "/scale", self._apps.patch_namespaced_deployment_scale, body, scale_state
            )
        except ConflictError:
            if self.calls == before + 1:
                raise
        # An attempt whose answer was lost may have been the change that the next one ran into.
        found = self.deployment(deployment.namespace, deployment.name)
        if found.uid != deployment.uid or found.replicas != wanted:
            raise ConflictError(
                f"Deployment {found.name} in namespace {found.namespace} changed since it was read; it has "
                f"{found.replicas} replicas, {deployment.replicas} when read, {wanted} wanted."
            )
        return ScaleState(found.replicas, found.resource_version)

    def set_quota(self, deployment: DeploymentState, container: str, quota: Quota) -> None:
        """Set requests and limits in the pod template, which rolls out; nan removes a value.

        Raises:
            InputError: no such container.
        """
        container_name(deployment, container)
        change = {"name": container, "resources": resources_of(quota, keep_unset=False)}
        template = {"spec": {"containers": [change]}}
        body = {"metadata": {"uid": deployment.uid}, "spec": {"template": template}}
        method = self._apps.patch_namespaced_deployment
        self._patch(deployment, "", method, body, deployment_state, content_type=STRATEGIC_PATCH)

    def annotate(
        self, deployment: DeploymentState, changes: Mapping[str, str | None], *, unchanged: bool = False
    ) -> DeploymentState:
        """Set annotations of the Deployment; None removes one.

        Args:
            deployment: as it was read.
            changes: annotations by name.
            unchanged: whether to refuse with ``ConflictError`` if anything of it changed since it was read.

        Returns:
            The Deployment after the change.
        """
        metadata: dict[str, object] = {"uid": deployment.uid, "annotations": dict(changes)}
        if unchanged:
            metadata["resourceVersion"] = deployment.resource_version
        method = self._apps.patch_namespaced_deployment
        return self._patch(deployment, "", method, {"metadata": metadata}, deployment_state)

    def resize_pod(self, namespace: str, pod: str, container: str, quota: Quota) -> None:
        """Bring a running pod to a quota in place; nan leaves a value; a pod that is gone is left alone.

        Raises:
            RefusedError: the server does not allow this change in place, or does not serve ``pods/resize``.
        """
        change = {"name": container, "resources": resources_of(quota, keep_unset=True)}
        access = Access("patch", "", "pods/resize", namespace, pod)
        method = self._core.patch_namespaced_pod_resize
        body = {"spec": {"containers": [change]}}
        try:
            self.write(access, method, pod, namespace, body, parse=_object, _content_type=STRATEGIC_PATCH)
        except MissingError as error:
            if _NOT_SERVED in str(error):
                raise RefusedError(f"{error}; set resize: template, or take Kubernetes 1.33.") from None

    def evict_pod(self, namespace: str, pod: str) -> None:
        """Evict a pod, which respects its PodDisruptionBudget; a pod that is gone is left alone.

        Raises:
            TransientError: the budget does not allow it now (429).
        """
        metadata = {"name": pod, "namespace": namespace}
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
        access = Access("create", "", "pods/eviction", namespace, pod)
        try:
            # The answer is a Status or, of some releases, an Eviction: its success is all there is to it.
            self.write(access, self._core.create_namespaced_pod_eviction, pod, namespace, body, parse=str)
        except MissingError:
            return

    def emit_event(self, deployment: DeploymentState, reason: str, message: str) -> None:
        """Tell something as an Event on the Deployment.

        Args:
            deployment: on which.
            reason: one word in CamelCase.
            message: a sentence.
        """
        access = Access("create", "", "events", deployment.namespace)
        body = event_of(deployment, reason, message, time.time(), FIELD_MANAGER)
        try:
            self.write(access, self._core.create_namespaced_event, deployment.namespace, body, parse=_object)
        except ConflictError:
            return  # it exists: made by an attempt whose answer was lost

    def patch_object(
        self, kind: Kind, namespace: str, name: str, body: Json | list[Json], content_type: str = MERGE_PATCH
    ) -> None:
        """Patch an object of a kind.

        Args:
            kind: what it is.
            namespace: where.
            name: which.
            body: the patch.
            content_type: ``MERGE_PATCH`` or ``JSON_PATCH``; custom resources take no other.
        """
        self.write(
            Access("patch", kind.group, kind.plural, namespace, name),
            self._custom.patch_namespaced_custom_object,
            *self._where(kind, namespace),
            name,
            body,
            parse=_object,
            _content_type=content_type,
        )

    def _patch(
        self,
        deployment: DeploymentState,
        subresource: str,
        method: Callable[..., Any],
        body: Json,
        parse: Callable[[Json], T],
        *,
        content_type: str = MERGE_PATCH,
    ) -> T:
        name, namespace = deployment.name, deployment.namespace
        access = Access("patch", "apps", f"deployments{subresource}", namespace, name)
        try:
            return self.write(access, method, name, namespace, body, parse=parse, _content_type=content_type)
        except MissingError as error:
            raise TargetGoneError(
                f"Deployment {name} in namespace {namespace} was deleted: {error}"
            ) from None


def _objects(content: Json) -> tuple[Json, ...]:
    return tuple(_object(each) for each in content["items"] or () if each["spec"] is not None)


def _object(content: Json) -> Json:
    if not content["metadata"]["name"]:
        raise ValueError("no name")
    return content
