"""What an environment shows in bulk equals what its records say field by field, and stays as it was shown.

Compared as text: it tells floats apart to the last bit, 1 from 1.0, and is equal where both are nan.
"""

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from oracles import field_by_field

from podgym.envs import AutoscaleEnv, ServiceDecision
from podgym.envs.cluster import ClusterObservation, PodView, Quota
from podgym.envs.config import override
from podgym.envs.env import REPORT_COLUMNS
from podgym.envs.simulator import ClusterConfig
from podgym.envs.simulator.cluster import SimulatedClusters, stream_seeds
from podgym.envs.simulator.nodes import DEAD_ENDPOINT
from podgym.envs.simulator.parameters import MIB
from podgym.envs.simulator.records import UNREACHABLE
from podgym.envs.workloads.profile import LoadProfile

MakeEnv = Callable[..., AutoscaleEnv]
QUOTAS = (Quota(0.5, 0.5, 512.0 * MIB, 768.0 * MIB), Quota(0.2505, 1.0, 300.5 * MIB, 320.0 * MIB))
TOO_SMALL = Quota(0.5, 0.5, 100.0 * MIB, 150.0 * MIB)
STORMY: dict[str, Any] = {
    "faults": {"node_failures_per_hour": 30.0, "node_failure_duration_s": 90.0},
    "monitoring": {"sample_loss_probability": 0.3},
    "nodes": {
        "count": 6,
        "cpu_cores": 2.0,
        "images_cached": False,
        "detection_s": 20.0,
        "eviction_s": 30.0,
    },
}
FLAKY = {"start_failure_probability": 0.4, "image_pull_s": 20.0, "start_up_s": 25.0, "termination_s": 20.0}


def stormy(two_services: dict[str, Any]) -> dict[str, Any]:
    """Two services on failing nodes, whose pods start badly and slowly."""
    services = [override(service, {"parameters": FLAKY}) for service in two_services["services"]]
    return {**STORMY, "services": services}


def wild_decision(rng: np.random.Generator, pods: tuple[PodView, ...]) -> ServiceDecision:
    """Return a decision of any kind: replicas, a roll-out, an admission, evictions, resizes."""
    replicas = int(rng.integers(1, 25))
    quota = (*QUOTAS, TOO_SMALL)[rng.integers(3)]
    some = tuple(pod.name for pod in pods if rng.random() < 0.2)
    kind = rng.integers(6)
    if kind == 0:
        return ServiceDecision(
            replicas,
            quota.cpu_request_cores,
            quota.cpu_limit_cores,
            quota.memory_request_bytes,
            quota.memory_limit_bytes,
        )
    if kind == 1:
        return ServiceDecision(replicas, admission=quota, evict=some)
    if kind == 2:
        return ServiceDecision(admission=quota, resize=some)
    return ServiceDecision(replicas if kind == 3 else None)


def kinds(env: AutoscaleEnv, observation: ClusterObservation) -> set[object]:
    """Return what an observation and the cluster behind it are examples of."""
    world = env._core.clusters.world
    found: set[object] = set()
    for s, service in enumerate(observation.services):
        slots = int(world.services[0, s]["slots"])
        found |= {int(phase) for phase in world.phase[0, s, :slots]}
        dead = world.pods[0, s, :slots]["endpoint"] == DEAD_ENDPOINT
        if (dead & (world.phase[0, s, :slots] == UNREACHABLE)).any():
            found.add("dead endpoint")
        if len({pod.quota for pod in service.pods}) > 1:
            found.add("several quotas")
        for pod in service.pods:
            found |= {"sample" if pod.sample else "no sample", "killed" if pod.oom_killed_s else "not killed"}
        found.add("never scraped" if service.sample_time_s is None else "scraped")
        found |= {name for name in ("forecast", "plan") if getattr(service, name) is not None}
    return found


@pytest.mark.parametrize(("mode", "planned"), [("naive", False), ("oracle", True), ("none", True)])
def test_everything_shown_is_what_the_records_say(
    make_env: MakeEnv, two_services: dict[str, Any], mode: str, planned: bool
) -> None:
    env = make_env(
        (60.0, 500.0, 900.0, 100.0, 0.0, 300.0),
        planned=planned,
        episode_s=2400.0,
        cluster=stormy(two_services),
        observation={"forecast": mode},
    )
    rng = np.random.default_rng(5)
    seen: set[object] = set()
    for seed in (1, 2):
        env.reset(seed=seed)
        for _ in range(env.episode_steps):
            observation = env.observe()
            assert repr(observation) == repr(field_by_field.observe_env(env))
            seen |= kinds(env, observation)
            env.step_decisions([wild_decision(rng, service.pods) for service in observation.services])
    phases = set(range(8))
    pods = {"dead endpoint", "several quotas", "sample", "no sample", "killed", "not killed"}
    ahead = ({"forecast"} if mode != "none" else set()) | ({"plan"} if planned else set())
    assert seen == phases | pods | {"never scraped", "scraped"} | ahead


def test_equal_observations_compare_equal(make_env: MakeEnv) -> None:
    env = make_env()
    env.reset(seed=0)
    for _ in range(8):
        env.step_decisions([ServiceDecision(replicas=9)])
    assert env.observe() == field_by_field.observe_env(env)  # nothing is nan here
    before = env.observe()
    env.step_decisions([ServiceDecision()])
    assert env.observe() != before


def test_each_cluster_of_a_batch_is_shown(two_services: dict[str, Any]) -> None:
    clusters = SimulatedClusters(override(ClusterConfig(), two_services), 3)
    for index, rate_rps in enumerate((50.0, 400.0, 0.0)):
        profile = LoadProfile(np.full(2, rate_rps), 600.0, "open", 0.0, "test")
        clusters.reset(index, profile, stream_seeds(np.random.default_rng(index)))
    for _ in range(6):
        clusters.advance()
        shown = [repr(clusters.observe(index)) for index in range(3)]
        assert shown == [repr(field_by_field.observe_cluster(clusters, index)) for index in range(3)]
    assert len(set(shown)) == 3


def test_an_observation_stays_as_it_was(make_env: MakeEnv, two_services: dict[str, Any]) -> None:
    env = make_env(planned=True, cluster=two_services)
    kept = []
    for seed in (0, 1):
        env.reset(seed=seed)
        for step in range(12):
            observation, report = env.observe(), env.report()
            kept.append((observation, repr(observation), report, report.tobytes()))
            env.step_decisions([ServiceDecision(replicas=3 + step % 5)] * 2)
    for observation, text, report, numbers in kept:
        assert repr(observation) == text
        assert report.tobytes() == numbers
    assert len({text for _, text, _, _ in kept}) == len(kept) - 1  # both episodes begin alike


def test_a_pickled_environment_shows_its_own_cluster(make_env: MakeEnv) -> None:
    env = make_env()
    env.reset(seed=0)
    env.observe()
    twin = pickle.loads(pickle.dumps(env))
    for one, replicas in ((env, 3), (twin, 9)):
        for _ in range(6):
            one.step_decisions([ServiceDecision(replicas=replicas)])
    for one, replicas in ((env, 3), (twin, 9)):
        assert repr(one.observe()) == repr(field_by_field.observe_env(one))
        assert one.observe().services[0].replicas == replicas


@pytest.mark.parametrize("randomised", [False, True])
def test_a_report_is_what_the_records_say(
    make_env: MakeEnv, two_services: dict[str, Any], randomised: bool
) -> None:
    spread = {"cpu_demand": (0.5, 2.0)} if randomised else {}
    env = make_env((60.0, 700.0, 90.0), cluster=two_services, randomisation=spread)
    env.reset(seed=4)
    for step in range(20):
        env.step_decisions([ServiceDecision(replicas=2 + step % 7)] * 2)
        expected = field_by_field.interval(env)
        found = env.interval
        assert tuple(found) == tuple(expected) == REPORT_COLUMNS
        for row, name in zip(env.report(), REPORT_COLUMNS, strict=True):
            assert row.tobytes() == found[name].tobytes() == expected[name].tobytes(), name
