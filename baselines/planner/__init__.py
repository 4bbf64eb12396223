"""The GA planner: from a forecast of the load to pods and quotas of every service.

In reading order: ``settings`` (what is asked for), ``model`` and ``queues`` (the cluster as tables),
``performance`` and ``problem`` (a forecast load, and how plans do under it), ``repair`` and ``packing``
(only feasible plans), ``initial``, ``operators`` and ``genetic`` (the algorithm), ``exhaustive`` and
``check`` (to judge it by), ``pareto`` (trade-offs), ``planner``, ``batches`` and ``store`` (plans of a
whole trace) and ``report``.
"""

from podgym.baselines.planner.check import violations
from podgym.baselines.planner.exhaustive import plan_exhaustively
from podgym.baselines.planner.genetic import Generation, PlanningRun, plan_with_ga
from podgym.baselines.planner.model import ClusterModel, cluster_model
from podgym.baselines.planner.pareto import ParetoPlan, pareto_front
from podgym.baselines.planner.planner import GaPlanner
from podgym.baselines.planner.problem import Plan, PlanningProblem, planning_problem
from podgym.baselines.planner.report import Table2, convergence_figure, table_2
from podgym.baselines.planner.settings import GaSettings, Objective, objective

__all__ = [
    "ClusterModel",
    "GaPlanner",
    "GaSettings",
    "Generation",
    "Objective",
    "ParetoPlan",
    "Plan",
    "PlanningProblem",
    "PlanningRun",
    "Table2",
    "cluster_model",
    "convergence_figure",
    "objective",
    "pareto_front",
    "plan_exhaustively",
    "plan_with_ga",
    "planning_problem",
    "table_2",
    "violations",
]
