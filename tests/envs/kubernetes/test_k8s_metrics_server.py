"""metrics-server gives CPU and memory, and says that it gives nothing else."""

import math
from collections.abc import Mapping

import pytest
from oracles.prometheus_servers import watched

from podgym.envs.kubernetes.errors import (
    AccessDeniedError,
    BudgetExceededError,
    ClusterError,
    MetricsUnavailableError,
    TransientError,
)
from podgym.envs.kubernetes.metrics_server import NO_REQUEST_METRICS, REQUEST_FIELDS, MetricsServerMetrics
from podgym.envs.kubernetes.readings import PodUsage, ServiceReading, WatchedService
from podgym.errors import InputError

USAGE = {"web-a": PodUsage(0.2, 1e8, 1000.0, 15.0), "web-b": PodUsage(0.4, 2e8, 1005.0, 15.1)}


def source(answer: Mapping[str, PodUsage] | ClusterError) -> MetricsServerMetrics:
    def api_usage(_: WatchedService) -> Mapping[str, PodUsage]:
        if isinstance(answer, ClusterError):
            raise answer
        return answer

    return MetricsServerMetrics(api_usage)


def test_reading_has_pods_and_nothing_of_requests() -> None:
    (reading,) = source(USAGE).read([watched()])
    assert reading.pods == USAGE
    assert (reading.time_s, reading.window_s) == (1005.0, 15.1)
    assert set(reading.problems) == set(REQUEST_FIELDS)
    assert all(math.isnan(getattr(reading, name)) for name in REQUEST_FIELDS)
    assert reading.problems["request_rate_rps"] == NO_REQUEST_METRICS


def test_every_number_of_a_reading_is_named() -> None:
    numbers = {
        name for name in ServiceReading.__slots__ if isinstance(getattr(ServiceReading(), name), float)
    }
    assert set(REQUEST_FIELDS) == numbers - {"time_s", "window_s", "partial"}


@pytest.mark.parametrize(
    "bad",
    [
        PodUsage(math.nan, 1e8, 1e3, 15.0),
        PodUsage(0.1, math.inf, 1e3, 15.0),
        PodUsage(-0.1, 1e8, 1e3, 15.0),
        PodUsage(0.1, 1e8, math.nan, 15.0),
    ],
)
def test_unusable_samples_are_left_out_and_named(bad: PodUsage) -> None:
    (reading,) = source({**USAGE, "web-c": bad}).read([watched()])
    assert reading.pods == USAGE
    assert reading.problems["pods"] == "unusable samples of web-c"


def test_no_pod_is_no_data() -> None:
    (reading,) = source({}).read([watched()])
    assert math.isnan(reading.time_s)
    assert "no data" in reading.problems["time_s"]
    assert "no data" in reading.problems["pods"]


@pytest.mark.parametrize(
    "error",
    [TransientError("503"), AccessDeniedError("list pods.metrics.k8s.io"), BudgetExceededError("12 calls")],
)
def test_read_never_raises(error: ClusterError) -> None:
    readings = source(error).read([watched(), watched("other")])
    assert len(readings) == 2
    for reading in readings:
        assert dict(reading.pods) == {}
        assert reading.problems["pods"] == reading.problems["time_s"] == str(error)
        assert math.isnan(reading.time_s)


def test_check_tells_an_outage_from_what_is_missing() -> None:
    source(USAGE).check([watched()])
    source({}).check([watched()])
    with pytest.raises(MetricsUnavailableError, match="'web': HTTP 503"):
        source(TransientError("HTTP 503")).check([watched()])
    with pytest.raises(
        InputError, match=r"list pods.metrics.k8s.io. Install metrics-server, or set metrics.source"
    ):
        source(AccessDeniedError("list pods.metrics.k8s.io.")).check([watched()])


def test_there_is_no_past() -> None:
    assert source(USAGE).history(watched(), 3600.0, 15.0) == ()
