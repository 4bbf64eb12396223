"""The policies that come with the package: per environment id one for each training seed.

``pretrained/manifest.json`` says how each was made; ``podgym.train.ship`` writes it.
"""

import math
import re
from importlib.resources import as_file, files
from pathlib import Path

from podgym.errors import InputError

PRETRAINED = "pretrained"
"""Word for the policy that comes with the package for an environment; also the name of their folder."""
MANIFEST = "manifest.json"
"""Where each of them comes from: commands, seeds, hashes, results."""

_SEED_FILE = re.compile(r"seed(\d+)\.policy")
_NAMESPACE = "podgym/"


def shipped_environments() -> tuple[str, ...]:
    """Return the ids that policies come with, sorted."""
    folder = files("podgym.agents").joinpath(PRETRAINED)
    folders = [entry for entry in folder.iterdir() if entry.is_dir()] if folder.is_dir() else []
    return tuple(
        sorted(
            _NAMESPACE + entry.name
            for entry in folders
            if any(_SEED_FILE.fullmatch(each.name) for each in entry.iterdir())
        )
    )


def shipped_policies(environment: str) -> dict[int, Path]:
    """Return the files of the policies for an environment id, by training seed.

    Raises:
        InputError: none comes with the package; the message names the ids that have some and how to train.
    """
    known = shipped_environments()
    if environment not in known:
        trained = environment if environment.startswith(_NAMESPACE) else "ID"
        raise InputError(
            f"no policy for {environment} comes with the package (there is one for "
            f"{', '.join(known) or 'no environment yet'}). Train one: podgym train --env {trained}; and name "
            "its file."
        )
    folder = files("podgym.agents").joinpath(PRETRAINED, environment.removeprefix(_NAMESPACE))
    found = {}
    for entry in folder.iterdir():
        match = _SEED_FILE.fullmatch(entry.name)
        if match:
            with as_file(entry) as path:
                found[int(match[1])] = path
    return dict(sorted(found.items()))


def shipped_policy(environment: str) -> Path:
    """Return the file of the policy for an environment id, such as ``podgym/Burst-v0``.

    Among several training seeds it is the one that cost least on dev while it was trained; test episodes have
    no part in the choice.

    Raises:
        InputError: see ``shipped_policies``, or a file that is no policy.
    """
    policies = shipped_policies(environment)
    return min(policies.values(), key=_dev_cost) if len(policies) > 1 else next(iter(policies.values()))


def _dev_cost(path: Path) -> float:
    from podgym.agents.policy_file import load_policy

    dev = load_policy(path).description.provenance.get("dev", {})
    return float(dev.get("cost", math.inf))
