import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podgym.baselines.vpa import (
    AggregateState,
    ContainerUsage,
    UsageSettings,
    is_expired,
    merge_by_container,
    observe_cpu,
    observe_memory,
    shifted_checkpoint,
)
from podgym.errors import InputError

DAY_S = 86_400.0


def aggregate(*samples, memory=()):
    """Return an aggregate of (millicores, time) and (bytes, time), every sample of a container of its own."""
    state = AggregateState()
    for amount, time_s in samples:
        state.apply(observe_cpu(ContainerUsage(), amount, time_s).operations)
    for amount, time_s in memory:
        state.apply(observe_memory(ContainerUsage(), amount, time_s).operations)
    return state


def test_cpu_samples_alone_make_the_lifespan():
    state = aggregate((100, 50.0), (100, 10.0), (100, 30.0), memory=[(10**9, 500.0)])
    assert (state.first_cpu_s, state.last_cpu_s, state.cpu_samples) == (10.0, 50.0, 3)
    assert state.lifespan_s == 40.0
    assert AggregateState().lifespan_s == 0.0


def test_containers_of_one_name_are_merged():
    one, other = aggregate((100, 5.0), memory=[(10**9, 5.0)]), aggregate((900, 3.0), (900, 9.0))
    alone = aggregate((500, 1.0))
    merged = merge_by_container([("app", one), ("side", alone), ("app", other)])
    assert list(merged) == ["app", "side"]
    together = aggregate((100, 5.0), (900, 3.0), (900, 9.0), memory=[(10**9, 5.0)])
    assert merged["app"].cpu == together.cpu
    assert merged["app"].memory == together.memory
    assert (merged["app"].first_cpu_s, merged["app"].last_cpu_s, merged["app"].cpu_samples) == (3.0, 9.0, 3)
    assert one.cpu_samples == 1
    assert merged["side"].cpu_samples == 1


@pytest.mark.parametrize(
    ("age_s", "count", "expired"), [(8 * DAY_S, 8, True), (8 * DAY_S - 1, 8, False), (4 * DAY_S, 4, True)]
)
def test_expiry(age_s, count, expired):
    settings = UsageSettings(memory_aggregation_interval_count=count)
    assert is_expired(age_s, settings) == expired
    seen = aggregate((100, 1000.0), memory=[(10**9, 5 * DAY_S)])
    assert seen.is_expired(1000.0 + age_s, settings) == expired
    unseen = AggregateState.begin(77.0)
    unseen.apply(observe_memory(ContainerUsage(), 10**9, 5 * DAY_S).operations)
    assert unseen.is_expired(77.0 + age_s, settings) == expired


samples = st.lists(st.tuples(st.integers(10, 100_000), st.integers(0, 500_000).map(float)), max_size=20)


@given(samples, samples, st.sampled_from([-86_400.0 * 3, -12_345.0, 0.0, 7_777.0]))
def test_a_checkpoint_survives_json_and_a_shift(cpu, memory, by_s):
    state = aggregate(*cpu, memory=[(amount * 10**6, time_s) for amount, time_s in memory])
    saved = json.loads(json.dumps(shifted_checkpoint(state.save(), by_s, half_life_s=DAY_S)))
    loaded = AggregateState.load(saved)
    assert loaded.cpu_samples == state.cpu_samples
    assert loaded.lifespan_s == state.lifespan_s
    if cpu:
        assert loaded.last_cpu_s == state.last_cpu_s + by_s
        # Weighed against a new sample as heavy as all the others at one time, both are alike.
        for old, new in ((state, 0.0), (loaded, by_s)):
            old.cpu.add(500.0, 0.1, 600_000.0 + new)
        share, loaded_share = (
            each.cpu.bucket_weights[each.cpu.buckets.find(500.0)] / each.cpu.total_weight
            for each in (state, loaded)
        )
        assert loaded_share == pytest.approx(share, rel=1e-3)


def test_checkpoints_that_cannot_be_used():
    good = aggregate((100, 5.0), memory=[(10**9, 5.0)]).save()
    for spoilt, message in (
        (3, "is a mapping"),
        ({**good, "version": "v1"}, "version 'v1'"),
        (
            {key: value for key, value in good.items() if key != "last_sample_s"},
            "lacks the key 'last_sample_s'",
        ),
        ({**good, "cpu_histogram": {}}, "lacks the key 'bucket_weights'"),
        ({**good, "cpu_histogram": None}, "cannot be used"),
        ({**good, "first_sample_s": "noon"}, "cannot be used"),
        ({**good, "first_sample_s": math.nan}, "a time of the checkpoint is nan"),
        ({**good, "memory_histogram": {**good["memory_histogram"], "reference_s": None}}, "reference"),
        (
            {**good, "memory_histogram": {**good["memory_histogram"], "bucket_weights": {"999": 1}}},
            "bucket 999",
        ),
        ({**good, "total_samples_count": None}, "cannot be used"),
    ):
        with pytest.raises(InputError, match=message):
            AggregateState.load(spoilt)
