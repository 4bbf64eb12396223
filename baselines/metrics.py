"""What controllers read out of an observation, and what they make of it.

A value that is missing, not a number or too old is None here, so that no controller can mistake it for
a small one: whoever gets None keeps what is wanted. Only what the monitoring pipeline shows is used.
"""

from collections import deque
from collections.abc import Iterable
from math import ceil, inf, isfinite, nextafter
from typing import Literal, TypeAlias, get_args

from podgym.envs.cluster import PodView, RateForecast, ServiceDecision, ServiceView
from podgym.errors import InputError, unknown_name

MAX_SAMPLE_AGE_S = 90.0
"""Age up to which a sample is believed: six scrapes of 15 s, three of 30 s."""
SATURATED = 0.95
"""Share of its CPU limit from which a pod counts as saturated: it may have more work than it can do."""
HALF_LIFE_S = 300.0
"""Time after which a measurement weighs half in the estimates below."""

ForecastQuantile: TypeAlias = Literal["mean", "upper"]
"""Which line of a forecast to follow: its mean, or the upper end of its 80 % interval."""


# ----------------------------------------------------------------------------------------- freshness


def is_recent(time_s: float | None, now_s: float, max_age_s: float = MAX_SAMPLE_AGE_S) -> bool:
    """Whether a time stamp can be believed: it is there, a number, and at most ``max_age_s`` away."""
    return time_s is not None and isfinite(time_s) and abs(now_s - time_s) <= max_age_s


def is_fresh(service: ServiceView, now_s: float, max_age_s: float = MAX_SAMPLE_AGE_S) -> bool:
    """Whether the metrics of a service can be believed."""
    return is_recent(service.sample_time_s, now_s, max_age_s)


def request_rate_rps(service: ServiceView, now_s: float, max_age_s: float = MAX_SAMPLE_AGE_S) -> float | None:
    """Return the measured request rate, requests/s; None when there is none to believe."""
    return _measured(service.request_rate_rps, service, now_s, max_age_s)


def requests_in_flight(
    service: ServiceView, now_s: float, max_age_s: float = MAX_SAMPLE_AGE_S
) -> float | None:
    """Return the measured number of requests in the system; None when there is none to believe."""
    return _measured(service.in_flight, service, now_s, max_age_s)


def response_time_s(service: ServiceView, now_s: float, max_age_s: float = MAX_SAMPLE_AGE_S) -> float | None:
    """Return the measured mean response time, seconds; None when no request was completed."""
    return _measured(service.response_time_s, service, now_s, max_age_s)


def _measured(value: float, service: ServiceView, now_s: float, max_age_s: float) -> float | None:
    if not is_fresh(service, now_s, max_age_s) or not isfinite(value) or value < 0.0:
        return None
    return value


def serving_pods(
    service: ServiceView, now_s: float, max_age_s: float = MAX_SAMPLE_AGE_S
) -> tuple[PodView, ...]:
    """Return the pods that are ready, stay, and have a sample with numbers that can be believed."""
    return tuple(
        [
            pod
            for pod in service.pods
            if pod.ready
            and not pod.deleted
            and pod.sample is not None
            and is_recent(pod.sample.time_s, now_s, max_age_s)
            and is_amount(pod.sample.cpu_usage_cores)
            and is_amount(pod.sample.memory_usage_bytes)
        ]
    )


def is_amount(value: float) -> bool:
    """Whether a measurement is a number, finite and not negative."""
    return isfinite(value) and value >= 0.0


def is_size(value: float) -> bool:
    """Whether a quota is a number, finite and positive."""
    return isfinite(value) and value > 0.0


# ------------------------------------------------------------------------------------------ decisions


def bounded(replicas: int, service: ServiceView) -> int:
    """Bring a replica count within the bounds of its service; the upper one wins."""
    return min(max(replicas, service.min_replicas), service.max_replicas)


def want(replicas: int, service: ServiceView) -> ServiceDecision:
    """Decide a replica count, within the bounds of the service."""
    replicas = bounded(replicas, service)
    return ServiceDecision(replicas=None if replicas == service.replicas_wanted else replicas)


def with_limit(request: float, present_request: float, present_limit: float) -> tuple[float, float]:
    """Return a request and its limit, which is to the request as at present and not below it."""
    ratio = present_limit / present_request if is_size(present_request) else 1.0
    limit = request * ratio
    return request, limit if is_size(limit) and limit > request else request


KEEP = ServiceDecision()
"""Leave everything as it is."""


class HoldDown:
    """Scales up at once and down only to the largest count of the last ``hold_s`` seconds.

    What Kubernetes calls a downscale stabilisation window and Knative a scale-down delay. A count
    exactly ``hold_s`` old no longer holds.
    """

    def __init__(self, hold_s: float) -> None:
        """Begin with an empty window."""
        self._hold_s = hold_s
        self._counts: deque[tuple[float, int]] = deque()

    def apply(self, replicas: int, now_s: float) -> int:
        """Note what is needed now and return what may be wanted now."""
        counts = self._counts
        while counts and counts[0][0] <= now_s - self._hold_s:
            counts.popleft()
        while counts and counts[-1][1] <= replicas:  # never the largest again
            counts.pop()
        counts.append((now_s, replicas))
        return counts[0][1]


# ------------------------------------------------------------------------------------------- forecasts


def forecast_peak_rps(
    forecast: RateForecast | None, lead_minutes: int, quantile: ForecastQuantile
) -> float | None:
    """Return the highest forecast rate of the next minutes.

    Args:
        forecast: the forecast; None: there is none.
        lead_minutes: how many minutes to look ahead, at least 1; as far as the forecast goes.
        quantile: which line of the forecast.

    Returns:
        Requests/s; None without a forecast, or when one of its minutes is not a number.
    """
    if forecast is None:
        return None
    line = forecast.mean_rps if quantile == "mean" else forecast.upper_rps
    ahead = line[:lead_minutes]
    if not ahead or not all(is_amount(rate) for rate in ahead):
        return None
    return max(ahead)


# -------------------------------------------------------------------------------------- CPU per request


class DemandEstimate:
    """CPU work of one request, from what the ready pods use and the request rate.

    The ratio of two sums, each of which forgets with a half-life: busy times weigh more, and noise in
    either averages out. While the pods are saturated they do less (or, draining a backlog, more) than
    what arrives, so such samples count only until there is a better one, and then as a lower bound.
    Idle CPU of the pods is counted as work, which errs to the safe side.
    """

    def __init__(self, half_life_s: float = HALF_LIFE_S, max_sample_age_s: float = MAX_SAMPLE_AGE_S) -> None:
        """Begin without any estimate."""
        self._half_life_s = half_life_s
        self._max_sample_age_s = max_sample_age_s
        self._cores = 0.0
        self._rate_rps = 0.0
        self._time_s: float | None = None
        self._at_least: float | None = None

    @property
    def core_s_per_request(self) -> float | None:
        """Core-seconds per request; None: not known yet."""
        if self._rate_rps > 0.0 and self._cores > 0.0:
            return self._cores / self._rate_rps
        return self._at_least

    def update(self, service: ServiceView, now_s: float) -> None:
        """Learn from an observation; one that shows nothing new, or nothing usable, changes nothing."""
        time_s = service.sample_time_s
        rate_rps = request_rate_rps(service, now_s, self._max_sample_age_s)
        pods = serving_pods(service, now_s, self._max_sample_age_s)
        if time_s is None or time_s == self._time_s or not rate_rps or not pods:
            return
        usage_cores = mean_cpu_cores(pods) * max(service.replicas_ready, len(pods))
        if not is_size(usage_cores / rate_rps):
            return
        if is_saturated(pods):
            self._at_least = max(self._at_least or 0.0, usage_cores / rate_rps)
            return
        elapsed_s = 0.0 if self._time_s is None else max(time_s - self._time_s, 0.0)
        kept = 0.5 ** (elapsed_s / self._half_life_s)
        self._time_s = time_s
        self._cores = self._cores * kept + usage_cores
        self._rate_rps = self._rate_rps * kept + rate_rps


def mean_cpu_cores(pods: Iterable[PodView]) -> float:
    """Mean CPU usage of pods that all have samples, cores; 0 without pods."""
    usage = [pod.sample.cpu_usage_cores for pod in pods if pod.sample is not None]
    return sum(usage) / len(usage) if usage else 0.0


def is_saturated(pods: Iterable[PodView]) -> bool:
    """Whether pods that all have samples use nearly all of the CPU that their limits allow."""
    usage_cores = limit_cores = 0.0
    for pod in pods:
        if pod.sample is not None:
            usage_cores += pod.sample.cpu_usage_cores
            limit_cores += pod.quota.cpu_limit_cores
    return not usage_cores < SATURATED * limit_cores


def rate_per_replica_rps(
    service: ServiceView, core_s_per_request: float, target_utilisation: float
) -> float | None:
    """Requests/s that one pod of the template serves at a share of its CPU limit; None: unknown."""
    rate_rps = target_utilisation * service.quota.cpu_limit_cores / core_s_per_request
    return rate_rps if is_size(rate_rps) else None


def replicas_for(rate_rps: float, rate_per_replica: float, service: ServiceView) -> int:
    """Smallest count within the bounds at which no pod gets more than its share of the rate."""
    share = rate_rps / rate_per_replica * _ROUNDING
    return bounded(ceil(min(share, float(service.max_replicas))), service)


_ROUNDING = 1.0 - 1e-9  # so that twice the rate of a replica needs two replicas and not a third


# --------------------------------------------------------------------------------------- checked options


def checked_number(option: str, value: object, low: float, high: float, *, above: bool = False) -> float:
    """Return a number of an option; ``above``: ``low`` itself is not allowed.

    Raises:
        InputError: not a finite number from ``low`` to ``high``.
    """
    least = nextafter(low, inf) if above else low
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value)
        if isfinite(number) and least <= number <= high:
            return number
    begin = "above" if above else "from"
    end = "" if high == inf else f" {'and at most' if above else 'to'} {high:g}"
    raise InputError(f"{option} is {value!r}; it must be a finite number {begin} {low:g}{end}.")


def checked_choice(option: str, value: object, choices: object) -> None:
    """Refuse a value that a Literal type does not list.

    Raises:
        InputError: with the allowed values and the closest.
    """
    allowed = get_args(choices)
    if value not in allowed:
        raise unknown_name(option, value, allowed)
