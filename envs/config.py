"""The typed configuration of an environment, and how keyword arguments are laid over it.

Everything is a frozen dataclass, so a finished configuration cannot change under a running environment.
``override`` takes plain mappings (from ``gym.make`` or a file); a misspelt key is an error that names the
closest match, a wrong type or value one that names what is allowed.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal, TypeVar, get_args

from podgym.envs.randomisation import RandomisationConfig
from podgym.envs.simulator.constants import constant
from podgym.envs.simulator.parameters import ClusterConfig, NodeFailure, ServiceConfig
from podgym.errors import InputError, require_whole, unknown_name

ActionMode = Literal["delta", "absolute", "residual", "continuous"]
FirstAction = Literal["own", "plan"]
ForecastMode = Literal["none", "naive", "learned", "noisy_oracle", "oracle"]
RewardPreset = Literal["slo_cost", "paper"]

WIDE_STEPS = (-12, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 8, 10, 12)
"""Steps of the wanted replicas: fine near zero, wide enough to meet a burst in one decision."""

REWARD_TERMS: dict[str, str] = {
    "slo_violation": "share of requests slower than the SLO or failed, times seconds",
    "cpu_cost": "requested core-seconds",
    "memory_cost": "requested GiB-seconds",
    "churn": "replicas changed",
    "cpu_utilisation": "CPU used / requested, times seconds",
    "memory_utilisation": "memory used / requested, times seconds",
    "response_time": "mean response time in seconds, times seconds",
}
"""Raw terms of the reward and their units; each has a weight of the same name."""

REWARD_PRESETS: dict[str, dict[str, float]] = {
    "slo_cost": {"slo_violation": -20.0, "cpu_cost": -1.0, "memory_cost": -0.13, "churn": -1.0},
    "paper": {"cpu_utilisation": 0.5, "memory_utilisation": 0.5, "response_time": -1.0},
}
"""Weights per preset, terms not named weigh 0. ``slo_cost`` counts in core-seconds: a GiB costs 0.13
cores (ratio of public list prices), a second in which every request violates the SLO costs 20 cores,
more than the testbed has. ``paper`` is F = 0.5 U_cpu + 0.5 U_mem - R."""


def _require_weight(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e12:
        raise InputError(f"weight of {name} is {value!r}; it must be a finite number.")


@dataclass(frozen=True, slots=True)
class ActionConfig:
    """What an action is and how far it may go."""

    mode: ActionMode = "delta"
    """``delta``: steps from what is wanted, which stays wanted until changed; ``absolute``: the wanted
    values themselves; ``residual``: steps from the plan; ``continuous``: a box in [-1, 1]."""
    quotas: bool = True
    """Whether CPU and memory requests are part of the action, or replicas only."""
    replica_steps: tuple[int, ...] = WIDE_STEPS
    """Steps of ``delta`` and ``residual``, ascending, with 0 among them."""
    quota_steps: tuple[int, ...] = (-1, 0, 1)
    """The same for CPU and memory, in levels. Each change of a quota rolls all pods of a service, so a policy
    that is to reach a far level at once needs wider steps."""
    first_action: FirstAction = "own"
    """From where the first action of an episode steps in mode ``delta``: ``own``, what each service begins
    with; or ``plan``, so that the action which changes nothing is the plan."""
    max_increase: int | None = None
    """Safety: most replicas that one decision may add; None for no limit but the maximum."""
    max_decrease: int | None = None
    """Safety: most replicas that one decision may remove."""

    def __post_init__(self) -> None:
        if self.mode not in get_args(ActionMode):
            raise unknown_name("action mode", self.mode, get_args(ActionMode))
        if self.first_action not in get_args(FirstAction):
            raise unknown_name("first_action", self.first_action, get_args(FirstAction))
        for name in ("replica_steps", "quota_steps"):
            steps = getattr(self, name)
            for step in steps:
                require_whole(f"a step of {name}", step, -5000, 5000)
            if 0 not in steps or list(steps) != sorted(set(steps)):
                raise InputError(f"{name} is {steps!r}; it must ascend and contain 0.")
        for name in ("max_increase", "max_decrease"):
            if getattr(self, name) is not None:
                require_whole(name, getattr(self, name), 1, 10**6)


@dataclass(frozen=True, slots=True)
class ObservationConfig:
    """What the observation holds beyond the present."""

    lags: int = 8
    """Control intervals of history, the newest first."""
    forecast: ForecastMode = "naive"
    """Source of the forecast: ``none`` (zeros), ``naive`` (the last rate, with the range of the history as
    interval), ``learned`` (from the forecaster given to the environment, renewed every minute; giving one
    changes the default to this), ``noisy_oracle`` (the true future times noise), ``oracle`` (the true
    future)."""
    forecast_sigma: float = 0.1
    """Relative standard deviation of the noisy oracle."""
    horizon_minutes: int = 5
    """Minutes of forecast, one value each."""

    def __post_init__(self) -> None:
        require_whole("lags", self.lags, 1, 240)
        require_whole("horizon_minutes", self.horizon_minutes, 1, 60)
        if self.forecast not in get_args(ForecastMode):
            raise unknown_name("forecast", self.forecast, get_args(ForecastMode))
        if not 0.0 <= self.forecast_sigma <= 2.0:
            raise InputError(f"forecast_sigma is {self.forecast_sigma!r}; it must be between 0 and 2.")


@dataclass(frozen=True, slots=True)
class RewardConfig:
    """The reward: a weighted sum of named terms, each an integral over the step."""

    preset: RewardPreset = "slo_cost"
    """Weights to start from, see ``REWARD_PRESETS``."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Weights that replace those of the preset, by term."""
    relative_to_plan: bool = False
    """Subtract the reward of a shadow cluster that follows the plan under the same arrivals. It does not
    depend on the policy, so the optimal policy is the same and the variance is smaller."""

    def __post_init__(self) -> None:
        if self.preset not in REWARD_PRESETS:
            raise unknown_name("reward preset", self.preset, REWARD_PRESETS)
        for name, weight in self.weights.items():
            if name not in REWARD_TERMS:
                raise unknown_name("reward term", name, REWARD_TERMS)
            _require_weight(name, weight)

    def all_weights(self) -> tuple[float, ...]:
        """Weight of every term, in the order of ``REWARD_TERMS``."""
        weights = {**REWARD_PRESETS[self.preset], **self.weights}
        return tuple(float(weights.get(name, 0.0)) for name in REWARD_TERMS)


@dataclass(frozen=True, slots=True)
class EnvConfig:
    """One environment: a cluster, a load, what may be done, what is seen and what counts."""

    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    """The simulated cluster."""
    workload: str = "high_load"
    """Name of a workload, or the path of a trace; see ``podgym.envs.workloads``."""
    workload_options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the workload, such as ``part`` or ``peak_rate_rps``."""
    action: ActionConfig = field(default_factory=ActionConfig)
    """The action space."""
    observation: ObservationConfig = field(default_factory=ObservationConfig)
    """The observation space."""
    reward: RewardConfig = field(default_factory=RewardConfig)
    """The reward."""
    episode_s: float | None = constant(None, unit="s", source="length of the scenario, else one hour")
    """Length of an episode; None: that of the scenario, or one hour."""
    randomisation: RandomisationConfig = field(default_factory=RandomisationConfig)
    """Parameters of the cluster that differ from episode to episode; by default none."""

    def __post_init__(self) -> None:
        if self.episode_s is not None and not self.cluster.control_interval_s <= self.episode_s < 1e9:
            raise InputError(
                f"episode_s is {self.episode_s!r}; it must be at least one control interval "
                f"({self.cluster.control_interval_s:g} s)."
            )


_Config = TypeVar("_Config")


def override(config: _Config, changes: Mapping[str, Any], path: str = "") -> _Config:
    """Return ``config`` with some fields changed, at any depth.

    Args:
        config: a frozen dataclass.
        changes: field name to new value. A mapping changes fields inside a nested dataclass; services
            can be named, as in ``{"cluster": {"services": {"web": {"max_replicas": 10}}}}``. Dotted names
            such as ``"reward.preset"`` reach inside as well.
        path: where ``config`` stands, for messages.

    Raises:
        InputError: an unknown key (with the closest match) or a value of the wrong kind.
    """
    names = {item.name for item in fields(config)}  # type: ignore[arg-type]
    nested: dict[str, Any] = {}
    for key, value in changes.items():
        head, _, rest = str(key).partition(".")
        if head not in names:
            raise unknown_name(f"key of {path.rstrip('.') or 'the environment'}", head, names)
        if rest:
            value = {rest: value}
        before = nested.get(head, {})
        if before and not (isinstance(before, Mapping) and isinstance(value, Mapping)):
            raise InputError(f"{path}{head} is given twice: {before!r} and {value!r}.")
        nested[head] = {**before, **value} if before else value
    values = {key: _converted(getattr(config, key), value, f"{path}{key}") for key, value in nested.items()}
    try:
        return dataclasses.replace(config, **values)  # type: ignore[type-var]
    except InputError:
        raise
    except (TypeError, ValueError, OverflowError, AttributeError) as error:
        given = ", ".join(f"{path}{key}={value!r}" for key, value in values.items())
        raise InputError(f"{given[:200]} is not of the right kind: {error}.") from error


def _converted(old: Any, new: Any, path: str) -> Any:  # noqa: ANN401
    if is_dataclass(old) and isinstance(new, Mapping):
        return override(old, new, f"{path}.")
    if is_dataclass(old) and not isinstance(new, type(old)):
        raise InputError(f"{path} is {new!r}; it takes a mapping of its fields or a {type(old).__name__}.")
    if path.endswith("services"):
        return _services(old, new, path)
    if path.endswith("node_failures"):
        return tuple(_node_failure(entry, path) for entry in new)
    if isinstance(old, tuple):
        if not isinstance(new, list | tuple):
            raise InputError(f"{path} is {new!r}; it must be a list.")
        return tuple(new)
    if isinstance(old, bool) and not isinstance(new, bool):
        raise InputError(f"{path} is {new!r}; it must be true or false.")
    if isinstance(old, Mapping) and not isinstance(new, Mapping):
        raise InputError(f"{path} is {new!r}; it must be a mapping.")
    if isinstance(old, float) and isinstance(new, int) and not isinstance(new, bool):
        return float(new)
    return new


def _node_failure(entry: Any, path: str) -> NodeFailure:  # noqa: ANN401
    if isinstance(entry, NodeFailure):
        return entry
    names = [item.name for item in fields(NodeFailure)]
    if not isinstance(entry, Mapping) or not {"time_s", "node"} <= set(entry):
        raise InputError(f"{path} holds {entry!r}; each failure needs time_s and node.")
    for key in entry:
        if key not in names:
            raise unknown_name(f"key of {path}", key, names)
    return NodeFailure(**entry)


def _services(old: Any, new: Any, path: str) -> Any:  # noqa: ANN401
    if isinstance(new, list | tuple) and all(isinstance(service, ServiceConfig) for service in new):
        return tuple(new)
    if not isinstance(new, Mapping):
        raise InputError(f"{path} is {new!r}; it takes a mapping by service name, or ServiceConfig objects.")
    names = {service.name: index for index, service in enumerate(old)}
    services = list(old)
    for key, changes in new.items():
        name, _, rest = str(key).partition(".")
        if name not in names:
            raise unknown_name(f"service in {path}", name, names)
        changes = {rest: changes} if rest else changes
        if not isinstance(changes, Mapping):
            raise InputError(f"{path}.{name} is {changes!r}; it takes a mapping of its fields.")
        services[names[name]] = override(services[names[name]], changes, f"{path}.{name}.")
    return tuple(services)
