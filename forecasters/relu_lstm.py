"""An LSTM layer with ReLU in place of tanh, which PyTorch's own layer does not offer.

In a network this small, starting an operation takes longer than its arithmetic. The gradient is therefore
written out, and all that is done element by element in a step is one compiled loop; products are PyTorch's.
"""

from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction, FunctionCtx, once_differentiable

from podgym.envs.simulator.compile import kernel

_Array = NDArray[np.floating[Any]]


class ReluLstm(nn.Module):
    """One LSTM layer whose cell input and output pass a ReLU instead of a tanh; gates stay sigmoid.

    What Keras calls ``LSTM(units, activation="relu")``, with Keras' initial weights: Glorot uniform for the
    input, orthogonal for the state, zero biases but 1 for the forget gates.
    """

    def __init__(self, num_inputs: int, units: int) -> None:
        super().__init__()
        self.units = units
        self.from_input = nn.Linear(num_inputs, 4 * units)  # entry, forget and leave gates, cell input
        self.from_state = nn.Linear(units, 4 * units, bias=False)
        # Of all four gates together, as Keras has them, not of each.
        nn.init.xavier_uniform_(self.from_input.weight)
        nn.init.orthogonal_(self.from_state.weight)
        with torch.no_grad():
            self.from_input.bias.zero_()
            self.from_input.bias[units : 2 * units] = 1.0

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the hidden states (steps, units, n) of inputs (steps, num_inputs, n)."""
        weights = self.from_input.weight, self.from_input.bias, self.from_state.weight
        hidden: Tensor = _Recurrence.apply(inputs, *weights)  # type: ignore[no-untyped-call]
        return hidden


class _Recurrence(torch.autograd.Function):
    """All steps of a layer, and their gradient.

    Inside, arrays are (rows, steps, n): all steps together are one matrix, and each gate is one block.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx, inputs: Tensor, from_input: Tensor, bias: Tensor, from_state: Tensor
    ) -> Tensor:
        """Return the hidden states (steps, units, n) of inputs (steps, num_inputs, n)."""
        (steps, _, number), units = inputs.shape, from_state.shape[1]
        flat_inputs = inputs.transpose(0, 1).flatten(1)  # (num_inputs, steps * n)
        flat_gates = torch.addmm(bias[:, None], from_input, flat_inputs)  # before their activation
        gates = flat_gates.view(4 * units, steps, number)  # (4 units, steps, n)
        cells = gates.new_zeros(units, steps + 1, number)  # the first is the state before the first step
        hidden = torch.zeros_like(cells)
        activity, sigmoids = gates.unbind(1), gates[: 3 * units].unbind(1)
        arrays = gates.numpy(), cells.numpy(), hidden.numpy()
        for step, state in enumerate(hidden[:, :-1].unbind(1)):
            activity[step].addmm_(from_state, state)
            sigmoids[step].sigmoid_()
            _step(step, *arrays)
        ctx.save_for_backward(flat_inputs, from_input, from_state, gates, cells, hidden)
        return hidden[:, 1:].transpose(0, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: BackwardCFunction, to_hidden: Tensor) -> tuple[Tensor | None, Tensor, Tensor, Tensor]:
        """Return the gradients of the arguments of ``forward`` from that of its result."""
        saved = cast(tuple[Tensor, ...], ctx.saved_tensors)
        flat_inputs, from_input, from_state, gates, cells, hidden = saved
        steps, units, number = to_hidden.shape
        slopes = torch.empty_like(gates)  # gradient of the gates before their activation
        to_cell, to_state = cells.new_zeros(2, units, number)  # what later steps pass back
        arrays = gates.numpy(), cells.numpy(), to_hidden.contiguous().numpy()
        carried = to_state.numpy(), to_cell.numpy(), slopes.numpy()
        slope = slopes.unbind(1)
        for step in range(steps - 1, -1, -1):
            _step_back(step, *arrays, *carried)
            torch.mm(from_state.t(), slope[step], out=to_state)
        flat = slopes.flatten(1)  # (4 units, steps * n)
        to_inputs = None
        if ctx.needs_input_grad[0]:
            to_inputs = (from_input.t() @ flat).view(from_input.shape[1], steps, number).transpose(0, 1)
        to_from_state = flat @ hidden[:, :-1].flatten(1).t()
        return to_inputs, flat @ flat_inputs.t(), flat.sum(1), to_from_state


@kernel
def _step(step: int, gates: _Array, cells: _Array, hidden: _Array) -> None:
    """Let the gates of a step act, with the ReLU of the cell input still to be done.

    Args:
        step: from 0.
        gates: (4 units, steps, n); the cell input becomes its ReLU.
        cells: (units, steps + 1, n); row ``step + 1`` is written.
        hidden: (units, steps + 1, n); row ``step + 1`` is written.
    """
    units, _, number = cells.shape
    zero = gates.dtype.type(0)
    for unit in range(units):
        for k in range(number):
            entering = gates[3 * units + unit, step, k]
            entering = zero if entering < zero else entering  # nan stays nan
            cell = gates[units + unit, step, k] * cells[unit, step, k] + gates[unit, step, k] * entering
            gates[3 * units + unit, step, k] = entering
            cells[unit, step + 1, k] = cell
            # No ReLU: nothing negative ever entered the cell.
            hidden[unit, step + 1, k] = gates[2 * units + unit, step, k] * cell


@kernel
def _step_back(
    step: int, gates: _Array, cells: _Array, to_hidden: _Array,
    to_state: _Array, to_cell: _Array, slopes: _Array,
) -> None:  # fmt: skip
    """Pass gradients back through what ``_step`` and the sigmoids did.

    Args:
        step: from 0.
        gates: (4 units, steps, n) after their activation.
        cells: (units, steps + 1, n).
        to_hidden: (steps, units, n) gradient of the hidden states as results of the layer.
        to_state: (units, n) their gradient as states that the next step reads.
        to_cell: (units, n) gradient that the next step has for the cell; that of this step is written.
        slopes: (4 units, steps, n) gradient of the gates before their activation; ``step`` is written.
    """
    units, _, number = cells.shape
    zero = gates.dtype.type(0)
    for unit in range(units):
        for k in range(number):
            entry, forget = gates[unit, step, k], gates[units + unit, step, k]
            leave, entering = gates[2 * units + unit, step, k], gates[3 * units + unit, step, k]
            state = to_state[unit, k] + to_hidden[step, unit, k]
            cell = to_cell[unit, k] + state * leave
            slopes[unit, step, k] = cell * entering * (entry - entry * entry)
            slopes[units + unit, step, k] = cell * cells[unit, step, k] * (forget - forget * forget)
            slopes[2 * units + unit, step, k] = state * cells[unit, step + 1, k] * (leave - leave * leave)
            slopes[3 * units + unit, step, k] = cell * entry if entering > zero else zero
            to_cell[unit, k] = cell * forget
