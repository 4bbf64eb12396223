"""From what a real cluster shows to the numbers of an environment, by the simulator's own kernels.

The records that the simulator fills are filled from the cluster; then the same code that writes observations
and rewards in simulation writes them here. So a policy sees the same numbers on either kind of cluster.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from podgym.envs.config import EnvConfig
from podgym.envs.core import first_look
from podgym.envs.kubernetes.interval import ServiceState
from podgym.envs.observation import ObservationLayout, write_observation
from podgym.envs.simulator.records import INTERVAL_COLUMNS
from podgym.envs.simulator.world import DAY_S, WEEK_S, make_world
from podgym.envs.totals import INFO_KEYS, add_up


class Bridge:
    """Writes the observation and ``info`` of one episode."""

    def __init__(self, config: EnvConfig, layout: ObservationLayout) -> None:
        """Allocate.

        Args:
            config: the environment.
            layout: of its observation.
        """
        self._layout = layout
        self._weights = np.array(config.reward.all_weights())  # (reward terms,)
        self._world = make_world(config.cluster, 1, 2)
        self._interval_s = config.cluster.control_interval_s
        services = len(config.cluster.services)
        self.observation = np.zeros((1, layout.size), dtype=np.float32)
        self.totals = np.zeros((1, len(INFO_KEYS)))
        self.report = np.zeros((len(INTERVAL_COLUMNS), services))

    def begin(
        self,
        states: Sequence[ServiceState],
        plan: NDArray[np.float64],
        forecasts: NDArray[np.float64],
        *,
        start_epoch_s: float,
        week_time_s: float,
    ) -> None:
        """Write the first observation of an episode; nothing of the one before remains.

        Args:
            states: one per service.
            plan: (1, num_services, 3) planned replicas, cores, bytes.
            forecasts: (1, 1, horizon_minutes, 3) what is known now.
            start_epoch_s: when the episode began.
            week_time_s: that moment, seconds since Monday 00:00.
        """
        self._start_epoch_s = start_epoch_s
        self._week_time_s = week_time_s
        self.observation[:] = 0.0
        self._fill(states, 0.0, 0)
        first_look(self._world, self._layout.scales, plan, forecasts, self.observation, self.totals, 0)

    def step(
        self,
        states: Sequence[ServiceState],
        reports: Sequence[Mapping[str, float]],
        plan: NDArray[np.float64],
        forecasts: NDArray[np.float64],
        *,
        time_s: float,
        number: int,
    ) -> None:
        """Write the observation after an interval, its report and ``info``.

        Args:
            states: one per service.
            reports: of the interval, from ``interval_report``.
            plan: see ``begin``.
            forecasts: see ``begin``.
            time_s: seconds since the episode began.
            number: of the interval, from 1.
        """
        self._fill(states, time_s, number)
        interval = self._world.interval[0]
        for s, report in enumerate(reports):
            for column in INTERVAL_COLUMNS:
                interval[column][s] = report.get(column, 0.0)
        self.report[:] = [interval[column] for column in INTERVAL_COLUMNS]
        add_up(self._world, self._layout.scales.visits, plan, self._weights, self.totals, 0)
        write_observation(self._world, self._layout.scales, plan, forecasts, self.observation, 0)

    def _fill(self, states: Sequence[ServiceState], time_s: float, number: int) -> None:
        cluster = self._world.clusters[0]
        cluster["time_s"] = time_s
        cluster["tick"] = number * int(self._world.cluster_parameters[0]["ticks"])
        for name, period_s in (("day", DAY_S), ("week", WEEK_S)):
            angle = 2.0 * math.pi * (self._week_time_s + time_s) / period_s
            cluster[f"{name}_sin"], cluster[f"{name}_cos"] = math.sin(angle), math.cos(angle)
        for s, state in enumerate(states):
            record = self._world.services[0, s]
            for name, value in self._service(state).items():
                record[name] = value

    def _service(self, state: ServiceState) -> dict[str, float]:
        reading, quota = state.reading, state.quota
        return {
            "wanted": state.replicas_wanted,
            "alive": len(state.alive),
            "ready": state.replicas_ready,
            "pending": state.replicas_pending,
            "cpu_request_cores": quota.cpu_request_cores,
            "cpu_limit_cores": quota.cpu_limit_cores,
            "memory_request_bytes": quota.memory_request_bytes,
            "memory_limit_bytes": quota.memory_limit_bytes,
            "seen_time_s": reading.time_s - self._start_epoch_s,
            "seen_window_s": reading.window_s,
            "seen_rate_rps": reading.request_rate_rps,
            "seen_response_s": reading.response_time_s,
            "seen_error_ratio": reading.error_ratio,
            "seen_in_flight": reading.in_flight,
            "seen_cpu_cores": state.cpu_per_ready_pod_cores,
            "seen_memory_bytes": state.memory_per_ready_pod_bytes,
        }
