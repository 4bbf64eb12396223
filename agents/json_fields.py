"""Reading plain JSON with the type of every field checked, for files that come from elsewhere."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from podgym.errors import InputError, unknown_name

_Item = TypeVar("_Item")
_LARGEST = 1e300  # above it a whole number may not fit a float


class JsonFields:
    """The fields of one JSON object; each is taken once, by its type, and none may be left over.

    Errors name the field by its whole path, such as ``services[0].max_replicas``.
    """

    def __init__(self, content: object, path: str = "") -> None:
        """Take a JSON object.

        Args:
            content: what was read.
            path: where it stands in the file; empty for the outermost.

        Raises:
            InputError: it is no object.
        """
        if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
            raise InputError(f"{path or 'the description'} is {_shown(content)}; it must be a JSON object.")
        self._content: dict[str, Any] = dict(content)
        self._known = list(content)
        self._path = f"{path}." if path else ""
        self._taken: list[str] = []

    def take(self, name: str) -> object:
        """Return a field of any type.

        Raises:
            InputError: there is no such field.
        """
        self._taken.append(name)
        if name not in self._content:
            raise InputError(f"the field {self._path}{name} is missing.")
        return self._content.pop(name)

    def text(self, name: str) -> str:
        """Return a string."""
        value = self.take(name)
        if not isinstance(value, str):
            raise self._bad(name, value, "a string")
        return value

    def text_or_none(self, name: str) -> str | None:
        """Return a string or null."""
        value = self.take(name)
        if value is not None and not isinstance(value, str):
            raise self._bad(name, value, "a string or null")
        return value

    def whole(self, name: str) -> int:
        """Return a whole number."""
        return self._whole(name, self.take(name))

    def whole_or_none(self, name: str) -> int | None:
        """Return a whole number or null."""
        value = self.take(name)
        return None if value is None else self._whole(name, value)

    def flag(self, name: str, *, default: bool) -> bool:
        """Return true or false; a field that files may lack, and then means ``default``."""
        value = self.take(name) if name in self._content else default
        if not isinstance(value, bool):
            raise self._bad(name, value, "true or false")
        return value

    def number(self, name: str) -> float:
        """Return a finite number."""
        return self._number(name, self.take(name))

    def numbers(self, name: str) -> tuple[float, ...]:
        """Return a list of finite numbers."""
        return self._list(name, self._number)

    def wholes(self, name: str) -> tuple[int, ...]:
        """Return a list of whole numbers."""
        return self._list(name, self._whole)

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of strings."""

        def one(place: str, value: object) -> str:
            if not isinstance(value, str):
                raise self._bad(place, value, "a string")
            return value

        return self._list(name, one)

    def texts_or_none(self, name: str) -> tuple[str, ...] | None:
        """Return a list of strings, or null."""
        if self._content.get(name, ()) is not None:
            return self.texts(name)
        self.take(name)
        return None

    def nested_list(self, name: str) -> tuple["JsonFields", ...]:
        """Return a list of JSON objects."""
        return self._list(name, lambda place, value: JsonFields(value, f"{self._path}{place}"))

    def nested(self, name: str) -> "JsonFields":
        """Return a JSON object."""
        return JsonFields(self.take(name), f"{self._path}{name}")

    def nested_or_none(self, name: str) -> "JsonFields | None":
        """Return a JSON object or null."""
        value = self.take(name)
        return None if value is None else JsonFields(value, f"{self._path}{name}")

    def free(self, name: str) -> dict[str, Any]:
        """Return a JSON object of any content."""
        value = self.take(name)
        if not isinstance(value, Mapping):
            raise self._bad(name, value, "a JSON object")
        return dict(value)

    def finish(self) -> None:
        """Refuse fields that nobody took.

        Raises:
            InputError: there is one; the message names the closest that is known.
        """
        if self._content:
            where = f"field of {self._path.rstrip('.') or 'the description'}"
            raise unknown_name(where, next(iter(self._content)), self._taken)

    def _list(self, name: str, convert: Callable[[str, object], _Item]) -> tuple[_Item, ...]:
        value = self.take(name)
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise self._bad(name, value, "a list")
        return tuple(convert(f"{name}[{index}]", item) for index, item in enumerate(value))

    def _whole(self, name: str, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not abs(value) < _LARGEST:
            raise self._bad(name, value, "a whole number")
        return value

    def _number(self, name: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _LARGEST:
            raise self._bad(name, value, "a finite number")
        return float(value)

    def _bad(self, name: str, value: object, wanted: str) -> InputError:
        return InputError(f"the field {self._path}{name} is {_shown(value)}; it must be {wanted}.")


def plain_json(value: object, path: str, *, lenient: bool = False) -> Any:  # noqa: ANN401  (any JSON value)
    """Return a value as JSON has it: tuples as lists, NumPy numbers as Python's.

    Args:
        value: what is to be written.
        path: where it stands, for messages.
        lenient: write numbers that are not finite as null, and what JSON does not know as text.

    Raises:
        InputError: a value that JSON has no form for, or a key that is no string.
    """
    if hasattr(value, "tolist"):  # NumPy
        value = value.tolist()
    if isinstance(value, Mapping):
        return {_key(key, path): plain_json(each, f"{path}.{key}", lenient=lenient)
                for key, each in value.items()}  # fmt: skip
    if isinstance(value, list | tuple):
        return [plain_json(each, f"{path}[{i}]", lenient=lenient) for i, each in enumerate(value)]
    if value is None or isinstance(value, str | bool | int) or _is_finite(value):
        return value
    if not lenient:
        raise InputError(
            f"{path} is {_shown(value)}; it must be a string, a finite number or a list of them."
        )
    return None if isinstance(value, float) else str(value)


def _is_finite(value: object) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def _key(key: object, path: str) -> str:
    if not isinstance(key, str):
        raise InputError(f"{path} has the key {_shown(key)}; keys must be strings.")
    return key


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of more digits than Python writes, or lists in lists
        return f"a {type(value).__name__} too large to show"
    return text if len(text) <= 60 else f"{text[:57]}..."
