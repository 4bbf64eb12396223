"""From actions to decisions: the four action modes, their spaces, masks, and the safety layer.

Per service an action has one number for the replicas and, with quotas, one for CPU and one for memory.
``delta`` steps from what is wanted, and what is wanted stays wanted until changed; ``absolute`` names it;
``residual`` steps from the plan; ``continuous`` maps [-1, 1] onto the allowed range. Whatever the action,
the result lies between the service's bounds and changes by no more than the declared rate.
"""

import math
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from podgym.envs.config import ActionConfig
from podgym.envs.simulator.compile import MachineCode, kernel
from podgym.envs.simulator.parameters import ClusterConfig
from podgym.errors import InputError

DELTA, ABSOLUTE, RESIDUAL, CONTINUOUS = range(4)
_LARGEST_CHOICE = 2.0**53
_MODES = {"delta": DELTA, "absolute": ABSOLUTE, "residual": RESIDUAL, "continuous": CONTINUOUS}


class ActionDecoder:
    """Turns a batch of actions into wanted replicas and quotas."""

    def __init__(self, config: ActionConfig, cluster: ClusterConfig) -> None:
        """Prepare the spaces and tables for a cluster's services."""
        services = cluster.services
        self.config = config
        self.mode = _MODES[config.mode]
        self.width = 3 if config.quotas else 1  # numbers per service
        self.steps = np.array(config.replica_steps, dtype=np.int64)
        self.quota_steps = np.array(config.quota_steps, dtype=np.int64)
        self.bounds = np.array([[s.min_replicas, s.max_replicas] for s in services], dtype=np.int64)
        self.rates = np.array(
            [config.max_increase or 10**9, config.max_decrease or 10**9], dtype=np.int64
        )  # replicas per decision
        self.ratios = np.array([[s.cpu_limit_ratio, s.memory_limit_ratio] for s in services])
        self.levels, self.level_counts = _level_table(cluster)
        self._decode = MachineCode(_decode_continuous if self.mode == CONTINUOUS else _decode_discrete)
        self.nvec = self._choices()  # (num_services * width,) choices of each number

    def _choices(self) -> NDArray[np.int64]:
        rows = []
        for (low, high), counts in zip(self.bounds, self.level_counts, strict=True):
            replicas = high - low + 1 if self.mode == ABSOLUTE else len(self.steps)
            quotas = counts if self.mode == ABSOLUTE else (len(self.quota_steps),) * 2
            rows.append([replicas, *quotas][: self.width])
        return np.array(rows, dtype=np.int64).ravel()

    @property
    def space(self) -> spaces.Space[NDArray[np.int64]] | spaces.Box:
        """The action space of one environment."""
        if self.mode == CONTINUOUS:
            return spaces.Box(-1.0, 1.0, (len(self.nvec),), np.float32)
        return spaces.MultiDiscrete(self.nvec)

    @property
    def null_action(self) -> NDArray[np.int64]:
        """The action of ``delta`` or ``residual`` that changes nothing (or keeps to the plan)."""
        still = int(np.flatnonzero(self.quota_steps == 0)[0])
        keep = [int(np.flatnonzero(self.steps == 0)[0]), still, still][: self.width]
        return np.array(keep * len(self.bounds), dtype=np.int64)

    def decode(
        self,
        actions: ArrayLike,
        wanted: NDArray[np.int64],
        quotas: NDArray[np.float64],
        plan: NDArray[np.float64],
    ) -> None:
        """Overwrite what is wanted with what the actions ask for; refused actions change nothing.

        Args:
            actions: (num_envs, numbers), or (numbers,) for one environment.
            wanted: (num_envs, num_services) replicas.
            quotas: (num_envs, num_services, 4) as in ``SimulatedClusters.decide``.
            plan: (num_envs, num_services, 3) planned replicas, CPU and memory requests.

        Raises:
            InputError: wrong shape, not a number, or outside the space.
        """
        given = self._as_array(actions, len(wanted))
        numbers = given
        if self.mode != CONTINUOUS and given.dtype.kind == "f":
            numbers = np.where(np.abs(given) < _LARGEST_CHOICE, given, -1.0).astype(np.int64)
            numbers[numbers != given] = -1  # not whole: refused below
        array = np.ascontiguousarray(numbers, dtype=np.float64 if self.mode == CONTINUOUS else np.int64)
        arguments = (
            self.mode, self.width, array, self.nvec, self.steps, self.quota_steps, self.bounds, self.rates,
            self.ratios, self.levels, self.level_counts, plan, wanted, quotas,
        )  # fmt: skip
        if not self._decode(*arguments):
            raise self._refusal(given)

    def _as_array(self, actions: ArrayLike, num_envs: int) -> NDArray[Any]:
        try:
            given = np.asarray(actions)
        except (TypeError, ValueError) as error:
            raise InputError("the action is a ragged sequence; it must be an array of numbers.") from error
        if given.dtype.kind not in "iubf":
            raise InputError(f"the action has type {given.dtype}; it must be an array of numbers.")
        shape = (num_envs, len(self.nvec))
        if given.shape != shape and not (num_envs == 1 and given.shape == shape[1:]):
            raise InputError(f"the action has shape {given.shape}; it must be {shape}.")
        return given.reshape(shape)

    def _refusal(self, actions: NDArray[np.float64]) -> InputError:
        low, high = (-1.0, np.ones(len(self.nvec))) if self.mode == CONTINUOUS else (0, self.nvec - 1)
        whole = np.isfinite(actions) & (np.where(np.isfinite(actions), actions, 0.5) % 1 == 0)
        bad = ~((actions >= low) & (actions <= high) & (whole | (self.mode == CONTINUOUS)))
        env, number = np.argwhere(bad)[0]
        kind = "a number" if self.mode == CONTINUOUS else "a whole number"
        return InputError(
            f"action[{number}] of environment {env} is {actions[env, number]}; it must be {kind} from "
            f"{low:g} to {high[number]:g}."
        )

    def masks(
        self, wanted: NDArray[np.int64], quotas: NDArray[np.float64], plan: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        """Which choices have an effect of their own, for maskable policies.

        A choice is masked when bounds or rates give it the effect of a smaller step. Keeping things as
        they are is never masked.

        Args:
            wanted: (num_envs, num_services) wanted replicas.
            quotas: (num_envs, num_services, 4) wanted quotas.
            plan: (num_envs, num_services, 3) planned replicas, CPU and memory requests.

        Returns:
            (num_envs, sum of the choices) in the order that sb3-contrib expects.

        Raises:
            InputError: the action space is continuous.
        """
        if self.mode == CONTINUOUS:
            raise InputError("a continuous action space has no masks; use mode delta, absolute or residual.")
        parts = []
        for s in range(len(self.bounds)):
            parts.append(self._replica_mask(s, wanted[:, s], plan[:, s, 0]))
            for kind in range(self.width - 1):
                parts.append(self._level_mask(s, kind, quotas[:, s, 2 * kind], plan[:, s, 1 + kind]))
        return np.concatenate(parts, axis=1)

    def _replica_mask(
        self, s: int, wanted: NDArray[np.int64], plan: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        low, high = self.bounds[s]
        least, most = wanted[:, None] - self.rates[1], wanted[:, None] + self.rates[0]
        if self.mode == ABSOLUTE:
            target = np.arange(low, high + 1)[None, :]
            allowed: NDArray[np.bool_] = (target >= least) & (target <= most)
            return allowed
        base = np.rint(plan).astype(np.int64) if self.mode == RESIDUAL else wanted
        effect = np.clip(np.clip(base[:, None] + self.steps, least, most), low, high)  # (num_envs, steps)
        return _distinct(effect, self.steps)

    def _level_mask(
        self, s: int, kind: int, quota: NDArray[np.float64], plan: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        count = int(self.level_counts[s, kind])
        if self.mode == ABSOLUTE:
            return np.ones((len(quota), count), dtype=np.bool_)
        base = plan if self.mode == RESIDUAL else quota
        index = np.abs(self.levels[s, kind, :count] - base[:, None]).argmin(axis=1)
        effect = np.clip(index[:, None] + self.quota_steps, 0, count - 1)  # (num_envs, steps)
        return _distinct(effect, self.quota_steps)


def _distinct(effect: NDArray[np.int64], steps: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which of ascending steps differ in effect from the next smaller one; 0 always counts.

    Args:
        effect: (num_envs, steps) what each step leads to.
        steps: (steps,) ascending, with 0 among them.
    """
    zero = int(np.flatnonzero(steps == 0)[0])
    differs = effect[:, 1:] != effect[:, :-1]
    keep = np.ones((len(effect), 1), dtype=np.bool_)
    return np.concatenate([differs[:, :zero], keep, differs[:, zero:]], axis=1)


def _level_table(cluster: ClusterConfig) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Levels as (num_services, 2, most levels), CPU cores then memory bytes, and their counts."""
    pairs = [(s.cpu_levels_cores, s.memory_levels_bytes) for s in cluster.services]
    longest = max(len(levels) for pair in pairs for levels in pair)
    table = np.zeros((len(pairs), 2, longest))
    for index, pair in enumerate(pairs):
        for kind, levels in enumerate(pair):
            table[index, kind, : len(levels)] = levels
            table[index, kind, len(levels) :] = levels[-1]
    counts = np.array([[len(cpu), len(memory)] for cpu, memory in pairs], dtype=np.int64)
    return table, counts


@kernel
def _nearest(levels: NDArray[np.float64], count: int, value: float) -> int:
    best = 0
    for index in range(1, count):
        if abs(levels[index] - value) < abs(levels[best] - value):
            best = index
    return best


@kernel
def _bounded(target: int, wanted: int, bounds: NDArray[np.int64], rates: NDArray[np.int64]) -> int:
    """The safety layer: rate first, then bounds, which always hold."""
    target = min(max(target, wanted - rates[1]), wanted + rates[0])
    return int(min(max(target, bounds[0]), bounds[1]))


@kernel
def _decode_discrete(
    mode: int,
    width: int,
    actions: NDArray[np.int64],
    nvec: NDArray[np.int64],
    steps: NDArray[np.int64],
    quota_steps: NDArray[np.int64],
    bounds: NDArray[np.int64],
    rates: NDArray[np.int64],
    ratios: NDArray[np.float64],
    levels: NDArray[np.float64],
    counts: NDArray[np.int64],
    plan: NDArray[np.float64],
    wanted: NDArray[np.int64],
    quotas: NDArray[np.float64],
) -> bool:
    for b in range(actions.shape[0]):
        for number in range(actions.shape[1]):
            if not 0 <= actions[b, number] < nvec[number]:
                return False
    for b in range(wanted.shape[0]):
        for s in range(wanted.shape[1]):
            choice = actions[b, s * width]
            if mode == ABSOLUTE:
                target = bounds[s, 0] + choice
            elif mode == RESIDUAL:
                target = round(plan[b, s, 0]) + steps[choice]
            else:
                target = wanted[b, s] + steps[choice]
            wanted[b, s] = _bounded(target, wanted[b, s], bounds[s], rates)
            for kind in range(width - 1):
                choice = actions[b, s * width + 1 + kind]
                count = counts[s, kind]
                if mode == ABSOLUTE:
                    index = choice
                elif mode == DELTA and quota_steps[choice] == 0:
                    continue
                else:
                    base = plan[b, s, 1 + kind] if mode == RESIDUAL else quotas[b, s, 2 * kind]
                    index = _nearest(levels[s, kind], count, base) + quota_steps[choice]
                    index = min(max(index, 0), count - 1)
                quotas[b, s, 2 * kind] = levels[s, kind, index]
                quotas[b, s, 2 * kind + 1] = levels[s, kind, index] * ratios[s, kind]
    return True


@kernel
def _decode_continuous(
    mode: int,
    width: int,
    actions: NDArray[np.float64],
    nvec: NDArray[np.int64],
    steps: NDArray[np.int64],
    quota_steps: NDArray[np.int64],
    bounds: NDArray[np.int64],
    rates: NDArray[np.int64],
    ratios: NDArray[np.float64],
    levels: NDArray[np.float64],
    counts: NDArray[np.int64],
    plan: NDArray[np.float64],
    wanted: NDArray[np.int64],
    quotas: NDArray[np.float64],
) -> bool:
    for b in range(actions.shape[0]):
        for number in range(actions.shape[1]):
            if not -1.0 <= actions[b, number] <= 1.0:  # also refuses nan
                return False
    for b in range(wanted.shape[0]):
        for s in range(wanted.shape[1]):
            part = 0.5 * (actions[b, s * width] + 1.0)
            span = bounds[s, 1] - bounds[s, 0]
            target = bounds[s, 0] + math.floor(part * span + 0.5)
            wanted[b, s] = _bounded(target, wanted[b, s], bounds[s], rates)
            for kind in range(width - 1):
                part = 0.5 * (actions[b, s * width + 1 + kind] + 1.0)
                low = levels[s, kind, 0]
                high = levels[s, kind, counts[s, kind] - 1]
                value = low * (high / low) ** part
                quotas[b, s, 2 * kind] = value
                quotas[b, s, 2 * kind + 1] = value * ratios[s, kind]
    return True
