"""What resources cost beyond the reward: money by a price table, energy by a power model.

Neither is what a controller is tuned or trained for: they are other views of the same resources.
"""

import math
from dataclasses import dataclass, fields

from podgym.errors import InputError


def _require_amounts(table: object, *names: str) -> None:
    for name in names:
        value = getattr(table, name)
        if not 0.0 <= value < math.inf:
            raise InputError(f"{name} is {value!r}; it must be a number of 0 or more.")


@dataclass(frozen=True, slots=True)
class PriceTable:
    """What requested resources are billed at."""

    core_hour: float = 0.04048
    """Price of a core for an hour."""
    gib_hour: float = 0.004445
    """Price of a GiB of memory for an hour."""
    currency: str = "USD"
    """What both are in."""
    source: str = "AWS Fargate, Linux on x86, us-east-1, on demand, November 2026"
    """Where they come from."""

    def __post_init__(self) -> None:
        _require_amounts(self, "core_hour", "gib_hour")

    def money(self, core_hours: float, gib_hours: float) -> float:
        """Return what requested resources cost."""
        return self.core_hour * core_hours + self.gib_hour * gib_hours


@dataclass(frozen=True, slots=True)
class PowerModel:
    """Power of a server, shared out by cores: linear in their use, as Fan, Weber and Barroso found.

    X. Fan, W.-D. Weber, L. A. Barroso, "Power Provisioning for a Warehouse-sized Computer" (ISCA 2007). The
    constants are the averages for AWS of the Cloud Carbon Footprint methodology (2022). A core that is
    requested and idle is charged its idle power: nobody else can have it.
    """

    idle_w_per_core: float = 0.74
    """Power of an idle core, watts."""
    busy_w_per_core: float = 3.5
    """Power of a core in full use, watts."""
    w_per_gib: float = 0.392
    """Power of a GiB of memory, watts."""
    power_usage_effectiveness: float = 1.135
    """Power of the whole data centre / power of its computers."""

    def __post_init__(self) -> None:
        _require_amounts(self, *(each.name for each in fields(self)))

    def energy_wh(self, requested_core_hours: float, used_core_hours: float, gib_hours: float) -> float:
        """Return the energy of resources over time, watt hours."""
        cores = self.idle_w_per_core * requested_core_hours
        cores += (self.busy_w_per_core - self.idle_w_per_core) * used_core_hours
        return self.power_usage_effectiveness * (cores + self.w_per_gib * gib_hours)


LIST_PRICES = PriceTable()
"""Prices unless told otherwise."""
POWER = PowerModel()
"""The power model of the measures."""


def parse_prices(text: str) -> PriceTable:
    """Read prices as they are typed: ``CORE_HOUR,GIB_HOUR`` or ``CORE_HOUR,GIB_HOUR,CURRENCY``.

    Raises:
        InputError: anything else, or a price below 0.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) not in (2, 3) or not all(parts):
        raise InputError(
            f"prices are {text!r}; write the price of a core hour, that of a GiB hour and, if not USD, the "
            "currency: 0.0445,0.0049 or 0.041,0.0045,EUR."
        )
    try:
        core_hour, gib_hour = (float(part) for part in parts[:2])
    except ValueError as error:
        raise InputError(f"prices are {text!r}: {error}.") from error
    currency = parts[2] if len(parts) == 3 else LIST_PRICES.currency
    return PriceTable(core_hour, gib_hour, currency, "as given")
