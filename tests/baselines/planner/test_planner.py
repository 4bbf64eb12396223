"""Plans of episodes and traces: from the past alone, the same however they are computed, and kept on disk."""

from dataclasses import replace

import numpy as np
import pytest

from podgym.baselines.planner import GaPlanner, GaSettings, objective, planning_problem, store, violations
from podgym.envs import AutoscaleEnv
from podgym.envs.protocols import PLAN_PERIOD_S
from podgym.envs.simulator.parameters import MIB
from podgym.envs.workloads.profile import LoadProfile
from podgym.errors import InputError

QUICK = GaSettings(population=10, patience=3, max_generations=5)


def profile(values, step_s=60.0, kind="open"):
    return LoadProfile(np.array(values, dtype=np.float64), step_s, kind, 0.0, "test")


def wave(count, step_s=60.0):
    return profile(300.0 + 200.0 * np.sin(0.05 * np.arange(count)), step_s)


@pytest.fixture
def small_batches(monkeypatch):
    """Let ten plans be enough for a file."""
    monkeypatch.setattr(store, "SMALLEST_BATCH", 10)


class Rising:
    """A forecaster whose rows tell their number: 100 requests/s more per minute, 10 % either way."""

    def __init__(self, rows=1000, horizon=None):
        self.rows, self.horizon = rows, horizon

    def forecast_rates(self, profile, duration_s, horizon_minutes):
        mean = 100.0 + 10.0 * np.arange(self.rows)[:, None] + np.arange(self.horizon or horizon_minutes)
        return np.stack([mean, 0.9 * mean, 1.1 * mean], axis=2)


def known(planner, load, duration_s=1500.0):
    return planner.known_rates(load, duration_s)


def test_shape_and_feasibility(two):
    load = wave(60)
    plans = GaPlanner(settings=QUICK, cache=None).plan(two, load, 3000.0)
    assert plans.shape == (10, 2, 3)
    for i, plan in enumerate(plans):
        problem = planning_problem(two, known(GaPlanner(), load, 3000.0)[i])
        rows = [tuple(float(value) for value in column) for column in plan.T]
        best = GaPlanner(settings=QUICK, cache=None).plan_once(two, problem.rates).plan
        assert tuple(best.as_array().ravel()) == tuple(plan.ravel())
        assert violations(problem, replace(best, replicas=tuple(int(n) for n in rows[0]))) == ()


@pytest.mark.parametrize(("duration_s", "count"), [(1.0, 1), (300.0, 1), (301.0, 2), (3600.0, 12)])
def test_one_plan_per_period(one, duration_s, count):
    assert len(GaPlanner(settings=QUICK, cache=None).plan(one, wave(70), duration_s)) == count


def test_without_forecaster_the_newest_sample_stays():
    load = profile(np.arange(1.0, 200.0), step_s=7.0)
    rates = known(GaPlanner(), load, 900.0)
    np.testing.assert_array_equal(rates, np.array([[1.0], [43.0], [86.0]]) * np.ones(5))


@pytest.mark.parametrize("step_s", [7.0, 60.0, 300.0])
def test_the_future_does_not_matter(one, step_s):
    values = np.linspace(100.0, 400.0, 100)
    load = profile(values, step_s)
    planner = GaPlanner(settings=QUICK, cache=None)
    before = planner.plan(one, load, 900.0)
    for moment_s in (0.0, 300.0, 600.0):
        changed = values.copy()
        changed[load.times_s > moment_s] = 900.0
        after = planner.plan(one, profile(changed, step_s), 900.0)
        places = np.arange(3) * PLAN_PERIOD_S <= moment_s
        np.testing.assert_array_equal(after[places], before[places])
        assert (after[~places] != before[~places]).any() or places.all()


def test_forecasts_of_the_moment():
    load = wave(60)
    rates = known(GaPlanner(forecaster=Rising()), load)
    np.testing.assert_array_equal(rates[:3, 0], [100.0, 150.0, 200.0])
    np.testing.assert_array_equal(rates[0], [100.0, 101.0, 102.0, 103.0, 104.0])
    upper = known(GaPlanner(forecaster=Rising(), rate="upper", headroom=0.5, horizon_minutes=2), load)
    np.testing.assert_allclose(upper[0], [165.0, 167.0])  # 166.65 to three digits
    few = known(GaPlanner(forecaster=Rising(rows=6)), load)
    np.testing.assert_array_equal(few[:4, 0], [100.0, 150.0, 150.0, 150.0])


def test_rounding_makes_equal_what_differs_by_nothing(one):
    planner = GaPlanner(settings=QUICK, cache=None)
    done = []
    planner._on_done = lambda count, total: done.append(count)
    first = planner.plan(one, profile(np.full(60, 123.4)), 3000.0)
    again = planner.plan(one, profile(np.full(60, 123.4) * (1.0 + 1e-12)), 3000.0)
    np.testing.assert_array_equal(first, again)
    assert done == [1]  # ten plans of one problem, solved once


@pytest.mark.parametrize("preset", ["paper", "slo_cost"])
def test_plans_do_not_depend_on_processes(one, preset):
    load = wave(53, 300.0)
    told = []
    options = {"objective": preset, "settings": QUICK, "cache": None}
    alone = GaPlanner(**options).plan(one, load, 52 * 300.0)
    both = GaPlanner(**options, processes=2, on_done=lambda *progress: told.append(progress))
    np.testing.assert_array_equal(both.plan(one, load, 52 * 300.0), alone)
    assert len(told) > 1
    assert told[-1][0] == told[-1][1]


def test_an_error_in_another_process_arrives(one):
    small = replace(one, services=(replace(one.services[0], memory_levels_bytes=(64 * MIB,)),))
    with pytest.raises(InputError, match="'web': a pod needs"):
        GaPlanner(settings=QUICK, cache=None, processes=2).plan(small, wave(53, 300.0), 52 * 300.0)


def test_changed_replicas_are_counted_from_the_plan_before(two):
    heavy = objective("slo_cost", churn=-1e6)
    plans = GaPlanner(objective=heavy, settings=QUICK, cache=None).plan(two, wave(60), 3000.0)
    assert (plans[:, :, 0] == 2).all()  # what the services begin with


@pytest.mark.parametrize("preset", ["paper", "slo_cost"])
def test_plans_are_kept_on_disk(one, tmp_path, preset, small_batches):
    load = wave(20, 300.0)
    count = 12
    counts = []
    options = {"objective": preset, "settings": QUICK, "cache": tmp_path}
    plans = GaPlanner(**options).plan(one, load, count * 300.0)
    (file,) = tmp_path.glob("*/*.npz")
    fresh = GaPlanner(**options, on_done=lambda *_: counts.append(1))
    np.testing.assert_array_equal(fresh.plan(one, load, count * 300.0), plans)
    assert counts == []  # nothing was computed
    kept = file.read_bytes()
    for damage in (b"", b"nonsense", kept[: len(kept) // 2], kept[:300] + b"\xff" + kept[301:]):
        file.write_bytes(damage)
        np.testing.assert_array_equal(GaPlanner(**options).plan(one, load, count * 300.0), plans)
        assert file.read_bytes() == kept  # made again
    other = GaPlanner(**{**options, "settings": replace(QUICK, seed=1)}, on_done=lambda *_: counts.append(1))
    other.plan(one, load, 300.0)
    assert counts == [1]


def test_plans_of_other_contents_are_refused(one, tmp_path, small_batches):
    load = wave(20, 300.0)
    options = {"settings": QUICK, "cache": tmp_path}
    plans = GaPlanner(**options).plan(one, load, 12 * 300.0)
    (file,) = tmp_path.glob("*/*.npz")
    for keys, values in (
        (np.zeros((3, 2)), np.ones((3, 1, 3))),
        (np.zeros((3, 5)), np.full((3, 1, 3), np.nan)),
    ):
        np.savez(file, keys=keys, plans=values)
        np.testing.assert_array_equal(GaPlanner(**options).plan(one, load, 12 * 300.0), plans)


def test_short_episodes_are_remembered_but_not_written(one, tmp_path):
    counts = []
    planner = GaPlanner(settings=QUICK, cache=tmp_path, on_done=lambda *_: counts.append(1))
    for _ in range(3):
        planner.plan(one, wave(60), 600.0)
    assert counts == [1]
    assert list(tmp_path.rglob("*.npz")) == []


def test_the_cache_is_where_the_variable_says(one, tmp_path, monkeypatch, small_batches):
    monkeypatch.setenv("PODGYM_CACHE", str(tmp_path))
    GaPlanner(settings=QUICK).plan(one, wave(20, 300.0), 12 * 300.0)
    assert [path.parts[-3] for path in tmp_path.rglob("*.npz")] == ["plans"]


def test_a_folder_that_cannot_be_written_to(one, tmp_path, small_batches):
    """A file stands where the folder should be: not even root can write there."""
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(InputError, match="cannot be written"):
        GaPlanner(settings=QUICK, cache=tmp_path / "taken").plan(one, wave(20, 300.0), 12 * 300.0)


def test_with_a_time_limit_nothing_is_kept(one, tmp_path, small_batches):
    limited = replace(QUICK, time_limit_s=60.0)
    GaPlanner(settings=limited, cache=tmp_path).plan(one, wave(20, 300.0), 12 * 300.0)
    assert list(tmp_path.rglob("*")) == []


def test_keeping_the_quotas(two):
    plans = GaPlanner(settings=QUICK, cache=None, keep_quotas=True).plan(two, wave(60), 1500.0)
    assert (plans[:, :, 1] == 0.25).all()
    assert (plans[:, :, 2] == 128 * MIB).all()
    assert len(np.unique(plans[:, :, 0])) > 1


def test_an_environment_plays_the_plans():
    planner = GaPlanner(settings=QUICK, cache=None)
    env = AutoscaleEnv(planner=planner, workload="low_load", episode_s=900.0)
    env.reset(seed=3)
    expected = planner.plan(env.config.cluster, env.profile, 900.0)
    seen = []
    for _ in range(60):
        plan = env.observe().services[0].plan
        seen.append((plan.replicas, plan.cpu_request_cores, plan.memory_request_bytes))
        env.step(env.action_space.sample())
    np.testing.assert_array_equal([seen[0], seen[20], seen[40]], expected[:, 0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": "papers"}, "Did you mean 'paper'"),
        ({"objective": 3}, "objective"),
        ({"settings": {}}, "GaSettings"),
        ({"forecaster": 3}, "forecast_rates"),
        ({"rate": "lower"}, "allowed: mean, upper"),
        ({"headroom": -0.1}, "headroom"),
        ({"headroom": float("nan")}, "headroom"),
        ({"horizon_minutes": 0}, "horizon_minutes"),
        ({"processes": 0}, "processes"),
        ({"memory_bound": "none"}, "allowed: limit, request"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(InputError, match=message):
        GaPlanner(**options)


def test_bad_forecasts(one):
    with pytest.raises(InputError, match=r"shape \(1000, 3, 3\)"):
        GaPlanner(forecaster=Rising(horizon=3), cache=None).plan(one, wave(60), 600.0)
    with pytest.raises(InputError, match="not finite"):
        GaPlanner(forecaster=NotFinite(), cache=None).plan(one, wave(60), 600.0)
    with pytest.raises(InputError, match="duration_s"):
        GaPlanner(cache=None).plan(one, wave(60), 0.0)


class NotFinite:
    def forecast_rates(self, profile, duration_s, horizon_minutes):
        return np.full((1, horizon_minutes, 3), np.nan)
