"""The planner of the predictive-autoscaling architecture: forecast in, replicas and quotas out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from podgym.baselines.budget import Claim, within_budget
from podgym.baselines.capacity import BaseLatencyEstimate, replicas_by_latency, replicas_by_utilisation
from podgym.baselines.forecast_watch import ForecastWatch
from podgym.baselines.hpa_controller import HpaLoop, checked_percent, resource_metric
from podgym.baselines.metrics import (
    MAX_SAMPLE_AGE_S,
    DemandEstimate,
    ForecastQuantile,
    HoldDown,
    bounded,
    checked_choice,
    checked_number,
    forecast_peak_rps,
    is_saturated,
    is_size,
    request_rate_rps,
    response_time_s,
    serving_pods,
    with_limit,
)
from podgym.baselines.quota_plan import GIB, STAY, QuotaChange, QuotaPlan, QuotaSettings
from podgym.envs.cluster import ClusterObservation, ServiceDecision, ServiceView
from podgym.errors import InputError, require_whole

_SEARCHED = 5000  # replicas up to which a latency objective is followed


class PredictivePlannerController:
    """Plans replicas, requests and limits from the forecast, and falls back to the HPA without one.

    *Replicas*: the smallest count at which 95 % of the requests meet the response time objective (M/M/c
    from the measured CPU per request and base latency) and no replica exceeds a utilisation, for the
    highest rate of the next minutes, measured or forecast, plus over-provisioning. An objective that no
    count can meet leaves the utilisation alone in charge.
    *Ramps*: at most so many replicas are added or removed per period, and fewer are wanted only when no
    more were needed for a while.
    *Quotas*: memory from the highest working set of the last hour plus a margin, CPU as the cheapest of
    the allowed pod sizes; the limits keep their ratio to the requests. A change rolls all pods, so it
    happens rarely and only when it pays, except when memory comes near its limit.
    *Budget*: where the services together want more than the budget, each gets the same share of what it
    wants, and at least its minimum.
    *Fallback*: the classic HPA on CPU decides for a service without a forecast, without an estimate of
    the CPU per request, or whose forecast has missed the measured rate for several minutes. Without fresh
    metrics nothing is scaled down. ``status`` says per service what was in charge.

    Source: the plan stage of a predictive autoscaler built as a monitor-analyse-plan-execute loop
    (forecast to replicas and quotas, 10 to 15 % over-provisioning, ramp policy, SLO, budget, fallback).
    """

    name = "predictive_planner"

    def __init__(
        self,
        *,
        lead_minutes: int = 3,
        quantile: ForecastQuantile = "mean",
        over_provisioning: float = 0.12,
        slo_response_time_s: float = 0.25,
        max_utilisation: float = 0.8,
        max_added: int = 12,
        max_removed: int = 4,
        ramp_period_s: float = 60.0,
        stabilization_s: float = 180.0,
        min_replicas: int | None = None,
        max_replicas: int | None = None,
        budget_cores: float | None = None,
        budget_memory_gib: float | None = None,
        plan_memory: bool = True,
        memory_margin: float = 0.2,
        cpu_sizes_cores: Sequence[float] = (),
        quota_tolerance: float = 0.25,
        quota_period_s: float = 1800.0,
        forecast_patience_s: float = 180.0,
        forecast_margin: float = 0.1,
        fallback_cpu_target_percent: int = 80,
        max_sample_age_s: float = MAX_SAMPLE_AGE_S,
    ) -> None:
        """Configure all services alike.

        Args:
            lead_minutes: minutes of forecast of which the highest rate counts, 1 to 60.
            quantile: ``mean`` of the forecast, or ``upper`` end of its 80 % interval.
            over_provisioning: what is added to the rate, as a share of it; -0.5 to 10, usually 0.10 to 0.15.
            slo_response_time_s: response time that 95 % of the requests of a service must meet, seconds.
            max_utilisation: most that a replica may use of its CPU limit, whatever the objective allows.
            max_added: most replicas added per ramp period.
            max_removed: most replicas removed per ramp period.
            ramp_period_s: length of a ramp period, seconds.
            stabilization_s: how long less must be needed before less is wanted, seconds.
            min_replicas: least replicas of a service; None: the service's own minimum, which always holds.
            max_replicas: most replicas of a service; None: the service's own maximum, which always holds.
            budget_cores: most that all services together may request; None: no limit.
            budget_memory_gib: most GiB that all services together may request; None: no limit.
            plan_memory: whether memory requests are planned, or left as they are.
            memory_margin: what is added to the highest working set, as a share of it.
            cpu_sizes_cores: CPU requests to choose from; none: CPU requests are left as they are.
            quota_tolerance: relative change of a memory request, and relative saving by another pod size,
                below which quotas stay.
            quota_period_s: least time between two changes of a service's quotas, seconds.
            forecast_patience_s: how long a forecast must miss before it is distrusted, seconds.
            forecast_margin: how far outside the interval still counts as a hit, as a share of the rate.
            fallback_cpu_target_percent: target utilisation of the HPA that takes over.
            max_sample_age_s: age from which metrics count as missing, seconds.

        Raises:
            InputError: an option that is not a number of its range, an empty budget, or a minimum above
                the maximum.
        """
        inf = float("inf")
        require_whole("lead_minutes", lead_minutes, 1, 60)
        checked_choice("quantile", quantile, ForecastQuantile)
        self._lead_minutes = lead_minutes
        self._quantile: ForecastQuantile = quantile
        self._factor = 1.0 + checked_number("over_provisioning", over_provisioning, -0.5, 10.0)
        self._slo_s = checked_number("slo_response_time_s", slo_response_time_s, 0.0, inf, above=True)
        self._utilisation = checked_number("max_utilisation", max_utilisation, 0.0, 1.0, above=True)
        require_whole("max_added", max_added, 1, 10**6)
        require_whole("max_removed", max_removed, 1, 10**6)
        self._ramp = (max_added, max_removed, checked_number("ramp_period_s", ramp_period_s, 0.0, inf))
        self._stabilization_s = checked_number("stabilization_s", stabilization_s, 0.0, inf)
        self._bounds = _checked_bounds(min_replicas, max_replicas)
        self._budget_cores = _checked_budget("budget_cores", budget_cores)
        self._budget_gib = _checked_budget("budget_memory_gib", budget_memory_gib)
        self._quotas = QuotaSettings(
            plan_memory=_checked_flag("plan_memory", plan_memory),
            memory_margin=checked_number("memory_margin", memory_margin, 0.0, 10.0),
            cpu_sizes_cores=_checked_sizes(cpu_sizes_cores),
            tolerance=checked_number("quota_tolerance", quota_tolerance, 0.0, 1.0),
            period_s=checked_number("quota_period_s", quota_period_s, 0.0, inf),
        )
        self._patience_s = checked_number("forecast_patience_s", forecast_patience_s, 0.0, inf)
        self._margin = checked_number("forecast_margin", forecast_margin, 0.0, 10.0)
        self._percent = checked_percent("fallback_cpu_target_percent", fallback_cpu_target_percent)
        self._max_sample_age_s = checked_number("max_sample_age_s", max_sample_age_s, 0.0, inf)
        self._loop = HpaLoop()
        self._services: dict[str, _Knowledge] = {}
        self.status: dict[str, str] = {}
        """Per service what was in charge at the last decision, in words."""

    def reset(self) -> None:
        """Forget everything that was measured, planned and told."""
        self._loop.reset()
        self._services.clear()
        self.status.clear()

    def decide(self, observation: ClusterObservation) -> tuple[ServiceDecision, ...]:
        """Plan every service and share the budget among them."""
        now_s = observation.time_s
        services = [self._bounded_view(service) for service in observation.services]
        wishes = [self._wish(service, now_s) for service in services]
        claims = [_claim(service, wish) for service, wish in zip(services, wishes, strict=True)]
        counts = within_budget(claims, self._budget_cores, self._budget_gib)
        for service, claim, count in zip(services, claims, counts, strict=True):
            if count < claim.wanted:
                self.status[service.name] += "; held back by the budget"
        return tuple(
            _decision(service, wish, count)
            for service, wish, count in zip(services, wishes, counts, strict=True)
        )

    def _bounded_view(self, service: ServiceView) -> ServiceView:
        """The service with the planner's own bounds within the service's."""
        least, most = self._bounds
        if least is None and most is None:
            return service
        high = service.max_replicas if most is None else min(most, service.max_replicas)
        high = max(high, service.min_replicas)
        low = service.min_replicas if least is None else max(least, service.min_replicas)
        return replace(service, min_replicas=min(low, high), max_replicas=high)

    def _wish(self, service: ServiceView, now_s: float) -> "_Wish":
        known = self._services.get(service.name)
        if known is None:
            known = self._services[service.name] = self._new_knowledge(service, now_s)
        rate_rps = request_rate_rps(service, now_s, self._max_sample_age_s)
        self._learn(service, known, rate_rps, now_s)
        cpu = resource_metric("cpu", self._percent, service, now_s, self._max_sample_age_s)
        reactive = self._loop.decide(service, (cpu,), now_s)  # always, so that its memory is never old
        peak_rps = forecast_peak_rps(service.forecast, self._lead_minutes, self._quantile)
        core_s = known.demand.core_s_per_request
        doubt = _doubt(service, known, peak_rps, core_s)
        if doubt or peak_rps is None or core_s is None:
            self.status[service.name] = f"fallback to the HPA: {doubt}"
            known.hold.apply(service.replicas_wanted, now_s)
            replicas = service.replicas_wanted if reactive.replicas is None else reactive.replicas
            return _Wish(replicas, blind=rate_rps is None)
        return self._plan(service, known, max(peak_rps, rate_rps or 0.0), core_s, rate_rps is None, now_s)

    def _new_knowledge(self, service: ServiceView, now_s: float) -> "_Knowledge":
        known = _Knowledge(
            DemandEstimate(max_sample_age_s=self._max_sample_age_s),
            BaseLatencyEstimate(),
            ForecastWatch(self._patience_s, self._margin),
            HoldDown(self._stabilization_s),
            Ramp(*self._ramp),
            QuotaPlan(self._quotas, now_s),
        )
        # Keeps a planner that has just started from scaling down at once.
        known.hold.apply(service.replicas_wanted, now_s)
        return known

    def _learn(self, service: ServiceView, known: "_Knowledge", rate_rps: float | None, now_s: float) -> None:
        """Update what is estimated, and judge what the forecast told before."""
        known.demand.update(service, now_s)
        if service.forecast is not None:
            known.watch.note(service.forecast, now_s)
        core_s = known.demand.core_s_per_request
        if rate_rps is None or service.sample_time_s is None:
            return
        known.watch.judge(rate_rps, service.sample_time_s)
        response_s = response_time_s(service, now_s, self._max_sample_age_s)
        limit_cores = service.quota.cpu_limit_cores
        drained = not is_saturated(serving_pods(service, now_s, self._max_sample_age_s))
        if drained and response_s is not None and core_s is not None and is_size(limit_cores):
            known.base.update(
                service.sample_time_s, response_s, rate_rps, core_s, limit_cores, service.replicas_ready
            )

    def _plan(
        self,
        service: ServiceView,
        known: "_Knowledge",
        rate_rps: float,
        core_s: float,
        blind: bool,
        now_s: float,
    ) -> "_Wish":
        """Plan one service for a rate; ``blind``: the metrics are missing, so nothing may go down."""
        planned_rps = rate_rps * self._factor
        base_s = known.base.base_latency_s
        change = STAY
        if not blind:
            pods = serving_pods(service, now_s, self._max_sample_age_s)
            change = known.quotas.decide(
                service, pods, now_s, lambda cores: self._needed(planned_rps, core_s, cores, base_s)[0]
            )
        limit_cores = service.quota.cpu_limit_cores
        if change.cpu_request_cores is not None:
            limit_cores = with_limit(change.cpu_request_cores, service.quota.cpu_request_cores, limit_cores)[
                1
            ]
        needed, attainable = self._needed(planned_rps, core_s, limit_cores, base_s)
        if blind:
            needed = max(needed, service.replicas_wanted)
        text = "forecast" if attainable else "forecast; no count meets the response time objective"
        self.status[service.name] = f"{text}; metrics missing, nothing goes down" if blind else text
        held = known.hold.apply(bounded(needed, service), now_s)
        ramped = known.ramp.apply(service.replicas_wanted, held, now_s)
        return _Wish(ramped, change, blind)

    def _needed(self, rate_rps: float, core_s: float, limit_cores: float, base_s: float) -> tuple[int, bool]:
        """Replicas that a rate needs, without bounds, and whether they meet the objective."""
        by_utilisation = replicas_by_utilisation(rate_rps, core_s, limit_cores, self._utilisation)
        by_latency = replicas_by_latency(rate_rps, core_s, limit_cores, base_s, self._slo_s, _SEARCHED)
        if by_latency is None:
            return by_utilisation, False
        return max(by_utilisation, by_latency), True


class Ramp:
    """Limits how many replicas are added or removed within a period."""

    def __init__(self, max_added: int, max_removed: int, period_s: float) -> None:
        """Begin without any period under way."""
        self._max_added = max_added
        self._max_removed = max_removed
        self._period_s = period_s
        self._start: tuple[float, int] | None = None  # of the period: time in s, replicas

    def apply(self, present: int, wanted: int, now_s: float) -> int:
        """Return the count nearest to what is wanted that the period allows.

        Args:
            present: replicas wanted until now.
            wanted: replicas that should be.
            now_s: the time now.
        """
        if self._start is None or not 0.0 <= now_s - self._start[0] < self._period_s:
            self._start = (now_s, present)
        start = self._start[1]
        if wanted > present:
            return min(wanted, max(start + self._max_added, present))
        return max(wanted, min(start - self._max_removed, present))


@dataclass(frozen=True, slots=True)
class _Knowledge:
    """What the planner remembers of one service."""

    demand: DemandEstimate
    base: BaseLatencyEstimate
    watch: ForecastWatch
    hold: HoldDown
    ramp: Ramp
    quotas: QuotaPlan


@dataclass(frozen=True, slots=True)
class _Wish:
    """What one service should get before the budget is shared."""

    replicas: int
    change: QuotaChange = STAY
    blind: bool = False
    """Not to be reduced, for want of metrics."""


def _doubt(service: ServiceView, known: _Knowledge, peak_rps: float | None, core_s: float | None) -> str:
    """Why the forecast cannot be planned with; empty when it can."""
    if peak_rps is None:
        return "there is no forecast"
    if not known.watch.trusted:
        return "the forecast has missed the measured rate"
    if core_s is None:
        return "the CPU per request is not known yet"
    return "" if is_size(service.quota.cpu_limit_cores) else "the pods have no CPU limit"


def _claim(service: ServiceView, wish: _Wish) -> Claim:
    request_cores = wish.change.cpu_request_cores or service.quota.cpu_request_cores
    request_bytes = wish.change.memory_request_bytes or service.quota.memory_request_bytes
    least = service.replicas_wanted if wish.blind else service.min_replicas
    return Claim(
        wish.replicas,
        min(wish.replicas, least),
        request_cores if is_size(request_cores) else 0.0,
        request_bytes / GIB if is_size(request_bytes) else 0.0,
    )


def _decision(service: ServiceView, wish: _Wish, count: int) -> ServiceDecision:
    quota, change = service.quota, wish.change
    cpu: tuple[float | None, float | None] = (None, None)
    memory: tuple[float | None, float | None] = (None, None)
    if change.cpu_request_cores is not None:
        cpu = with_limit(change.cpu_request_cores, quota.cpu_request_cores, quota.cpu_limit_cores)
    if change.memory_request_bytes is not None:
        memory = with_limit(change.memory_request_bytes, quota.memory_request_bytes, quota.memory_limit_bytes)
    replicas = bounded(count, service)
    unchanged = replicas == service.replicas_wanted
    lowers_blindly = wish.blind and replicas < service.replicas_wanted
    return ServiceDecision(None if unchanged or lowers_blindly else replicas, *cpu, *memory)


def _checked_bounds(least: int | None, most: int | None) -> tuple[int | None, int | None]:
    for name, value in (("min_replicas", least), ("max_replicas", most)):
        if value is not None:
            require_whole(name, value, 1, 10**6)
    if least is not None and most is not None and least > most:
        raise InputError(f"min_replicas {least} is above max_replicas {most}.")
    return least, most


def _checked_budget(name: str, value: float | None) -> float | None:
    return None if value is None else checked_number(name, value, 0.0, float("inf"), above=True)


def _checked_flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise InputError(f"{name} is {value!r}; it must be True or False.")
    return value


def _checked_sizes(sizes: object) -> tuple[float, ...]:
    if isinstance(sizes, str) or not isinstance(sizes, Sequence):
        raise InputError(f"cpu_sizes_cores is {sizes!r}; it must be a list of numbers.")
    return tuple(checked_number("a size of cpu_sizes_cores", size, 0.0, 1e6, above=True) for size in sizes)
