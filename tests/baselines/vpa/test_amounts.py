import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podgym.baselines.vpa import (
    MAX_AMOUNT,
    amount_from_float,
    bytes_from_memory_amount,
    cores_from_cpu_amount,
    cpu_amount_from_cores,
    humanize_memory,
    memory_amount_from_bytes,
    round_up_to_scale,
    rounded_amount,
    scale_amount,
)
from podgym.errors import InputError


@pytest.mark.parametrize(
    ("number", "amount"),
    [
        (1.9, 1),
        (-0.1, 0),
        (-9.0, 0),
        (1e14, MAX_AMOUNT),
        (2e14, MAX_AMOUNT),
        (math.inf, MAX_AMOUNT),
        (-math.inf, 0),
        (math.nan, 0),
    ],
)
def test_floats_are_truncated_into_range(number, amount):
    assert amount_from_float(number) == amount
    assert memory_amount_from_bytes(number) == amount


def test_units():
    assert cpu_amount_from_cores(0.1239) == 123
    assert cores_from_cpu_amount(123) == 0.123
    assert bytes_from_memory_amount(7) == 7.0
    assert scale_amount(10, 0.39) == 3
    assert scale_amount(10**13, 11.0) == MAX_AMOUNT
    assert scale_amount(10, -1.0) == 0


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0"),
        (1023, "1023"),
        (1024, "1.00Ki"),
        (1024**2 - 1, "1024.00Ki"),
        (1024**3 * 5 // 2, "2.50Gi"),
        (3 * 1024**4, "3.00Ti"),
        (5000 * 1024**4, "5000.00Ti"),
    ],
)
def test_memory_in_words(amount, text):
    assert humanize_memory(amount) == text


@given(st.integers(0, 10**14), st.integers(1, 10**9))
def test_rounding_up_gives_the_next_multiple(amount, scale):
    rounded = round_up_to_scale(amount, scale)
    assert rounded % scale == 0
    # The division is in float64, as upstream's, so a large quotient may lose its last digit.
    assert amount - scale * 1e-2 <= rounded < amount + scale * 1.01
    assert rounded_amount(amount, scale) == rounded


@pytest.mark.parametrize("scale", [0, -5])
def test_a_scale_must_be_positive(scale):
    with pytest.raises(InputError, match=f"is {scale}"):
        round_up_to_scale(10, scale)
    assert rounded_amount(10, scale) == 10
