"""Forecasters made of networks: windows, what is learned from, settings, refusals, and the pure week."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from podgym.errors import InputError  # noqa: E402
from podgym.forecasters import training as training_module  # noqa: E402
from podgym.forecasters.base import LONGEST_GAP  # noqa: E402
from podgym.forecasters.cleaning import CleaningConfig  # noqa: E402
from podgym.forecasters.factory import NETWORK_MODELS, make_forecaster  # noqa: E402
from podgym.forecasters.hybrid import HybridForecaster  # noqa: E402
from podgym.forecasters.intervals import RUN_IN  # noqa: E402
from podgym.forecasters.recurrent import Gru, PaperLstm, TunedLstm  # noqa: E402
from podgym.forecasters.run import FitRun  # noqa: E402
from podgym.forecasters.windows import usable_origins, windows  # noqa: E402

AS_IS = CleaningConfig(z_threshold=None, anomalies=False)
ONE_EPOCH = {"epochs": 1}
SMALL: dict[str, Any] = {"window": 12, "training": ONE_EPOCH, "cleaning": AS_IS}


# -- windows ------------------------------------------------------------------------------------------------


@given(
    data=st.data(),
    num_samples=st.integers(5, 60),
    context=st.integers(1, 8),
    horizon=st.integers(1, 6),
)
def test_usable_origins_against_a_slow_loop(data, num_samples: int, context: int, horizon: int) -> None:
    share = data.draw(st.sampled_from([0.0, 0.1, 0.5]))
    trusted = np.random.default_rng(data.draw(st.integers(0, 1000))).random(num_samples) >= share
    first = data.draw(st.integers(0, num_samples))
    stop = data.draw(st.integers(first, num_samples))
    expected = []
    for origin in range(num_samples):
        window = range(origin - context + 1, origin + 1)
        ahead = range(origin + 1, origin + horizon + 1)
        inside = window[0] >= 0 and ahead[0] >= first and ahead[-1] < stop
        if inside and all(trusted[index] for index in (*window, *ahead)):
            expected.append(origin)
    assert usable_origins(trusted, context, horizon, first, stop).tolist() == expected


def test_windows_end_at_their_origin_and_repeat_the_first_sample(make_load) -> None:
    series = make_load(3000, 2, start_s=7200.0)
    origins = np.arange(2, 3000)
    chunks = list(windows(series, origins, 10))
    assert len(chunks) > 2
    history, clock_s, known = (np.concatenate([chunk[part] for chunk in chunks]) for part in range(3))
    assert history.dtype == clock_s.dtype == known.dtype == np.float64
    for row in (0, 5, 511, 512, 2997):
        origin = origins[row]
        expected = series.values[np.maximum(np.arange(origin - 9, origin + 1), 0)]
        np.testing.assert_array_equal(history[row], expected)
        assert clock_s[row] == 7200.0 + 60.0 * origin
        assert known[row] == origin + 1


# -- what is learned from -----------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [PaperLstm, TunedLstm])
def test_windows_over_long_gaps_are_not_learned_from(model: type, make_load, monkeypatch) -> None:
    """The tensors that reach the training loop are those of a slow loop over whole windows."""
    series = make_load(1000, 2)
    values = np.array(series.values)
    values[300 : 301 + LONGEST_GAP] = np.nan  # one sample too long
    values[500 : 500 + LONGEST_GAP] = np.nan  # bridged
    values[850:880, 1] = np.nan
    seen: dict[str, Any] = {}

    def spy(network, loss, data, validation, config, run, *, validation_loss):
        seen["data"], seen["validation"], seen["network"] = data, validation, network
        return training_module.TrainingReport(1, 1, (0.0,), (0.0,))

    monkeypatch.setattr(training_module, "train", spy)
    options = {} if model is PaperLstm else {"window": 10}
    model(cleaning=AS_IS, training={"patience": 5}, **options).fit(replace(series, values=values))
    missing = set(range(300, 301 + LONGEST_GAP)) | set(range(850, 880))
    bridged = set(range(500, 500 + LONGEST_GAP))  # may be in a window, but not its end or a target
    learned, judged = (
        [
            o
            for o in range(first, stop - 5)
            if not missing & set(range(o - 9, o + 6)) and not bridged & set(range(o, o + 6))
        ]
        for first, stop in ((9, 800), (799, 900))
    )
    assert (len(seen["data"][0]), len(seen["validation"][0])) == (len(learned), len(judged))
    if model is PaperLstm:
        filled = values.copy()
        for column in filled.T:
            nan = np.isnan(column)
            column[nan] = np.interp(np.flatnonzero(nan), np.flatnonzero(~nan), column[~nan])
        low, high = filled[:800].min(axis=0), filled[:800].max(axis=0)
        scaled = (filled - low) / (high - low)
        for row in (0, 200, 290, len(learned) - 1):
            origin = learned[row]
            np.testing.assert_allclose(seen["data"][0][row], scaled[origin - 9 : origin + 1], atol=1e-6)
            np.testing.assert_allclose(seen["data"][1][row], scaled[origin + 1 : origin + 6], atol=1e-6)


def test_a_series_made_of_gaps_is_refused(make_load) -> None:
    values = np.array(make_load(1000).values)
    values[np.arange(1000) % 20 < 11] = np.nan
    with pytest.raises(InputError, match="no stretch of 15 samples without a long gap; record a longer"):
        PaperLstm(training=ONE_EPOCH).fit(replace(make_load(1000), values=values))


@pytest.mark.parametrize("name", NETWORK_MODELS)
def test_a_feature_that_was_constant_while_learning_is_refused(name: str, make_load) -> None:
    """It has no scale: training would end in nan, and a message about the learning rate."""
    if name == "hybrid":
        pytest.importorskip("prophet")
    series = make_load(1000, 2)
    values = np.array(series.values)
    values[:910, 1] = 0.0
    with pytest.raises(InputError, match=r"'feature_1' is constant at 0 in the part that is learned from"):
        make_forecaster(name, cleaning=AS_IS, training=ONE_EPOCH).fit(replace(series, values=values))


def test_a_training_that_is_stopped_leaves_no_forecaster(make_load) -> None:
    """Half-trained weights must not answer in the name of the former fit."""
    forecaster = PaperLstm(training=ONE_EPOCH).fit(make_load(400))

    def stop(done: int, total: int, note: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        forecaster.fit(make_load(400, seed=2), FitRun(progress=stop))
    for use in (lambda: forecaster.forecast(make_load(50)), lambda: forecaster.network):
        with pytest.raises(InputError, match="was not fitted"):
            use()


# -- settings -----------------------------------------------------------------------------------------------


def test_training_is_that_of_the_paper() -> None:
    """Ten steps, Adam at its default rate, batches of 64, 50 epochs, no early stopping."""
    config = PaperLstm()._config()
    assert (config.epochs, config.batch_size, config.learning_rate) == (50, 64, 1e-3)
    assert (config.schedule, config.weight_decay, config.gradient_clip) == ("constant", 0.0, None)
    assert (config.averaging, config.patience, PaperLstm.min_context) == (0.0, None, 10)


def test_settings_change_by_name() -> None:
    config = TunedLstm(training={"epochs": 3, "patience": 2}, seed=5)._config()
    assert (config.epochs, config.patience, config.seed) == (3, 2, 5)
    assert (config.batch_size, config.schedule) == (128, "one_cycle")


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"epoch": 3}, "unknown training setting 'epoch'; .*Did you mean 'epochs'"),
        ({"seed": 3}, "unknown training setting 'seed'"),
        ({"epochs": 0}, "epochs is 0; it must be a whole number, 1 or more"),
        ({"epochs": 1.5}, "epochs is 1.5"),
        ({"batch_size": True}, "batch_size is True"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; it must be above 0 and below 1"),
        ({"learning_rate": "fast"}, "learning_rate is 'fast'"),
        ({"schedule": "onecycle"}, "unknown schedule 'onecycle'.*Did you mean 'one_cycle'"),
        ({"weight_decay": -1e-3}, "weight_decay is -0.001; it must be 0 or more"),
        ({"gradient_clip": 0.0}, "gradient_clip is 0.0; it must be above 0, or None"),
        ({"averaging": 1.0}, "averaging is 1.0; it must be 0 or more, and below 1"),
        ({"averaging": float("nan")}, "averaging is nan"),
        ({"patience": 0}, "patience is 0; it must be a whole number, 1 or more, or None"),
        ({"patience": 2.5}, "patience is 2.5"),
    ],
)
def test_bad_settings_are_refused_before_any_data_are_read(training: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        PaperLstm(training=training)


@pytest.mark.parametrize(
    "options",
    [{"window": 3}, {"window": 60.0}, {"units": 0}, {"seed": -1}, {"seed": 0.5}, {"horizon_minutes": 0}],
)
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    name = next(iter(options))
    for model in (TunedLstm, Gru, HybridForecaster):
        with pytest.raises(InputError, match=f"{name} is .*; it must be a whole number"):
            model(**options)


@pytest.mark.parametrize("name", NETWORK_MODELS)
def test_options_make_the_same_forecaster_again(name: str) -> None:
    given: dict[str, Any] = {"horizon_minutes": 10, "training": {"epochs": 2}, "seed": 3}
    if name != "paper_lstm":
        given |= {"window": 20, "units": 5}
    if name in ("lstm", "gru"):
        given |= {"seasonal": False, "proportional": False}
    assert make_forecaster(name, **given).options() == given


def test_negative_features_have_a_constant_scale(make_load) -> None:
    series = make_load(700)
    below = replace(series, values=series.values - 80.0)
    assert TunedLstm(**SMALL).fit(series).network.proportional
    assert not TunedLstm(**SMALL).fit(below).network.proportional
    assert not TunedLstm(proportional=False, **SMALL).fit(series).network.proportional


# -- what forecasts are like --------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [PaperLstm, TunedLstm, Gru])
def test_parameters_are_those_of_the_network(model: type, make_load) -> None:
    options = {"training": ONE_EPOCH} if model is PaperLstm else SMALL
    forecaster = model(**options).fit(make_load(700))
    count = sum(weight.numel() for weight in forecaster.network.parameters())
    assert forecaster.spec.parameters == count
    if model is PaperLstm:
        assert count == 50_245
    assert forecaster.training_report.epochs == 1
    assert not forecaster.network.training


@pytest.mark.parametrize("model", [PaperLstm, TunedLstm, Gru])
def test_restored_forecaster_is_the_same(model: type, make_load) -> None:
    options = {"training": ONE_EPOCH} if model is PaperLstm else SMALL
    forecaster = model(**options).fit(make_load(700, 2))
    other = model(**options)
    other.restore(forecaster._fitted, *forecaster._state())
    series = make_load(300, 2, seed=1)
    np.testing.assert_array_equal(other.forecast_all(series).mean, forecaster.forecast_all(series).mean)
    assert other.fingerprint == forecaster.fingerprint
    assert other.training_report is None


@pytest.mark.parametrize("model", [PaperLstm, TunedLstm, Gru])
def test_equal_seeds_give_equal_forecasts_and_other_seeds_others(model: type, make_load) -> None:
    options = {"training": ONE_EPOCH} if model is PaperLstm else SMALL
    series = make_load(200, seed=1)
    first, same, other = (
        model(seed=seed, **options).fit(make_load(700)).forecast_all(series).mean for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(same, first)
    assert (other != first).any()


def test_a_chunk_more_changes_only_the_rounding(make_load) -> None:
    """A forecast from a long history is made in another batch than those of the whole series."""
    forecaster = TunedLstm(**SMALL).fit(make_load(700))
    series = make_load(RUN_IN + 1100, seed=1)
    one, every = forecaster.forecast(series), forecaster.forecast_all(series)
    np.testing.assert_allclose(one.mean, every.mean[-1], rtol=1e-6)


def test_caller_keeps_generator_and_threads(make_load) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        torch.manual_seed(123)
        before = torch.get_rng_state()
        forecaster = TunedLstm(**SMALL).fit(make_load(700))
        forecaster.forecast(make_load(100))
        assert torch.equal(torch.get_rng_state(), before)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_tuned_network_learns_more_than_the_level(make_series) -> None:
    """A period that the last value cannot follow: the error falls to less than a fifth."""
    minutes = np.arange(1600)
    values = 50.0 + 20.0 * np.sin(2 * np.pi * minutes / 25) + np.random.default_rng(0).normal(0, 0.5, 1600)
    options = SMALL | {"window": 30, "training": {"averaging": 0.0}}
    forecaster = TunedLstm(**options).fit(make_series(values[:1200]))
    series = make_series(values[1200:], start_s=1200 * 60.0)
    origins = np.arange(100, 390)
    mean = forecaster.forecast_all(series, origins).mean[:, :, 0]
    actual = series.values[origins[:, None] + np.arange(1, 6), 0]
    naive = series.values[origins]
    assert np.sqrt(np.mean((mean - actual) ** 2)) < np.sqrt(np.mean((naive - actual) ** 2)) / 5


def test_hybrid_tells_a_pure_week_exactly(make_series) -> None:
    """What Prophet's course explains in full leaves nothing to the network but rounding."""
    pytest.importorskip("prophet")
    step_s, start_s = 1800.0, 1.5 * 86_400.0
    clock_s = start_s + step_s * np.arange(21 * 48)
    day, week = 2 * np.pi * clock_s / 86_400.0, 2 * np.pi * clock_s / 604_800.0
    values = 100.0 + 20.0 * np.sin(day) + 5.0 * np.cos(3 * day) + 10.0 * np.sin(week)
    series = make_series(values, step_s, start_s)
    forecaster = HybridForecaster(horizon_minutes=60, **SMALL).fit(series.slice(0, 20 * 48))
    origins = np.arange(12, 21 * 48 - 2)
    mean = forecaster.forecast_all(series, origins).mean[:, :, 0]
    actual = values[origins[:, None] + np.arange(1, 3)]
    assert np.abs(mean - actual).max() < 0.02  # of a range of 60
    # A forecast needs no Prophet: the course is in the network.
    restored = HybridForecaster(horizon_minutes=60, **SMALL)
    restored.restore(forecaster._fitted, *forecaster._state())
    np.testing.assert_array_equal(restored.forecast_all(series, origins).mean[:, :, 0], mean)
