"""Which forecaster stands behind an environment: a word or a file, opened once."""

import hashlib
from functools import lru_cache
from pathlib import Path

from podgym.envs.forecasts import TrueRates
from podgym.envs.protocols import RateForecaster
from podgym.errors import InputError
from podgym.files import missing_with_hint
from podgym.forecasters.shipped import shipped_forecaster

SHIPPED = "shipped"
"""The forecaster that comes with the package for the load."""
NAIVE = "naive"
"""None: the observation's own, the last load."""
ORACLE = "oracle"
"""The true future."""


def forecaster_file(chosen: str, workload: str) -> str | None:
    """Return what ``open_forecaster`` takes: a file, ``oracle``, or None for ``naive``.

    Args:
        chosen: ``shipped``, ``naive``, ``oracle``, or the file of a forecaster.
        workload: name of the load.

    Raises:
        InputError: no such file, or none comes with the package for this load.
    """
    if chosen == SHIPPED:
        return str(shipped_forecaster(workload))
    if chosen == NAIVE:
        return None
    if chosen != ORACLE and not Path(chosen).is_file():
        raise InputError(
            f"forecaster {chosen!r} is neither {SHIPPED}, {NAIVE} nor {ORACLE}, and "
            f"{missing_with_hint(Path(chosen), ('.forecaster', '.onnx'))}"
        )
    return chosen


def forecaster_sha256(file: str | None) -> str | None:
    """Return the hash of a forecaster's file; None for ``oracle`` and None, which are no files.

    Args:
        file: from ``forecaster_file``.
    """
    if file is None or file == ORACLE:
        return None
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


@lru_cache(maxsize=4)
def open_forecaster(file: str) -> RateForecaster:
    """Return the forecaster of a file, or the true future for ``oracle``; the latest few are kept.

    A network in a ``.forecaster`` file, as all that come with the package, needs torch; exported to
    ``.onnx`` (``podgym forecast export``) it needs ONNX Runtime only.

    Raises:
        InputError: a file that cannot be read, a forecaster of another feature, or torch is not installed.
    """
    if file == ORACLE:
        return TrueRates()
    from podgym.forecasters.store import load_forecaster
    from podgym.forecasters.tables import LearnedForecasts

    try:
        return LearnedForecasts(load_forecaster(file))
    except ImportError as error:
        raise InputError(
            f"the forecaster {file} needs {error.name}, which is not installed: pip install "
            "'podgym[forecast]', or where it is installed write it as ONNX with podgym forecast export, "
            "and name that file."
        ) from error
