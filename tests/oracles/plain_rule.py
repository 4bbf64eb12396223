"""The nonlinear rule written down a second time: plain Python, one service at a time, in terms of metrics."""

import math
from collections import deque

import numpy as np

from podgym.baselines import metrics


class PlainRule:
    """Decides as ``NonlinearRuleController`` with its default options but for the weights."""

    def __init__(self, weights, target=0.7):
        flat = np.asarray(weights, dtype=np.float64)
        self.hidden, self.hidden_bias = flat[:72].reshape(12, 6), flat[72:78]
        self.output, self.output_bias = flat[78:90].reshape(6, 2), flat[90:92]
        self.target = target
        self.known = {}

    def decide(self, observation):
        """Return the replicas wanted of each service; None: as they are."""
        return [self._one(service, observation.time_s) for service in observation.services]

    def _one(self, service, now_s):
        rate_rps = metrics.request_rate_rps(service, now_s)
        if rate_rps is None:
            return None
        pods = metrics.serving_pods(service, now_s)
        memory = self.known.setdefault(
            service.name,
            {"demand": metrics.DemandEstimate(), "rates": deque(maxlen=8), "time": None, "fastest": math.inf},
        )
        memory["demand"].update(service, now_s)
        response_s = metrics.response_time_s(service, now_s)
        in_flight = metrics.requests_in_flight(service, now_s)
        if service.sample_time_s != memory["time"]:
            memory["time"] = service.sample_time_s
            memory["rates"].appendleft(rate_rps)
            memory["fastest"] = min(memory["fastest"], response_s or math.inf)
        need = self._need(service, rate_rps, memory["demand"].core_s_per_request)
        if need is None:
            return None
        limit = service.quota.cpu_limit_cores
        utilisation = metrics.mean_cpu_cores(pods) / limit if pods and limit > 0 else None
        features = self._features(service, memory, need, (rate_rps, utilisation, in_flight, response_s))
        level, band = np.tanh(features @ self.hidden + self.hidden_bias) @ self.output + self.output_bias
        level, band = np.clip(level, -1.5, 1.5), np.clip(band, 0.0, 1.5)
        least, most = (math.ceil(need * math.exp(each) - 1e-9) for each in (level, level + band))
        replicas = min(max(service.replicas_wanted, least), most)
        blind = utilisation is None or in_flight is None or (response_s is None and rate_rps > 0.0)
        if blind and replicas < service.replicas_wanted:
            return None
        return metrics.want(replicas, service).replicas

    def _need(self, service, rate_rps, core_s):
        if rate_rps == 0.0:
            return 0.1
        each = None if core_s is None else metrics.rate_per_replica_rps(service, core_s, self.target)
        return None if each is None else min(max(rate_rps / each, 0.1), service.max_replicas)

    def _features(self, service, memory, need, measured):
        rate_rps, utilisation, in_flight, response_s = measured
        rates = memory["rates"]
        ahead = [rate_rps, rate_rps]
        if service.forecast is not None:
            lines = (service.forecast.mean_rps, service.forecast.upper_rps)
            ahead = [max(filter(math.isfinite, line), default=None) for line in lines]
        values = [
            *(log_ratio(rate_rps, rates[min(lag, len(rates) - 1)]) for lag in (1, 4, 7)),
            *(log_ratio(rate, rate_rps) for rate in ahead),
            log_ratio(service.replicas_wanted, need),
            log_ratio(service.replicas_ready, need),
            0.0 if utilisation is None else utilisation - self.target,
            0.0 if in_flight is None else math.log(1.0 + in_flight / max(service.replicas_ready, 1)),
            log_ratio(response_s, memory["fastest"]),
            0.0 if math.isnan(service.error_ratio) else service.error_ratio,
            math.log(need) / 2.0,
        ]
        return np.clip(values, -3.0, 3.0)


def log_ratio(part, whole):
    """Return ln(part / whole), 0 for what is not known."""
    if part is None or whole is None or not (math.isfinite(part) and math.isfinite(whole)):
        return 0.0
    return math.log(max(part, 1e-9) / max(whole, 1e-9))
