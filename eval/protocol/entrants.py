"""From what a protocol declares to what decides on each environment: files, options, forecasters."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from podgym.agents.shipped import PRETRAINED, shipped_environments, shipped_policies
from podgym.baselines import CONTROLLERS, controller_options, make_controller
from podgym.baselines.own import is_own, own_label
from podgym.baselines.tuned import tuned_entries, tuned_entry, tuned_options
from podgym.envs.config import EnvConfig, override
from podgym.envs.core import open_workload
from podgym.envs.make import scenario_config
from podgym.envs.registration import ENVIRONMENT_IDS
from podgym.errors import InputError, unknown_name
from podgym.eval.bounds.episode import check_config
from podgym.eval.contenders import TUNED as TUNED_SUFFIX
from podgym.eval.forecast_choice import default_forecaster, forecaster_file
from podgym.eval.protocol.definition import (
    ALL,
    DEFAULT,
    DEV,
    EACH,
    SAME,
    TUNED,
    BoundMethod,
    ControllerMethod,
    Method,
    PolicyMethod,
    Protocol,
    RunsMethod,
)
from podgym.eval.tuning.episodes import objective_config
from podgym.eval.tuning.run import read_result
from podgym.files import missing_with_hint

Kind = Literal["controller", "policy", "lower_bound", "clairvoyant"]

_BEST_POLICY = "best.policy"
_RESULT_SUFFIX = ".json"


@dataclass(frozen=True, slots=True)
class Entrant:
    """One thing that decides on one environment; plain data, so that it can go to another process."""

    environment: str
    """Id."""
    method: str
    """Label of the method; its training seeds share it."""
    kind: Kind
    """What it is."""
    episodes: int
    """How many of the protocol's episodes it runs, from the first on."""
    controller: str = ""
    """Name of the controller."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the controller."""
    tuned: bool = False
    """Whether they are the tuned ones that come with the package."""
    policy: str | None = None
    """File of the policy."""
    training_seed: int | None = None
    """Seed of its training, among several."""
    forecaster: str | None = None
    """As of ``podgym.eval.runner.Job``."""
    quotas: bool = False
    """Of a bound: whether quotas may change."""
    variant_of: str | None = None
    """Label of the method whose front it belongs to."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Of the environment, for this method alone."""


def protocol_config(protocol: Protocol, environment: str) -> EnvConfig:
    """Return the configuration of an environment: the part and the changes of the protocol, costs as reward.

    Raises:
        InputError: a change that the environment refuses.
    """
    config = override(scenario_config(ENVIRONMENT_IDS[environment]), protocol.changes)
    if hasattr(open_workload(config), "part"):
        options = {**config.workload_options, "part": protocol.part}
        config = override(config, {"workload_options": options})
    return objective_config(config, "slo_cost")


def resolve(protocol: Protocol) -> tuple[tuple[Entrant, ...], tuple[str, ...]]:
    """Return all entrants, by environment and in the order of the methods, and what was left out.

    Raises:
        InputError: a method that is not to be had (unless it is optional), two of one label, or a rival or a
            base of a variant that is not among the methods.
    """
    entrants: list[Entrant] = []
    remarks: list[str] = []
    for environment in protocol.ids:
        config = protocol_config(protocol, environment)
        own: list[Entrant] = []
        for method in protocol.methods:
            if not method.takes_part_on(environment):
                continue
            try:
                found = list(_entrants(method, environment, config, protocol))
            except InputError as error:
                if not method.optional:
                    raise
                remarks.append(f"left out on {environment}: {error}")
                continue
            count = protocol.episodes if method.episodes is None else method.episodes
            own += [replace(each, episodes=count) for each in found]
        _check_labels(own, environment, protocol.rival)
        entrants += own
    return tuple(entrants), tuple(remarks)


def best_by_dev(entrants: Sequence[Entrant]) -> str | None:
    """Return the label of the tuned controller with the best result on dev; None: there is none.

    Args:
        entrants: of one environment. Test episodes have no part in the choice.
    """
    ledgers: dict[str, Mapping[str, Any]] = {}
    for each in entrants:
        entry = tuned_entry(each.controller, each.environment) if each.tuned else None
        scored = entry is not None and entry.ledger.get("tuned_dev_mean") is not None
        if entry is not None and scored and each.variant_of is None and not each.changes:
            ledgers[each.method] = entry.ledger
    if not ledgers:
        return None
    common = min(_dev_episodes(ledger) for ledger in ledgers.values())
    return min(ledgers, key=lambda label: _dev_score(ledgers[label], common))


def _dev_episodes(ledger: Mapping[str, Any]) -> int:
    first, last = ledger["dev_seeds"]
    return int(last) - int(first) + 1


def _dev_score(ledger: Mapping[str, Any], episodes: int) -> float:
    """Return the mean over the first dev episodes, on which all were run; searches differ in their number."""
    values = ledger.get("tuned_dev_values", [])[:episodes]
    return float(sum(values)) / len(values) if values else float(ledger["tuned_dev_mean"])


def _check_labels(entrants: Sequence[Entrant], environment: str, rival: str) -> None:
    labels = {each.method for each in entrants}
    if not entrants:
        raise InputError(f"no method is left for {environment}.")
    keys = [(each.method, each.training_seed) for each in entrants]
    for label, seed in keys:
        if keys.count((label, seed)) > 1:
            raise InputError(f"two methods on {environment} are called {label!r}; give one another label.")
    for each in entrants:
        if each.variant_of is not None and each.variant_of not in labels:
            raise unknown_name(f"method that {each.method!r} is a variant of:", each.variant_of, labels)
    if rival != DEV and rival not in labels:
        raise unknown_name(f"rival on {environment}", rival, labels)


def _entrants(method: Method, environment: str, config: EnvConfig, protocol: Protocol) -> Iterator[Entrant]:
    if isinstance(method, ControllerMethod):
        names = [method.controller]
        if method.controller == ALL:
            names = _all_tuned(method, environment)
        for name in names:
            yield from _of_controller(replace(method, controller=name), environment, config)
    elif isinstance(method, BoundMethod):
        check_config(config)
        words = {"lower_bound": "lower bound", "clairvoyant": "clairvoyant"}[method.bound]
        label = method.label or words + (", quotas" if method.quotas else "")
        yield Entrant(environment, label, method.bound, 0, quotas=method.quotas)
    elif isinstance(method, PolicyMethod):
        yield from _of_policy(method, environment, protocol.ids)
    else:
        yield from _of_runs(method, environment, protocol.ids)


def _all_tuned(method: ControllerMethod, environment: str) -> list[str]:
    if method.options != TUNED or method.vary or method.label or method.variant_of:
        raise InputError(
            "controller 'all' goes with options 'tuned', and without label, vary, variant_of or changes."
        )
    return [entry.controller for entry in tuned_entries() if entry.environment == environment]


def _of_controller(method: ControllerMethod, environment: str, config: EnvConfig) -> Iterator[Entrant]:
    name = method.controller
    if name not in CONTROLLERS and not is_own(name):
        raise unknown_name("controller", name, (*CONTROLLERS, ALL))
    options = _options(method, environment)
    make_controller(name, **options)
    written = "" if isinstance(method.options, str) else _written(method.options)
    label = method.label or (own_label(name) if is_own(name) else name) + (
        TUNED_SUFFIX if method.options == TUNED else written
    )
    word = method.forecaster or default_forecaster([name], config.workload)
    base = Entrant(
        environment, label, "controller", 0, controller=name, options=options, tuned=method.options == TUNED,
        forecaster=forecaster_file(word, config.workload), variant_of=method.variant_of,
        changes=method.changes,
    )  # fmt: skip
    yield base
    if len(method.vary) > 1:
        raise InputError(f"vary of {label!r} names {len(method.vary)} options; a front varies one.")
    for option, values in method.vary.items():
        if option not in controller_options(name):
            raise unknown_name(f"option of controller {name!r}", option, controller_options(name))
        if not isinstance(values, list) or not values:
            raise InputError(f"vary of {label!r}: {option} is {values!r:.60}; it must be a list of values.")
        for value in values:
            varied = {**options, option: value}
            make_controller(name, **varied)
            own = f"{label}{_written({option: value})}"
            yield replace(base, method=own, options=varied, tuned=False, variant_of=label)


def _options(method: ControllerMethod, environment: str) -> dict[str, Any]:
    if not isinstance(method.options, str):
        return dict(method.options)
    if method.options == DEFAULT:
        return {}
    if method.options.endswith(_RESULT_SUFFIX):
        return _options_of_result(method, environment)
    if method.options != TUNED:
        raise unknown_name("word for options", method.options, (DEFAULT, TUNED))
    options = tuned_options(method.controller, environment)
    if options is None:
        raise InputError(
            f"controller {method.controller!r} was not tuned on {environment}; give it options, or tune it "
            "with podgym tune."
        )
    return options


def _options_of_result(method: ControllerMethod, environment: str) -> dict[str, Any]:
    """Return the options that ``podgym tune`` found, if for this controller, environment and changes."""
    path = str(method.options)
    result = read_result(Path(path))
    wanted = tuple(f"{name}={value}" for name, value in sorted(method.changes.items()))
    asked = {"controller": method.controller, "environment": environment, "changes": wanted}
    for name, value in asked.items():
        found = tuple(sorted(result[name])) if name == "changes" else result[name]
        if found != value:
            raise InputError(f"{path} was tuned for {name} {found!r}, but the method has {value!r}.")
    return dict(result["best"]["options"])


def _of_policy(method: PolicyMethod, environment: str, ids: Sequence[str]) -> Iterator[Entrant]:
    if method.policy != PRETRAINED:
        if method.trained_on != SAME:
            raise InputError("trained_on goes with policy 'pretrained' and with runs; a file is one policy.")
        path = Path(method.policy)
        if not path.is_file():
            raise missing_with_hint(path, (".policy", ".onnx"))
        yield _policy_entrant(method, environment, method.label or path.stem, path, None)
        return
    label = method.label or "ppo"
    for trained_on, own in _trained_on(method.trained_on, label, environment, ids):
        if method.optional and method.trained_on == EACH and trained_on not in shipped_environments():
            continue
        for seed, path in shipped_policies(trained_on).items():
            yield _policy_entrant(method, environment, own, path, seed)


def _of_runs(method: RunsMethod, environment: str, ids: Sequence[str]) -> Iterator[Entrant]:
    label = method.label or method.algorithm
    for trained_on, own in _trained_on(method.trained_on, label, environment, ids):
        for seed, path in _best_policies(method, trained_on):
            yield _policy_entrant(method, environment, own, path, seed)


def _policy_entrant(
    method: PolicyMethod | RunsMethod, environment: str, label: str, path: Path, seed: int | None
) -> Entrant:
    return Entrant(
        environment, label, "policy", 0, policy=str(path), training_seed=seed, forecaster=method.forecaster,
        variant_of=method.variant_of, changes=method.changes,
    )  # fmt: skip


def _trained_on(
    trained_on: str, label: str, environment: str, ids: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """Yield ids of trainings with the labels of what was trained there."""
    if trained_on == SAME:
        yield environment, label
    elif trained_on == EACH:
        for each in ids:
            yield each, f"{label} of {short_id(each)}"
    elif trained_on in ENVIRONMENT_IDS:
        yield trained_on, label
    else:
        raise unknown_name("value of trained_on", trained_on, (SAME, EACH, *ENVIRONMENT_IDS))


def _best_policies(method: RunsMethod, trained_on: str) -> list[tuple[int, Path]]:
    """Return training seeds and best policies of the runs on an environment, by seed."""
    root = Path(method.runs)
    folder = root / short_id(trained_on)
    pattern = f"{method.algorithm}-seed*/{_BEST_POLICY}"
    found = sorted((folder if folder.is_dir() else root).glob(pattern))
    seeds = [re.fullmatch(r".*-seed(\d+)", path.parent.name) for path in found]
    runs = sorted((int(seed[1]), path) for seed, path in zip(seeds, found, strict=True) if seed)
    if not runs:
        raise InputError(
            f"there is no {pattern} in {folder}, nor in {root}; train with podgym train --env {trained_on} "
            f"--algo {method.algorithm} --seed S --logdir {root}."
        )
    return runs


def short_id(environment: str) -> str:
    """Return an id without its namespace: ``Burst-v0``."""
    return environment.rpartition("/")[2]


def _written(options: Mapping[str, Any]) -> str:
    """Return options as the end of a label: `` cpu_target_percent=60``."""
    return "".join(f" {key}={value}" for key, value in options.items())
