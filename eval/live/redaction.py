"""What is left out of files: whatever could be a secret in settings, in a command line or in its output."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from podgym.envs.kubernetes.settings import KubernetesSettings

HIDDEN = "***"

_NAME = (
    r"(?:token|passw|passphrase|pass(?![a-z])|pwd|secret|auth(?!or(?!i))|bearer|cookie|credential|signature"
    r"|jwt|(?<![a-z])key(?![a-z])|(?:api|access|private)[-_]?key)"
)
_SECRET = re.compile(_NAME, re.IGNORECASE)
_URL = re.compile(r"[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE)
_SHORTEST = 4  # characters of a secret that is looked for in output; shorter ones stand in any text
_LOGIN, _HEADER = ("-u", "-U", "-a", "--user"), ("-H", "--header")
_JOINED_LOGIN = re.compile(r"(-[uUa]|--user=)(?!-)[^\s:]+:(?!//)")
_JOINED_HEADER = re.compile(r"(?:-H|--header=)?([\w-]+):(?!//)")
_IN_TEXT = (
    re.compile(rf"(-[\w-]*{_NAME}[\w-]*\s+)(?!-)(?:(['\"]).*?\2|\S+)", re.IGNORECASE),
    re.compile(
        rf"([\w-]*{_NAME}[\w-]*['\"]?\s*[=:]\s*['\"]?)(?:(?:bearer|basic|token)\s+)?[^\s'\"]+", re.IGNORECASE
    ),
    re.compile(r"(\b(?:bearer|basic)\s+)[\w.~+/=-]{3,}", re.IGNORECASE),
    re.compile(r"((?<!\S)(?:-[uUa]|--user)[\s=]*)[^\s:]+:(?!//)\S+"),
    re.compile(r"((?<!\S)(?:-H|--header)[\s=]*['\"]?[\w-]+:(?!//)\s*)[^'\"\n]+"),
)
"""What is found in a text: a part that is kept, and a secret after it."""


def public_settings(settings: KubernetesSettings) -> dict[str, Any]:
    """Return settings as plain data; addresses lose user, password and query, all else is no secret."""
    plain = dataclasses.asdict(settings)
    return {name: _public(value) for name, value in plain.items()}


def public_words(words: Sequence[str]) -> list[str]:
    """Return the words of a command without what looks like a secret.

    A word that names a secret keeps its part before ``=`` or ``:`` and loses the rest; without such a part
    the next word is hidden. Headers keep their names. A login ``user:password`` after ``-u``, ``-a`` or
    ``--user`` is hidden. Words with spaces, such as the script of a shell, are looked at as a text.
    """
    shown: list[str] = []
    before = ""
    for word in words:
        now = _shown(word, before)
        shown.append(now)
        before = word if now == word else ""  # what was hidden hides nothing after it
    return shown


def public_text(text: str) -> str:
    """Return text whose addresses have lost user, password and query."""
    return _URL.sub(lambda match: _public_url(match[0]), text)


def public_output(text: str, words: Sequence[str]) -> str:
    """Return what a command printed without what looks like a secret.

    Args:
        text: what it printed.
        words: its words; what is hidden of them is hidden in the text, too.
    """
    for word, shown in zip(words, public_words(words), strict=True):
        head = shown.removesuffix(HIDDEN)
        hidden = word.removeprefix(head).strip() if shown.endswith(HIDDEN) else ""
        for each in (hidden, hidden.rpartition(":")[2], hidden.rpartition(" ")[2]):
            text = text.replace(each, HIDDEN) if len(each) >= _SHORTEST else text
    return _secret_free(text)


def _shown(word: str, before: str) -> str:
    """Return a word of a command without its secret; ``before`` is the word before it."""
    address = _URL.match(word) is not None
    if _names_secret(before):
        return HIDDEN
    if before in _LOGIN and ":" in word and not address:
        return HIDDEN
    if before in _HEADER and not address:
        return _kept(re.match(r"[\w-]+:\s*", word))
    login = _JOINED_LOGIN.match(word)
    if login is not None:
        return f"{login[1]}{HIDDEN}"
    header = _JOINED_HEADER.match(word)
    if header is not None and (word.startswith(_HEADER) or _SECRET.search(header[1])):
        return _kept(header)
    if any(each.isspace() for each in word):
        return _secret_free(word)
    if _SECRET.search(word):
        head = re.match(r"[^=:]*[=:]", word)
        return word if head is None else _kept(head)
    return public_text(word)


def _names_secret(word: str) -> bool:
    """Whether a word names a secret that comes with the next one."""
    return bool(_SECRET.search(word)) and not re.search(r"[=:\s]", word)


def _kept(head: re.Match[str] | None) -> str:
    return HIDDEN if head is None else f"{head[0]}{HIDDEN}"


def _secret_free(text: str) -> str:
    text = public_text(text)
    for pattern in _IN_TEXT:
        text = pattern.sub(lambda match: f"{match[1]}{HIDDEN}", text)
    return text


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
