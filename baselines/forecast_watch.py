"""Whether forecasts can still be trusted: the measured rate against the intervals told before."""

from collections import deque
from dataclasses import dataclass

from podgym.baselines.metrics import is_amount
from podgym.envs.cluster import RateForecast

_HALF_WINDOW_S = 15.0  # a sample is a mean over about twice this time, so it stands for a moment this old
_HALF_MINUTE_S = 30.0  # likewise, the first value of a forecast stands for a moment this far ahead


class ForecastWatch:
    """Distrusts a forecast whose interval has missed the measured rate for several minutes.

    A sample is held against the interval for the first minute of the forecast whose minute lies nearest to
    the sample's window. One miss says little (an 80 % interval misses a fifth of the time), an unbroken
    run of them does; an unbroken run of hits of the same length restores the trust.
    """

    def __init__(self, patience_s: float, margin: float) -> None:
        """Begin in trust.

        Args:
            patience_s: length of a run that changes the verdict, seconds.
            margin: how far outside the interval still counts as a hit, as a share of the rate.
        """
        self._patience_s = patience_s
        self._margin = margin
        self._told: deque[_Told] = deque()
        self._run_s: tuple[float, float] | None = None  # time stamps of the run's first and last sample
        self._hit = True
        self.trusted = True

    def note(self, forecast: RateForecast, now_s: float) -> None:
        """Remember what a forecast tells of the coming minute, and from when to when it was seen."""
        if self._told and forecast == self._told[-1].forecast:
            self._told[-1].last_s = now_s
            return
        if not forecast.lower_rps or not forecast.upper_rps:
            return
        if is_amount(forecast.lower_rps[0]) and is_amount(forecast.upper_rps[0]):
            self._told.append(_Told(forecast, now_s, now_s))

    def judge(self, rate_rps: float, time_s: float) -> None:
        """Hold a sample against what was told before it."""
        told = self._told
        made_s = time_s - _HALF_WINDOW_S - _HALF_MINUTE_S  # of the forecast that would fit exactly
        while len(told) > 1 and told[1].distance_s(made_s) <= told[0].distance_s(made_s):
            told.popleft()
        if not told or told[0].distance_s(made_s) > _HALF_MINUTE_S:
            return
        lower_rps, upper_rps = told[0].forecast.lower_rps[0], told[0].forecast.upper_rps[0]
        slack_rps = self._margin * rate_rps
        hit = lower_rps - slack_rps <= rate_rps <= upper_rps + slack_rps
        if self._run_s is None or hit != self._hit or time_s < self._run_s[0]:
            self._run_s = (time_s, time_s)
        self._hit = hit
        self._run_s = (self._run_s[0], time_s)
        if self._run_s[1] - self._run_s[0] >= self._patience_s:
            self.trusted = hit


@dataclass(slots=True)
class _Told:
    """One forecast, and when it was first and last seen."""

    forecast: RateForecast
    first_s: float
    last_s: float

    def distance_s(self, time_s: float) -> float:
        """How far a moment lies from the time in which the forecast was seen."""
        return max(self.first_s - time_s, time_s - self.last_s, 0.0)
