"""Money and energy of resources: closed forms, and what is refused."""

import pytest

from podgym.errors import InputError
from podgym.eval.charges import LIST_PRICES, PowerModel, PriceTable, parse_prices


def test_money_is_linear_in_both():
    prices = PriceTable(core_hour=2.0, gib_hour=0.5)
    assert prices.money(3.0, 4.0) == 8.0
    assert prices.money(0.0, 0.0) == 0.0
    assert LIST_PRICES.money(1000.0, 0.0) == pytest.approx(40.48)


def test_energy_of_idle_and_busy_cores():
    power = PowerModel(
        idle_w_per_core=1.0, busy_w_per_core=5.0, w_per_gib=0.25, power_usage_effectiveness=2.0
    )
    assert power.energy_wh(8.0, 0.0, 0.0) == 16.0  # requested and idle
    assert power.energy_wh(8.0, 8.0, 0.0) == 80.0  # in full use
    assert power.energy_wh(0.0, 0.0, 4.0) == 2.0


def test_prices_as_they_are_typed():
    assert parse_prices("0.1, 0.02") == PriceTable(0.1, 0.02, "USD", "as given")
    assert parse_prices("1,0,EUR").currency == "EUR"
    for wrong, words in (
        ("0.1", "CORE|core hour"), ("a,b", "'a'"), ("1,-2", "gib_hour is -2"), ("1,2,EUR,x", "core hour"),
        ("nan,1", "core_hour is nan"), ("1,", "core hour"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=words):
            parse_prices(wrong)
