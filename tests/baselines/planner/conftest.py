"""What the tests of the planner share: small clusters."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from podgym.envs.simulator.parameters import (
    MIB,
    ClusterConfig,
    LoadParameters,
    NodeParameters,
    ServiceConfig,
    ServiceParameters,
)


def make_service(name: str, demand_core_s: float, **changes: Any) -> ServiceConfig:
    """A service whose choices are few enough to look at all of them."""
    physics = {
        "name": name,
        "cpu_demand_core_s": demand_core_s,
        "base_latency_s": 0.01,
        "base_memory_bytes": 96 * MIB,
        "memory_per_request_bytes": 1 * MIB,
    } | changes.pop("physics", {})
    values: dict[str, Any] = {
        "initial_replicas": 2,
        "max_replicas": 12,
        "cpu_request_cores": 0.25,
        "memory_request_bytes": 128 * MIB,
        "memory_limit_ratio": 2.0,
        "cpu_levels_cores": (0.1, 0.25, 0.5, 1.0),
        "memory_levels_bytes": (128 * MIB, 256 * MIB),
        "slo_response_time_s": 0.1,
    } | changes
    return ServiceConfig(parameters=ServiceParameters(**physics), **values)


@pytest.fixture(scope="session")
def service() -> Callable[..., ServiceConfig]:
    return make_service


@pytest.fixture(scope="session")
def one() -> ClusterConfig:
    """The paper's testbed with one service."""
    return ClusterConfig()


@pytest.fixture(scope="session")
def two() -> ClusterConfig:
    """Two services, one calls the other; two nodes."""
    services = (
        make_service("front", 0.006, calls={"back": 1.5}),
        make_service("back", 0.003, entry_share=0.0),
    )
    return ClusterConfig(services=services, nodes=NodeParameters(count=2))


@pytest.fixture(scope="session")
def four() -> ClusterConfig:
    """Four services in a call graph: 12 genes."""
    services = (
        make_service("front", 0.004, calls={"catalog": 2.0, "advice": 0.6, "cart": 0.9}),
        make_service("catalog", 0.0012, entry_share=0.0),
        make_service("advice", 0.003, entry_share=0.0, calls={"catalog": 1.0}),
        make_service("cart", 0.001, entry_share=0.0),
    )
    return ClusterConfig(services=services, nodes=NodeParameters(count=4))


@pytest.fixture(scope="session")
def with_physics() -> Callable[..., ClusterConfig]:
    """Return a function that changes the physics of the first service, or the noise of the load."""

    def change(config: ClusterConfig, noise: float | None = None, **physics: Any) -> ClusterConfig:
        first = replace(config.services[0], parameters=replace(config.services[0].parameters, **physics))
        load = config.load if noise is None else LoadParameters(rate_noise_cv=noise)
        return replace(config, services=(first, *config.services[1:]), load=load)

    return change
