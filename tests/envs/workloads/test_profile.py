import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podgym.envs.workloads import LoadProfile, resample
from podgym.envs.workloads.profile import require_number, sample_count
from podgym.errors import InputError


def _profile(values: object, **changes: object) -> LoadProfile:
    fields = {"values": values, "step_s": 15.0, "kind": "open", "start_time_s": 0.0, "label": "made up"}
    return LoadProfile(**(fields | changes))


def test_a_profile_owns_its_samples_and_never_changes() -> None:
    source = np.array([1.0, 2.0, 3.0])
    profile = _profile(source)
    source[0] = 99.0
    assert profile.values.tolist() == [1.0, 2.0, 3.0]
    assert profile.duration_s == 30.0
    assert profile.times_s.tolist() == [0.0, 15.0, 30.0]
    with pytest.raises(ValueError, match="read-only"):
        profile.values[0] = 5.0


def test_a_profile_survives_pickling() -> None:
    copy = pickle.loads(pickle.dumps(_profile([1.0, 2.5], label="a")))
    assert (copy.values.tolist(), copy.step_s, copy.kind, copy.label) == ([1.0, 2.5], 15.0, "open", "a")


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ([1.0, math.nan, 3.0], "sample 1 .* is nan"),
        ([1.0, 2.0, -0.5], "sample 2 .* is -0.5"),
        ([math.inf, 2.0], "sample 0 .* is inf"),
        ([1.0], r"2 or more samples.*\(1,\)"),
        ([[1.0, 2.0], [3.0, 4.0]], r"\(2, 2\)"),
        (["a", "b"], "must be numbers"),
    ],
)
def test_bad_samples_are_refused_by_index_and_value(values: object, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        _profile(values)


@pytest.mark.parametrize(
    "change", [{"step_s": 0.0}, {"step_s": math.nan}, {"kind": "half-open"}, {"start_time_s": -1.0}]
)
def test_bad_fields_are_refused_by_name(change: dict[str, object]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(change))} is"):
        _profile([1.0, 2.0], **change)


@given(
    values=st.lists(st.floats(0.0, 1e6), min_size=2, max_size=20),
    step_s=st.floats(0.5, 60.0),
    fraction=st.floats(0.0, 1.0),
)
def test_resampling_lies_on_the_lines_between_the_samples(
    values: list[float], step_s: float, fraction: float
) -> None:
    finer = resample(_profile(values), step_s)
    index = int(fraction * (len(finer.values) - 1))
    position = min(index * step_s / 15.0, len(values) - 1.0)
    left = min(int(position), len(values) - 2)
    expected = values[left] + (position - left) * (values[left + 1] - values[left])
    assert finer.values[index] == pytest.approx(expected, rel=1e-9, abs=1e-9 * max(values))
    assert finer.duration_s >= _profile(values).duration_s - 1e-6


def test_resampling_to_its_own_step_changes_nothing() -> None:
    profile = _profile([3.0, 1.0, 4.0, 1.0, 5.0], kind="closed", start_time_s=7.0)
    same = resample(profile, 15.0)
    assert np.array_equal(same.values, profile.values)
    assert (same.kind, same.start_time_s, same.label) == ("closed", 7.0, "made up")


@pytest.mark.parametrize(
    ("duration_s", "step_s", "count"),
    [(3600.0, 15.0, 241), (3601.0, 15.0, 242), (2.1, 0.3, 8), (1.0, 15.0, 2)],
)
def test_samples_cover_the_duration_with_both_ends(duration_s: float, step_s: float, count: int) -> None:
    assert sample_count(duration_s, step_s, max_duration_s=math.inf, name="x") == count


@pytest.mark.parametrize("duration_s", [0.0, -1.0, math.nan, math.inf, "3600", True])
def test_an_impossible_duration_is_refused(duration_s: float) -> None:
    with pytest.raises(InputError, match="duration_s is"):
        sample_count(duration_s, 15.0, max_duration_s=math.inf, name="x")


def test_an_episode_longer_than_the_workload_is_refused_with_both_lengths() -> None:
    with pytest.raises(InputError, match=r"'x' lasts at most 900 s.*asks for 1000 s"):
        sample_count(1000.0, 5.0, max_duration_s=900.0, name="x")


def test_the_refusal_of_a_number_names_its_limits() -> None:
    assert require_number("n", np.float32(2.0), low=1.0) == 2.0
    with pytest.raises(InputError, match=r"^n is 0; it must be a finite number above 0\.$"):
        require_number("n", 0, above=0.0)
    with pytest.raises(InputError, match=r"^n is None; it must be a finite number\.$"):
        require_number("n", None)


def test_a_profile_may_say_where_in_a_trace_it_lies() -> None:
    generated = _profile([1.0, 2.0])
    assert (generated.trace, generated.trace_start_s, generated.scale) == (None, None, 1.0)
    cut = _profile([1.0, 2.0, 3.0], trace="week:rate", trace_start_s=600, scale=2)
    for profile in (cut, resample(cut, 5.0), pickle.loads(pickle.dumps(cut))):
        assert (profile.trace, profile.trace_start_s, profile.scale) == ("week:rate", 600.0, 2.0)
        assert isinstance(profile.trace_start_s, float)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"trace": "week:rate"}, "trace is 'week:rate' and trace_start_s None"),
        ({"trace_start_s": 60.0}, "trace is None and trace_start_s 60.0"),
        ({"trace": "", "trace_start_s": 0.0}, "trace is ''; it must be the name"),
        ({"trace": 7, "trace_start_s": 0.0}, "trace is 7; it must be the name"),
        ({"trace": "week:rate", "trace_start_s": -60.0}, "trace_start_s is -60"),
        ({"trace": "week:rate", "trace_start_s": math.nan}, "trace_start_s is nan"),
        ({"scale": 0.0}, "scale is 0.0"),
        ({"scale": math.inf}, "scale is inf"),
    ],
)
def test_an_impossible_place_in_a_trace_is_refused(changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        _profile([1.0, 2.0], **changes)
