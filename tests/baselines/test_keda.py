import math

import pytest
from oracles.observations import blind, service, wanted

from podgym.baselines.keda import KedaController
from podgym.errors import InputError


def load(rate_rps, replicas=4, now_s=0.0, **fields):
    return service(replicas, now_s=now_s, request_rate_rps=rate_rps, **fields)


def test_replicas_are_the_rate_over_the_threshold():
    def fresh(view):
        return wanted(KedaController(target_rps_per_replica=20.0), view)

    assert fresh(load(101.0)) == [6]
    assert fresh(load(88.0)) == [None]  # 1.1 of the threshold: within the tolerance
    assert fresh(load(88.1)) == [5]
    assert fresh(load(1e9, max_replicas=7)) == [7]
    assert fresh(load(1e9)) == [8]  # the HPA's factor of two


def test_scaling_down_is_stabilised_by_the_hpa():
    controller = KedaController(target_rps_per_replica=20.0, downscale_stabilization_s=60.0)
    counts = [wanted(controller, load(10.0, now_s=t), now_s=t)[0] for t in (0.0, 30.0, 60.0, 75.0)]
    assert counts == [None, None, None, 1]


def test_the_threshold_can_be_what_the_pods_are_measured_to_serve():
    # 4 * 0.25 cores for 100 requests/s: 0.01 core s; 0.7 of half a core serves 35 requests/s.
    controller = KedaController(target_utilisation=0.7, downscale_stabilization_s=0.0)
    assert wanted(controller, load(100.0)) == [None]  # begins with what there is
    assert wanted(controller, load(100.0, now_s=15.0), now_s=15.0) == [3]
    busy = service(4, 0.4, request_rate_rps=160.0)
    assert wanted(KedaController(target_utilisation=0.7), busy) == [5]
    assert wanted(KedaController(target_utilisation=0.5), busy) == [7]


def test_a_service_without_requests_needs_no_measured_demand():
    controller = KedaController(downscale_stabilization_s=0.0)
    wanted(controller, load(0.0))
    assert wanted(controller, load(0.0, now_s=15.0), now_s=15.0) == [1]


def test_the_fallback_comes_after_more_failures_than_the_threshold_and_never_scales_down():
    controller = KedaController(target_rps_per_replica=20.0, failure_threshold=3, fallback_replicas=6)
    counts = [wanted(controller, blind(4), now_s=15.0 * k)[0] for k in range(5)]
    assert counts == [None, None, None, 6, 6]
    assert wanted(controller, blind(9), now_s=75.0) == [None]
    assert wanted(controller, blind(4, max_replicas=5), now_s=90.0) == [5]
    assert wanted(controller, load(80.0, now_s=105.0), now_s=105.0) == [None]  # works again
    assert wanted(controller, blind(4), now_s=120.0) == [None]  # and the count begins anew


def test_without_a_fallback_the_replicas_stay():
    controller = KedaController(target_rps_per_replica=20.0)
    assert [wanted(controller, blind(4), now_s=15.0 * k) for k in range(9)] == [[None]] * 9
    assert wanted(controller, load(1.0), now_s=500.0) == [None]


def test_only_cached_metrics_wait_for_the_polling_interval():
    for cached, counts in ((False, [None, 8, 8]), (True, [None, None, 8])):
        controller = KedaController(target_rps_per_replica=20.0, use_cached_metrics=cached)
        loads = ((0.0, 80.0), (15.0, 800.0), (30.0, 800.0))
        assert [wanted(controller, load(rate, now_s=t), now_s=t)[0] for t, rate in loads] == counts


def test_the_last_replica_comes_and_goes_by_activity():
    controller = KedaController(
        target_rps_per_replica=20.0, activation_rps=5.0, cooldown_period_s=60.0, downscale_stabilization_s=0
    )
    asleep = {"replicas": 0, "min_replicas": 0}
    assert wanted(controller, load(5.0, **asleep)) == [None]
    assert wanted(controller, load(5.1, now_s=15.0, **asleep), now_s=15.0) == [1]
    awake = {"replicas": 1, "min_replicas": 0}
    times_s = (30.0, 75.0, 76.0)
    assert [wanted(controller, load(0.0, now_s=t, **awake), now_s=t)[0] for t in times_s] == [None, None, 0]


def test_reset_forgets_failures_and_what_was_learned():
    controller = KedaController(failure_threshold=0, fallback_replicas=6)
    assert wanted(controller, service(4, 0.4, request_rate_rps=160.0)) == [5]
    controller.reset()
    unmeasured = service(4, None, request_rate_rps=160.0)
    assert wanted(controller, unmeasured) == [None]
    assert wanted(controller, blind(4)) == [6]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target_rps_per_replica": 0.0}, "target_rps_per_replica"),
        ({"target_utilisation": 0.0}, "target_utilisation"),
        ({"polling_interval_s": -1.0}, "polling_interval_s"),
        ({"activation_rps": math.nan}, "activation_rps"),
        ({"cooldown_period_s": "long"}, "cooldown_period_s"),
        ({"failure_threshold": 1.5}, "failure_threshold"),
        ({"fallback_replicas": -1}, "fallback_replicas"),
        ({"downscale_stabilization_s": -1}, "downscale_stabilization_s"),
        ({"tolerance": 2.0}, "tolerance"),
        ({"max_sample_age_s": -1.0}, "max_sample_age_s"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        KedaController(**options)
