import dataclasses
import math
import time

import pytest

from podgym.baselines.hpa import Behavior, ScalingRules
from podgym.baselines.hpa_controller import HpaController, milli_bytes, milli_cores
from podgym.envs.cluster import ClusterObservation, PodSample, PodView, Quota, ServiceDecision, ServiceView
from podgym.errors import InputError

QUOTA = Quota(0.5, 1.0, 512 * 2**20, 1024 * 2**20)


def pod(index, cores=0.4, now_s=0.0, **fields):
    sample = None if cores is None else PodSample(cores, 256 * 2**20, now_s - 5, 30.0)
    settled = {
        "phase": "Running",
        "ready": True,
        "start_time_s": -1000.0,
        "ready_transition_time_s": -990.0,
        "deleted": False,
        "quota": QUOTA,
        "sample": sample,
    }
    return PodView(f"web-{index}", **{**settled, **fields})


def service(pods, wanted=None, **fields):
    count = len(pods)
    defaults = {
        "name": "web",
        "replicas_wanted": count if wanted is None else wanted,
        "replicas": count,
        "replicas_ready": count,
        "min_replicas": 1,
        "max_replicas": 20,
        "quota": QUOTA,
        "sample_time_s": 0.0,
        "request_rate_rps": 100.0,
        "response_time_s": 0.1,
        "error_ratio": 0.0,
        "in_flight": 1.0,
        "pods": tuple(pods),
    }
    return ServiceView(**{**defaults, **fields})


def observe(*services, now_s=0.0):
    return ClusterObservation(now_s, services)


def decide(controller, *services, now_s=0.0):
    return [each.replicas for each in controller.decide(observe(*services, now_s=now_s))]


def test_at_its_target_nothing_is_decided():
    # 0.4 of 0.5 cores is 80 %, the default target.
    decision = HpaController().decide(observe(service([pod(index) for index in range(4)])))
    assert decision == (ServiceDecision(),)


def test_scaling_up_by_utilisation():
    busy = [pod(index, cores=0.6) for index in range(4)]
    assert decide(HpaController(), service(busy)) == [6]  # 120 % of 80 %: 1.5 * 4
    assert decide(HpaController(cpu_target_percent=60), service(busy)) == [8]
    assert decide(HpaController(), service(busy, max_replicas=5)) == [5]
    assert decide(HpaController(tolerance=0.5), service(busy)) == [None]


def test_scaling_down_waits_for_the_window_and_reset_forgets_it():
    controller = HpaController(downscale_stabilization_s=60)

    def idle(now_s):
        return service([pod(index, cores=0.1, now_s=now_s) for index in range(4)])

    waited = [decide(controller, idle(now_s), now_s=now_s) for now_s in (0.0, 30.0, 60.0, 75.0)]
    assert waited == [[None], [None], [None], [1]]
    controller.reset()
    assert decide(controller, idle(90.0), now_s=90.0) == [None]


def test_each_service_has_an_hpa_of_its_own():
    controller = HpaController(downscale_stabilization_s=30)
    busy = service([pod(index, cores=0.8) for index in range(2)], name="busy")
    idle = service([pod(index, cores=0.1) for index in range(2)], name="idle")
    assert decide(controller, busy, idle) == [4, None]
    assert decide(controller, idle, busy, now_s=45.0) == [1, 4]


def test_a_pod_without_a_sample_is_missing():
    # Two of four at 120 %; the others are taken to be idle: 60 % of 80 %, the other direction. Kept.
    half = [pod(0, cores=0.6), pod(1, cores=0.6), pod(2, cores=None), pod(3, cores=None)]
    assert decide(HpaController(), service(half)) == [None]
    nothing = [pod(index, cores=None) for index in range(4)]
    assert decide(HpaController(), service(nothing)) == [None]
    assert decide(HpaController(), service([])) == [None]


@pytest.mark.parametrize("cores", [math.nan, math.inf])
def test_a_sample_without_a_number_is_missing(cores):
    pods = [pod(0, cores=0.6), pod(1, cores=cores)]
    assert decide(HpaController(), service(pods)) == [None]


def test_a_pod_that_starts_is_read_with_caution():
    settled = [pod(index, cores=0.6) for index in range(3)]
    # Its CPU from start-up, far over target, counts as idle: (120 * 3 + 0) / 4 = 90 % of 80 %: 1.125 * 4.
    starting = pod(3, cores=2.0, start_time_s=-20.0, ready=False, ready_transition_time_s=-20.0)
    assert decide(HpaController(), service([*settled, starting])) == [5]
    # Once its window began after it became ready, it counts: (120 * 3 + 400) / 4 = 190 %; 2.375 * 4.
    warm = pod(3, cores=2.0, start_time_s=-80.0, ready_transition_time_s=-60.0)
    assert decide(HpaController(), service([*settled, warm], max_replicas=50)) == [8]  # at most twice
    # Without the period of caution, being ready at all is enough.
    fresh = pod(3, cores=2.0, start_time_s=-20.0, ready_transition_time_s=-1.0)
    careless = HpaController(cpu_initialization_period_s=0)
    assert decide(careless, service([*settled, fresh], max_replicas=50)) == [8]


@pytest.mark.parametrize("fields", [{"deleted": True}, {"phase": "Failed"}])
def test_pods_that_are_going_do_not_count(fields):
    pods = [pod(0, cores=0.4), pod(1, cores=9.0, **fields)]
    assert decide(HpaController(), service(pods, wanted=1)) == [None]


def test_a_count_out_of_bounds_is_brought_back_without_samples():
    pods = [pod(index, cores=None) for index in range(4)]
    assert decide(HpaController(), service(pods, max_replicas=3)) == [3]
    assert decide(HpaController(), service(pods, min_replicas=6)) == [6]
    assert decide(HpaController(), service(pods, wanted=0)) == [None]


def test_memory_may_be_looked_at_too():
    # 256 of 512 MiB is 50 %; 50 / 20 * 4 = 10, limited to twice four.
    pods = [pod(index) for index in range(4)]
    assert decide(HpaController(memory_target_percent=20), service(pods)) == [8]
    assert decide(HpaController(cpu_target_percent=None, memory_target_percent=40), service(pods)) == [5]


def test_requests_are_those_of_each_pod():
    # After a vertical change the old pods still have half a core: (0.4 + 0.4) / (0.5 + 2) = 32 %.
    big = dataclasses.replace(QUOTA, cpu_request_cores=2.0)
    pods = [pod(0), pod(1, quota=big)]
    controller = HpaController(downscale_stabilization_s=0)
    assert decide(controller, service(pods)) == [None]  # at the start it waits for its first entry to age
    assert decide(controller, service(pods), now_s=1.0) == [1]


def test_behavior_replaces_the_older_rules():
    busy = [pod(index, cores=2.0) for index in range(2)]
    assert decide(HpaController(), service(busy)) == [4]
    assert decide(HpaController(behavior=Behavior()), service(busy)) == [6]
    frozen = Behavior(scale_up=ScalingRules("Disabled"))
    assert decide(HpaController(behavior=frozen), service(busy)) == [None]


def test_units_are_rounded_as_kubernetes_does():
    assert [milli_cores(cores) for cores in (0.57, 0.29, 0.0, 0.1234, 1.0)] == [570, 290, 0, 124, 1000]
    assert milli_bytes(1.5 * 2**30) == 1536 * 2**20 * 1000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cpu_target_percent": 0}, "cpu_target_percent is 0"),
        ({"cpu_target_percent": 80.5}, "whole number"),
        ({"cpu_target_percent": True}, "whole number"),
        ({"cpu_target_percent": None}, "got neither"),
        ({"memory_target_percent": -1}, "memory_target_percent"),
        ({"tolerance": math.nan}, "tolerance is nan"),
        ({"tolerance": "a lot"}, "tolerance is 'a lot'"),
        ({"downscale_stabilization_s": -1}, "downscale_stabilization_s"),
        ({"cpu_initialization_period_s": math.inf}, "cpu_initialization_period_s"),
        ({"initial_readiness_delay_s": -0.1}, "initial_readiness_delay_s"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        HpaController(**options)


def test_one_decision_over_twenty_pods_is_fast():
    controller = HpaController()
    observation = observe(service([pod(index) for index in range(20)]))
    fastest_s = math.inf
    for _ in range(50):
        start_s = time.process_time_ns()
        for _ in range(20):
            controller.decide(observation)
        fastest_s = min(fastest_s, (time.process_time_ns() - start_s) / 20e9)
    assert fastest_s < 1e-3  # 0.1 ms on a quiet machine; the margin is for busy ones


def loaded(rate_rps, wanted=4, **fields):
    return service([pod(index, cores=0.4) for index in range(wanted)], request_rate_rps=rate_rps, **fields)


def test_the_request_rate_may_be_looked_at_too():
    by_rate = {"cpu_target_percent": None, "request_rate_target_rps": 20.0}
    assert decide(HpaController(**by_rate), loaded(150.0)) == [8]  # 37 per pod: 1.875 * 4
    assert decide(HpaController(**by_rate), loaded(87.0)) == [None]
    assert decide(HpaController(request_rate_target_rps=20.0), loaded(120.0)) == [6]  # CPU is at its target
    assert decide(HpaController(request_rate_target_rps=200.0), loaded(120.0)) == [None]


def test_a_pod_that_is_not_ready_has_no_rate():
    pods = [pod(0), pod(1), pod(2, ready=False, cores=None), pod(3, ready=False, cores=None)]
    by_rate = HpaController(cpu_target_percent=None, request_rate_target_rps=20.0)
    # 60 each on two, nothing on the others: 30 on average; 1.5 * 4.
    assert decide(by_rate, service(pods, request_rate_rps=120.0)) == [6]
    nobody = [pod(index, ready=False, cores=None) for index in range(4)]
    assert decide(by_rate, service(nobody, request_rate_rps=120.0)) == [None]


def test_the_response_time_may_be_looked_at_too():
    by_latency = {"cpu_target_percent": None, "response_time_target_s": 0.1, "downscale_stabilization_s": 0}
    assert decide(HpaController(**by_latency), loaded(100.0, response_time_s=0.15)) == [6]
    assert decide(HpaController(**by_latency), loaded(100.0, response_time_s=0.11)) == [None]
    controller = HpaController(**by_latency)
    decide(controller, loaded(100.0))
    quick = loaded(100.0, response_time_s=0.05, sample_time_s=1.0)
    assert decide(controller, quick, now_s=1.0) == [2]


def test_while_one_of_several_metrics_is_missing_nothing_is_scaled_down():
    both = {"request_rate_target_rps": 20.0, "downscale_stabilization_s": 0}

    def second(rate_rps, cores):
        controller = HpaController(**both)
        decide(controller, loaded(80.0))
        pods = [pod(index, cores=cores) for index in range(4)]
        return decide(controller, service(pods, request_rate_rps=rate_rps), now_s=1.0)

    assert second(20.0, 0.1) == [1]
    assert second(math.nan, 0.1) == [None]
    assert second(20.0, None) == [None]
    assert second(math.nan, 0.8) == [8]
    assert second(160.0, None) == [8]


def test_a_sample_that_is_too_old_is_missing():
    idle = service([pod(index, cores=0.1) for index in range(4)])
    controller = HpaController(downscale_stabilization_s=0)
    decide(controller, idle)
    assert decide(controller, idle, now_s=86.0) == [None]  # taken at -5 s
    assert decide(controller, idle, now_s=85.0) == [1]
    patient = HpaController(downscale_stabilization_s=0, max_sample_age_s=1000)
    decide(patient, idle)
    assert decide(patient, idle, now_s=900.0) == [1]


@pytest.mark.parametrize("cores", [-0.1, 1e300])
def test_an_impossible_sample_is_missing(cores):
    pods = [pod(0, cores=0.6), pod(1, cores=cores)]
    assert decide(HpaController(), service(pods)) == [None]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"request_rate_target_rps": 0.0}, "request_rate_target_rps is 0.0"),
        ({"response_time_target_s": math.nan}, "response_time_target_s is nan"),
        ({"max_sample_age_s": -1}, "max_sample_age_s"),
    ],
)
def test_further_options_that_mean_nothing_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        HpaController(**options)
