import dataclasses
import math

import pytest
from oracles.observations import MIB, QUOTA, pod, service

from podgym.baselines.quota_plan import STAY, QuotaChange, QuotaPlan, QuotaSettings

HOUR_S = 3600.0


def decide(plan, usage_mib, now_s, replicas_for=lambda limit: 4, quota=QUOTA):
    view = service(2, quota=quota, max_replicas=20)
    pods = tuple(pod(k, memory_bytes=mib * MIB) for k, mib in enumerate(usage_mib))
    return plan.decide(view, pods, now_s, replicas_for)


def test_memory_follows_the_highest_working_set_once_the_period_has_passed():
    plan = QuotaPlan(QuotaSettings(period_s=600.0), 0.0)
    assert decide(plan, (200, 250), 300.0) == STAY
    assert decide(plan, (200, 210), 600.0) == QuotaChange(None, pytest.approx(300 * MIB))
    assert decide(plan, (100, 110), 1100.0) == STAY  # not so soon again


def test_memory_stays_where_the_change_would_be_small():
    plan = QuotaPlan(QuotaSettings(period_s=0.0, tolerance=0.25), 0.0)
    assert decide(plan, (400,), 1.0) == STAY  # 480 of 512 MiB
    assert decide(plan, (530,), 2.0) == STAY  # 636 of 512 MiB
    assert decide(plan, (540,), 3.0).memory_request_bytes == pytest.approx(648 * MIB)
    assert decide(QuotaPlan(QuotaSettings(plan_memory=False, period_s=0.0), 0.0), (100,), 1.0) == STAY


def test_memory_near_its_limit_is_raised_at_once():
    plan = QuotaPlan(QuotaSettings(), 0.0)
    assert decide(plan, (690,), 10.0) == STAY
    assert decide(plan, (692,), 15.0) == QuotaChange(None, pytest.approx(1.2 * 692 * MIB, abs=2))


def test_an_old_peak_is_forgotten():
    plan = QuotaPlan(QuotaSettings(period_s=0.0), 0.0)
    decide(plan, (500,), 0.0)
    assert decide(plan, (200,), HOUR_S - 1.0) == STAY
    assert decide(plan, (200,), HOUR_S).memory_request_bytes == pytest.approx(240 * MIB)


def sizes(**needs):
    """Replicas by CPU limit, given as c25=.., for limits in hundredths of a core."""
    return lambda limit: needs[f"c{round(limit * 100)}"]


def test_the_cheapest_size_that_the_maximum_allows_is_chosen():
    settings = QuotaSettings(cpu_sizes_cores=(0.25, 1.0), period_s=0.0, plan_memory=False, tolerance=0.1)
    # A pod's 0.5 GiB counts as 0.065 cores: 8 * 0.565 = 4.52 against 2 * 1.065 and 15 * 0.315 = 4.73.
    change = decide(QuotaPlan(settings, 0.0), (300,), 1.0, sizes(c50=8, c25=15, c100=2))
    assert change == QuotaChange(1.0, None)
    small = decide(QuotaPlan(settings, 0.0), (300,), 1.0, sizes(c50=8, c25=9, c100=6))
    assert small == QuotaChange(0.25, None)
    # What saves too little, or needs more replicas than there may be, is left alone.
    assert decide(QuotaPlan(settings, 0.0), (300,), 1.0, sizes(c50=8, c25=15, c100=4)) == STAY
    assert decide(QuotaPlan(settings, 0.0), (300,), 1.0, sizes(c50=8, c25=21, c100=8)) == STAY
    assert (
        decide(QuotaPlan(settings, 0.0), (300,), 1.0, sizes(c50=40, c25=80, c100=19)).cpu_request_cores == 1.0
    )


def test_nothing_is_planned_without_samples_or_numbers():
    settings = QuotaSettings(cpu_sizes_cores=(0.25,), period_s=0.0)
    assert decide(QuotaPlan(settings, 0.0), (), 1.0) == STAY
    odd = dataclasses.replace(QUOTA, memory_request_bytes=math.nan)
    assert decide(QuotaPlan(settings, 0.0), (100,), 1.0, quota=odd) == STAY
    odd = dataclasses.replace(QUOTA, cpu_request_cores=math.nan)
    assert decide(QuotaPlan(settings, 0.0), (500,), 1.0, quota=odd) == STAY
