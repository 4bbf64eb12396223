"""From results of tuning to the file of tuned parameters that ships with the package."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from podgym.baselines.tuned import FORMAT, parse_tuned
from podgym.errors import InputError
from podgym.eval.tuning.run import read_result
from podgym.files import write_json

_KEPT = (
    "method", "objective", "forecast", "forecaster", "seed", "budget_steps", "spent_steps",
    "further_budget_steps", "further_spent_steps", "episode_steps", "candidates", "configuration_sha256",
    "search_space", "versions", "command",
)  # fmt: skip
"""Fields of a result that are kept as they are."""


def ship(results: Sequence[str | Path], destination: str | Path) -> Path:
    """Merge results of ``podgym tune`` into a file of tuned parameters.

    Of several searches that differ in their seed alone, the best on dev is kept, and all are named. The file
    depends on its old entries and the results alone, not on their order.

    Args:
        results: paths of ``result.json`` files.
        destination: the file of tuned parameters; made if it is not there. Entries of the same controller and
            environment are replaced, others stay.

    Returns:
        The path of the file.

    Raises:
        InputError: a file that cannot be read, two results of one search, searches that cannot be compared,
            or a result on a changed environment.
    """
    path = Path(destination)
    before: Mapping[str, Any] = {"entries": {}}
    if path.exists():
        text = path.read_text(encoding="utf-8")
        parse_tuned(text)
        before = json.loads(text)
    return write_json(path, merged(before["entries"], [read_result(Path(each)) for each in results]))


def merged(entries: Mapping[str, Mapping[str, Any]], results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the content of the file: old entries and new ones, in alphabetical order.

    Raises:
        InputError: two results of one search, searches of different budgets or dev episodes, or a result on
            an environment that was changed and so is not the one of that id.
    """
    table = {controller: dict(by_environment) for controller, by_environment in entries.items()}
    for (controller, environment), searches in _by_entry(results).items():
        table.setdefault(controller, {})[environment] = entry_of(searches)
    return {
        "format": FORMAT,
        "entries": {
            controller: {
                environment: table[controller][environment] for environment in sorted(table[controller])
            }
            for controller in sorted(table)
        },
    }


def entry_of(searches: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the entry that searches of one controller make: options, and the summary of the ledger.

    Args:
        searches: results that differ in the seed of the search, one or more.
    """
    result = min(searches, key=lambda each: (each["best"]["dev_mean"], each["seed"]))
    last = result["searches"][-1]
    return {
        "options": result["best"]["options"],
        "ledger": {
            **{key: result[key] for key in _KEPT},
            "train_seeds": _span(result["train_seeds"]),
            "dev_seeds": _span(result["dev_seeds"]),
            "searched_space": last["search_space"],
            "edges": last["edges"],
            "default_dev_mean": result["default"]["dev_mean"],
            "tuned_dev_mean": result["best"]["dev_mean"],
            "tuned_dev_values": result["best"]["dev_values"],
            "all_searches": [
                {
                    "seed": each["seed"],
                    "spent_steps": each["spent_steps"] + each["further_spent_steps"],
                    "tuned_dev_mean": each["best"]["dev_mean"],
                }
                for each in sorted(searches, key=lambda each: int(each["seed"]))
            ],
        },
    }


def _by_entry(results: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], list[Mapping[str, Any]]]:
    """Return the searches of each entry, if they can be compared."""
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for result in results:
        key = (result["controller"], result["environment"])
        if result["changes"]:
            raise InputError(
                f"the result for {key[0]!r} on {key[1]!r} is of a changed environment "
                f"({', '.join(result['changes'])}); only results of the environment itself are shipped."
            )
        others = found.setdefault(key, [])
        if any(other["seed"] == result["seed"] for other in others):
            raise InputError(
                f"two results for controller {key[0]!r} on {key[1]!r} with seed {result['seed']}; name one."
            )
        for name in ("budget_steps", "dev_seeds", "objective", "forecaster"):
            if others and others[0][name] != result[name]:
                raise InputError(
                    f"two results for controller {key[0]!r} on {key[1]!r} differ in {name}; only searches "
                    "that differ in their seed alone can be compared."
                )
        others.append(result)
    return found


def _span(seeds: Sequence[int]) -> list[int]:
    """Return first and last of consecutive seeds."""
    return [seeds[0], seeds[-1]] if seeds else []
