"""Each service pays for its own calls of the API server: one that eats its share leaves the others theirs."""

import dataclasses

import pytest

pytest.importorskip("kubernetes")

from oracles.simulated_backend import FakeClock

from podgym.envs.cluster import ServiceDecision
from podgym.envs.kubernetes.cluster import KubernetesCluster
from podgym.envs.kubernetes.opening import open_metrics
from podgym.envs.kubernetes.readings import PodUsage, ServiceReading, WatchedService
from podgym.envs.kubernetes.settings import MetricsSettings, TargetSettings
from podgym.envs.kubernetes.targets import Target
from podgym.envs.make import scenario_config

LIMIT = 5
SAFETY = {"max_api_calls_per_step": LIMIT, "max_retries": 9, "down_window_s": 0.0, "up_pods": 100}
WEB = "/deployments/web$"
HOLD = ServiceDecision()


class Metrics:
    """Two pods of each Deployment, just measured."""

    def __init__(self, clock):
        self.clock = clock

    def read(self, services):
        now_s = self.clock.epoch_s()
        return tuple(
            ServiceReading(
                time_s=now_s, window_s=30.0, request_rate_rps=5.0, error_ratio=0.0,
                pods={f"{each.deployment}-5d89bdfbf9-{number:05d}": PodUsage(0.1, 1e8, now_s, 30.0)
                      for number in (1, 2)},
            )
            for each in services
        )  # fmt: skip


@pytest.fixture
def services_of(api_for, server):
    """Makes a cluster of two services, of which ``web`` comes first, and its API."""

    def made(**changes):
        server.add_deployment("api")
        names = ("web", "api")
        targets = {name: TargetSettings(namespace="demo") for name in names}
        api = api_for(services=targets, safety=SAFETY, **changes)
        (service,) = scenario_config("family_burst").cluster.services
        targets = [
            Target(
                dataclasses.replace(
                    service,
                    parameters=dataclasses.replace(service.parameters, name=name),
                    initial_replicas=2,
                    min_replicas=1,
                    max_replicas=20,
                ),
                WatchedService(name, "demo", name, "app", 0.5),
                api.deployment("demo", name),
            )
            for name in names
        ]
        clock = FakeClock()
        metrics = Metrics(clock) if not changes else open_metrics(api.settings, api)
        cluster = KubernetesCluster(
            api.settings, targets, api, metrics, clock, interval_s=15.0, run_id="run-1"
        )
        cluster.begin()
        return cluster, api

    return made


def test_p54_a_service_whose_calls_fail_takes_none_of_the_others(services_of, server):
    cluster, api = services_of()
    cluster.apply([HOLD, HOLD])
    cluster.advance()
    server.fail("GET", WEB, 503, times=1000)
    made = len(server.calls)
    cluster.apply([HOLD, ServiceDecision(replicas=4)])
    log = cluster.advance()
    web, other = log.services
    assert any("one service are spent" in problem for problem in web.problems)
    assert other.written
    assert other.problems == ()
    assert server.deployment("api")["spec"]["replicas"] == 4
    assert len(server.calls) - made == LIMIT + 3  # of api: the write, the Deployment, its pods
    assert log.api_calls == api.calls == LIMIT + 3


def test_p54_no_service_makes_more_calls_than_declared_in_a_whole_step(services_of, server):
    cluster, _ = services_of()
    server.fail("GET", "/deployments/(web|api)$", 503, times=1000)
    for _ in range(2):
        made = len(server.calls)
        cluster.apply([HOLD, HOLD])
        cluster.advance()
        assert len(server.calls) - made == 2 * LIMIT


def test_p54_metrics_server_is_asked_on_the_account_of_its_service(services_of, server):
    cluster, _ = services_of(metrics=MetricsSettings(source="metrics-server"))
    server.fail("GET", "/metrics.k8s.io/", 503, times=1000)
    made = len(server.calls)
    cluster.apply([HOLD, HOLD])
    log = cluster.advance()
    # Deployment and pods, then for metrics-server the Deployment again; two calls of it are left.
    assert len(server.calls) - made == 2 * LIMIT
    assert all(any("are spent" in text for text in step.problems) for step in log.services)
