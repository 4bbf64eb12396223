"""The ONNX graph of a network: measurements in, means and intervals out, everything in physical units.

``torch.onnx`` traces the network. Recurrent layers are put in as the ONNX operators LSTM and GRU, one each:
unrolled, the exporter's graph has a dozen nodes per time step and is several times as slow.
"""

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from podgym.forecasters.intervals import SCALE_WINDOW, ConformalIntervals
from podgym.forecasters.networks import PaperNetwork, TunedNetwork
from podgym.forecasters.relu_lstm import ReluLstm

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 20
"""Version of the ONNX operators: the first with GELU, read by ONNX Runtime 1.17 and later."""
INPUTS = ("history", "clock_s", "known")
"""Inputs of the graph, see ``networks.Inputs``."""
OUTPUTS = ("mean", "lower", "upper")
"""Outputs of the graph, (batch, horizon, num_features) float64."""


class IntervalNetwork(nn.Module):
    """A network with physical bounds and the intervals of its held-out scores.

    ``context`` is that of the network, or what the scale of the intervals needs, if that is longer.
    """

    def __init__(
        self, network: PaperNetwork | TunedNetwork, intervals: ConformalIntervals, low: NDArray[np.float64]
    ) -> None:
        """Join a network, its intervals and the smallest training value (num_features,) of each feature."""
        super().__init__()
        self.network = _with_onnx_layers(network)
        self.context = max(network.context, SCALE_WINDOW + 1)
        low_quantile, high_quantile = intervals.static_quantiles()
        lowest = np.where(low >= 0.0, 0.0, -np.inf)  # nothing negative of a feature that never was
        for name, values in (
            ("low_quantile", low_quantile), ("high_quantile", high_quantile),
            ("scale_floor", intervals.floor), ("lowest", lowest),
        ):  # fmt: skip
            self.register_buffer(name, torch.tensor(values, dtype=torch.float64))

    def forward(self, history: Tensor, clock_s: Tensor, known: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return mean, lower and upper end, (n, horizon, num_features) physical units."""
        mean = self._bounded(self.network(history[:, -self.network.context :], clock_s, known))
        scale = self._movement(history, known)
        lower = self._bounded(mean + cast(Tensor, self.low_quantile) * scale)
        upper = self._bounded(mean + cast(Tensor, self.high_quantile) * scale)
        return mean, lower, upper

    def _bounded(self, values: Tensor) -> Tensor:
        return torch.maximum(values, cast(Tensor, self.lowest))

    def _movement(self, history: Tensor, known: Tensor) -> Tensor:
        """Return the scale (n, 1, num_features) as ``intervals.movement`` has it for the newest sample."""
        steps = history[:, -SCALE_WINDOW:] - history[:, -(SCALE_WINDOW + 1) : -1]
        squares = (steps * steps).sum(1, keepdim=True)  # repeated samples add nothing
        count = (known[:, None, None] - 1.0).clamp(1.0, float(SCALE_WINDOW))
        return torch.maximum((squares / count).sqrt(), cast(Tensor, self.scale_floor))


class _OnnxLayer(nn.Module):
    """One recurrent operator of ONNX; it exists in the exported graph only, in torch it gives zeros."""

    def __init__(
        self, operator: str, from_input: Tensor, from_state: Tensor, bias: Tensor, attributes: dict[str, Any]
    ) -> None:
        """Take weights (gates * units, ...) in the order of gates that ONNX has."""
        super().__init__()
        self.operator = operator
        self.attributes = {"hidden_size": from_state.shape[1], **attributes}
        self.register_buffer("from_input", from_input.detach()[None].clone())
        self.register_buffer("from_state", from_state.detach()[None].clone())
        self.register_buffer("bias", bias.detach()[None].clone())

    def run(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return all states (steps, 1, n, units) and the last (1, n, units) of (steps, n, num_inputs)."""
        steps, number = inputs.shape[:2]
        units = self.attributes["hidden_size"]
        outputs = torch.onnx.ops.symbolic_multi_out(
            self.operator,
            (inputs, cast(Tensor, self.from_input), cast(Tensor, self.from_state), cast(Tensor, self.bias)),
            self.attributes,
            dtypes=[torch.float32, torch.float32],
            shapes=[(steps, 1, number, units), (1, number, units)],
            version=OPSET,
        )
        return outputs[0], outputs[1]


class _ReluLayer(_OnnxLayer):
    """Stands for a ``ReluLstm``."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Return hidden states (steps, units, n) of inputs (steps, num_inputs, n)."""
        return self.run(inputs.permute(0, 2, 1))[0][:, 0].permute(0, 2, 1)


class _NewestState(_OnnxLayer):
    """Stands for an ``nn.LSTM`` or ``nn.GRU`` of which only the newest output is read."""

    def forward(self, inputs: Tensor) -> tuple[Tensor, None]:
        """Return the newest output as the only one, (n, 1, units), of inputs (n, steps, num_inputs)."""
        return self.run(inputs.transpose(0, 1))[1].transpose(0, 1), None


def _with_onnx_layers(network: "PaperNetwork | TunedNetwork") -> "PaperNetwork | TunedNetwork":
    """Return a copy of a network, for inference, with ONNX operators in place of recurrent layers."""
    result = copy.deepcopy(network).eval()
    for name, layer in list(result.named_modules()):
        stand_in = _stand_in(layer)
        if stand_in is not None:
            parent, _, child = name.rpartition(".")
            setattr(result.get_submodule(parent), child, stand_in)
    return result


def _stand_in(layer: nn.Module) -> _OnnxLayer | None:
    """Translate a layer; ONNX orders the gates of an LSTM i, o, f, c and those of a GRU z, r, h."""
    if isinstance(layer, ReluLstm):  # i, f, o, c
        bias = _ordered(layer.from_input.bias, (0, 2, 1, 3))
        return _ReluLayer(
            "LSTM", _ordered(layer.from_input.weight, (0, 2, 1, 3)),
            _ordered(layer.from_state.weight, (0, 2, 1, 3)), torch.cat([bias, torch.zeros_like(bias)]),
            {"activations": ["Sigmoid", "Relu", "Relu"]},
        )  # fmt: skip
    if isinstance(layer, nn.LSTM):  # i, f, c, o
        return _NewestState("LSTM", *_torch_weights(layer, (0, 3, 1, 2)), {})
    if isinstance(layer, nn.GRU):  # r, z, h; the bias of h is added before the reset gate multiplies
        return _NewestState("GRU", *_torch_weights(layer, (1, 0, 2)), {"linear_before_reset": 1})
    return None


def _torch_weights(layer: nn.RNNBase, order: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    weights = [
        _ordered(layer.get_parameter(name), order)
        for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    ]
    return weights[0], weights[1], torch.cat(weights[2:])


def _ordered(gates: Tensor, order: tuple[int, ...]) -> Tensor:
    blocks = gates.chunk(len(order))
    return torch.cat([blocks[index] for index in order])


def traced(network: IntervalNetwork, num_features: int) -> "ModelProto":
    """Return the ``onnx.ModelProto`` of a network, without anything that differs between equal networks.

    Args:
        network: what to trace; call inside ``one_thread()``.
        num_features: number of features.
    """
    number = 3  # any batch that is not 1, which the exporter would take for a constant
    history = torch.ones(number, network.context, num_features, dtype=torch.float64)
    clock_s = torch.zeros(number, dtype=torch.float64)
    known = torch.full((number,), float(network.context), dtype=torch.float64)
    batch, same = torch.export.Dim("batch"), torch.export.Dim.AUTO
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            network, (history, clock_s, known), input_names=list(INPUTS), dynamo=True, opset_version=OPSET,
            dynamic_shapes=({0: batch}, {0: same}, {0: same}), external_data=False, verbose=False,
        )  # fmt: skip
    model = cast("torch.onnx.ONNXProgram", program).model_proto
    _tidy(model)
    return model


def _tidy(model: "ModelProto") -> None:
    """Name all values anew and drop what the exporter notes of its own run, such as paths of source files."""
    graph = model.graph
    model.producer_name, model.producer_version, model.doc_string = "podgym", "", ""
    graph.name, graph.doc_string = "forecaster", ""
    del model.metadata_props[:], graph.metadata_props[:], graph.value_info[:]
    names = {"": ""} | {value.name: name for value, name in zip(graph.input, INPUTS, strict=True)}
    for initializer in graph.initializer:
        names[initializer.name] = f"constant_{len(names)}"
        initializer.name, initializer.doc_string = names[initializer.name], ""
        del initializer.metadata_props[:]
    last = {value.name: name for value, name in zip(graph.output, OUTPUTS, strict=True)}
    for index, node in enumerate(graph.node):
        node.name, node.doc_string = f"node_{index}", ""
        del node.metadata_props[:]
        node.input[:] = [names[name] for name in node.input]
        for name in node.output:
            names[name] = last.get(name, f"value_{len(names)}") if name else ""
        node.output[:] = [names[name] for name in node.output]
    for value in (*graph.input, *graph.output):
        value.name, value.doc_string = names[value.name], ""
        del value.metadata_props[:]
        value.type.tensor_type.shape.dim[0].dim_param = "batch"


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what the exporter says of itself: progress, torchvision not being there, coming changes."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        logger.setLevel(level)
