"""Scores worked by hand; upstream's own cases run in ``tests/eval/test_conformance.py``."""

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podgym.envs.simulator.scheduling import (
    CPU_AND_MEMORY,
    ContainerRequests,
    Node,
    PodRequests,
    ResourceWeight,
    WeightError,
    balanced_allocation,
    balanced_allocation_change,
    is_best_effort,
    least_allocated,
    most_allocated,
    pod_request,
)
from podgym.errors import InputError

MIB_200 = 200 * 2**20


def pod(*containers, init=(), overhead=None):
    return PodRequests(
        tuple(ContainerRequests(each) for each in containers),
        tuple(each if isinstance(each, ContainerRequests) else ContainerRequests(each) for each in init),
        overhead,
    )


def weights(**by_resource):
    return tuple(ResourceWeight(name, weight) for name, weight in by_resource.items())


@pytest.mark.parametrize(
    ("asked", "non_zero", "request_"),
    [
        (pod(), True, {}),
        (pod({}), False, {}),
        (pod({}), True, {"cpu": 100, "memory": MIB_200}),
        (pod({}, {}), True, {"cpu": 200, "memory": 2 * MIB_200}),
        (pod({"cpu": 0}), True, {"cpu": 0, "memory": MIB_200}),
        (pod({"cpu": 5}, {"cpu": 6, "gpu": 1}), False, {"cpu": 11, "gpu": 1}),
        # The largest init container, per resource, against the sum of the containers.
        (
            pod({"cpu": 5, "memory": 9}, init=({"cpu": 7}, {"cpu": 6, "memory": 3})),
            False,
            {"cpu": 7, "memory": 9},
        ),
        (pod({"cpu": 3, "memory": 1}, init=({},)), True, {"cpu": 100, "memory": MIB_200}),
        (pod({"cpu": 5}, overhead={"cpu": 1, "memory": 2}), False, {"cpu": 6, "memory": 2}),
        # A sidecar runs next to the containers and next to the init containers after it.
        (pod({"cpu": 5}, init=(ContainerRequests({"cpu": 2}, True), {"cpu": 4})), False, {"cpu": 7}),
        (pod({"cpu": 5}, init=(ContainerRequests({"cpu": 2}, True), {"cpu": 6})), False, {"cpu": 8}),
        (pod({"cpu": 5}, init=({"cpu": 6}, ContainerRequests({"cpu": 2}, True))), False, {"cpu": 7}),
    ],
)
def test_request_of_a_pod(asked, non_zero, request_):
    assert pod_request(asked, non_zero=non_zero) == request_


def test_least_and_most_allocated():
    node = Node({"cpu": 1000, "memory": 1000}, (pod({"cpu": 200, "memory": 0}),))
    asked = pod({"cpu": 100, "memory": 501})
    # cpu 300 of 1000, memory 501 of 1000, each divided on its own: (70 + 49) / 2 and (30 + 50) / 2.
    assert least_allocated(asked, node) == 59
    assert most_allocated(asked, node) == 40
    # (70 * 3 + 49) / 4 = 64.75
    assert least_allocated(asked, node, weights(cpu=3, memory=1)) == 64
    assert most_allocated(asked, node, weights(cpu=3, memory=1)) == 35


def test_a_node_that_is_too_small():
    node = Node({"cpu": 100, "memory": 100})
    asked = pod({"cpu": 200, "memory": 50})
    assert least_allocated(asked, node) == 25
    assert most_allocated(asked, node) == 75


def test_containers_without_requests_count_in_the_fit_and_not_in_the_balance():
    silent = pod({})
    node = Node({"cpu": 1000, "memory": 10 * MIB_200}, (silent, silent))
    assert least_allocated(silent, node) == 70
    asked = pod({"cpu": 500})
    assert balanced_allocation(asked, node) == 75  # 0.5 and 0 used, whatever the silent ones are


def test_resources_that_a_node_lacks_or_a_pod_does_not_ask_for_are_left_out():
    resources = weights(cpu=1, memory=1, gpu=5)
    node = Node({"cpu": 100, "gpu": 4})
    assert least_allocated(pod({"cpu": 50, "memory": 7}), node, resources) == 50
    assert least_allocated(pod({"cpu": 50, "memory": 7, "gpu": 4}), node, resources) == 8  # 50 / 6
    assert least_allocated(pod({"cpu": 1, "memory": 1}), Node({}), resources) == 0
    # Storage of the node itself is scored like CPU and memory, asked for or not.
    storage = weights(**{"ephemeral-storage": 1})
    assert least_allocated(pod({"cpu": 1}), Node({"ephemeral-storage": 10}), storage) == 100


@pytest.mark.parametrize(
    ("used", "score"),
    [
        ({"cpu": 0, "memory": 0}, 75),  # 0.5 and 0
        ({"cpu": 0, "memory": 50}, 100),  # 0.5 and 0.5
        ({"cpu": 80, "memory": 100}, 100),  # capped at 1
        ({"cpu": 50, "memory": 33}, 66),  # 1 and 0.33: 1 - 0.335 = 0.665
    ],
)
def test_balance_of_two(used, score):
    node = Node({"cpu": 100, "memory": 100}, (pod(used),))
    assert balanced_allocation(pod({"cpu": 50}), node) == score


def test_balance_of_three_is_a_population_deviation():
    node = Node({"cpu": 10, "memory": 10, "gpu": 10})
    asked = pod({"cpu": 2, "memory": 5, "gpu": 9})
    expected = int((1 - statistics.pstdev([0.2, 0.5, 0.9])) * 100)
    assert balanced_allocation(asked, node, weights(cpu=1, memory=1, gpu=1)) == expected == 71


@pytest.mark.parametrize(
    ("used", "asked", "score"),
    [
        ({"cpu": 0, "memory": 0}, {"cpu": 50, "memory": 50}, 75),  # balanced before and after
        ({"cpu": 100, "memory": 0}, {"memory": 100}, 100),  # 50 before, 100 after
        ({"cpu": 0, "memory": 0}, {"cpu": 100}, 50),  # 100 before, 50 after
        ({"cpu": 0, "memory": 0}, {"cpu": 10}, 72),  # 100 before, 95 after: 50 + 45 // 2
    ],
)
def test_change_of_balance(used, asked, score):
    node = Node({"cpu": 100, "memory": 100}, (pod(used),))
    assert balanced_allocation_change(pod(asked), node) == score


def test_best_effort_is_about_the_resources_that_are_scored():
    assert is_best_effort(pod())
    assert is_best_effort(pod({}, {"cpu": 0}))
    assert is_best_effort(pod({"gpu": 1}))
    assert not is_best_effort(pod({"gpu": 1}), weights(gpu=1))
    assert not is_best_effort(pod({}, init=({"cpu": 1},)))
    assert is_best_effort(pod({"cpu": 1}), ())


@pytest.mark.parametrize("weight", [0, -1, 101])
def test_weights_out_of_range_are_refused_with_their_field(weight):
    resources = (ResourceWeight("cpu"), ResourceWeight("memory", weight))
    for score in (least_allocated, most_allocated):
        with pytest.raises(WeightError, match="1 to 100") as caught:
            score(pod({"cpu": 1}), Node({"cpu": 1}), resources)
        assert caught.value.field == "scoringStrategy.resources[1].weight"
    for score in (balanced_allocation, balanced_allocation_change):
        with pytest.raises(WeightError, match="must be 1") as caught:
            score(pod({"cpu": 1}), Node({"cpu": 1}), resources)
        assert caught.value.field == "resources[1].weight"


def test_no_resources_is_an_error_for_the_fit():
    for score in (least_allocated, most_allocated):
        with pytest.raises(InputError, match="no resources to score"):
            score(pod({"cpu": 1}), Node({"cpu": 1}), ())


amounts = st.integers(0, 10**12)
requests = st.fixed_dictionaries({}, optional={"cpu": amounts, "memory": amounts, "gpu": amounts})
nodes = st.builds(Node, requests, st.lists(requests, max_size=3).map(lambda each: (pod(*each),)))
THREE = (*CPU_AND_MEMORY, ResourceWeight("gpu"))


@given(st.lists(requests, max_size=3), nodes)
def test_every_score_is_a_whole_number_from_0_to_100(containers, node):
    asked = pod(*containers)
    for score in (least_allocated, most_allocated):
        assert score(asked, node, THREE) in range(101)
    for score in (balanced_allocation, balanced_allocation_change):
        assert score(asked, node, THREE) in range(50, 101)


@given(st.lists(requests, max_size=3), nodes, st.integers(1, 100))
def test_equal_weights_are_no_weights(containers, node, weight):
    asked = pod(*containers)
    heavy = tuple(ResourceWeight(each.resource, weight) for each in THREE)
    assert least_allocated(asked, node, heavy) == least_allocated(asked, node, THREE)
    assert most_allocated(asked, node, heavy) == most_allocated(asked, node, THREE)


@given(requests, nodes)
def test_more_requests_never_leave_more(request_, node):
    full = {"cpu": 0, "memory": 0, "gpu": 1, **request_}
    more = {resource: amount + 1 for resource, amount in full.items()}
    assert (
        least_allocated(pod(more), node, THREE) <= least_allocated(pod(full), node, THREE) or not full["gpu"]
    )
    assert most_allocated(pod(more), node, CPU_AND_MEMORY) >= most_allocated(pod(full), node, CPU_AND_MEMORY)
