import math
import time

import numpy as np
import pytest

from podgym.envs.config import ActionConfig, EnvConfig
from podgym.envs.env import AutoscaleEnv
from podgym.errors import InputError
from podgym.eval import bench, bench_machine, bench_scaling
from podgym.eval.bench import ACTIONS, CARTPOLE, Case, Measurement, Timing

GIB = 2**30
TINY = {"seconds": 1e-6, "repeats": 1}


def measurement(environment: str, num_envs: int | None, *ns: float) -> Measurement:
    rounds = tuple(Timing(steps=1000, cpu_s=1e-6 * each, wall_s=2e-6 * each) for each in ns)
    return Measurement(Case(environment, num_envs, "random"), None, rounds, 1.0, 1.0, math.nan, math.nan)


def test_best_round_counts_and_spread_is_the_slowest_against_it():
    measured = measurement("podgym/Trace-v0", 8, 300.0, 200.0, 250.0)
    assert measured.ns_per_step == pytest.approx(200.0)
    assert measured.spread == pytest.approx(0.5)


def test_ratio_is_to_cartpole_through_the_same_interface():
    batch, single = measurement(CARTPOLE, 8, 10.0), measurement(CARTPOLE, None, 100.0)
    measured = [batch, single, measurement("a", 8, 150.0), measurement("a", None, 150.0)]
    assert [bench.times_cartpole(each, measured) for each in measured] == pytest.approx([1.0, 1.0, 15.0, 1.5])
    assert math.isnan(bench.times_cartpole(measurement("a", 16, 150.0), measured))


def test_loops_are_timed_in_turns_and_each_for_its_share():
    calls: list[str] = []
    rounds_done: list[int] = []

    def quick() -> int:
        calls.append("quick")
        return 3

    def slow() -> int:
        calls.append("slow")
        end = time.process_time() + 0.01
        while time.process_time() < end:
            pass
        return 5

    timings = bench.time_rounds([quick, slow], 0.004, 2, lambda: rounds_done.append(len(calls)))
    assert [name for name, before in zip(calls, ["", *calls], strict=False) if name != before] == [
        "quick", "slow", "quick", "slow",
    ]  # fmt: skip
    assert len(rounds_done) == 4
    assert sum(each.steps for each in timings[0]) == 3 * calls.count("quick")
    assert [each.steps for each in timings[1]] == [5, 5]
    assert all(each.cpu_s >= 0.002 for row in timings for each in row)


def test_cases_put_cartpole_beside_every_interface():
    cases = bench.bench_cases(("a", "b"), 16)
    assert cases[0] == Case(CARTPOLE, 16, "random")
    assert {(case.environment, case.num_envs) for case in cases} == {
        (CARTPOLE, 16), ("a", 16), ("b", 16), (CARTPOLE, None), ("a", None),
    }  # fmt: skip
    assert {case.actions for case in cases if case.environment == "b"} == set(ACTIONS)


@pytest.fixture(scope="module")
def measured() -> dict[Case, Measurement]:
    cases = [
        Case(CARTPOLE, 4, "random"),
        *(Case("podgym/Trace-v0", 4, actions) for actions in ACTIONS),
        Case("podgym/Boutique-v0", 2, "keep enough"),
        Case("podgym/LowLoad-v0", None, "keep"),
    ]
    return {each.case: each for each in bench.bench(cases, **TINY)}


def test_every_cost_is_a_positive_number(measured):
    for each in measured.values():
        assert 0.0 < each.ns_per_step < math.inf, each
        assert each.sample_ns > 0.0
        assert each.restart_ns > 0.0


def test_a_round_of_a_batch_is_a_whole_episode_and_its_restart(measured):
    case = Case("podgym/Trace-v0", 4, "keep")
    episode_steps = measured[case].episode_steps
    assert episode_steps == 240
    assert [each.steps for each in measured[case].rounds] == [4 * (episode_steps + 1)]


def test_a_round_of_one_environment_is_a_whole_episode(measured):
    single = measured[Case("podgym/LowLoad-v0", None, "keep")]
    assert single.rounds[0].steps % single.episode_steps == 0


def test_enough_replicas_are_enough_and_few_are_not(measured):
    """A batch of broken clusters is cheap to step; the table must tell it from a batch that serves."""
    few, enough = (measured[Case("podgym/Trace-v0", 4, actions)] for actions in ("keep", "keep enough"))
    assert few.slo_violation_ratio > 0.2
    assert enough.slo_violation_ratio < 0.05
    assert enough.replicas_ready > few.replicas_ready
    boutique = measured[Case("podgym/Boutique-v0", 2, "keep enough")]
    assert boutique.slo_violation_ratio < 0.05
    assert boutique.replicas_ready >= 11


def test_rows_are_plain_data_with_every_round(measured):
    rows = bench.as_rows(list(measured.values()))
    assert [row["times_cartpole"] for row in rows[:5]] == [
        pytest.approx(row["ns_per_step"] / rows[0]["ns_per_step"]) for row in rows[:5]
    ]
    for row in rows:
        assert row["steps_per_s"] * row["ns_per_step"] == pytest.approx(1e9)
        assert len(row["rounds"]) == 1
    assert {row["interface"] for row in rows} == {"gym.make", "gym.make_vec"}


@pytest.mark.parametrize(("kind", "quotas_move", "replicas_move"), [
    ("keep", False, False), ("random replicas", False, True), ("random", True, True),
])  # fmt: skip
def test_actions_are_of_their_kind(kind, quotas_move, replicas_move):
    env = bench._make(Case("podgym/Boutique-v0", 3, kind), 3)
    actions = np.array(bench._draw_actions(env, kind, 20))
    assert actions.shape == (20, 3, 33)
    assert all(env.action_space.contains(action) for action in actions)
    numbers = actions.reshape(20, 3, 11, 3)
    keep = env.unwrapped.config.action.replica_steps.index(0)
    assert bool((numbers[..., 0] != keep).any()) is replicas_move
    assert bool((numbers[..., 1:] != 1).any()) is quotas_move
    assert (actions[0] == bench._draw_actions(env, kind, 20)[0]).all()  # seeded
    env.close()


@pytest.mark.parametrize(
    ("seconds", "repeats"), [(0.0, 1), (-1.0, 1), (math.nan, 1), (math.inf, 1), (1.0, 0)]
)
def test_effort_must_be_positive(seconds, repeats):
    with pytest.raises(InputError, match="it must be"):
        bench.check_effort(seconds, repeats)


def test_unknown_environment_names_the_closest():
    with pytest.raises(InputError, match=r"Did you mean 'podgym/Trace-v0'\?"):
        bench.bench_environments("podgym/Trace-v1")


def test_memory_of_a_large_batch():
    """8192 environments fit in 1 GiB, and a batch that would take none was not measured."""
    use = bench_machine.measure_memory("podgym/Trace-v0", 8192)
    observation_bytes = 4 * np.prod(AutoscaleEnv().observation_space.shape)
    assert 2 * 8192 * observation_bytes < use.batch_bytes <= use.growth_bytes < use.resident_bytes
    assert use.growth_bytes < GIB


def test_memory_says_what_went_wrong_in_its_process():
    with pytest.raises(InputError, match=r"status 1: .*Nowhere.*lower --memory-envs"):
        bench_machine.measure_memory("podgym/Nowhere-v0", 2)


def test_resident_set_sees_an_allocation():
    before, _ = bench_machine.resident_set_bytes()
    block = np.ones(8 * 2**20)  # 64 MiB, written to
    after, peak = bench_machine.resident_set_bytes()
    assert after - before > block.nbytes / 2
    assert peak >= after


def test_machine_is_described():
    machine = bench_machine.this_machine()
    assert machine.cores >= 1
    assert machine.cpu
    assert machine.numpy == np.__version__


def test_line_and_deviation_of_a_series():
    straight = bench_scaling.Series("s", "pods", (1, 2, 4), (13.0, 16.0, 22.0))
    assert straight.line == pytest.approx((10.0, 3.0))
    assert straight.deviation == pytest.approx(0.0, abs=1e-12)
    bent = bench_scaling.Series("s", "pods", (0, 1, 2), (0.0, 0.0, 3.0))  # line -0.5 + 1.5 n, mean 1
    assert bent.line == pytest.approx((-0.5, 1.5))
    assert bent.deviation == pytest.approx(1.0)


def test_scaling_measures_every_series():
    done: list[int] = []
    series = bench_scaling.bench_scaling(2, values=2, on_series=lambda: done.append(1), **TINY)
    assert [each.name for each in series] == [name for name, *_ in bench_scaling.SERIES]
    assert {each.variable for each in series} == {"services", "pods", "ticks"}
    assert len(done) == len(series)
    for each in series:
        assert len(each.values) == len(each.ns_per_step) == 2
        assert min(each.ns_per_step) > 0.0
        assert set(each.as_dict()) >= {"name", "values", "ns_per_step", "slope_ns", "deviation"}


def played(name: str, value: int, steps: int = 20) -> tuple[AutoscaleEnv, dict[str, float]]:
    """Play a point of a series in one environment; sums and last values of its reports."""
    make = next(make for each, _, make, _ in bench_scaling.SERIES if each == name)
    point = make(value)
    load = bench_scaling.constant_load(point.cluster)
    env = AutoscaleEnv(EnvConfig(cluster=point.cluster, action=ActionConfig(mode="absolute")), workload=load)
    env.reset(seed=0)
    created = violations = served = 0.0
    for index in range(steps):
        env.step(np.array(point.actions[index % len(point.actions)]))
        created += float(env.interval["pods_created"].sum())
        violations += float(env.interval["slo_violations"].sum())
        served += float(env.interval["completed"].sum())
    ready, pending = env.interval["replicas_ready"].sum(), env.interval["replicas_pending"].sum()
    return env, {
        "created": created, "bad": violations / served, "ready": float(ready), "pending": float(pending),
    }  # fmt: skip


@pytest.mark.parametrize(("name", "value", "ready", "created"), [
    ("no calls", 11, 44, 0), ("a chain of calls", 11, 44, 0), ("all ready, nothing changes", 64, 64, 0),
    ("4 ready, room for all", 64, 4, 0), ("one service, 8 pods", 30, 8, 0),
    ("half go, half come back", 64, None, 288),
])  # fmt: skip
def test_points_do_what_their_names_say(name, value, ready, created):
    """A point that fell into overload or left pods pending would measure something else."""
    env, seen = played(name, value)
    assert seen["created"] == created  # half of 64 in 9 of the 10 pairs: at first all are there
    assert seen["bad"] < 0.02
    assert seen["pending"] == 0
    if ready is not None:
        assert seen["ready"] == ready
    calls = sum(len(service.calls) for service in env.cluster_config.services)
    assert calls == (10 if name == "a chain of calls" else 0)


def test_new_quota_keeps_replacing_pods():
    assert played("a new quota each step", 16)[1]["created"] > 16


def test_ticks_are_the_length_of_a_step():
    env, _ = played("one service, 8 pods", 5)
    assert env.cluster_config.ticks_per_interval == 5
