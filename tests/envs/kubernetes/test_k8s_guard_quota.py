"""What the guard lets pass of a wanted quota."""

import math
from dataclasses import astuple, fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podgym.envs.cluster import Quota
from podgym.envs.kubernetes.guard import REASONS, Verdict, guard_quota, quota_refusal

NAN = math.nan
MIB = 2.0**20
NOW = Quota(0.5, 1.0, 512 * MIB, 1024 * MIB)
FIELDS = [field.name for field in fields(Quota)]


def verdict(quotas="any"):
    return Verdict(5, False, quotas, ())


def test_what_is_in_order_passes_as_it_is():
    wanted = Quota(0.25, 0.75, 256 * MIB, 300 * MIB)
    assert guard_quota(wanted, NOW, verdict()) == wanted
    assert quota_refusal(wanted, NOW, verdict()) is None


def test_nothing_is_written_where_nothing_is_wanted_or_changes():
    for wanted in (None, NOW, replace(NOW, cpu_request_cores=0.5 - 1e-12)):
        assert guard_quota(wanted, NOW, verdict()) is None
        assert quota_refusal(wanted, NOW, verdict("none")) == "quota_not_wanted"


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize(
    ("amount", "code"),
    [
        (NAN, "quota_not_a_number"), (math.inf, "quota_not_a_number"), (-math.inf, "quota_not_a_number"),
        (0.0, "quota_out_of_range"), (-1.0, "quota_out_of_range"), (1e308, "quota_out_of_range"),
        (1e-9, "quota_out_of_range"),
    ],
)  # fmt: skip
def test_p01_p18_amounts_that_no_pod_can_have_are_refused(name, amount, code):
    wanted = replace(NOW, **{name: amount})
    assert quota_refusal(wanted, NOW, verdict()) == code
    assert guard_quota(wanted, NOW, verdict()) is None


@pytest.mark.parametrize("resource", ["cpu_request_cores", "memory_request_bytes"])
def test_a_limit_below_its_request_is_refused(resource):
    wanted = replace(NOW, **{resource: 3 * getattr(NOW, resource)})
    assert quota_refusal(wanted, NOW, verdict()) == "quota_limit_below_request"
    assert guard_quota(replace(NOW, cpu_request_cores=1.0), NOW, verdict()) is not None


@pytest.mark.parametrize("name", FIELDS)
def test_p14_p16_on_bad_data_nothing_shrinks_not_even_beside_what_grows(name):
    smaller = replace(NOW, **{name: 0.75 * getattr(NOW, name)})
    larger = replace(NOW, **{name: 1.5 * getattr(NOW, name)})
    other = "memory_limit_bytes" if "cpu" in name else "cpu_limit_cores"
    mixed = replace(smaller, **{other: 2.0 * getattr(NOW, other)})
    for wanted in (smaller, mixed):
        assert guard_quota(wanted, NOW, verdict("up_only")) is None
        assert quota_refusal(wanted, NOW, verdict("up_only")) == "quota_down"
    assert guard_quota(larger, NOW, verdict("up_only")) == larger
    assert guard_quota(smaller, NOW, verdict("any")) == smaller


def test_p13_p25_while_nothing_may_change_no_quota_does():
    wanted = replace(NOW, cpu_limit_cores=2.0)
    assert quota_refusal(wanted, NOW, verdict("none")) == "quota_held"
    assert guard_quota(wanted, NOW, verdict("none")) is None


def test_a_limit_that_is_not_set_may_stay_so():
    unlimited = replace(NOW, cpu_limit_cores=NAN)
    wanted = replace(unlimited, cpu_request_cores=2.0)
    passed = guard_quota(wanted, unlimited, verdict("up_only"))
    assert passed is not None
    assert passed.cpu_request_cores == 2.0
    assert math.isnan(passed.cpu_limit_cores)
    assert quota_refusal(unlimited, unlimited, verdict()) == "quota_not_wanted"
    assert quota_refusal(unlimited, NOW, verdict()) == "quota_not_a_number"


@pytest.mark.parametrize("name", ["cpu_limit_cores", "memory_limit_bytes"])
def test_a_limit_where_there_was_none_is_a_cut(name):
    unlimited = replace(NOW, **{name: NAN})
    assert quota_refusal(NOW, unlimited, verdict("up_only")) == "quota_down"
    assert guard_quota(NOW, unlimited, verdict("any")) == NOW


def test_amounts_are_rounded_up_to_what_the_api_server_keeps():
    passed = guard_quota(Quota(1 / 3, 0.29, 300.5 * MIB + 0.2, 2.0**30), NOW, verdict())
    assert passed is None  # the limit is below the request
    passed = guard_quota(Quota(0.29, 1 / 3, 300.0 * MIB + 0.2, 2.0**30), NOW, verdict())
    assert passed == Quota(0.29, 0.334, 300.0 * MIB + 1.0, 2.0**30)


amounts = st.one_of(
    st.floats(), st.floats(0.0, 8.0), st.floats(MIB, 2.0**33), st.sampled_from([NAN, 0.0, 0.5, 512 * MIB])
)
quotas = st.builds(Quota, amounts, amounts, amounts, amounts)
sane_cores, sane_bytes = st.floats(0.001, 4.0), st.floats(MIB, 2.0**32)
sane = st.builds(Quota, sane_cores, sane_cores, sane_bytes, sane_bytes)
permissions = st.sampled_from(["any", "up_only", "none"])


@given(st.one_of(quotas, sane), st.one_of(quotas, sane), permissions)
def test_whatever_passes_is_a_quota_that_may_be_written(wanted, now, permission):
    passed = guard_quota(wanted, now, verdict(permission))
    refusal = quota_refusal(wanted, now, verdict(permission))
    assert (passed is None) == (refusal is not None)
    assert refusal is None or refusal in REASONS
    if passed is None:
        return
    assert permission != "none"
    for amount, asked, current in zip(astuple(passed), astuple(wanted), astuple(now), strict=True):
        assert (math.isnan(amount) and math.isnan(current)) or (math.isfinite(amount) and amount > 0.0)
        assert math.isnan(amount) or asked * (1 - 1e-6) <= amount <= asked + 1.0
        if permission == "up_only" and not math.isnan(current):
            assert amount >= current * (1 - 1e-6)
    assert not passed.cpu_limit_cores < passed.cpu_request_cores
    assert not passed.memory_limit_bytes < passed.memory_request_bytes
    # What was written is wanted again: nothing to do.
    assert guard_quota(wanted, passed, verdict()) is None
    assert guard_quota(passed, passed, verdict()) is None
