"""What an API server serves, read from its own discovery documents, each of which is asked for once."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from podgym.envs.kubernetes.answers import Access, MissingError
from podgym.envs.kubernetes.caller import Caller
from podgym.envs.kubernetes.errors import AccessDeniedError
from podgym.envs.kubernetes.kinds import Kind
from podgym.envs.kubernetes.objects import Json
from podgym.errors import InputError

T = TypeVar("T")


class Discovery:
    """The groups, versions and subresources of one API server."""

    def __init__(self, caller: Caller) -> None:
        """Prepare; nothing is asked yet."""
        from kubernetes import client

        self._caller = caller
        # Untyped in release 36; the answers are read as JSON anyway.
        self._core: Any = client.CoreV1Api(caller.connection.client)
        self._apis: Any = client.ApisApi(caller.connection.client)
        self._resize_served: bool | None = None
        self._groups: Mapping[str, tuple[str, ...]] | None = None
        self._groups_asked = False

    def can_resize(self) -> bool:
        """Return whether the server serves ``pods/resize``."""
        if self._resize_served is None:
            names = self._ask("/api/v1", self._core.get_api_resources, _resources)
            self._resize_served = names is not None and "pods/resize" in names
        return self._resize_served

    def version(self, kind: Kind) -> str | None:
        """Return the version in which to speak of a kind; None: the server does not know its group.

        An unknown kind answers 404, or 403 where RBAC does not name it: asking first tells the two apart. A
        server that hides what it serves is spoken to in the newest version, and so is any about custom kinds.

        Raises:
            InputError: the server knows the group of a kind of Kubernetes' own, but no version that is known
                here, so objects of the kind could be there and not be seen.
        """
        if not self._groups_asked:
            self._groups = self._ask("/apis", self._apis.get_api_versions, _groups)
            self._groups_asked = True
        if self._groups is None:
            return kind.version
        served = self._groups.get(kind.group)
        if served is None:
            return None
        if kind.custom:  # groups may hold other kinds as well, in versions of their own
            return kind.version
        for version in (kind.version, *kind.older):
            if version in served:
                return version
        raise InputError(
            f"the API server serves {kind.group} as {', '.join(served) or 'nothing'}, not as "
            f"{' or '.join((kind.version, *kind.older))}, so a {kind.name} could not be seen; take a cluster "
            "that serves it."
        )

    def _ask(self, path: str, method: Callable[..., Any], parse: Callable[[Json], T]) -> T | None:
        """Return what a discovery document lists; None: the server hides it."""
        try:
            return self._caller.ask(Access("get", "", path), method, parse=parse)
        except (MissingError, AccessDeniedError):
            return None


def _resources(content: Json) -> frozenset[str]:
    return frozenset(str(each["name"]) for each in content["resources"])


def _groups(content: Json) -> dict[str, tuple[str, ...]]:
    return {
        str(group["name"]): tuple(str(each["version"]) for each in group["versions"])
        for group in content["groups"]
    }
