"""The hybrid: Prophet takes the week, an LSTM what is left (Zhang 2003 for the idea of the residual)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from podgym.envs.workloads.profile import WEEK_S
from podgym.forecasters.base import HORIZON_MINUTES
from podgym.forecasters.cleaning import CleaningConfig
from podgym.forecasters.prophet import ProphetForecaster
from podgym.forecasters.recurrent import TunedLstm
from podgym.forecasters.run import FitRun
from podgym.forecasters.series import Series

if TYPE_CHECKING:
    from podgym.forecasters.networks import HybridNetwork

_COURSE_STEP_S = 60.0  # spacing of the weekly course that is kept of Prophet; linear in between
_COURSE_ROWS = round(WEEK_S / _COURSE_STEP_S)


class HybridForecaster(TunedLstm):
    """Prophet's level, day and week, plus an LSTM on what they leave.

    Of Prophet only its course over one week is kept, in the network itself, so that a forecast and an
    exported file need no Prophet. The LSTM is the tuned one without the day before and with a constant
    scale, since a residual has no level of its own.

    Args:
        horizon_minutes: how far ahead.
        cleaning: how the training series is cleaned.
        training: changes of ``TrainingConfig``, by name.
        seed: of everything random.
        window: samples that the recurrent layer reads.
        units: size of the recurrent layer.
    """

    name = "hybrid"

    def __init__(
        self,
        *,
        horizon_minutes: int = HORIZON_MINUTES,
        cleaning: CleaningConfig | None = None,
        training: Mapping[str, Any] | None = None,
        seed: int = 0,
        window: int = 60,
        units: int = 32,
    ) -> None:
        super().__init__(
            horizon_minutes=horizon_minutes, cleaning=cleaning, training=training, seed=seed,
            window=window, units=units, seasonal=False, proportional=False,
        )  # fmt: skip
        self._course: NDArray[np.float64] | None = None  # (samples of a week, num_features) physical units

    def options(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        options = super().options()
        return {name: options[name] for name in options if name not in ("seasonal", "proportional")}

    def _fit(self, series: Series, trusted: NDArray[np.bool_], fit_stop: int, run: FitRun) -> None:
        fit_stop = self._learned_stop(series, fit_stop)
        prophet = ProphetForecaster(horizon_minutes=self.horizon_minutes, seed=self.seed % 2**31)
        prophet._fit(series, trusted, fit_stop, FitRun())
        self._course = prophet.at(np.arange(_COURSE_ROWS, dtype=np.float64) * _COURSE_STEP_S)
        clock_s = series.clock_s(np.arange(fit_stop))
        self._left = series.values[:fit_stop] - prophet.at(clock_s)  # (fit_stop, num_features)
        super()._fit(series, trusted, fit_stop, run)

    def _shape(self, values: NDArray[np.float64], step_s: float) -> dict[str, Any]:
        # The course can explain a series in full; its scale must not be 0 then.
        std = np.maximum(self._left.std(axis=0), 1e-6 * values.std(axis=0))
        return {
            "mean": self._left.mean(axis=0).tolist(), "std": std.tolist(), "step_s": step_s,
            "horizon": self._horizon,
        }  # fmt: skip

    def _build(self, shape: Mapping[str, Any]) -> "HybridNetwork":
        from podgym.forecasters.networks import HybridNetwork, window_shape

        horizon, step_s = int(shape["horizon"]), float(shape["step_s"])
        empty = np.zeros((_COURSE_ROWS, len(shape["mean"])))  # a restored network reads its own afterwards
        return HybridNetwork(
            np.array(shape["mean"]), np.array(shape["std"]),
            course=empty if self._course is None else self._course, course_step_s=_COURSE_STEP_S,
            shape=window_shape(self.window, horizon, step_s, self.seasonal),
            horizon=horizon, step_s=step_s, units=self.units,
        )  # fmt: skip
