"""The filter of monitor faults: planted ones are found; noise, seasons, crowds and bursts are left alone."""

import time
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from podgym.errors import InputError
from podgym.forecasters.anomalies import AnomalyConfig, find_anomalies, flags_of, runs_of

Floats = NDArray[np.float64]
DAY = 1440  # samples of a minute


def diurnal_poisson(seed: int, num_samples: int = 20 * DAY, mean: float = 60.0) -> Floats:
    """Counts per minute with a daily season of 1:4, (num_samples,)."""
    season = 1.0 + 0.6 * np.sin(2.0 * np.pi * np.arange(num_samples) / DAY)
    return np.random.default_rng(seed).poisson(mean * season).astype(float)


def diurnal_percent(seed: int, num_samples: int = 20 * DAY) -> Floats:
    """CPU utilisation in percent: season, slow noise and sampling noise, (num_samples,)."""
    rng = np.random.default_rng(seed)
    noise = np.zeros(num_samples)
    for t, shock in enumerate(rng.normal(0.0, 1.0, num_samples - 1)):
        noise[t + 1] = 0.9 * noise[t] + shock
    return (
        45.0
        + 20.0 * np.sin(2.0 * np.pi * np.arange(num_samples) / DAY)
        + noise
        + rng.normal(0, 1.5, num_samples)
    )


def anomalous_share(values: Floats, step_s: float = 60.0) -> float:
    return float(find_anomalies(values[:, np.newaxis], step_s).anomalous.mean())


@pytest.mark.parametrize("mean", [0.05, 0.3, 0.75, 2.0, 10.0, 60.0, 1000.0])
def test_false_positives_on_diurnal_counts(mean: float) -> None:
    assert anomalous_share(diurnal_poisson(1, mean=mean)) < 1e-3


@pytest.mark.parametrize("step_s", [30.0, 60.0, 300.0])
def test_false_positives_on_diurnal_utilisation(step_s: float) -> None:
    assert anomalous_share(diurnal_percent(2), step_s) < 1e-4


def plant(values: Floats, seed: int, num_faults: int = 50) -> tuple[Floats, dict[str, NDArray[np.bool_]]]:
    """Plant spikes, resets and stuck runs, each at its own place, and return what was planted."""
    rng = np.random.default_rng(seed)
    planted, masks = (
        values.copy(),
        {kind: np.zeros(len(values), bool) for kind in ("spikes", "resets", "stuck")},
    )
    slots = rng.permutation((len(values) - 100) // 60)[: 3 * num_faults]
    places = 50 + 60 * slots + rng.integers(0, 20, len(slots))
    for number, place in enumerate(places):
        kind = ("spikes", "resets", "stuck")[number % 3]
        length = {"spikes": rng.integers(1, 3), "resets": rng.integers(1, 4), "stuck": rng.integers(12, 40)}[
            kind
        ]
        span = slice(place, place + length)
        if kind == "stuck":
            planted[span] = planted[place - 1]
        else:
            planted[span] *= rng.uniform(4.0, 30.0) if kind == "spikes" else 0.0
        masks[kind][span] = True
    return planted, masks


def recall_and_false_share(
    make: Callable[[int], Floats], kinds: tuple[str, ...]
) -> tuple[list[float], float]:
    """Return the share of planted samples that are found, by kind, and the share of others flagged."""
    found_of, planted_of, false, others = dict.fromkeys(kinds, 0), dict.fromkeys(kinds, 0), 0, 0
    for seed in range(5):
        values, masks = plant(make(seed), seed)
        report = find_anomalies(values[:, np.newaxis], 60.0)
        for kind in kinds:
            found_of[kind] += np.count_nonzero(getattr(report, kind)[:, 0] & masks[kind])
            planted_of[kind] += np.count_nonzero(masks[kind])
        planted = np.logical_or.reduce(list(masks.values()))
        false += np.count_nonzero(report.anomalous[:, 0] & ~planted)
        others += np.count_nonzero(~planted)
    return [found_of[kind] / planted_of[kind] for kind in kinds], false / others


def test_planted_faults_in_utilisation_are_found() -> None:
    recall, false_share = recall_and_false_share(diurnal_percent, ("spikes", "resets", "stuck"))
    assert min(recall) > 0.95
    assert false_share < 1e-4


def test_planted_spikes_and_resets_in_counts_are_found() -> None:
    recall, false_share = recall_and_false_share(
        lambda seed: diurnal_poisson(seed, mean=200.0), ("spikes", "resets")
    )
    assert min(recall) > 0.95
    assert false_share < 1e-4


CROWDS = {
    "square": np.full(5, 10.0),
    "long": np.full(60, 8.0),
    "triangle": 1.0 + 9.0 * (1.0 - np.abs(np.linspace(-1.0, 1.0, 9))[1:-1]),
    "jump and decay": 1.0 + 15.0 * 0.6 ** np.arange(12),
}


@pytest.mark.parametrize("name", CROWDS)
@pytest.mark.parametrize("step_s", [30.0, 60.0])
def test_flash_crowd_is_left_alone(name: str, step_s: float) -> None:
    crowd = np.repeat(CROWDS[name], round(60.0 / step_s))
    for seed in range(10):
        values = diurnal_poisson(seed, 2 * DAY)
        values[700 : 700 + len(crowd)] *= crowd
        found = find_anomalies(values[:, np.newaxis], step_s).anomalous[690 : 710 + len(crowd), 0]
        assert not found.any()


def test_no_spike_is_longer_than_its_limit_in_seconds() -> None:
    values = diurnal_percent(3, 2 * DAY)
    values[1000:1002] += 400.0
    for step_s, expected in ((30.0, 2), (60.0, 2), (61.0, 0), (120.0, 0), (300.0, 0)):
        assert np.count_nonzero(find_anomalies(values[:, np.newaxis], step_s).spikes) == expected


def test_daily_job_is_load_and_a_single_spike_is_not() -> None:
    values = diurnal_percent(4, 4 * DAY)
    daily = [600, 600 + DAY + 1, 600 + 2 * DAY, 600 + 3 * DAY - 1]
    values[daily] += 300.0
    values[3000] += 300.0
    assert np.flatnonzero(find_anomalies(values[:, np.newaxis], 60.0).spikes).tolist() == [3000]


def test_bursty_counts_keep_their_bursts() -> None:
    """Heavy tails: bursts of a minute are common, so none of them is a fault."""
    rng = np.random.default_rng(5)
    values = rng.poisson(5.0 * (1.0 + rng.pareto(1.5, 10 * DAY))).astype(float)
    assert values.max() > 50 * np.median(values)
    assert not find_anomalies(values[:, np.newaxis], 60.0).spikes.any()


def test_hourly_job_is_no_fault() -> None:
    values = np.full(DAY, 3.0)
    values[::60] = 200.0
    assert not find_anomalies(values[:, np.newaxis], 60.0).anomalous.any()


def test_spike_on_a_constant_is_found() -> None:
    values = np.full(DAY, 500.0)
    values[[200, 900]] = 5000.0
    assert np.flatnonzero(find_anomalies(values[:, np.newaxis], 60.0).anomalous).tolist() == [200, 900]


def test_activity_out_of_idleness_is_load() -> None:
    values = np.zeros(DAY)
    values[700] = 1000.0
    assert not find_anomalies(values[:, np.newaxis], 60.0).anomalous.any()


def test_nights_without_load_and_saturated_days_are_not_stuck() -> None:
    season = 50.0 + 60.0 * np.sin(2.0 * np.pi * np.arange(3 * DAY) / DAY)
    values = np.clip(season + np.random.default_rng(6).normal(0.0, 0.1, 3 * DAY), 0.0, 100.0)
    assert np.mean(values == 0.0) > 0.05
    assert np.mean(values == 100.0) > 0.05
    assert np.mean(values % 100.0 == 0.0) < 0.5, "or nothing would be stuck for another reason"
    assert not find_anomalies(values[:, np.newaxis], 60.0).anomalous.any()


def test_equal_counts_are_no_sign_of_a_fault() -> None:
    values = diurnal_poisson(7, DAY, mean=1000.0)
    values[300:320] = values[300]
    assert not find_anomalies(values[:, np.newaxis], 60.0).stuck.any()
    assert find_anomalies(values[:, np.newaxis] / 60.7, 60.0).stuck.any()


def test_values_held_at_the_ends_are_not_stuck() -> None:
    values = diurnal_percent(8, DAY)
    values[:20], values[-20:] = values[20], values[-20]
    assert not find_anomalies(values[:, np.newaxis], 60.0).anomalous.any()


def test_phases_of_low_counts_amid_idleness_are_load() -> None:
    values = np.zeros(20_000)
    for first in range(0, 20_000, 1000):
        values[first : first + 150] = np.random.default_rng(first).poisson(1.0, 150)
    assert not find_anomalies(values[:, np.newaxis], 60.0).anomalous.any()


@pytest.mark.parametrize("values", [np.full(1000, 0.3), np.repeat(np.random.default_rng(7).random(200), 5)])
def test_features_that_repeat_by_nature_are_not_stuck(values: Floats) -> None:
    assert not find_anomalies(values[:, np.newaxis], 60.0, AnomalyConfig(stuck_samples=5)).stuck.any()


def test_stuck_run_keeps_its_first_sample_and_its_length_counts() -> None:
    values = diurnal_percent(8, DAY)
    values[300:310], values[500:509] = values[300], values[500]
    assert np.flatnonzero(find_anomalies(values[:, np.newaxis], 60.0).stuck).tolist() == list(range(301, 310))


def test_spike_right_after_a_gap_is_found() -> None:
    values = diurnal_percent(9, DAY)
    values[400:420], values[420] = np.nan, 2000.0
    found = find_anomalies(values[:, np.newaxis], 60.0)
    assert np.flatnonzero(found.spikes).tolist() == [420]
    assert np.flatnonzero(found.missing).tolist() == list(range(400, 420))


def test_outage_longer_than_a_reset_is_left() -> None:
    values = diurnal_percent(10, DAY)
    values[400:403], values[600:604] = 0.0, 0.0
    assert np.flatnonzero(find_anomalies(values[:, np.newaxis], 60.0).anomalous).tolist() == [400, 401, 402]


def test_features_are_judged_apart_and_shift_with_the_clock() -> None:
    values, _ = plant(diurnal_percent(11, 3 * DAY), 11, num_faults=10)
    quiet = diurnal_percent(12, 3 * DAY)
    alone = find_anomalies(values[:, np.newaxis], 60.0).anomalous[:, 0]
    both = find_anomalies(np.column_stack([quiet, values]), 60.0).anomalous
    np.testing.assert_array_equal(both[:, 1], alone)
    assert not both[:, 0].any()
    scaled = find_anomalies(values[:, np.newaxis] * 1024.0, 60.0).anomalous[:, 0]
    np.testing.assert_array_equal(scaled, alone)


@pytest.mark.parametrize("num_samples", [1, 2, 3, 5, 31])
def test_short_series_do_not_fail(num_samples: int) -> None:
    values = np.linspace(1.0, 2.0, num_samples)[:, np.newaxis]
    assert not find_anomalies(values, 60.0).anomalous.any()
    assert find_anomalies(np.full((num_samples, 1), np.nan), 60.0).missing.all()


def test_hundred_thousand_samples_take_less_than_a_second() -> None:
    values = diurnal_poisson(13, 100_000)[:, np.newaxis]
    start = time.process_time()
    find_anomalies(values, 60.0)
    assert time.process_time() - start < 1.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window_samples": 30}, "window_samples is 30"),
        ({"spike_samples": 10}, "at least 41"),
        ({"stuck_samples": 2}, "stuck_samples is 2"),
        ({"reset_samples": -1}, "reset_samples -1"),
    ],
)
def test_unusable_settings_are_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        AnomalyConfig(**settings)


def test_runs_and_flags_are_inverse() -> None:
    rng = np.random.default_rng(14)
    for num_samples in range(1, 40):
        flags = rng.random(num_samples) < 0.5
        firsts, stops = runs_of(flags)
        np.testing.assert_array_equal(flags_of(firsts, stops, num_samples), flags)
        assert (firsts[1:] > stops[:-1]).all()
