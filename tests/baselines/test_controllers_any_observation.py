import dataclasses
import math

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from oracles.observations import MIB

from podgym.baselines import CONTROLLERS, make_controller
from podgym.baselines.forecast_threshold import ForecastThresholdController
from podgym.baselines.hpa_controller import HpaController
from podgym.baselines.keda import KedaController
from podgym.baselines.kpa import KpaController
from podgym.baselines.predictive_hpa import PredictiveHpaController
from podgym.baselines.predictive_planner import PredictivePlannerController
from podgym.baselines.queue_length import QueueLengthController
from podgym.baselines.random_controller import RandomController
from podgym.baselines.static import StaticController
from podgym.envs.cluster import (
    ClusterObservation,
    PodSample,
    PodView,
    Quota,
    RateForecast,
    ServicePlan,
    ServiceView,
)

VARIANTS = {
    "hpa on everything": lambda: HpaController(
        memory_target_percent=70,
        request_rate_target_rps=20.0,
        response_time_target_s=0.2,
        downscale_stabilization_s=0,
    ),
    "kpa on the rate": lambda: KpaController(metric="rps", target=30.0, scale_down_delay_s=30.0),
    "kpa on concurrency": lambda: KpaController(target=2.0),
    "keda with all options": lambda: KedaController(
        target_rps_per_replica=20.0,
        use_cached_metrics=True,
        activation_rps=1.0,
        cooldown_period_s=15.0,
        fallback_replicas=6,
        failure_threshold=0,
        downscale_stabilization_s=0,
    ),
    "keda at once": lambda: KedaController(downscale_stabilization_s=0),
    "queue_length at once": lambda: QueueLengthController(downscale_stabilization_s=0),
    "predictive_hpa at once": lambda: PredictiveHpaController(
        lead_minutes=5, quantile="upper", downscale_stabilization_s=0
    ),
    "forecast_threshold at once": lambda: ForecastThresholdController(
        quantile="upper", hold_s=0, use_measured_rate=False, safety_margin=-0.5
    ),
    "random walk": lambda: RandomController(kind="walk", period_s=0.0, largest_step=5),
    "static quotas": lambda: StaticController(cpu_request_cores=0.3, memory_request_bytes=1e8),
    "predictive_planner at once": lambda: PredictivePlannerController(
        stabilization_s=0,
        max_removed=50,
        cpu_sizes_cores=(0.25, 1.0, 2.0),
        quota_period_s=0,
        quota_tolerance=0.0,
        forecast_patience_s=15.0,
    ),
    "predictive_planner within a budget": lambda: PredictivePlannerController(
        stabilization_s=0, min_replicas=2, max_replicas=6, budget_cores=3.0, budget_memory_gib=2.0
    ),
}
"""Settings that act at once, so that nothing but the rule itself keeps the replicas up."""

EVERY = {
    **{name: (lambda name=name: make_controller(name)) for name in CONTROLLERS},
    **VARIANTS,
}

ODD = [math.nan, math.inf, -math.inf, -1.0, 0.0, 1e-300, 1e300]


def numbers(low, high):
    return st.one_of(st.floats(low, high), st.sampled_from(ODD))


def stamps(now_s):
    """Time stamps: fresh, stale, never, in the future, not a number."""
    return st.sampled_from([None, math.nan, now_s - 2.0, now_s - 20.0, now_s - 500.0, now_s + 40.0, 0.0])


@st.composite
def quotas(draw):
    cpu, memory = draw(st.floats(0.05, 4.0)), draw(st.floats(32.0, 4096.0)) * MIB
    ratio = draw(st.floats(1.0, 3.0))
    return Quota(cpu, cpu * ratio, memory, memory * ratio)


@st.composite
def pods(draw, now_s, name, quota):
    time_s = draw(stamps(now_s))
    sample = None
    if time_s is not None and draw(st.booleans()):
        window_s = draw(st.sampled_from([0.0, 30.0, math.nan]))
        sample = PodSample(draw(numbers(0.0, 2.0)), draw(numbers(0.0, 2e9)), time_s, window_s)
    return PodView(
        name=name,
        phase=draw(st.sampled_from(["Pending", "Running", "Failed", "Unknown"])),
        ready=draw(st.booleans()),
        start_time_s=draw(st.one_of(st.none(), st.floats(-1000.0, now_s))),
        ready_transition_time_s=draw(st.floats(-1000.0, now_s)),
        deleted=draw(st.booleans()),
        quota=draw(st.one_of(st.just(quota), quotas())),
        sample=sample,
    )


def lines(length):
    return st.lists(numbers(0.0, 500.0), min_size=length, max_size=length).map(tuple)


@st.composite
def forecasts(draw):
    length = draw(st.integers(0, 5))
    return RateForecast(draw(lines(length)), draw(lines(length)), draw(lines(length)))


@st.composite
def services(draw, now_s, name):
    quota = draw(quotas())
    low = draw(st.integers(1, 5))
    high = draw(st.integers(low, 30))
    count = draw(st.integers(0, 4))
    plan = ServicePlan(draw(st.integers(low, high)), draw(st.floats(0.1, 2.0)), draw(st.floats(1e7, 1e9)))
    return ServiceView(
        name=name,
        replicas_wanted=draw(st.integers(low, high)),
        replicas=draw(st.integers(0, 30)),
        replicas_ready=draw(st.integers(0, 30)),
        min_replicas=low,
        max_replicas=high,
        quota=quota,
        sample_time_s=draw(stamps(now_s)),
        request_rate_rps=draw(numbers(0.0, 1000.0)),
        response_time_s=draw(numbers(0.0, 10.0)),
        error_ratio=draw(numbers(0.0, 1.0)),
        in_flight=draw(numbers(0.0, 2000.0)),
        pods=tuple(draw(pods(now_s, f"{name}-{index}", quota)) for index in range(count)),
        forecast=draw(st.one_of(st.none(), forecasts())),
        plan=draw(st.one_of(st.none(), st.just(plan))),
    )


@st.composite
def episodes(draw):
    times_s = [15.0 * step for step in range(draw(st.integers(1, 5)))]
    return [
        ClusterObservation(now_s, (draw(services(now_s, "a")), draw(services(now_s, "b"))))
        for now_s in times_s
    ]


def plainly(decisions):
    """Decisions as text, so that nan equals nan."""
    return [repr(decision) for decision in decisions]


def run(controller, observations):
    return [plainly(controller.decide(observation)) for observation in observations]


def quota_of(decision):
    return (
        (decision.cpu_request_cores, decision.cpu_limit_cores),
        (decision.memory_request_bytes, decision.memory_limit_bytes),
    )


def admitted(decision):
    quota = decision.admission
    if quota is None:
        return ()
    return (
        (quota.cpu_request_cores, quota.cpu_limit_cores),
        (quota.memory_request_bytes, quota.memory_limit_bytes),
    )


def without_metrics(observation, stale):
    """The same cluster with every metric missing, or with all of them older than anyone believes."""
    now_s = observation.time_s

    def aged(view):
        sample = view.sample
        if sample is None or not stale:
            return dataclasses.replace(view, sample=None)
        return dataclasses.replace(view, sample=dataclasses.replace(sample, time_s=now_s - 5000.0))

    missing = dict.fromkeys(("request_rate_rps", "response_time_s", "error_ratio", "in_flight"), math.nan)
    return dataclasses.replace(
        observation,
        services=tuple(
            dataclasses.replace(
                service,
                sample_time_s=now_s - 5000.0 if stale else None,
                pods=tuple(aged(view) for view in service.pods),
                **({} if stale else missing),
            )
            for service in observation.services
        ),
    )


ANY = settings(
    max_examples=60,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking a whole episode takes minutes
    suppress_health_check=[HealthCheck.too_slow],
)


@ANY
@given(observations=episodes())
def test_decisions_are_within_bounds_whatever_is_observed(observations):
    for name, make in EVERY.items():
        controller = make()
        for observation in observations:
            decisions = controller.decide(observation)
            assert len(decisions) == len(observation.services), name
            for service, decision in zip(observation.services, decisions, strict=True):
                check_bounds(name, service, decision)


def check_bounds(name, service, decision):
    if decision.replicas is not None:
        assert isinstance(decision.replicas, int), name
        assert service.min_replicas <= decision.replicas <= service.max_replicas, name
    for request, limit in (*quota_of(decision), *admitted(decision)):
        assert request is None or (math.isfinite(request) and request > 0.0), name
        assert limit is None or (math.isfinite(limit) and limit > 0.0), name
        assert request is None or limit is None or limit >= request, name


@ANY
@given(observations=episodes(), stale=st.booleans(), later_s=st.sampled_from([15.0, 600.0, 4000.0]))
def test_without_fresh_metrics_nothing_goes_down(observations, stale, later_s):
    last = dataclasses.replace(observations[-1], time_s=observations[-1].time_s + later_s)
    unknown = without_metrics(last, stale)
    for name, make in EVERY.items():
        controller = make()
        for observation in observations:
            controller.decide(observation)
        for _ in range(2):
            for service, decision in zip(unknown.services, controller.decide(unknown), strict=True):
                assert decision.replicas is None or decision.replicas >= service.replicas_wanted, name
                quota = service.quota
                present = (quota.cpu_request_cores, quota.memory_request_bytes)
                for (request, _limit), before in zip(quota_of(decision), present, strict=True):
                    # What a person fixed does not come from metrics.
                    assert request is None or request >= before or name == "static quotas", name


@ANY
@given(before=episodes(), observations=episodes())
def test_reset_forgets_everything(before, observations):
    for name, make in EVERY.items():
        controller = make()
        expected = run(controller, observations)
        run(controller, before)
        controller.reset()
        assert run(controller, observations) == expected, name
