"""LSTM+GA, the paper's scheme and the pure baseline: forecast, plan, apply; no learning from reward."""

from podgym.baselines.metrics import KEEP, bounded, is_fresh, is_size, with_limit
from podgym.baselines.planner import GaPlanner, GaSettings, objective
from podgym.envs.cluster import ClusterObservation, ServiceDecision, ServiceView
from podgym.envs.protocols import RateForecaster


class LstmGaController:
    """Applies the plan that the genetic algorithm made for the forecast of the next five minutes.

    The plans of an episode are made before it begins, each from the forecast that was known at its moment:
    they stand in the observation, and this controller does what they say. Without a forecaster the plans
    rest on the last load known.
    """

    name = "lstm_ga"

    def __init__(
        self,
        *,
        preset: str = "paper",
        gamma: float | None = None,
        rate: str = "mean",
        headroom: float = 0.0,
        keep_quotas: bool = False,
        seed: int = 0,
    ) -> None:
        """Configure the planner.

        Args:
            preset: what a plan is judged by: ``paper`` or ``slo_cost``, see ``planner.objective``.
            gamma: weight of the response time in the paper's fitness, 1/s; None: that of the preset.
            rate: end of the forecast to plan for: ``mean`` or ``upper``.
            headroom: share of load that is planned for beyond the forecast, 0.1 for ten percent more.
            keep_quotas: apply the planned replicas only, and leave CPU and memory as each service began.
            seed: of the genetic algorithm.

        Raises:
            InputError: a value that the planner refuses.
        """
        changes = {} if gamma is None else {"gamma": gamma}
        self._objective = objective(preset, **changes)
        self._settings = GaSettings(seed=seed)
        self._rate = rate
        self._headroom = headroom
        self._keep_quotas = keep_quotas
        self.planner(None)

    def planner(self, forecaster: RateForecaster | None) -> GaPlanner:
        """Return the planner to give to the environment, with the forecaster that it plans from."""
        return GaPlanner(
            objective=self._objective,
            settings=self._settings,
            forecaster=forecaster,
            rate=self._rate,
            headroom=self._headroom,
            keep_quotas=self._keep_quotas,
        )

    def reset(self) -> None:
        """Do nothing: the plan stands in the observation."""

    def decide(self, observation: ClusterObservation) -> tuple[ServiceDecision, ...]:
        """Ask for what the plan says; without a plan, or without fresh metrics, for nothing less than now."""
        return tuple(_as_planned(service, observation.time_s) for service in observation.services)


def _as_planned(service: ServiceView, now_s: float) -> ServiceDecision:
    plan, quota = service.plan, service.quota
    if plan is None:
        return KEEP
    replicas, cores, memory_bytes = plan.replicas, plan.cpu_request_cores, plan.memory_request_bytes
    if not is_fresh(service, now_s):  # a cluster that cannot be seen is not made smaller
        replicas = max(replicas, service.replicas_wanted)
        cores = max(cores, quota.cpu_request_cores)
        memory_bytes = max(memory_bytes, quota.memory_request_bytes)
    cpu = with_limit(cores, quota.cpu_request_cores, quota.cpu_limit_cores)
    memory = with_limit(memory_bytes, quota.memory_request_bytes, quota.memory_limit_bytes)
    if not all(is_size(each) for each in (*cpu, *memory)):
        return KEEP
    return ServiceDecision(bounded(replicas, service), *cpu, *memory)
