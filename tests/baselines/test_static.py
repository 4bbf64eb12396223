import dataclasses
import math

import pytest
from oracles.observations import QUOTA, observe, service

from podgym.baselines.static import StaticController
from podgym.envs.cluster import ServiceDecision
from podgym.errors import InputError


def test_requests_can_be_fixed_and_limits_keep_their_ratio():
    controller = StaticController(3, cpu_request_cores=2.0, memory_request_bytes=100.0)
    (decision,) = controller.decide(observe(service()))
    assert decision == ServiceDecision(3, 2.0, 2.0, 100.0, 150.0)
    (decision,) = StaticController(cpu_request_cores=0.1).decide(observe(service()))
    assert decision == ServiceDecision(None, 0.1, 0.1)


def test_a_quota_that_is_no_number_still_gives_a_limit():
    odd = dataclasses.replace(QUOTA, cpu_request_cores=math.nan)
    (decision,) = StaticController(cpu_request_cores=0.1).decide(observe(service(quota=odd)))
    assert decision == ServiceDecision(None, 0.1, 0.1)


@pytest.mark.parametrize(
    "options", [{"cpu_request_cores": 0.0}, {"cpu_request_cores": 1e7}, {"memory_request_bytes": math.inf}]
)
def test_requests_that_mean_nothing_are_refused(options):
    with pytest.raises(InputError, match=next(iter(options))):
        StaticController(**options)
