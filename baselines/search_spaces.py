"""What a tuner may vary of each controller: the published search spaces.

A space is the same for every environment. Where the best value found sits at the edge of its range, the
range was too narrow, and is widened up to the hard bounds, beyond which a value would mean nothing.
Options that are not listed keep their defaults.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from types import MappingProxyType
from typing import Literal, TypeAlias, get_args

from podgym.errors import InputError, unknown_name

ParameterKind: TypeAlias = Literal["float", "int", "choice"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One option of a controller, and where to look for its best value."""

    name: str
    """Name of the constructor's option, which states the unit."""
    kind: ParameterKind
    """``float`` and ``int`` have a range, ``choice`` has choices."""
    low: float = 0.0
    """Lower end of the range, included."""
    high: float = 0.0
    """Upper end of the range, included."""
    log: bool = False
    """Whether to look on a logarithmic scale."""
    choices: tuple[str | int | float | bool | None, ...] = ()
    """Values of a ``choice``."""
    hard_low: float | None = None
    """Below this the value means nothing, so the range is never widened beyond it; None: no bound."""
    hard_high: float | None = None
    """Above this the value means nothing; None: no bound."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(ParameterKind):
            raise unknown_name(f"kind of parameter {self.name!r}", self.kind, get_args(ParameterKind))
        if self.kind == "choice":
            if len(self.choices) < 2:
                raise InputError(f"parameter {self.name!r}: a choice needs two values or more.")
            return
        if not (isfinite(self.low) and isfinite(self.high) and self.low < self.high):
            raise InputError(f"parameter {self.name!r}: {self.low!r} to {self.high!r} is not a range.")
        if self.log and self.low <= 0.0:
            raise InputError(f"parameter {self.name!r}: a logarithmic range must begin above 0.")
        low_enough = self.hard_low is None or self.hard_low <= self.low
        high_enough = self.hard_high is None or self.high <= self.hard_high
        if not (low_enough and high_enough):
            raise InputError(
                f"parameter {self.name!r}: the range {self.low!r} to {self.high!r} leaves its hard bounds "
                f"{self.hard_low!r} to {self.hard_high!r}."
            )


def _integer(
    name: str, low: int, high: int, *, log: bool = False, hard_low: int = 0, hard_high: int | None = None
) -> Parameter:
    return Parameter(name, "int", low, high, log, hard_low=hard_low, hard_high=hard_high)


def _number(
    name: str,
    low: float,
    high: float,
    *,
    log: bool = False,
    hard_low: float = 0.0,
    hard_high: float | None = None,
) -> Parameter:
    return Parameter(name, "float", low, high, log, hard_low=hard_low, hard_high=hard_high)


# A utilisation of the request above 100 % is never reached where the limit equals the request.
_CPU_TARGET = _integer("cpu_target_percent", 20, 95, hard_low=1, hard_high=100)
_UTILISATION = _number("target_utilisation", 0.3, 0.95, hard_low=0.01, hard_high=1.0)
# The API refuses stabilisation windows of more than an hour.
_STABILISATION = _integer("downscale_stabilization_s", 0, 900, hard_high=3600)
_TOLERANCE = _number("tolerance", 0.0, 0.3, hard_high=1.0)
_HOLD = _integer("hold_s", 0, 900, hard_high=3600)
# The forecasts of the registered environments reach five minutes.
_LEAD = _integer("lead_minutes", 1, 5, hard_low=1, hard_high=5)
_QUANTILE = Parameter("quantile", "choice", choices=("mean", "upper"))

SEARCH_SPACES: Mapping[str, tuple[Parameter, ...]] = MappingProxyType(
    {
        "static": (_integer("replicas", 1, 28, hard_low=1, hard_high=5000),),
        "hpa": (_CPU_TARGET, _STABILISATION, _TOLERANCE),
        "kubernetes_default": (_CPU_TARGET, _STABILISATION),
        "kpa": (
            _number("target", 0.25, 64.0, log=True, hard_low=0.01, hard_high=1e6),
            _integer("stable_window_s", 30, 600, log=True, hard_low=15, hard_high=3600),
            _number("panic_window_percent", 5.0, 100.0, hard_low=1.0, hard_high=100.0),
            _number("panic_threshold_percent", 110.0, 1000.0, log=True, hard_low=110.0, hard_high=1000.0),
            _number("max_scale_down_rate", 1.05, 10.0, log=True, hard_low=1.01, hard_high=1e3),
            _integer("scale_down_delay_s", 0, 900, hard_high=3600),
        ),
        "keda": (
            _UTILISATION,
            _STABILISATION,
            _TOLERANCE,
        ),
        "queue_length": (
            _number("target_per_replica", 0.1, 32.0, log=True, hard_low=0.001, hard_high=1e6),
            _STABILISATION,
            _TOLERANCE,
        ),
        "predictive_hpa": (_CPU_TARGET, _STABILISATION, _TOLERANCE, _LEAD, _QUANTILE),
        "forecast_threshold": (
            _UTILISATION,
            _number("safety_margin", 0.0, 0.5, hard_low=-0.5, hard_high=10.0),
            _HOLD,
            _LEAD,
            _QUANTILE,
        ),
        "lstm_ga": (
            Parameter("preset", "choice", choices=("paper", "slo_cost")),
            _number("gamma", 0.3, 100.0, log=True, hard_low=0.001),
            Parameter("rate", "choice", choices=("mean", "upper")),
            _number("headroom", 0.0, 0.5, hard_low=0.0),
            Parameter("keep_quotas", "choice", choices=(False, True)),
        ),
        "predictive_planner": (
            _number("over_provisioning", 0.0, 0.5, hard_low=-0.5, hard_high=10.0),
            _number("slo_response_time_s", 0.1, 0.5, log=True, hard_low=0.01, hard_high=60.0),
            _number("max_utilisation", 0.4, 0.95, hard_low=0.01, hard_high=1.0),
            _integer("stabilization_s", 0, 900, hard_high=3600),
            _integer("max_added", 2, 28, log=True, hard_low=1, hard_high=5000),
            _integer("max_removed", 1, 28, log=True, hard_low=1, hard_high=5000),
            _LEAD,
            _QUANTILE,
        ),
    }
)
"""Controller name -> the options that are tuned. ``random`` has nothing to tune."""
