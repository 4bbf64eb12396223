"""Pods resized in place: new ones too, none smaller on bad data, those that refuse are left."""

import dataclasses

from podgym.envs.cluster import Quota
from podgym.envs.kubernetes.errors import ClusterError
from podgym.envs.kubernetes.interval import ServiceState
from podgym.envs.kubernetes.pod_quotas import PodQuotas
from podgym.envs.kubernetes.readings import PodState, ServiceReading

BIG, SMALL = Quota(0.5, 0.5, 100.0, 200.0), Quota(0.25, 0.25, 100.0, 200.0)


class Api:
    def __init__(self, refusing=()):
        self.refusing, self.resized = refusing, []

    def resize_pod(self, namespace, pod, container, quota):
        if pod in self.refusing:
            raise ClusterError("infeasible")
        self.resized.append((pod, quota))


def pod(name, quota=BIG, *, asked=None, placed=True):
    return PodState(name, "Running", True, 1.0 if placed else None, 1.0, False, quota, quota_asked=asked)


def state(*pods):
    return ServiceState(len(pods), BIG, pods, ServiceReading())


def quotas(wanted=SMALL, refusing=(), per_step=4):
    api = Api(refusing)
    made = PodQuotas(api, "demo", "main", per_step)
    made.wanted = wanted
    return made, api


def test_a_few_in_each_step_and_none_twice():
    made, api = quotas(per_step=2)
    made.reconcile(state(*map(pod, "abcd")), "any")
    assert [name for name, _ in api.resized] == ["a", "b"]
    made.reconcile(state(pod("a", SMALL), pod("b", SMALL), pod("c"), pod("d")), "any")
    assert [name for name, _ in api.resized] == ["a", "b", "c", "d"]
    made.reconcile(state(*(pod(name, SMALL) for name in "abcd")), "any")
    assert len(api.resized) == 4


def test_nothing_shrinks_while_only_growth_is_allowed():
    made, api = quotas()
    made.reconcile(state(pod("a"), pod("b")), "up_only")
    made.reconcile(state(pod("a"), pod("b")), "none")
    assert api.resized == []
    made.wanted = BIG
    made.reconcile(state(pod("a", SMALL)), "up_only")
    assert api.resized == [("a", BIG)]


def test_one_amount_that_shrinks_is_enough_to_wait():
    made, api = quotas(dataclasses.replace(BIG, cpu_request_cores=0.6, memory_request_bytes=50.0))
    made.reconcile(state(pod("a")), "up_only")
    assert api.resized == []


def test_what_was_asked_for_counts_not_what_is_in_force():
    made, api = quotas(BIG)
    made.reconcile(state(pod("a", BIG, asked=SMALL)), "any")  # a cut that is deferred is taken back
    assert api.resized == [("a", BIG)]
    made, api = quotas(SMALL)
    made.reconcile(state(pod("a", BIG, asked=SMALL)), "any")  # under way already
    assert api.resized == []


def test_pods_that_refuse_do_not_starve_the_others_and_are_not_asked_again():
    made, api = quotas(refusing=("a", "b"), per_step=2)
    pods = state(*map(pod, "abc"))
    assert len(made.reconcile(pods, "any")) == 2
    assert made.reconcile(pods, "any") == ()
    assert [name for name, _ in api.resized] == ["c"]
    made.wanted = dataclasses.replace(SMALL, cpu_request_cores=0.2)  # another quota may be feasible
    assert len(made.reconcile(pods, "any")) == 2


def test_pods_without_a_node_wait():
    made, api = quotas()
    made.reconcile(state(pod("a", placed=False)), "any")
    assert api.resized == []
