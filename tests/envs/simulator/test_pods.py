"""The life of pods, second by second, against times worked out by hand."""

import math

import numpy as np
import pytest

MIB = 1024.0**2
GIB = 1024.0**3
BIG_NODES = {"count": 4, "cpu_cores": 64.0, "memory_bytes": 256 * GIB}


def newest(lab):
    return max(lab.pods(), key=lambda pod: int(pod.name.rsplit("-", 1)[1]))


@pytest.mark.parametrize(
    ("cached", "start_up_s", "probe_s", "ready_at_s"),
    [
        (True, 10.0, 5.0, 10.0),
        (True, 11.0, 5.0, 15.0),  # noticed at the third probe
        (True, 4.0, 10.0, 10.0),
        (True, 0.0, 5.0, 1.0),  # at the next tick
        (False, 10.0, 5.0, 18.0),  # 8 s for the image first
        (False, 11.0, 2.0, 20.0),
    ],
)
def test_pull_start_and_probe_take_their_time(quiet_lab, cached, start_up_s, probe_s, ready_at_s):
    # Three pods stand on three of the four nodes, so the fourth lands where no image may be.
    lab = quiet_lab(
        nodes={"images_cached": cached},
        physics={"image_pull_s": 8.0, "start_up_s": start_up_s, "probe_period_s": probe_s},
    )
    lab.want(replicas=4)
    phases = []
    for _ in range(30):
        lab.advance()
        pod = newest(lab)
        phases.append((pod.phase, pod.ready))
    assert pod.start_time_s == 0.0
    assert pod.ready_transition_time_s == ready_at_s
    pulled_at_s = 0 if cached else 8
    assert phases[:pulled_at_s] == [("Pending", False)] * pulled_at_s
    assert phases[pulled_at_s : int(ready_at_s)] == [("Running", False)] * (int(ready_at_s) - pulled_at_s)
    assert set(phases[int(ready_at_s) :]) == {("Running", True)}


def test_an_image_is_pulled_once_per_node(quiet_lab):
    lab = quiet_lab(nodes={"images_cached": False, "count": 2}, web={"initial_replicas": 1})
    lab.want(replicas=3)  # the second pod needs the image on the other node; the third stands beside a pod
    lab.advance(40)
    assert sorted(pod.ready_transition_time_s for pod in lab.pods())[1:] == [10.0, 18.0]
    lab.want(replicas=5)
    lab.advance(40)
    assert [pod.ready_transition_time_s for pod in lab.pods()].count(50.0) == 2


def test_start_up_times_scatter_as_declared(quiet_lab):
    delays = []
    for seed in range(12):
        lab = quiet_lab(
            seed=seed,
            nodes=BIG_NODES,
            web={"initial_replicas": 1, "max_replicas": 60},
            physics={"start_up_s": 1000.0, "start_up_cv": 0.3, "probe_period_s": 1.0},
            control_interval_s=3000.0,
        )
        lab.want(replicas=60)
        lab.advance()
        delays += [pod.ready_transition_time_s for pod in lab.pods() if pod.ready_transition_time_s > 0]
    assert len(delays) == 12 * 59
    assert np.mean(delays) == pytest.approx(1000.0, rel=0.03)
    assert np.std(delays) == pytest.approx(300.0, rel=0.1)
    assert np.log(delays).std() == pytest.approx(math.sqrt(math.log1p(0.09)), rel=0.1)  # log-normal
    assert len(set(delays)) > 400


def test_initial_pods_are_ready_and_old(quiet_lab):
    pods = quiet_lab(web={"initial_replicas": 5}).pods()
    assert [(pod.phase, pod.ready, pod.deleted) for pod in pods] == [("Running", True, False)] * 5
    assert all(pod.start_time_s < 0 for pod in pods)
    assert len({pod.name for pod in pods}) == 5


def test_a_warming_pod_serves_slower(quiet_lab):
    # Overload: what is completed is what can be served.
    lab = quiet_lab(
        1000.0,
        web={"initial_replicas": 1, "cpu_request_cores": 0.5},
        physics={"warm_up_s": 20.0, "warm_up_speed": 0.4, "start_up_s": 5.0, "cpu_demand_core_s": 0.01,
                 "memory_per_request_bytes": 0.0},
    )  # fmt: skip
    lab.advance(5)
    lab.want(replicas=2)
    completed = lab.advance(60)["completed"][:, 0]  # second i begins 5 + i s after the start
    assert completed[4] == pytest.approx(50.0, rel=0.01)
    assert completed[6:25] == pytest.approx(np.full(19, 70.0), rel=0.01)
    assert completed[26:] == pytest.approx(np.full(34, 100.0), rel=0.01)


def test_a_terminating_pod_holds_its_place_and_nothing_else(quiet_lab):
    lab = quiet_lab(web={"initial_replicas": 3, "cpu_request_cores": 0.5}, physics={"termination_s": 7.0})
    lab.advance(2)
    lab.want(replicas=2)
    reports = lab.advance(10)[:, 0]
    assert list(reports["cpu_requested_core_s"]) == [1.5] * 7 + [1.0] * 3
    assert list(reports["replica_s"]) == [2.0] * 10
    assert list(reports["ready_replica_s"]) == [2.0] * 10
    lab.want(replicas=1)
    lab.advance()
    deleted = [pod for pod in lab.pods() if pod.deleted]
    assert len(deleted) == 1
    assert not deleted[0].ready
    assert lab.service().replicas == 1
    lab.advance(7)
    assert len(lab.pods()) == 1


@pytest.mark.parametrize(
    ("wanted", "surge", "unavailable"),
    [(4, 0.25, 0.25), (7, 0.25, 0.25), (10, 0.0, 0.2), (10, 0.3, 0.0), (1, 0.25, 0.25), (3, 0.0, 0.1),
     (5, 1.0, 0.0)],
)  # fmt: skip
def test_a_rolling_update_keeps_its_bounds(quiet_lab, wanted, surge, unavailable):
    lab = quiet_lab(
        nodes=BIG_NODES,
        web={"initial_replicas": wanted},
        physics={"max_surge": surge, "max_unavailable": unavailable, "termination_s": 3.0},
    )
    most = wanted + math.ceil(surge * wanted)
    least = wanted - math.floor(unavailable * wanted)
    if most == least:
        least -= 1  # Kubernetes then takes one pod away
    lab.want_quota(0.75, 700 * MIB)
    seen_most, seen_least = 0, wanted
    for _ in range(300):
        lab.advance()
        service = lab.service()
        seen_most = max(seen_most, service.replicas)
        seen_least = min(seen_least, service.replicas_ready)
        assert least <= service.replicas_ready
        assert service.replicas <= most
    pods = lab.pods()
    assert [pod.quota.cpu_request_cores for pod in pods] == [0.75] * wanted
    assert [pod.quota.memory_limit_bytes for pod in pods] == [700 * MIB] * wanted
    assert all(pod.ready for pod in pods)
    assert (seen_most, seen_least) == (most, least)  # the bounds are used, not only kept


def test_a_failing_rollout_stops_at_its_bounds(quiet_lab):
    lab = quiet_lab(nodes=BIG_NODES, web={"initial_replicas": 8}, physics={"start_failure_probability": 1.0})
    lab.want_quota(0.75, 700 * MIB)
    lab.advance(400)
    assert lab.service().replicas_ready == 6
    assert lab.service().replicas == 10
    lab.want_quota(0.8, 700 * MIB)  # a second one on top of it
    lab.advance(100)
    assert lab.service().replicas_ready == 6
    assert lab.service().replicas <= 10


def test_a_rollback_keeps_the_pods_that_already_fit_the_template(quiet_lab):
    # The template's hash names the ReplicaSet, so going back scales the old one up again.
    lab = quiet_lab(nodes=BIG_NODES, web={"initial_replicas": 8, "memory_limit_ratio": 1.0})
    lab.want_quota(0.75, 700 * MIB)
    lab.advance(3)
    survivors = {pod.name for pod in lab.pods() if pod.ready}
    assert len(survivors) == 6
    lab.want_quota(0.5, 512 * MIB)
    lab.advance(100)
    assert survivors <= {pod.name for pod in lab.pods()}


def test_a_rollout_follows_a_change_of_the_wanted_number(quiet_lab):
    lab = quiet_lab(nodes=BIG_NODES, web={"initial_replicas": 8})
    lab.want_quota(0.75, 700 * MIB)
    lab.advance(5)
    lab.want(replicas=4)
    lab.advance()
    assert lab.service().replicas <= 5
    lab.advance(100)
    assert [pod.quota.cpu_request_cores for pod in lab.pods() if not pod.deleted] == [0.75] * 4


def test_pods_too_large_for_any_node_give_way_to_smaller_ones(quiet_lab):
    lab = quiet_lab(nodes={"count": 2}, web={"initial_replicas": 3, "cpu_request_cores": 1.0})
    lab.advance()
    lab.want_quota(8.0, GIB)  # no node has 8 cores
    lab.advance(60)
    assert lab.service().replicas_ready == 3
    lab.want_quota(0.5, GIB)
    lab.advance(120)
    assert [pod.quota.cpu_request_cores for pod in lab.pods()] == [0.5] * 3
    assert lab.service().replicas_ready == 3


def test_one_decision_replaces_pods_that_never_fitted(quiet_lab):
    lab = quiet_lab(nodes={"count": 1}, web={"initial_replicas": 2, "cpu_request_cores": 8.0})
    lab.advance(5)
    lab.want(replicas=1, cpu_request_cores=0.5, cpu_limit_cores=0.5)
    lab.advance(120)
    assert [pod.quota.cpu_request_cores for pod in lab.pods()] == [0.5]
    assert lab.service().replicas_ready == 1


@pytest.mark.parametrize("resize", ["rolling", "in_place"])
def test_waiting_pods_give_way_to_smaller_ones(quiet_lab, resize):
    # A node holds one pod of 2 cores, so three of the six wait for room.
    lab = quiet_lab(
        nodes={"count": 3}, web={"initial_replicas": 6, "cpu_request_cores": 2.0}, physics={"resize": resize}
    )
    lab.advance(5)
    assert lab.service().replicas_ready == 3
    lab.want_quota(0.5, 512 * MIB)
    lab.advance(240)
    assert lab.service().replicas_ready == 6
    assert {pod.quota.cpu_request_cores for pod in lab.pods()} == {0.5}


def test_a_resize_in_place_restarts_nothing(quiet_lab):
    lab = quiet_lab(50.0, physics={"resize": "in_place", "in_place_resize_s": 4.0})
    lab.advance(3)
    before = lab.pods()
    lab.want_quota(1.0, 700 * MIB)
    quotas = []
    for _ in range(8):
        report = lab.advance()[0, 0]
        assert report["restarts"] == report["pods_created"] == report["pods_removed"] == 0
        assert report["ready_replica_s"] == 3
        quotas.append([pod.quota.cpu_request_cores for pod in lab.pods()])
    assert quotas == [[0.5] * 3] * 4 + [[1.0] * 3] * 4

    def identity(pod):
        return pod.name, pod.start_time_s, pod.ready_transition_time_s

    assert [identity(pod) for pod in lab.pods()] == [identity(pod) for pod in before]


def test_a_resize_waits_for_room_on_its_node(quiet_lab):
    lab = quiet_lab(
        nodes={"count": 1},  # 3.9 cores
        web={"initial_replicas": 3, "cpu_request_cores": 1.0},
        physics={"resize": "in_place", "termination_s": 2.0},
    )
    lab.want_quota(1.5, GIB)
    for _ in range(30):
        lab.advance()
        assert lab.nodes["used_cpu_milli"][0] <= lab.nodes["cpu_milli"][0]
    # 1 + 1 + 1.5 is all that fits.
    assert sorted(pod.quota.cpu_request_cores for pod in lab.pods()) == [1.0, 1.0, 1.5]
    assert all(pod.ready for pod in lab.pods())
    lab.want(replicas=2)
    lab.advance(15)
    assert sorted(pod.quota.cpu_request_cores for pod in lab.pods()) == [1.5, 1.5]


def test_a_waiting_pod_is_resized_before_it_is_placed(quiet_lab):
    lab = quiet_lab(
        nodes={"count": 1},
        web={"initial_replicas": 2, "cpu_request_cores": 1.5},
        physics={"resize": "in_place", "in_place_resize_s": 3.0},
    )
    lab.want(replicas=3)
    lab.advance(3)
    assert lab.service().replicas_ready == 2
    lab.want_quota(0.9, GIB)
    lab.advance(20)
    assert lab.service().replicas_ready == 3
    assert lab.nodes["used_cpu_milli"][0] == 2700


def test_deletion_order(quiet_lab):
    lab = quiet_lab(nodes={"count": 1}, web={"initial_replicas": 3, "cpu_request_cores": 0.5})
    lab.want(replicas=9)  # 3.9 cores hold seven
    lab.advance(2)

    def states():
        alive = [pod for pod in lab.pods() if not pod.deleted]
        waiting = sum(pod.start_time_s is None for pod in alive)
        ready = sum(pod.ready for pod in alive)
        return waiting, len(alive) - waiting - ready, ready

    assert states() == (2, 4, 3)
    seen = []
    for wanted in range(8, 0, -1):
        lab.want(replicas=wanted)
        lab.advance()
        seen.append(states())
    assert seen == [(1, 4, 3), (0, 4, 3), (0, 3, 3), (0, 2, 3), (0, 1, 3), (0, 0, 3), (0, 0, 2), (0, 0, 1)]


def test_the_youngest_ready_pod_goes_first(quiet_lab):
    lab = quiet_lab(web={"initial_replicas": 2})
    first = {pod.name for pod in lab.pods()}
    lab.want(replicas=4)
    lab.advance(20)
    assert lab.service().replicas_ready == 4
    lab.want(replicas=2)
    lab.advance(10)
    assert {pod.name for pod in lab.pods()} == first


def test_back_off_doubles_up_to_its_maximum(quiet_lab):
    lab = quiet_lab(
        web={"initial_replicas": 1},
        physics={"start_failure_probability": 1.0, "restart_backoff_s": 10.0, "restart_backoff_max_s": 100.0},
    )
    lab.want(replicas=2)
    restarts = lab.advance(720)[:, 0]["restarts"]
    crashes = list(np.flatnonzero(restarts))
    # Ten seconds of start-up before each; waits of 10, 20, 40, 80 s, then 100 s.
    assert crashes == [10, 30, 60, 110, 200, 310, 420, 530, 640]
    assert restarts.sum() == 9
    assert lab.service().replicas_ready == 1


def test_some_starts_fail_and_all_come_up_in_the_end(quiet_lab):
    lab = quiet_lab(
        nodes=BIG_NODES,
        web={"initial_replicas": 1, "max_replicas": 40},
        physics={"start_failure_probability": 0.5, "restart_backoff_max_s": 20.0},
    )
    lab.want(replicas=40)
    reports = lab.advance(900)[:, 0]
    assert lab.service().replicas_ready == 40
    # Each of 39 pods fails a geometric number of times, mean 1.
    assert 20 <= reports["restarts"].sum() <= 65


def test_what_is_wanted_stays_within_the_service_s_bounds(quiet_lab):
    lab = quiet_lab(web={"initial_replicas": 3, "min_replicas": 2, "max_replicas": 5})
    lab.want(replicas=50)
    lab.advance(20)
    assert lab.service().replicas_wanted == lab.service().replicas_ready == 5
    lab.want(replicas=0)
    lab.advance(20)
    assert lab.service().replicas_wanted == lab.service().replicas_ready == 2


def test_flapping_decisions_do_not_leak_pods(quiet_lab):
    lab = quiet_lab(
        nodes=BIG_NODES, web={"initial_replicas": 1, "max_replicas": 6}, physics={"termination_s": 60.0}
    )
    created = removed = 0.0
    for second in range(240):
        lab.want(replicas=6 if second % 2 else 1)
        report = lab.advance()[0, 0]
        created += report["pods_created"]
        removed += report["pods_removed"]
        assert 1 + created - removed == lab.service().replicas
    lab.want(replicas=6)
    lab.advance(120)
    assert lab.service().replicas_ready == 6
    assert len(lab.pods()) == 6


def test_a_change_of_the_wanted_number_is_reported_once(quiet_lab):
    lab = quiet_lab(web={"initial_replicas": 3})
    lab.want(replicas=7)
    assert lab.advance(4)[:, 0]["replica_change"].tolist() == [4.0, 0.0, 0.0, 0.0]
    lab.want(replicas=5)
    lab.want(cpu_request_cores=0.4)  # a second decision of the same moment
    assert lab.advance(1)[:, 0]["replica_change"].tolist() == [-2.0]
