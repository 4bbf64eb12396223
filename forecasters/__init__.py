"""Forecasts of load: from a trace to an observation, and how good they are.

In reading order: ``series`` and ``sources`` (what is forecast), ``cleaning`` and ``anomalies`` (what is taken
out before learning), ``base`` and ``intervals`` (what every forecaster is), ``naive``, ``smoothing``,
``prophet``, ``recurrent`` and ``hybrid`` (the models; ``networks`` and ``training`` behind them), ``factory``
and ``store`` (by name, and on disk), ``onnx`` (without torch), ``tables`` (in an environment) and
``evaluation`` (which of them helps). Names are loaded on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from podgym.forecasters.base import Forecast, Forecaster, ForecastSpec
    from podgym.forecasters.cleaning import CleaningConfig, clean, resample
    from podgym.forecasters.factory import MODELS, make_forecaster
    from podgym.forecasters.onnx.export import export_onnx
    from podgym.forecasters.onnx.model import load_onnx
    from podgym.forecasters.run import FitRun
    from podgym.forecasters.series import Series
    from podgym.forecasters.sources import TraceSeries, open_series
    from podgym.forecasters.store import load_forecaster, save_forecaster
    from podgym.forecasters.tables import LearnedForecasts

_HOME = {
    "Series": "series",
    "TraceSeries": "sources",
    "open_series": "sources",
    "CleaningConfig": "cleaning",
    "clean": "cleaning",
    "resample": "cleaning",
    "Forecast": "base",
    "Forecaster": "base",
    "ForecastSpec": "base",
    "FitRun": "run",
    "MODELS": "factory",
    "make_forecaster": "factory",
    "save_forecaster": "store",
    "load_forecaster": "store",
    "export_onnx": "onnx.export",
    "load_onnx": "onnx.model",
    "LearnedForecasts": "tables",
}

__all__ = [
    "MODELS",
    "CleaningConfig",
    "FitRun",
    "Forecast",
    "ForecastSpec",
    "Forecaster",
    "LearnedForecasts",
    "Series",
    "TraceSeries",
    "clean",
    "export_onnx",
    "load_forecaster",
    "load_onnx",
    "make_forecaster",
    "open_series",
    "resample",
    "save_forecaster",
]


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'podgym.forecasters' has no attribute {name!r}")
    return getattr(import_module(f"podgym.forecasters.{_HOME[name]}"), name)
