import pytest

from podgym.baselines.hpa import (
    Container,
    MetricError,
    Pod,
    PodValue,
    ResourceSample,
    calculate_requests,
    group_pods,
    resource_values,
)

# Periods of the table: a CPU sample is read with caution up to an age of 120 s; a pod that turned
# unready within 10 s of its start was never ready.
NEVER_READY_S = -1000 + 9
WAS_READY_S = -1000 + 10


@pytest.mark.parametrize(
    ("changes", "sample_time_s", "group"),
    [
        ({}, 0, "ready"),
        # Going or gone, whatever else is true of them.
        ({"deleted": True}, 0, "ignored"),
        ({"deleted": True, "phase": "Pending"}, 0, "ignored"),
        ({"phase": "Failed"}, 0, "ignored"),
        ({"phase": "Succeeded"}, None, "ignored"),
        # Pending comes before missing.
        ({"phase": "Pending"}, None, "unready"),
        ({"phase": "Pending"}, 0, "unready"),
        ({}, None, "missing"),
        ({"phase": "Unknown"}, 0, "ready"),
        # CPU of a pod of which the API server knows too little.
        ({"ready": None}, 0, "unready"),
        ({"start_time_s": None}, 0, "unready"),
        ({"ready": None, "start_time_s": None}, None, "missing"),
        # Old pods: unready only if they never were ready.
        ({"ready": False, "ready_transition_time_s": NEVER_READY_S}, 0, "unready"),
        ({"ready": False, "ready_transition_time_s": WAS_READY_S}, 0, "ready"),
        ({"ready": True, "ready_transition_time_s": NEVER_READY_S}, 0, "ready"),
        # Exactly 120 s old is old; one second less is young.
        ({"ready": False, "start_time_s": -120, "ready_transition_time_s": -60}, 0, "ready"),
        ({"ready": False, "start_time_s": -119, "ready_transition_time_s": -60}, 0, "unready"),
        # Young and ready: the 60 s window of the sample must have begun after it became ready.
        ({"start_time_s": -100, "ready_transition_time_s": -70}, -10, "ready"),
        ({"start_time_s": -100, "ready_transition_time_s": -70}, -10.5, "unready"),
    ],
)
def test_each_pod_falls_into_one_group(changes, sample_time_s, group):
    settled = {"ready": True, "start_time_s": -1000, "ready_transition_time_s": -900}
    pod = Pod("p", **{**settled, **changes})
    values = {} if sample_time_s is None else {"p": PodValue(1, sample_time_s, 60)}
    groups = group_pods(
        [pod], values, "cpu", cpu_initialization_period_s=120, initial_readiness_delay_s=10, now_s=0
    )
    members = {
        "ready": groups.ready_count == 1,
        "unready": groups.unready == ("p",),
        "missing": groups.missing == ("p",),
        "ignored": groups.ignored == ("p",),
    }
    assert [name for name, inside in members.items() if inside] == [group]


@pytest.mark.parametrize("resource", ["memory", "", "example.com/queue"])
def test_readiness_matters_for_cpu_only(resource):
    pod = Pod("p", ready=False, start_time_s=-1)
    groups = group_pods(
        [pod],
        {"p": PodValue(1, 0, 60)},
        resource,
        cpu_initialization_period_s=120,
        initial_readiness_delay_s=10,
        now_s=0,
    )
    assert groups.ready_count == 1


def test_the_clock_may_start_anywhere():
    pod = Pod("p", ready=True, start_time_s=5000, ready_transition_time_s=5010)
    groups = [
        group_pods(
            [pod],
            {"p": PodValue(1, now_s, 30)},
            "cpu",
            cpu_initialization_period_s=300,
            initial_readiness_delay_s=30,
            now_s=now_s,
        ).ready_count
        for now_s in (5039, 5040, 5300)
    ]
    assert groups == [0, 1, 1]


def test_names_keep_the_order_of_the_pods():
    pods = [Pod(name, phase="Pending") for name in ("c", "a", "b")]
    groups = group_pods(pods, {}, "cpu", cpu_initialization_period_s=1, initial_readiness_delay_s=1, now_s=0)
    assert groups.unready == ("c", "a", "b")


SIDECAR = Container("mesh", {"cpu": 30}, restart_always=True)
SET_UP = Container("set-up", {"cpu": 5000})
TWO = (Container("a", {"cpu": 100}), Container("b", {"cpu": 50}))


@pytest.mark.parametrize(
    ("pod", "container", "gate", "request_milli"),
    [
        (Pod("p", containers=TWO), "", True, 150),
        (Pod("p", containers=TWO), "b", True, 50),
        (Pod("p", containers=TWO, init_containers=(SET_UP, SIDECAR)), "", True, 180),
        (Pod("p", containers=TWO, init_containers=(SET_UP, SIDECAR)), "mesh", True, 30),
        (Pod("p", containers=TWO, pod_level_requests_milli={"cpu": 800}), "", True, 800),
        (Pod("p", containers=TWO, pod_level_requests_milli={"cpu": 800}), "", False, 150),
        (Pod("p", containers=TWO, pod_level_requests_milli={"cpu": 800}), "a", True, 100),
        # A request for another resource leaves this one to the containers.
        (Pod("p", containers=TWO, pod_level_requests_milli={"memory": 800}), "", True, 150),
        # The pod as a whole speaks for containers that say nothing.
        (Pod("p", containers=(Container("a"),), pod_level_requests_milli={"cpu": 7}), "", True, 7),
        (Pod("p"), "", True, 0),
    ],
)
def test_request_of_a_pod(pod, container, gate, request_milli):
    assert calculate_requests([pod], "cpu", container, pod_level_resources=gate) == {"p": request_milli}


@pytest.mark.parametrize(
    ("pod", "container", "message"),
    [
        (Pod("p", containers=(*TWO, Container("c"))), "", "missing request for cpu in container c of pod p"),
        (Pod("p", containers=(Container("c", {"memory": 1}),)), "c", "missing request for cpu"),
        (Pod("p", containers=TWO), "z", "container z not found in pod p"),
        # An init container that ends is no container of the running pod.
        (Pod("p", containers=TWO, init_containers=(SET_UP,)), "set-up", "container set-up not found"),
    ],
)
def test_a_request_that_is_not_there_fails_the_metric(pod, container, message):
    with pytest.raises(MetricError, match=message):
        calculate_requests([pod, Pod("fine", containers=TWO)], "cpu", container)


def test_another_container_may_lack_its_request():
    pod = Pod("p", containers=(Container("a"), Container("b", {"cpu": 9})))
    assert calculate_requests([pod], "cpu", "b") == {"p": 9}


def test_values_of_pods():
    samples = [
        ResourceSample("both", -5, 30, {"a": 40, "b": 2}),
        ResourceSample("half", -5, 30, {"a": 40, "b": None}),
        ResourceSample("none", -5, 30, {}),
    ]
    assert resource_values(samples) == {"both": PodValue(42, -5, 30)}
    assert resource_values(samples, "a") == {"both": PodValue(40, -5, 30), "half": PodValue(40, -5, 30)}
    assert resource_values(samples, "b") == {"both": PodValue(2, -5, 30)}
    assert resource_values(samples, "c") == {}
