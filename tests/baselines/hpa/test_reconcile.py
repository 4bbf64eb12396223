import dataclasses
import doctest

import pytest

from podgym.baselines import hpa
from podgym.baselines.hpa import (
    Behavior,
    Condition,
    ControllerSettings,
    ExternalMetric,
    FeatureGates,
    HpaSpec,
    HpaState,
    ObjectMetric,
    PodsMetric,
    PodValue,
    Recommendation,
    ResourceMetric,
    Scale,
    ScaleEvent,
    ScalingPolicy,
    ScalingRules,
    UnknownMetric,
    Utilization,
    Value,
    reconcile,
)
from podgym.errors import InputError

NO_LOG = HpaState(recommendations=())
ASLEEP = HpaState(recommendations=(), conditions={"ScaledToZero": Condition("True", "ScaledToZero")})


def external(replicas):
    """A metric that asks for this many replicas, whatever there are."""
    return ExternalMetric(hpa.AverageValue(10), (replicas * 10,))


def run(spec, current, metrics, state=NO_LOG, now_s=0.0, pods=(), **keywords):
    return reconcile(spec, Scale(current, current), pods, metrics, state, now_s, **keywords)


def conditions(result):
    return {name: (each.status, each.reason) for name, each in result.conditions.items()}


def test_the_example_of_the_package():
    assert doctest.testmod(hpa).attempted == 5
    assert doctest.testmod(hpa).failed == 0


def test_a_plain_rescale():
    result = run(HpaSpec(10), 4, [external(6)])
    assert (result.desired_replicas, result.rescaled, result.error) == (6, True, "none")
    assert conditions(result) == {
        "AbleToScale": ("True", "SucceededRescale"),
        "ScalingActive": ("True", "ValidMetricFound"),
        "ScalingLimited": ("False", "DesiredWithinRange"),
        "ScaledToZero": ("False", "NotScaledToZero"),
    }
    assert result.state.recommendations == (Recommendation(6, 0.0),)
    assert result.metric_statuses[0].usage_milli == 15
    # Without a behaviour no events are kept.
    assert result.state.scale_up_events == ()


def test_nothing_to_do():
    result = run(HpaSpec(10), 4, [external(4)])
    assert (result.desired_replicas, result.rescaled) == (4, False)
    assert conditions(result) == {
        "AbleToScale": ("True", "ReadyForNewScale"),
        "ScalingActive": ("True", "ValidMetricFound"),
        "ScalingLimited": ("False", "DesiredWithinRange"),
    }


def test_a_new_controller_does_not_scale_down_at_once():
    spec = HpaSpec(10)
    first = run(spec, 6, [external(2)], HpaState())
    assert (first.desired_replicas, first.conditions["AbleToScale"].reason) == (6, "ScaleDownStabilized")
    assert first.state.recommendations == (Recommendation(6, 0.0), Recommendation(2, 0.0))
    later = run(spec, 6, [external(2)], first.state, 300.0)
    assert later.desired_replicas == 6
    assert run(spec, 6, [external(2)], later.state, 300.5).desired_replicas == 2


@pytest.mark.parametrize(("current", "desired"), [(12, 10), (11, 10), (1, 2)])
def test_a_count_out_of_bounds_is_brought_back_without_asking_metrics(current, desired):
    behavior = Behavior(ScalingRules("Disabled"), ScalingRules("Disabled"))
    result = run(HpaSpec(10, 2, behavior), current, [external(6), PodsMetric(1, None)])
    assert (result.desired_replicas, result.error, result.metric_statuses) == (desired, "none", ())
    assert set(result.conditions) == {"AbleToScale", "ScaledToZero"}
    assert result.state.recommendations == ()


@pytest.mark.parametrize(("current", "desired"), [(10, 6), (2, 4)])
def test_a_count_at_its_bounds_follows_the_metrics(current, desired):
    result = run(HpaSpec(10, 2), current, [external(6)])
    assert result.desired_replicas == desired
    assert result.state.recommendations == (Recommendation(6, 0.0),)


def test_the_largest_proposal_counts():
    result = run(HpaSpec(20), 5, [external(3), external(8), external(6)])
    assert result.desired_replicas == 8


def test_a_negative_proposal_is_none_at_all():
    backlog = ExternalMetric(Value(10), (-50,))
    pods = (hpa.Pod("p0"),)
    result = run(HpaSpec(5, 0), 3, [backlog], pods=pods)
    assert result.desired_replicas == 0
    assert result.state.recommendations == (Recommendation(0, 0.0),)
    assert run(HpaSpec(5), 3, [backlog], pods=pods).conditions["ScalingLimited"].reason == "TooFewReplicas"


@pytest.mark.parametrize(
    ("metric", "error", "reason"),
    [
        (ResourceMetric("cpu", Utilization(50), None), "internal", "FailedGetResourceMetric"),
        (ResourceMetric("cpu", Utilization(50), None, "app"), "internal", "FailedGetContainerResourceMetric"),
        (PodsMetric(10, None), "internal", "FailedGetPodsMetric"),
        (ObjectMetric(Value(10), None), "internal", "FailedGetObjectMetric"),
        (ExternalMetric(Value(10), None), "internal", "FailedGetExternalMetric"),
        (ExternalMetric(None, (10,)), "internal", "FailedGetExternalMetric"),
        (UnknownMetric("Weather"), "spec", "InvalidMetricSourceType"),
    ],
)
def test_a_metric_that_fails_stops_scaling_down_but_not_up(metric, error, reason):
    spec = HpaSpec(10)
    alone = run(spec, 4, [metric])
    assert (alone.desired_replicas, alone.rescaled, alone.error) == (4, False, error)
    assert conditions(alone) == {
        "AbleToScale": ("True", "SucceededGetScale"),
        "ScalingActive": ("False", reason),
    }
    assert alone.state.recommendations == ()
    assert alone.message

    down = run(spec, 4, [external(2), metric])
    assert (down.desired_replicas, down.error, down.conditions["ScalingActive"].reason) == (4, error, reason)
    assert down.metric_statuses[0] is not None
    assert down.metric_statuses[1] is None
    assert down.state.recommendations == ()

    same = run(spec, 4, [metric, external(4)])
    assert (same.rescaled, same.error) == (False, error)
    assert same.conditions["ScalingActive"].reason == "ValidMetricFound"

    up = run(spec, 4, [metric, external(6)])
    assert (up.desired_replicas, up.error) == (6, error)
    assert up.conditions["ScalingActive"].reason == "ValidMetricFound"


def test_the_first_failure_names_the_condition_and_the_error():
    failing = [PodsMetric(10, None), UnknownMetric("Weather")]
    result = run(HpaSpec(10), 4, failing)
    assert (result.error, result.conditions["ScalingActive"].reason) == ("internal", "FailedGetPodsMetric")
    result = run(HpaSpec(10), 4, failing[::-1])
    assert (result.error, result.conditions["ScalingActive"].reason) == ("spec", "InvalidMetricSourceType")


def test_no_metrics_means_the_default_metric():
    result = run(HpaSpec(10), 4, [])
    assert result.conditions["ScalingActive"].reason == "FailedGetResourceMetric"


def test_conditions_last_until_they_are_set_again():
    limited = run(HpaSpec(5), 4, [external(9)])
    assert limited.conditions["ScalingLimited"] == Condition("True", "TooManyReplicas")
    failed = run(HpaSpec(5), 5, [PodsMetric(1, None)], limited.state, 15.0)
    assert failed.conditions["ScalingLimited"] == Condition("True", "TooManyReplicas")
    assert failed.conditions["ScalingActive"].status == "False"


# --------------------------------------------------------------------------------------- scale to zero


def test_a_target_at_zero_is_left_alone():
    for gates in (FeatureGates(), FeatureGates(scale_to_zero=False)):
        result = run(HpaSpec(10, 0), 0, [external(4)], gates=gates)
        assert (result.desired_replicas, result.rescaled, result.error) == (0, False, "none")
        assert conditions(result) == {
            "AbleToScale": ("True", "SucceededGetScale"),
            "ScalingActive": ("False", "ScalingDisabled"),
        }


def test_down_to_zero_and_up_again():
    spec = HpaSpec(10, 0)
    down = run(spec, 3, [external(0)])
    assert down.desired_replicas == 0
    assert down.conditions["ScaledToZero"] == Condition("True", "ScaledToZero")
    idle = run(spec, 0, [external(0)], down.state, 15.0)
    assert (idle.rescaled, idle.conditions["ScaledToZero"].status) == (False, "True")
    assert idle.conditions["ScalingActive"].status == "True"
    up = run(spec, 0, [external(2)], idle.state, 30.0)
    assert (up.desired_replicas, up.conditions["ScaledToZero"].status) == (2, "False")


def test_pods_alone_cannot_wake_a_target():
    metric = PodsMetric(10, {"p0": PodValue(50, 0, 60)})
    pods = (hpa.Pod("p0"),)
    assert not run(HpaSpec(10, 0), 0, [metric], ASLEEP, pods=pods).rescaled
    # ... unless the minimum was raised meanwhile; then it wakes to the minimum at least.
    woken = run(HpaSpec(10, 3), 0, [metric], ASLEEP, pods=pods)
    assert (woken.desired_replicas, woken.conditions["ScaledToZero"].status) == (4, "False")
    quiet = PodsMetric(10, {"p0": PodValue(5, 0, 60)})
    assert run(HpaSpec(10, 3, Behavior()), 0, [quiet], ASLEEP, pods=pods).desired_replicas == 3


def test_zero_without_the_condition_or_the_gate_stays_zero():
    asked_not = HpaState(
        recommendations=(), conditions={"ScaledToZero": Condition("False", "NotScaledToZero")}
    )
    assert not run(HpaSpec(10, 0), 0, [external(4)], asked_not).rescaled
    off = run(HpaSpec(10, 0), 0, [external(4)], ASLEEP, gates=FeatureGates(scale_to_zero=False))
    assert not off.rescaled
    assert "ScaledToZero" not in off.conditions


def test_the_gate_decides_whether_a_rescale_speaks_of_zero():
    off = run(HpaSpec(10), 4, [external(6)], ASLEEP, gates=FeatureGates(scale_to_zero=False))
    assert "ScaledToZero" not in off.conditions
    # A target that only its pods can speak for is not marked: nothing could wake it.
    metric = PodsMetric(10, {"p0": PodValue(0, 0, 60)})
    down = run(HpaSpec(10, 0), 1, [metric], pods=(hpa.Pod("p0"),))
    assert (down.desired_replicas, down.conditions["ScaledToZero"].status) == (0, "False")


# ------------------------------------------------------------------------------------------- behaviour


def test_events_are_kept_with_behavior_and_limit_the_next_change():
    rules = ScalingRules(None, 0, (ScalingPolicy("Pods", 3, 60),))
    spec = HpaSpec(50, 1, Behavior(rules, rules))
    up = run(spec, 10, [external(30)])
    assert (up.desired_replicas, up.conditions["ScalingLimited"]) == (13, Condition("True", "ScaleUpLimit"))
    assert up.state.scale_up_events == (ScaleEvent(3, 0.0),)
    again = run(spec, 13, [external(30)], up.state, 30.0)
    assert (again.rescaled, again.conditions["ScalingLimited"].reason) == (False, "ScaleUpLimit")
    down = run(spec, 13, [external(1)], again.state, 45.0)
    # 13 - 3 (added within 60 s) - 3 = 7.
    assert (down.desired_replicas, down.conditions["ScalingLimited"].reason) == (7, "ScaleDownLimit")
    assert down.state.scale_down_events == (ScaleEvent(6, 45.0),)
    assert down.state.scale_up_events == (ScaleEvent(3, 0.0),)


def test_a_count_out_of_bounds_is_an_event_too():
    result = run(HpaSpec(5, 1, Behavior()), 9, [external(1)])
    assert result.state.scale_down_events == (ScaleEvent(4, 0.0),)


def test_the_window_down_is_the_controllers_own_unless_it_is_set():
    log = HpaState(recommendations=(Recommendation(8, -100.0),))
    settings = ControllerSettings(downscale_stabilization_s=60)
    assert run(HpaSpec(10, 1, Behavior()), 8, [external(2)], log).desired_replicas == 8
    assert run(HpaSpec(10, 1, Behavior()), 8, [external(2)], log, settings=settings).desired_replicas == 2
    own = Behavior(scale_down=ScalingRules(stabilization_window_s=200))
    assert run(HpaSpec(10, 1, own), 8, [external(2)], log, settings=settings).desired_replicas == 8


def test_the_window_up_holds_back():
    behavior = Behavior(scale_up=ScalingRules(stabilization_window_s=60))
    log = HpaState(recommendations=(Recommendation(5, -30.0),))
    held = run(HpaSpec(20, 1, behavior), 4, [external(8)], log)
    assert held.desired_replicas == 5
    assert held.conditions["AbleToScale"].reason == "SucceededRescale"
    kept = run(HpaSpec(20, 1, behavior), 5, [external(8)], log)
    assert (kept.rescaled, kept.conditions["AbleToScale"].reason) == (False, "ScaleUpStabilized")


@pytest.mark.parametrize(
    ("behavior", "gate", "up", "down"),
    [
        (None, True, 4, 4),
        (Behavior(ScalingRules(tolerance=0.0)), True, 5, 4),
        (Behavior(None, ScalingRules(tolerance=0.0)), True, 4, 4),
        (Behavior(ScalingRules(tolerance=0.0)), False, 4, 4),
        (Behavior(None, ScalingRules(tolerance=0.8)), True, 4, 4),
    ],
)
def test_tolerances_of_its_own(behavior, gate, up, down):
    gates = FeatureGates(configurable_tolerance=gate)
    spec = HpaSpec(10, 1, behavior)
    more, less = ExternalMetric(hpa.AverageValue(10), (42,)), ExternalMetric(hpa.AverageValue(10), (38,))
    assert run(spec, 4, [more], gates=gates).desired_replicas == up
    assert run(spec, 4, [less], gates=gates).desired_replicas == down


def test_a_wide_tolerance_down():
    spec = HpaSpec(10, 1, Behavior(None, ScalingRules(tolerance=0.5)))
    assert run(spec, 4, [ExternalMetric(hpa.AverageValue(10), (20,))]).desired_replicas == 4
    assert run(spec, 4, [ExternalMetric(hpa.AverageValue(10), (19,))]).desired_replicas == 2


# ------------------------------------------------------------------------------------------- the rest


def test_an_update_that_fails_stores_nothing():
    spec = HpaSpec(20, 1, Behavior())
    result = run(spec, 4, [external(6)], scale_update_succeeds=False)
    assert (result.desired_replicas, result.rescaled, result.error) == (4, False, "internal")
    assert result.conditions["AbleToScale"] == Condition("False", "FailedUpdateScale")
    assert "ScaledToZero" not in result.conditions
    assert result.state.scale_up_events == ()
    assert result.state.recommendations == (Recommendation(6, 0.0),)


def test_pod_level_requests_hang_on_their_gate(make_pods, make_samples):
    pods = make_pods(1, pod_level_requests_milli={"cpu": 250})
    metric = ResourceMetric("cpu", Utilization(80), make_samples(800))
    assert run(HpaSpec(9), 1, [metric], pods=pods).desired_replicas == 4
    off = FeatureGates(pod_level_resources=False)
    assert run(HpaSpec(9), 1, [metric], pods=pods, gates=off).desired_replicas == 1


def test_settings_reach_the_pods(make_pods, make_samples):
    pods = make_pods(1, start_time_s=-200.0, ready=False, ready_transition_time_s=-180.0)
    metric = ResourceMetric("cpu", Utilization(50), make_samples(100))
    assert run(HpaSpec(9), 1, [metric], pods=pods).error == "internal"  # young: its CPU is not read
    old = ControllerSettings(cpu_initialization_period_s=120)
    assert run(HpaSpec(9), 1, [metric], pods=pods, settings=old).error == "internal"  # never ready
    was_ready = dataclasses.replace(old, initial_readiness_delay_s=10)
    assert run(HpaSpec(9), 1, [metric], pods=pods, settings=was_ready).error == "none"


@pytest.mark.parametrize(("low", "high"), [(3, 2), (-1, 2), (0, 0)])
def test_bounds_that_contradict_each_other_are_refused(low, high):
    with pytest.raises(InputError, match="minReplicas"):
        HpaSpec(high, low)
