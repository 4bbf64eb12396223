"""Answers to cases that put their questions into what they expect.

Such a case expects pairs, say of a percentile and its value, which its input does not show. What is
computed for it is an ``Answer``, which is equal to every list of right pairs and to nothing else.
"""

from collections.abc import Callable
from math import isclose
from typing import Any, Self, TypeAlias

Json: TypeAlias = Any
Judge: TypeAlias = Callable[[Json], bool]

_RELATIVE_TOLERANCE = 1e-12


class Answer(str):
    """Something that can only be compared with an expected value by asking it.

    It is a text so that a report of what was got can print it, also as JSON.
    """

    _agrees: Judge

    def __new__(cls, shown: object, agrees: Judge) -> Self:
        """Wrap a judgement.

        Args:
            shown: what a report prints.
            agrees: whether an expected value is right; it may raise what a malformed one makes it raise.
        """
        answer = super().__new__(cls, shown)
        answer._agrees = agrees
        return answer

    def __eq__(self, expected: object) -> bool:
        """Whether an expected value is right; one that cannot be read is not."""
        try:
            return self._agrees(expected)
        except (TypeError, ValueError, LookupError, AttributeError):
            return False

    def __ne__(self, expected: object) -> bool:
        """Whether an expected value is wrong."""
        return not self == expected

    __hash__ = str.__hash__


def answer_pairs(shown: object, function: Callable[[Json], float]) -> Answer:
    """Answer pairs of an argument and the value that a function has there."""

    def agrees(expected: Json) -> bool:
        return isinstance(expected, list) and all(
            isclose(value, function(argument), rel_tol=_RELATIVE_TOLERANCE) for argument, value in expected
        )

    return Answer(shown, agrees)


def answer_within(*numbers: float, relative: float = 0.0, absolute: float = 0.0) -> Answer:
    """Answer a number that need not be met exactly.

    Args:
        numbers: the number; if it can be told in several units, in each of them.
        relative: tolerance as a fraction of what is expected.
        absolute: tolerance beside it.
    """

    def agrees(expected: Json) -> bool:
        return any(abs(number - expected) <= absolute + relative * abs(expected) for number in numbers)

    return Answer(" or ".join(map(str, numbers)), agrees)
