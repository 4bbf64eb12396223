"""The relaxed queue against the simulator: equal where nothing is relaxed, never worse anywhere."""

import numpy as np
import pytest

from podgym.envs.cluster import ServiceDecision
from podgym.envs.config import override
from podgym.envs.env import AutoscaleEnv
from podgym.envs.totals import INFO_KEYS
from podgym.eval.bounds import episode as episodes
from podgym.eval.bounds.episode import ScheduleCosts, check_config, episode_load, least_starts_s, pod_shape
from podgym.eval.bounds.program import pair_ratios, places
from podgym.eval.bounds.relaxation import RelaxedQueue, Servers

RATIO = list(INFO_KEYS).index("slo_violation_ratio")
PHYSICS = [
    {},
    {"load_balancing": "random"},
    {"demand_cv": 0.3},
    {"demand_cv": 2.0},
    {"discipline": "ps"},
    {"cpu_demand_core_s": 0.03},
]


def relaxed(config, pods, seed):
    """Violation ratios of intervals that begin empty with some pods, (num_steps,)."""
    service = check_config(config)
    queue = RelaxedQueue(service, episode_load(config, seed))
    shape = pod_shape(service)
    queues = 1.0 if service.parameters.load_balancing == "pooled" else float(pods)
    servers = Servers(*np.array([[pods * shape.servers], [pods * shape.capacity_cores], [queues]]))
    return queue.ratios(queue.steps, [servers] * queue.ticks)[:, 0]


@pytest.mark.parametrize("load", ["constant", "flash", "high_load"])
@pytest.mark.parametrize("physics", PHYSICS[:4], ids=str)
def test_the_first_interval_is_that_of_the_simulator(make_config, load, physics):
    compared = 0
    for pods in (1, 2, 3, 5, 9, 20):
        config = make_config(load, physics=physics, changes={"initial_replicas": pods}, episode_s=30.0)
        env = AutoscaleEnv(config)
        env.reset(seed=4)
        real = env.step_decisions([ServiceDecision()])[4]["slo_violation_ratio"]
        least = relaxed(config, pods, 4)[0]
        assert least <= real + 1e-12
        if real < 0.3:  # beyond that an exponential wait is assumed, which violates less
            assert least == pytest.approx(real, rel=1e-9, abs=1e-15)
            compared += 1
    assert compared >= 2


@pytest.mark.parametrize("load", ["variable", "family:burst"])
def test_the_load_is_what_the_simulator_will_meet(make_config, load):
    for kind in (load, "high_load"):
        config = make_config(kind)
        env = AutoscaleEnv(config)
        env.reset(seed=11)
        known = episode_load(config, 11)
        for step in range(env.episode_steps):
            env.step_decisions([ServiceDecision(replicas=28)])
            if known.closed:
                assert env.interval["users"][0] == pytest.approx(known.values[step, -1], rel=1e-12)
            else:
                arrived = known.values[step].sum() * known.tick_s
                assert env.interval["arrived"][0] == pytest.approx(arrived, rel=1e-12)


def worst_shortfall(config, seed, courses):
    """Play courses of replicas; return by how much a ratio of the simulator is below the relaxed one."""
    service = check_config(config)
    shape = pod_shape(service)
    room = places(config, shape)
    load = episode_load(config, seed)
    least = pair_ratios(service, load, shape, min(room, service.max_replicas), least_starts_s(config, seed))
    core = episodes._core(config, None, len(courses))
    episodes._start(core, seed)
    before = np.full(len(courses), service.initial_replicas)
    worst = 0.0
    for step, now in enumerate(courses.T):
        core.wanted[:, 0] = now
        core.advance()
        first = np.minimum(np.minimum(before, now), room)
        found = core.totals[:, RATIO] - least[step, first, np.minimum(now, room)]
        worst = max(worst, float(-found.min()))
        before = now
    return worst


EVERY_PHYSICS = [
    *PHYSICS,
    {"start_up_s": 0.0},
    {"queue_limit_per_pod": 0},
    {"memory_growth_bytes_per_s": 8e6},
]


@pytest.mark.parametrize(
    ("load", "physics"),
    [(load, {}) for load in ("constant", "flash", "low_load")]
    + [(("family:burst", "high_load")[i % 2], physics) for i, physics in enumerate(EVERY_PHYSICS)],
    ids=str,
)
def test_no_interval_of_random_courses_violates_less(make_config, random_replicas, load, physics):
    # Backlogs at the beginning are searched on a grid, hence a tolerance far below what matters.
    rng = np.random.default_rng(len(str(physics)) + len(load))
    config = make_config(load, physics=physics, episode_s=300.0)
    courses = random_replicas(rng, 32, 20)
    assert worst_shortfall(config, int(rng.integers(1000)), courses) < 2e-5


def test_an_attack_on_the_empty_beginning_alone_would_succeed(make_config, random_replicas):
    """Without backlogs, variances and later starts the relaxation can be undercut: the attack has teeth."""
    undercut = 0.0
    for seed in range(3):
        config = make_config("high_load", episode_s=600.0)
        service = check_config(config)
        courses = random_replicas(np.random.default_rng(seed), 24, 40, most=8)
        core = episodes._core(config, None, len(courses))
        episodes._start(core, seed)
        queue = RelaxedQueue(service, episode_load(config, seed))
        shape = pod_shape(service)
        for step, now in enumerate(courses.T):
            core.wanted[:, 0] = now
            core.advance()
            servers = Servers(now * shape.servers, now * shape.capacity_cores, np.ones(len(now)))
            plain = queue.ratios(np.array([step]), [servers] * queue.ticks)[0]
            undercut = max(undercut, float((plain - core.totals[:, RATIO]).max()))
    assert undercut > 1e-4


@pytest.mark.parametrize("load", ["flash", "family:burst"])
def test_more_pods_and_earlier_pods_never_violate_more(make_config, load):
    config = make_config(load)
    service = check_config(config)
    ratios = pair_ratios(service, episode_load(config, 2), pod_shape(service), 28, np.full(20, 5.0))
    assert (np.diff(ratios, axis=1) <= 0.0).all()
    assert (np.diff(ratios, axis=2) <= 0.0).all()
    assert (ratios >= 0.0).all()
    assert (ratios <= 1.0).all()


def test_without_pods_all_requests_violate_and_without_requests_none(make_config):
    config = make_config("constant", rate_rps=100.0)
    service = check_config(config)
    load = episode_load(config, 0)
    nobody = Servers(np.ones(1), np.zeros(1), np.ones(1))
    one = Servers(np.ones(1), np.full(1, 0.5), np.ones(1))
    queue = RelaxedQueue(service, load)
    assert (queue.ratios(queue.steps, [nobody] * queue.ticks) == 1.0).all()
    idle = episodes.EpisodeLoad(np.zeros_like(load.values), False, load.tick_s, 0.0)
    queue = RelaxedQueue(service, idle)
    assert (queue.ratios(queue.steps, [one] * queue.ticks) == 0.0).all()
    assert (queue.ratios(queue.steps, [nobody] * queue.ticks) == 0.0).all()


def test_schedules_cost_the_same_side_by_side_and_alone(make_config, random_replicas):
    config = make_config("family:burst", episode_s=150.0)
    courses = random_replicas(np.random.default_rng(0), 5, 10)
    together = ScheduleCosts(config, 3, num_envs=3).of(courses)
    alone = ScheduleCosts(config, 3, num_envs=1)
    assert together.tolist() == [alone.of(course[None])[0] for course in courses]
    env = AutoscaleEnv(config)
    env.reset(seed=3)
    rewards = [env.step_decisions([ServiceDecision(replicas=int(n))])[1] for n in courses[0]]
    assert together[0] == pytest.approx(-sum(rewards), rel=1e-12)


def test_closed_ratio_uses_users(make_config):
    config = override(make_config("low_load"), {"cluster": {"load": {"rate_noise_cv": 0.0}}})
    load = episode_load(config, 0)
    assert load.closed
    assert load.think_ratio == pytest.approx(1.0 / (1.49 + 0.097))
