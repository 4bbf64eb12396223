"""Forecasts and plans that are made while the load arrives.

Forecasters and planners work on a whole episode before it begins (``podgym.envs.protocols``); each row they
return rests on the load up to its own moment alone. So on a real cluster they are given the load so far, cut
to end now, and the last row is what is known now.
"""

import math
from collections.abc import Sequence

import numpy as np

from podgym.envs.protocols import FORECAST_PERIOD_S, PLAN_PERIOD_S, DefaultPlanner, Planner, RateForecaster
from podgym.envs.simulator.parameters import ClusterConfig
from podgym.envs.workloads.profile import WEEK_S, LoadProfile

LONGEST_HISTORY_S = 4 * 3600.0
"""Load before this is forgotten."""
_STEP_S = 5.0


class LiveOutlook:
    """Keeps the load so far; renews the forecast every minute and the plan every five."""

    def __init__(
        self,
        config: ClusterConfig,
        horizon_minutes: int,
        planner: Planner | None,
        forecaster: RateForecaster | None,
    ) -> None:
        """Prepare.

        Args:
            config: the services.
            horizon_minutes: minutes of forecast in the observation.
            planner: None: the plan is what was found.
            forecaster: None: there is no forecast but what the observation makes of its own history.
        """
        self._config = config
        self._horizon_minutes = horizon_minutes
        self._planner: Planner = planner if planner is not None else DefaultPlanner()
        self._forecaster = forecaster
        self._times_s: list[float] = []
        self._rates_rps: list[float] = []
        self.forecasts = np.zeros((1, 1, horizon_minutes, 3))
        """(1, 1, horizon_minutes, 3) mean, lower and upper end of the 80 % interval, requests/s."""
        self.plan = np.zeros((1, len(config.services), 3))
        """(1, num_services, 3) replicas, CPU request in cores, memory request in bytes."""
        self.problems: tuple[str, ...] = ()
        """What went wrong at the last renewal; then the former forecast and plan stay."""

    def begin(self, history: Sequence[tuple[float, float]], week_time_s: float) -> None:
        """Start an episode: forget the one before, and make the first forecast and plan.

        Args:
            history: (time_s, rate_rps), times up to 0, the moment the episode begins.
            week_time_s: that moment, seconds since Monday 00:00.

        Raises:
            InputError: from the forecaster or the planner; nothing has run yet, so it is told.
        """
        self._week_time_s = week_time_s
        known = [(time_s, rate) for time_s, rate in history if math.isfinite(rate)]
        self._times_s = [time_s for time_s, _ in known]
        self._rates_rps = [max(rate, 0.0) for _, rate in known]
        self._middles_s = list(self._times_s)
        self._next_forecast_s = self._next_plan_s = 0.0
        self.problems = ()
        self.forecasts[:] = 0.0
        found = DefaultPlanner().plan(self._config, LoadProfile(np.zeros(2), 1.0, "open", 0.0, ""), 1.0)
        self.plan[0] = found[0]
        if self._times_s:
            self._renew_forecast(0.0)
            self._renew_plan(0.0)

    def add(self, time_s: float, rate_rps: float, middle_s: float) -> None:
        """Note the load that is known at a moment, and renew what is due.

        Args:
            time_s: the moment.
            rate_rps: mean over the window of the monitoring; nan: it was not measured.
            middle_s: middle of that window.
        """
        if math.isfinite(rate_rps) and (not self._times_s or time_s > self._times_s[-1]):
            self._times_s.append(time_s)
            self._rates_rps.append(max(rate_rps, 0.0))
            middle_s = middle_s if math.isfinite(middle_s) else time_s
            self._middles_s.append(max([middle_s, *self._middles_s[-1:]]))
        self.problems = ()
        if not self._times_s:  # a load that nobody measured is not a load of nothing
            self.problems = (
                "no load was measured yet: the plan is what was found, and there is no forecast",
            )
            return
        for due_s, renew in (
            (self._next_forecast_s, self._renew_forecast),
            (self._next_plan_s, self._renew_plan),
        ):
            if time_s < due_s:
                continue
            try:
                renew(time_s)
            except Exception as error:  # a model must not stop a run: the former answer stays
                self.problems += (f"{renew.__name__.strip('_')}: {type(error).__name__}: {error}",)

    def _renew_forecast(self, now_s: float) -> None:
        self._next_forecast_s = now_s - now_s % FORECAST_PERIOD_S + FORECAST_PERIOD_S
        if self._forecaster is None:
            return
        profile = self.load(now_s, FORECAST_PERIOD_S)
        rows = np.asarray(
            self._forecaster.forecast_rates(profile, profile.duration_s, self._horizon_minutes), np.float64
        )
        newest = rows[-1]  # (horizon_minutes, 3)
        if newest.shape != (self._horizon_minutes, 3) or not np.isfinite(newest).all():
            raise ValueError(f"the forecast has shape {newest.shape} and must be finite numbers")
        self.forecasts[0, 0] = np.maximum(newest, 0.0)

    def _renew_plan(self, now_s: float) -> None:
        self._next_plan_s = now_s - now_s % PLAN_PERIOD_S + PLAN_PERIOD_S
        profile = self.load(now_s, PLAN_PERIOD_S)
        # Plan i holds from i periods on, so a little more than the load makes the last one hold from now on.
        plans = np.asarray(
            self._planner.plan(self._config, profile, profile.duration_s + 1e-3), dtype=np.float64
        )
        newest = plans[-1]  # (num_services, 3)
        if newest.shape != self.plan.shape[1:] or not (np.isfinite(newest) & (newest > 0.0)).all():
            raise ValueError(f"the plan has shape {newest.shape} and must be positive finite numbers")
        self.plan[0] = newest

    def load(self, now_s: float, period_s: float) -> LoadProfile:
        """Return the load known now, a whole number of periods long and at least one.

        What is known lags behind by half a window; forecasters are given it as it becomes known, as in
        simulation. Before the first measurement the load is taken to have been that.
        """
        span_s = min(now_s - self._times_s[0], LONGEST_HISTORY_S)
        periods = max(math.floor(span_s / period_s + 1e-9), 1)
        return self._profile(now_s, periods * period_s, self._times_s)

    def measured(self, duration_s: float) -> LoadProfile:
        """Return the load of an episode that lasted so long, each mean in the middle of its window."""
        return self._profile(duration_s, max(duration_s - duration_s % _STEP_S, _STEP_S), self._middles_s)

    def _profile(self, end_s: float, duration_s: float, times_s: list[float]) -> LoadProfile:
        if not times_s:  # nothing was ever measured; only a record asks then
            times_s, rates_rps = [0.0], [0.0]
        else:
            rates_rps = self._rates_rps
        count = round(duration_s / _STEP_S) + 1
        start_s = end_s - (count - 1) * _STEP_S
        values = np.interp(start_s + _STEP_S * np.arange(count), times_s, rates_rps)
        return LoadProfile(
            values, _STEP_S, "open", (self._week_time_s + start_s) % WEEK_S, "load of a live cluster"
        )
