"""Who takes part in a comparison: a controller with its options or a policy, and what tables call it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from podgym.agents.running import load_actor
from podgym.agents.shipped import PRETRAINED, shipped_policy
from podgym.baselines import CONTROLLERS, controller_options, make_controller
from podgym.baselines.own import is_own, own_label
from podgym.errors import InputError, unknown_name

TUNED = " tuned"
"""End of the label of a controller with the tuned options that come with the package."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One row of a comparison."""

    label: str
    """What tables and files call it; no two contenders of a comparison share it."""
    controller: str
    """Name of the controller; of a policy the algorithm that trained it."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the controller; none for a policy."""
    policy: str | None = None
    """File of the policy; None: a controller decides."""


def parse_contenders(texts: Sequence[str], extra: Mapping[str, Any] | None = None) -> tuple[Contender, ...]:
    """Read contenders as they are typed: ``hpa`` or ``static:replicas=16`` or ``my_file.py:Mine:gain=2``.

    Args:
        texts: one per contender.
        extra: options for whichever of the contenders has an option of this name and was not given it.

    Raises:
        InputError: an unknown controller or option, a value that the controller refuses, the same contender
            twice, or an extra option that no contender has.
    """
    parsed = [_parse(text) for text in texts]
    unused = set(extra or {})
    contenders: list[Contender] = []
    for name, options in parsed:
        known = controller_options(name)
        for key, value in (extra or {}).items():
            if key in known:
                options.setdefault(key, value)
                unused.discard(key)
        make_controller(name, **options)
        alone = sum(each == name for each, _ in parsed) == 1
        called = own_label(name) if is_own(name) else name
        label = called if alone or not options else f"{called} {_written(options)}"
        contenders.append(Contender(label, name, options))
    if unused:
        useless = _written({name: value for name, value in (extra or {}).items() if name in unused})
        raise InputError(f"option {useless} is of no use to controller {', '.join(texts)}; leave it out.")
    labels = [each.label for each in contenders]
    for label in labels:
        if labels.count(label) > 1:
            raise InputError(f"controller {label!r} is named twice.")
    return tuple(contenders)


def with_tuned(contenders: Iterable[Contender], environment: str) -> tuple[Contender, ...]:
    """Add the tuned form of each contender that has one for an environment, right behind it.

    A contender that was given options of its own stands for itself and gets no tuned form.
    """
    from podgym.baselines.tuned import tuned_options

    result: list[Contender] = []
    for contender in contenders:
        result.append(contender)
        tuned = None if contender.options else tuned_options(contender.controller, environment)
        if tuned is not None:
            result.append(Contender(f"{contender.controller}{TUNED}", contender.controller, tuned))
    return tuple(result)


def agent_contenders(
    agents: Sequence[str], environment: str, taken: Sequence[str] = ()
) -> tuple[Contender, ...]:
    """Return the contenders of policies, read once to see that they can be.

    A label is the stem of the file, with its folder or its ending where two files share it; ``ppo`` for the
    policy that comes with the package.

    Args:
        agents: files of policies, or ``pretrained``.
        environment: id of the environment, which ``pretrained`` is for.
        taken: labels of other contenders.

    Raises:
        InputError: a file that is no policy, none that comes with the package for the environment, or a label
            that is taken.
    """
    files = [str(shipped_policy(environment)) if agent == PRETRAINED else agent for agent in agents]
    labels = _agent_labels(agents)
    for label, file in zip(labels, files, strict=True):
        if label in taken or labels.count(label) > 1:
            raise InputError(f"two contenders are called {label!r}; give the policy {file} another name.")
    return tuple(
        Contender(label, load_actor(file).description.algorithm, policy=file)
        for label, file in zip(labels, files, strict=True)
    )


def _agent_labels(agents: Sequence[str]) -> list[str]:
    """Return the shortest names that tell policies apart."""
    paths = [Path(agent) for agent in agents]
    stems = ["ppo" if agent == PRETRAINED else path.stem for agent, path in zip(agents, paths, strict=True)]
    longer = [f"{path.absolute().parent.name} {path.stem}" for path in paths]
    return [
        stem if stems.count(stem) == 1 else name if longer.count(name) == 1 else path.name
        for stem, name, path in zip(stems, longer, paths, strict=True)
    ]


def _parse(text: str) -> tuple[str, dict[str, Any]]:
    name, _, listed = text.partition(":")
    if name.endswith(".py"):
        own, _, listed = listed.partition(":")
        name = f"{name}:{own}"
    elif name not in CONTROLLERS:
        raise unknown_name("controller", name, CONTROLLERS)
    options: dict[str, Any] = {}
    known = controller_options(name)
    for part in filter(None, listed.split(",")):
        key, sign, value = part.partition("=")
        if not sign:
            raise InputError(
                f"{text!r}: NAME:OPTION=VALUE,... is needed; options of {name}: {', '.join(known)}."
            )
        if key not in known:
            raise unknown_name(f"option of controller {name!r}", key, known)
        options[key] = _value(value)
    return name, options


def _value(text: str) -> Any:  # noqa: ANN401  (whatever the text stands for)
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _written(options: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in options.items())
