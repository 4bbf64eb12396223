"""The folder of a training run: what lies in it, how a run begins there and how it is taken up again."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from podgym.errors import InputError
from podgym.files import usable_folder, write_json, write_text
from podgym.train.results import TrainingResult
from podgym.train.settings import TrainingSettings, first_difference

CONFIG_FILE = "config.yml"
"""The settings of the run, all of them; ``podgym train --config`` reads it."""
CHECKPOINTS_FOLDER = "checkpoints"
"""What an interrupted run goes on from."""
BEST_POLICY_FILE = "best.policy"
"""The policy that was best on dev."""
FINAL_POLICY_FILE = "final.policy"
"""The policy at the end."""
PROGRESS_FILE = "progress.csv"
"""One row per iteration, and one per evaluation."""
RESULT_FILE = "result.json"
"""What the run came to."""


def run_folder(logdir: str | Path, environment: str, algorithm: str, seed: int) -> Path:
    """Return the folder of a run: ``LOGDIR/ID/ALGO-seedS``, the id without ``podgym/``."""
    return Path(logdir) / environment.removeprefix("podgym/").replace("/", "-") / f"{algorithm}-seed{seed}"


def check_run(
    folder: Path, settings: TrainingSettings, *, environment: str, algorithm: str, resume: bool
) -> None:
    """See that a run can begin in a folder, or go on there as it began; nothing is written.

    Args:
        folder: see ``run_folder``.
        settings: of the run.
        environment: id.
        algorithm: name.
        resume: go on with the run in the folder, if there is one.

    Raises:
        InputError: there is a run and it is not to go on, or it was started with other settings (the
            message names the first), or the folder cannot be written to.
    """
    usable_folder(folder)
    config = folder / CONFIG_FILE
    if not resume:
        if folder.is_dir() and any(folder.iterdir()):
            raise InputError(
                f"{folder} holds a run; continue it with --resume, or start another with --seed or --logdir."
            )
    elif config.is_file():
        _check_same(settings_of_run(folder, environment, algorithm), settings, config)
    elif (folder / CHECKPOINTS_FOLDER).is_dir():
        raise InputError(
            f"{folder} has checkpoints but no {CONFIG_FILE}; put the file back, or remove the folder to "
            "start anew."
        )


def begin_run(
    folder: Path, settings: TrainingSettings, *, environment: str, algorithm: str, resume: bool
) -> None:
    """Make the folder of a run and write its settings there, or see that a run goes on as it began.

    Args:
        folder: see ``run_folder``.
        settings: of the run.
        environment: id.
        algorithm: name.
        resume: go on with the run in the folder, if there is one.

    Raises:
        InputError: see ``check_run``; nothing is written then.
    """
    check_run(folder, settings, environment=environment, algorithm=algorithm, resume=resume)
    config = folder / CONFIG_FILE
    if not config.is_file():
        heading = f"# podgym train --env {environment} --algo {algorithm}: every setting of this run\n"
        write_text(config, heading + settings.as_yaml(environment))


def settings_of_run(folder: Path, environment: str, algorithm: str) -> TrainingSettings:
    """Return the settings that a run was started with.

    Raises:
        InputError: they cannot be read, or are of another environment.
    """
    from podgym.train.settings_file import settings_for

    return settings_for(algorithm, environment, file=folder / CONFIG_FILE)


def result_document(result: TrainingResult, environment: str, algorithm: str) -> dict[str, Any]:
    """Return the result of a run as plain data."""
    return {"environment": environment, "algorithm": algorithm, **asdict(result),
            "policy_file": str(result.policy_file)}  # fmt: skip


def finish_run(folder: Path, document: Mapping[str, Any]) -> Path:
    """Write the result of a run and return the path."""
    return write_json(folder / RESULT_FILE, document)


def files_of_run(folder: Path) -> list[Path]:
    """Return the files and folders of a run that are there, in the order in which they matter."""
    names = (
        BEST_POLICY_FILE, FINAL_POLICY_FILE, RESULT_FILE, CONFIG_FILE, PROGRESS_FILE, CHECKPOINTS_FOLDER
    )  # fmt: skip
    return [folder / name for name in names if (folder / name).exists()]


def _check_same(before: TrainingSettings, now: TrainingSettings, config: Path) -> None:
    difference = first_difference(now.as_dict(), before.as_dict())
    if difference is not None:
        name, ours, theirs = difference
        raise InputError(
            f"{config} says {name} = {theirs!r}, but it is {ours!r} now; a run goes on with the settings "
            "that it was started with. Leave the option out, or start another run with --seed or --logdir."
        )
