"""Memory of pods: base, requests in flight, leaks, and what happens above the limit."""

import math

import gymnasium as gym
import numpy as np
import pytest

from podgym.envs import ServiceDecision

MIB = 1024.0**2
GIB = 1024.0**3


def test_memory_is_base_plus_requests_in_flight(quiet_lab):
    lab = quiet_lab(
        150.0,
        physics={"base_memory_bytes": 100 * MIB, "memory_per_request_bytes": 3 * MIB, "base_latency_s": 0.0},
        web={"memory_limit_ratio": 100.0},
    )
    report = lab.advance(200)[-1, 0]
    assert report["in_system"] > 1.0
    expected = 3 * 100 * MIB + 3 * MIB * report["in_system"]
    assert report["memory_used_byte_s"] == pytest.approx(expected, rel=1e-3)


def test_memory_of_finished_requests_is_given_back_slowly(quiet_lab):
    load = np.where(np.arange(400) < 100, 170.0, 0.0)
    lab = quiet_lab(load, physics={"memory_release_s": 25.0}, web={"memory_limit_ratio": 100.0})
    base = 3 * lab.config.services[0].parameters.base_memory_bytes
    above = lab.advance(300)[:, 0]["memory_used_byte_s"] - base
    assert above[99] > 8 * MIB
    falling = above[110:200]
    assert falling[1:] / falling[:-1] == pytest.approx(np.full(89, math.exp(-1 / 25.0)), rel=1e-3)
    assert above[-1] < 0.01 * above[99]


def test_no_ready_pod_uses_no_memory(quiet_lab):
    lab = quiet_lab(50.0, web={"memory_request_bytes": 100 * MIB, "memory_limit_ratio": 1.0})
    reports = lab.advance(30)[:, 0]
    dead = reports["ready_replica_s"] == 0.0
    assert dead.any()
    assert (reports["memory_used_byte_s"][dead] == 0.0).all()
    assert (reports["memory_requested_byte_s"] == 3 * 100 * MIB).all()


def test_a_burst_kills_pods_over_their_limit_and_their_requests_are_lost(quiet_lab):
    load = np.where(np.arange(300) < 60, 50.0, 400.0)
    lab = quiet_lab(load, physics={"base_memory_bytes": 100 * MIB, "memory_per_request_bytes": 4 * MIB},
                    web={"memory_request_bytes": 200 * MIB, "memory_limit_ratio": 1.0})  # fmt: skip
    reports = lab.advance(200)[:, 0]
    killed = np.flatnonzero(reports["oom_kills"])
    assert killed[0] > 60
    before = reports["in_system"][killed[0] - 1]
    # A pod dies once it holds more than (200 - 100) / 4 = 25 requests, of a third each.
    assert before > 3 * 25
    assert reports["in_system"][killed[0] - 2] <= 3 * 25
    assert reports["lost"][killed[0]] == pytest.approx(before / 3)
    assert reports["restarts"].sum() == reports["oom_kills"].sum()
    assert reports["pods_created"].sum() == 0  # the container restarts, the pod stays
    assert (reports["lost"] > 0).tolist() == (reports["oom_kills"] > 0).tolist()


def test_a_limit_below_the_base_is_a_crash_loop(quiet_lab):
    lab = quiet_lab(
        10.0,
        web={"initial_replicas": 1, "memory_request_bytes": 100 * MIB, "memory_limit_ratio": 1.0},
        physics={"base_memory_bytes": 240 * MIB},
    )
    reports = lab.advance(900)[:, 0]
    kills = np.flatnonzero(reports["oom_kills"])
    # Ready for one tick; then 10, 20, 40, ... s of back-off, at most 300, and 10 s of start-up.
    waits = [min(10.0 * 2**n, 300.0) for n in range(len(kills) - 1)]
    assert np.diff(kills).tolist() == [wait + 10.0 + 1.0 for wait in waits]
    assert len(kills) >= 6
    assert reports["restarts"].sum() == len(kills)
    assert reports["rejected"].sum() > 0.9 * reports["arrived"].sum()
    lab.want_quota(0.5, 512 * MIB)  # a larger quota ends it
    lab.advance(100)
    assert lab.advance(30)[:, 0]["rejected"].sum() == 0.0


def test_one_pod_is_killed_at_a_time(quiet_lab):
    lab = quiet_lab(
        10.0, web={"initial_replicas": 4, "memory_request_bytes": 100 * MIB, "memory_limit_ratio": 1.0}
    )
    kills = lab.advance(6)[:, 0]["oom_kills"]
    assert kills.tolist() == [0.0, 1.0, 1.0, 1.0, 1.0, 0.0]


def test_a_leak_fills_a_pod_at_its_rate(quiet_lab):
    lab = quiet_lab(0.0, physics={"memory_growth_bytes_per_s": 0.01 * MIB})
    used = lab.advance(100)[:, 0]["memory_used_byte_s"]
    assert np.diff(used) == pytest.approx(np.full(99, 3 * 0.01 * MIB), rel=1e-6)


def test_a_leak_ends_in_a_kill_and_starts_again(quiet_lab):
    growth = 2.0 * MIB
    lab = quiet_lab(
        0.0,
        web={"initial_replicas": 1, "memory_request_bytes": 1000 * MIB, "memory_limit_ratio": 1.0},
        physics={"base_memory_bytes": 200 * MIB, "memory_growth_bytes_per_s": growth},
    )
    kills = np.flatnonzero(lab.advance(4000)[:, 0]["oom_kills"])
    # 800 MiB at 2 MiB/s take 400 s of life; lives are not longer than ten minutes, so back-off doubles.
    assert len(kills) >= 6
    gaps = np.diff(kills)[1:]
    assert (gaps >= 400).all()
    assert (gaps <= 400 + 320).all()


def test_a_restart_frees_what_had_leaked(quiet_lab):
    lab = quiet_lab(
        0.0,
        web={"initial_replicas": 1, "memory_request_bytes": 1000 * MIB, "memory_limit_ratio": 1.0},
        physics={"base_memory_bytes": 200 * MIB, "memory_growth_bytes_per_s": 2.0 * MIB,
                 "restart_backoff_s": 200.0, "restart_backoff_max_s": 200.0},
    )  # fmt: skip
    kills = np.flatnonzero(lab.advance(4000)[:, 0]["oom_kills"])
    # 200 s of back-off, in which nothing runs, then 400 s until the container is full again.
    assert np.diff(kills)[1:] == pytest.approx(600.0, abs=2.0)


def test_back_off_starts_over_after_ten_healthy_minutes(quiet_lab):
    def kills(growth):
        lab = quiet_lab(
            0.0,
            web={"initial_replicas": 1, "memory_request_bytes": 1000 * MIB, "memory_limit_ratio": 1.0},
            physics={"base_memory_bytes": 200 * MIB, "memory_growth_bytes_per_s": growth},
        )
        down = lab.advance(8000)[:, 0]["ready_replica_s"] == 0.0
        edges = np.flatnonzero(np.diff(down.astype(int)))
        return np.diff(edges)[::2]  # how long each outage lasted

    healthy = kills(800 * MIB / 900.0)  # lives of about 15 minutes
    assert len(healthy) >= 5
    assert (healthy[1:] == 20).all()  # always 10 s of back-off and 10 s of start-up
    sick = kills(800 * MIB / 200.0)
    assert sick[:5].tolist() == [20, 30, 50, 90, 170]


def test_memory_per_pod_falls_when_pods_are_added(quiet_lab):
    def seen(replicas):
        lab = quiet_lab(170.0, web={"initial_replicas": replicas, "memory_limit_ratio": 100.0})
        lab.advance(120)
        base = lab.config.services[0].parameters.base_memory_bytes
        return lab.pods()[0].sample.memory_usage_bytes / base

    few, many = seen(3), seen(12)
    assert few > many > 1.0


@pytest.mark.parametrize("seed", [0, 1, 5, 2024])
def test_scaling_down_after_a_burst_kills_no_pod(seed):
    # A removed pod takes the memory of its requests along; those that stay do not inherit it.
    env = gym.make("podgym/Burst-v0").unwrapped
    physics = env.config.cluster.services[0].parameters
    most = physics.base_memory_bytes + physics.concurrency_per_pod * physics.memory_per_request_bytes
    env.reset(seed=seed)
    users, kills = [], 0.0
    for _ in range(env.episode_steps):
        over = max(users, default=0.0) > 1200.0 and users[-1] < 0.95 * max(users)  # it has begun to fall
        info = env.step_decisions([ServiceDecision(replicas=4 if over else 8)])[4]
        users.append(env.interval["users"][0])
        kills += info["oom_kills"]
        assert env.interval["memory_used_byte_s"] <= most * env.interval["ready_replica_s"] * (1 + 1e-9)
    assert info["replicas_ready"] == 4.0
    assert kills == 0.0
