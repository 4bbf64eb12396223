"""The forecasters that come with the package: the paper's LSTM, fitted to the load of each registered id.

``scripts/train_shipped.sh`` makes them anew.
"""

from importlib.resources import as_file, files
from pathlib import Path

from podgym.errors import InputError

_FOLDER = "pretrained"


def shipped_workloads() -> tuple[str, ...]:
    """Return the workloads that a forecaster comes with, sorted."""
    names = (entry.name for entry in files("podgym.forecasters").joinpath(_FOLDER).iterdir())
    stems = (name.removesuffix(".forecaster") for name in names if name.endswith(".forecaster"))
    return tuple(sorted(stem.replace("family-", "family:") for stem in stems))


def shipped_forecaster(workload: str) -> Path:
    """Return the file of the forecaster for a workload.

    Raises:
        InputError: none comes with the package; the message says how to train one.
    """
    if workload not in shipped_workloads():
        raise InputError(
            f"no forecaster for {workload} comes with the package (there is one for "
            f"{', '.join(shipped_workloads())}). Train one: podgym forecast train --trace {workload} "
            "--model paper_lstm --features rate_rps, or users for a closed workload; and name its file."
        )
    name = f"{workload.replace(':', '-')}.forecaster"
    with as_file(files("podgym.forecasters").joinpath(_FOLDER, name)) as path:
        return path
