"""Which forecaster stands behind an evaluation: a word, a file, or by default the best there is."""

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from podgym.baselines import FORECAST_USERS, PlanningController, make_controller
from podgym.envs.forecasts import TrueRates
from podgym.envs.protocols import RateForecaster
from podgym.errors import InputError
from podgym.files import missing_with_hint
from podgym.forecasters.shipped import shipped_forecaster, shipped_workloads

SHIPPED = "shipped"
"""The forecaster that comes with the package for the load."""
NAIVE = "naive"
"""None: the observation's own, the last load."""
ORACLE = "oracle"
"""The true future."""


def default_forecaster(controllers: Iterable[str], workload: str) -> str:
    """Return the word for the best forecaster there is, if any of the controllers looks at forecasts.

    A controller that plans is not left without one: where none comes with the package, the word is still
    ``shipped``, and ``forecaster_file`` says how to train one.

    Args:
        controllers: names of controllers.
        workload: name of the load.
    """
    users = FORECAST_USERS.intersection(controllers)
    plans = any(isinstance(make_controller(name), PlanningController) for name in users)
    return SHIPPED if plans or (users and workload in shipped_workloads()) else NAIVE


def forecaster_file(chosen: str, workload: str) -> str | None:
    """Return what ``podgym.eval.runner.Job.forecaster`` takes: a file, ``oracle``, or None for ``naive``.

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


@lru_cache(maxsize=4)
def open_forecaster(file: str) -> RateForecaster:
    """Return the forecaster of a file, or the true future for ``oracle``; the latest few are kept.

    Raises:
        InputError: a file that cannot be read, or a forecaster of another feature.
    """
    if file == ORACLE:
        return TrueRates()
    from podgym.forecasters import LearnedForecasts, load_forecaster

    return LearnedForecasts(load_forecaster(file))
