"""A simulated cluster in the role of a real one: it answers as the API server and the monitoring would.

Turning the clock lets the simulation pass, so an environment on it must show what the simulated environment
shows of the same episode.
"""

import math
from collections.abc import Sequence

import numpy as np

from podgym.envs.cluster import Quota, ServiceView
from podgym.envs.config import EnvConfig, override
from podgym.envs.env import AutoscaleEnv
from podgym.envs.kubernetes import KubernetesEnv, parse_settings
from podgym.envs.kubernetes.errors import ClusterError
from podgym.envs.kubernetes.objects import ScaleState
from podgym.envs.kubernetes.readings import (
    DeploymentState,
    PodState,
    PodUsage,
    ServiceReading,
    WatchedService,
)
from podgym.envs.make import scenario_config

START_EPOCH_S = 1_800_000_000.0


class FakeClock:
    """Time that passes only when someone waits."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.on_sleep: list = []
        self.work_s = 0.0
        """Seconds that each look at the clock takes, to play a slow step."""

    def monotonic_s(self) -> float:
        return self.now_s

    def epoch_s(self) -> float:
        return START_EPOCH_S + self.now_s - 1000.0

    def sleep(self, duration_s: float) -> None:
        self.now_s += duration_s
        for hook in self.on_sleep:
            hook(duration_s)


class SimulatedBackend:
    """API server and monitoring of one simulated cluster, with faults on demand."""

    def __init__(self, config: EnvConfig, seed: int, clock: FakeClock) -> None:
        self._env = AutoscaleEnv(config)
        self._env.reset(seed=seed)
        self._clusters = self._env._core.clusters
        self._clock = clock
        clock.on_sleep.append(self._pass)
        self.interval_s = config.cluster.control_interval_s
        self.writes: list[tuple[str, object]] = []
        self.fail: dict[str, list[Exception]] = {}
        """Errors to raise at the next calls, by method."""
        self.annotations: dict[str, str] = {}
        self.calls = 0
        self.version = 1
        self.broken_metrics: dict[str, str] = {}
        """Fields that the monitoring cannot tell, and why."""
        self.extra_age_s = 0.0
        self.past: tuple[tuple[float, float], ...] = ()
        """What ``history`` tells."""
        self.uid = "uid-1"
        self.paused = False
        """``spec.paused``."""
        self.overruled: int | None = None
        """What an admission webhook makes of any number of replicas; None: there is none."""

    def _pass(self, duration_s: float) -> None:
        for _ in range(round(duration_s / self.interval_s)):
            self._clusters.advance()

    def _view(self, name: str) -> ServiceView:
        views = {view.name: view for view in self._clusters.observe(0).services}
        return views[name]

    def _called(self, method: str) -> None:
        self.calls += 1
        if self.fail.get(method):
            raise self.fail[method].pop(0)

    # the API server

    def begin_step(self) -> None:
        self.calls = 0

    def charge(self, service: str) -> None:
        """Nothing is limited here."""

    def deployment(self, namespace: str, name: str) -> DeploymentState:
        self._called("deployment")
        view = self._view(name)
        return DeploymentState(
            namespace, name, self.uid, str(self.version), 1, view.replicas_wanted, view.replicas,
            view.replicas_ready, f"app={name}", {"app": name}, {"main": view.quota}, dict(self.annotations),
            self.paused,
        )  # fmt: skip

    def pods(self, deployment: DeploymentState, container: str) -> tuple[PodState, ...]:
        self._called("pods")
        return tuple(
            PodState(
                pod.name, pod.phase, pod.ready,
                None if pod.start_time_s is None else START_EPOCH_S + pod.start_time_s,
                START_EPOCH_S + pod.ready_transition_time_s, pod.deleted, pod.quota,
            )
            for pod in self._view(deployment.name).pods
        )  # fmt: skip

    def set_replicas(self, deployment: DeploymentState, replicas: int) -> ScaleState:
        self._called("set_replicas")
        assert type(replicas) is int
        wanted, quotas = self._clusters.wanted()
        wanted[0, 0] = replicas if self.overruled is None else self.overruled
        self._clusters.decide(wanted, quotas)
        self.version += 1
        self.writes.append(("replicas", replicas))
        return ScaleState(int(wanted[0, 0]), str(self.version))

    def set_quota(self, deployment: DeploymentState, container: str, quota: Quota) -> None:
        self._called("set_quota")
        wanted, quotas = self._clusters.wanted()
        quotas[0, 0] = [
            quota.cpu_request_cores, quota.cpu_limit_cores, quota.memory_request_bytes,
            quota.memory_limit_bytes,
        ]  # fmt: skip
        self._clusters.decide(wanted, quotas)
        self.writes.append(("quota", quota))

    def foreign_scale(self, replicas: int) -> None:
        """Someone else scales the Deployment."""
        wanted, quotas = self._clusters.wanted()
        wanted[0, 0] = replicas
        self._clusters.decide(wanted, quotas)
        self.version += 1

    def can_resize(self) -> bool:
        return False

    def resize_pod(self, namespace: str, pod: str, container: str, quota: Quota) -> None:
        raise ClusterError("not served")

    def evict_pod(self, namespace: str, pod: str) -> None:
        self.writes.append(("evict", pod))

    def emit_event(self, deployment: DeploymentState, reason: str, message: str) -> None:
        self._called("emit_event")
        self.writes.append(("event", message))

    def annotate(
        self, deployment: DeploymentState, changes: dict[str, str | None], *, unchanged: bool = False
    ) -> DeploymentState:
        self._called("annotate")
        for key, value in changes.items():
            if value is None:
                self.annotations.pop(key, None)
            else:
                self.annotations[key] = value
        self.writes.append(("annotate", dict(changes)))
        return self.deployment(deployment.namespace, deployment.name)

    def permissions(self, targets: object) -> tuple[str, ...]:
        return ()

    def serves(self, kind: object) -> bool:
        return False

    def list_objects(self, kind: object, namespace: str) -> tuple[()]:
        return ()

    def find_object(self, kind: object, namespace: str, name: str) -> None:
        return None

    def patch_object(self, *arguments: object) -> None:
        raise ClusterError("there is nothing else here")

    def pod_usage(self, namespace: str, selector: str, container: str) -> dict[str, PodUsage]:
        return {}

    def end_steps(self) -> None:
        self.calls = 0

    # the monitoring

    def check(self, services: Sequence[WatchedService]) -> None:
        return None

    def read(self, services: Sequence[WatchedService]) -> tuple[ServiceReading, ...]:
        return tuple(self._reading(service) for service in services)

    def _reading(self, service: WatchedService) -> ServiceReading:
        view = self._view(service.name)
        record = self._clusters.world.services[0][0]
        time_s = math.nan if view.sample_time_s is None else START_EPOCH_S + view.sample_time_s
        window_s = float(record["seen_window_s"])
        usage = {
            pod.name: PodUsage(
                pod.sample.cpu_usage_cores, pod.sample.memory_usage_bytes,
                START_EPOCH_S + pod.sample.time_s - self.extra_age_s, pod.sample.window_s,
            )
            for pod in view.pods
            if pod.sample is not None
        }  # fmt: skip
        fields = {
            "request_rate_rps": view.request_rate_rps,
            "error_ratio": view.error_ratio,
            "response_time_s": view.response_time_s,
            "in_flight": view.in_flight,
            "slow_ratio": 0.0,
        }
        if "pods" in self.broken_metrics:
            usage = {}
        fields |= {name: math.nan for name in self.broken_metrics if name in fields}
        return ServiceReading(
            time_s=time_s - self.extra_age_s, window_s=window_s, pods=usage,
            problems=dict(self.broken_metrics), **fields,
        )  # fmt: skip

    def history(
        self, service: WatchedService, duration_s: float, step_s: float
    ) -> tuple[tuple[float, float], ...]:
        return self.past

    @property
    def replicas(self) -> int:
        """Replicas that the Deployment wants."""
        return int(np.asarray(self._clusters.world.services[0]["wanted"])[0])


SAFE = {"up_factor": 1e6, "down_factor": 0.0, "down_window_s": 0.0, "up_pods": 5000}
NO_PAST = {"url": "http://nowhere", "history_s": 0.0}


def live_settings(mode="act", safety=SAFE, **changes):
    return parse_settings(
        {
            "environment": "podgym/FamilyBurst-v0",
            "services": {"web": {"namespace": "demo"}},
            "metrics": NO_PAST,
            "mode": mode,
            "safety": safety,
            **changes,
        }
    )


def made(seed=3, episode_s=900.0, config=None, forecaster=None, planner=None, **options):
    """An environment on a simulated cluster, its backend and its clock."""
    clock = FakeClock()
    problem = override(scenario_config("family_burst"), {"episode_s": episode_s, **(config or {})})
    backend = SimulatedBackend(problem, seed, clock)
    env = KubernetesEnv(
        live_settings(**options), api=backend, metrics=backend, clock=clock, forecaster=forecaster,
        planner=planner, episode_s=episode_s, **(config or {}),
    )  # fmt: skip
    return env, backend, clock
