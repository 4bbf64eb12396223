"""Deciding with a trained policy, by NumPy alone.

Everything is computed in float32, and each row of a batch in the same order as alone: a policy decides the
same in one environment as in a thousand, to the last bit. That is why layers are multiplied and added up
here rather than by a BLAS, whose order of additions depends on the size of the batch.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from podgym.agents.derived import derived_numbers, num_derived
from podgym.agents.description import PolicyDescription
from podgym.agents.prior import plan_prior
from podgym.errors import InputError

if TYPE_CHECKING:
    from podgym.agents.interface import Configured

Floats = NDArray[np.float32]

MASKED_LOGIT = -1e8
"""Logit of a choice that is masked."""

_BLOCK = 1 << 16  # products at a time: they stay in the cache


class LstmState(NamedTuple):
    """What a recurrent policy carries from step to step: zeros at the start of an episode."""

    h: Floats
    """(B, lstm_size) output of the LSTM; (lstm_size,) for a single environment."""
    c: Floats
    """(B, lstm_size) its memory."""


class Actor(ABC):
    """What every policy that was trained can do, whatever computes it.

    Attributes:
        description: what the policy is.
    """

    def __init__(self, description: PolicyDescription) -> None:
        self.description = description
        nvec = np.array(description.action_nvec)
        self._starts = np.cumsum(nvec) - nvec  # (k,) first logit of each number of an action
        self._num_logits = int(nvec.sum())

    @abstractmethod
    def _compute(self, observations: Floats, state: LstmState | None) -> tuple[Floats, LstmState | None]:
        """Return the logits (B, sum of the choices) of checked inputs (B, n), and the next state."""

    def logits(
        self, observations: ArrayLike, state: LstmState | None = None
    ) -> tuple[Floats, LstmState | None]:
        """Return the logits of every choice.

        Args:
            observations: (B, n), or (n,) of a single environment, as the environment gives them.
            state: what the step before returned; None: an episode begins. Policies without an LSTM have
                none.

        Returns:
            (B, sum of the choices), or (sum of the choices,); and the state for the next step.

        Raises:
            InputError: another shape, or a number that is not finite.
        """
        rows, alone = self._checked(observations)
        logits, after = self._compute(rows, self._checked_state(state, len(rows), alone=alone))
        if not alone:
            return logits, after
        return logits[0], None if after is None else LstmState(after.h[0], after.c[0])

    def act(
        self,
        observations: ArrayLike,
        *,
        state: LstmState | None = None,
        masks: NDArray[np.bool_] | None = None,
        rng: np.random.Generator | None = None,
    ) -> tuple[NDArray[np.int64], LstmState | None]:
        """Decide.

        Args:
            observations: (B, n), or (n,) of a single environment, as the environment gives them.
            state: what the step before returned; None: an episode begins. In a batch, set the rows of
                environments that begin an episode to 0.
            masks: (B, sum of the choices), or (sum of the choices,): choices that may be taken, as
                ``action_masks`` of the environment gives them; None: all.
            rng: draws from the policy's distribution; None: the best choice, the first of equals.

        Returns:
            (B, k) actions, or (k,); and the state for the next step, None without an LSTM.

        Raises:
            InputError: another shape, a number that is not finite, or masks that leave no choice.
        """
        logits, after = self.logits(observations, state)
        if masks is not None:
            logits = np.where(self._checked_masks(masks, logits), logits, np.float32(MASKED_LOGIT))
        noise = 0.0 if rng is None else rng.gumbel(size=logits.shape)
        return self._best(logits + noise), after

    def check(self, environment: "Configured") -> None:
        """Refuse an environment that this policy was not made for.

        Args:
            environment: an environment (scalar or vector, wrapped or not) or its ``EnvConfig``.

        Raises:
            InputError: observation, actions, services or levels differ; the message names the first
                difference.
        """
        from podgym.agents.interface import check_interface  # needs the environments

        check_interface(self.description, environment)

    def _best(self, logits: NDArray[np.floating]) -> NDArray[np.int64]:
        """Return the place of the highest logit of each number of an action, the first of equals."""
        stops = [*self._starts[1:], self._num_logits]
        parts = [logits[..., start:stop].argmax(axis=-1)
                 for start, stop in zip(self._starts, stops, strict=True)]  # fmt: skip
        return np.stack(parts, axis=-1).astype(np.int64)

    def _checked(self, observations: ArrayLike) -> tuple[Floats, bool]:
        """Return observations (B, n) and whether there was a single one without a batch."""
        names = self.description.observation_names
        try:
            given = np.asarray(observations)
        except ValueError as error:
            raise InputError("the observations differ in length; they must be an array.") from error
        if given.dtype.kind not in "fiu":
            raise InputError(f"the observations have type {given.dtype}; they must be numbers, best float32.")
        with np.errstate(over="ignore"):  # too large for float32: infinite, and refused below
            rows = np.array(given, dtype=np.float32, order="C", ndmin=2)
        if given.ndim not in (1, 2) or rows.shape[1] != len(names) or not len(rows):
            raise InputError(
                f"the observations have shape {given.shape}; this policy takes (B, {len(names)}) or "
                f"({len(names)},)."
            )
        if not np.isfinite(rows).all():
            row, column = (int(place) for place in np.argwhere(~np.isfinite(rows))[0])
            raise InputError(
                f"observation {row} has {rows[row, column]} as {names[column]!r}, number {column}; a policy "
                "decides on finite numbers only. Hold the last measured value, or let a reactive controller "
                "decide."
            )
        return rows, given.ndim == 1

    def _checked_state(self, state: LstmState | None, batch: int, *, alone: bool) -> LstmState | None:
        """Return the state (B, lstm_size) each; zeros where an episode begins."""
        size = self.description.network.lstm_size
        if size is None:
            if state is not None:
                raise InputError("this policy has no LSTM and takes no state; leave state out.")
            return None
        if state is None:
            return LstmState(*np.zeros((2, batch, size), dtype=np.float32))
        shape = (size,) if alone else (batch, size)
        parts = tuple(np.ascontiguousarray(part, dtype=np.float32) for part in state)
        if len(parts) != 2 or any(part.shape != shape for part in parts):
            raise InputError(
                f"the state has shapes {[part.shape for part in parts]}; it must be what the step before "
                f"returned, h and c of shape {shape}."
            )
        if not all(np.isfinite(part).all() for part in parts):
            raise InputError("the state holds a number that is not finite; begin a new one with state=None.")
        return LstmState(*(part.reshape(batch, size) for part in parts))

    def _checked_masks(self, masks: NDArray[np.bool_], logits: Floats) -> NDArray[np.bool_]:
        allowed = np.asarray(masks)
        if allowed.shape != logits.shape or allowed.dtype != np.bool_:
            raise InputError(
                f"the masks have shape {allowed.shape} and type {allowed.dtype}; they must be booleans of "
                f"shape {logits.shape}."
            )
        if not np.logical_or.reduceat(allowed, self._starts, axis=-1).all():
            raise InputError("the masks leave no choice for a number of an action.")
        return allowed


class Policy(Actor):
    """A trained policy: its description, and its numbers as float32 arrays.

    Args:
        description: what the policy is.
        arrays: its numbers by name, see ``array_shapes``; copied.

    Raises:
        InputError: an array is missing, one too many, of another shape or type, or not finite.
    """

    def __init__(self, description: PolicyDescription, arrays: Mapping[str, NDArray[np.float32]]) -> None:
        super().__init__(description)
        self.arrays = _checked_arrays(description, arrays)
        """By name; they cannot be written to."""
        self._prior = plan_prior(description)
        self._derived = derived_numbers(description)
        self._layers = len(description.network.hidden)
        self._activation = np.tanh if description.network.activation == "tanh" else _relu

    def _compute(self, observations: Floats, state: LstmState | None) -> tuple[Floats, LstmState | None]:
        arrays = self.arrays
        clip = np.float32(self.description.clip)
        values = (observations - arrays["observation_mean"]) / arrays["observation_std"]
        values = np.clip(values, -clip, clip)
        if self._derived is not None:
            values = np.concatenate([values, self._derived(observations)], axis=1)
        if state is not None:
            state = self._advance_lstm(values, state)
            values = state.h
        for layer in range(self._layers):
            values = self._activation(self._dense(f"actor.{layer}", values))
        logits = self._dense(f"actor.{self._layers}", values)
        return logits if self._prior is None else logits + self._prior(observations), state

    def _dense(self, name: str, values: Floats) -> Floats:
        return dense(values, self.arrays[f"{name}.weight"], self.arrays[f"{name}.bias"])

    def _advance_lstm(self, values: Floats, state: LstmState) -> LstmState:
        """Return the state after inputs (B, n); gates in the order input, forget, cell, output."""
        arrays = self.arrays
        gates = dense(values, arrays["lstm.weight_ih"], arrays["lstm.bias_ih"])
        gates += dense(state.h, arrays["lstm.weight_hh"], arrays["lstm.bias_hh"])
        put, forget, cell, out = (np.ascontiguousarray(part) for part in np.split(gates, 4, axis=1))
        c = _sigmoid(forget) * state.c + _sigmoid(put) * np.tanh(cell)
        return LstmState(_sigmoid(out) * np.tanh(c), c)


def array_shapes(description: PolicyDescription) -> dict[str, tuple[int, ...]]:
    """Return the shape of every array of a policy, by name.

    ``observation_mean`` and ``observation_std`` (n,); with an LSTM of size h ``lstm.weight_ih`` (4h, n and
    the derived numbers, if there are some),
    ``lstm.weight_hh`` (4h, h), ``lstm.bias_ih`` and ``lstm.bias_hh`` (4h,), gates in the order input, forget,
    cell, output; of each layer ``actor.i.weight`` (outputs, inputs) and ``actor.i.bias`` (outputs,), the last
    of which gives the logits.
    """
    network = description.network
    seen = len(description.observation_names)
    shapes: dict[str, tuple[int, ...]] = {"observation_mean": (seen,), "observation_std": (seen,)}
    inputs = seen + num_derived(description)
    if network.lstm_size is not None:
        size = network.lstm_size
        shapes |= {"lstm.weight_ih": (4 * size, inputs), "lstm.weight_hh": (4 * size, size)}
        shapes |= {"lstm.bias_ih": (4 * size,), "lstm.bias_hh": (4 * size,)}
        inputs = size
    for layer, outputs in enumerate((*network.hidden, sum(description.action_nvec))):
        shapes |= {f"actor.{layer}.weight": (outputs, inputs), f"actor.{layer}.bias": (outputs,)}
        inputs = outputs
    return shapes


def dense(values: Floats, weight: Floats, bias: Floats) -> Floats:
    """Return ``values @ weight.T + bias``, each row computed as if it were alone.

    Args:
        values: (B, inputs).
        weight: (outputs, inputs).
        bias: (outputs,).

    Returns:
        (B, outputs).
    """
    result = np.empty((len(values), len(weight)), dtype=np.float32)
    rows = max(_BLOCK // weight.size, 1)
    for first in range(0, len(values), rows):
        block = slice(first, first + rows)
        np.add.reduce(values[block, None, :] * weight, axis=2, out=result[block])
    result += bias
    return result


def _relu(values: Floats) -> Floats:
    return np.maximum(values, np.float32(0.0))


def _sigmoid(values: Floats) -> Floats:
    half = np.float32(0.5)
    return np.asarray(half + half * np.tanh(half * values))  # as 1 / (1 + exp(-x)), which overflows


def _checked_arrays(
    description: PolicyDescription, arrays: Mapping[str, NDArray[np.float32]]
) -> dict[str, Floats]:
    """Return copies of the arrays that cannot be written to, in the order of ``array_shapes``."""
    shapes = array_shapes(description)
    for name in (*shapes, *arrays):
        if name not in arrays or name not in shapes:
            what = "is missing" if name in shapes else "is not one that this policy has"
            raise InputError(f"the array {name!r} {what}; its arrays are {', '.join(shapes)}.")
    checked = {}
    for name, shape in shapes.items():
        array = np.asarray(arrays[name])
        if array.shape != shape or array.dtype != np.float32:
            raise InputError(
                f"the array {name!r} is {array.dtype} of shape {array.shape}; it must be float32 of shape "
                f"{shape}."
            )
        if not np.isfinite(array).all():
            raise InputError(f"the array {name!r} holds a number that is not finite.")
        checked[name] = np.array(array, order="C")
        checked[name].flags.writeable = False
    if not checked["observation_std"].min() > 0.0:
        raise InputError("observation_std holds a number that is not above 0.")
    return checked
