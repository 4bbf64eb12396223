"""Learned policies: what they are, how they decide, and where they are kept.

Read ``description`` (everything about a policy but its numbers), ``prior`` (the plan that it starts from),
``actor`` (deciding, with NumPy alone), ``policy_file`` (one file in which nothing can run), ``running`` (the
environment that a policy needs) and ``shipped`` (those that come with the package). ``torch_networks`` and
``torch_policies`` are the same actor in training; ``onnx_export``, ``onnx_policy``, ``sb3_export`` serve
others.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from podgym.agents.actor import Policy
    from podgym.agents.description import PolicyDescription
    from podgym.agents.policy_file import load_policy, save_policy
    from podgym.agents.running import policy_environment
    from podgym.agents.shipped import shipped_policy

_HOME = {
    "Policy": "actor",
    "PolicyDescription": "description",
    "load_policy": "policy_file",
    "save_policy": "policy_file",
    "policy_environment": "running",
    "shipped_policy": "shipped",
}

__all__ = [
    "Policy",
    "PolicyDescription",
    "load_policy",
    "policy_environment",
    "save_policy",
    "shipped_policy",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'podgym.agents' has no attribute {name!r}")
    return getattr(import_module(f"podgym.agents.{_HOME[name]}"), name)
