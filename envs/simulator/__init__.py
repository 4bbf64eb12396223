"""The simulated cluster: batched, compiled, deterministic, with no knowledge of reinforcement learning.

Read ``parameters`` (every constant with unit and source), ``records`` (the state), ``queueing`` and
``sojourn`` (the queue and its response times), ``pods`` and ``nodes`` (life cycle, scheduling, faults),
``monitoring`` (what can be seen), ``engine`` (one control interval) and ``cluster`` (the public face).
"""

from podgym.envs.simulator.cluster import SimulatedCluster, SimulatedClusters, stream_seeds
from podgym.envs.simulator.constants import Provenance, provenance
from podgym.envs.simulator.parameters import (
    ClusterConfig,
    FaultParameters,
    LoadParameters,
    MonitoringParameters,
    NodeFailure,
    NodeParameters,
    ServiceConfig,
    ServiceParameters,
)
from podgym.envs.simulator.records import INTERVAL_COLUMNS
from podgym.envs.simulator.sojourn import SojournLaw

__all__ = [
    "INTERVAL_COLUMNS",
    "ClusterConfig",
    "FaultParameters",
    "LoadParameters",
    "MonitoringParameters",
    "NodeFailure",
    "NodeParameters",
    "Provenance",
    "ServiceConfig",
    "ServiceParameters",
    "SimulatedCluster",
    "SimulatedClusters",
    "SojournLaw",
    "provenance",
    "stream_seeds",
]
