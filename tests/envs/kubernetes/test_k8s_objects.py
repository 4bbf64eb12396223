"""From JSON to plain data and back."""

import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podgym.envs.cluster import Quota
from podgym.envs.kubernetes.objects import (
    container_name,
    cpu_text,
    deployment_state,
    duration_s,
    memory_text,
    node_state,
    pod_state,
    pod_usage,
    quantity,
    quota_of,
    resources_of,
    same_quota,
    scale_state,
    selector_text,
    selects,
    time_s,
)
from podgym.errors import InputError

NAN = math.nan
parse_quantity = pytest.importorskip("kubernetes.utils").parse_quantity


@given(
    st.decimals(0, 10**6, places=3, allow_nan=False),
    st.sampled_from(["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"]),
)
def test_quantities_are_those_of_the_client(number, suffix):
    text = f"{number}{suffix}"
    assert quantity(text) == pytest.approx(float(parse_quantity(text)), rel=1e-12)


@pytest.mark.parametrize(
    ("text", "value"), [("1e3", 1000.0), ("0.5", 0.5), ("-1", -1.0), (2, 2.0), ("1E", 1e18)]
)
def test_quantities_have_exponents_too(text, value):
    assert quantity(text) == value


@pytest.mark.parametrize("text", ["", "m", "1 Ki", "1Kim", "0x1", "1.2.3", "nan", "1h"])
def test_what_is_no_quantity_is_refused(text):
    with pytest.raises(ValueError, match="not a quantity"):
        quantity(text)


@given(st.integers(1, 10**7))
def test_cpu_goes_there_and_back(millicores):
    assert quantity(cpu_text(millicores / 1000)) == pytest.approx(millicores / 1000, rel=1e-15)


@given(st.floats(1e-6, 1e4))
def test_cpu_is_rounded_up_to_the_finest_that_is_allowed(cores):
    written = Decimal(str(parse_quantity(cpu_text(cores))))
    assert 0 <= written - Decimal(repr(cores)) < Decimal("0.001")
    assert written * 1000 == int(written * 1000)


@given(st.integers(1, 2**52))
def test_memory_goes_there_and_back(size):
    assert quantity(memory_text(size)) == size


@pytest.mark.parametrize(
    ("size", "text"),
    [(512 * 2**20, "512Mi"), (2**30, "1Gi"), (1536, "1536"), (1000, "1000"), (0.5, "1"), (0, "0")],
)  # fmt: skip
def test_memory_is_written_as_people_write_it(size, text):
    assert memory_text(size) == text


def test_quotas_are_nan_where_nothing_is_set():
    quota = quota_of({"requests": {"cpu": "250m"}, "limits": None})
    assert quota.cpu_request_cores == 0.25
    assert math.isnan(quota.cpu_limit_cores)
    assert math.isnan(quota.memory_request_bytes)
    assert math.isnan(quota.memory_limit_bytes)
    assert same_quota(quota, Quota(0.25, NAN, NAN, NAN))
    assert not same_quota(quota, Quota(0.25, 0.25, NAN, NAN))
    assert same_quota(quota_of(None), Quota(NAN, NAN, NAN, NAN))


def test_what_is_not_set_is_removed_or_kept():
    quota = Quota(0.5, NAN, NAN, 2**30)
    assert resources_of(quota, keep_unset=True) == {"requests": {"cpu": "500m"}, "limits": {"memory": "1Gi"}}
    assert resources_of(quota, keep_unset=False) == {
        "requests": {"cpu": "500m", "memory": None}, "limits": {"cpu": None, "memory": "1Gi"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30.0), ("1m0.5s", 60.5), ("1h2m3s", 3723.0), ("15.3s", 15.3), ("10ms", 0.01)],
)
def test_durations(text, seconds):
    assert duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "1", "1x", "1s1"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match="not a duration"):
        duration_s(text)


def test_times():
    assert time_s("1970-01-01T00:01:00Z") == 60.0
    assert time_s("1970-01-01T00:00:00.123456789Z") == pytest.approx(0.123456)
    assert time_s("1970-01-01T01:00:00+01:00") == 0.0
    assert time_s(None) is None


SELECTOR = {
    "matchLabels": {"app": "web"},
    "matchExpressions": [
        {"key": "tier", "operator": "In", "values": ["a", "b"]},
        {"key": "old", "operator": "DoesNotExist"},
        {"key": "zone", "operator": "Exists"},
        {"key": "env", "operator": "NotIn", "values": ["dev"]},
    ],
}


def test_selectors_are_written_as_a_list_takes_them():
    assert selector_text(SELECTOR) == "app=web,tier in (a,b),!old,zone,env notin (dev)"


@pytest.mark.parametrize("selector", [{}, {"matchLabels": {}}, {"matchExpressions": None}])
def test_an_empty_selector_is_refused_since_it_takes_every_pod(selector):
    with pytest.raises(ValueError, match="empty selector"):
        selector_text(selector)


@pytest.mark.parametrize(
    ("change", "taken"),
    [({}, True), ({"app": "x"}, False), ({"tier": "c"}, False), ({"old": "1"}, False),
     ({"zone": None}, False), ({"env": "dev"}, False), ({"env": "prod"}, True)],
)  # fmt: skip
def test_selectors_take_labels(change, taken):
    labels = {"app": "web", "tier": "a", "zone": "z"} | change
    assert selects(SELECTOR, {key: value for key, value in labels.items() if value is not None}) is taken


def deployment(**spec):
    return {
        "metadata": {"name": "web", "namespace": "demo", "uid": "u", "resourceVersion": "7"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"spec": {"containers": [{"name": "app"}, {"name": "proxy"}]}},
            **spec,
        },
    }


def test_a_deployment_that_was_just_made_has_no_status():
    found = deployment_state(deployment())
    assert (found.replicas, found.replicas_present, found.replicas_ready, found.paused) == (1, 0, 0, False)
    assert deployment_state(deployment(replicas=0, paused=True)).replicas == 0


def test_the_container_must_be_named_where_there_are_several():
    found = deployment_state(deployment())
    assert container_name(found, "proxy") == "proxy"
    with pytest.raises(InputError, match="containers app, proxy; name one: container: app"):
        container_name(found, None)
    with pytest.raises(InputError, match="Did you mean 'proxy'"):
        container_name(found, "prxy")


def test_zero_replicas_are_left_out_of_a_scale():
    assert scale_state({"metadata": {"resourceVersion": "7"}, "spec": {}}).replicas == 0


def pod(status, **metadata):
    spec = {"containers": [{"name": "app", "resources": {"requests": {"cpu": "1"}}}, {"name": "proxy"}]}
    return {
        "metadata": {"name": "web-1", "creationTimestamp": "1970-01-01T00:00:10Z", **metadata},
        "spec": spec, "status": status,
    }  # fmt: skip


def test_a_pod_that_no_node_takes():
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    found = pod_state(pod({"phase": "Pending", "conditions": [condition]}), "app")
    assert (found.phase, found.ready, found.start_time_s, found.unschedulable) == (
        "Pending",
        False,
        None,
        True,
    )
    assert found.ready_transition_time_s == 10.0
    assert not found.deleted


def test_a_pod_that_was_killed_over_its_memory_limit_and_is_terminating():
    ended = {"reason": "OOMKilled", "startedAt": "1970-01-01T00:00:20Z", "finishedAt": "1970-01-01T00:00:50Z"}
    status = {
        "phase": "Running", "startTime": "1970-01-01T00:00:15Z",
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "1970-01-01T00:01:00Z"}],
        "containerStatuses": [
            {"name": "proxy", "restartCount": 9},
            {"name": "app", "restartCount": 2, "state": {"running": {}}, "lastState": {"terminated": ended}},
        ],
    }  # fmt: skip
    found = pod_state(pod(status, deletionTimestamp="1970-01-01T00:02:00Z"), "app")
    assert (found.restarts, found.oom_killed_s, found.oom_ran_s) == (2, 50.0, 30.0)
    assert (found.ready, found.deleted, found.start_time_s) == (True, True, 15.0)
    assert found.ready_transition_time_s == 60.0
    ended["reason"] = "Error"
    assert pod_state(pod(status), "app").oom_killed_s is None


def test_the_resources_in_force_are_those_of_the_status():
    status = {"containerStatuses": [{"name": "app", "resources": {"requests": {"cpu": "2"}}}]}
    assert pod_state(pod(status), "app").quota.cpu_request_cores == 2.0
    assert pod_state(pod({}), "app").quota.cpu_request_cores == 1.0
    with pytest.raises(KeyError):
        pod_state(pod({}), "sidecar")


def test_a_cordoned_node():
    status = {"allocatable": {"cpu": "4", "memory": "8Gi"}}
    found = node_state({"metadata": {"name": "n"}, "spec": {"unschedulable": True}, "status": status})
    assert (found.cpu_cores, found.memory_bytes, found.schedulable) == (4.0, 8 * 2**30, False)


def test_usage_without_the_container_is_none():
    assert pod_usage({"timestamp": "1970-01-01T00:00:00Z", "window": "15s", "containers": []}, "app") is None
