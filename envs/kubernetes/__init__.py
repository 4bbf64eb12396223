"""The same environment on a real Kubernetes cluster.

Read ``settings`` (what is scaled and how far), ``readings`` (what a real cluster shows), ``guard`` (what no
decision can pass), ``cluster`` (observe, apply, advance) and ``env`` (the environment); then ``api`` and
``prometheus`` (the servers that are asked), ``custody`` (what is taken and given back), and ``bridge`` (how
the simulator's own code writes observations here). Names are loaded on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from podgym.envs.kubernetes.cluster import KubernetesCluster
    from podgym.envs.kubernetes.env import KubernetesEnv
    from podgym.envs.kubernetes.settings import KubernetesSettings, parse_settings, read_settings

_HOME = {
    "KubernetesSettings": "settings",
    "parse_settings": "settings",
    "read_settings": "settings",
    "KubernetesCluster": "cluster",
    "KubernetesEnv": "env",
}

__all__ = ["KubernetesCluster", "KubernetesEnv", "KubernetesSettings", "parse_settings", "read_settings"]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'podgym.envs.kubernetes' has no attribute {name!r}")
    return getattr(import_module(f"podgym.envs.kubernetes.{_HOME[name]}"), name)
