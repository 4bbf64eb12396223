"""Gymnasium environments over a cluster: what there is, from the contract down to the physics.

Read ``cluster`` (what every cluster shows and accepts), ``config`` (what can be configured), ``env`` and
``vector_env`` (the environments), ``core``, ``actions``, ``observation`` and ``totals`` (what they are
made of), ``simulator`` (the physics) and ``workloads`` (the load). Names are loaded on first use, so that
``import podgym`` stays cheap.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from podgym.envs.cluster import ClusterObservation, RateForecast, ServiceDecision, ServicePlan
    from podgym.envs.config import ActionConfig, EnvConfig, ObservationConfig, RewardConfig, override
    from podgym.envs.env import AutoscaleEnv
    from podgym.envs.vector_env import AutoscaleVectorEnv

_HOME = {
    "AutoscaleEnv": "env",
    "AutoscaleVectorEnv": "vector_env",
    "EnvConfig": "config",
    "ActionConfig": "config",
    "ObservationConfig": "config",
    "RewardConfig": "config",
    "override": "config",
    "ClusterObservation": "cluster",
    "RateForecast": "cluster",
    "ServiceDecision": "cluster",
    "ServicePlan": "cluster",
}

__all__ = [
    "ActionConfig",
    "AutoscaleEnv",
    "AutoscaleVectorEnv",
    "ClusterObservation",
    "EnvConfig",
    "ObservationConfig",
    "RateForecast",
    "RewardConfig",
    "ServiceDecision",
    "ServicePlan",
    "override",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'podgym.envs' has no attribute {name!r}")
    return getattr(import_module(f"podgym.envs.{_HOME[name]}"), name)
