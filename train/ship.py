"""From training runs to the policies that come with the package, and where each of them comes from."""

import hashlib
import json
import re
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from podgym.agents.policy_file import load_policy
from podgym.agents.shipped import MANIFEST
from podgym.envs.config import override
from podgym.envs.core import AutoscaleCore, open_workload
from podgym.envs.splits import tuning_config
from podgym.envs.workloads.profile import joint_sha256, profile_sha256
from podgym.errors import InputError
from podgym.files import usable_folder, write_json
from podgym.train.folder import BEST_POLICY_FILE, RESULT_FILE, settings_of_run
from podgym.train.problem import training_pool, training_problem
from podgym.train.settings import TrainingSettings

FORMAT = "podgym policies/1"

_RUN = re.compile(r"(?P<algorithm>[a-z_]+)-seed(?P<seed>\d+)")


def ship(logdir: str | Path, destination: str | Path, algorithm: str = "ppo") -> Path:
    """Copy the best policy of every finished run of an algorithm, and write what made it.

    Policies of the ids that are in ``logdir`` are replaced, those of other ids stay.

    Args:
        logdir: folder of the runs, as ``podgym train --logdir`` makes it.
        destination: folder of the policies; ``agents/pretrained`` for those that come with the package.
        algorithm: whose runs.

    Returns:
        The path of the manifest.

    Raises:
        InputError: no run of this algorithm, or one whose policy cannot be read.
    """
    runs = _runs(Path(logdir), algorithm)
    place = usable_folder(destination)
    path = place / MANIFEST
    entries: dict[str, list[dict[str, Any]]] = (
        json.loads(path.read_text(encoding="utf-8"))["policies"] if path.exists() else {}
    )
    for environment, folders in runs.items():
        name = environment.removeprefix("podgym/")
        shutil.rmtree(place / name, ignore_errors=True)
        (place / name).mkdir(parents=True)
        entries[environment] = []
        for seed, folder in sorted(folders.items()):
            target = place / name / f"seed{seed}.policy"
            shutil.copyfile(folder / BEST_POLICY_FILE, target)
            entries[environment].append(_entry(target, folder, place))
    return write_json(path, {"format": FORMAT, "policies": dict(sorted(entries.items()))})


def loads_sha256(environment: str, settings: TrainingSettings) -> str | None:
    """Return a hash of the loads that a run drew its episodes from; None: each was new.

    It is made of the loads' own hashes, as that of the episodes of an evaluation is.

    Raises:
        InputError: see ``training_problem``.
    """
    problem = training_problem(environment, settings)
    config = tuning_config(problem.config, "train")
    pool = training_pool(problem, open_workload(config))
    if pool is None:
        return None
    blind = override(config, {"observation": {"forecast": "none"}})  # loads depend on no forecast
    duration_s = AutoscaleCore(blind, 1, workload=pool).duration_s
    return joint_sha256(profile_sha256(profile) for profile in pool.profiles(duration_s))


def _runs(logdir: Path, algorithm: str) -> dict[str, dict[int, Path]]:
    """Return the folders of finished runs, by id and seed."""
    found: dict[str, dict[int, Path]] = {}
    for path in sorted(logdir.glob(f"*/*/{RESULT_FILE}")):
        match = _RUN.fullmatch(path.parent.name)
        if match and match["algorithm"] == algorithm:
            found.setdefault(f"podgym/{path.parent.parent.name}", {})[int(match["seed"])] = path.parent
    if not found:
        raise InputError(
            f"{logdir} holds no finished run of {algorithm}; train some: podgym train --logdir {logdir}."
        )
    return found


def _entry(policy_file: Path, folder: Path, place: Path) -> dict[str, Any]:
    """Return what the manifest says of one policy."""
    description = load_policy(policy_file).description
    made = description.provenance
    settings = settings_of_run(folder, description.environment, description.algorithm)
    return {
        "seed": settings.seed,
        "file": policy_file.relative_to(place).as_posix(),
        "sha256": hashlib.sha256(policy_file.read_bytes()).hexdigest(),
        "command": made["command"],
        "loads_sha256": loads_sha256(description.environment, settings),
        "forecaster_sha256": description.forecaster_sha256,
        "planner": None if description.planner is None else asdict(description.planner),
        "frames": made["frames"],
        "dev": made["dev"],
        "podgym": made["podgym"],
        "versions": made["versions"],
    }
