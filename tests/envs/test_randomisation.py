"""What differs from episode to episode: within its ranges, for the whole episode, and for nobody else."""

import copy
import pickle
from dataclasses import fields

import gymnasium as gym
import numpy as np
import pytest

from podgym.envs import AutoscaleEnv, AutoscaleVectorEnv, EnvConfig, override
from podgym.envs.make import scenario_config
from podgym.envs.randomisation import FACTORS, RandomisationConfig
from podgym.envs.simulator.streams import LOAD
from podgym.envs.simulator.world import make_world
from podgym.envs.totals import INFO_KEYS
from podgym.errors import InputError
from podgym.eval.bounds.lower import lower_bound

RANGES = {
    "cpu_demand": [0.8, 1.25],
    "start_up": [0.5, 3.0],
    "scrape_delay": [0.5, 8.0],
    "demand_cv": [0.2, 2.0],
}
PARAMETERS = {"cpu_demand": "cpu_demand_core_s", "start_up": "start_up_s", "demand_cv": "demand_cv"}
KEEP = [7, 1, 1]
STEPS = 8


def configured(scenario="burst", steps=STEPS, **changes):
    config = scenario_config(scenario)
    length = {"episode_s": steps * config.cluster.control_interval_s}
    return override(config, {"randomisation": RANGES, **length, **changes})


def as_bytes(observation, reward, info, factors):
    numbers = np.array([reward, *info.values()], dtype=np.float64)
    return observation.tobytes() + numbers.tobytes() + factors.tobytes()


def row(infos, index):
    return {key: infos[key][index] for key in INFO_KEYS}


def sampled(env, count, seed=0):
    env.action_space.seed(seed)
    return [env.action_space.sample() for _ in range(count)]


@pytest.mark.parametrize("scenario", ["burst", "boutique"])
def test_scalar_and_vector_env_are_equal_bit_by_bit(scenario):
    config = configured(scenario, reward={"relative_to_plan": True}, observation={"forecast": "noisy_oracle"})
    batch = AutoscaleVectorEnv(3, config, autoreset_mode="SameStep")
    singles = [AutoscaleEnv(config) for _ in range(3)]
    observations, infos = batch.reset(seed=5)
    for index, single in enumerate(singles):
        observation, info = single.reset(seed=5 + index)
        assert as_bytes(observations[index], 0, row(infos, index), batch.episode_factors[index]) == as_bytes(
            observation, 0, info, single.episode_factors
        )
    for actions in sampled(batch, 3 * STEPS):
        observations, rewards, _, _, infos = batch.step(actions)
        for index, single in enumerate(singles):
            observation, reward, _, over, info = single.step(actions[index])
            if over:
                observation, info = single.reset()
            ours = as_bytes(
                observations[index], rewards[index], row(infos, index), batch.episode_factors[index]
            )
            assert ours == as_bytes(observation, reward, info, single.episode_factors)


def drawn(episodes=500, seed=0, **ranges):
    """Factors of many episodes of two services, (episodes, 2, factors)."""
    config = RandomisationConfig(**ranges)
    rng = np.random.default_rng(seed)
    return np.array([config.draw(rng, 2) for _ in range(episodes)])


def test_factors_are_uniform_within_their_ranges_and_independent():
    factors = drawn(episodes=2000, **RANGES)
    columns = {}
    for index, name in enumerate(FACTORS):
        low, high = RANGES[name]
        for service in range(2):
            values = factors[:, service, index]
            assert low <= values.min() < low + 0.01 * (high - low)
            assert high >= values.max() > high - 0.01 * (high - low)
            place = np.sort((values - low) / (high - low))
            distance = np.abs(place - (np.arange(len(place)) + 0.5) / len(place)).max()
            assert distance < 1.95 / np.sqrt(len(place))  # Kolmogorov-Smirnov, 0.1 %
            columns[name, service] = values
    assert np.array_equal(columns.pop(("scrape_delay", 0)), columns["scrape_delay", 1])  # one pipeline
    correlations = np.corrcoef(list(columns.values())) - np.eye(len(columns))
    assert np.abs(correlations).max() < 4.0 / np.sqrt(len(factors))


def test_a_changed_range_leaves_the_other_factors_as_they_were():
    one, other = drawn(**RANGES), drawn(**{**RANGES, "start_up": [1.0, 1.0]})
    changed = FACTORS.index("start_up")
    assert (other[:, :, changed] == 1.0).all()
    assert np.array_equal(np.delete(one, changed, 2), np.delete(other, changed, 2))


@pytest.mark.parametrize("vector", [False, True])
def test_what_was_drawn_is_what_the_physics_use_for_the_whole_episode(vector):
    config = configured("boutique", reward={"relative_to_plan": True})
    env = AutoscaleVectorEnv(2, config) if vector else AutoscaleEnv(config)
    nominal = make_world(config.cluster, 1, 2)
    seen = []
    env.reset(seed=1)
    for step, action in enumerate(sampled(env, 3 * STEPS)):
        factors = np.atleast_3d(env.episode_factors).reshape(-1, len(config.cluster.services), len(FACTORS))
        for clusters in (env._core.clusters, env._core.shadow):  # the shadow meets the same cluster
            world = clusters.world
            for name, parameter in PARAMETERS.items():
                expected = nominal.service_parameters[0][parameter] * factors[:, :, FACTORS.index(name)]
                assert np.array_equal(world.service_parameters[parameter], expected)
            delays_s = world.cluster_parameters["scrape_delay_s"]
            assert np.array_equal(delays_s, 2.0 * factors[:, 0, FACTORS.index("scrape_delay")])
            assert world.service_parameters["kappa"] == pytest.approx(
                0.5 * (1.0 + world.service_parameters["demand_cv"] ** 2), rel=1e-15
            )
        if step % (STEPS + vector) == 0:  # the vector environment takes a step to restart
            seen.append(factors)
        assert np.array_equal(factors, seen[-1])
        env.step(action)
        if not vector and step % STEPS == STEPS - 1:
            env.reset()
    works = np.array(seen)[..., FACTORS.index("cpu_demand")]  # (episodes, num_envs, num_services)
    assert len(works) == 3
    assert len(np.unique(works)) == works.size


@pytest.mark.parametrize("name", FACTORS)
@pytest.mark.parametrize("factor", [0.4, 6.0])
def test_an_episode_is_that_of_a_cluster_configured_so(name, factor):
    """A second implementation: the constructor of the cluster instead of the draw."""
    nominal = configured("boutique", steps=20, randomisation={each: [1.0, 1.0] for each in FACTORS})
    cluster = nominal.cluster
    if name == "scrape_delay":
        changes = {"monitoring": {"scrape_delay_s": factor * cluster.monitoring.scrape_delay_s}}
    else:
        changes = {
            "services": {
                service.name: {
                    "parameters": {PARAMETERS[name]: factor * getattr(service.parameters, PARAMETERS[name])}
                }
                for service in cluster.services
            }
        }
    rebuilt = AutoscaleEnv(override(nominal, {"cluster": changes}))
    randomised = AutoscaleEnv(override(nominal, {"randomisation": {name: [factor, factor]}}))
    plain = AutoscaleEnv(nominal)
    scales = randomised._core.layout.scales
    assert np.array_equal(scales.rate_rps, plain._core.layout.scales.rate_rps)  # nominal, whatever is drawn
    differs = False
    for seed in range(4):
        for env in (rebuilt, randomised, plain):
            env.reset(seed=seed)
        for action in sampled(plain, 20, seed=1):
            ours, theirs, nominals = (env.step(action) for env in (randomised, rebuilt, plain))
            assert ours[4] == theirs[4]
            for column, values in randomised.interval.items():
                assert np.array_equal(values, rebuilt.interval[column], equal_nan=True), column
            differs |= not np.array_equal(ours[0], nominals[0])
    assert differs or (name, factor) == ("scrape_delay", 0.4)  # 0.8 s and 2 s may show the same scrapes


@pytest.mark.parametrize(
    ("name", "measure", "sign"),
    [
        ("cpu_demand", lambda env: env.interval["cpu_used_core_s"][0], 1),
        ("cpu_demand", lambda env: env.interval["required_replicas"][0], 1),
        ("start_up", lambda env: env.interval["ready_replica_s"][0], -1),
        ("scrape_delay", lambda env: env.observe().services[0].sample_time_s or 0.0, -1),
        ("demand_cv", lambda env: env.interval["response_time_p99_s"][0], 1),
    ],
)
def test_each_factor_moves_the_physics_in_its_direction(name, measure, sign):
    def total(factor):
        env = AutoscaleEnv(configured(steps=20, randomisation={name: [factor, factor]}))
        amount = 0.0
        for seed in range(4):
            env.reset(seed=seed)
            for step in range(20):
                env.step([10 if step % 5 == 0 else 6, 1, 1])  # three pods more, then one less each time
                amount += measure(env)
        return amount

    factors = (1.0, 4.0, 7.0) if name == "scrape_delay" else (0.4, 1.0, 4.0)  # 2, 8 and 14 s of delay
    low, middle, high = (sign * total(factor) for factor in factors)
    assert low < middle < high


def test_what_is_done_does_not_change_what_is_drawn():
    def factors(seed):
        env = AutoscaleVectorEnv(2, configured(), autoreset_mode="SameStep")
        env.reset(seed=4)
        found = [env.episode_factors]
        for action in sampled(env, 3 * STEPS, seed=seed):
            env.step(action)
            found.append(env.episode_factors)
        return np.array(found)

    assert np.array_equal(factors(1), factors(2))
    assert len(np.unique(factors(1)[:, 0, 0, 0])) == 4  # an episode each, and the one that begins at the end


def test_the_load_is_the_same_with_and_without():
    on, off = AutoscaleEnv(configured()), AutoscaleEnv(configured(randomisation=RandomisationConfig()))
    for env in (on, off):
        env.reset(seed=7)
    assert on.profile.values.tobytes() == off.profile.values.tobytes()
    streams = [env._core.clusters.world.rng[0].copy() for env in (on, off)]
    assert np.array_equal(streams[0][LOAD], streams[1][LOAD])
    assert np.array_equal(off.episode_factors, np.ones((1, len(FACTORS))))
    assert not np.array_equal(on.episode_factors, off.episode_factors)


def test_without_ranges_no_random_number_is_taken():
    env = AutoscaleEnv(configured(randomisation={"cpu_demand": [1, 1]} | {n: [1.0, 1.0] for n in FACTORS}))
    env.reset(seed=0)
    rng = copy.deepcopy(env.np_random)
    env.reset()
    env._core.workload.sample(rng, env._core.duration_s)
    rng.integers(1, 2**64 - 1, size=(5, 4), dtype=np.uint64)
    assert rng.bit_generator.state == env.np_random.bit_generator.state


def test_equal_seeds_draw_equal_factors_and_others_do_not():
    one, other = (AutoscaleEnv(configured()) for _ in range(2))
    one.reset(seed=1)
    other.reset(seed=1)
    assert np.array_equal(one.episode_factors, other.episode_factors)
    kept = one.episode_factors
    one.reset()
    assert not np.array_equal(one.episode_factors, kept)
    assert np.array_equal(kept, other.episode_factors)  # a copy
    one.reset(seed=2)
    assert not np.array_equal(one.episode_factors, other.episode_factors)


def test_who_follows_the_plan_is_as_good_as_the_shadow():
    env = AutoscaleEnv(configured(reward={"relative_to_plan": True}))
    for seed in range(3):
        env.reset(seed=seed)
        for _ in range(STEPS):
            assert env.step(KEEP)[1] == pytest.approx(0.0, abs=1e-9)


def test_a_pickled_environment_goes_on_as_the_original():
    env = AutoscaleVectorEnv(2, configured("boutique"), autoreset_mode="SameStep")
    env.reset(seed=3)
    actions = sampled(env, 2 * STEPS)
    for action in actions[:3]:
        env.step(action)
    twin = pickle.loads(pickle.dumps(env))
    for action in actions[3:]:  # past the end of an episode, so with another draw
        assert env.step(action)[0].tobytes() == twin.step(action)[0].tobytes()
        assert np.array_equal(env.episode_factors, twin.episode_factors)


def test_ranges_are_configured_as_everything_else_is():
    env = gym.make("podgym/Burst-v0", randomisation={"cpu_demand": [0.8, 1.25]}).unwrapped
    assert env.config.randomisation == RandomisationConfig(cpu_demand=(0.8, 1.25))
    assert env.config.randomisation.active
    assert not EnvConfig().randomisation.active
    dotted = override(EnvConfig(), {"randomisation.start_up": [1, 2]})
    assert dotted.randomisation.start_up == (1.0, 2.0)
    assert tuple(entry.name for entry in fields(RandomisationConfig)) == FACTORS


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cpu_demnd": [0.8, 1.2]}, ("cpu_demnd", "Did you mean 'cpu_demand'?")),
        ({"cpu_demand": [1.2, 0.8]}, ("randomisation.cpu_demand", "(1.2, 0.8)", "lowest factor first")),
        ({"start_up": [0.0, 1.0]}, ("randomisation.start_up", "above 0")),
        ({"demand_cv": [-1.0, 1.0]}, ("randomisation.demand_cv", "above 0")),
        ({"scrape_delay": [1.0]}, ("randomisation.scrape_delay", "two numbers")),
        ({"scrape_delay": [1.0, float("nan")]}, ("randomisation.scrape_delay", "nan")),
        ({"scrape_delay": [1.0, float("inf")]}, ("randomisation.scrape_delay", "inf")),
        ({"cpu_demand": 1.2}, ("randomisation.cpu_demand", "1.2", "list")),
        ({"cpu_demand": ["a", "b"]}, ("randomisation.cpu_demand", "'a'")),
        ({"demand_cv": [1.0, 11.0]}, ("randomisation goes too far", "demand_cv", "between 0 and 10")),
        ({"scrape_delay": [1.0, 200.0]}, ("monitoring window", "shorten")),
    ],
)
@pytest.mark.parametrize("make", [AutoscaleEnv, AutoscaleVectorEnv])
def test_a_bad_range_is_refused_in_one_line(make, changes, words):
    with pytest.raises(InputError) as error:
        make(config=scenario_config("burst"), randomisation=changes)
    message = str(error.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_bounds_are_for_one_fixed_cluster():
    with pytest.raises(InputError, match=r"randomisation.*one fixed cluster"):
        lower_bound(configured(), seed=0, quotas=False)
