"""Controllers that are not learned, by name: ``make_controller("hpa", cpu_target_percent=60)``.

A name such as ``my_file.py:MyController`` means a class in a file of one's own.
``Controller`` is what they all are; ``podgym.baselines.hpa`` is Kubernetes' HPA as a library of its own.
"""

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any

from podgym.baselines import own
from podgym.baselines.controller import Controller, ObservationPolicy, PlanningController
from podgym.errors import unknown_name

__all__ = [
    "CONTROLLERS",
    "FORECAST_USERS",
    "REPLICAS_ONLY",
    "Controller",
    "ObservationPolicy",
    "PlanningController",
    "controller_options",
    "leaves_quotas",
    "looks_at_forecasts",
    "make_controller",
    "own",
]


def _lazy(module: str, name: str) -> Callable[[], Callable[..., Controller]]:
    """Return a function that imports a controller class when it is asked for."""

    def load() -> Callable[..., Controller]:
        factory: Callable[..., Controller] = getattr(import_module(module), name)
        return factory

    return load


CONTROLLERS: Mapping[str, Callable[[], Callable[..., Controller]]] = MappingProxyType(
    {
        "hpa": _lazy("podgym.baselines.hpa_controller", "HpaController"),
        "kubernetes_default": _lazy("podgym.baselines.kubernetes_default", "KubernetesDefaultController"),
        "vpa": _lazy("podgym.baselines.vpa_controller", "VpaController"),
        "static": _lazy("podgym.baselines.static", "StaticController"),
        "lstm_ga": _lazy("podgym.baselines.lstm_ga", "LstmGaController"),
        "predictive_hpa": _lazy("podgym.baselines.predictive_hpa", "PredictiveHpaController"),
        "predictive_planner": _lazy("podgym.baselines.predictive_planner", "PredictivePlannerController"),
        "forecast_threshold": _lazy("podgym.baselines.forecast_threshold", "ForecastThresholdController"),
        "keda": _lazy("podgym.baselines.keda", "KedaController"),
        "kpa": _lazy("podgym.baselines.kpa", "KpaController"),
        "queue_length": _lazy("podgym.baselines.queue_length", "QueueLengthController"),
        "rule": _lazy("podgym.baselines.rule", "NonlinearRuleController"),
        "random": _lazy("podgym.baselines.random_controller", "RandomController"),
        "cluster": _lazy("podgym.baselines.cluster_itself", "ClusterItselfController"),
    }
)
"""Controller name -> function that imports and returns its class."""

FORECAST_USERS = frozenset({"lstm_ga", "predictive_hpa", "predictive_planner", "forecast_threshold", "rule"})
"""Controllers that look at the forecast, and should be given the best one there is."""


REPLICAS_ONLY = frozenset(
    {"hpa", "static", "predictive_hpa", "forecast_threshold", "keda", "kpa", "queue_length", "rule"}
)
"""Controllers that decide replicas and leave the pods' requests and limits as they are."""


def leaves_quotas(name: str, options: Mapping[str, Any]) -> bool:
    """Return whether a controller with these options surely decides replicas alone."""
    return name in REPLICAS_ONLY or (name == "lstm_ga" and options.get("keep_quotas") is True)


def looks_at_forecasts(name: str) -> bool:
    """Return whether a controller should be given the best forecast there is.

    A class of one's own says so by ``looks_at_forecasts = True``, or by having a planner.
    """
    if not own.is_own(name):
        return name in FORECAST_USERS
    found = own.load_own(name)
    return bool(getattr(found, "looks_at_forecasts", False)) or callable(getattr(found, "planner", None))


def controller_options(name: str) -> tuple[str, ...]:
    """Return the option names of a controller.

    Raises:
        InputError: there is no controller of this name.
    """
    return tuple(inspect.signature(_factory(name)).parameters)


def make_controller(name: str, **options: Any) -> Controller:  # noqa: ANN401  (each has its own)
    """Build a controller by name.

    Args:
        name: one of ``CONTROLLERS``, or ``FILE.py:CLASS``.
        **options: options of that controller (see its class).

    Raises:
        InputError: an unknown name or option, or an option value that cannot be used.
    """
    factory = _factory(name)
    allowed = tuple(inspect.signature(factory).parameters)
    for option in options:
        if option not in allowed:
            raise unknown_name(f"option of controller {name!r}", option, allowed)
    return factory(**options)


def _factory(name: str) -> Callable[..., Controller]:
    if own.is_own(name):
        return own.load_own(name)
    if name not in CONTROLLERS:
        raise unknown_name("controller", name, CONTROLLERS)
    return CONTROLLERS[name]()
