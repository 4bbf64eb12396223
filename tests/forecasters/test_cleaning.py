"""Cleaning: worked examples, and the promises of its docstrings over arbitrary tables."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from podgym.errors import InputError
from podgym.forecasters.anomalies import AnomalyConfig
from podgym.forecasters.cleaning import (
    PAPER_CLEANING,
    CleaningConfig,
    MinMaxScaler,
    clean,
    interpolate,
    resample,
    split,
    zscore_outliers,
)
from podgym.forecasters.series import Series

NAN = math.nan
Floats = NDArray[np.float64]
CONFIGS = (
    CleaningConfig(),
    PAPER_CLEANING,
    CleaningConfig(z_threshold=None),
    CleaningConfig(
        z_threshold=1.5, max_outlier_share=0.5, anomaly_config=AnomalyConfig(13, 3, spike_share=1.0)
    ),
)


def series_of(values: Floats, step_s: float = 60.0) -> Series:
    names = tuple(f"f{column}" for column in range(values.shape[1]))
    return Series("test", names, ("1",) * len(names), values, step_s)


def one(*values: float) -> Floats:
    return np.array(values)[:, np.newaxis]


@st.composite
def measurements(draw: st.DrawFn) -> Floats:
    """Two features of load: noise, or few levels; with gaps, stuck stretches, drops, spikes and tails."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    num_samples = draw(st.integers(5, 150))
    kind = draw(st.sampled_from(["gamma", "poisson", "heavy", "walk", "levels"]))
    values = {
        "gamma": rng.gamma(50.0, 2.0, (num_samples, 2)),
        "poisson": rng.poisson(draw(st.sampled_from([0.1, 1.0, 30.0])), (num_samples, 2)).astype(float),
        "heavy": rng.pareto(1.2, (num_samples, 2)),
        "walk": 50.0 + rng.standard_normal((num_samples, 2)).cumsum(axis=0),
        "levels": rng.choice([0.1, 0.3, 0.3000000001, 7.7], (num_samples, 2)),
    }[kind]
    for _ in range(draw(st.integers(0, 6))):
        first, length = int(rng.integers(num_samples)), int(rng.integers(1, 25))
        column = int(rng.integers(2))
        fault = rng.choice([NAN, 0.0, values[first, column], 1e4])
        values[first : first + length, column] = fault
    assume(not np.isnan(values).all(axis=0).any())
    return values


@settings(max_examples=150, deadline=None)
@given(values=measurements(), config=st.sampled_from(CONFIGS))
def test_cleaning_keeps_its_promises(values: Floats, config: CleaningConfig) -> None:
    series = series_of(values)
    cleaned, report = clean(series, config)
    again, report_again = clean(cleaned, config)
    np.testing.assert_array_equal(again.values, cleaned.values)
    assert report_again.share_replaced == 0.0
    changed = values != cleaned.values  # also where nan
    for column, feature in enumerate(report.features):
        # A sample may be replaced by what it was, but none is changed that is not reported.
        assert np.count_nonzero(changed[:, column]) <= feature.num_replaced
        assert feature.missing == np.count_nonzero(np.isnan(values[:, column]))
        kept = np.flatnonzero(~changed[:, column])
        assert len(kept) > 0
        for row in np.flatnonzero(changed[:, column]):
            left, right = kept[kept < row][-1:], kept[kept > row][:1]
            neighbours = values[np.concatenate([left, right]), column]
            assert neighbours.min() <= cleaned.values[row, column] <= neighbours.max()


def test_interpolation_is_linear_and_holds_the_ends() -> None:
    values = np.array([[NAN, 1.0], [2.0, NAN], [NAN, NAN], [NAN, NAN], [8.0, 5.0], [NAN, NAN]])
    expected = np.array([[2.0, 1.0], [2.0, 2.0], [4.0, 3.0], [6.0, 4.0], [8.0, 5.0], [8.0, 5.0]])
    np.testing.assert_array_equal(interpolate(values), expected)
    assert np.isnan(values[0, 0]), "the input is left alone"


def test_interpolation_stays_between_the_neighbours_where_rounding_leaves_them() -> None:
    smallest = 5e-324
    values = one(0.0, *[NAN] * 48, 25 * smallest)
    assert np.interp(48.0, [0.0, 49.0], [0.0, 25 * smallest]) > 25 * smallest
    assert interpolate(values).max() == 25 * smallest


def test_interpolation_refuses_a_feature_without_measurements() -> None:
    with pytest.raises(InputError, match="feature 1 has no measurement"):
        interpolate(np.array([[1.0, NAN], [2.0, NAN]]))
    with pytest.raises(InputError, match="feature memory has no measurement"):
        clean(Series("x", ("cpu", "memory"), ("%", "%"), np.array([[1.0, NAN], [2.0, NAN]]), 60.0))


@pytest.mark.parametrize("values", [np.zeros(3), np.zeros((0, 1)), np.zeros((3, 0))])
def test_what_is_no_table_is_refused(values: Floats) -> None:
    with pytest.raises(InputError, match="num_samples, num_features"):
        interpolate(values)


def test_infinity_is_refused() -> None:
    with pytest.raises(InputError, match="sample 1 of feature 0 is infinite"):
        zscore_outliers(one(1.0, math.inf))


def test_zscore_against_the_formula() -> None:
    values = np.random.default_rng(5).standard_t(3, (500, 2))
    values[::7, 0] = NAN
    mean, std = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
    with np.errstate(invalid="ignore"):
        expected = np.abs((values - mean) / std) > 3.0
    found = zscore_outliers(values)
    np.testing.assert_array_equal(found, expected)
    assert found.any(axis=0).all()


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e9 / 3.0])
def test_constant_feature_has_no_outliers(constant: float) -> None:
    assert not zscore_outliers(np.full((1000, 1), constant), 0.1).any()


def test_outliers_hidden_by_a_larger_one_are_found_in_a_later_pass() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(100.0, 1.0, (400, 1))
    values[50], values[150] = 1000.0, 115.0
    config = CleaningConfig(anomalies=False)
    cleaned, report = clean(series_of(values), config)
    assert list(np.flatnonzero(zscore_outliers(values))) == [50]
    assert report.features[0].outliers_first_pass == 1
    assert report.features[0].outliers >= 2
    assert cleaned.values[150, 0] == pytest.approx(values[[149, 151], 0].mean())


def test_heavy_tail_keeps_its_outliers_and_the_report_says_so() -> None:
    values = np.random.default_rng(2).pareto(1.0, (2000, 1))
    cleaned, report = clean(series_of(values), PAPER_CLEANING)
    assert report.features[0].outliers_kept
    assert report.features[0].outliers == 0
    assert "outliers kept" in report.describe()
    np.testing.assert_array_equal(cleaned.values, values)


def flash_crowd(num_minutes: int) -> Floats:
    """A day of Poisson counts around 100 with a crowd of ten times the load for some minutes."""
    values = np.random.default_rng(3).poisson(100.0, (1440, 1)).astype(float)
    values[700 : 700 + num_minutes] *= 10.0
    return values


@pytest.mark.parametrize("num_minutes", [6, 10, 30])
def test_flash_crowd_survives_unless_the_rule_is_the_papers(num_minutes: int) -> None:
    values = flash_crowd(num_minutes)
    crowd = slice(700, 700 + num_minutes)
    np.testing.assert_array_equal(clean(series_of(values))[0].values[crowd], values[crowd])
    assert clean(series_of(values), PAPER_CLEANING)[0].values[crowd].max() < 200.0


def test_gap_does_not_cut_a_flash_crowd_into_outliers() -> None:
    values = flash_crowd(10)
    values[704:706] = NAN
    cleaned, report = clean(series_of(values))
    assert cleaned.values[700:710].min() > 700.0
    assert report.features[0].num_replaced - report.features[0].missing <= 5  # of the noise


def test_faults_are_taken_out_before_outliers_are_judged() -> None:
    values = np.random.default_rng(4).normal(100.0, 5.0, (1000, 1))
    values[100], values[300], values[500:503], values[600:620] = 5000.0, 0.0, NAN, values[600]
    report = clean(series_of(values))[1].features[0]
    assert (report.spikes, report.resets, report.missing, report.gaps, report.longest_gap) == (1, 1, 3, 1, 3)
    assert report.stuck == 19
    assert report.share_replaced == (24 + report.outliers) / 1000
    assert clean(series_of(values), CleaningConfig(anomalies=False))[1].features[0].spikes == 0


def test_spike_that_outliers_made_look_common_is_found_after_them() -> None:
    values = 100.0 + 60.0 * np.sin(2.0 * np.pi * np.arange(1440) / 1440)
    values += np.random.default_rng(7).normal(0.0, 2.0, 1440)
    values[250:470:20] += 150.0  # eleven, at the peak of the day: more than spike_share
    values[1080] += 100.0  # at night: high for its surroundings, usual for the day
    config = CleaningConfig(longest_outlier_s=math.inf)
    report = clean(series_of(values[:, np.newaxis]), config)[1].features[0]
    assert (report.spikes, report.outliers) == (1, 11)


def test_gap_at_the_begin_takes_nothing_else_with_it() -> None:
    values = np.random.default_rng(8).gamma(50.0, 2.0, (300, 1))
    values[:20], values[280:] = NAN, NAN
    cleaned, report = clean(series_of(values), CleaningConfig(z_threshold=None))
    np.testing.assert_array_equal(cleaned.values[20:280], values[20:280])
    assert report.features[0].stuck == 0


def test_report_reads_as_a_line_per_feature() -> None:
    values = np.column_stack([np.arange(20.0), np.full(20, 3.0)])
    values[4:6, 0] = NAN
    lines = clean(series_of(values))[1].describe().splitlines()
    assert lines == [
        "replaced in test: f0 10.00% of 20 samples (2 missing in 1 gap of at most 2)",
        "  f1 0.00% of 20 samples (none)",
    ]


def test_clean_series_is_returned_itself() -> None:
    series = series_of(one(1.0, 2.0, 3.0, 2.5, 1.5))
    assert clean(series)[0] is series


def test_filled_samples_that_look_stuck_take_their_neighbours_along() -> None:
    """Between two neighbouring floats interpolation gives nothing but these two, in long runs."""
    values = np.random.default_rng(6).gamma(50.0, 2.0, (200, 1))
    values[100], values[101:125], values[125] = 100.0, NAN, np.nextafter(100.0, 101.0)
    cleaned, report = clean(series_of(values), CleaningConfig(z_threshold=None))
    assert len(np.unique(cleaned.values[100:126])) > 15
    assert report.features[0].stuck > 0


@pytest.mark.parametrize(
    "settings_",
    [{"z_threshold": 0.5}, {"z_threshold": NAN}, {"max_outlier_share": 0.6}, {"longest_outlier_s": 0.0}],
)
def test_unusable_settings_are_refused(settings_: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(settings_))):
        CleaningConfig(**settings_)


tables = st.integers(1, 12).flatmap(
    lambda num_rows: st.lists(
        st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=2), min_size=num_rows, max_size=num_rows
    ).map(np.array)
)


@given(values=tables, others=tables)
def test_scaler_round_trip(values: Floats, others: Floats) -> None:
    scaler = MinMaxScaler.fit(values)
    scaled = scaler.transform(values)
    assert ((scaled >= 0.0) & (scaled <= 1.0)).all()
    np.testing.assert_allclose(scaler.inverse(scaled), values, rtol=1e-12, atol=1e-9)
    varies = values.max(axis=0) > values.min(axis=0)
    assert (scaled.max(axis=0) == np.where(varies, 1.0, 0.0)).all()
    assert (scaled.min(axis=0) == 0.0).all()
    beyond = (others > values.max(axis=0)) & varies
    assert (scaler.transform(others)[beyond] >= 1.0).all()


def test_scaler_does_not_clip_and_a_constant_stays_constant() -> None:
    scaler = MinMaxScaler.fit(np.array([[10.0, 7.0], [NAN, 7.0], [20.0, NAN]]))
    values = np.array([[[25.0, 7.0], [5.0, 9.0]], [[NAN, NAN], [10.0, 7.0]]])  # (2, 2, num_features)
    expected = np.array([[[1.5, 0.0], [-0.5, 0.0]], [[NAN, NAN], [0.0, 0.0]]])
    np.testing.assert_array_equal(scaler.transform(values), expected)
    assert scaler.inverse(np.array([0.5, 0.3])).tolist() == [15.0, 7.0]
    with pytest.raises(InputError, match="feature 0 has no measurement"):
        MinMaxScaler.fit(one(NAN))


def test_resampling_leaves_missing_out_and_drops_the_rest() -> None:
    values = one(1.0, 3.0, NAN, 5.0, NAN, NAN, 9.0)
    resampled = resample(Series("x", ("cpu",), ("%",), values, 30.0, 90.0), 60.0)
    np.testing.assert_array_equal(resampled.values, one(2.0, 5.0, NAN))
    assert (resampled.step_s, resampled.start_s, resampled.units) == (60.0, 90.0, ("%",))


@given(values=tables, ratio=st.integers(1, 4), step_s=st.sampled_from([0.1, 30.0, 300.0]))
def test_resampling_conserves_the_mean(values: Floats, ratio: int, step_s: float) -> None:
    assume(len(values) >= ratio)
    resampled = resample(series_of(values, step_s), ratio * step_s)
    covered = values[: len(values) // ratio * ratio]
    assert resampled.num_samples == len(values) // ratio
    np.testing.assert_allclose(resampled.values.mean(axis=0), covered.mean(axis=0), rtol=1e-9, atol=1e-6)


def test_resampling_to_the_own_step_is_nothing() -> None:
    series = series_of(one(1.0, NAN))
    assert resample(series, 60.0) is series


@pytest.mark.parametrize(
    ("step_s", "message"),
    [
        (45.0, "nearest is 60 s"),
        (70.0, "nearest is 60 s"),
        (10.0, "nearest is 30 s"),
        (-30.0, "nearest is 30 s"),
    ],
)
def test_resampling_between_steps_is_refused(step_s: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        resample(series_of(one(1.0, 2.0, 3.0), 30.0), step_s)


@pytest.mark.parametrize("step_s", [NAN, math.inf])
def test_resampling_to_no_number_is_refused(step_s: float) -> None:
    with pytest.raises(InputError, match="whole multiples"):
        resample(series_of(one(1.0, 2.0), 30.0), step_s)


def test_resampling_beyond_the_series_is_refused() -> None:
    with pytest.raises(InputError, match="lasts 60 s"):
        resample(series_of(one(1.0, 2.0), 30.0), 90.0)


@given(num_samples=st.integers(2, 200), share=st.floats(0.05, 0.95))
def test_split_in_time_order(num_samples: int, share: float) -> None:
    series = series_of(np.arange(float(num_samples))[:, np.newaxis])
    assume(1 <= share * num_samples < num_samples)
    first, second = split(series, share)
    np.testing.assert_array_equal(np.concatenate([first.values, second.values]), series.values)
    assert abs(first.num_samples - share * num_samples) < 1.0
    assert second.start_s == first.num_samples * 60.0


def test_split_is_seven_to_three() -> None:
    assert [part.num_samples for part in split(series_of(np.zeros((20160, 1))))] == [14112, 6048]


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, NAN, 0.1])
def test_split_without_two_parts_is_refused(share: float) -> None:
    with pytest.raises(InputError, match="share is"):
        split(series_of(one(1.0, 2.0)), share)
