"""Files of settings in RL Zoo's layout: one per algorithm, keyed by environment id.

The block ``default`` holds what all ids share; the block of an id is laid over it, and changes from the
command line over both. Files are YAML, read as plain data: nothing in them can run.
"""

from collections.abc import Mapping
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from podgym.agents.description import ALGORITHMS
from podgym.envs.config import override
from podgym.envs.registration import ENVIRONMENT_IDS
from podgym.errors import InputError, unknown_name
from podgym.files import missing_with_hint
from podgym.train.settings import TUNED, PlannerSettings, TrainingSettings
from podgym.train.values import build

DEFAULT = "default"
"""Name of the block that every id's block is laid over."""
FORECASTER_WORDS = ("shipped", "naive", "oracle")
"""Forecasters that need no file."""

_LSTM_HIDDEN_SIZE = 64
_RECURRENT = "recurrent_ppo"
_SUFFIXES = (".yml", ".yaml")
_MOST_VALUES = 100_000


def settings_for(
    algorithm: str,
    environment: str,
    *,
    file: str | Path | None = None,
    changes: Mapping[str, Any] | None = None,
) -> TrainingSettings:
    """Return the settings of a run.

    Args:
        algorithm: one of ``ALGORITHMS``.
        environment: id of an environment.
        file: takes the place of the file that ships for the algorithm; settings that it does not name
            have the defaults of ``TrainingSettings``.
        changes: settings to change, nested or with dotted names.

    Raises:
        InputError: an unknown name (with the closest match), a value that cannot be used, or settings that
            contradict each other or the environment.
    """
    if algorithm not in ALGORITHMS:
        raise unknown_name("algorithm", algorithm, ALGORITHMS)
    if environment not in ENVIRONMENT_IDS:
        raise unknown_name("environment", environment, ENVIRONMENT_IDS)
    if file is None:
        name = f"{algorithm}.yml"
        blocks = parse_blocks(files("podgym.train").joinpath(name).read_text(encoding="utf-8"), name)
    else:
        name = str(file)
        blocks = read_blocks(Path(file))
    if environment not in blocks and DEFAULT not in blocks:
        raise InputError(
            f"{name} has neither a block {environment!r} nor one named {DEFAULT!r}; it has "
            f"{', '.join(blocks) or 'none'}."
        )
    values = laid_over(blocks.get(DEFAULT, {}), blocks.get(environment, {}))
    settings = build(TrainingSettings, laid_over(values, changes or {}))
    settings = _with_lstm(settings, algorithm)
    _check_environment(settings, environment)
    _check_controllers(settings, environment)
    _check_forecaster(settings.forecaster)
    return settings


def read_blocks(path: Path) -> dict[str, dict[str, Any]]:
    """Return the blocks of a file by name, as they stand.

    Raises:
        InputError: no such file, or see ``parse_blocks``.
    """
    if not path.is_file():
        raise missing_with_hint(path, _SUFFIXES)
    try:
        return parse_blocks(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}.") from error


def parse_blocks(text: str, name: str) -> dict[str, dict[str, Any]]:
    """Return the blocks in the text of a file of settings.

    Args:
        text: YAML.
        name: what messages call it.

    Raises:
        InputError: no YAML, a name given twice, an unknown id, or a block that is no mapping.
    """
    try:
        _check_nodes(yaml.compose(text, Loader=yaml.SafeLoader), name, {})
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{name} is no YAML: {' '.join(str(error).split())}.") from error
    except (ValueError, RecursionError) as error:  # a date such as 2026-13-45, or nested without end
        if isinstance(error, InputError):
            raise
        raise InputError(f"{name} cannot be read: {error}.") from error
    if not isinstance(content, Mapping):
        raise InputError(f"{name} must hold blocks of settings by environment id, or one named {DEFAULT!r}.")
    for block, values in content.items():
        if block != DEFAULT and block not in ENVIRONMENT_IDS:
            raise unknown_name(f"environment in {name}:", block, (*ENVIRONMENT_IDS, DEFAULT))
        if not isinstance(values, Mapping | None):
            raise InputError(f"{name}: the block {block!r} must be a mapping of settings.")
    return {str(block): dict(values or {}) for block, values in content.items()}


def laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``below`` with what ``above`` says; mappings in both are laid over each other in turn.

    A mapping that names another controller starts afresh: options belong to the controller.
    """
    result = dict(below)
    for name, value in _nested(above).items():
        old = result.get(name)
        if not isinstance(value, Mapping):
            result[name] = value
            continue
        same = isinstance(old, Mapping) and value.get("controller", old.get("controller")) == old.get(
            "controller"
        )
        result[name] = laid_over(old if isinstance(old, Mapping) and same else {}, value)
    return result


def controller_options(controller: str, options: str | Mapping[str, Any], environment: str) -> dict[str, Any]:
    """Return the options that a planner or a teacher is made with.

    Args:
        controller: name of a controller.
        options: a mapping, or ``tuned``.
        environment: id whose tuned options are meant; where the controller was not tuned, none.
    """
    from podgym.baselines.tuned import tuned_options

    if options == TUNED:
        return tuned_options(controller, environment) or {}
    return dict(options) if isinstance(options, Mapping) else {}


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping whose dotted names are written out: ``{"a.b": 1}`` is ``{"a": {"b": 1}}``."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        first, _, rest = str(key).partition(".")
        if rest:
            value = {rest: value}
        before = result.get(first)
        both = isinstance(before, Mapping) and isinstance(value, Mapping)
        result[first] = {**before, **value} if both else value  # type: ignore[dict-item]
    return result


def _check_nodes(node: Any, name: str, sizes: dict[int, int]) -> int:  # noqa: ANN401  (part of a YAML tree)
    """Return the number of values below a node, written out, and refuse what plain reading would hide.

    Of a name that is given twice YAML silently takes the last; and aliases can hide a file of a billion
    values, or one without end, in a few lines.
    """
    line = node.start_mark.line + 1 if node is not None else 1
    if id(node) in sizes:
        if not sizes[id(node)]:
            raise InputError(f"{name} refers to itself in line {line}; write it out.")
        return sizes[id(node)]
    sizes[id(node)] = 0  # until it is known
    children = node.value if isinstance(node, yaml.SequenceNode) else []
    if isinstance(node, yaml.MappingNode):
        _check_names([key for key, _ in node.value], name)
        children = [value for _, value in node.value]
    size = 1 + sum(_check_nodes(child, name, sizes) for child in children)
    if size > _MOST_VALUES:
        raise InputError(
            f"{name} holds more than {_MOST_VALUES} values by line {line}; that is no settings file."
        )
    sizes[id(node)] = size
    return size


def _check_names(keys: list[Any], name: str) -> None:
    seen: set[str] = set()
    for key in keys:
        if isinstance(key, yaml.ScalarNode):
            if key.value in seen:
                line = key.start_mark.line + 1
                raise InputError(f"{name} gives {key.value!r} twice, the second time in line {line}.")
            seen.add(key.value)


def _with_lstm(settings: TrainingSettings, algorithm: str) -> TrainingSettings:
    size = settings.policy_kwargs.lstm_hidden_size
    if algorithm == _RECURRENT:
        policy = replace(settings.policy_kwargs, lstm_hidden_size=size or _LSTM_HIDDEN_SIZE)
        return replace(settings, policy_kwargs=policy)
    if size is not None:
        raise InputError(
            f"policy_kwargs.lstm_hidden_size is {size}, but {algorithm} has no LSTM; leave it out, or train "
            f"with {_RECURRENT}."
        )
    return settings


def _check_environment(settings: TrainingSettings, environment: str) -> None:
    from podgym.envs.make import scenario_config

    try:
        config = override(scenario_config(ENVIRONMENT_IDS[environment]), settings.env_kwargs)
    except InputError as error:
        raise InputError(f"env_kwargs: {error}") from error
    if settings.prior is not None and config.action.mode != "delta":
        raise InputError(
            f"prior needs actions of mode 'delta', but env_kwargs.action.mode is {config.action.mode!r}; set "
            "prior to null, or leave the mode out."
        )


def _check_controllers(settings: TrainingSettings, environment: str) -> None:
    from podgym.baselines import PlanningController, make_controller

    for name, chosen in (("planner", settings.planner), ("clone", settings.clone)):
        if chosen is None:
            continue
        options = controller_options(chosen.controller, chosen.options, environment)
        try:
            controller = make_controller(chosen.controller, **options)
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
        if isinstance(chosen, PlannerSettings) and not isinstance(controller, PlanningController):
            raise InputError(
                f"planner.controller is {chosen.controller!r}, which makes no plans; lstm_ga does."
            )


def _check_forecaster(forecaster: str) -> None:
    if forecaster not in FORECASTER_WORDS and not Path(forecaster).is_file():
        raise InputError(
            f"forecaster {forecaster!r} is none of {', '.join(FORECASTER_WORDS)}, and "
            f"{missing_with_hint(Path(forecaster), ('.forecaster', '.onnx'))}"
        )
