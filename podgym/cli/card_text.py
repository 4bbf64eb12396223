"""Pieces of Markdown, and what the code says of its own settings."""

import ast
import inspect
import json
import textwrap
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

from podgym.cli.envs import setting_fields

_MIB = 1024.0**2


def markdown_table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; a bar inside a cell is escaped."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def join_names(names: Sequence[str], word: str = "and") -> str:
    """Return names as code, with a word before the last: ```a`, `b` and `c```."""
    quoted = [f"`{name}`" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} {word} {quoted[-1]}"


def value_text(value: Any, key: str = "") -> str:  # noqa: ANN401  (any setting)
    """Return a value as it is typed, memory in MiB.

    Args:
        value: any setting.
        key: its name; one that ends in ``_bytes`` is memory.
    """
    if key.endswith("_bytes"):
        return f"{_mebibytes(value)} MiB"
    return json.dumps(_short_numbers(value), default=str)


def _mebibytes(value: Any) -> str:  # noqa: ANN401  (a number, or several)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_mebibytes, value))}]"
    return f"{value / _MIB:g}"


def _short_numbers(value: Any) -> Any:  # noqa: ANN401  (any setting)
    if isinstance(value, list | tuple):
        return [_short_numbers(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def described_settings(config: Any, prefix: str) -> list[tuple[str, str, str]]:  # noqa: ANN401
    """Return key, value and meaning of every setting of a (nested) configuration.

    Args:
        config: a dataclass.
        prefix: start of the keys, such as ``cluster.``.
    """
    return [
        (f"`{key}`", value_text(value, key), field_meanings(owner).get(name, ""))
        for key, value, owner, name in setting_fields(config, prefix)
    ]


@cache
def field_meanings(owner: type) -> dict[str, str]:
    """Return what the docstrings under the fields of a dataclass say, by field, on one line each."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(owner)))
    (definition,) = (node for node in tree.body if isinstance(node, ast.ClassDef))
    return {
        item.target.id: " ".join(after.value.value.split()).replace("``", "`")
        for item, after in pairwise(definition.body)
        if isinstance(item, ast.AnnAssign)
        and isinstance(item.target, ast.Name)
        and isinstance(after, ast.Expr)
        and isinstance(after.value, ast.Constant)
        and isinstance(after.value.value, str)
    }
