"""What is left out of files: whatever could be a secret in settings or in a command line."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from podgym.envs.kubernetes.settings import KubernetesSettings

HIDDEN = "***"

_SECRET = re.compile(
    r"token|passw|secret|authori[sz]ation|bearer|cookie|credential|api[-_]?key", re.IGNORECASE
)
_URL = re.compile(r"[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE)


def public_settings(settings: KubernetesSettings) -> dict[str, Any]:
    """Return settings as plain data; addresses lose user, password and query, all else is no secret."""
    plain = dataclasses.asdict(settings)
    return {name: _public(value) for name, value in plain.items()}


def public_words(words: Sequence[str]) -> list[str]:
    """Return the words of a command without what looks like a secret.

    A word that names a secret keeps its part before ``=`` or ``:`` and loses the rest; without such a part
    the next word is hidden.
    """
    shown: list[str] = []
    hide_next = False
    for word in words:
        if hide_next:
            shown.append(HIDDEN)
            hide_next = False
        elif _SECRET.search(word):
            head = re.match(r"[^=:]*[=:]", word)
            shown.append(f"{head[0]}{HIDDEN}" if head else word)
            hide_next = head is None
        else:
            shown.append(public_text(word))
    return shown


def public_text(text: str) -> str:
    """Return text whose addresses have lost user, password and query."""
    return _URL.sub(lambda match: _public_url(match[0]), text)


def _public(value: Any) -> Any:  # noqa: ANN401  (any plain value)
    if isinstance(value, str):
        return public_text(value)
    if isinstance(value, Mapping):
        return {
            str(key): HIDDEN if _holds_secret(key, each) else _public(each) for key, each in value.items()
        }
    if isinstance(value, list | tuple):
        return [_public(each) for each in value]
    return value


def _holds_secret(key: object, value: object) -> bool:
    """Whether a value belongs to a secret's name; the path of a file with one is no secret."""
    return isinstance(value, str) and bool(_SECRET.search(str(key))) and not str(key).endswith("_file")


def _public_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return HIDDEN
    host = f"[{host}]" if ":" in host else host
    return urlunsplit((parts.scheme, f"{host}{port}", parts.path, "", ""))
