"""``KubernetesEnv``: a real cluster as a Gymnasium environment, with the face of ``AutoscaleEnv``."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import gymnasium as gym
import numpy as np
from numpy.typing import ArrayLike, NDArray

from podgym.envs.actions import ActionDecoder
from podgym.envs.cluster import ClusterObservation, ServiceDecision
from podgym.envs.config import EnvConfig
from podgym.envs.core import DEFAULT_EPISODE_S
from podgym.envs.env import REPORT_COLUMNS
from podgym.envs.forecasts import choose_forecast
from podgym.envs.kubernetes.bridge import Bridge
from podgym.envs.kubernetes.clock import Clock, SystemClock
from podgym.envs.kubernetes.cluster import ClusterApi, KubernetesCluster, StepLog
from podgym.envs.kubernetes.forgotten import Forgotten
from podgym.envs.kubernetes.live_outlook import LiveOutlook
from podgym.envs.kubernetes.readings import MetricsSource, WatchedService
from podgym.envs.kubernetes.settings import KubernetesSettings, read_settings
from podgym.envs.kubernetes.targets import resolve
from podgym.envs.observation import ObservationLayout
from podgym.envs.outlook import Outlook
from podgym.envs.protocols import Planner, RateForecaster
from podgym.envs.simulator.constants import Provenance, provenance
from podgym.envs.simulator.required import RequiredReplicas
from podgym.envs.simulator.world import WEEK_S, visits_per_request
from podgym.envs.totals import INFO_KEYS
from podgym.envs.workloads.profile import LoadProfile
from podgym.errors import InputError

_MONDAY_S = 4 * 86_400.0  # the Unix epoch was a Thursday, so Monday 00:00 came four days later


class KubernetesEnv(gym.Env[NDArray[np.float32], NDArray[Any]]):
    """Decide replicas and quotas of real Deployments.

    Observations, actions, reward and ``info`` are those of the simulated environment that the settings name;
    a step waits for the end of its control interval by the clock on the wall. Every decision passes the
    guard. ``close`` restores what was found, and so does the end of a ``with``; an environment that is
    forgotten does when it is collected or the program ends, with a ``ResourceWarning``.

    An episode ends by truncation: at its time limit, or earlier when its target was deleted or someone else
    scales it; ``ended_because`` says so.

    Args:
        settings: of the cluster, or the path of their YAML file.
        planner: makes the plans; None: the plan is what was found.
        forecaster: makes the forecasts; it changes the default of ``observation.forecast`` to "learned".
        api: talks to the API server; None: the official client.
        metrics: the monitoring; None: what the settings say.
        clock: tells the time and waits.
        run_id: stands in the annotation that keeps the state found; None: a new one.
        **changes: of the configuration, as for ``AutoscaleEnv``.

    Raises:
        InputError: what the settings ask for is not there or cannot work; nothing was changed.
        ClusterError: the cluster does not answer.
    """

    metadata = {"render_modes": []}  # noqa: RUF012  (Gymnasium's contract)

    def __init__(
        self,
        settings: KubernetesSettings | str | Path | None = None,
        *,
        planner: Planner | None = None,
        forecaster: RateForecaster | None = None,
        api: ClusterApi | None = None,
        metrics: MetricsSource | None = None,
        clock: Clock | None = None,
        run_id: str | None = None,
        **changes: Any,  # noqa: ANN401
    ) -> None:
        self.settings = _opened(settings)
        self._clock = clock if clock is not None else SystemClock()
        if api is None:
            from podgym.envs.kubernetes.opening import open_api

            api = open_api(self.settings)
        if self.settings.metrics.source == "metrics-server" and (planner or forecaster):
            raise InputError(
                "metrics-server does not tell the load, which a planner and a forecaster need; configure "
                "Prometheus (metrics.url), or leave them out."
            )
        config, targets = resolve(self.settings, api, changes)
        self.config = choose_forecast(_without_oracle(config), forecaster, changes)
        if metrics is None:
            from podgym.envs.kubernetes.opening import open_metrics

            metrics = open_metrics(self.settings, api)
        self._watched: list[WatchedService] = [target.watched for target in targets]
        metrics.check(self._watched)
        self._metrics = metrics
        self._layout = ObservationLayout(self.config.observation, self.config.cluster)
        self._decoder = ActionDecoder(self.config.action, self.config.cluster)
        self.observation_space = cast(Any, self._layout.space)
        self.action_space = cast(Any, self._decoder.space)
        services = self.config.cluster.services
        self._outlook = Outlook(self._layout, services, planned=planner is not None)
        self._live = LiveOutlook(
            self.config.cluster, self.config.observation.horizon_minutes, planner, forecaster
        )
        self._bridge = Bridge(self.config, self._layout)
        self._required = RequiredReplicas(self.config.cluster)
        self.cluster = KubernetesCluster(
            self.settings, targets, api, metrics, self._clock,
            interval_s=self.config.cluster.control_interval_s, run_id=run_id or uuid4().hex[:12],
        )  # fmt: skip
        self._started = False
        self._forgotten = Forgotten(self, self.cluster)

    @property
    def observation_names(self) -> tuple[str, ...]:
        """Name of each number of the observation, in order."""
        return self._layout.names

    @property
    def service_names(self) -> tuple[str, ...]:
        """Names of the services, in the order of every per-service array."""
        return tuple(service.name for service in self.config.cluster.services)

    @property
    def slo_response_time_s(self) -> NDArray[np.float64]:
        """SLO of each service, (num_services,)."""
        return self._layout.scales.slo_s

    @property
    def entry_share(self) -> NDArray[np.float64]:
        """Share of the external requests that enters at each service, (num_services,)."""
        shares = np.array([service.entry_share for service in self.config.cluster.services])
        return np.asarray(shares / shares.sum())

    @property
    def visits(self) -> NDArray[np.float64]:
        """Calls of each service per external request, (num_services,)."""
        return visits_per_request(self.config.cluster)

    @property
    def episode_steps(self) -> int:
        """Steps until an episode is truncated."""
        duration_s = self.config.episode_s if self.config.episode_s is not None else DEFAULT_EPISODE_S
        return max(int(duration_s / self.config.cluster.control_interval_s + 1e-9), 1)

    @property
    def profile(self) -> LoadProfile | None:
        """The load measured so far in this episode; None before the first step."""
        duration_s = self.cluster.log.time_s if self._started else 0.0
        return self._live.measured(duration_s) if duration_s > 0.0 else None

    @property
    def log(self) -> StepLog:
        """What the last step did, and what went wrong in it."""
        return self.cluster.log

    @property
    def problems(self) -> tuple[str, ...]:
        """What could not be read, written, forecast or planned in the last step."""
        of_services = (f"{step.service}: {text}" for step in self.log.services for text in step.problems)
        return (*of_services, *self._live.problems)

    @property
    def ended_because(self) -> str | None:
        """Why the episode ended before its time limit; None: it did not."""
        return self.cluster.ended_because

    @property
    def api_calls(self) -> int:
        """Calls of the API server in the last step."""
        return self.log.api_calls

    def provenance(self) -> list[Provenance]:
        """Every constant of the simulated twin with its value, unit and source."""
        return list(provenance(self.config.cluster, "cluster."))

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, float]]:
        """Start an episode with the cluster as it is; the seed draws nothing but ``np_random``.

        Raises:
            InputError: the target is managed by someone else, or an earlier run did not finish.
            ClusterError: the cluster does not answer.
        """
        if options:
            raise InputError(f"unknown reset option {next(iter(options))!r}; this environment has none.")
        super().reset(seed=seed)
        self._started = False
        cluster = self.cluster
        self._forgotten.watch()
        cluster.begin()
        week_time_s = _week_time_s(cluster.start_epoch_s)
        self._live.begin(self._history(), week_time_s)
        self._bridge.begin(
            cluster.states, self._live.plan, self._live.forecasts,
            start_epoch_s=cluster.start_epoch_s, week_time_s=week_time_s,
        )  # fmt: skip
        self._wanted, self._quotas = self._present()
        if self.config.action.first_action == "plan":
            self._want_plan()
        self._started = True
        return self._bridge.observation[0].copy(), self._info()

    def step(self, action: ArrayLike) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, float]]:
        """Apply an action and wait for the end of the control interval.

        Raises:
            InputError: an action outside the space, or no episode was started.
            ClusterError: the run cannot go on; ``close`` restores what was found.
        """
        self._require_running()
        wanted, quotas = self._wanted[None].copy(), self._quotas[None].copy()
        self._decoder.decode(action, wanted, quotas, self._live.plan)
        return self._advance(
            [
                _decision(int(replicas), row if self.config.action.quotas else None)
                for replicas, row in zip(wanted[0], quotas[0], strict=True)
            ]
        )

    def step_decisions(
        self, decisions: Sequence[ServiceDecision]
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, float]]:
        """Apply a controller's decisions, one per service, and wait for the end of the control interval."""
        self._require_running()
        if len(decisions) != len(self._watched):
            raise InputError(f"got {len(decisions)} decisions; there are {len(self._watched)} services.")
        return self._advance(decisions)

    def observe(self) -> ClusterObservation:
        """Return what a controller may know: what the monitoring shows, the forecast and the plan."""
        self._require_episode()
        rates_rps = np.array([state.reading.request_rate_rps for state in self.cluster.states])
        ahead = self._outlook.ahead(rates_rps, self._bridge.observation[0], self._live.plan[0])
        return self.cluster.observe(ahead)

    @property
    def interval(self) -> dict[str, NDArray[np.float64]]:
        """Report of the last control interval: one array (num_services,) per column."""
        return dict(zip(REPORT_COLUMNS, self.report(), strict=True))

    def report(self) -> NDArray[np.float64]:
        """Return the report of the last control interval, (num_columns, num_services)."""
        columns = self._bridge.report
        known = {name: columns[REPORT_COLUMNS.index(name)] for name in ("offered_rps", "cpu_limit_cores")}
        return np.vstack([columns, self._required.count(known, None)])

    def action_masks(self) -> NDArray[np.bool_]:
        """Choices of the next action that have an effect of their own, for maskable policies."""
        self._require_episode()
        masks = self._decoder.masks(self._wanted[None], self._quotas[None], self._live.plan)
        return np.asarray(masks[0])

    def close(self) -> None:
        """Restore what was found; with ``restore: false`` only autoscalers that were stopped are given back.

        Raises:
            ClusterError: something could not be restored; the text says what and how to do it later.
        """
        self._started = False
        self._forgotten.cancel()
        self.cluster.close()

    def _advance(
        self, decisions: Sequence[ServiceDecision]
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, float]]:
        self.cluster.apply(decisions)
        log = self.cluster.advance()
        self._live.add(log.time_s, self._external_rate_rps(), self._window_middle_s())
        self._bridge.step(
            self.cluster.states, self.cluster.reports(), self._live.plan, self._live.forecasts,
            time_s=log.time_s, number=log.number,
        )  # fmt: skip
        self._wanted, self._quotas = self._present()
        info = self._info()
        truncated = log.number >= self.episode_steps or self.ended_because is not None
        return self._bridge.observation[0].copy(), info["reward"], False, truncated, info

    def _present(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return what the cluster wants now: (num_services,) replicas and (num_services, 4) quotas."""
        states = self.cluster.states
        wanted = np.array([state.replicas_wanted for state in states], dtype=np.int64)
        quotas = [
            (q.cpu_request_cores, q.cpu_limit_cores, q.memory_request_bytes, q.memory_limit_bytes)
            for q in (state.quota for state in states)
        ]
        return wanted, np.array(quotas, dtype=np.float64)

    def _want_plan(self) -> None:
        """Let the first action step from the plan instead of from what is there."""
        bounds, plan = self._decoder.bounds, self._live.plan[0]
        self._wanted = np.clip(np.rint(plan[:, 0]).astype(np.int64), bounds[:, 0], bounds[:, 1])
        if self.config.action.quotas:
            ratios = self._decoder.ratios
            self._quotas = np.column_stack(
                [plan[:, 1], plan[:, 1] * ratios[:, 0], plan[:, 2], plan[:, 2] * ratios[:, 1]]
            )

    def _external_rate_rps(self) -> float:
        """Return the measured rate at the services where requests enter, requests/s; nan: not measured."""
        rates = [
            state.reading.request_rate_rps
            for state, share in zip(self.cluster.states, self.entry_share, strict=True)
            if share > 0.0
        ]
        return float(sum(rates))

    def _window_middle_s(self) -> float:
        """Return the middle of the window that the measured rate is a mean of; nan: not measured."""
        reading = self.cluster.states[int(np.argmax(self.entry_share))].reading
        return reading.time_s - 0.5 * reading.window_s - self.cluster.start_epoch_s

    def _history(self) -> list[tuple[float, float]]:
        """Return the load before the episode, times in seconds up to its beginning at 0."""
        duration_s = self.settings.metrics.history_s
        start_s = self.cluster.start_epoch_s
        past: list[tuple[float, float]] = []
        if duration_s > 0.0:
            entries = [w for w, share in zip(self._watched, self.entry_share, strict=True) if share > 0.0]
            step_s = self.config.cluster.control_interval_s
            sums: dict[float, float] = {}
            for service in entries:
                for time_s, rate in self._metrics.history(service, duration_s, step_s):
                    sums[time_s] = sums.get(time_s, 0.0) + rate
            past = [(time_s - start_s, rate) for time_s, rate in sorted(sums.items()) if time_s < start_s]
        return [*past, (0.0, self._external_rate_rps())]

    def _info(self) -> dict[str, float]:
        return dict(zip(INFO_KEYS, self._bridge.totals[0].tolist(), strict=True))

    def _require_episode(self) -> None:
        if not self._started:
            raise InputError("no episode was started; call reset() first.")

    def _require_running(self) -> None:
        self._require_episode()
        if self.ended_because is not None:
            raise InputError(f"the episode is over ({self.ended_because}); call reset() or close().")


def _opened(settings: KubernetesSettings | str | Path | None) -> KubernetesSettings:
    if settings is None:
        raise InputError(
            "settings is missing; say which cluster, for example "
            'gym.make("podgym/Kubernetes-v0", settings="deploy/podgym.yml"); docs/kubernetes.md has the keys.'
        )
    return settings if isinstance(settings, KubernetesSettings) else read_settings(settings)


def _without_oracle(config: EnvConfig) -> EnvConfig:
    if config.observation.forecast in ("oracle", "noisy_oracle"):
        raise InputError(
            f"observation.forecast is {config.observation.forecast!r}: nobody knows the future of a real "
            "cluster. Choose none or naive, or give a forecaster."
        )
    return config


def _decision(replicas: int, quota: NDArray[np.float64] | None) -> ServiceDecision:
    if quota is None:
        return ServiceDecision(replicas=replicas)
    cpu_request, cpu_limit, memory_request, memory_limit = quota.tolist()
    return ServiceDecision(replicas, cpu_request, cpu_limit, memory_request, memory_limit)


def _week_time_s(epoch_s: float) -> float:
    """Return seconds since Monday 00:00 by the clock of this machine's time zone."""
    local_s = epoch_s + time.localtime(epoch_s).tm_gmtoff
    return (local_s - _MONDAY_S) % WEEK_S
