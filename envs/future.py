"""The true load that lies ahead, for a critic in training: what no policy and no controller may know.

A critic that knows what will come judges a decision by its merit and not by the luck of its load. It is gone
once the policy is trained, so nothing of it is needed where the future is unknown.
"""

import numpy as np
from numpy.typing import NDArray

from podgym.envs.core import AutoscaleCore
from podgym.envs.observation import Scales
from podgym.envs.simulator.compile import kernel
from podgym.envs.simulator.engine import profile_value
from podgym.envs.simulator.records import World


@kernel
def _write_rates(world: World, scales: Scales, entry: int, out: NDArray[np.float32]) -> None:
    """Write the rates of every cluster into (B, steps)."""
    for b in range(out.shape[0]):
        cluster = world.clusters[b]
        profile = world.profile[b]
        factor = scales.visits[entry] / scales.rate_rps[entry]
        if cluster.closed:  # as the forecasts of the observation: as if nothing made the users wait
            parameters = world.cluster_parameters[b]
            factor /= max(parameters.think_time_s + parameters.network_s, 1e-3)
        for step in range(out.shape[1]):
            middle_s = cluster.time_s + (step + 0.5) * scales.interval_s
            out[b, step] = profile_value(profile, cluster, middle_s) * factor


def true_rates_ahead(core: AutoscaleCore, out: NDArray[np.float32]) -> None:
    """Write the true load of the coming control intervals of every environment.

    The load is that of the profile, without the noise of arrivals, read in the middle of each interval; past
    the last sample of the profile it stays at its last value. It is scaled as ``request_rate`` of the
    observation at the service where most external requests enter: 1 is what ``scale_replicas`` of that
    service's first quota can serve. Closed users count as if nothing made them wait.

    Args:
        core: the environments, each with an episode under way.
        out: (num_envs, steps), where to write; column i is the interval from i to i + 1 intervals from now.
    """
    entry = int(np.argmax([service.entry_share for service in core.config.cluster.services]))
    _write_rates(core.clusters.world, core.layout.scales, entry, out)
