"""One service's decisions: limits that nobody set are never written, and only acting remembers quotas."""

import math

import pytest

from podgym.envs.cluster import Quota, ServiceDecision
from podgym.envs.kubernetes.actuator import Actuator
from podgym.envs.kubernetes.errors import ClusterError
from podgym.envs.kubernetes.guard import Signal
from podgym.envs.kubernetes.interval import ServiceState
from podgym.envs.kubernetes.objects import ScaleState
from podgym.envs.kubernetes.readings import DeploymentState, PodState, ServiceReading
from podgym.envs.kubernetes.settings import parse_settings
from podgym.envs.kubernetes.targets import resolve

MIB = 2.0**20
NAN = math.nan
BARE = Quota(0.5, NAN, 512.0 * MIB, NAN)
FULL = Quota(0.5, 1.0, 512.0 * MIB, 768.0 * MIB)
MORE = ServiceDecision(cpu_request_cores=0.6, cpu_limit_cores=0.9, memory_request_bytes=600.0 * MIB)


class Api:
    def __init__(self, template, *, in_place=False, failing=()):
        self.template, self.in_place, self.failing, self.written = template, in_place, failing, []
        self.overruled, self.paused = None, False

    def deployment(self, namespace, name):
        labels = {"app": name}
        return DeploymentState(
            namespace, name, "u", "1", 1, 3, 3, 3, f"app={name}", labels, {"main": self.template}, {},
            self.paused,
        )  # fmt: skip

    def can_resize(self):
        return self.in_place

    def _write(self, what, *values):
        if what in self.failing:
            raise ClusterError(f"{what} failed")
        self.written.append((what, *values))

    def set_replicas(self, deployment, replicas):
        self._write("replicas", replicas)
        return ScaleState(replicas if self.overruled is None else self.overruled, "2")

    def set_quota(self, deployment, container, quota):
        self._write("quota", quota)

    def resize_pod(self, namespace, pod, container, quota):
        self._write("resize", pod, quota)

    def evict_pod(self, namespace, pod):
        self._write("evict", pod)

    def emit_event(self, deployment, reason, message):
        self._write("event", message)


def carried_out(api, decision, *, signal="ok", **changes):
    settings = parse_settings(
        {
            "services": {"web": {"namespace": "demo"}},
            "metrics": {"url": "http://x"},
            "safety": {"down_window_s": 0.0},
            **changes,
        }
    )
    _, (target,) = resolve(settings, api)
    actuator = Actuator(target, settings, api, started_s=0.0, interval_s=15.0)
    pods = (PodState("web-a", "Running", True, 0.0, 0.0, False, api.template),)
    state = ServiceState(3, target.service.quota, pods, ServiceReading())
    step = actuator.carry_out(
        decision, state, api.deployment("demo", "web"), (Signal("pods", signal),), pods_known=True, now_s=15.0
    )
    return step, actuator


@pytest.mark.parametrize("signal", ["ok", "invalid"])
@pytest.mark.parametrize("in_place", [False, True])
def test_a_limit_that_nobody_set_is_never_written(in_place, signal):
    api = Api(BARE, in_place=in_place)
    carried_out(api, MORE, signal=signal)
    for entry in api.written:
        quota = entry[-1]
        assert math.isnan(quota.cpu_limit_cores)
        assert math.isnan(quota.memory_limit_bytes)
    if signal == "ok":
        assert api.written[-1][-1].cpu_request_cores == 0.6


def test_limits_that_are_set_follow():
    api = Api(FULL)
    step, _ = carried_out(api, MORE)
    assert api.written == [("quota", Quota(0.6, 0.9, 600.0 * MIB, 768.0 * MIB))] or step.problems
    assert "quota_down" not in step.reasons


def test_only_acting_remembers_what_pods_are_to_have():
    for mode, remembered in (("act", True), ("dry_run", False), ("shadow", False)):
        _, actuator = carried_out(
            Api(FULL, in_place=True), ServiceDecision(cpu_request_cores=0.7, cpu_limit_cores=1.0), mode=mode
        )
        assert (actuator.pod_quotas.wanted is not None) == remembered, mode


def test_each_failure_is_told_and_none_hides_the_replicas():
    api = Api(FULL, failing=("event", "quota", "evict"))
    decision = ServiceDecision(5, cpu_request_cores=0.7, evict=("web-a",))
    step, actuator = carried_out(api, decision, emit_events=True)
    assert api.written == [("replicas", 5)]
    assert (step.written, step.quota_set) == (True, None)
    assert [problem.split()[0] for problem in step.problems] == ["event", "quota", "evict"]
    assert actuator.expected == {5}


def test_bad_data_evicts_nobody():
    api = Api(FULL)
    carried_out(api, ServiceDecision(evict=("web-a",)), signal="stale")
    assert api.written == []


@pytest.mark.parametrize(("in_place", "written"), [(False, []), (True, ["resize"])])
def test_a_paused_deployment_gets_its_quota_in_place_or_not_at_all(in_place, written):
    api = Api(FULL, in_place=in_place)
    api.paused = True
    step, _ = carried_out(api, MORE)
    assert [what for what, *_ in api.written] == written
    assert ("quota_paused" in step.reasons) == (not in_place)
    assert (step.quota_set is None) == (not in_place)
