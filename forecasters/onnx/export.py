"""Export of trained networks to ONNX: one file that needs neither torch nor anything beside it."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from podgym.envs.workloads.profile import WEEK_S
from podgym.errors import InputError, unknown_name
from podgym.files import write_atomically
from podgym.forecasters.base import Forecast, Forecaster, ForecastSpec
from podgym.forecasters.intervals import SCALE_WINDOW, movement
from podgym.forecasters.onnx.file import (
    FORMAT_VERSION,
    MANIFEST_KEY,
    SCORES_KEY,
    Manifest,
    scores_to_text,
    seal,
)
from podgym.forecasters.onnx.model import OnnxForecaster
from podgym.forecasters.recurrent import NetworkForecaster

if TYPE_CHECKING:
    from onnx import ModelProto

LOAD_FACTOR = 20.0
"""Multiple of the largest training value up to which a measurement is taken for load."""

USAGE = (
    "Inputs, all float64. history (batch, context, features): the newest measurements in the units and the "
    "step of the manifest (metadata podgym.manifest), oldest first; where fewer than context are known, "
    "repeat the oldest at the front. clock_s (batch,): begin of the newest sample, seconds since Monday "
    "00:00 of the trace's clock. known (batch,): how many samples of the history were measured. Outputs "
    "(batch, horizon, features): mean, and the lower and upper end of the 80 % interval, in the units of the "
    "features. Refuse NaN and infinity before running: an LSTM turns them into plausible numbers."
)
"""What the file says of its inputs and outputs, as the description of the model."""

_TOLERANCE = 1e-5  # largest difference to torch, as a share of the training range


def export_onnx(
    forecaster: Forecaster,
    path: str | Path,
    *,
    load_factor: float = LOAD_FACTOR,
    allowed: Mapping[str, tuple[float, float]] | None = None,
) -> Manifest:
    """Write a trained network as one ONNX file, complete with scaling, bounds, intervals and manifest.

    The file is loaded and compared with torch before it replaces anything; a failed export leaves nothing
    behind. Equal forecasters give equal bytes (with the same versions of torch and onnxscript).

    Forecasts are refused from values out of an allowed range, because a unit mistake gives wrong numbers and
    no error. For a feature that never was negative in training it goes from 0 to ``load_factor`` times its
    largest training value, for others from ``load_factor`` training spans below the smallest to as many above
    the largest. With 20, a crowd of five or ten times the highest load ever seen still passes; per minute for
    per second (60) is refused at the first value above a third of the training peak, milli for one (1000) and
    bytes for MiB (1048576) at all but idle times. The other way round a mistake gives values near 0, which no
    range can tell from an idle system.

    Args:
        forecaster: a fitted ``NetworkForecaster``.
        path: file to write, replaced as a whole; its folder is made.
        load_factor: see above, 1 or more.
        allowed: ranges (low, high) by feature, in its unit, in place of the rule above; each must hold the
            training range.

    Returns:
        The manifest, with the hash of the file.

    Raises:
        InputError: a forecaster that is not a network or not fitted, a bad range, a file that cannot be
            written, missing libraries, or a graph that does not compute what torch does.
    """
    if not isinstance(forecaster, NetworkForecaster):
        raise InputError(
            f"a forecaster of type {type(forecaster).__name__} cannot be exported to ONNX; allowed: networks "
            "(paper_lstm, lstm, gru, hybrid). The others need no runtime: use them as they are."
        )
    path = Path(path)
    if path.is_dir():
        raise InputError(
            f"{path} is a folder; give a file in it, such as {path / (forecaster.name + '.onnx')}."
        )
    low, high = allowed_range(forecaster.spec, load_factor, allowed)
    manifest, model = _model(forecaster, low, high)
    content = seal(model)
    exported = OnnxForecaster(content, str(path))
    _compare(forecaster, exported)
    write_atomically(path, lambda draft: _write(draft, content))
    return replace(manifest, sha256=exported.manifest.sha256)


def allowed_range(
    spec: ForecastSpec, load_factor: float, allowed: Mapping[str, tuple[float, float]] | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the smallest and the largest value of each feature that is forecast from.

    Args:
        spec: features and their training range.
        load_factor: see ``export_onnx``.
        allowed: ranges in place of the rule.

    Raises:
        InputError: an unknown feature, or a range that is not finite or leaves out training values.
    """
    if not 1.0 <= load_factor < math.inf:
        raise InputError(f"load_factor is {load_factor!r}; it must be a finite number, 1 or more.")
    ranges = dict(allowed or {})
    for feature in ranges:
        if feature not in spec.features:
            raise unknown_name("feature in allowed", feature, spec.features)
    for feature, low, high in zip(spec.features, spec.low, spec.high, strict=True):
        margin = load_factor * (high - low)
        rule = (0.0, load_factor * high) if low >= 0.0 else (low - margin, high + margin)
        ranges[feature] = (float(ranges.get(feature, rule)[0]), float(ranges.get(feature, rule)[1]))
        if not -math.inf < ranges[feature][0] <= low <= high <= ranges[feature][1] < math.inf:
            raise InputError(
                f"allowed for {feature!r} is {ranges[feature]}; it must be finite and hold the range "
                f"of the training, {low:g} to {high:g}."
            )
    lows, highs = zip(*(ranges[feature] for feature in spec.features), strict=True)
    return tuple(lows), tuple(highs)


def _model(
    forecaster: NetworkForecaster, low: tuple[float, ...], high: tuple[float, ...]
) -> tuple[Manifest, bytes]:
    """Return the manifest and the serialized model that carries it."""
    from podgym import __version__

    _require_exporter()
    from podgym.forecasters.onnx.graph import OPSET, IntervalNetwork, traced
    from podgym.forecasters.training import one_thread

    network = IntervalNetwork(forecaster.network, forecaster.intervals, np.array(forecaster.spec.low)).eval()
    with one_thread():
        model = traced(network, len(forecaster.spec.features))
    manifest = Manifest(
        format_version=FORMAT_VERSION, podgym_version=__version__, model=forecaster.name,
        options=json.loads(json.dumps(forecaster.options())), spec=replace(forecaster.spec, fit_s=0.0),
        horizon_minutes=forecaster.horizon_minutes, min_context=forecaster.min_context,
        context=network.context, allowed_low=low, allowed_high=high,
        scale_floor=tuple(forecaster.intervals.floor.tolist()), opset=OPSET,
    )  # fmt: skip
    model.doc_string = USAGE
    _add_entry(model, MANIFEST_KEY, manifest.to_json())
    _add_entry(model, SCORES_KEY, scores_to_text(forecaster.intervals.scores))
    return manifest, model.SerializeToString(deterministic=True)


def _add_entry(model: "ModelProto", key: str, value: str) -> None:
    entry = model.metadata_props.add()
    entry.key, entry.value = key, value


def _require_exporter() -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(f"export needs {error.name}; pip install 'podgym[forecast]'.") from error


def _compare(forecaster: NetworkForecaster, exported: OnnxForecaster) -> None:
    """Refuse a graph that computes anything but what torch and ``intervals`` do."""
    spec, generator = forecaster.spec, np.random.default_rng(0)
    low, high = np.array(spec.low), np.array(spec.high)
    for batch in (1, 5):
        history = generator.uniform(low, high, (batch, exported.manifest.context, len(low)))
        clock_s = generator.uniform(0.0, WEEK_S, batch)
        known = np.linspace(exported.manifest.context, 2 * exported.manifest.context, batch).round()
        got = exported.predict(history, clock_s, known)
        wanted = _expected(forecaster, history, clock_s, known)
        for name in ("mean", "lower", "upper"):
            worst = float(np.max(np.abs(getattr(got, name) - getattr(wanted, name)) / (high - low)))
            if not worst <= _TOLERANCE:
                raise InputError(
                    f"the exported graph differs from the network: {name} by {worst:.1e} of the training "
                    f"range, allowed {_TOLERANCE:.0e}. Nothing was written; use the versions of torch, "
                    "onnxscript and onnxruntime that podgym is tested with."
                )


def _expected(
    forecaster: NetworkForecaster,
    history: NDArray[np.float64],
    clock_s: NDArray[np.float64],
    known: NDArray[np.float64],
) -> Forecast:
    """Return what the file has to give, from the network and ``intervals`` themselves."""
    import torch

    from podgym.forecasters.training import one_thread

    network, intervals = forecaster.network.eval(), forecaster.intervals
    inputs = (history[:, -network.context :], clock_s, known)
    with one_thread(), torch.inference_mode():
        mean = network(*(torch.from_numpy(each) for each in inputs)).numpy()
    newest = history[:, -(SCALE_WINDOW + 1) :]
    scale = np.array([movement(rows, intervals.floor)[-1] for rows in newest])[:, None]  # (batch, 1, F)
    lowest = np.where(np.array(forecaster.spec.low) >= 0.0, 0.0, -np.inf)
    low, high = intervals.static_quantiles()
    ends = (mean, mean.clip(lowest) + low * scale, mean.clip(lowest) + high * scale)
    return Forecast(*(np.maximum(each, lowest) for each in ends))


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
