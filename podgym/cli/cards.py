"""The page of all environments as Markdown: what they share once, then a card per id.

Nothing here is a fact: names, meanings, units, values and sources are read from the code, so that the page
cannot say anything else than the code does.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from podgym.cli import card_sections
from podgym.cli.card_text import join_names, markdown_table, value_text
from podgym.cli.envs import about, setting_leaves

if TYPE_CHECKING:
    from podgym.envs.config import EnvConfig
    from podgym.envs.env import AutoscaleEnv
    from podgym.envs.simulator.parameters import ServiceConfig

_WORKLOAD_KEYS = ("workload", "workload_options")
_BEST_SHOWN = 3
_PAGE = """\
# Environments

<!-- Written by `podgym envs --cards > docs/environments.md`; a test compares. Change the code instead. -->

What each registered id is made of. All are simulated Kubernetes clusters; replicas and quotas of their
services are decided. What they share stands first, once; the cards at the end say what is special.

{ids}

## A step and an episode

{episode}

## Observation

{observation}

## Action

{action}

## Reward

{reward}

## What `info` holds

The same keys on every step; in the vector environment each holds an array of all environments.

{info}

## Seeds and parts

{splits}

## Changing any of it

{changing}

## The load

{load}

## The cluster

{cluster}

## The ids

{cards}"""


def environment_page() -> str:
    """Return the page of all registered environments."""
    from podgym.cli.settings import environment_config
    from podgym.envs.config import EnvConfig
    from podgym.envs.env import AutoscaleEnv
    from podgym.envs.registration import ENVIRONMENT_IDS

    envs = {name: AutoscaleEnv(environment_config(name)) for name in ENVIRONMENT_IDS}
    plain = AutoscaleEnv(EnvConfig())
    return _PAGE.format(
        ids=_ids_table(envs),
        episode=card_sections.episode_section(plain),
        observation=card_sections.observation_section(plain),
        action=card_sections.action_section(plain),
        reward=card_sections.reward_section(),
        info=card_sections.info_section(),
        splits=card_sections.splits_section(envs),
        changing=card_sections.CHANGING,
        load=card_sections.load_section(),
        cluster=card_sections.cluster_section(plain),
        cards="\n\n".join(environment_card(name, env) for name, env in envs.items()),
    )


def environment_card(name: str, env: "AutoscaleEnv") -> str:
    """Return what is special about one environment, as a heading, a paragraph and a table."""
    config = env.config
    spaces = (
        f"{_numbers_seen(env)} numbers seen; {_action_text(env)}; SLO {_slo_text(config.cluster.services)}"
    )
    rows = [
        ("load", _workload_text(env)),
        ("episode", f"{_minutes(env)} min, {env.episode_steps} decisions"),
        ("spaces", spaces),
        ("other than the defaults", "; ".join(_differences(config)) or "nothing"),
        *_shipped_rows(name, config.workload),
    ]
    parts = [f"### `{name}`", f"{about(name)} {_origin(config.workload)}".strip()]
    parts.append(markdown_table(("", name.removeprefix("podgym/")), rows))
    if len(config.cluster.services) > 1:
        parts.append(_services_text(env))
    return "\n\n".join(parts)


def _ids_table(envs: Mapping[str, "AutoscaleEnv"]) -> str:
    rows = [
        (
            f"[`{name}`](#{_anchor(name)})",
            about(name),
            f"{_minutes(env)} min",
            _numbers_seen(env),
        )
        for name, env in envs.items()
    ]
    return markdown_table(("id", "what", "episode", "numbers seen"), rows)


def _anchor(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum() or letter == "-")


def _numbers_seen(env: "AutoscaleEnv") -> str:
    return str(len(env.observation_names))


def _minutes(env: "AutoscaleEnv") -> str:
    return f"{env.episode_steps * env.config.cluster.control_interval_s / 60.0:g}"


def _workload_text(env: "AutoscaleEnv") -> str:
    from podgym.envs.core import open_workload

    config = env.config
    workload = open_workload(config)
    options = ", ".join(f"`{key}={value_text(value)}`" for key, value in config.workload_options.items())
    unit = "users (closed)" if workload.kind == "closed" else "requests/s (open)"
    parts = "train, dev, test" if hasattr(workload, "part") else "none"
    return f"`{config.workload}`{f' with {options}' if options else ''}; {unit}; parts: {parts}"


def _origin(workload: str) -> str:
    """Return what the function of a workload says of where its shape is from; empty: nothing."""
    from podgym.envs.workloads import WORKLOADS

    make = WORKLOADS[workload]
    paragraphs = (inspect.getdoc(make) or "").split("\n\n") if inspect.isfunction(make) else []
    if len(paragraphs) < 2 or paragraphs[1].startswith("Args:"):
        return ""
    return " ".join(paragraphs[1].split()).replace("``", "`")


def _action_text(env: "AutoscaleEnv") -> str:
    choices = np.asarray(env.action_space.nvec).tolist()  # type: ignore[attr-defined]
    count = len(env.service_names)
    each = choices[: len(choices) // count]
    return (
        f"`{env.config.action.mode}`, choices {each}{f' for each of {count} services' if count > 1 else ''}"
    )


def _slo_text(services: Sequence["ServiceConfig"]) -> str:
    slos = sorted({1000.0 * service.slo_response_time_s for service in services})
    return f"{' to '.join(f'{slo:g}' for slo in slos)} ms{' in each service' if len(services) > 1 else ''}"


def _differences(config: "EnvConfig") -> Iterator[str]:
    """Yield the settings of an id that are not the defaults, but for the load and for several services."""
    from podgym.envs.config import EnvConfig

    defaults = dict(setting_leaves(EnvConfig()))
    for key, value in setting_leaves(config):
        if key in defaults and key not in _WORKLOAD_KEYS and value != defaults[key]:
            yield f"`{key}={value_text(value, key)}`"
    if len(config.cluster.services) > 1:
        yield "the services, see below"


def _services_text(env: "AutoscaleEnv") -> str:
    services = env.config.cluster.services
    rows = [
        (
            f"`{service.name}`",
            f"{1000.0 * service.parameters.cpu_demand_core_s:g}",
            f"{visits:.3g}",
            ", ".join(f"{callee} x {calls:g}" for callee, calls in service.calls.items()) or "-",
        )
        for service, visits in zip(services, env.visits.tolist(), strict=True)
    ]
    shared = [f"`{key}={value}`" for key, value in _shared_settings(services)]
    entries = join_names([service.name for service in services if service.entry_share > 0.0])
    return f"""\
Requests enter at {entries}. A row tells the mean CPU work of one request, how often one request from outside
calls the service, and how often the service calls others.

{markdown_table(("service", "CPU work, ms", "calls", "calls others"), rows)}

Every service has {", ".join(shared)}."""


def _shared_settings(services: Sequence["ServiceConfig"]) -> Iterator[tuple[str, str]]:
    """Yield the settings that all services have alike, and that are not the defaults."""
    from podgym.envs.simulator.parameters import ServiceConfig

    own = [dict(setting_leaves(service)) for service in services]
    for key, default in setting_leaves(ServiceConfig()):
        values = [each[key] for each in own]
        if values[0] != default and all(value == values[0] for value in values):
            yield key, value_text(values[0], key)


def _shipped_rows(name: str, workload: str) -> list[tuple[str, str]]:
    """Say which forecaster, tuned options and policies come with the package for an id."""
    from podgym.agents.shipped import shipped_environments, shipped_policies
    from podgym.baselines.tuned import tuned_entries
    from podgym.forecasters.shipped import shipped_workloads

    costs = {
        entry.controller: float(entry.ledger["tuned_dev_mean"])
        for entry in tuned_entries()
        if entry.environment == name
    }
    best = sorted(costs, key=lambda each: costs[each])[:_BEST_SHOWN]
    leaders = ", ".join(f"`{each}` {costs[each]:,.0f}" for each in best)
    tuned = f"{len(costs)}; lowest cost on dev: {leaders}" if costs else "none"
    seeds = shipped_policies(name) if name in shipped_environments() else {}
    trained = f"training seeds {', '.join(map(str, seeds))}" if seeds else "none yet"
    forecaster = "the paper's LSTM" if workload in shipped_workloads() else "none"
    return [
        ("comes with the package", f"forecaster: {forecaster}; policies: {trained}"),
        ("tuned controllers", tuned),
    ]
