"""Forecasters by name."""

import inspect
from importlib import import_module
from typing import cast

from podgym.errors import unknown_name
from podgym.forecasters.base import Forecaster

_HOME = {
    "last_value": ("naive", "LastValue"),
    "seasonal_naive": ("naive", "SeasonalNaive"),
    "drift": ("naive", "Drift"),
    "ewma": ("smoothing", "Ewma"),
    "holt_winters": ("smoothing", "HoltWinters"),
    "prophet": ("prophet", "ProphetForecaster"),
    "paper_lstm": ("recurrent", "PaperLstm"),
    "lstm": ("recurrent", "TunedLstm"),
    "gru": ("recurrent", "Gru"),
    "hybrid": ("hybrid", "HybridForecaster"),
}

MODELS = tuple(_HOME)
"""Names of the forecasters, the naive ones first."""
NAIVE_MODELS = ("last_value", "seasonal_naive", "drift", "ewma", "holt_winters")
"""What a learned forecast must beat."""
NETWORK_MODELS = ("paper_lstm", "lstm", "gru", "hybrid")
"""Models that are trained with gradients and can be exported to ONNX."""


def forecaster_class(name: str) -> type[Forecaster]:
    """Return the class of a model.

    Raises:
        InputError: an unknown name, with the closest match.
    """
    if name not in _HOME:
        raise unknown_name("forecaster", name, MODELS)
    module, class_name = _HOME[name]
    return cast(type[Forecaster], getattr(import_module(f"podgym.forecasters.{module}"), class_name))


def make_forecaster(name: str, **options: object) -> Forecaster:
    """Return an unfitted forecaster.

    Args:
        name: one of ``MODELS``.
        options: arguments of its class, such as ``horizon_minutes=30`` or ``training={"epochs": 5}``.

    Raises:
        InputError: an unknown name or option, with the closest match, or a bad value.
    """
    made = forecaster_class(name)
    allowed = list(inspect.signature(made).parameters)
    for option in options:
        if option not in allowed:
            raise unknown_name(f"option of forecaster {name!r}", option, allowed)
    return made(**options)  # type: ignore[arg-type]
