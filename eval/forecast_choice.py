"""Which forecaster stands behind an evaluation: a word, a file, or by default the best there is."""

from collections.abc import Iterable

from podgym.baselines import PlanningController, looks_at_forecasts, make_controller
from podgym.forecasters.choice import NAIVE, ORACLE, SHIPPED, forecaster_file, open_forecaster
from podgym.forecasters.shipped import shipped_workloads

__all__ = ["NAIVE", "ORACLE", "SHIPPED", "default_forecaster", "forecaster_file", "open_forecaster"]


def default_forecaster(controllers: Iterable[str], workload: str) -> str:
    """Return the word for the best forecaster there is, if any of the controllers looks at forecasts.

    A controller that plans is not left without one: where none comes with the package, the word is still
    ``shipped``, and ``forecaster_file`` says how to train one.

    Args:
        controllers: names of controllers.
        workload: name of the load.
    """
    users = [name for name in controllers if looks_at_forecasts(name)]
    plans = any(isinstance(make_controller(name), PlanningController) for name in users)
    return SHIPPED if plans or (users and workload in shipped_workloads()) else NAIVE
