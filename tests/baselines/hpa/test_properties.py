"""What must hold for any input."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from podgym.baselines.hpa import (
    AverageValue,
    Behavior,
    Container,
    ControllerSettings,
    ExternalMetric,
    HpaSpec,
    HpaState,
    MetricError,
    Pod,
    PodsMetric,
    Recommendation,
    ResourceMetric,
    ResourceSample,
    Scale,
    ScaleEvent,
    ScalingPolicy,
    ScalingRules,
    Target,
    Tolerance,
    Utilization,
    propose_replicas,
    reconcile,
)

REQUEST_MILLI = 1000
milli = st.integers(0, 2**63 - 1) | st.integers(0, 5000)
counts = st.integers(1, 100)
policies = st.lists(
    st.builds(
        ScalingPolicy, st.sampled_from(("Pods", "Percent")), st.integers(1, 1000), st.integers(1, 1800)
    ),
    max_size=3,
).map(tuple)
scaling_rules = st.builds(
    ScalingRules,
    st.sampled_from((None, "Max", "Min", "Disabled")),
    st.none() | st.integers(0, 3600),
    st.none() | policies,
    st.none() | st.floats(0, 3),
)
behaviors = st.none() | st.builds(Behavior, st.none() | scaling_rules, st.none() | scaling_rules)
states = st.builds(
    HpaState,
    st.none()
    | st.lists(st.builds(Recommendation, st.integers(0, 200), st.integers(-600, -1)), max_size=5).map(tuple),
    st.lists(st.builds(ScaleEvent, counts, st.integers(-600, -1)), max_size=4).map(tuple),
    st.lists(st.builds(ScaleEvent, counts, st.integers(-600, -1)), max_size=4).map(tuple),
)


@st.composite
def fleets(draw, max_pods=8):
    """Pods in any state, with samples of some of them."""
    pods, samples = [], []
    for index in range(draw(st.integers(1, max_pods))):
        name = f"p{index}"
        pods.append(
            Pod(
                name,
                draw(st.sampled_from(("Running", "Running", "Running", "Pending", "Failed", "Succeeded"))),
                draw(st.sampled_from((True, True, False, None))),
                draw(st.none() | st.integers(-1000, 0)),
                draw(st.none() | st.integers(-1000, 0)),
                draw(st.booleans()) and draw(st.booleans()),
                (Container("app", {"cpu": draw(st.integers(1, 4000))}),),
            )
        )
        if draw(st.integers(0, 3)):
            samples.append(ResourceSample(name, draw(st.integers(-60, 0)), 30, {"app": draw(milli)}))
    return tuple(pods), tuple(samples)


def settled(count):
    containers = (Container("app", {"cpu": REQUEST_MILLI}),)
    return tuple(
        Pod(f"p{index}", start_time_s=-1000, ready_transition_time_s=-900, containers=containers)
        for index in range(count)
    )


def measured(usage):
    return tuple(ResourceSample(f"p{index}", 0, 30, {"app": each}) for index, each in enumerate(usage))


@given(fleets(), counts, st.integers(1, 300), st.integers(1, 50), st.integers(0, 50), behaviors, states)
def test_the_result_is_within_its_bounds(fleet, current, percent, low, spread, behavior, state):
    pods, samples = fleet
    spec = HpaSpec(low + spread, low, behavior)
    metrics = [
        ResourceMetric("cpu", Utilization(percent), samples),
        ExternalMetric(AverageValue(7), tuple(each.usage_milli["app"] for each in samples)),
    ]
    result = reconcile(spec, Scale(current, current), pods, metrics, state, 0)
    assert spec.min_replicas <= result.desired_replicas <= spec.max_replicas
    assert result.rescaled == (result.desired_replicas != current)
    if not spec.min_replicas <= current <= spec.max_replicas:
        assert result.desired_replicas in (spec.min_replicas, spec.max_replicas)


@given(st.lists(milli, min_size=1, max_size=6), st.data(), st.integers(1, 300))
def test_more_usage_never_asks_for_less(usage, data, percent):
    more = [data.draw(st.integers(each, 2**63 - 1)) for each in usage]
    target = Target(Scale(len(usage), len(usage)), settled(len(usage)), 0)
    before, after = (
        propose_replicas(ResourceMetric("cpu", Utilization(percent), measured(each)), target).replicas
        for each in (usage, more)
    )
    assert after >= before


@given(
    st.integers(1, 8), st.integers(10, 300), st.floats(0.0, 0.5), st.floats(0.0, 0.5), st.integers(0, 5000)
)
def test_nothing_happens_within_the_tolerance(count, percent, down, up, usage):
    metric = ResourceMetric("cpu", Utilization(percent), measured([usage] * count))
    replicas = propose_replicas(
        metric, Target(Scale(count, count), settled(count), 0, Tolerance(down, up))
    ).replicas
    ratio = (usage * 100 // REQUEST_MILLI) / percent
    if 1 - down <= ratio <= 1 + up:
        assert replicas == count
    else:
        assert replicas == math.ceil(ratio * count)
        assert (replicas - count) * (ratio - 1) >= 0


@given(fleets(), counts, st.integers(1, 300))
def test_pods_without_data_never_turn_the_direction_around(fleet, current, percent):
    pods, samples = fleet
    target = Target(Scale(current, current), pods, 0)
    metric = ResourceMetric("cpu", Utilization(percent), samples)
    try:
        proposal = propose_replicas(metric, target)
    except MetricError:
        return
    assert proposal.utilization_percent is not None
    known = {each.pod for each in samples}
    alive = [pod for pod in pods if not pod.deleted and pod.phase not in ("Failed", "Succeeded", "Pending")]
    if any(pod.name not in known for pod in alive):
        # A gap was filled: up only if the measured pods are above their target, down only if below.
        if proposal.replicas > current:
            assert proposal.utilization_percent > percent
        if proposal.replicas < current:
            assert proposal.utilization_percent < percent


@given(counts, st.integers(0, 10**6), behaviors, states, st.booleans())
def test_a_metric_that_fails_never_scales_down(current, total, behavior, state, first):
    works, fails = ExternalMetric(AverageValue(10), (total,)), PodsMetric(10, None)
    metrics = [fails, works] if first else [works, fails]
    result = reconcile(HpaSpec(100, 1, behavior), Scale(current, current), (), metrics, state, 0)
    assert result.desired_replicas >= current
    assert result.error == "internal"


@given(counts, st.integers(0, 10**9))
def test_default_behavior_at_most_doubles_or_adds_four(current, total):
    spec = HpaSpec(10**6, 1, Behavior())
    metric = ExternalMetric(AverageValue(10), (total,))
    result = reconcile(spec, Scale(current, current), (), [metric], HpaState(), 0)
    assert result.desired_replicas <= max(2 * current, current + 4)


@settings(max_examples=60)
@given(st.lists(st.integers(0, 60), min_size=2, max_size=60), st.sampled_from((None, Behavior())))
def test_scaling_down_waits_for_the_window(asked, behavior):
    """At 15 s a step, a step down never goes below what was asked for less than 300 s ago."""
    spec = HpaSpec(60, 1, behavior)
    state, current = HpaState(), 30
    for step, replicas in enumerate(asked):
        metric = ExternalMetric(AverageValue(10), (replicas * 10,))
        result = reconcile(
            spec,
            Scale(current, current),
            (),
            [metric],
            state,
            15.0 * step,
            settings=ControllerSettings(tolerance=0.0),
        )
        recent = asked[max(0, step - 19) : step + 1] + ([30] if step <= 19 else [])
        if result.desired_replicas < current:
            assert result.desired_replicas >= max(recent)
        state, current = result.state, result.desired_replicas
        # The log holds one window and no more: 300 s / 15 s, both ends, and the entry of the start.
        assert len(state.recommendations) <= 300 // 15 + 3


@given(st.floats(0, 10), st.floats(0, 3), st.floats(0, 3))
def test_tolerance_includes_both_ends(ratio, down, up):
    assert Tolerance(down, up).contains(1.0 - down)
    assert Tolerance(down, up).contains(1.0 + up)
    assert Tolerance(down, up).contains(ratio) == (1.0 - down <= ratio <= 1.0 + up)


@given(fleets(), counts, states, behaviors)
def test_a_reconcile_changes_nothing_it_was_given(fleet, current, state, behavior):
    pods, samples = fleet
    metrics = [ResourceMetric("cpu", Utilization(50), samples)]
    before = repr((pods, metrics, state))
    first = reconcile(HpaSpec(50, 1, behavior), Scale(current, current), pods, metrics, state, 0)
    again = reconcile(HpaSpec(50, 1, behavior), Scale(current, current), pods, metrics, state, 0)
    assert repr((pods, metrics, state)) == before
    assert first == again
