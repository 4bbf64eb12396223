"""``podgym envs``: what environments there are, and what one of them is made of."""

import argparse
import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from podgym.errors import InputError

if TYPE_CHECKING:
    from podgym.envs.env import AutoscaleEnv

NAME = "envs"
HELP = "list the environments, or show one with its configuration, observation and constants"

_EPILOG = """\
examples:
  podgym envs
  podgym envs podgym/Burst-v0
  podgym envs podgym/Boutique-v0 --json
  podgym envs --cards > environments.md       # all ids, what they share and what is special, as Markdown
  podgym envs podgym/Burst-v0 --cards         # the card of one
  podgym envs podgym/Kubernetes-v0 --cards    # every key of the settings of a real cluster

Every key of the configuration can be changed: in Python by gym.make(ID, reward={"preset": "paper"}), on the
command line by podgym evaluate --set reward.preset=paper."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.epilog = _EPILOG
    parser.add_argument("id", metavar="ID", nargs="?", help="an environment to show in full")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument(
        "--cards", action="store_true", help="print Markdown: the page of all ids, or one card"
    )


def run(args: argparse.Namespace) -> int:
    """Print the list, or one environment.

    Raises:
        InputError: an unknown id, or --json together with --cards.
    """
    if args.cards:
        return _print_cards(args)
    from podgym.cli.settings import environment_config
    from podgym.envs.env import AutoscaleEnv
    from podgym.envs.registration import ENVIRONMENT_IDS

    ids = tuple(ENVIRONMENT_IDS) if args.id is None else (args.id,)
    envs = {name: AutoscaleEnv(environment_config(name)) for name in ids}
    if args.json:
        describe = _brief if args.id is None else _full
        content = [describe(name, env) for name, env in envs.items()]
        from podgym.files import to_json

        print(to_json({"environments": content}))
    elif args.id is None:
        _print_list(envs)
    else:
        _print_one(args.id, envs[args.id])
    return 0


def _print_cards(args: argparse.Namespace) -> int:
    from podgym.cli.cards import environment_card, environment_page
    from podgym.cli.cluster_keys import cluster_keys
    from podgym.cli.settings import environment_config
    from podgym.envs.env import AutoscaleEnv
    from podgym.envs.registration import KUBERNETES_ID

    if args.json:
        raise InputError("give --json or --cards, not both.")
    if args.id is None:
        print(environment_page())
    elif args.id == KUBERNETES_ID:
        print(cluster_keys())
    else:
        print(environment_card(args.id, AutoscaleEnv(environment_config(args.id))))
    return 0


def _brief(name: str, env: "AutoscaleEnv") -> dict[str, Any]:
    config = env.config
    return {
        "id": name,
        "about": about(name),
        "workload": config.workload,
        "services": list(env.service_names),
        "observation_shape": list(env.observation_space.shape or ()),
        "action_space": str(env.action_space),
        "slo_response_time_s": dict(zip(env.service_names, env.slo_response_time_s.tolist(), strict=True)),
        "control_interval_s": config.cluster.control_interval_s,
        "episode_steps": env.episode_steps,
    }


def _full(name: str, env: "AutoscaleEnv") -> dict[str, Any]:
    from podgym.envs.config import REWARD_TERMS

    space = env.observation_space
    weights = dict(zip(REWARD_TERMS, env.config.reward.all_weights(), strict=True))
    return {
        **_brief(name, env),
        "configuration": dataclasses.asdict(env.config),
        "observation": [
            {"name": entry, "low": float(low), "high": float(high)}
            for entry, low, high in zip(env.observation_names, _bound(space, "low"), _bound(space, "high"),
                                        strict=True)
        ],
        "reward": {
            term: {"weight": weights[term], "meaning": meaning} for term, meaning in REWARD_TERMS.items()
        },
        "constants": [entry.as_dict() for entry in env.provenance()],
    }  # fmt: skip


def _bound(space: object, which: str) -> list[float]:
    values: list[float] = getattr(space, which).tolist()
    return values


def about(name: str) -> str:
    """Return what an id is, in one sentence."""
    from podgym.envs import scenarios
    from podgym.envs.registration import ENVIRONMENT_IDS

    return str(getattr(scenarios, ENVIRONMENT_IDS[name]).__doc__).strip().splitlines()[0]


def _print_list(envs: Mapping[str, "AutoscaleEnv"]) -> None:
    for name, env in envs.items():
        entry = _brief(name, env)
        minutes = entry["episode_steps"] * entry["control_interval_s"] / 60.0
        slos = sorted({1000.0 * slo for slo in entry["slo_response_time_s"].values()})
        print(f"{name}\n  {entry['about']}")
        print(
            f"  workload {entry['workload']}; {_count(entry['services'], 'service')}; "
            f"SLO {' to '.join(f'{slo:g}' for slo in dict.fromkeys((slos[0], slos[-1])))} ms; "
            f"episode {minutes:g} min in {entry['episode_steps']} steps"
        )
        shape = " x ".join(map(str, entry["observation_shape"]))
        print(f"  observation {shape} numbers; action {_short(entry['action_space'])}\n")
    print("podgym envs ID shows one in full: configuration, observation, reward, constants.")


def _count(things: list[str], what: str) -> str:
    return f"{len(things)} {what}{'' if len(things) == 1 else 's'}"


def _short(text: str, most: int = 80) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _print_one(name: str, env: "AutoscaleEnv") -> None:
    content = _full(name, env)
    print(f"{name}: {content['about']}\nACTION\n  {content['action_space']}")
    print("\nOBSERVATION  numbers, [low, high], name, meaning")
    for numbers, entry_name, low, high, meaning in _observation_rows(env):
        print(f"  {numbers:<12} [{low:g}, {high:g}]".ljust(26) + f" {entry_name:<36} {meaning}".rstrip())
    print("\nREWARD  sum of weight x term")
    for term, entry in content["reward"].items():
        print(f"  {entry['weight']:>6g}  {term:<20} {entry['meaning']}")
    print("\nCONFIGURATION  keys of --set; * was measured, other constants were chosen, fitted or assumed")
    section = ""
    for path, key, text, note in _setting_rows(env):
        if path != section:
            section = path
            print(f"  {section}.")
        print(f"    {key:<28} {text:<26} {note}".rstrip())


def _observation_rows(env: "AutoscaleEnv") -> Iterator[tuple[str, str, float, float, str]]:
    """Yield each feature once: its places in the observation, name with lags or minutes, bounds, meaning."""
    from podgym.envs import observation

    features = (*observation.HISTORY, *observation.PRESENT, *observation.FORECAST_PARTS,
                *observation.PLAN, *observation.CLOCK)  # fmt: skip
    meanings = {feature.name: feature.meaning for feature in features}
    places: dict[str, list[int]] = {}
    for index, entry in enumerate(env.observation_names):
        places.setdefault(entry.partition("[")[0], []).append(index)
    low, high = _bound(env.observation_space, "low"), _bound(env.observation_space, "high")
    for stem, indices in places.items():
        first, last = indices[0], indices[-1]
        names = [env.observation_names[index].removeprefix(stem) for index in (first, last)]
        label = stem + (f"{names[0]}..{names[1]}" if first != last else names[0])
        step = indices[1] - first if first != last else 1
        numbers = str(first) if first == last else f"{first}..{last}" + (f" by {step}" if step > 1 else "")
        yield numbers, label, low[first], high[first], meanings.get(stem.rpartition(".")[2], "")


def _setting_rows(env: "AutoscaleEnv") -> Iterator[tuple[str, str, str, str]]:
    """Yield section, key, value with unit, and source of every setting."""
    constants = {entry.name: entry for entry in env.provenance()}
    for key, value in setting_leaves(env.config):
        path, _, last = key.rpartition(".")
        entry = constants.get(key)
        unit = "" if entry is None or entry.unit in ("-", "1") else f" {entry.unit}"
        if last.endswith("_bytes") and isinstance(value, float):
            unit = f" ({value / 2**20:g} MiB)"
        text = _short(json.dumps(_whole(value), default=str), 60) + unit
        note = "" if entry is None else f"{'* ' if entry.measured else ''}{entry.source}"
        yield path or "(top level)", last, text, note


def _whole(value: Any) -> Any:  # noqa: ANN401  (any setting)
    """Write 512.0 as 512."""
    if isinstance(value, list | tuple):
        return [_whole(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def setting_leaves(config: Any, path: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401  (any configuration)
    """Yield the dotted key and the value of every setting; a service stands under its name."""
    return ((key, value) for key, value, _, _ in setting_fields(config, path))


def setting_fields(config: Any, path: str = "") -> Iterator[tuple[str, Any, type, str]]:  # noqa: ANN401
    """Yield dotted key, value, the dataclass that has the setting, and its name there."""
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        key = f"{path}{item.name}"
        if dataclasses.is_dataclass(value):
            yield from setting_fields(value, f"{key}.")
        elif item.name == "services":
            for service in value:
                yield from setting_fields(service, f"{key}.{service.name}.")
        else:
            yield key, value, type(config), item.name
