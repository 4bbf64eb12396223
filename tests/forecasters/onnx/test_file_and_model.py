"""Files of exported forecasters: damage, foreign files, and numbers that must not reach ONNX Runtime.

The graph is made by hand here (it repeats the newest samples), so that nothing needs torch.
"""

import builtins
import copy
import json
import pickle
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podgym.errors import InputError
from podgym.forecasters.base import ForecastSpec
from podgym.forecasters.onnx.file import (
    FORMAT_VERSION,
    MANIFEST_KEY,
    SCORES_KEY,
    Manifest,
    scores_to_text,
    seal,
    verified_hash,
)
from podgym.forecasters.onnx.model import OnnxForecaster, load_onnx
from podgym.forecasters.series import Series

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

CONTEXT, HORIZON = 6, 2
FEATURES = ("rate_rps", "delta")
MANIFEST = Manifest(
    format_version=FORMAT_VERSION, podgym_version="0.1.0", model="by_hand", options={"seed": 3},
    spec=ForecastSpec(
        features=FEATURES, units=("requests/s", "%"), step_s=60.0, horizon=HORIZON, trained_on="made",
        training_hash="0" * 64, training_samples=500, fit_s=0.0, parameters=0, low=(0.0, -5.0),
        high=(100.0, 5.0),
    ),
    horizon_minutes=2, min_context=4, context=CONTEXT, allowed_low=(0.0, -205.0),
    allowed_high=(2000.0, 205.0), scale_floor=(1.0, 0.1), opset=20,
)  # fmt: skip
SCORES = np.random.default_rng(5).normal(size=(40, HORIZON, len(FEATURES)))


def model_bytes(metadata: dict[str, str]) -> bytes:
    """mean: the newest samples; lower, upper: one less, one more."""
    helper = onnx.helper
    constants = {"first": [-HORIZON], "last": [2**60], "axis": [1]}
    initializers = [onnx.numpy_helper.from_array(np.array(v, np.int64), k) for k, v in constants.items()]
    initializers.append(onnx.numpy_helper.from_array(np.array(1.0), "one"))
    nodes = [
        helper.make_node("Slice", ["history", "first", "last", "axis"], ["mean"]),
        helper.make_node("Sub", ["mean", "one"], ["lower"]),
        helper.make_node("Add", ["mean", "one"], ["upper"]),
    ]
    shapes = {"history": CONTEXT, "mean": HORIZON, "lower": HORIZON, "upper": HORIZON}
    values = [
        helper.make_tensor_value_info(name, onnx.TensorProto.DOUBLE, ["batch", steps, len(FEATURES)])
        for name, steps in shapes.items()
    ]
    graph = helper.make_graph(nodes, "by_hand", values[:1], values[1:], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(model, metadata)
    return bytes(model.SerializeToString())


def sealed(manifest: str | None = None, scores: str | None = None) -> bytes:
    manifest = MANIFEST.to_json() if manifest is None else manifest
    scores = scores_to_text(SCORES) if scores is None else scores
    return seal(model_bytes({MANIFEST_KEY: manifest, SCORES_KEY: scores}))


@pytest.fixture(scope="module")
def content() -> bytes:
    return sealed()


@pytest.fixture(scope="module")
def forecaster(content: bytes) -> OnnxForecaster:
    return OnnxForecaster(content, "made.onnx")


def history(batch: int = 1) -> np.ndarray:
    return np.random.default_rng(1).uniform((0.0, -5.0), (100.0, 5.0), (batch, CONTEXT, len(FEATURES)))


def test_what_was_written_is_read(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    loaded = load_onnx(path, features=FEATURES)
    assert loaded.manifest == replace(MANIFEST, sha256=verified_hash(content, ""))
    assert loaded.fingerprint == loaded.manifest.sha256
    assert (loaded.name, loaded.min_context, loaded.options()) == ("by_hand", 4, {"seed": 3})
    np.testing.assert_array_equal(loaded.intervals.scores, SCORES)
    np.testing.assert_array_equal(loaded.intervals.floor, MANIFEST.scale_floor)
    assert [entry.name for entry in path.parent.iterdir()] == ["model.onnx"]


def test_hash_is_part_of_a_valid_model(content: bytes) -> None:
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    assert [entry.key for entry in model.metadata_props] == [MANIFEST_KEY, SCORES_KEY, "podgym.sha256"]
    assert model.metadata_props[2].value == verified_hash(content, "")


def test_every_flipped_bit_is_found(content: bytes) -> None:
    for position in range(len(content)):
        for bit in range(8):
            changed = bytearray(content)
            changed[position] ^= 1 << bit
            with pytest.raises(InputError, match="damaged"):
                verified_hash(bytes(changed), "made.onnx")


def test_every_truncation_is_found(content: bytes) -> None:
    for length in range(len(content)):
        with pytest.raises(InputError, match=r"made\.onnx is (damaged|empty|not an ONNX file of podgym)"):
            verified_hash(content[:length], "made.onnx")


@given(st.binary(min_size=1, max_size=300), st.booleans())
def test_anything_added_is_found(more: bytes, in_front: bool) -> None:
    whole = sealed()
    with pytest.raises(InputError, match="damaged"):
        verified_hash(more + whole if in_front else whole + more, "made.onnx")


def test_damage_is_found_before_the_runtime_sees_it(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content[:-1])
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=f"damaged: its {len(content) - 1} bytes"):
        load_onnx(path)


@pytest.mark.parametrize("foreign", [b"garbage", model_bytes({}), b"\x00" * 5000, model_bytes({"a": "b"})])
def test_foreign_files_are_refused(foreign: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(foreign)
    with pytest.raises(InputError, match="not an ONNX file of podgym"):
        load_onnx(path)


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no file .*export a forecaster"):
        load_onnx(tmp_path / "absent.onnx")
    with pytest.raises(InputError, match="cannot be read"):
        load_onnx(tmp_path)


def test_other_features_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(
        InputError, match="forecasts the features rate_rps, delta; asked for: delta, rate_rps"
    ):
        load_onnx(path, features=FEATURES[::-1])


def changed_manifest(**changes: Any) -> str:
    return json.dumps(json.loads(MANIFEST.to_json()) | changes)


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (changed_manifest(format_version=2), "format version 2; this podgym reads version 1"),
        ("{}", "format version None"),
        ("", "not a JSON object"),
        ("[1]", "not a JSON object"),
        ('{"format_version": 1}', "incomplete manifest"),
        (changed_manifest(spec={"features": ["a"]}), "incomplete manifest"),
        (changed_manifest(surprise=1), "incomplete manifest"),
    ],
)
def test_other_manifests_are_refused(manifest: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        OnnxForecaster(sealed(manifest), "made.onnx")


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ("", "not finite, or none"),
        (scores_to_text(np.full_like(SCORES, np.nan)), "not finite, or none"),
        ("no base64!", "do not fit"),
        ("QUJD", "do not fit"),
        (scores_to_text(SCORES[0, :1]), "do not fit"),
    ],
)
def test_scores_that_do_not_fit_are_refused(scores: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        OnnxForecaster(sealed(scores=scores), "made.onnx")


def test_missing_runtime_is_named(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match="ONNX Runtime is not installed; pip install"):
        OnnxForecaster(content, "made.onnx")


def test_graph_that_does_not_run_is_refused() -> None:
    broken = model_bytes({MANIFEST_KEY: MANIFEST.to_json()}).replace(b"Slice", b"Slyce")
    with pytest.raises(InputError, match=r"is whole, but ONNX Runtime .* cannot run it"):
        OnnxForecaster(seal(broken), "made.onnx")


def test_predict_gives_what_the_graph_gives(forecaster: OnnxForecaster) -> None:
    for batch in (1, 2, 7):
        values = history(batch)
        result = forecaster.predict(values.tolist(), np.zeros(batch), [4] * batch)
        np.testing.assert_array_equal(result.mean, values[:, -HORIZON:])
        np.testing.assert_array_equal(result.lower, result.mean - 1.0)
        np.testing.assert_array_equal(result.upper, result.mean + 1.0)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.nan, r"history\[1, 3, 0\], feature 'rate_rps' is nan: nothing was measured"),
        (np.inf, r"history\[1, 3, 0\], feature 'rate_rps' is inf requests/s; allowed: 0 to 2000 requests/s"),
        (-np.inf, r"is -inf requests/s; allowed: 0 to 2000"),
        (2000.1, r"is 2000.1 requests/s; allowed: 0 to 2000 requests/s. Check its unit"),
        (-0.1, r"is -0.1 requests/s; allowed"),
    ],
)
def test_predict_refuses_bad_numbers(forecaster: OnnxForecaster, value: float, message: str) -> None:
    values = history(2)
    values[1, 3, 0] = value
    with pytest.raises(InputError, match=message):
        forecaster.predict(values, np.zeros(2))


def test_limits_of_the_range_are_allowed(forecaster: OnnxForecaster) -> None:
    values = history()
    values[0, 0], values[0, -1] = MANIFEST.allowed_low, MANIFEST.allowed_high
    np.testing.assert_array_equal(forecaster.predict(values, [0.0]).mean[0, -1], MANIFEST.allowed_high)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((history()[0], [0.0]), r"history has shape \(6, 2\)"),
        ((history()[:, 1:], [0.0]), r"history has shape \(1, 5, 2\)"),
        ((history()[:, :, :1], [0.0]), r"history has shape \(1, 6, 1\)"),
        ((history(0), []), r"history has shape \(0, 6, 2\)"),
        (([[1.0], [1.0, 2.0]], [0.0]), "rows differ in length"),
        ((history().astype(str), [0.0]), "history holds <U"),
        ((history() > 0, [0.0]), "history holds bool"),
        ((history().astype(complex), [0.0]), "history holds complex128"),
        ((np.full((1, CONTEXT, 2), None), [0.0]), "history holds object"),
        ((history(), 0.0), r"clock_s has shape \(\)"),
        ((history(), [0.0, 1.0]), r"clock_s has shape \(2,\)"),
        ((history(), [np.nan]), r"clock_s\[0\] is nan"),
        ((history(), [-1.0]), r"clock_s\[0\] is -1"),
        ((history(), [1.7e9]), r"clock_s\[0\] is 1.7e\+09.* Unix time"),
        ((history(), [0.0], [3]), r"known\[0\] is 3; .* needs 4 or more"),
        ((history(), [0.0], [4.5]), r"known\[0\] is 4.5"),
        ((history(), [0.0], [np.nan]), r"known\[0\] is nan"),
        ((history(), [0.0], [np.inf]), r"known\[0\] is inf"),
        ((history(), [0.0], [[9]]), r"known has shape \(1, 1\)"),
    ],
)
def test_predict_refuses_other_arrays(forecaster: OnnxForecaster, arguments: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        forecaster.predict(*arguments)


def make_series(num_samples: int = 40) -> Series:
    values = np.random.default_rng(2).uniform((0.0, -5.0), (100.0, 5.0), (num_samples, 2))
    return Series("live", FEATURES, ("requests/s", "%"), values, 60.0)


def with_value(series: Series, sample: int, value: float) -> Series:
    values = series.values.copy()
    values[sample, 1] = value
    return replace(series, values=values)


def test_series_out_of_range_is_refused(forecaster: OnnxForecaster) -> None:
    wrong = with_value(make_series(), 30, 5e6)
    message = r"series 'live', sample 30, feature 'delta' is 5e\+06 %; allowed: -205 to 205 %"
    with pytest.raises(InputError, match=message):
        forecaster.forecast(wrong)
    with pytest.raises(InputError, match=message):
        forecaster.forecast_all(wrong, np.arange(20, 31))


def test_only_samples_that_are_looked_at_count(forecaster: OnnxForecaster) -> None:
    wrong, origins = with_value(make_series(), 30, 5e6), np.arange(20, 30)
    expected = make_series().values[origins]
    np.testing.assert_array_equal(forecaster.forecast_all(wrong, origins).mean[:, -1, 1], expected[:, 1])
    origins = np.arange(30 + CONTEXT, 40)
    assert np.isfinite(forecaster.forecast_all(wrong, origins).mean).all()
    with pytest.raises(InputError, match="sample 30"):
        forecaster.forecast_all(wrong, origins - 1)


def test_short_gaps_are_held_and_long_ones_refused(forecaster: OnnxForecaster) -> None:
    series = make_series()
    gap = with_value(series, 39, np.nan)
    assert forecaster.forecast(gap).mean[-1, 1] == series.values[38, 1]
    silent = replace(series, values=np.where(np.arange(40)[:, None] < 20, series.values, np.nan))
    with pytest.raises(InputError, match="20 samples in which 'rate_rps' was not measured"):
        forecaster.forecast(silent)


def test_exported_forecaster_is_for_inference_only(forecaster: OnnxForecaster) -> None:
    with pytest.raises(InputError, match=r"cannot be trained.*Train the original forecaster"):
        forecaster.fit(make_series())
    with pytest.raises(InputError, match="copy its file"):
        forecaster._state()
    with pytest.raises(InputError, match="cannot take other weights"):
        forecaster._restore({}, {})


def test_copies_forecast_the_same(forecaster: OnnxForecaster) -> None:
    for copied in (pickle.loads(pickle.dumps(forecaster)), copy.deepcopy(forecaster)):
        assert copied.manifest == forecaster.manifest
        np.testing.assert_array_equal(
            copied.forecast(make_series()).upper, forecaster.forecast(make_series()).upper
        )


def test_threads_must_be_a_number(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(InputError, match="threads is 0"):
        load_onnx(tmp_path / "model.onnx", threads=0)


def test_loading_opens_no_other_file(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is verified is what runs: the file is read once, so it cannot change in between."""
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    reads: list[Path] = []
    original = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: (reads.append(self), original(self))[1])
    monkeypatch.setattr(builtins, "open", lambda *arguments, **options: pytest.fail("a file was opened"))
    load_onnx(path)
    assert reads == [path]
