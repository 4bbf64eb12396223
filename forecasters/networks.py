"""The networks. Each takes measurements in physical units and gives forecasts in physical units.

Scaling is part of the network, in float64, so that an exported file needs nothing beside it and values of
1e9 bytes keep their digits; only what is learned runs in float32.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from podgym.envs.workloads.profile import DAY_S, WEEK_S
from podgym.forecasters.relu_lstm import ReluLstm

Cell = Literal["lstm", "gru"]

_CLIP = 20.0  # scaled inputs beyond this carry no more news, only instability
_LEVEL_SPANS = (10.0, 3.0, 30.0)  # the first is what windows are measured from
_SEASON_HALF_WIDTHS_S = (300.0, 900.0, 1800.0)  # half-widths of the means taken a season ago
_DAYS = 3  # days looked back: their mean is a steadier season than yesterday alone
_FLOOR_SHARE = 0.05  # smallest level, as a share of the training mean, that scales are proportional to


class Inputs(NamedTuple):
    """What every network is called with."""

    history: Tensor
    """(n, context, num_features) float64, physical units; the newest sample last."""
    clock_s: Tensor
    """(n,) float64 seconds since Monday 00:00 at the begin of the newest sample."""
    known: Tensor
    """(n,) float64: samples of the history that were measured; older ones only repeat the oldest."""


class PaperNetwork(nn.Module):
    """Two ReLU LSTM layers of 64 units over 10 steps, then a dense layer: the network of the paper.

    Features are scaled to [0, 1] by their range in training; all steps and features of the horizon leave the
    dense layer at once.
    """

    def __init__(
        self,
        low: NDArray[np.float64],
        high: NDArray[np.float64],
        *,
        horizon: int,
        window: int = 10,
        units: int = 64,
    ) -> None:
        """Build the network for the range (num_features,) each of the training data."""
        super().__init__()
        self.context, self.window, self.horizon = window, window, horizon
        num_features = len(low)
        span = np.where(high > low, high - low, 1.0)
        self.register_buffer("low", torch.tensor(low, dtype=torch.float64))
        self.register_buffer("span", torch.tensor(span, dtype=torch.float64))
        self.layers = nn.Sequential(ReluLstm(num_features, units), ReluLstm(units, units))
        self.dense = nn.Linear(units, horizon * num_features)

    def scaled(self, values: Tensor) -> Tensor:
        """Scale physical values (..., num_features) to the range of training, float32."""
        return ((values - cast(Tensor, self.low)) / cast(Tensor, self.span)).float()

    def core(self, window: Tensor) -> Tensor:
        """Return scaled forecasts (n, horizon, num_features) of a scaled window (n, window, num_features)."""
        last = self.layers(window.permute(1, 2, 0))[-1].t()  # (n, units)
        result: Tensor = self.dense(last)
        return result.reshape(-1, self.horizon, window.shape[2])

    def forward(self, history: Tensor, clock_s: Tensor, known: Tensor) -> Tensor:
        """Return forecasts (n, horizon, num_features) in physical units; clock and ``known`` play no part."""
        return self.core(self.scaled(history)).double() * cast(Tensor, self.span) + cast(Tensor, self.low)


@dataclass(frozen=True, slots=True)
class WindowShape:
    """What the tuned network looks at."""

    window: int
    """Newest samples that the recurrent layer reads."""
    season: int
    """Samples of one season (a day); 0: no season."""
    half_widths: tuple[int, ...]
    """Half-widths, in samples, of the means taken one season ago."""
    days: int
    """Seasons that are looked back."""

    @property
    def context(self) -> int:
        """Samples of history wanted."""
        return self.window + (self.days * self.season + self.half_widths[-1] if self.season else 0)


def window_shape(window: int, horizon: int, step_s: float, seasonal: bool) -> WindowShape:
    """Return what a network of this window looks at, for a series of this step.

    There is no season where the day is not longer than the horizon and the means around it.
    """
    widths = tuple(sorted({max(1, round(width_s / step_s)) for width_s in _SEASON_HALF_WIDTHS_S}))
    season = round(DAY_S / step_s) if seasonal else 0
    return WindowShape(window, season if season > horizon + widths[-1] else 0, widths, _DAYS)


class Scaled(NamedTuple):
    """A batch as the learned part sees it, and what leads back to physical units."""

    window: Tensor
    """(n, window, channels) float32"""
    summary: Tensor
    """(n, num_summary) float32"""
    level: Tensor
    """(n, 1 or horizon, num_features) float64, physical units: what forecasts are measured from"""
    scale: Tensor
    """(n, 1, num_features) float64, physical units: what they are measured in"""


class TunedNetwork(nn.Module):
    """An LSTM or GRU over a window measured from its own level, beside a linear model of the same inputs.

    Each window is measured from its newest exponential mean and divided by a scale: proportional to the
    level for a feature that is a load (a crowd that triples the load triples its fluctuations), constant
    for one that may be negative. What came one season ago, smoothed, is an input too, so the network need
    not learn the day by heart; where that history is missing, it is told so. The linear part makes the
    network no worse than a regression, the recurrent part adds what is not linear.
    """

    def __init__(
        self,
        mean: NDArray[np.float64],
        std: NDArray[np.float64],
        *,
        shape: WindowShape,
        horizon: int,
        step_s: float,
        cell: Cell = "lstm",
        units: int = 32,
        proportional: bool = True,
    ) -> None:
        """Build the network for the mean and standard deviation (num_features,) of the training data."""
        super().__init__()
        self.shape, self.horizon, self.step_s = shape, horizon, step_s
        self.context = shape.context
        self.proportional = proportional
        self.num_features = len(mean)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float64))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float64))
        self.register_buffer("weights", _level_weights(shape.window))
        self._read_clock()
        if shape.season:
            self._look_back()
        channels = self.num_features * (2 if shape.season else 1) + 2
        num_summary = self._summary_size()
        recurrent = {"lstm": nn.LSTM, "gru": nn.GRU}[cell]
        self.recurrent = recurrent(channels, units, batch_first=True)
        outputs = horizon * self.num_features
        self.head = nn.Sequential(
            nn.Linear(units + num_summary, 64), nn.GELU(), nn.Dropout(0.1), nn.Linear(64, outputs)
        )
        self.linear = nn.Linear(shape.window * channels + num_summary, outputs)
        for layer in (self.linear, cast(nn.Linear, self.head[-1])):
            nn.init.zeros_(layer.weight)  # the first forecast is the level itself
            nn.init.zeros_(layer.bias)

    def _read_clock(self) -> None:
        """Note how angles follow from the clock; a cosine is the sine of a quarter turn later."""
        ages_s = np.arange(self.shape.window - 1, -1, -1)[:, None] * self.step_s
        turns = np.array([1 / DAY_S, 2 / DAY_S, 3 / DAY_S, 1 / WEEK_S])
        self._note("hand_shifts_s", np.array([0.0, 0.25 * DAY_S]) - ages_s)  # (window, 2)
        self._note("clock_speeds", 2.0 * np.pi * np.tile(turns, 2))  # (8,) radians per second
        self._note("clock_shifts", np.repeat([0.0, 0.5 * np.pi], len(turns)))  # (8,) radians

    def _look_back(self) -> None:
        """Note which samples of the days before count, and how."""
        shape, reach = self.shape, self.shape.half_widths[-1]
        back = shape.season * np.arange(1, shape.days + 1)  # (days,) samples
        around = np.arange(-(shape.window - 1) - reach, self.horizon + reach + 1)
        ranks = np.arange(shape.days + 1)  # how many days are known
        mean_day = (np.arange(shape.days) < ranks[:, None]) / np.maximum(ranks, 1)[:, None]
        newest_day = (np.arange(shape.days) == 0) & (ranks[:, None] > 0)
        samples = (shape.context - 1 - back[:, None] + around).ravel()
        places = samples * self.num_features + np.arange(self.num_features)[:, None]  # in (context, F)
        self._note("day_samples", places.ravel(), torch.int64)
        self._note("days_need", shape.window + back + reach)  # (days,) samples known
        self._note("day_shares", np.stack([mean_day, newest_day], 1), torch.float32)  # (days + 1, 2, days)
        self._note("day_weights", _day_weights(shape, self.horizon), torch.float32)
        self._note("day_order", _day_order(shape, self.horizon, self.num_features), torch.int64)

    def _note(self, name: str, values: NDArray[Any], kind: torch.dtype = torch.float64) -> None:
        """Keep a constant that follows from the settings, and is not saved with the weights."""
        self.register_buffer(name, torch.tensor(values, dtype=kind), persistent=False)

    def _summary_size(self) -> int:
        seasonal = 2 * len(self.shape.half_widths) * (self.horizon + 1) if self.shape.season else 0
        per_feature = len(_LEVEL_SPANS) + seasonal
        return self.num_features * per_feature + 8 + bool(self.shape.season)

    def scaled(self, history: Tensor, clock_s: Tensor, known: Tensor) -> Scaled:
        """Turn inputs (see ``Inputs``) into what the learned part reads."""
        clock_s = torch.remainder(clock_s, WEEK_S)  # angles are float32: a clock of years has no minutes left
        levels = cast(Tensor, self.weights) @ history[:, -self.shape.window :]  # (n, 3, F)
        level = levels[:, :1]  # (n, 1, F)
        scale = self._scale(levels[:, 2:])
        steady = self._steady(history[:, -self.shape.window :], level, scale)  # (n, window, F)
        relative = ((levels[:, 1:] - level) / scale).float().flatten(1)
        offset = ((level - cast(Tensor, self.mean)) / cast(Tensor, self.std)).float().clamp(-_CLIP, _CLIP)
        parts = [steady, self._hands(clock_s)]
        summary = [relative, offset.flatten(1), self._clock(clock_s)]
        if self.shape.season:
            course, means, share = self._season(history, known, level, scale)
            parts.append(course)
            summary += [means, share]
        return Scaled(torch.cat(parts, 2), torch.cat(summary, 1), level, scale)

    def _scale(self, level: Tensor) -> Tensor:
        std, mean = cast(Tensor, self.std), cast(Tensor, self.mean)
        if not self.proportional:
            return std.expand_as(level)
        return torch.maximum(level.abs() / mean.abs(), torch.full_like(mean, _FLOOR_SHARE)) * std

    def _steady(self, values: Tensor, level: Tensor, scale: Tensor) -> Tensor:
        return ((values - level) / scale).float().clamp(-_CLIP, _CLIP)

    def _season(
        self, history: Tensor, known: Tensor, level: Tensor, scale: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return what came at this time of the day before, as far as it is known.

        Returns:
            The course (n, window, F) over the window moved on by the horizon, as the mean of the days known;
            means (n, ...) around the targets, of that mean and of the newest day; and the share of the days
            that are known, (n, 1). All relative to the mean around the same moment.
        """
        features, weights = self.num_features, cast(Tensor, self.day_weights)
        # Features before samples, so that what is subtracted of many samples is one number.
        around = history.flatten(1).index_select(1, cast(Tensor, self.day_samples))
        around = around.reshape(-1, features, self.shape.days, len(weights))  # (n, F, days, samples)
        around = self._steady(around, level.reshape(-1, features, 1, 1), scale.reshape(-1, features, 1, 1))
        num_known = (known[:, None] >= cast(Tensor, self.days_need)).sum(1)  # (n,)
        shares = cast(Tensor, self.day_shares).index_select(0, num_known)[:, None]  # (n, 1, 2, days)
        columns = (shares @ around @ weights).flatten(1)  # (n, F * 2 * columns): mean day and newest day
        columns = columns.index_select(1, cast(Tensor, self.day_order))
        size = self.shape.window * features
        course = columns[:, :size].reshape(-1, self.shape.window, features)
        return course, columns[:, size:], num_known[:, None].float() / self.shape.days

    def _hands(self, clock_s: Tensor) -> Tensor:
        """Return sine and cosine of the time of day over the window, (n, window, 2)."""
        at_s = clock_s[:, None, None] + cast(Tensor, self.hand_shifts_s)
        return torch.sin((at_s * (2.0 * np.pi / DAY_S)).float())

    def _clock(self, clock_s: Tensor) -> Tensor:
        """Return the first three harmonics of the day and the first of the week, (n, 8)."""
        angle = clock_s[:, None] * cast(Tensor, self.clock_speeds) + cast(Tensor, self.clock_shifts)
        return torch.sin(angle.float())

    def core(self, window: Tensor, summary: Tensor) -> Tensor:
        """Return scaled forecasts (n, horizon, num_features), measured from the level."""
        last = self.recurrent(window)[0][:, -1]
        both = torch.cat([window.flatten(1), summary], 1)
        result = self.head(torch.cat([last, summary], 1)) + self.linear(both)
        return cast(Tensor, result).reshape(-1, self.horizon, self.num_features)

    def forward(self, history: Tensor, clock_s: Tensor, known: Tensor) -> Tensor:
        """Return forecasts (n, horizon, num_features) in physical units."""
        batch = self.scaled(history, clock_s, known)
        steady = self.core(batch.window, batch.summary).double()
        return batch.level + steady * batch.scale


class HybridNetwork(TunedNetwork):
    """The tuned network on what a weekly course leaves of the series; the course is added to its forecast."""

    def __init__(
        self,
        mean: NDArray[np.float64],
        std: NDArray[np.float64],
        *,
        course: NDArray[np.float64],
        course_step_s: float,
        shape: WindowShape,
        horizon: int,
        step_s: float,
        units: int,
    ) -> None:
        """Build the network.

        Args:
            mean: (num_features,) of what the course leaves.
            std: (num_features,) of what the course leaves.
            course: (samples of a week, num_features) physical units.
            course_step_s: seconds between two samples of the course; values in between are linear.
            shape: what the network looks at.
            horizon: steps ahead.
            step_s: seconds of a step.
            units: size of the recurrent layer.
        """
        super().__init__(
            mean, std, shape=shape, horizon=horizon, step_s=step_s, units=units, proportional=False
        )
        self.course_step_s = course_step_s
        self.register_buffer("course", torch.tensor(course, dtype=torch.float64))

    def at(self, clock_s: Tensor) -> Tensor:
        """Return the course (n, k, num_features) at clocks (n, k) in seconds."""
        course = cast(Tensor, self.course)
        position = torch.remainder(clock_s, WEEK_S) / self.course_step_s
        before = position.floor()
        share = (position - before)[:, :, None]
        first = before.long() % len(course)
        return course[first] * (1.0 - share) + course[(first + 1) % len(course)] * share

    def scaled(self, history: Tensor, clock_s: Tensor, known: Tensor) -> Scaled:
        """Turn inputs into what the learned part reads: what the course leaves of them."""
        steps = torch.arange(1 - self.context, self.horizon + 1, dtype=torch.float64)
        course = self.at(clock_s[:, None] + steps * self.step_s)  # (n, context + horizon, F)
        batch = super().scaled(history - course[:, : self.context], clock_s, known)
        return batch._replace(level=batch.level + course[:, self.context :])


def _level_weights(window: int) -> Tensor:
    """Return the weights (3, window) of exponential means over a window, each row summing to 1."""
    ages = np.arange(window - 1, -1, -1)
    rows = [(1.0 - 2.0 / (span + 1.0)) ** ages for span in _LEVEL_SPANS]
    return torch.tensor(np.array([row / row.sum() for row in rows]), dtype=torch.float64)


def _day_weights(shape: WindowShape, horizon: int) -> NDArray[np.float64]:
    """Return what makes a course and means of the samples around the same moment of another day.

    Returns:
        (samples, columns) for samples from ``window - 1 + reach`` before the moment to ``horizon + reach``
        after it, where ``reach`` is the largest half-width. The first ``window`` columns are the course over
        the window moved on by the horizon, less the mean around the moment. Then come, for each half-width,
        the means around the targets less that around the moment, and the negative mean around the moment.
    """
    reach = shape.half_widths[-1]
    distance = np.arange(-(shape.window - 1) - reach, horizon + reach + 1)[:, None]

    def means(half: int, first: int, last: int) -> NDArray[np.float64]:
        """Return weights (samples, last - first + 1) of means over ``half`` samples on both sides."""
        counts: NDArray[np.bool_] = np.abs(distance - np.arange(first, last + 1)) <= half
        return counts.astype(np.float64) / (2.0 * half + 1.0)

    nearest = shape.half_widths[0]
    columns = [means(nearest, horizon - shape.window + 1, horizon) - means(nearest, 0, 0)]
    for half in shape.half_widths:
        columns += [means(half, 1, horizon) - means(half, 0, 0), -means(half, 0, 0)]
    return np.concatenate(columns, axis=1)


def _day_order(shape: WindowShape, horizon: int, num_features: int) -> NDArray[np.int64]:
    """Return where, among (features, mean and newest day, columns), the inputs of the network are found.

    They are the course of the mean day by sample and feature; then, for both days and each half-width, the
    means by feature and target, and the negative mean by feature.
    """
    width = horizon + 1  # columns of one half-width
    size = 2 * (shape.window + len(shape.half_widths) * width)
    place = np.arange(num_features * size).reshape(num_features, 2, -1)
    order = [place[:, 0, : shape.window].T]
    for day in range(2):
        for first in range(shape.window, place.shape[2], width):
            order += [place[:, day, first : first + horizon], place[:, day, first + horizon]]
    return np.concatenate([part.ravel() for part in order])
