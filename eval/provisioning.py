"""What a cluster can serve, and how many pods a load needs at its peak."""

import numpy as np

from podgym.envs.simulator.parameters import ClusterConfig
from podgym.envs.simulator.required import RequiredReplicas
from podgym.envs.simulator.world import visits_per_request
from podgym.envs.workloads.profile import LoadProfile


def capacity_rps(cluster: ClusterConfig) -> float:
    """Return the external request rate above which the cluster's queues grow, however it is scaled.

    Bound by the maximum replicas of each service at its initial quota, and by the cores of all nodes.
    """
    visits = visits_per_request(cluster)  # (num_services,)
    demand_core_s = np.array([service.parameters.cpu_demand_core_s for service in cluster.services]) * visits
    most_cores = np.array(
        [service.max_replicas * service.quota.cpu_limit_cores for service in cluster.services]
    )
    used = demand_core_s > 0.0
    node_cores = cluster.nodes.count * cluster.nodes.cpu_cores
    return float(min((most_cores[used] / demand_core_s[used]).min(), node_cores / demand_core_s.sum()))


def peak_replicas(cluster: ClusterConfig, profile: LoadProfile) -> list[int]:
    """Return how many ready pods of each service meet its SLO at the peak of a load, by the stationary law.

    Closed users are counted as the requests they send when nothing makes them wait, so never too low. The
    noise of arrivals around the profile is not counted.

    Args:
        cluster: the cluster.
        profile: the load.
    """
    visits = visits_per_request(cluster)  # (num_services,)
    peak_rps = float(profile.values.max())
    if profile.kind == "closed":
        latency_s = sum(
            calls * service.parameters.base_latency_s
            for calls, service in zip(visits.tolist(), cluster.services, strict=True)
        )
        peak_rps /= max(cluster.load.think_time_s + latency_s, 1e-3)
    limits_cores = np.array([service.quota.cpu_limit_cores for service in cluster.services])
    columns = {"offered_rps": peak_rps * visits, "cpu_limit_cores": limits_cores}
    return [int(count) for count in RequiredReplicas(cluster).count(columns)]
