"""The load that drives a cluster: the paper's scenarios, generated families and real traces.

To be read in this order: ``profile`` (what every workload gives), ``scenarios``, ``families``, ``traces``
(with ``sources``, ``access_log`` and ``registry`` behind it), ``mixture`` (several as one), ``factory``
(workloads by name), and ``pool`` (a fixed set of episodes to train on).
"""

from podgym.envs.workloads.factory import WORKLOADS, make_workload
from podgym.envs.workloads.families import FAMILIES, FamilyGrid, GeneratedWorkload, Part
from podgym.envs.workloads.mixture import MixtureWorkload
from podgym.envs.workloads.pool import EpisodePool, remembered, remembered_rates
from podgym.envs.workloads.profile import LoadKind, LoadProfile, Workload, resample
from podgym.envs.workloads.registry import PUBLIC_TRACES, PublicTrace, download
from podgym.envs.workloads.scenarios import USER_CYCLE_S, ScenarioWorkload, burst, high_load, low_load
from podgym.envs.workloads.sources import PACKAGED_TRACES, Trace
from podgym.envs.workloads.traces import Semantics, TracePart, TraceWorkload, open_trace

__all__ = [
    "FAMILIES",
    "PACKAGED_TRACES",
    "PUBLIC_TRACES",
    "USER_CYCLE_S",
    "WORKLOADS",
    "EpisodePool",
    "FamilyGrid",
    "GeneratedWorkload",
    "LoadKind",
    "LoadProfile",
    "MixtureWorkload",
    "Part",
    "PublicTrace",
    "ScenarioWorkload",
    "Semantics",
    "Trace",
    "TracePart",
    "TraceWorkload",
    "Workload",
    "burst",
    "download",
    "high_load",
    "low_load",
    "make_workload",
    "open_trace",
    "remembered",
    "remembered_rates",
    "resample",
]
