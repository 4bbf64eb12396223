"""An LSTM layer with ReLU in place of tanh, which PyTorch's own layer does not offer."""

import torch
from torch import Tensor, nn


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
        """Return the hidden states (steps, units, n) of inputs (steps, num_inputs, n).

        The batch comes last so that each gate of a step is one contiguous block.
        """
        units = self.units
        from_inputs = self.from_input.weight @ inputs + self.from_input.bias[:, None]  # (steps, 4 units, n)
        hidden = torch.zeros_like(from_inputs[0, :units])
        cell = hidden
        outputs = []
        for from_input in from_inputs.unbind(0):
            activity = torch.addmm(from_input, self.from_state.weight, hidden)
            # One split of the whole, whose gradient is one block.
            gates, entering = torch.split(activity, [3 * units, units])
            entry, forget, leave = torch.sigmoid(gates).chunk(3)
            cell = torch.addcmul(forget * cell, entry, torch.relu(entering))
            hidden = leave * torch.relu(cell)
            outputs.append(hidden)
        return torch.stack(outputs)
