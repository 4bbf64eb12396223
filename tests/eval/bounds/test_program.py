"""The dynamic program against enumeration, and what it knows of pods against the simulator."""

from itertools import pairwise, product

import numpy as np
import pytest

from podgym.envs.cluster import ServiceDecision
from podgym.envs.config import override
from podgym.envs.env import AutoscaleEnv
from podgym.errors import InputError
from podgym.eval.bounds.episode import (
    ScheduleCosts,
    check_config,
    episode_load,
    least_starts_s,
    pod_shape,
    prices_of,
)
from podgym.eval.bounds.program import (
    StageCosts,
    cheapest_course,
    places,
    stage_costs,
    turns_away_early,
)


@pytest.mark.parametrize("seed", range(8))
def test_the_cheapest_course_is_that_of_enumeration(seed):
    rng = np.random.default_rng(seed)
    steps, choices = int(rng.integers(1, 6)), int(rng.integers(1, 5))
    replicas = np.arange(3, 3 + choices)
    stages = StageCosts(replicas, rng.random((steps, choices, choices)))
    initial = int(rng.integers(choices))
    costs = {
        course: sum(stages.costs[t, a, b] for t, (a, b) in enumerate(pairwise((initial, *course))))
        for course in product(range(choices), repeat=steps)
    }
    found = cheapest_course(stages, int(replicas[initial]))
    best = min(costs, key=lambda course: costs[course])
    assert found.cost == pytest.approx(costs[best], rel=1e-12)
    assert found.replicas.tolist() == [int(replicas[index]) for index in best]
    assert found.interval_costs.sum() == pytest.approx(found.cost, rel=1e-12)


def test_stage_costs_of_an_idle_cluster_are_exactly_what_the_environment_charges(make_config):
    """Without load nothing violates: pods, those that leave, and churn are all that is left."""
    changes = {"initial_replicas": 5, "max_replicas": 28}
    idle = {"noise": (0.0, 0.0), "level": (1.0, 1.0)}
    config = make_config("constant", rate_rps=1e-9, changes=changes, options={"grid": idle}, episode_s=120.0)
    service = check_config(config)
    load = episode_load(config, 0)
    stages = stage_costs(
        config, service, load, pod_shape(service), prices_of(config), least_starts_s(config, 0)
    )
    rng = np.random.default_rng(3)
    courses = rng.integers(1, 20, size=(10, load.values.shape[0]))
    real = ScheduleCosts(config, 0).of(courses)
    for course, cost in zip(courses, real, strict=True):
        moves = pairwise((5, *course.tolist()))
        known = sum(stages.costs[t, before - 1, now - 1] for t, (before, now) in enumerate(moves))
        assert known == pytest.approx(cost, rel=1e-9)


@pytest.mark.parametrize("cores", [0.3, 0.5, 1.3, 3.9])
@pytest.mark.parametrize("gib", [0.5, 5.0])
def test_places_are_what_the_scheduler_fills(make_config, cores, gib):
    changes = {"cpu_request_cores": cores, "memory_request_bytes": gib * 2.0**30, "max_replicas": 60}
    config = make_config("constant", changes={**changes, "initial_replicas": 60})
    env = AutoscaleEnv(config)
    env.reset(seed=0)
    env.step_decisions([ServiceDecision()])
    pending = env.interval["replicas_pending"][0]
    assert places(config, pod_shape(check_config(config))) == 60 - pending


@pytest.mark.parametrize(
    ("physics", "least_s"),
    [
        ({}, 5.0),
        ({"start_up_s": 0.0}, 0.0),
        ({"start_up_cv": 0.0}, 10.0),
        ({"start_up_cv": 0.0, "start_up_s": 11.0, "probe_period_s": 2.0}, 12.0),
        ({"start_up_cv": 1.0, "probe_period_s": 1.0}, 1.0),
        ({"start_up_cv": 1.0, "probe_period_s": 1.0, "start_failure_probability": 0.5}, 1.0),
    ],
    ids=str,
)
def test_no_pod_is_ready_before_the_least_start(make_config, physics, least_s):
    """Restless courses start many pods; a second is a control interval, so that starts can be timed."""
    config = make_config("constant", physics=physics, changes={"initial_replicas": 2}, episode_s=120.0)
    config = override(config, {"cluster": {"control_interval_s": 1.0}})
    starts_s = least_starts_s(config, 1)
    assert (np.diff(starts_s) <= 0.0).all()
    assert starts_s.min() >= least_s
    env = AutoscaleEnv(config)
    env.reset(seed=1)
    created_s, earliest_s = {}, np.inf
    for step in range(env.episode_steps):
        env.step_decisions([ServiceDecision(replicas=1 if step % 16 > 13 else 28)])
        for pod in env.observe().services[0].pods:
            created_s.setdefault(pod.name, float(step))
            if pod.ready and pod.start_time_s >= 0.0:
                start_s = pod.ready_transition_time_s - created_s[pod.name]
                assert start_s >= starts_s[step]
                earliest_s = min(earliest_s, start_s)
    assert earliest_s < np.inf


def test_short_queues_are_known_to_turn_away(make_config):
    for physics, early in (
        ({"concurrency_per_pod": 4}, False),
        ({"concurrency_per_pod": 4, "queue_limit_per_pod": 0}, True),
        ({"timeout_s": 0.3}, True),
        ({"base_memory_bytes": 760 * 2.0**20}, True),  # killed with all that it holds
        ({"memory_growth_bytes_per_s": 1.0}, True),
    ):
        service = check_config(make_config("constant", physics=physics))
        assert turns_away_early(service, pod_shape(service)) == early


def test_too_many_replicas_for_the_program_are_refused(make_config):
    config = make_config("constant", changes={"max_replicas": 300})
    service = check_config(config)
    with pytest.raises(InputError, match=r"max_replicas of 'web' is 300; .* at most 256"):
        stage_costs(
            config, service, episode_load(config, 0), pod_shape(service), prices_of(config), np.zeros(20)
        )
