import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podgym.baselines.vpa import (
    AggregateState,
    ContainerUsage,
    UsageSettings,
    observe_cpu,
    observe_memory,
    observe_oom,
)
from podgym.errors import InputError

DAY_S = 86_400.0
MIB = 2**20
HOURLY = UsageSettings(memory_aggregation_interval_s=3600.0)


def memory(*events, settings=HOURLY):
    """Return which events were accepted and what they did: (operation, bytes, time)."""
    usage, accepted, done = ContainerUsage(), [], []
    for kind, amount, time_s in events:
        observe = {"sample": observe_memory, "oom": observe_oom}[kind]
        seen = observe(usage, amount, time_s, settings)
        usage = seen.usage
        accepted.append(seen.accepted)
        done += [(each.operation, each.value, each.time_s) for each in seen.operations]
        assert all((each.resource, each.weight) == ("memory", 1.0) for each in seen.operations)
    return accepted, done


def test_cpu_samples_must_be_newer():
    usage = ContainerUsage()
    seen = observe_cpu(usage, 3140, 10.0)
    assert seen.accepted
    assert seen.operations == (("cpu", "add", 3.14, 0.1, 10.0),)
    for amount, time_s in ((100, 10.0), (100, 9.0), (-1, 11.0)):
        rejected = observe_cpu(seen.usage, amount, time_s)
        assert not rejected.accepted
        assert rejected.usage == seen.usage
        assert rejected.operations == ()
    assert observe_cpu(seen.usage, 0, 10.5).accepted


def test_the_first_sample_opens_a_window():
    assert memory(("sample", 5, 100.0)) == ([True], [("add", 5.0, 3700.0)])


def test_only_the_peak_of_a_window_counts():
    accepted, done = memory(
        ("sample", 5, 0.0), ("sample", 4, 600.0), ("sample", 5, 700.0), ("sample", 9, 3599.0)
    )
    assert accepted == [True] * 4
    assert done == [("add", 5.0, 3600.0), ("subtract", 5.0, 3600.0), ("add", 9.0, 3600.0)]


@pytest.mark.parametrize(
    ("time_s", "end_s"), [(3600.0, 7200.0), (7199.0, 7200.0), (7200.0, 10800.0), (36001.0, 39600.0)]
)
def test_windows_follow_one_another_without_gaps(time_s, end_s):
    _, done = memory(("sample", 5, 0.0), ("sample", 1, time_s))
    assert done == [("add", 5.0, 3600.0), ("add", 1.0, end_s)]


def test_memory_samples_must_not_be_older_or_negative():
    accepted, done = memory(
        ("sample", 5, 100.0), ("sample", 9, 99.0), ("sample", -1, 101.0), ("sample", 9, 100.0)
    )
    assert accepted == [True, False, False, True]
    assert done[-1] == ("add", 9.0, 3700.0)


def test_a_peak_of_nothing_is_never_raised():
    """As upstream: a window that began with 0 bytes ignores all further samples."""
    accepted, done = memory(("sample", 0, 0.0), ("sample", 9, 60.0), ("sample", 9, 3600.0))
    assert accepted == [True, True, True]
    assert done == [("add", 0.0, 3600.0), ("add", 9.0, 7200.0)]


def test_an_oom_asks_for_more_than_the_request():
    # At least 100 MiB more, and at least a fifth more.
    assert memory(("oom", 200 * MIB, 0.0))[1] == [("add", 300.0 * MIB, 3600.0)]
    assert memory(("oom", 1000 * MIB, 0.0))[1] == [("add", 1200.0 * MIB, 3600.0)]
    assert memory(("oom", 7, 0.0), settings=UsageSettings(3600.0, 8, 1.5, 0))[1] == [("add", 10.0, 3600.0)]


def test_an_oom_asks_for_more_than_the_peak_of_its_window():
    done = memory(("sample", 1000 * MIB, 0.0), ("oom", 500 * MIB, 60.0))[1]
    assert done[1:] == [("subtract", 1000.0 * MIB, 3600.0), ("add", 1200.0 * MIB, 3600.0)]
    # So does one that opens the next window itself; later the peak is forgotten.
    events = ("sample", 1000 * MIB, 0.0), ("oom", 500 * MIB, 3600.0), ("oom", 1050 * MIB, 3700.0)
    done = memory(*events)[1]
    assert done[1] == ("add", 1200.0 * MIB, 7200.0)
    assert done[2:] == [("subtract", 1200.0 * MIB, 7200.0), ("add", 1260.0 * MIB, 7200.0)]


def test_ooms_do_not_compound():
    accepted, done = memory(("oom", 1000 * MIB, 0.0), ("oom", 1000 * MIB, 60.0), ("oom", 1100 * MIB, 120.0))
    assert accepted == [True] * 3
    assert done[1:] == [("subtract", 1200.0 * MIB, 3600.0), ("add", 1320.0 * MIB, 3600.0)]


def test_the_need_after_an_oom_is_forgotten_with_its_window():
    done = memory(("oom", 1000 * MIB, 0.0), ("sample", 5, 3600.0), ("sample", 9, 3700.0))[1]
    assert done[1:] == [("add", 5.0, 7200.0), ("subtract", 5.0, 7200.0), ("add", 9.0, 7200.0)]


def test_an_oom_may_be_older_than_the_last_sample_but_not_than_its_window():
    accepted, _ = memory(("sample", 5, 4000.0), ("oom", 9, 3999.0), ("sample", 5, 3999.5))
    assert accepted == [True, False, False]  # the window began with its first sample
    accepted, _ = memory(("sample", 5, 0.0), ("sample", 6, 3000.0), ("oom", 9, 2000.0), ("sample", 7, 2500.0))
    assert accepted == [True, True, True, True]


def test_the_proposed_cap_is_off_unless_given():
    usage = ContainerUsage()
    capped = observe_oom(usage, 1000 * MIB, 0.0, HOURLY, max_memory_bytes=1100 * MIB)
    assert capped.operations[0].value == 1100 * MIB
    capped = observe_oom(usage, 5000 * MIB, 0.0, HOURLY, max_memory_bytes=1100 * MIB)
    assert capped.operations[0].value == 1100 * MIB
    assert observe_oom(usage, 5000 * MIB, 0.0, HOURLY).operations[0].value == 6000 * MIB


@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(0, 3000)), min_size=1, max_size=40),
    st.integers(0, 10_000),
)
def test_peaks_are_the_largest_of_each_window(pairs, first_s):
    """Oracle: sort the samples into windows that begin with the first, and take maxima."""
    samples, time_s = [], first_s
    for amount, gap_s in pairs:
        samples.append((amount * 20_000_000, float(time_s)))
        time_s += gap_s
    state, usage = AggregateState(), ContainerUsage()
    for amount, at_s in samples:
        seen = observe_memory(usage, amount, at_s, HOURLY)
        assert seen.accepted
        usage = seen.usage
        state.apply(seen.operations)
    peaks = {}
    for amount, at_s in samples:
        window = int((at_s - first_s) // 3600)
        peaks[window] = max(peaks.get(window, 0), amount)
    expected = AggregateState()
    for window, peak in peaks.items():
        expected.memory.add(peak, 1.0, first_s + 3600.0 * (window + 1))
    assert state.memory == expected.memory
    assert state.cpu_samples == 0


@pytest.mark.parametrize(
    "options",
    [
        {"memory_aggregation_interval_s": 0.0},
        {"memory_aggregation_interval_count": 0},
        {"oom_bump_up_ratio": -1.0},
        {"oom_min_bump_up_bytes": math.nan},
        {"memory_aggregation_interval_s": "a day"},
        {"memory_aggregation_interval_count": True},
    ],
)
def test_settings_that_mean_nothing_are_refused(options):
    with pytest.raises(InputError, match=next(iter(options))):
        UsageSettings(**options)
