"""Learned forecasts: from the forecaster, at the right minute, in the right unit, with no other effect."""

import math
import pickle
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from podgym.envs import AutoscaleEnv, AutoscaleVectorEnv, EnvConfig, ObservationConfig
from podgym.envs.core import AutoscaleCore
from podgym.envs.protocols import FORECAST_PERIOD_S
from podgym.envs.workloads import open_trace
from podgym.envs.workloads.traces import read_trace
from podgym.errors import InputError

KEEP = [7, 1, 1]  # of the default action: no step, both quotas kept
IDS = ("podgym/Trace-v0", "podgym/HighLoad-v0", "podgym/Boutique-v0")  # a trace, closed users, a call graph


class TrueFuture:
    """A forecaster that reads the future off the profile, times ``factor``; it notes what it was asked."""

    def __init__(self, factor=1.0):
        self.factor = factor
        self.asked = []

    def forecast_rates(self, profile, duration_s, horizon_minutes):
        self.asked.append((profile, duration_s, horizon_minutes))
        rows = np.arange(0.0, duration_s + 1e-6, FORECAST_PERIOD_S)
        times_s = rows[:, None] + 60.0 * np.arange(1, horizon_minutes + 1)  # (rows, horizon)
        mean = self.factor * np.interp(times_s, profile.times_s, profile.values)
        return np.stack([mean, 0.9 * mean, 1.2 * mean], axis=-1)


class Fixed:
    """A forecaster that returns what it is told to."""

    def __init__(self, returned):
        self.returned = returned

    def forecast_rates(self, profile, duration_s, horizon_minutes):
        return self.returned


def counted(rows, horizon=5):
    """Forecasts that tell where they stand: 100 per row, 10 per minute, lower 3 less and upper 4 more."""
    mean = 100.0 * np.arange(1, rows + 1)[:, None] + 10.0 * np.arange(1, horizon + 1)
    return np.stack([mean, mean - 3.0, mean + 4.0], axis=-1)


def where(env, part="forecast_"):
    """Indices of the numbers of the observation whose name contains ``part``."""
    return [index for index, name in enumerate(env.observation_names) if part in name]


def shown_rates(env, observation):
    """What the observation says of the first service: (horizon, 3) requests/s at that service."""
    service = env.config.cluster.services[0]
    most_rps = service.max_replicas * service.quota.cpu_limit_cores / service.parameters.cpu_demand_core_s
    parts = [
        observation[where(env, f"{service.name}.forecast_{part}")] for part in ("mean", "lower", "upper")
    ]
    return np.stack(parts, axis=-1).astype(np.float64) * most_rps


def played(env, steps, seed=0):
    """Observations (steps + 1, size), rewards (steps,) and infos of random actions."""
    env.action_space.seed(seed)
    observation, info = env.reset(seed=seed)
    observations, rewards, infos = [observation], [], [info]
    for _ in range(steps):
        observation, reward, _, _, info = env.step(env.action_space.sample())
        observations.append(observation)
        rewards.append(reward)
        infos.append(info)
    return np.array(observations), rewards, infos


@pytest.mark.parametrize("id_", IDS)
def test_who_knows_the_future_shows_what_the_oracle_shows_at_every_minute(id_):
    learned = gym.make(id_, forecaster=TrueFuture()).unwrapped
    oracle = gym.make(id_, observation={"forecast": "oracle"}).unwrapped
    assert learned.config.observation.forecast == "learned"
    assert learned.observation_names == oracle.observation_names
    ours, theirs = played(learned, 80, seed=1)[0], played(oracle, 80, seed=1)[0]
    per_minute = round(60.0 / learned.config.cluster.control_interval_s)
    mean = where(learned, "forecast_mean")
    # Equal but for rounding to float32; between the minutes the oracle looks on and the forecaster does not.
    assert ours[::per_minute, mean] == pytest.approx(theirs[::per_minute, mean], rel=1e-6)
    assert ours[:, mean] != pytest.approx(theirs[:, mean], rel=1e-3)
    assert theirs[:, mean].min() > 0.0
    assert theirs[:, mean].max() < 3.0  # clipped nowhere
    lower, upper = where(learned, "forecast_lower"), where(learned, "forecast_upper")
    assert ours[:, lower] == pytest.approx(0.9 * ours[:, mean], rel=1e-6)
    assert ours[:, upper] == pytest.approx(1.2 * ours[:, mean], rel=1e-6)
    rest = np.setdiff1d(np.arange(ours.shape[1]), where(learned))
    assert ours[:, rest].tobytes() == theirs[:, rest].tobytes()


@pytest.mark.parametrize("rows", [1, 4, 11, 30])
def test_a_forecast_serves_until_the_next_minute_and_the_last_one_to_the_end(make_env, rows):
    table = counted(rows)
    env = make_env(forecaster=Fixed(table))
    observation, _ = env.reset(seed=0)
    for step in range(env.episode_steps + 3):  # past the end as well
        due = min(step * 15 // 60, rows - 1, 10)
        assert shown_rates(env, observation) == pytest.approx(table[due], rel=1e-6), step
        observation = env.step(KEEP)[0]


def test_a_minute_made_of_uneven_ticks_is_a_minute(make_env):
    tick_s = 60.0 / 88
    assert 88 * tick_s < 60.0  # a rounding error short of it
    table = counted(11)
    env = make_env(forecaster=Fixed(table), cluster={"tick_s": tick_s, "control_interval_s": 60.0})
    shown = [shown_rates(env, env.reset(seed=0)[0])]
    shown += [shown_rates(env, env.step(KEEP)[0]) for _ in range(10)]
    assert np.array(shown) == pytest.approx(table, rel=1e-6)


def test_a_forecast_of_users_becomes_the_rate_of_users_whom_nothing_makes_wait(make_env):
    table = counted(11)
    waits = {"load": {"think_time_s": 4.0}, "services": {"web": {"parameters": {"base_latency_s": 1.0}}}}
    env = make_env(forecaster=Fixed(table), kind="closed", cluster=waits)
    assert shown_rates(env, env.reset(seed=0)[0]) == pytest.approx(table[0] / 5.0, rel=1e-6)


def test_a_forecast_reaches_every_service_times_its_visits():
    env = gym.make("podgym/Boutique-v0", forecaster=Fixed(counted(1))).unwrapped
    observation, _ = env.reset(seed=0)
    for visits, service in zip(env.visits, env.config.cluster.services, strict=True):
        most_rps = service.max_replicas * service.quota.cpu_limit_cores / service.parameters.cpu_demand_core_s
        names = [f"{service.name}.forecast_mean[+{minute}min]" for minute in range(1, 6)]
        shown = [observation[env.observation_names.index(name)] for name in names]
        expected = np.minimum(counted(1)[0, :, 0] * visits / most_rps, 4.0)
        assert shown == pytest.approx(expected, rel=1e-6)


def test_what_is_out_of_bounds_is_clipped_to_them(make_env):
    env = make_env(forecaster=Fixed([[[50.0, -20.0, 1e300]] * 5]))
    observation, _ = env.reset(seed=0)
    assert observation in env.observation_space
    assert (observation[where(env, "lower")] == 0.0).all()
    assert (observation[where(env, "upper")] == 4.0).all()


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
@pytest.mark.parametrize("id_", IDS)
def test_scalar_and_vector_env_are_equal_and_a_restart_renews_the_forecasts(id_, mode):
    num_envs, steps = 3, 6
    interval_s = EnvConfig().cluster.control_interval_s
    changes = {"episode_s": steps * interval_s}
    forecaster = TrueFuture()
    batch = gym.make_vec(
        id_, num_envs=num_envs, forecaster=forecaster, autoreset_mode=mode, **changes
    ).unwrapped
    singles = [gym.make(id_, forecaster=TrueFuture(), **changes).unwrapped for _ in range(num_envs)]
    observations, _ = batch.reset(seed=7)
    for index, single in enumerate(singles):
        assert single.reset(seed=7 + index)[0].tobytes() == observations[index].tobytes()
    assert len(forecaster.asked) == num_envs
    batch.action_space.seed(7)
    first = observations
    for step in range(1, steps + 2):
        actions = batch.action_space.sample()
        observations = batch.step(actions)[0]
        restarted = step == steps + (mode == "NextStep")
        for index, single in enumerate(singles):
            if step <= steps:
                played_on = single.step(actions[index])[0]
            expected = single.reset()[0] if restarted else played_on
            assert expected.tobytes() == observations[index].tobytes(), (step, index)
        if restarted:
            break
    assert len(forecaster.asked) == 2 * num_envs  # never asked by a step
    if id_ == "podgym/Trace-v0":  # another window, another forecast
        columns = where(batch, "forecast_mean")
        assert (first[:, columns] != observations[:, columns]).any(axis=1).all()


def test_a_masked_reset_asks_for_those_environments_alone():
    forecaster = TrueFuture()
    env = AutoscaleVectorEnv(3, gym.make("podgym/Trace-v0").unwrapped.config, forecaster=forecaster)
    env.reset(seed=0)
    tables = env._core.forecasts.rates.copy()
    env.reset(options={"reset_mask": np.array([False, True, False])})
    assert [np.array_equal(*pair) for pair in zip(tables, env._core.forecasts.rates, strict=True)] == [
        True, False, True,
    ]  # fmt: skip
    assert len(forecaster.asked) == 4


def test_a_forecaster_is_asked_once_per_episode_and_for_this_episode(make_env):
    forecaster = TrueFuture()
    env = make_env(forecaster=forecaster, observation={"horizon_minutes": 7})
    assert forecaster.asked == []
    for episode in range(1, 4):
        env.reset(seed=episode)
        for _ in range(env.episode_steps):
            env.step(KEEP)
        assert len(forecaster.asked) == episode
        profile, duration_s, horizon = forecaster.asked[-1]
        assert profile is env.profile
        assert (duration_s, horizon) == (600.0, 7)


def test_a_forecaster_finds_the_place_of_the_episode_in_its_trace():
    trace = read_trace("alibaba2018")
    whole_rps = open_trace("alibaba2018", part="all").rates_rps
    forecaster = TrueFuture()
    options = {"part": "train", "mean_rate_rps": 300.0}
    env = AutoscaleEnv(workload="alibaba2018", workload_options=options, forecaster=forecaster)
    starts = set()
    for seed in range(8):
        env.reset(seed=seed)
        profile = forecaster.asked[-1][0]
        assert profile.trace == "alibaba2018:cpu_util_percent"
        assert profile.scale == env._core.workload.scale != 1.0
        first = int(np.searchsorted(trace.times_s, profile.trace_start_s))
        assert trace.times_s[first] == profile.trace_start_s
        own_rps = whole_rps[first : first + len(profile.values)]
        assert profile.values / profile.scale == pytest.approx(own_rps, rel=1e-12)
        starts.add(first)
    assert len(starts) > 4


@pytest.mark.parametrize("id_", IDS)
def test_another_forecaster_changes_the_forecasts_shown_and_nothing_else(id_):
    changes = {"reward": {"relative_to_plan": True}}
    runs = [
        played(gym.make(id_, forecaster=TrueFuture(factor), **changes).unwrapped, 40) for factor in (1.0, 0.5)
    ]
    naive = gym.make(id_, **changes).unwrapped
    runs.append(played(naive, 40))
    columns = where(naive)
    rest = np.setdiff1d(np.arange(len(naive.observation_names)), columns)
    (ours, rewards, infos), *others = runs
    for their, their_rewards, their_infos in others:
        assert ours[:, rest].tobytes() == their[:, rest].tobytes()
        assert (rewards, infos) == (their_rewards, their_infos)
        assert (ours[:, columns] != their[:, columns]).any(axis=1).all()


NAN, INF = math.nan, math.inf
GOOD = np.array([[2.0, 1.0, 3.0]] * 5)


def changed(minute, values):
    """Two good rows, but for one minute of the second."""
    rows = np.array([GOOD, GOOD])
    rows[1, minute - 1] = values
    return rows


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (GOOD, ("shape (5, 3)", "(1 or more, 5, 3)")),
        (np.zeros((0, 5, 3)), ("shape (0, 5, 3)",)),
        (np.zeros((9, 4, 3)), ("shape (9, 4, 3)",)),
        (np.zeros((9, 5, 2)), ("shape (9, 5, 2)",)),
        (None, ("shape ()",)),
        ("many", ("str, not numbers",)),
        ([[1.0], [1.0, 2.0]], ("list, not numbers",)),
        (changed(3, (NAN, 1.0, 3.0)), ("mean nan, lower 1 and upper 3 in row 1, minute 3",)),
        (changed(1, (2.0, NAN, 3.0)), ("lower nan", "row 1, minute 1;")),
        (changed(5, (2.0, 1.0, NAN)), ("upper nan", "row 1, minute 5;")),
        (changed(2, (2.0, -INF, 3.0)), ("lower -inf", "finite")),
        (changed(2, (2.0, 1.0, INF)), ("upper inf", "finite")),
        (changed(2, (INF, 1.0, INF)), ("mean inf",)),
        (changed(4, (2.0, 2.5, 3.0)), ("mean 2, lower 2.5 and upper 3", "lower <= mean <= upper")),
        (changed(4, (2.0, 1.0, 1.5)), ("upper 1.5",)),
    ],
)  # fmt: skip
def test_what_is_no_forecast_is_refused_by_value_and_place(make_env, returned, words):
    env = make_env(forecaster=Fixed(returned))
    with pytest.raises(InputError) as error:
        env.reset(seed=0)
    message = str(error.value)
    assert message.startswith("the forecaster returned")
    assert "\n" not in message
    for word in words:
        assert word in message


def test_bounds_that_meet_the_mean_and_rows_past_the_end_are_no_fault(make_env):
    rows = np.array([np.full((5, 3), 2.0)] * 11 + [np.full((5, 3), NAN)])
    env = make_env(forecaster=Fixed(rows))
    assert shown_rates(env, env.reset(seed=0)[0]) == pytest.approx(np.full((5, 3), 2.0))


def test_a_refused_forecast_leaves_the_present_episode_as_it_was(make_env):
    forecaster = Fixed(counted(11))
    one, other = make_env(forecaster=forecaster), make_env(forecaster=Fixed(counted(11)))
    one.reset(seed=0)
    other.reset(seed=0)
    forecaster.returned = changed(1, (NAN, NAN, NAN))
    with pytest.raises(InputError, match="the forecaster returned"):
        one.reset()
    assert one.step(KEEP)[0].tobytes() == other.step(KEEP)[0].tobytes()


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"observation": {"lags": 3}},
        {"observation": {"forecast": "learned"}},
        {"observation.forecast": "learned"},
        {"observation": ObservationConfig(lags=3)},
        {"config": EnvConfig()},
        {"config": EnvConfig(observation=ObservationConfig(forecast="learned"))},
        {"config": EnvConfig(observation=ObservationConfig(forecast="oracle")),
         "observation": {"forecast": "learned"}},
    ],
)  # fmt: skip
def test_a_forecaster_makes_the_forecast_learned_where_no_other_was_chosen(arguments):
    for make in (AutoscaleEnv, AutoscaleVectorEnv):
        assert make(forecaster=TrueFuture(), **arguments).config.observation.forecast == "learned"


@pytest.mark.parametrize("forecast", ["none", "naive", "noisy_oracle", "oracle"])
def test_a_forecaster_and_another_forecast_contradict_each_other(forecast):
    chosen = [{"observation": {"forecast": forecast}}, {"observation.forecast": forecast}]
    if forecast != "naive":  # there a configuration cannot tell a choice from the default
        observation = ObservationConfig(forecast=forecast)
        chosen += [{"observation": observation}, {"config": EnvConfig(observation=observation)}]
    for arguments in chosen:
        for make in (AutoscaleEnv, AutoscaleVectorEnv):
            with pytest.raises(InputError, match=f'observation.forecast is "{forecast}": the two contradict'):
                make(forecaster=TrueFuture(), **arguments)


def test_a_learned_forecast_needs_a_forecaster():
    config = EnvConfig(observation=ObservationConfig(forecast="learned"))
    for make in (
        lambda: AutoscaleEnv(config),
        lambda: AutoscaleCore(config),
        lambda: AutoscaleVectorEnv(observation={"forecast": "learned"}),
        lambda: gym.make("podgym/Trace-v0", observation={"forecast": "learned"}),
    ):
        with pytest.raises(InputError, match=r"no forecaster; .*load_forecaster\(.*podgym forecast train"):
            make()


@pytest.mark.parametrize("forecaster", ["model.forecaster", 3.0, object(), lambda profile: None])
def test_what_cannot_forecast_is_no_forecaster(forecaster):
    for make in (
        AutoscaleEnv,
        AutoscaleVectorEnv,
        lambda forecaster: AutoscaleCore(EnvConfig(), forecaster=forecaster),
    ):
        with pytest.raises(InputError, match=r"forecaster is .*it must have a method forecast_rates"):
            make(forecaster=forecaster)


def test_without_a_forecaster_no_tables_are_kept():
    assert AutoscaleVectorEnv(64)._core.forecasts.rates.size == 3
    table = AutoscaleVectorEnv(4, episode_s=1199.0, forecaster=TrueFuture())._core.forecasts.rates
    assert table.shape == (4, 20, 5, 3)  # the last one from 1140 s on


@pytest.mark.parametrize("id_", IDS)
def test_the_checkers_find_nothing(id_):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gym.make(id_, forecaster=TrueFuture()).unwrapped, skip_render_check=True)


def test_an_environment_travels_with_its_forecaster():
    env = gym.make("podgym/Trace-v0", forecaster=TrueFuture()).unwrapped
    env.reset(seed=3)
    for _ in range(5):
        env.step(KEEP)
    twin = pickle.loads(pickle.dumps(env))
    for _ in range(10):
        expected, found = env.step(KEEP), twin.step(KEEP)
        assert expected[0].tobytes() == found[0].tobytes()
        assert expected[1:] == found[1:]
    assert env.reset()[0].tobytes() == twin.reset()[0].tobytes()
