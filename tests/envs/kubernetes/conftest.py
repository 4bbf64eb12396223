"""An API server over HTTP with a Deployment ``web`` of two pods in namespace ``demo``."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from podgym.envs.kubernetes.settings import (
    KubernetesSettings,
    MetricsSettings,
    SafetySettings,
    TargetSettings,
)

if TYPE_CHECKING:
    from oracles.kmock_server import KmockServer


@pytest.fixture(autouse=True)
def _nobody_is_reminded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests need not close their environments."""
    monkeypatch.setattr("podgym.envs.kubernetes.forgotten.Forgotten.watch", lambda self: None)


@pytest.fixture
def server(tmp_path: Path) -> "Iterator[KmockServer]":
    """A server without a token; ``server.kubeconfig`` is the path of its kubeconfig."""
    pytest.importorskip("kubernetes")
    pytest.importorskip("kmock")
    from oracles.kmock_server import KmockServer

    with KmockServer(tmp_path) as started:
        started.add_deployment("web", replicas=2)
        yield started


@pytest.fixture
def settings_for(server: "KmockServer") -> Callable[..., KubernetesSettings]:
    """Makes settings for the server; ``safety={...}`` are changes of the safety settings."""

    def made(*, safety: dict[str, Any] | None = None, **changes: Any) -> KubernetesSettings:
        base = KubernetesSettings(
            services={"web": TargetSettings(namespace="demo")},
            metrics=MetricsSettings(url="http://localhost:9"),
            kubeconfig=str(server.kubeconfig),
            safety=SafetySettings(**{"timeout_s": 1.0, **(safety or {})}),
        )
        return dataclasses.replace(base, **changes)

    return made


@pytest.fixture
def sleeps() -> list[float]:
    """The waits that ``api_for`` was told, instead of waiting, seconds."""
    return []


@pytest.fixture
def api_for(
    settings_for: Callable[..., KubernetesSettings], sleeps: list[float]
) -> Iterator[Callable[..., Any]]:
    """Makes a ``KubernetesApi`` for the server; see ``settings_for``."""
    from podgym.envs.kubernetes.api import KubernetesApi
    from podgym.envs.kubernetes.connection import connect

    opened = []

    def made(**changes: Any) -> KubernetesApi:
        settings = settings_for(**changes)
        connection = connect(settings)
        opened.append(connection)
        return KubernetesApi(connection, settings, sleep=sleeps.append)

    yield made
    for connection in opened:
        connection.close()
