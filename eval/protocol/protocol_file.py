"""Protocols as YAML files: those that come with the package, and one's own.

Files are read as plain data, with names given twice and aliases refused: nothing in them can run, and nothing
is silently dropped.
"""

from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from podgym.agents.json_fields import JsonFields
from podgym.errors import InputError, unknown_name
from podgym.eval.protocol.definition import (
    DEFAULT,
    DEV,
    SAME,
    BoundMethod,
    ControllerMethod,
    Method,
    PolicyMethod,
    Protocol,
    RunsMethod,
)
from podgym.files import missing_with_hint

_SUFFIXES = (".yml", ".yaml")


def shipped_protocols() -> tuple[str, ...]:
    """Return the names of the protocols that come with the package, sorted."""
    entries = files("podgym.eval").joinpath("protocols").iterdir()
    return tuple(sorted(entry.name.removesuffix(".yml") for entry in entries if entry.name.endswith(".yml")))


def read_protocol(name: str | Path) -> Protocol:
    """Return a protocol by name, such as ``families``, or from a file ending in ``.yml`` or ``.yaml``.

    Raises:
        InputError: there is none of this name, or see ``parse_protocol``.
    """
    path = Path(name)
    if path.suffix in _SUFFIXES:
        if not path.is_file():
            raise missing_with_hint(path, _SUFFIXES)
        try:
            return parse_protocol(path.read_text(encoding="utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path} cannot be read: {error}.") from error
    if str(name) not in shipped_protocols():
        raise unknown_name("protocol", str(name), shipped_protocols())
    resource = files("podgym.eval").joinpath("protocols", f"{name}.yml")
    return parse_protocol(resource.read_text(encoding="utf-8"), f"{name}.yml")


def parse_protocol(text: str, name: str) -> Protocol:
    """Return the protocol in the text of a file.

    Args:
        text: YAML.
        name: what messages call it.

    Raises:
        InputError: no YAML, an unknown key (with the closest match), or a value that cannot be used.
    """
    try:
        content = yaml.load(text, Loader=_PlainLoader)
    except yaml.YAMLError as error:
        raise InputError(f"{name} is no YAML: {' '.join(str(error).split())}.") from error
    except (ValueError, RecursionError) as error:  # a date such as 2026-13-45, or nested without end
        raise InputError(f"{name} cannot be read: {error}.") from error
    return protocol_of(content, name)


def protocol_of(content: object, name: str) -> Protocol:
    """Return the protocol in plain data, such as JSON of ``Protocol.as_dict()``.

    Args:
        content: what a file holds, lists as lists.
        name: what messages call it.

    Raises:
        InputError: an unknown key (with the closest match), or a value that cannot be used.
    """
    if not isinstance(content, Mapping):
        raise InputError(f"{name} must hold a protocol: name, ids, first_seed, episodes, methods.")
    try:
        return _protocol(content)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


class _PlainLoader(yaml.SafeLoader):
    """Reads plain data, and refuses what plain reading would hide."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:  # noqa: ANN401
        if self.check_event(yaml.AliasEvent):
            line = self.peek_event().start_mark.line + 1  # type: ignore[no-untyped-call]
            raise InputError(f"an alias stands in line {line}; write its content out.")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise InputError(f"{key.value!r} is given twice, again in line {key.start_mark.line + 1}.")
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def _protocol(content: Mapping[str, Any]) -> Protocol:
    defaults = {
        "description": "", "part": "test", "rival": DEV, "changes": {}, "episodes_per_unit": 50,
        "time_limit_s": 600.0, "resamples": 20_000, "processes": 1,
    }  # fmt: skip
    fields = JsonFields({**defaults, **content})
    result: dict[str, Any] = {
        "name": fields.text("name"),
        "ids": fields.texts("ids"),
        "first_seed": fields.whole("first_seed"),
        "episodes": fields.whole("episodes"),
        "methods": fields.take("methods"),
        "description": " ".join(fields.text("description").split()),
        "part": fields.text("part"),
        "rival": fields.text("rival"),
        "changes": fields.free("changes"),
        "episodes_per_unit": fields.whole("episodes_per_unit"),
        "time_limit_s": fields.number("time_limit_s"),
        "resamples": fields.whole("resamples"),
        "processes": fields.whole("processes"),
    }
    fields.finish()
    methods = result.pop("methods")
    if not isinstance(methods, list):
        raise InputError(f"methods is {methods!r:.60}; it must be a list.")
    return Protocol(**result, methods=tuple(_method(each, f"methods[{i}]") for i, each in enumerate(methods)))


def _method(content: object, path: str) -> Method:
    """Return one method; the key that names what it is says which fields it has."""
    if not isinstance(content, Mapping):
        raise InputError(f"{path} is {content!r:.60}; it must be a mapping, such as {{controller: hpa}}.")
    kinds = [kind for kind in _KINDS if kind in content]
    if len(kinds) != 1:
        raise InputError(
            f"{path} has the keys {', '.join(map(str, content))}; it needs one of {', '.join(_KINDS)}, and "
            "not two of them."
        )
    return _KINDS[kinds[0]](content, path)


def _common(content: Mapping[str, Any], path: str, **defaults: object) -> tuple[JsonFields, dict[str, Any]]:
    """Return the fields of a method and, taken from them, those that all methods have."""
    shared = {"label": None, "episodes": None, "optional": False, "ids": None}
    fields = JsonFields({**shared, **defaults, **content}, path)
    optional = fields.take("optional")
    if not isinstance(optional, bool):
        raise InputError(f"{path}.optional is {optional!r}; it must be true or false.")
    label, episodes = fields.text_or_none("label"), fields.whole_or_none("episodes")
    ids = fields.texts_or_none("ids")
    return fields, {"label": label, "episodes": episodes, "optional": optional, "ids": ids}


def _contestant(
    content: Mapping[str, Any], path: str, **defaults: object
) -> tuple[JsonFields, dict[str, Any]]:
    """As ``_common``, for a method that decides by itself."""
    fields, common = _common(content, path, forecaster=None, variant_of=None, changes={}, **defaults)
    own = {name: fields.text_or_none(name) for name in ("forecaster", "variant_of")}
    return fields, {**common, **own, "changes": fields.free("changes")}


def _controller(content: Mapping[str, Any], path: str) -> ControllerMethod:
    fields, common = _contestant(content, path, options=DEFAULT, vary={})
    words = isinstance(content.get("options", DEFAULT), str)
    options = fields.text("options") if words else fields.free("options")
    result = ControllerMethod(fields.text("controller"), options, fields.free("vary"), **common)
    fields.finish()
    return result


def _policy(content: Mapping[str, Any], path: str) -> PolicyMethod:
    fields, common = _contestant(content, path, trained_on=SAME)
    result = PolicyMethod(fields.text("policy"), fields.text("trained_on"), **common)
    fields.finish()
    return result


def _runs(content: Mapping[str, Any], path: str) -> RunsMethod:
    fields, common = _contestant(content, path, algorithm="ppo", trained_on=SAME)
    result = RunsMethod(fields.text("runs"), fields.text("algorithm"), fields.text("trained_on"), **common)
    fields.finish()
    return result


def _bound(content: Mapping[str, Any], path: str) -> BoundMethod:
    fields, common = _common(content, path, quotas=False)
    quotas = fields.take("quotas")
    if not isinstance(quotas, bool):
        raise InputError(f"{path}.quotas is {quotas!r}; it must be true or false.")
    bound = fields.text("bound")
    fields.finish()
    return BoundMethod(bound, quotas, **common)  # type: ignore[arg-type]  # checked on construction


_KINDS: Mapping[str, Callable[[Mapping[str, Any], str], Method]] = {
    "controller": _controller,
    "policy": _policy,
    "runs": _runs,
    "bound": _bound,
}
