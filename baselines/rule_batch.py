"""The nonlinear rule deciding for a whole batch of simulated clusters, each with weights of its own.

What a controller sees of one cluster as a ``ClusterObservation`` is read here straight from the arrays of the
simulator. A cluster of a batch is decided for as the same cluster alone, to the last bit.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from podgym.baselines.rule import NonlinearRuleController
from podgym.baselines.rule_arithmetic import FEATURES, SIGNALS, UNCHANGED, blank_memory, decide_replicas
from podgym.envs.core import AutoscaleCore
from podgym.envs.simulator.compile import MachineCode, kernel
from podgym.envs.simulator.records import READY, Record, Records, World
from podgym.errors import InputError


@kernel
def _is_amount(value: float) -> bool:
    return math.isfinite(value) and value >= 0.0


@kernel
def _add_up_pods(world: World, b: int, s: int, ready: int, scrape_interval_s: float, signals: Record) -> None:
    """Add up the pods that serve and have a sample.

    As in ``SimulatedClusters.observe``, pods in the phase ready show the mean of all ready pods, once they
    have been there for a whole scrape interval.
    """
    service = world.services[b, s]
    usage_cores = service.seen_cpu_cores
    signals.serving_pods = 0
    signals.serving_usage_cores = 0.0
    signals.serving_limit_cores = 0.0
    if not (_is_amount(usage_cores) and _is_amount(service.seen_memory_bytes)):
        return
    last_start_s = service.seen_time_s - scrape_interval_s
    for slot in range(service.slots):
        if world.phase[b, s, slot] == ready and world.pods[b, s, slot].start_s <= last_start_s:
            signals.serving_pods += 1
            signals.serving_usage_cores += usage_cores
            signals.serving_limit_cores += world.pods[b, s, slot].cpu_limit_milli / 1000.0


@kernel
def _highest(row: NDArray[np.float32], first: int, minutes: int, rate_rps: float) -> float:
    """Return the highest rate of a line of the forecast, requests/s; ``rate_rps`` is its scale."""
    most = 0.0
    for minute in range(minutes):
        most = max(most, float(row[first + minute]) * rate_rps)
    return most


@kernel
def _measure_all(
    world: World,
    ready: int,
    scrape_interval_s: float,
    bounds: NDArray[np.int64],
    naive: bool,
    places: NDArray[np.int64],
    minutes: int,
    scale_rps: NDArray[np.float64],
    observation: NDArray[np.float32],
    signals: Records,
) -> None:
    """Write what is measured of every service of every cluster.

    Args:
        world: the batch.
        ready: the phase of pods that are ready.
        scrape_interval_s: of the monitoring pipeline.
        bounds: (S, 2) least and most replicas.
        naive: whether the forecast rests on the measured rate alone.
        places: (S, 2) where mean and upper end of the forecast begin in an observation.
        minutes: of the forecast; 0: there is none.
        scale_rps: (S,) requests/s that 1 stands for in the forecast.
        observation: (B, size) what a policy sees.
        signals: (B, S) records of ``SIGNALS``, where to write.
    """
    for b in range(signals.shape[0]):
        for s in range(signals.shape[1]):
            seen, service = signals[b, s], world.services[b, s]
            seen.time_s = world.clusters[b].time_s
            seen.sample_time_s = service.seen_time_s
            seen.rate_rps = service.seen_rate_rps
            seen.response_time_s = service.seen_response_s
            seen.error_ratio = service.seen_error_ratio
            seen.in_flight = service.seen_in_flight
            seen.cpu_limit_cores = service.cpu_limit_cores
            _add_up_pods(world, b, s, ready, scrape_interval_s, seen)
            seen.replicas_wanted = service.wanted
            seen.replicas_ready = service.ready + service.dead_endpoints
            seen.min_replicas = bounds[s, 0]
            seen.max_replicas = bounds[s, 1]
            seen.forecast_mean_rps = service.seen_rate_rps
            seen.forecast_upper_rps = service.seen_rate_rps
            if minutes > 0 and not (naive and not math.isfinite(service.seen_rate_rps)):
                row = observation[b]
                seen.forecast_mean_rps = _highest(row, places[s, 0], minutes, scale_rps[s])
                seen.forecast_upper_rps = _highest(row, places[s, 1], minutes, scale_rps[s])


_measure = MachineCode(_measure_all)


class BatchedRule:
    """Decides for every cluster of a core by a rule of its own."""

    def __init__(self, rules: Sequence[NonlinearRuleController], core: AutoscaleCore) -> None:
        """Begin with nothing remembered; the episodes of the core have just begun.

        Args:
            rules: one per cluster; what they remember of others does not matter, and they remember nothing
                of these.
            core: the batch.

        Raises:
            InputError: not one rule per cluster.
        """
        num_envs, num_services = core.wanted.shape
        if len(rules) != num_envs:
            raise InputError(f"got {len(rules)} rules for {num_envs} clusters; there must be one of each.")
        services = core.config.cluster.services
        layout = core.layout
        shown = layout.config.forecast
        firsts = [
            [
                layout.names.index(f"{service.name}.{part}[+1min]")
                for part in ("forecast_mean", "forecast_upper")
            ]
            for service in services
        ]
        self._core = core
        self._options = (
            np.array([rule.weights for rule in rules]),  # (num_envs, weights)
            np.array([rule.target_utilisation for rule in rules]),
            np.array([rule.max_sample_age_s for rule in rules]),
        )
        self._layout = (
            READY,  # as an argument: a kernel cached on disk would not notice that it changes
            core.config.cluster.monitoring.scrape_interval_s,
            np.array([[service.min_replicas, service.max_replicas] for service in services]),
            shown == "naive",
            np.array(firsts),
            0 if shown == "none" else layout.config.horizon_minutes,
            layout.scales.rate_rps,
        )
        self._memory = blank_memory((num_envs, num_services))
        self._signals = np.zeros((num_envs, num_services), dtype=SIGNALS)
        self._features = np.zeros((num_envs, num_services, len(FEATURES)))
        self._decided = np.zeros((num_envs, num_services), dtype=np.int64)

    @property
    def signals(self) -> Records:
        """What was measured when it last decided, (num_envs, num_services) records of ``SIGNALS``."""
        return self._signals

    def decide(self) -> None:
        """Change what is wanted in the core where a rule wants something else; ``advance`` lets it happen."""
        core = self._core
        _measure(core.clusters.world, *self._layout, core.observation, self._signals)
        decide_replicas(self._signals, self._memory, *self._options, self._features, self._decided)
        np.copyto(core.wanted, self._decided, where=self._decided != UNCHANGED)
