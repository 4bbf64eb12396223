"""Declared evaluations: many methods on the same held-out episodes, from a YAML file to tables.

In reading order: ``definition`` and ``protocol_file`` (what is declared), ``entrants`` (what that is on each
environment), ``units`` (the work, cut so that it can be killed and taken up again), ``episodes`` (one unit),
``run`` (all of it), ``scores``, ``summary`` and ``comparisons`` (what the episodes amount to) and ``tables``.
"""

from podgym.eval.protocol.definition import (
    BoundMethod,
    ControllerMethod,
    Method,
    PolicyMethod,
    Protocol,
    RunsMethod,
)
from podgym.eval.protocol.protocol_file import read_protocol, shipped_protocols
from podgym.eval.protocol.run import ProtocolResult, run_protocol

__all__ = [
    "BoundMethod",
    "ControllerMethod",
    "Method",
    "PolicyMethod",
    "Protocol",
    "ProtocolResult",
    "RunsMethod",
    "read_protocol",
    "run_protocol",
    "shipped_protocols",
]
