"""What all tests against a real API server share."""

import os
import uuid
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session")
def client() -> Any:
    """Module ``kubernetes.client``, configured by ``KUBECONFIG``."""
    pytest.importorskip("kubernetes")
    from kubernetes import client, config

    config.load_kube_config(os.environ.get("KUBECONFIG"))
    return client


@pytest.fixture(scope="session")
def namespace(client: Any) -> Iterator[str]:
    """A namespace that these tests make and delete."""
    from cluster.bed import namespace_of_our_own

    with namespace_of_our_own(client, f"podgym-test-{uuid.uuid4().hex[:8]}") as name:
        yield name


@pytest.fixture
def testbed(client: Any, namespace: str) -> Iterator[Any]:
    """A ``Bed`` with its Deployment."""
    from cluster.bed import Bed

    bed = Bed(namespace, client)
    bed.create()
    try:
        yield bed
    finally:
        if bed.exists():
            bed.delete()
