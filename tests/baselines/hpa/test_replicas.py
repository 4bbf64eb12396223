"""Replica counts worked by hand. ``p0``, ``p1``, ... are old ready pods with a request of 1000."""

import pytest

from podgym.baselines.hpa import (
    AverageValue,
    Container,
    ExternalMetric,
    MetricError,
    ObjectMetric,
    PodsMetric,
    PodValue,
    ResourceMetric,
    ResourceSample,
    Scale,
    Target,
    Tolerance,
    UnknownMetric,
    Utilization,
    Value,
    propose_replicas,
)

MAX_INT32 = 2**31 - 1
MAX_INT64 = 2**63 - 1


def cpu(percent, samples, container=""):
    return ResourceMetric("cpu", Utilization(percent), samples, container)


@pytest.mark.parametrize(
    ("usage", "percent", "current", "replicas"),
    [
        # 90 % / 60 % = 1.5; 1.5 * 3 = 4.5.
        ((900, 900, 900), 60, 3, 5),
        # The measured pods are scaled, not spec.replicas: 1.5 * 2 = 3 whatever was wanted.
        ((900, 900), 60, 7, 3),
        # 22 % / 20 % is 1.1 in float64, which is within a tolerance of 0.1.
        ((220,), 20, 1, 1),
        ((230,), 20, 1, 2),
        # 18 % / 20 % is 0.9, exactly at the lower end.
        ((180, 180), 20, 2, 2),
        ((170, 170, 170), 20, 3, 3),  # 0.85 * 3 = 2.55, rounded up to 3
        ((0, 0), 20, 2, 0),
    ],
)
def test_complete_data(make_pods, make_samples, usage, percent, current, replicas):
    target = Target(Scale(current, current), make_pods(len(usage)), 0)
    assert propose_replicas(cpu(percent, make_samples(*usage)), target).replicas == replicas


@pytest.mark.parametrize(
    ("usage", "count", "percent", "current", "replicas"),
    [
        # Scaling down, the two missing pods are taken to use all they requested:
        # (10 + 10 + 100 + 100) / 4 = 55 %, and 55 / 100 * 4 = 2.2.
        ((100, 100), 4, 100, 4, 3),
        # ... or their target, where that is more: (20 + 200) / 2 = 110 %; 110 / 200 * 2 = 1.1.
        # With the plain request it would have been (20 + 100) / 2 = 60 %; 0.3 * 2 = 0.6.
        ((200,), 2, 200, 2, 2),
        ((200, 200), 3, 200, 5, 2),  # (20 + 20 + 200) / 3 = 80 %; 0.4 * 3 = 1.2
        # Scaling up, missing pods are taken to be idle: (150 + 150 + 0) / 3 = 100 %; 1.25 * 3.
        ((1500, 1500), 3, 80, 3, 4),
        # Idle pods may turn the direction around: (90 + 0) / 2 = 45 % < 60 %. Nothing is done.
        ((900,), 2, 60, 2, 2),
        # At exactly the target, missing pods stay out.
        ((500,), 2, 50, 2, 2),
    ],
)
def test_missing_pods(make_pods, make_samples, usage, count, percent, current, replicas):
    target = Target(Scale(current, current), make_pods(count), 0)
    assert propose_replicas(cpu(percent, make_samples(*usage)), target).replicas == replicas


def test_unready_pods_slow_scaling_up_and_stay_out_of_scaling_down(make_pods, make_samples):
    young = make_pods(1, first=2, start_time_s=-10.0, ready=False)
    target = Target(Scale(3, 3), (*make_pods(2), *young), 0)
    # Up: (90 + 90 + 0) / 3 = 60 % of 30 %: 2 * 3 = 6, not 3 * 2 + 1.
    up = propose_replicas(cpu(30, make_samples(900, 900, 5000)), target)
    assert (up.replicas, up.utilization_percent) == (6, 90)
    # Down: 20 % of 80 %, 0.25 * 2 measured pods = 0.5.
    assert propose_replicas(cpu(80, make_samples(200, 200, 5000)), target).replicas == 1


def test_unready_pods_change_nothing_at_exactly_the_target(make_pods, make_samples):
    pods = (*make_pods(2), *make_pods(1, first=2, phase="Pending"))
    assert propose_replicas(cpu(50, make_samples(500, 500)), Target(Scale(3, 3), pods, 0)).replicas == 3


def test_unready_pods_enter_next_to_missing_ones_only_when_scaling_up(make_pods, make_samples):
    unready = make_pods(1, first=2, phase="Pending")
    target = Target(Scale(4, 4), (*make_pods(2), *unready, *make_pods(1, first=3)), 0)
    # Down, p3 missing: (10 + 10 + 100) / 3 = 40 %; 40 / 80 * 3 = 1.5. p2 is not there at all.
    assert propose_replicas(cpu(80, make_samples(100, 100)), target).replicas == 2
    # Up: (200 + 200 + 0 + 0) / 4 = 100 %; 1.25 * 4 = 5.
    assert propose_replicas(cpu(80, make_samples(2000, 2000)), target).replicas == 5


def test_more_pods_than_wanted_never_turn_the_direction_around(make_pods, make_samples):
    # Six pods exist, two are wanted. (20 + 5 * 100) / 6 = 86 %; 86 / 100 = 0.86; * 6 = 5.2 > 2.
    target = Target(Scale(2, 6), make_pods(6), 0)
    assert propose_replicas(cpu(100, make_samples(200)), target).replicas == 2
    # Going up: (300 + 0) / 2 = 150 %, ratio 1.5, * 2 pods = 3 < 9.
    target = Target(Scale(9, 2), make_pods(2), 0)
    assert propose_replicas(cpu(100, make_samples(3000)), target).replicas == 9


def test_value_targets_assume_the_target_for_missing_pods(make_pods):
    # (2 + 10) / 2 = 6 of 10: 0.6 * 2 = 1.2. Taking a request of 1000 instead would have scaled up.
    values = {"p0": PodValue(2, 0, 60)}
    target = Target(Scale(2, 2), make_pods(2), 0)
    proposal = propose_replicas(PodsMetric(10, values), target)
    assert (proposal.replicas, proposal.usage_milli) == (2, 2)
    four = Target(Scale(4, 4), make_pods(4), 0)
    values = {"p0": PodValue(2, 0, 60), "p1": PodValue(2, 0, 60), "p2": PodValue(2, 0, 60)}
    assert propose_replicas(PodsMetric(10, values), four).replicas == 2  # (2 * 3 + 10) / 4 = 4; 0.4 * 4


def test_custom_metrics_do_not_ask_for_readiness(make_pods):
    pods = make_pods(2, ready=False, start_time_s=-1.0)
    values = {"p0": PodValue(30, 0, 60), "p1": PodValue(30, 0, 60)}
    assert propose_replicas(PodsMetric(10, values), Target(Scale(2, 2), pods, 0)).replicas == 6


def test_a_container_alone(make_pods):
    containers = (Container("app", {"cpu": 1000}), Container("log", {}))
    pods = make_pods(2, containers=containers)
    samples = (
        ResourceSample("p0", 0, 60, {"app": 900, "log": 9000}),
        ResourceSample("p1", 0, 60, {"app": 900, "log": 9000}),
    )
    target = Target(Scale(2, 2), pods, 0)
    assert propose_replicas(cpu(60, samples, "app"), target).replicas == 3
    # Its value target does not even need requests, which the log container lacks.
    average = ResourceMetric("cpu", AverageValue(3000), samples, "log")
    assert propose_replicas(average, target).replicas == 6
    # A pod whose sample lacks the container is missing, not an error: (90 + 0) / 2 = 45 % of 40 %.
    without = (samples[0], ResourceSample("p1", 0, 60, {"log": 9000}))
    assert propose_replicas(cpu(40, without, "app"), target).replicas == 3
    # CPU of a container asks for readiness, too.
    unready = make_pods(2, containers=containers, ready=False, start_time_s=-1)
    with pytest.raises(MetricError, match="might be unready"):
        propose_replicas(cpu(60, samples, "app"), Target(Scale(2, 2), unready, 0))


def test_tolerance_differs_by_direction(make_pods, make_samples):
    pods = make_pods(10)
    for usage, tolerance, replicas in [
        (1010, Tolerance(0.5, 0.0), 11),
        (1010, Tolerance(0.0, 0.5), 10),
        (890, Tolerance(0.5, 0.0), 10),
        (890, Tolerance(0.0, 0.5), 9),
    ]:
        target = Target(Scale(10, 10), pods, 0, tolerance)
        assert propose_replicas(cpu(100, make_samples(*[usage] * 10)), target).replicas == replicas


@pytest.mark.parametrize(
    ("metric", "spec", "status", "replicas", "usage_milli"),
    [
        # Value targets scale the ready pods: 20 / 10 * 3 ready = 6.
        (ObjectMetric(Value(10), 20), 4, 4, 6, 20),
        (ExternalMetric(Value(10), (15, 5)), 4, 4, 6, 20),
        (ObjectMetric(Value(10), 11), 4, 4, 4, 11),
        # From zero: the ratio alone, without tolerance.
        (ObjectMetric(Value(10), 1), 0, 0, 1, 1),
        (ObjectMetric(Value(10), 0), 0, 0, 0, 0),
        (ObjectMetric(Value(10), 25), 0, 0, 3, 25),
        # Average targets look at status.replicas, neither at spec.replicas nor at readiness.
        (ObjectMetric(AverageValue(10), 41), 9, 4, 4, 11),
        (ObjectMetric(AverageValue(10), 45), 9, 4, 5, 12),
        (ExternalMetric(AverageValue(10), (20, 25)), 9, 4, 5, 12),
        (ExternalMetric(AverageValue(10), (20,)), 0, 0, 2, 0),
        (ExternalMetric(AverageValue(10), (0,)), 0, 0, 0, 0),
        # A backlog may be negative; the controller clamps the count later.
        (ExternalMetric(Value(10), (-20,)), 4, 4, -6, -20),
        # Saturation.
        (ObjectMetric(Value(1), MAX_INT64), 4, 4, MAX_INT32, MAX_INT64),
        (ObjectMetric(Value(1), MAX_INT64), 0, 0, MAX_INT32, MAX_INT64),
        (ObjectMetric(Value(0), 5), 4, 4, MAX_INT32, 5),
        (ObjectMetric(AverageValue(1), MAX_INT64), 4, 4, MAX_INT32, MAX_INT64),
        (ExternalMetric(Value(1), (MAX_INT64, MAX_INT64)), 4, 4, MAX_INT32, MAX_INT64),
        (ExternalMetric(AverageValue(1), (MAX_INT64, 1)), 4, 4, MAX_INT32, MAX_INT64),
        (ExternalMetric(AverageValue(1), (MAX_INT64,)), 0, 0, MAX_INT32, MAX_INT64),
    ],
)
def test_metrics_of_something_else(make_pods, metric, spec, status, replicas, usage_milli):
    pods = (*make_pods(3), *make_pods(1, first=3, ready=False), *make_pods(1, first=4, phase="Pending"))
    proposal = propose_replicas(metric, Target(Scale(spec, status), pods if spec else (), 0))
    assert (proposal.replicas, proposal.usage_milli) == (replicas, usage_milli)


def test_a_count_of_pods_saturates_too(make_pods, make_samples):
    target = Target(Scale(1, 1), make_pods(1, request_milli=1), 0)
    assert propose_replicas(cpu(1, make_samples(MAX_INT64)), target).replicas == MAX_INT32


def test_failures(make_pods, make_samples):
    target = Target(Scale(1, 1), make_pods(1), 0)
    alone = Target(Scale(1, 1), (), 0)
    samples = make_samples(100)
    for metric, place, message in [
        (cpu(50, None), target, "unable to fetch"),
        (cpu(50, ()), target, "unable to fetch"),
        (PodsMetric(10, None), target, "unable to fetch"),
        (PodsMetric(10, {}), target, "unable to fetch"),
        (ObjectMetric(Value(1), None), target, "unable to fetch"),
        (ExternalMetric(Value(1), None), target, "unable to fetch"),
        (ExternalMetric(Value(1), ()), target, "unable to fetch"),
        (cpu(50, samples), alone, "no pods"),
        (PodsMetric(10, {"p0": PodValue(1, 0, 1)}), alone, "no pods"),
        (ObjectMetric(Value(1), 5), alone, "no pods"),
        (ResourceMetric("cpu", None, samples), target, "target was set"),
        (ObjectMetric(None, 5), target, "target was set"),
        (ExternalMetric(None, (5,)), target, "target was set"),
        (ResourceMetric("gpu", Utilization(50), samples), target, "missing request for gpu"),
        (cpu(50, (ResourceSample("p0", 0, 60, {}),)), target, "did not receive metrics"),
        (UnknownMetric("Weather"), target, "Weather"),
    ]:
        with pytest.raises(MetricError, match=message):
            propose_replicas(metric, place)


def test_requests_are_read_only_when_a_sample_is_left(make_pods, make_samples):
    # The pending pod has no request; without any usable sample that is not what the error is about.
    bare = make_pods(1, phase="Pending", containers=(Container("app"),))
    with pytest.raises(MetricError, match="did not receive metrics"):
        propose_replicas(cpu(50, make_samples(100)), Target(Scale(1, 1), bare, 0))
