"""The lower bound, attacked: nobody pays less, and constant load is nearly served at the bound."""

import dataclasses

import numpy as np
import pytest

from podgym.baselines import make_controller
from podgym.envs.cluster import ServiceDecision
from podgym.envs.config import EnvConfig, override
from podgym.envs.env import AutoscaleEnv
from podgym.envs.scenarios import boutique, trace
from podgym.envs.workloads import make_workload
from podgym.errors import InputError
from podgym.eval.bounds import clairvoyant_schedule, lower_bound
from podgym.eval.bounds.episode import ScheduleCosts, check_config
from podgym.eval.runner import run_episode

LOADS = (
    "constant",
    "diurnal",
    "variable",
    "family:burst",
    "flash",
    "high_load",
    "burst",
    "low_load",
    "trace",
)


def episode_cost(config, controller, seed):
    record = run_episode(AutoscaleEnv(config), controller, seed)
    return -float(record.totals["reward"].sum())


@pytest.mark.parametrize(("load", "seed"), [*((load, 7) for load in LOADS), ("flash", 0), ("burst", 0)])
def test_nobody_pays_less(make_config, random_replicas, load, seed):
    config = make_config(load, episode_s=150.0)
    bound = lower_bound(config, seed, quotas=False)
    free = lower_bound(config, seed, quotas=True)
    player = ScheduleCosts(config, seed)
    static = np.tile(np.arange(1, 29)[:, None], (1, player.num_steps))
    wild = random_replicas(np.random.default_rng(seed), 36, player.num_steps)
    costs = player.of(np.concatenate([static, wild]))
    hpa = episode_cost(config, make_controller("hpa"), seed)
    clairvoyant = clairvoyant_schedule(config, seed, rounds=2).cost
    assert bound.cost <= min(float(costs.min()), hpa, clairvoyant)
    assert free.cost <= bound.cost
    assert 0.0 <= bound.proved_cost <= bound.cost
    assert 0.0 <= free.proved_cost <= free.cost
    assert clairvoyant <= min(float(costs.min()), hpa) * 1.001
    assert clairvoyant <= 1.4 * bound.cost  # pods that start late at the very beginning cost most of it


def climb(config, seed, rng, *, rounds, levels):
    """Look for a cheap schedule by random changes of the best so far; quotas too when there are levels."""
    service = check_config(config)
    player = ScheduleCosts(config, seed, num_envs=48)
    start = clairvoyant_schedule(config, seed, quotas=bool(levels), rounds=1)
    replicas, best = start.replicas, start.cost
    quota = dataclasses.astuple(service.quota)
    quotas = start.quotas if start.quotas is not None else np.tile(quota, (player.num_steps, 1))
    for _ in range(rounds):
        courses = np.repeat(replicas[None], 48, axis=0)
        sizes = np.repeat(quotas[None], 48, axis=0)
        for course, size in zip(courses[1:], sizes[1:], strict=True):
            first = int(rng.integers(player.num_steps))
            stretch = slice(first, first + int(rng.integers(1, 7)))
            if levels and rng.random() < 0.5:
                cores, memory = float(rng.choice(levels[0])), float(rng.choice(levels[1]))
                ratios = service.cpu_limit_ratio, service.memory_limit_ratio
                size[stretch] = cores, cores * ratios[0], memory, memory * ratios[1]
                course[stretch] = max(round(course[first] * size[first - 1, 0] / cores), 1)
            else:
                course[stretch] += rng.integers(-2, 3)
            np.clip(course, service.min_replicas, service.max_replicas, out=course)
        costs = player.of(courses, sizes if levels else None)
        winner = int(costs.argmin())
        if costs[winner] < best:
            best, replicas, quotas = float(costs[winner]), courses[winner], sizes[winner]
    return best


PHYSICS = [
    {},
    {"load_balancing": "random"},
    {"demand_cv": 0.3, "start_up_s": 0.0},
    {"discipline": "ps", "termination_s": 0.0},
    {"demand_cv": 2.0, "start_up_cv": 0.0, "start_up_s": 3.0, "probe_period_s": 1.0},
    {"queue_limit_per_pod": 10, "concurrency_per_pod": 4},
    {"memory_growth_bytes_per_s": 8e6, "restart_backoff_s": 1.0},
]


@pytest.mark.parametrize(
    ("load", "physics"),
    [(("family:flash", "high_load")[index % 2], physics) for index, physics in enumerate(PHYSICS)],
    ids=str,
)
def test_hill_climbing_in_the_simulator_does_not_undercut_it(make_config, load, physics):
    rng = np.random.default_rng(len(str(physics)))
    changes = {"initial_replicas": int(rng.integers(1, 9)), "cpu_limit_ratio": float(rng.choice([1.0, 1.5]))}
    config = make_config(load, episode_s=150.0, physics=physics, changes=changes)
    weights = {"slo_violation": float(rng.choice([-3.0, -20.0])), "churn": float(rng.choice([0.0, -1.0]))}
    config = override(config, {"reward": {"weights": weights}})
    seed = int(rng.integers(1000))
    bound = lower_bound(config, seed, quotas=False)
    assert bound.cost <= climb(config, seed, rng, rounds=6, levels=()) + 1e-9


@pytest.mark.parametrize("resize", ["rolling", "in_place"])
@pytest.mark.parametrize("load", ["family:burst", "high_load"])
def test_changing_quotas_does_not_undercut_the_bound_with_quotas(make_config, load, resize):
    rng = np.random.default_rng(len(load) + len(resize))
    config = make_config(load, episode_s=150.0, physics={"resize": resize})
    service = check_config(config)
    least = service.parameters.base_memory_bytes / service.memory_limit_ratio
    any_size = (np.geomspace(0.05, 3.9, 30), least * np.array([1.001, 1.05, 1.3]))
    its_own = (service.cpu_levels_cores, service.memory_levels_bytes)
    bound = lower_bound(config, 5, quotas=True)
    for levels in (any_size, its_own):
        assert bound.cost <= climb(config, 5, rng, rounds=6, levels=levels)


@pytest.mark.parametrize("resize", ["rolling", "in_place"])
def test_the_environments_own_actions_do_not_undercut_it(make_config, resize):
    config = make_config("variable", episode_s=150.0, physics={"resize": resize})
    bound = lower_bound(config, 3, quotas=True).cost
    env = AutoscaleEnv(config)
    env.action_space.seed(0)
    for _ in range(20):
        env.reset(seed=3)
        cost = -sum(env.step(env.action_space.sample())[1] for _ in range(env.episode_steps))
        assert cost >= bound


def test_evicting_pods_does_not_undercut_it(make_config):
    """Pods that are deleted and replaced serve late: courses of ready pods that no schedule can make."""
    config = make_config("family:flash", episode_s=150.0, rate_rps=150.0)
    bound = lower_bound(config, 8, quotas=False).cost
    plan = clairvoyant_schedule(config, 8, rounds=0).replicas
    rng = np.random.default_rng(0)
    env = AutoscaleEnv(config)
    for _ in range(20):
        env.reset(seed=8)
        cost, often = 0.0, rng.choice([0.1, 0.4, 1.0])
        for replicas in plan.tolist():
            names = [pod.name for pod in env.observe().services[0].pods if not pod.deleted]
            chosen = rng.permutation(names)[: rng.integers(1, 4)] if rng.random() < often else []
            decision = ServiceDecision(replicas=replicas, evict=tuple(map(str, chosen)))
            cost -= env.step_decisions([decision])[1]
        assert cost >= bound


def steady(make_config, cores, **changes):
    grid = {"noise": (0.0, 0.0), "level": (1.0, 1.0)}
    changes = {"initial_replicas": 1, "cpu_request_cores": cores, "memory_request_bytes": 2.0**31, **changes}
    config = make_config("constant", changes=changes, options={"grid": grid})
    return override(
        config, {"cluster": {"load": {"rate_noise_cv": 0.0}}, "reward": {"weights": {"memory_cost": 0.0}}}
    )


def test_steady_load_is_nearly_served_at_the_bound(make_config):
    """One pod of the right size and no disturbance: what is left is that intervals begin empty."""
    best = np.inf
    for cores in (2.88, 2.9, 2.92, 2.94, 2.96):
        config = steady(make_config, cores)
        best = min(best, episode_cost(config, make_controller("static"), 1))
    bound = lower_bound(config, 1, quotas=True)
    assert bound.cost <= best < 1.01 * bound.cost
    assert bound.capacity_cores.mean() == pytest.approx(2.92, abs=0.05)

    pods = make_config("constant", changes={"initial_replicas": 6})
    costs = ScheduleCosts(pods, 1).of(np.tile(np.arange(1, 29)[:, None], (1, 20)))
    replicas = lower_bound(pods, 1, quotas=False)
    assert replicas.cost <= costs.min() < 1.02 * replicas.cost


def test_the_bound_grows_with_what_things_cost(make_config):
    config = make_config("family:burst", episode_s=120.0)
    for quotas in (False, True):
        plain = lower_bound(config, 2, quotas=quotas).cost
        for name, weight in (("cpu_cost", -2.0), ("memory_cost", -1.0), ("slo_violation", -40.0)):
            dearer = override(config, {"reward": {"weights": {name: weight}}})
            assert lower_bound(dearer, 2, quotas=quotas).cost > plain
    assert lower_bound(override(config, {"reward": {"weights": {"churn": -9.0}}}), 2, quotas=False).cost > (
        lower_bound(config, 2, quotas=False).cost
    )


def test_slower_starts_and_smaller_clusters_never_lower_it(make_config):
    plain = lower_bound(make_config("family:burst"), 2, quotas=False).cost
    slow = make_config("family:burst", physics={"start_up_s": 30.0, "start_up_cv": 0.0})
    small = override(make_config("family:burst"), {"cluster": {"nodes": {"count": 1}}})
    assert lower_bound(slow, 2, quotas=False).cost >= plain
    assert lower_bound(small, 2, quotas=False).cost >= plain


def test_its_parts_add_up_and_it_says_what_it_is(make_config):
    config = make_config("diurnal")
    for quotas in (False, True):
        bound = lower_bound(config, 4, quotas=quotas)
        assert bound.interval_costs.sum() == pytest.approx(bound.cost, rel=1e-12)
        assert bound.interval_costs.shape == bound.capacity_cores.shape == (20,)
        assert bound.method
        assert bound.assumptions
        assert (bound.replicas is None) == quotas
        again = lower_bound(config, 4, quotas=quotas)
        assert again.cost == bound.cost
    assert lower_bound(config, 5, quotas=True).cost != bound.cost


def test_a_workload_given_as_an_object_is_that_of_the_environment(make_config):
    config = make_config("constant")
    named = dataclasses.replace(config, workload="family:flash")
    workload = make_workload("family:flash", mean_rate_rps=300.0)
    assert lower_bound(config, 1, quotas=True, workload=workload).cost == (
        lower_bound(named, 1, quotas=True).cost
    )


def test_an_episode_without_load_costs_the_least_pods(make_config):
    config = make_config("constant", rate_rps=1e-12, changes={"initial_replicas": 1, "min_replicas": 1})
    bound = lower_bound(config, 0, quotas=False)
    assert bound.replicas.tolist() == [1] * 20
    assert bound.cost == pytest.approx(300.0 * (0.5 + 0.13 * 0.5), rel=1e-6)
    assert lower_bound(config, 0, quotas=True).cost == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (boutique(), "bounds are computed for one service; the environment has 11"),
        (
            EnvConfig(reward=override(EnvConfig().reward, {"preset": "paper"})),
            "weight of cpu_utilisation is 0.5",
        ),
        (override(EnvConfig(), {"reward": {"relative_to_plan": True}}), "relative_to_plan is true"),
        (
            override(trace(), {"cluster": {"faults": {"node_failures_per_hour": 1.0}}}),
            "nodes that do not fail",
        ),
    ],
)
def test_what_cannot_be_bounded_is_refused(config, message):
    with pytest.raises(InputError, match=message):
        lower_bound(config, 0, quotas=False)


@pytest.mark.parametrize("seed", [-1, 1.5, True])
def test_a_bad_seed_is_refused(make_config, seed):
    with pytest.raises(InputError, match="seed is"):
        lower_bound(make_config("constant"), seed, quotas=True)
