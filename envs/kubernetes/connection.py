"""The way to the API server: kubeconfig, contexts, the credentials of a pod; nothing of it is ever shown."""

import contextlib
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from podgym.envs.kubernetes.answers import Access, MissingError, read_json
from podgym.envs.kubernetes.errors import AccessDeniedError
from podgym.envs.kubernetes.retries import CallBudget, call
from podgym.envs.kubernetes.settings import KubernetesSettings
from podgym.errors import InputError, unknown_name
from podgym.files import missing_with_hint

if TYPE_CHECKING:
    from kubernetes.client import ApiClient, Configuration

T = TypeVar("T")

LONGEST_LOGIN_S = 30.0
"""Longest wait for a program that a kubeconfig names to give credentials."""
IN_CLUSTER = "in-cluster"
_DEFAULT_PATH = "~/.kube/config"


@dataclass(frozen=True, slots=True)
class Connection:
    """An open way to one API server."""

    client: "ApiClient" = field(repr=False)
    """The official client, with its own retries switched off."""
    context: str
    """Name of the context; ``in-cluster``: the credentials of the pod."""
    server: str
    """Address of the API server."""
    load: "Callable[[], Configuration]" = field(repr=False)
    """Reads address and credentials from where they are kept."""

    def renew(self) -> None:
        """Read the credentials anew, as after a 401: tokens of pods and of login programs expire.

        Raises:
            AccessDeniedError: there are none any more.
        """
        try:
            configuration = self.load()
        except InputError as error:
            raise AccessDeniedError(f"the credentials could not be read anew: {error}") from None
        # Certificates belong to the pool of connections, so it is made anew too.
        self.client.rest_client.pool_manager.clear()
        self.client.configuration = configuration
        self.client.rest_client = type(self.client.rest_client)(configuration)

    def close(self) -> None:
        """Close the connections to the server."""
        self.client.rest_client.pool_manager.clear()
        client: Any = self.client  # untyped
        client.close()


def connect(settings: KubernetesSettings) -> Connection:
    """Open the way to the cluster that the settings name, and see that it answers.

    Raises:
        InputError: no such kubeconfig or context, no credentials, expired ones, or no kubernetes client.
        TransientError: the API server does not answer.
    """
    try:
        import kubernetes.client
    except ModuleNotFoundError as error:
        raise InputError(
            "the kubernetes client is missing; install it: pip install 'podgym[k8s]'."
        ) from error
    context, load = _source(settings)
    configuration = load()
    client = kubernetes.client.ApiClient(configuration)
    client.user_agent = "podgym"
    connection = Connection(client, context, str(configuration.host), load)
    try:
        _probe(connection, settings)
    except AccessDeniedError as error:
        connection.close()
        raise InputError(
            f"context {context}: the credentials were not accepted or have expired: {error}"
        ) from None
    except BaseException:
        connection.close()
        raise
    return connection


def _probe(connection: Connection, settings: KubernetesSettings) -> None:
    import kubernetes.client

    access, timeout_s = Access("get", "", "/version"), settings.safety.timeout_s
    version = kubernetes.client.VersionApi(connection.client)

    def ask() -> None:
        response: Any = version.get_code(_preload_content=False, _request_timeout=timeout_s)
        read_json(response, access, timeout_s)

    # What it answers does not matter: one that hides its version answers too.
    with contextlib.suppress(MissingError):
        call(
            ask,
            budget=CallBudget(),
            safety=settings.safety,
            sleep=time.sleep,
            now=time.monotonic,
            what=access,
            renew=connection.renew,
        )


def _source(settings: KubernetesSettings) -> "tuple[str, Callable[[], Configuration]]":
    if settings.in_cluster:
        return IN_CLUSTER, _load_in_cluster
    path = _kubeconfig_path(settings.kubeconfig)
    context = _context(path, settings.context)
    return context, lambda: _within(LONGEST_LOGIN_S, context, lambda: _load_kubeconfig(path, context))


def _kubeconfig_path(given: str | None) -> str:
    """Return the path, or several separated as in ``$KUBECONFIG``; at least one of them exists."""
    text = given or os.environ.get("KUBECONFIG") or _DEFAULT_PATH
    paths = [Path(part).expanduser() for part in text.split(os.pathsep) if part]
    if not any(path.is_file() for path in paths):
        remedy = "give kubeconfig: FILE, or set KUBECONFIG, or in a pod say in_cluster: true"
        if given is not None and paths:
            raise InputError(f"{missing_with_hint(paths[0], ('', '.yml', '.yaml'))} To mend it, {remedy}.")
        raise InputError(f"no kubeconfig at {text}; {remedy}.")
    return os.pathsep.join(str(path) for path in paths)


def _context(path: str, wanted: str | None) -> str:
    from kubernetes.config import kube_config

    untyped: Any = kube_config
    merged = _read(path, lambda: untyped.KubeConfigMerger(path).config)
    if merged is None:
        raise InputError(f"{path} is empty; it must be a kubeconfig.")
    names = _read(path, lambda: [str(each["name"]) for each in merged.safe_get("contexts") or ()])
    if wanted is None:
        wanted = merged.safe_get("current-context")
        if not wanted:
            raise InputError(
                f"{path} has no current context; give context: one of {', '.join(names) or 'none'}."
            )
    if wanted not in names:
        raise InputError(f"{path}: {unknown_name('context', wanted, names)}")
    return str(wanted)


def _load_kubeconfig(path: str, context: str) -> "Configuration":
    import kubernetes.client
    import kubernetes.config

    configuration = kubernetes.client.Configuration()
    untyped: Any = kubernetes.config
    _read(
        path,
        lambda: untyped.load_kube_config(
            config_file=path, context=context, client_configuration=configuration, persist_config=False
        ),
    )
    # Reading credentials anew is ours to do, after a 401: the client's own hook may run a program for ever.
    configuration.refresh_api_key_hook = None
    token = configuration.auth_settings().get("BearerToken")
    if token is None and not configuration.cert_file and str(configuration.host).startswith("https"):
        raise InputError(
            f"{path}: context {context} gives no credentials (no token, no client certificate, or its login "
            "program failed); log in again and see that `kubectl --context "
            f"{context} get --raw /version` works."
        )
    return _without_retries(configuration)


def _load_in_cluster() -> "Configuration":
    import kubernetes.client
    import kubernetes.config

    configuration = kubernetes.client.Configuration()
    untyped: Any = kubernetes.config
    try:
        # Without the hook, which would keep a token for a minute after it was replaced.
        untyped.load_incluster_config(client_configuration=configuration, try_refresh_token=False)
    except kubernetes.config.ConfigException as error:
        raise InputError(
            f"in_cluster: true works in a pod with a ServiceAccount alone: {error} Elsewhere leave it out "
            "and give context."
        ) from None
    return _without_retries(configuration)


def _without_retries(configuration: "Configuration") -> "Configuration":
    configuration.retries = False
    return configuration


def _read(path: str, action: Callable[[], T]) -> T:
    """Read a kubeconfig; what is wrong with it is said without what it holds."""
    import yaml
    from kubernetes.config import ConfigException

    try:
        return action()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f" (line {mark.line + 1}, column {mark.column + 1})"
        raise InputError(f"{path} is not YAML{where}.") from None
    except ConfigException as error:
        raise InputError(f"{path}: {error}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is no kubeconfig ({type(error).__name__}).") from None


def _within(seconds: float, context: str, action: Callable[[], T]) -> T:
    """Return what ``action`` returns; a login program that hangs is not waited for longer."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(action())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="podgym-login", daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise InputError(f"context {context}: its login program gave no credentials within {seconds:g} s.")
    return results[0]
