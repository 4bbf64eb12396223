"""A simulated cluster in the role of a real one: what is true of it is known."""

import json
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from podgym.envs.config import EnvConfig, override
from podgym.envs.env import AutoscaleEnv
from podgym.envs.kubernetes.settings import KubernetesSettings, parse_settings
from podgym.envs.workloads.profile import LoadProfile
from podgym.eval.contenders import Contender
from podgym.eval.live.plan import LivePlan, base_config
from podgym.eval.live.run import LiveRun

SERVICES = {"web": {"namespace": "demo", "max_replicas": 28}}


def live_settings(environment: str = "podgym/Burst-v0", **fields: Any) -> KubernetesSettings:
    """Return settings of a cluster that nobody reaches."""
    return parse_settings(
        {
            "environment": environment,
            "services": SERVICES,
            "metrics": {"url": "http://user:hunter2@prometheus.example:9090/p?token=abc", "token_file": "/t"},
            **fields,
        }
    )


def sawtooth(duration_s: float, step_s: float = 5.0) -> LoadProfile:
    """Return a load that makes a controller work."""
    times_s = np.arange(round(duration_s / step_s) + 1) * step_s
    return LoadProfile(300.0 + 250.0 * np.sin(times_s / 70.0), step_s, "open", 0.0, "saw")


@dataclass(frozen=True)
class FakeServiceStep:
    """What became of a decision."""

    service: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class FakeLog:
    """What ``podgym.envs.kubernetes.cluster.StepLog`` has, as far as it is looked at."""

    number: int
    late_s: float
    api_calls: int
    services: tuple[FakeServiceStep, ...]


class SimulatedLive:
    """``KubernetesEnv``'s face in front of a simulation; the world may differ from what is believed of it.

    Args:
        config: what the environment says of itself.
        truth: changes of the cluster that nobody is told.
        ends_after: intervals after which the target is gone.
        raises: what is raised in the interval of this number.
        foreign: wanted replicas that an autoscaler in the cluster sets, by interval.
    """

    def __init__(
        self,
        config: EnvConfig,
        *,
        truth: Mapping[str, Any] | None = None,
        ends_after: int | None = None,
        raises: tuple[int, BaseException | Callable[[], None]] | None = None,
        foreign: Sequence[int] | None = None,
        planner: Any = None,
        forecaster: Any = None,
    ) -> None:
        steps_s = float(config.episode_s or 600.0)
        quiet = {"cluster": {"load": {"rate_noise_cv": 0.0}}}
        from podgym.eval.live.simulated import RecordedLoad

        self._world = AutoscaleEnv(
            override(override(config, quiet), truth or {}),
            workload=RecordedLoad(sawtooth(steps_s)),
            planner=planner,
            forecaster=forecaster,
        )
        self.config = config
        self._ends_after, self._raises, self._foreign = ends_after, raises, foreign
        self.problems: tuple[str, ...] = ()
        self.ended_because: str | None = None
        self.closed = 0
        self.resets = 0
        self._number = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world, name)

    def reset(self, *, seed: int | None = None) -> Any:
        self.resets += 1
        return self._world.reset(seed=seed)

    @property
    def log(self) -> "FakeLog":
        return FakeLog(self._number, 0.25 * self._number, 2, (FakeServiceStep("web", ("down_window",)),))

    def step(self, action: Any) -> Any:
        return self._advance(lambda: self._world.step(action))

    def step_decisions(self, decisions: Any) -> Any:
        if self._foreign is not None:
            wanted = self._foreign[min(self._number, len(self._foreign) - 1)]
            decisions = [replace(each, replicas=wanted) for each in decisions]
        return self._advance(lambda: self._world.step_decisions(decisions))

    def _advance(self, step: Callable[[], Any]) -> Any:
        self._number += 1
        if self._raises is not None and self._raises[0] == self._number:
            what = self._raises[1]
            if isinstance(what, BaseException):
                raise what
            what()
        *rest, truncated, info = step()
        self.problems = ("request_rate_rps: no data",) if self._number == 2 else ()
        if self._number == self._ends_after:
            truncated, self.ended_because = True, "demo/web: the Deployment was deleted"
        return (*rest, truncated, info)

    def close(self) -> None:
        self.closed += 1


class Opener:
    """Opens simulated clusters and keeps them for questions."""

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.opened: list[SimulatedLive] = []
        self.settings: list[KubernetesSettings] = []
        self.changes: list[Mapping[str, Any]] = []

    def __call__(
        self, settings: KubernetesSettings, *, planner: Any, forecaster: Any, changes: Mapping[str, Any]
    ) -> SimulatedLive:
        config = override(base_config(settings), changes)
        env = SimulatedLive(config, planner=planner, forecaster=forecaster, **self.options)
        self.opened.append(env)
        self.settings.append(settings)
        self.changes.append(changes)
        return env


def raising(number: int) -> Callable[[], None]:
    """Return what sends this process a signal."""
    return lambda: signal.raise_signal(number)


HPA = Contender("hpa", "hpa")
ITSELF = Contender("cluster", "cluster")
STEPS = 20


def plan(folder, *contenders, **fields):
    chosen = {"episode_s": STEPS * 15.0, "pause_s": 0.0, "seed": 4, **fields}
    settings = chosen.pop("settings", live_settings())
    return LivePlan("cluster x", settings, contenders or (HPA,), folder, **chosen)


def run(folder, *contenders, opener=None, sleep=None, **fields):
    opener = opener or Opener()
    live = LiveRun(plan(folder, *contenders, **fields), open_environment=opener, sleep=sleep or pytest.fail)
    return live.run()


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]
