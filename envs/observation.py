"""The observation: a named, fixed layout, and the kernel that writes it.

Per service the newest ``lags`` control intervals of what the monitoring pipeline showed, then the present,
the forecast and the plan; at the end the clock. Everything is divided by a fixed constant and clipped to
declared bounds. What was not measured yet reads 0 and its age says so.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from podgym.envs.config import ObservationConfig
from podgym.envs.protocols import FORECAST_PERIOD_S
from podgym.envs.simulator.compile import kernel
from podgym.envs.simulator.engine import profile_value
from podgym.envs.simulator.parameters import ClusterConfig
from podgym.envs.simulator.records import Record, World
from podgym.envs.simulator.streams import FORECAST, normal
from podgym.envs.simulator.world import DAY_S, WEEK_S, visits_per_request

NO_FORECAST, NAIVE, NOISY_ORACLE, ORACLE, LEARNED = range(5)
_FORECASTS = {
    "none": NO_FORECAST,
    "naive": NAIVE,
    "learned": LEARNED,
    "noisy_oracle": NOISY_ORACLE,
    "oracle": ORACLE,
}
_Z80 = 1.2815515655446004  # half-width of an 80 % normal interval
_OLDEST = 10.0


@dataclass(frozen=True, slots=True)
class Feature:
    """One number of the observation (or of each lag or minute of it)."""

    name: str
    low: float
    high: float
    meaning: str


HISTORY = (
    Feature("cpu_utilisation", 0.0, 4.0, "measured CPU per ready pod / CPU request"),
    Feature("memory_utilisation", 0.0, 4.0, "measured memory per ready pod / memory request"),
    Feature("request_rate", 0.0, 4.0, "measured requests/s / what scale_replicas of the first quota serve"),
    Feature("response_time", 0.0, 10.0, "measured mean response time / SLO"),
    Feature("error_ratio", 0.0, 1.0, "measured share of failed requests"),
    Feature("in_flight", 0.0, 2.0, "ln(1 + measured requests in the system) / 10"),
    Feature("replicas_wanted", 0.0, 1.0, "wanted replicas / scale_replicas"),
    Feature("replicas_ready", 0.0, 2.0, "ready replicas / scale_replicas"),
)
PRESENT = (
    Feature("cpu_request", 0.0, 10.0, "CPU request of the template / highest level"),
    Feature("memory_request", 0.0, 10.0, "memory request of the template / highest level"),
    Feature("replicas_pending", 0.0, 2.0, "pods without a node / scale_replicas"),
    Feature(
        "sample_age", 0.0, _OLDEST, "age of the newest sample in control intervals; 10 when there is none"
    ),
)
FORECAST_PARTS = (
    Feature("forecast_mean", 0.0, 4.0, "forecast request rate, scaled as request_rate"),
    Feature("forecast_lower", 0.0, 4.0, "lower end of its 80 % interval"),
    Feature("forecast_upper", 0.0, 4.0, "upper end of its 80 % interval"),
)
PLAN = (
    Feature("plan_replicas", 0.0, 1.0, "planned replicas / scale_replicas"),
    Feature("plan_cpu_request", 0.0, 10.0, "planned CPU request / highest level"),
    Feature("plan_memory_request", 0.0, 10.0, "planned memory request / highest level"),
    Feature("plan_step", -1.0, 1.0, "planned minus wanted replicas / scale_replicas"),
)
CLOCK = (
    Feature("day_sin", -1.0, 1.0, "sine of the time of day"),
    Feature("day_cos", -1.0, 1.0, "cosine of the time of day"),
    Feature("week_sin", -1.0, 1.0, "sine of the time of the week"),
    Feature("week_cos", -1.0, 1.0, "cosine of the time of the week"),
)


_FEATURES = len(HISTORY)
_RATE = [feature.name for feature in HISTORY].index("request_rate")


class Scales(NamedTuple):
    """Constants that the observation is divided by, and settings of the writer."""

    rate_rps: NDArray[np.float64]
    """(num_services,)"""
    replicas: NDArray[np.float64]
    """(num_services,)"""
    slo_s: NDArray[np.float64]
    """(num_services,)"""
    cpu_cores: NDArray[np.float64]
    """(num_services,) highest CPU level"""
    memory_bytes: NDArray[np.float64]
    """(num_services,) highest memory level"""
    visits: NDArray[np.float64]
    """(num_services,) calls per external request"""
    day_turn: NDArray[np.float64]
    """(2,) cosine and sine of the angle that the day turns in one interval"""
    week_turn: NDArray[np.float64]
    """(2,) the same for the week"""
    interval_s: float
    lags: int
    horizon: int
    forecast: int
    sigma: float


class ObservationLayout:
    """Names, bounds and order of the observation of one environment."""

    def __init__(self, config: ObservationConfig, cluster: ClusterConfig) -> None:
        """Lay out the observation for a cluster's services."""
        self.config = config
        entries: list[tuple[str, Feature]] = []
        for service in cluster.services:
            for lag in range(config.lags):
                entries += [(f"{service.name}.{feature.name}[-{lag}]", feature) for feature in HISTORY]
            entries += [(f"{service.name}.{feature.name}", feature) for feature in PRESENT]
            for feature in FORECAST_PARTS:
                for minute in range(1, config.horizon_minutes + 1):
                    entries.append((f"{service.name}.{feature.name}[+{minute}min]", feature))
            entries += [(f"{service.name}.{feature.name}", feature) for feature in PLAN]
        entries += [(feature.name, feature) for feature in CLOCK]
        self.names = tuple(name for name, _ in entries)
        self.low = np.array([feature.low for _, feature in entries], dtype=np.float32)
        self.high = np.array([feature.high for _, feature in entries], dtype=np.float32)
        self.scales = _scales(config, cluster)

    @property
    def size(self) -> int:
        """Length of the observation."""
        return len(self.names)

    @property
    def space(self) -> spaces.Box:
        """The observation space of one environment."""
        return spaces.Box(self.low, self.high, dtype=np.float32)


def _scales(config: ObservationConfig, cluster: ClusterConfig) -> Scales:
    services = cluster.services
    return Scales(
        rate_rps=np.array(
            [s.replicas_scale * s.quota.cpu_limit_cores / s.parameters.cpu_demand_core_s for s in services]
        ),
        replicas=np.array([float(s.replicas_scale) for s in services]),
        slo_s=np.array([s.slo_response_time_s for s in services]),
        cpu_cores=np.array([s.cpu_levels_cores[-1] for s in services]),
        memory_bytes=np.array([s.memory_levels_bytes[-1] for s in services]),
        visits=visits_per_request(cluster),
        day_turn=_turn(cluster.control_interval_s, DAY_S),
        week_turn=_turn(cluster.control_interval_s, WEEK_S),
        interval_s=cluster.control_interval_s,
        lags=config.lags,
        horizon=config.horizon_minutes,
        forecast=_FORECASTS[config.forecast],
        sigma=config.forecast_sigma,
    )


def _turn(interval_s: float, period_s: float) -> NDArray[np.float64]:
    angle = 2.0 * math.pi * interval_s / period_s
    return np.array([math.cos(angle), math.sin(angle)])


@kernel
def _clip(value: float, high: float) -> float:
    """Between 0 and high; what was not measured (nan) reads 0."""
    if not value > 0.0:
        return 0.0
    return min(value, high)


@kernel
def _push_history(service: Record, scales: Scales, row: NDArray[np.float32], at: int, s: int) -> None:
    """Move the history of a service back by one lag and write what is seen now in front."""
    last = at + scales.lags * _FEATURES - 1
    for position in range(last, at + _FEATURES - 1, -1):
        row[position] = row[position - _FEATURES]
    row[at] = _clip(service.seen_cpu_cores / service.cpu_request_cores, 4.0)
    row[at + 1] = _clip(service.seen_memory_bytes / service.memory_request_bytes, 4.0)
    row[at + 2] = _clip(service.seen_rate_rps / scales.rate_rps[s], 4.0)
    row[at + 3] = _clip(service.seen_response_s / scales.slo_s[s], 10.0)
    row[at + 4] = _clip(service.seen_error_ratio, 1.0)
    row[at + 5] = _clip(math.log1p(service.seen_in_flight) * 0.1, 2.0)
    row[at + 6] = service.wanted / scales.replicas[s]
    row[at + 7] = _clip((service.ready + service.dead_endpoints) / scales.replicas[s], 2.0)


@kernel
def _external_rate(world: World, b: int, value: float) -> float:
    """External requests/s of a value of the profile; closed users as if nothing made them wait."""
    if world.clusters[b].closed:
        parameters = world.cluster_parameters[b]
        return value / max(parameters.think_time_s + parameters.network_s, 1e-3)
    return value


@kernel
def _write_forecast(
    world: World,
    scales: Scales,
    forecasts: NDArray[np.float64],
    row: NDArray[np.float32],
    first: int,
    at: int,
    b: int,
    s: int,
) -> None:
    """Write mean, lower and upper for each minute at ``at``; the history begins at ``first``."""
    horizon = scales.horizon
    # Times are multiples of a tick and may fall short of a whole minute by a rounding error.
    newest = min(int((world.clusters[b].time_s + 1e-6) / FORECAST_PERIOD_S), forecasts.shape[1] - 1)
    seen = world.clusters[b].tick // world.cluster_parameters[b].ticks  # lags that have a past
    for minute in range(horizon):
        mean = 0.0
        lower = 0.0
        upper = 0.0
        if scales.forecast == NAIVE:
            mean = row[first + _RATE]
            lower = mean
            upper = mean
            for lag in range(1, min(scales.lags, seen)):
                lower = min(lower, row[first + _FEATURES * lag + _RATE])
                upper = max(upper, row[first + _FEATURES * lag + _RATE])
        elif scales.forecast == LEARNED:
            known = forecasts[b, newest, minute]
            mean = _external_rate(world, b, known[0]) * scales.visits[s] / scales.rate_rps[s]
            lower = _external_rate(world, b, known[1]) * scales.visits[s] / scales.rate_rps[s]
            upper = _external_rate(world, b, known[2]) * scales.visits[s] / scales.rate_rps[s]
        elif scales.forecast != NO_FORECAST:
            now = world.clusters[b].time_s + 60.0 * (minute + 1)
            value = profile_value(world.profile[b], world.clusters[b], now)
            mean = _external_rate(world, b, value) * scales.visits[s] / scales.rate_rps[s]
            spread = 0.0
            if scales.forecast == NOISY_ORACLE:
                mean *= max(1.0 + scales.sigma * normal(world.rng[b, FORECAST]), 0.0)
                spread = _Z80 * scales.sigma * mean
            lower = mean - spread
            upper = mean + spread
        row[at + minute] = _clip(mean, 4.0)
        row[at + horizon + minute] = _clip(lower, 4.0)
        row[at + 2 * horizon + minute] = _clip(upper, 4.0)


@kernel
def write_observation(
    world: World,
    scales: Scales,
    plan: NDArray[np.float64],
    forecasts: NDArray[np.float64],
    observation: NDArray[np.float32],
    b: int,
) -> None:
    """Renew the observation of one cluster; its history lives in the row itself.

    Args:
        world: the batch.
        scales: what to divide by, and settings.
        plan: (B, S, 3) planned replicas, CPU and memory requests.
        forecasts: (B, rows, horizon, 3) requests/s or users, see ``ForecastTables``; read in the mode
            "learned" only.
        observation: (B, size), where to write.
        b: cluster.
    """
    row = observation[b]
    cluster = world.clusters[b]
    at = 0
    for s in range(world.services.shape[1]):
        service = world.services[b, s]
        most = scales.replicas[s]
        first = at
        _push_history(service, scales, row, first, s)
        at += scales.lags * _FEATURES
        row[at] = _clip(service.cpu_request_cores / scales.cpu_cores[s], 10.0)
        row[at + 1] = _clip(service.memory_request_bytes / scales.memory_bytes[s], 10.0)
        row[at + 2] = _clip(service.pending / most, 2.0)
        age = (cluster.time_s - service.seen_time_s) / scales.interval_s
        row[at + 3] = min(age, _OLDEST) if age >= 0.0 else _OLDEST
        at += 4
        _write_forecast(world, scales, forecasts, row, first, at, b, s)
        at += 3 * scales.horizon
        row[at] = _clip(plan[b, s, 0] / most, 1.0)
        row[at + 1] = _clip(plan[b, s, 1] / scales.cpu_cores[s], 10.0)
        row[at + 2] = _clip(plan[b, s, 2] / scales.memory_bytes[s], 10.0)
        row[at + 3] = min(max((plan[b, s, 0] - service.wanted) / most, -1.0), 1.0)
        at += 4
    row[at] = cluster.day_sin
    row[at + 1] = cluster.day_cos
    row[at + 2] = cluster.week_sin
    row[at + 3] = cluster.week_cos
    _turn_clock(cluster, scales)


@kernel
def _turn_clock(cluster: Record, scales: Scales) -> None:
    """Turn the hands of day and week on by one interval: a rotation instead of four sines."""
    sine = cluster.day_sin
    cluster.day_sin = sine * scales.day_turn[0] + cluster.day_cos * scales.day_turn[1]
    cluster.day_cos = cluster.day_cos * scales.day_turn[0] - sine * scales.day_turn[1]
    sine = cluster.week_sin
    cluster.week_sin = sine * scales.week_turn[0] + cluster.week_cos * scales.week_turn[1]
    cluster.week_cos = cluster.week_cos * scales.week_turn[0] - sine * scales.week_turn[1]
