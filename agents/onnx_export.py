"""A policy as one ONNX file, complete with normalisation, prior and choice: observation in, action out.

The graph is written operator by operator, in the order in which ``actor`` computes, so that any ONNX runtime
decides as podgym does but for the rounding of sums. The file ends with a hash, see
``podgym.forecasters.onnx.file``; ``onnx_policy`` loads it.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from podgym.agents.actor import LstmState, Policy
from podgym.agents.derived import CLIP, LEAST, DerivedNumbers, derived_numbers
from podgym.agents.description import PolicyDescription
from podgym.agents.onnx_policy import (
    ACTION,
    LOGITS,
    NEXT_C,
    NEXT_H,
    OBSERVATION,
    C,
    H,
    OnnxPolicy,
)
from podgym.agents.prior import PriorPart, prior_parts
from podgym.errors import InputError
from podgym.files import write_atomically
from podgym.forecasters.onnx.file import MANIFEST_KEY, seal

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

OPSET = 17
"""Version of the ONNX operators, read by ONNX Runtime 1.12 and later."""
USAGE = (
    "A podgym policy. Input observation (batch, n) float32: the numbers named observation_names in the "
    "manifest (metadata podgym.manifest), in this order, not normalised. Output action (batch, k) int64: the "
    "best choice of each number of an action, per service replicas and, with quotas, CPU and memory; "
    "replica_steps and quota_steps in the manifest say what the choices mean. Output logits (batch, sum of "
    "the choices). A recurrent policy also takes h and c (batch, lstm_size), zeros when an episode begins, "
    "and gives next_h and next_c. Refuse NaN and infinity before running: the graph would decide on them."
)
"""What the file says of its inputs and outputs, as the description of the model."""

_IR_VERSION = 8
_TOLERANCE = 1e-3  # largest difference of a logit; one unit is a factor of 2.7 in a probability
_TRIED = 64  # observations that a graph is compared on


def export_policy_onnx(policy: Policy, path: str | Path) -> Path:
    """Write a policy as one ONNX file, which needs neither podgym nor torch to decide.

    The graph is run and compared with the policy before anything is written; a failed export leaves
    nothing behind. Equal policies give equal bytes.

    Args:
        policy: what to write.
        path: file to write, ending in ``.onnx``; replaced as a whole.

    Returns:
        The path written.

    Raises:
        InputError: another ending, a file that cannot be written, missing libraries, or a graph that does
            not decide as the policy does.
    """
    path = Path(path)
    if path.suffix != ".onnx" or path.is_dir():
        raise InputError(f"{path}: the file of an exported policy ends in .onnx.")
    content = seal(_model(policy).SerializeToString(deterministic=True))
    _compare(policy, OnnxPolicy(content, str(path)))
    return write_atomically(path, lambda draft: _write(draft, content))


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


class _Graph:
    """Nodes and constants of a graph that is being written."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def constant(self, values: NDArray[np.generic] | np.generic) -> str:
        """Add a constant and return its name."""
        from onnx import numpy_helper

        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:  # noqa: ANN401
        """Add a node of one output and return its name."""
        from onnx import helper

        name = output or f"value_{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(operator, list(inputs), [name], name=f"node_{len(self.nodes)}", **attributes)
        )
        return name

    def columns(self, values: str, start: int, stop: int) -> str:
        """Add the columns ``start`` to ``stop`` of (batch, columns)."""
        places = (np.array([place], dtype=np.int64) for place in (start, stop, 1))
        return self.add("Slice", values, *(self.constant(place) for place in places))


def _model(policy: Policy) -> "ModelProto":
    try:
        from onnx import TensorProto, helper
    except ImportError as error:
        raise InputError("export needs onnx; pip install 'podgym[forecast]'.") from error
    description = policy.description
    graph = _Graph()
    values = _normalised(graph, policy)
    if description.recurrent:
        values = _lstm(graph, policy, values)
    logits = _layers(graph, policy, values)
    prior = _prior(graph, description)
    if prior:
        graph.add("Add", logits, prior, output=LOGITS)
    else:
        graph.add("Identity", logits, output=LOGITS)
    _choice(graph, description)
    size = description.network.lstm_size
    widths = {OBSERVATION: len(description.observation_names), LOGITS: sum(description.action_nvec)}
    inputs, outputs = [OBSERVATION], [LOGITS]
    if size is not None:
        widths |= dict.fromkeys((H, C, NEXT_H, NEXT_C), size)
        inputs, outputs = [OBSERVATION, H, C], [LOGITS, NEXT_H, NEXT_C]
    floats = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width])
        for name, width in widths.items()
    }
    action = helper.make_tensor_value_info(ACTION, TensorProto.INT64, ["batch", len(description.action_nvec)])
    model = helper.make_model(
        helper.make_graph(
            graph.nodes, "policy", [floats[name] for name in inputs],
            [action, *(floats[name] for name in outputs)], graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)], ir_version=_IR_VERSION, producer_name="podgym",
        doc_string=USAGE,
    )  # fmt: skip
    helper.set_model_props(model, {MANIFEST_KEY: json.dumps(description.as_dict(), sort_keys=True)})
    return model


def _normalised(graph: _Graph, policy: Policy) -> str:
    clip = np.float32(policy.description.clip)
    centred = graph.add("Sub", OBSERVATION, graph.constant(policy.arrays["observation_mean"]))
    scaled = graph.add("Div", centred, graph.constant(policy.arrays["observation_std"]))
    values = graph.add("Clip", scaled, graph.constant(-clip), graph.constant(clip))
    derived = derived_numbers(policy.description)
    return values if derived is None else graph.add("Concat", values, _derived(graph, derived), axis=1)


def _derived(graph: _Graph, derived: DerivedNumbers) -> str:
    """Add the derived numbers (batch, d)."""
    least, count = graph.constant(LEAST), len(derived.names)
    sides = []
    for columns, factors in zip(derived.columns, derived.factors, strict=True):
        gathered = graph.add("Gather", OBSERVATION, graph.constant(columns), axis=1)  # (batch, d, k)
        largest = graph.add("Relu", graph.add("ReduceMax", gathered, axes=[2], keepdims=0))
        sides.append(graph.add("Mul", largest, graph.constant(factors)))
    above, below = sides
    parts = [graph.columns(side, 0, derived.ratios) for side in (above, below)]
    ratios = graph.add("Log", graph.add("Div", *(graph.add("Add", part, least) for part in parts)))
    gaps = graph.add("Sub", *(graph.columns(side, derived.ratios, count) for side in (above, below)))
    both = graph.add("Mul", graph.add("Concat", ratios, gaps, axis=1), graph.constant(derived.scale))
    return graph.add("Clip", both, graph.constant(-CLIP), graph.constant(CLIP))


def _dense(graph: _Graph, policy: Policy, values: str, weight: str, bias: str) -> str:
    arrays = policy.arrays
    return graph.add("Gemm", values, graph.constant(arrays[weight]), graph.constant(arrays[bias]), transB=1)


def _lstm(graph: _Graph, policy: Policy, values: str) -> str:
    """One step, gate by gate; the operator LSTM would want another order of gates, and hides nan."""
    size = len(policy.arrays["lstm.bias_ih"]) // 4
    gates = graph.add(
        "Add",
        _dense(graph, policy, values, "lstm.weight_ih", "lstm.bias_ih"),
        _dense(graph, policy, H, "lstm.weight_hh", "lstm.bias_hh"),
    )
    put, forget, cell, out = (graph.columns(gates, size * gate, size * (gate + 1)) for gate in range(4))
    kept = graph.add("Mul", graph.add("Sigmoid", forget), C)
    fresh = graph.add("Mul", graph.add("Sigmoid", put), graph.add("Tanh", cell))
    c = graph.add("Add", kept, fresh, output=NEXT_C)
    return graph.add("Mul", graph.add("Sigmoid", out), graph.add("Tanh", c), output=NEXT_H)


def _layers(graph: _Graph, policy: Policy, values: str) -> str:
    network = policy.description.network
    for layer in range(len(network.hidden)):
        summed = _dense(graph, policy, values, f"actor.{layer}.weight", f"actor.{layer}.bias")
        values = graph.add("Tanh" if network.activation == "tanh" else "Relu", summed)
    last = f"actor.{len(network.hidden)}"
    return _dense(graph, policy, values, f"{last}.weight", f"{last}.bias")


def _prior(graph: _Graph, description: PolicyDescription) -> str:
    """Add the prior (batch, sum of the choices); empty without one."""
    if description.prior is None:
        return ""
    cap = graph.constant(np.float32(description.prior.cap))
    parts = []
    for part in prior_parts(description):
        plan = _position(graph, part, part.plan)
        present = _position(graph, part, part.present)
        low, high = graph.constant(part.steps.min()), graph.constant(part.steps.max())
        wanted = graph.add("Clip", graph.add("Sub", plan, present), low, high)  # (batch, 1)
        away = graph.add("Abs", graph.add("Sub", graph.constant(part.steps), wanted))  # (batch, choices)
        lost = graph.add("Mul", graph.constant(part.strength), graph.add("Min", away, cap))
        parts.append(graph.add("Sub", graph.constant(part.bonus), lost))
    return graph.add("Concat", *parts, axis=1)


def _position(graph: _Graph, part: PriorPart, column: int) -> str:
    """Add whole replicas, or the index of the nearest level, (batch, 1)."""
    share = graph.columns(OBSERVATION, column, column + 1)
    value = graph.add("Mul", share, graph.constant(part.scale))
    if part.levels is None:
        return graph.add("Round", value)
    away = graph.add("Abs", graph.add("Sub", graph.constant(part.levels), value))
    index = graph.add("ArgMin", away, axis=1, keepdims=1)
    return graph.add("Cast", index, to=1)  # float32


def _choice(graph: _Graph, description: PolicyDescription) -> None:
    """Add the action: the place of the highest logit of each number, the first of equals."""
    parts, start = [], 0
    for choices in description.action_nvec:
        logits = graph.columns(LOGITS, start, start + choices)
        parts.append(graph.add("ArgMax", logits, axis=1, keepdims=1))
        start += choices
    graph.add("Concat", *parts, output=ACTION, axis=1)


def _compare(policy: Policy, exported: OnnxPolicy) -> None:
    """Refuse a graph that computes anything but what the policy does."""
    generator = np.random.default_rng(0)
    mean, std = policy.arrays["observation_mean"], policy.arrays["observation_std"]
    observations = mean + std * generator.normal(0.0, 2.0, (_TRIED, len(mean))).astype(np.float32)
    size = policy.description.network.lstm_size
    state = None
    if size is not None:
        state = LstmState(*generator.uniform(-1.0, 1.0, (2, _TRIED, size)).astype(np.float32))
    (wanted, after), (got, then) = policy.logits(observations, state), exported.logits(observations, state)
    worst = float(np.abs(wanted - got).max() / max(1.0, float(np.abs(wanted).max())))
    if after is not None and then is not None:
        worst = max(worst, *(float(np.abs(a - b).max()) for a, b in zip(after, then, strict=True)))
    if not worst <= _TOLERANCE:
        raise InputError(
            f"the exported graph differs from the policy by {worst:.1e}, allowed {_TOLERANCE:.0e}. Nothing "
            "was written; use the versions of onnx and onnxruntime that podgym is tested with."
        )
