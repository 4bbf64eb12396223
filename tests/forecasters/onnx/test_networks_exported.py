"""Export of trained networks: the file forecasts what torch forecasts, without torch."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from podgym import __version__
from podgym.errors import InputError
from podgym.forecasters.base import Forecast
from podgym.forecasters.cleaning import CleaningConfig
from podgym.forecasters.intervals import SCALE_WINDOW, movement
from podgym.forecasters.naive import LastValue
from podgym.forecasters.onnx.export import allowed_range, export_onnx
from podgym.forecasters.onnx.file import seal, verified_hash
from podgym.forecasters.onnx.model import OnnxForecaster, load_onnx
from podgym.forecasters.recurrent import Gru, NetworkForecaster, PaperLstm, TunedLstm
from podgym.forecasters.series import Series

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

STEP_S = 1800.0
DAY = 48  # steps
OUTPUTS = ("mean", "lower", "upper")
HASH_LENGTH = 83  # bytes of the entry behind the model


def made_series(num_features: int, days: int, seed: int, name: str = "made") -> Series:
    """A load of about 500 with a day, and a residual around 0."""
    generator = np.random.default_rng(seed)
    num_samples = days * DAY
    angle = 2 * np.pi * np.arange(num_samples) / DAY
    load = 500.0 + 350.0 * np.sin(angle) + generator.normal(0.0, 40.0, num_samples)
    residual = 30.0 * np.cos(angle) + generator.normal(0.0, 10.0, num_samples)
    values = np.column_stack([np.maximum(load, 0.0), residual])[:, :num_features]
    names, units = ("rate_rps", "residual")[:num_features], ("requests/s", "%")[:num_features]
    return Series(name, names, units, values, STEP_S, start_s=3 * 86400.0)


def trained(kind: type[NetworkForecaster], num_features: int, **options: Any) -> NetworkForecaster:
    """Train for two epochs, then shake the weights: so short a training leaves some of them near 0."""
    forecaster = kind(
        horizon_minutes=60, training={"epochs": 2}, cleaning=CleaningConfig(anomalies=False), **options
    ).fit(made_series(num_features, days=14, seed=1))
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for weight in forecaster.network.parameters():
            weight += 0.05 * torch.randn(weight.shape, generator=generator)
    return forecaster


BUILDERS: dict[str, Callable[[], NetworkForecaster]] = {
    "paper_lstm": lambda: trained(PaperLstm, 2),
    "lstm": lambda: trained(TunedLstm, 2, window=12),
    "gru": lambda: trained(Gru, 1, window=12, seasonal=False),
    "lstm_1": lambda: trained(TunedLstm, 1, window=12),
}
Pair = tuple[NetworkForecaster, OnnxForecaster, Path]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pair]:
    """Forecaster, what was loaded of its file, and the file; each exported once."""
    made: dict[str, Pair] = {}

    def pair(name: str) -> Pair:
        if name not in made:
            forecaster = BUILDERS[name]()
            path = tmp_path_factory.mktemp("onnx") / f"{name}.onnx"
            manifest = export_onnx(forecaster, path)
            made[name] = (forecaster, load_onnx(path), path)
            assert made[name][1].manifest == manifest
        return made[name]

    return pair


EVERY = pytest.mark.parametrize(
    "name", ["paper_lstm", "lstm", "gru", pytest.param("lstm_1", marks=pytest.mark.slow)]
)


def assert_close(got: Any, wanted: Any, forecaster: NetworkForecaster) -> None:
    """Within 1e-5 of the training range of each feature."""
    span = np.array(forecaster.spec.high) - np.array(forecaster.spec.low)
    for name in OUTPUTS:
        np.testing.assert_allclose(getattr(got, name) / span, getattr(wanted, name) / span, rtol=0, atol=1e-5)


@EVERY
def test_series_is_forecast_as_torch_does(pairs: Callable[[str], Pair], name: str) -> None:
    forecaster, loaded, _ = pairs(name)
    series = made_series(len(forecaster.spec.features), days=7, seed=2)
    values = series.values.copy()
    values[[40, 41, 100], 0] = np.nan
    series = replace(series, values=3.0 * values)  # a crowd: up to three times the training peak
    wanted, got = forecaster.forecast_all(series), loaded.forecast_all(series)
    assert_close(got, wanted, forecaster)
    assert np.ptp(wanted.mean[:, 0, 0]) > 100.0
    assert_close(loaded.forecast(series), forecaster.forecast(series), forecaster)
    short = series.slice(0, forecaster.min_context + 2)
    assert_close(loaded.forecast(short), forecaster.forecast(short), forecaster)


@EVERY
@pytest.mark.parametrize("batch", [1, 2, 7])
def test_batch_is_forecast_as_torch_does(pairs: Callable[[str], Pair], name: str, batch: int) -> None:
    forecaster, loaded, _ = pairs(name)
    context = loaded.manifest.context
    generator = np.random.default_rng(batch)
    history = generator.uniform(
        forecaster.spec.low, forecaster.spec.high, (batch, context, len(loaded.spec.low))
    )
    clock_s = generator.uniform(0.0, 10 * 604800.0, batch)  # up to the tenth week
    known = generator.integers(SCALE_WINDOW + 1, 2 * context, batch)
    inputs = (history[:, -forecaster.network.context :], clock_s, known.astype(np.float64))
    with torch.inference_mode():
        raw = forecaster.network(*(torch.from_numpy(each) for each in inputs)).numpy()
    lowest = np.where(np.array(forecaster.spec.low) >= 0.0, 0.0, -np.inf)
    mean = np.maximum(raw, lowest)
    scale = np.array([movement(rows, forecaster.intervals.floor)[-1] for rows in history])[:, None]
    ends = [np.maximum(mean + end * scale, lowest) for end in forecaster.intervals.static_quantiles()]
    got = loaded.predict(history, clock_s, known)
    assert_close(got, Forecast(mean, *ends), forecaster)
    assert (got.lower <= got.mean).all()
    assert (got.mean <= got.upper).all()


@pytest.mark.parametrize("number", [12, 13, SCALE_WINDOW, SCALE_WINDOW + 1, SCALE_WINDOW + 2])
def test_scale_of_a_short_history_counts_what_is_known(pairs: Callable[[str], Pair], number: int) -> None:
    forecaster, loaded, _ = pairs("lstm")
    values = made_series(2, days=1, seed=3).values[:number]
    context = loaded.manifest.context
    history = np.concatenate([np.repeat(values[:1], context - number, axis=0), values])[None]
    got = loaded.predict(history, [0.0], [number])
    scale = movement(values, forecaster.intervals.floor)[-1]
    high = forecaster.intervals.static_quantiles()[1]
    np.testing.assert_allclose(got.upper[0] - got.mean[0], high * scale, rtol=1e-9, atol=1e-9)


def test_what_never_was_negative_is_not_forecast_so(pairs: Callable[[str], Pair]) -> None:
    _, loaded, _ = pairs("lstm")
    falling = np.linspace(400.0, 0.0, loaded.manifest.context)
    got = loaded.predict(np.column_stack([falling, falling - 350.0])[None], [0.0])
    assert got.lower[0, :, 0].min() == 0.0 <= got.mean[0, :, 0].min()
    assert got.lower[0, :, 1].max() < 0.0


@EVERY
def test_manifest_tells_what_the_file_is(pairs: Callable[[str], Pair], name: str) -> None:
    forecaster, loaded, path = pairs(name)
    manifest, content = loaded.manifest, path.read_bytes()
    assert (manifest.model, manifest.podgym_version) == (forecaster.name, __version__)
    assert manifest.options == json.loads(json.dumps(forecaster.options()))
    assert manifest.spec == replace(forecaster.spec, fit_s=0.0)
    assert (manifest.min_context, manifest.horizon_minutes) == (forecaster.min_context, 60)
    assert manifest.context == max(forecaster.network.context, SCALE_WINDOW + 1)
    assert manifest.sha256 == verified_hash(content, "")
    np.testing.assert_array_equal(loaded.intervals.scores, forecaster.intervals.scores)
    np.testing.assert_array_equal(loaded.intervals.floor, forecaster.intervals.floor)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]  # no second file of weights


@pytest.mark.parametrize(
    ("name", "layers"), [("paper_lstm", {"LSTM": 2}), ("lstm", {"LSTM": 1}), ("gru", {"GRU": 1})]
)
def test_graph_is_valid_small_and_tells_nothing_of_the_machine(
    pairs: Callable[[str], Pair], name: str, layers: dict[str, int]
) -> None:
    _, loaded, path = pairs(name)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    operators = Counter(node.op_type for node in model.graph.node)
    assert {
        name: count for name, count in operators.items() if name in ("LSTM", "GRU", "Loop", "Scan")
    } == layers
    assert len(model.graph.node) < 200
    assert [value.name for value in model.graph.input] == ["history", "clock_s", "known"]
    assert [value.name for value in model.graph.output] == list(OUTPUTS)
    assert [node.doc_string for node in model.graph.node if node.doc_string or node.metadata_props] == []
    for leak in (b".py", os.path.expanduser("~").encode(), os.getcwd().encode(), b"site-packages"):
        assert leak not in path.read_bytes()
    assert loaded.manifest.opset == model.opset_import[0].version


def test_neither_torch_nor_onnx_is_needed_to_forecast(pairs: Callable[[str], Pair]) -> None:
    _, loaded, path = pairs("lstm")
    code = f"""
import sys
sys.modules.update(dict.fromkeys(["torch", "onnx", "onnxscript", "statsmodels", "prophet"]))
import numpy as np
from podgym.forecasters.onnx.model import load_onnx
from podgym.forecasters.series import Series
forecaster = load_onnx({str(path)!r})
values = 100.0 + np.arange(120.0).reshape(60, 2) % 7
series = Series("live", forecaster.spec.features, forecaster.spec.units, values, {STEP_S})
print(*forecaster.forecast(series).mean.ravel().tolist())
print(*forecaster.predict(np.full((1, forecaster.manifest.context, 2), 200.0), [0.0]).upper.ravel().tolist())
"""
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=path.parent,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert finished.stderr == ""
    printed = [[float(number) for number in line.split()] for line in finished.stdout.splitlines()]
    values = 100.0 + np.arange(120.0).reshape(60, 2) % 7
    series = Series("live", loaded.spec.features, loaded.spec.units, values, STEP_S)
    assert printed[0] == loaded.forecast(series).mean.ravel().tolist()
    constant = np.full((1, loaded.manifest.context, 2), 200.0)
    assert printed[1] == loaded.predict(constant, [0.0]).upper.ravel().tolist()


def test_damage_anywhere_in_a_real_file_is_found(pairs: Callable[[str], Pair]) -> None:
    content = pairs("lstm")[2].read_bytes()
    generator = np.random.default_rng(11)
    ends = [*range(20), *range(len(content) - 200, len(content))]
    for position in [*ends, *generator.integers(0, len(content), 500).tolist()]:
        changed = bytearray(content)
        changed[position] ^= 1 << int(generator.integers(8))
        with pytest.raises(InputError, match="damaged"):
            OnnxForecaster(bytes(changed), "x.onnx")
    for length in [*ends[:-1], *generator.integers(0, len(content), 200).tolist()]:
        with pytest.raises(InputError, match=r"x\.onnx is (damaged|empty|not an ONNX file of podgym)"):
            OnnxForecaster(content[:length], "x.onnx")
    assert seal(content[:-HASH_LENGTH]) == content


def test_runtime_turns_bad_numbers_into_plausible_ones_and_predict_does_not(
    pairs: Callable[[str], Pair],
) -> None:
    """Why inputs are checked: of a broken monitor the outputs tell nothing."""
    _, loaded, path = pairs("lstm")
    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    layer = next(node for node in model.graph.node if node.op_type == "LSTM")
    cell = onnx.utils.Extractor(model).extract_model([layer.input[0]], [layer.output[1]])
    session = onnxruntime.InferenceSession(cell.SerializeToString())
    shape = (12, 1, model_width(model, layer))
    state = session.run(None, {layer.input[0]: np.full(shape, np.nan, dtype=np.float32)})[0]
    assert np.isfinite(state).all()
    assert np.abs(state).max() <= 1.0

    history = np.full((1, loaded.manifest.context, 2), 200.0)
    history[0, -DAY, 0] = np.inf  # a day ago
    inputs = {"history": history, "clock_s": np.zeros(1), "known": np.full(1, 1e3)}
    raw = loaded._session.run(["mean"], inputs)[0]
    assert np.isfinite(raw).all()
    for value in (np.nan, np.inf, -np.inf, 1e9):
        history[0, -DAY, 0] = value
        with pytest.raises(InputError, match="feature 'rate_rps' is"):
            loaded.predict(history, [0.0])


def model_width(model: Any, layer: Any) -> int:
    """Inputs of a recurrent layer: (1, gates * units, inputs) are its input weights."""
    weights = next(each for each in model.graph.initializer if each.name == layer.input[1])
    return int(weights.dims[2])


@pytest.mark.slow
def test_equal_forecasters_give_equal_bytes(pairs: Callable[[str], Pair], tmp_path: Path) -> None:
    forecaster, _, path = pairs("gru")
    again = BUILDERS["gru"]()
    assert again.spec.fit_s != forecaster.spec.fit_s
    export_onnx(again, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == path.read_bytes()


def test_export_leaves_the_forecaster_and_torch_as_they_were(pairs: Callable[[str], Pair]) -> None:
    forecaster = pairs("gru")[0]
    assert isinstance(forecaster.network.recurrent, torch.nn.GRU)
    assert all(weight.requires_grad for weight in forecaster.network.parameters())
    assert forecaster.spec.fit_s > 0.0


def fail(*arguments: Any, **options: Any) -> None:
    raise RuntimeError("cut off")


@pytest.mark.parametrize(
    "place", ["podgym.forecasters.onnx.graph.traced", "podgym.forecasters.onnx.export._compare"]
)
def test_export_that_fails_midway_leaves_nothing(
    pairs: Callable[[str], Pair], place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forecaster, _, path = pairs("gru")
    reuse_trace(monkeypatch, path)
    monkeypatch.setattr(place, fail)
    with pytest.raises(RuntimeError, match="cut off"):
        export_onnx(forecaster, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def reuse_trace(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """Take the graph of an earlier export: tracing takes seconds."""
    model = onnx.load(path)
    del model.metadata_props[:]
    monkeypatch.setattr("podgym.forecasters.onnx.graph.traced", lambda network, num_features: model)


def test_graph_that_computes_something_else_is_not_written(
    pairs: Callable[[str], Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forecaster, _, path = pairs("gru")
    reuse_trace(monkeypatch, path)
    weight = forecaster.network.linear.weight
    with torch.no_grad():
        weight += 1e-3
    with pytest.raises(InputError, match="exported graph differs from the network: mean by"):
        export_onnx(forecaster, tmp_path / "model.onnx")
    with torch.no_grad():
        weight -= 1e-3
    assert list(tmp_path.iterdir()) == []


def test_only_fitted_networks_are_exported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="type LastValue cannot be exported"):
        export_onnx(LastValue(), tmp_path / "model.onnx")
    with pytest.raises(InputError, match="not fitted"):
        export_onnx(PaperLstm(), tmp_path / "model.onnx")


def test_folder_is_refused_before_anything_is_done(pairs: Callable[[str], Pair], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is a folder; give a file in it, such as .*gru\.onnx"):
        export_onnx(pairs("gru")[0], tmp_path)


def test_missing_exporter_is_named(
    pairs: Callable[[str], Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forecaster = pairs("gru")[0]
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(InputError, match="export needs onnxscript; pip install"):
        export_onnx(forecaster, tmp_path / "model.onnx")


def test_allowed_range_takes_crowds_and_refuses_other_units(pairs: Callable[[str], Pair]) -> None:
    spec = pairs("lstm")[0].spec
    (low, residual_low), (high, residual_high) = allowed_range(spec, 20.0, None)
    assert (low, high) == (0.0, 20.0 * spec.high[0])
    assert residual_low == spec.low[1] - 20.0 * (spec.high[1] - spec.low[1])
    assert residual_high == spec.high[1] + 20.0 * (spec.high[1] - spec.low[1])
    peak = spec.high[0]
    assert 10.0 * peak < high < 0.4 * 60.0 * peak  # a crowd; per minute for per second
    assert allowed_range(spec, 2.0, {"rate_rps": (-1, 1e4)})[0][0] == -1.0
    assert allowed_range(spec, 2.0, {"rate_rps": (-1, 1e4)})[1][0] == 1e4


@pytest.mark.parametrize(
    ("load_factor", "allowed", "message"),
    [
        (0.5, None, "load_factor is 0.5"),
        (np.inf, None, "load_factor is inf"),
        (np.nan, None, "load_factor is nan"),
        (20.0, {"rate_rp": (0, 1e9)}, "unknown feature in allowed 'rate_rp'.*Did you mean 'rate_rps'"),
        (20.0, {"rate_rps": (0, 5)}, "hold the range of the training"),
        (20.0, {"rate_rps": (300, 1e9)}, "hold the range of the training"),
        (20.0, {"rate_rps": (0, np.inf)}, "must be finite"),
        (20.0, {"rate_rps": (np.nan, 1e9)}, "must be finite"),
    ],
)
def test_bad_ranges_are_refused(
    pairs: Callable[[str], Pair], load_factor: float, allowed: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        export_onnx(pairs("lstm")[0], tmp_path / "model.onnx", load_factor=load_factor, allowed=allowed)
    assert list(tmp_path.iterdir()) == []
