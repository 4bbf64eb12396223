"""The policies that come with the package, one per environment id at most."""

from importlib.resources import as_file, files
from pathlib import Path

from podgym.errors import InputError

PRETRAINED = "pretrained"
"""Word for the policy that comes with the package for an environment; also the name of their folder."""

_SUFFIX = ".policy"
_NAMESPACE = "podgym/"


def shipped_environments() -> tuple[str, ...]:
    """Return the ids that a policy comes with, sorted."""
    folder = files("podgym.agents").joinpath(PRETRAINED)
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    return tuple(sorted(_NAMESPACE + name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX)))


def shipped_policy(environment: str) -> Path:
    """Return the file of the policy for an environment id, such as ``podgym/Burst-v0``.

    Raises:
        InputError: none comes with the package; the message names the ids that have one and how to train.
    """
    known = shipped_environments()
    if environment not in known:
        trained = environment if environment.startswith(_NAMESPACE) else "ID"
        raise InputError(
            f"no policy for {environment} comes with the package (there is one for "
            f"{', '.join(known) or 'no environment yet'}). Train one: podgym train --env {trained}; and name "
            "its file."
        )
    name = environment.removeprefix(_NAMESPACE) + _SUFFIX
    with as_file(files("podgym.agents").joinpath(PRETRAINED, name)) as path:
        return path
