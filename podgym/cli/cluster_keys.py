"""The keys of the settings of a real cluster as a Markdown table, read from the code."""

import dataclasses
from collections.abc import Iterator

from podgym.cli.card_text import field_meanings, markdown_table, value_text
from podgym.envs.kubernetes.settings import (
    KubernetesSettings,
    MetricsSettings,
    SafetySettings,
    TargetSettings,
)

_PARTS: tuple[tuple[str, type], ...] = (
    ("", KubernetesSettings),
    ("services.NAME.", TargetSettings),
    ("metrics.", MetricsSettings),
    ("safety.", SafetySettings),
)


def cluster_keys() -> str:
    """Return a table of every key with its default and meaning; ``null`` is nothing given."""
    rows = [(f"`{key}`", default, meaning) for key, default, meaning in described_keys()]
    return markdown_table(("key", "default", "meaning"), rows)


def described_keys() -> Iterator[tuple[str, str, str]]:
    """Yield dotted key, default and meaning of every key."""
    for prefix, kind in _PARTS:
        meanings = field_meanings(kind)
        for item in dataclasses.fields(kind):
            key = f"{prefix}{item.name}"
            meaning = meanings.get(item.name, "")
            yield key, _default(item), meaning.replace("None: ", "null: ")


def _default(item: "dataclasses.Field[object]") -> str:
    if item.default is not dataclasses.MISSING:
        return value_text(item.default)
    if item.default_factory is not dataclasses.MISSING:
        made = item.default_factory()
        return "see below" if dataclasses.is_dataclass(made) else value_text(made)
    return "required"
