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

    The file depends on its old entries and the results alone, not on their order.

    Args:
        results: paths of ``result.json`` files.
        destination: the file of tuned parameters; made if it is not there. Entries of the same controller and
            environment are replaced, others stay.

    Returns:
        The path of the file.

    Raises:
        InputError: a file that cannot be read, two results for one entry, or one on a changed environment.
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
        InputError: two results for one entry, or one on an environment that was changed and so is not the
            one of that id.
    """
    table = {controller: dict(by_environment) for controller, by_environment in entries.items()}
    seen = set()
    for result in results:
        key = (result["controller"], result["environment"])
        if key in seen:
            raise InputError(f"two results for controller {key[0]!r} on {key[1]!r}; name one of them.")
        if result["changes"]:
            raise InputError(
                f"the result for {key[0]!r} on {key[1]!r} is of a changed environment "
                f"({', '.join(result['changes'])}); only results of the environment itself are shipped."
            )
        seen.add(key)
        table.setdefault(key[0], {})[key[1]] = entry_of(result)
    return {
        "format": FORMAT,
        "entries": {
            controller: {
                environment: table[controller][environment] for environment in sorted(table[controller])
            }
            for controller in sorted(table)
        },
    }


def entry_of(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entry that a result makes: options, and the summary of its ledger."""
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
        },
    }


def _span(seeds: Sequence[int]) -> list[int]:
    """Return first and last of consecutive seeds."""
    return [seeds[0], seeds[-1]] if seeds else []
