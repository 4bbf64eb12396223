"""The environments that ``podgym`` registers: what each id stands for.

The three scenarios of the paper, the trace environment and the generated families share one testbed, 4 nodes
of 4 cores and 16 GiB with one service; the boutique has eleven services in a call graph. A change of
behaviour makes a new version of the id.
"""

from podgym.envs.config import EnvConfig
from podgym.envs.simulator.parameters import (
    MIB,
    ClusterConfig,
    LoadParameters,
    NodeParameters,
    ServiceConfig,
    ServiceParameters,
)
from podgym.envs.workloads.factory import FLASH_RATE_RPS


def _testbed(initial_replicas: int) -> ClusterConfig:
    return ClusterConfig(services=(ServiceConfig(initial_replicas=initial_replicas),))


def high_load() -> EnvConfig:
    """Higher load: users climb stepwise from 200 to 1000, stay for ten minutes and fall again."""
    return EnvConfig(cluster=_testbed(3), workload="high_load")


def burst() -> EnvConfig:
    """Burst: users jump from 500 to 1500 within seconds, stay for three minutes and return."""
    return EnvConfig(cluster=_testbed(7), workload="burst")


def low_load() -> EnvConfig:
    """Lower load: 50 to 200 requests/s within twenty minutes."""
    return EnvConfig(cluster=_testbed(2), workload="low_load")


def trace() -> EnvConfig:
    """A real trace or a generated family; by default an hour of the Alibaba week's training part."""
    return EnvConfig(
        cluster=_testbed(8),
        workload="alibaba2018",
        workload_options={"part": "train", "peak_rate_rps": 1000.0},
    )


def _family(name: str, **options: float) -> EnvConfig:
    return EnvConfig(
        cluster=_testbed(8), workload=f"family:{name}", workload_options={"part": "train", **options}
    )


def family_constant() -> EnvConfig:
    """Generated: one level per episode with a slow wobble, 150 to 450 requests/s."""
    return _family("constant")


def family_diurnal() -> EnvConfig:
    """Generated: a compressed day, waves of half an hour to four hours."""
    return _family("diurnal")


def family_variable() -> EnvConfig:
    """Generated: levels that change every few minutes, joined by straight lines."""
    return _family("variable")


def family_burst() -> EnvConfig:
    """Generated: rectangular bursts of two to five times the load at random moments."""
    return _family("burst")


def family_flash() -> EnvConfig:
    """Generated: one flash crowd an hour, three to ten times the load within a minute."""
    return _family("flash", mean_rate_rps=FLASH_RATE_RPS)


def families() -> EnvConfig:
    """Generated: each episode of one of the five families, to train one policy for all."""
    return EnvConfig(cluster=_testbed(8), workload="families", workload_options={"part": "train"})


_BOUTIQUE: dict[str, tuple[float, dict[str, float]]] = {
    # service: (CPU core-milliseconds per request, calls per request); the page mix of the demo's load
    # generator: most requests show a product, some fill the cart, few check out
    "frontend": (4.0, {"productcatalog": 2.0, "currency": 1.5, "cart": 0.9, "recommendation": 0.6,
                       "ad": 0.6, "shipping": 0.15, "checkout": 0.05}),
    "productcatalog": (1.2, {}),
    "currency": (0.8, {}),
    "cart": (1.0, {"redis-cart": 1.0}),
    "recommendation": (3.0, {"productcatalog": 1.0}),
    "ad": (1.5, {}),
    "shipping": (0.9, {}),
    "checkout": (3.5, {"cart": 2.0, "productcatalog": 1.5, "currency": 2.0, "shipping": 2.0,
                       "payment": 1.0, "email": 1.0}),
    "payment": (1.2, {}),
    "email": (1.5, {}),
    "redis-cart": (0.3, {}),
}  # fmt: skip


def boutique() -> EnvConfig:
    """Eleven services in the call graph of Google's Online Boutique demo, entered at the frontend."""
    services = tuple(
        ServiceConfig(
            parameters=ServiceParameters(
                name=name,
                cpu_demand_core_s=milliseconds / 1000.0,
                base_latency_s=0.002,
                base_memory_bytes=96 * MIB,
                memory_per_request_bytes=1 * MIB,
            ),
            initial_replicas=2,
            max_replicas=12,
            cpu_request_cores=0.25,
            memory_request_bytes=128 * MIB,
            memory_limit_ratio=2.0,
            cpu_levels_cores=(0.1, 0.25, 0.5, 1.0),
            memory_levels_bytes=(128 * MIB, 192 * MIB, 256 * MIB, 512 * MIB),
            slo_response_time_s=0.1,
            entry_share=1.0 if name == "frontend" else 0.0,
            calls=calls,
        )
        for name, (milliseconds, calls) in _BOUTIQUE.items()
    )
    return EnvConfig(
        cluster=ClusterConfig(services=services, nodes=NodeParameters(count=6), load=LoadParameters()),
        workload="family:diurnal",
        workload_options={"mean_rate_rps": 150.0},
    )
