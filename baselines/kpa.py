"""Knative's pod autoscaler (KPA): concurrency or request rate over two windows, with a panic mode.

Source: Knative Serving, ``pkg/autoscaler/scaling/autoscaler.go`` (the arithmetic),
``pkg/autoscaler/aggregation/max`` (the scale-down delay) and ``pkg/autoscaler/config/config.go`` (the
defaults), and the documentation pages "Supported autoscaler types" and "Configuring metrics".
"""

from collections import deque
from dataclasses import dataclass
from math import ceil, floor
from typing import Literal, TypeAlias

from podgym.baselines.metrics import (
    KEEP,
    MAX_SAMPLE_AGE_S,
    HoldDown,
    checked_choice,
    checked_number,
    request_rate_rps,
    requests_in_flight,
    want,
)
from podgym.envs.cluster import ClusterObservation, ServiceDecision, ServiceView

KpaMetric: TypeAlias = Literal["concurrency", "rps"]
"""Requests in the system, or requests/s."""

DEFAULT_TARGETS: dict[KpaMetric, float] = {"concurrency": 100.0, "rps": 200.0}
"""Per pod: ``container-concurrency-target-default`` and ``requests-per-second-target-default``."""
SMALLEST_TARGET = 0.01
"""Of a pod, ``autoscaling.TargetMin``."""


@dataclass(frozen=True, slots=True)
class KpaSettings:
    """What one autoscaler is told (``DeciderSpec``)."""

    target_value: float = 70.0
    """Value of the metric wanted per pod, after the utilisation was taken off."""
    stable_window_s: float = 60.0
    """Length of the stable window, and how long a panic lasts after the last alarm."""
    panic_threshold: float = 2.0
    """Pods needed in the panic window over ready pods at which panic begins."""
    max_scale_up_rate: float = 1000.0
    """Most pods wanted over ready pods."""
    max_scale_down_rate: float = 2.0
    """Most ready pods over pods wanted."""


@dataclass(frozen=True, slots=True)
class KpaState:
    """What one autoscaler remembers of its panic."""

    panic_s: float | None = None
    """When the metric was last over the panic threshold; None: not in panic."""
    most_panic_pods: int = 0
    """Most pods wanted in this panic."""


def initial_state(ready_pods: int, now_s: float) -> KpaState:
    """Return the state after a start: in panic at the present scale if that is more than one pod.

    Without any history the autoscaler must not scale down.
    """
    return KpaState(now_s if ready_pods > 1 else None, ready_pods)


def scale(
    settings: KpaSettings,
    state: KpaState,
    ready_pods: int,
    stable_value: float,
    panic_value: float,
    now_s: float,
) -> tuple[int, KpaState]:
    """Return the pods wanted, before bounds and delay, and what to remember.

    Args:
        settings: the settings.
        state: what was remembered.
        ready_pods: pods that are ready.
        stable_value: mean of the metric over the stable window, all pods together.
        panic_value: mean of the metric over the panic window, all pods together.
        now_s: the time now.
    """
    ready = max(1.0, float(ready_pods))
    most = float(ceil(settings.max_scale_up_rate * ready))  # rounded up, so that it can always grow
    least = float(floor(ready / settings.max_scale_down_rate))
    for_stable = _ceil_to(stable_value / settings.target_value, most)
    for_panic = _ceil_to(panic_value / settings.target_value, most)
    stable_pods = int(min(max(for_stable, least), most))
    panic_pods = int(min(max(for_panic, least), most))

    panic_s, most_panic_pods = state.panic_s, state.most_panic_pods
    if for_panic / ready >= settings.panic_threshold:
        panic_s = now_s
    elif panic_s is not None and panic_s + settings.stable_window_s < now_s:
        panic_s, most_panic_pods = None, 0
    if panic_s is None:
        return stable_pods, KpaState(None, most_panic_pods)
    most_panic_pods = max(most_panic_pods, stable_pods, panic_pods)  # no scaling down in panic
    return most_panic_pods, KpaState(panic_s, most_panic_pods)


def _ceil_to(value: float, most: float) -> float:
    """Round up, but no further than what matters, so that no amount is too large."""
    return float(ceil(min(value, max(most, 1e9))))


class KpaController:
    """Scales each service to its concurrency or request rate over a target per pod, as Knative does.

    The stable window (60 s) decides in calm times. When the pods needed for the panic window (10 % of it)
    reach twice the ready ones, panic begins: the larger of both windows decides and nothing is scaled
    down until the stable window has passed without another alarm.

    Knative averages concurrency over every second; an observation shows one sample per scrape. A window
    holds the samples taken within it, and always the newest, which is all that the default panic window
    of 6 s contains. Scaling to zero does not exist here, so neither do activation scale and grace period.
    The default target is Knative's, meant for containers that hold a hundred requests at once.
    """

    name = "kpa"

    def __init__(
        self,
        *,
        metric: KpaMetric = "concurrency",
        target: float | None = None,
        target_utilisation: float = 0.7,
        stable_window_s: float = 60.0,
        panic_window_percent: float = 10.0,
        panic_threshold_percent: float = 200.0,
        max_scale_up_rate: float = 1000.0,
        max_scale_down_rate: float = 2.0,
        scale_down_delay_s: float = 0.0,
        max_sample_age_s: float = MAX_SAMPLE_AGE_S,
    ) -> None:
        """Configure all services alike; each option has the range that Knative allows.

        Args:
            metric: ``concurrency`` (requests in the system) or ``rps`` (requests/s).
            target: value of the metric that a pod can bear; None: Knative's 100 requests or 200
                requests/s.
            target_utilisation: share of the target that is aimed at, above 0 and at most 1.
            stable_window_s: length of the stable window, 6 to 3600 seconds.
            panic_window_percent: length of the panic window in percent of the stable one, 1 to 100.
            panic_threshold_percent: pods needed in percent of the ready ones at which panic begins, 110
                to 1000.
            max_scale_up_rate: most pods wanted over ready pods, above 1.
            max_scale_down_rate: most ready pods over pods wanted, above 1.
            scale_down_delay_s: how long less must be needed before less is wanted, 0 to 3600 seconds.
            max_sample_age_s: age from which the metric counts as missing, seconds; then nothing is done.

        Raises:
            InputError: an option that is not a number of its range.
        """
        checked_choice("metric of the kpa controller", metric, KpaMetric)
        self._metric = metric
        bearable = checked_number(
            "target", DEFAULT_TARGETS[metric] if target is None else target, SMALLEST_TARGET, 1e9
        )
        share = checked_number("target_utilisation", target_utilisation, 0.0, 1.0, above=True)
        self._settings = KpaSettings(
            target_value=max(bearable * share, SMALLEST_TARGET),
            stable_window_s=checked_number("stable_window_s", stable_window_s, 6.0, 3600.0),
            panic_threshold=checked_number("panic_threshold_percent", panic_threshold_percent, 110.0, 1000.0)
            / 100.0,
            max_scale_up_rate=checked_number("max_scale_up_rate", max_scale_up_rate, 1.0, 1e6, above=True),
            max_scale_down_rate=checked_number(
                "max_scale_down_rate", max_scale_down_rate, 1.0, 1e6, above=True
            ),
        )
        panic_percent = checked_number("panic_window_percent", panic_window_percent, 1.0, 100.0)
        self._panic_window_s = self._settings.stable_window_s * panic_percent / 100.0
        self._delay_s = checked_number("scale_down_delay_s", scale_down_delay_s, 0.0, 3600.0)
        self._max_sample_age_s = checked_number("max_sample_age_s", max_sample_age_s, 0.0, float("inf"))
        self._deciders: dict[str, _Decider] = {}

    def reset(self) -> None:
        """Forget all windows and panics."""
        self._deciders.clear()

    def decide(self, observation: ClusterObservation) -> tuple[ServiceDecision, ...]:
        """Scale every service once."""
        return tuple(self._decide_one(service, observation.time_s) for service in observation.services)

    def _decide_one(self, service: ServiceView, now_s: float) -> ServiceDecision:
        read = request_rate_rps if self._metric == "rps" else requests_in_flight
        value = read(service, now_s, self._max_sample_age_s)
        decider = self._deciders.get(service.name)
        if decider is None:
            decider = _Decider(initial_state(service.replicas_ready, now_s), HoldDown(self._delay_s))
            self._deciders[service.name] = decider
        if value is None or service.sample_time_s is None:
            return KEEP
        decider.record(service.sample_time_s, value, now_s - self._settings.stable_window_s)
        pods, decider.state = scale(
            self._settings,
            decider.state,
            service.replicas_ready,
            decider.average(now_s - self._settings.stable_window_s),
            decider.average(now_s - self._panic_window_s),
            now_s,
        )
        return want(decider.delay.apply(pods, now_s) if self._delay_s > 0.0 else pods, service)


class _Decider:
    """The autoscaler of one service: its samples, its panic and its delay."""

    def __init__(self, state: KpaState, delay: HoldDown) -> None:
        self.state = state
        self.delay = delay
        self._samples: deque[tuple[float, float]] = deque()  # time in s, value

    def record(self, time_s: float, value: float, since_s: float) -> None:
        """Note a sample once, and forget those from before ``since_s``."""
        if self._samples and self._samples[-1][0] == time_s:
            self._samples.pop()
        self._samples.append((time_s, value))
        while len(self._samples) > 1 and self._samples[0][0] <= since_s:
            self._samples.popleft()

    def average(self, since_s: float) -> float:
        """Mean of the samples after ``since_s``, of the newest if there is none."""
        values = [value for time_s, value in self._samples if time_s > since_s]
        if not values:
            return self._samples[-1][1]
        return sum(value / len(values) for value in values)
