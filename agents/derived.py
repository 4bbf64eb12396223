"""Numbers that a policy computes from what it sees, because a small network can hardly make them itself.

Whether to scale turns on ratios (the load now and a minute ago, the replicas needed and there) and on
differences of replicas, over loads that differ by a factor of a hundred. What is needed is the load divided
by the target utilisation: the observation counts loads in shares of what the most replicas can serve.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from podgym.agents.description import PolicyDescription, ServiceSpec
from podgym.errors import unknown_name

Floats = NDArray[np.float32]

TARGET_UTILISATION = 0.7
"""Share of the CPU that replicas are to use, by which a need is counted."""
LEAST = np.float32(0.01)
"""Added to both sides of a ratio: shares below it are as good as none."""
CLIP = np.float32(3.0)
"""Derived numbers are clipped to plus and minus this."""
_GAP_REPLICAS = 4.0  # a difference of so many replicas is 1
_LAGS = (1, 4, 7)
_NEEDED = ("request_rate[-0]", "replicas_wanted[-0]", "replicas_ready[-0]", "plan_replicas")


@dataclass(frozen=True, slots=True)
class _Side:
    """One side of a ratio or a difference: the largest of some columns, times a factor."""

    columns: tuple[int, ...]
    factor: float = 1.0


@dataclass(frozen=True, slots=True)
class _Derived:
    """One derived number."""

    name: str
    above: _Side
    below: _Side
    scale: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class DerivedNumbers:
    """All derived numbers of a policy, ratios first: arrays over them, for whatever computes."""

    names: tuple[str, ...]
    """(d,) what each says."""
    ratios: int
    """How many of them, from the first on, are logarithms of ratios; the rest are differences."""
    columns: tuple[NDArray[np.int64], NDArray[np.int64]]
    """(d, k) each: columns of the observation whose largest stands above, and below."""
    factors: tuple[Floats, Floats]
    """(d,) each: what these are multiplied by."""
    scale: Floats
    """(d,) what ratio or difference is multiplied by."""

    def __call__(self, observations: Floats) -> Floats:
        """Return the derived numbers, (B, d).

        Args:
            observations: (B, n) as the environment gives them, not normalised.
        """
        above, below = (
            np.maximum(observations[:, columns].max(axis=2), np.float32(0.0)) * factor  # shares: never less
            for columns, factor in zip(self.columns, self.factors, strict=True)
        )
        first = self.ratios
        ratios = np.log((above[:, :first] + LEAST) / (below[:, :first] + LEAST))
        values = np.concatenate([ratios, above[:, first:] - below[:, first:]], axis=1) * self.scale
        return np.clip(values, -CLIP, CLIP)


def derived_numbers(description: PolicyDescription) -> DerivedNumbers | None:
    """Return the derived numbers of a policy; None if it has none.

    Raises:
        InputError: its observation lacks a number that they are made of.
    """
    if not description.network.derived:
        return None
    places = {name: index for index, name in enumerate(description.observation_names)}
    ratios, gaps = [], []
    for service in description.services:
        own = {
            name.removeprefix(f"{service.name}."): index
            for name, index in places.items()
            if name.startswith(f"{service.name}.")
        }
        for name in _NEEDED:
            if name not in own:
                raise unknown_name("number that policies with derived numbers read", name, own)
        ratios += list(_ratios(service, own))
        gaps += list(_gaps(service, own))
    return _stacked(ratios, gaps)


def num_derived(description: PolicyDescription) -> int:
    """Return how many derived numbers a policy has."""
    derived = derived_numbers(description)
    return 0 if derived is None else len(derived.names)


def _ratios(service: ServiceSpec, own: dict[str, int]) -> Iterator[_Derived]:
    """Yield the logarithms of ratios of one service, by its columns."""
    rate = _Side((own["request_rate[-0]"],))
    need = _Side(rate.columns, 1.0 / TARGET_UTILISATION)
    nothing = _Side(rate.columns, 0.0)
    yield _Derived(f"{service.name}: ln(request rate)", rate, nothing, 0.5)
    for lag in _LAGS:
        if f"request_rate[-{lag}]" in own:
            before = _Side((own[f"request_rate[-{lag}]"],))
            yield _Derived(f"{service.name}: ln(request rate / {lag} before)", rate, before)
    for part in ("forecast_mean", "forecast_upper"):
        ahead = _all(own, part)
        if ahead:
            yield _Derived(f"{service.name}: ln(highest {part} / request rate)", _Side(ahead), rate)
    for other in ("replicas_wanted[-0]", "replicas_ready[-0]", "plan_replicas"):
        yield _Derived(f"{service.name}: ln(needed / {other})", need, _Side((own[other],)))


def _gaps(service: ServiceSpec, own: dict[str, int]) -> Iterator[_Derived]:
    """Yield the differences of replicas of one service, by its columns."""
    scale = service.max_replicas / _GAP_REPLICAS
    factor = 1.0 / TARGET_UTILISATION
    now = _Side((own["request_rate[-0]"],), factor)
    wanted, ready = (_Side((own[name],)) for name in ("replicas_wanted[-0]", "replicas_ready[-0]"))
    yield _Derived(f"{service.name}: needed - wanted", now, wanted, scale)
    yield _Derived(f"{service.name}: needed - ready", now, ready, scale)
    for part in ("request_rate", "forecast_mean", "forecast_upper"):
        highest = _all(own, part)
        if highest:
            most = _Side(highest, factor)
            yield _Derived(f"{service.name}: most needed by {part} - wanted", most, wanted, scale)


def _all(own: dict[str, int], part: str) -> tuple[int, ...]:
    return tuple(index for name, index in own.items() if name.startswith(f"{part}["))


def _stacked(ratios: list[_Derived], gaps: list[_Derived]) -> DerivedNumbers:
    each = [*ratios, *gaps]
    sides = ([one.above for one in each], [one.below for one in each])
    return DerivedNumbers(
        names=tuple(one.name for one in each),
        ratios=len(ratios),
        columns=(_table(sides[0]), _table(sides[1])),
        factors=(_factors(sides[0]), _factors(sides[1])),
        scale=np.array([one.scale for one in each], dtype=np.float32),
    )


def _table(sides: list[_Side]) -> NDArray[np.int64]:
    """Return the columns of each as rows of one length; the first is repeated, which changes no largest."""
    width = max(len(side.columns) for side in sides)
    rows = [(*side.columns, *side.columns[:1] * (width - len(side.columns))) for side in sides]
    return np.array(rows, dtype=np.int64)


def _factors(sides: list[_Side]) -> Floats:
    return np.array([side.factor for side in sides], dtype=np.float32)
