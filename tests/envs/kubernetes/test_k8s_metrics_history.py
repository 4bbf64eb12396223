"""The past: what was fresh of it, in pieces that Prometheus answers, in bounded time."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from oracles.prometheus_faults import FAULTS, SLACK_S, TIMEOUT_S, TYPICAL_FAULTS, Source, source_of
from oracles.prometheus_servers import EVALUATED_S, FakePrometheus, Reply, success, watched

from podgym.errors import InputError


@pytest.fixture
def fake() -> Iterator[FakePrometheus]:
    server = FakePrometheus()
    yield server
    server.close()


@pytest.fixture
def source(fake: FakePrometheus) -> Source:
    return source_of(fake)


def ranged(points: list[tuple[float, Any]]) -> Reply:
    return success([{"metric": {}, "values": [[t, str(v)] for t, v in points]}] if points else [], "matrix")


def server_time(_: Any) -> Reply:
    return success([EVALUATED_S, str(EVALUATED_S)], "scalar")


def test_history_leaves_out_what_was_not_fresh_or_no_number(source: Source, fake: FakePrometheus) -> None:
    times = [EVALUATED_S - 60.0 + 10.0 * i for i in range(7)]
    fake.replies["time()"] = server_time
    fake.replies["request_rate_rps"] = ranged(list(zip(times, [1, 2, "NaN", 4, 0, 6, "+Inf"], strict=True)))
    fake.replies["sample_time_s"] = ranged([(t, t - 1.0) for t in times[:4]] + [(times[4], times[4] - 16.0)])
    metrics = source()
    # At times[4] the newest sample was too old for the rate of 0; at times[5] there was none.
    assert metrics.history(watched(), 60.0, 10.0) == ((times[0], 1.0), (times[1], 2.0), (times[3], 4.0))
    assert metrics.history_problem is None
    ask = fake.asked[-1]
    assert ask.path == "/api/v1/query_range"
    assert (float(ask.params["start"]), float(ask.params["end"])) == (EVALUATED_S - 60.0, EVALUATED_S)
    assert float(ask.params["step"]) == 10.0


def test_history_is_told_by_our_clock(source: Source, fake: FakePrometheus) -> None:
    fake.replies["time()"] = server_time
    fake.replies["request_rate_rps"] = ranged([(EVALUATED_S, 5)])
    fake.replies["sample_time_s"] = ranged([(EVALUATED_S, EVALUATED_S)])
    metrics = source(now=lambda: EVALUATED_S + 1000.0)
    assert metrics.history(watched(), 60.0, 10.0) == ((EVALUATED_S + 1000.0, 5.0),)


def test_long_history_is_asked_in_pieces(source: Source, fake: FakePrometheus) -> None:
    def rates(asked: Any) -> Reply:
        start, end = round(float(asked.params["start"])), round(float(asked.params["end"]))
        assert end - start <= 10_999
        return ranged([(float(t), t % 7) for t in range(start, end + 1)])

    def samples(asked: Any) -> Reply:
        start, end = round(float(asked.params["start"])), round(float(asked.params["end"]))
        return ranged([(float(t), t) for t in range(start, end + 1)])

    fake.replies = {"time()": server_time, "request_rate_rps": rates, "sample_time_s": samples}
    points = source(timeout_s=5.0).history(watched(), 25_000.0, 1.0)
    assert [time_s for time_s, _ in points] == [EVALUATED_S - 25_000.0 + i for i in range(25_001)]
    assert fake.names.count("request_rate_rps") == 3


@pytest.mark.parametrize("name", sorted(set(TYPICAL_FAULTS) - {"empty", "matrix"}))
def test_history_is_empty_where_there_is_none(name: str, source: Source, fake: FakePrometheus) -> None:
    metrics = source()
    fake.replies = {"time()": server_time, "sample_time_s": ranged([]), "request_rate_rps": FAULTS[name]}
    assert metrics.history(watched(), 60.0, 10.0) == ()
    fake.replies["time()"] = FAULTS[name]
    assert metrics.history(watched(), 60.0, 10.0) == ()
    assert metrics.history_problem
    fake.replies = {"time()": server_time}
    fake.otherwise = ranged([])
    assert metrics.history(watched(), 60.0, 10.0) == ()
    assert metrics.history_problem is None


def test_history_of_no_length_is_not_asked(source: Source, fake: FakePrometheus) -> None:
    assert source().history(watched(), 0.0, 10.0) == ()
    assert fake.asked == []
    with pytest.raises(InputError, match="the step must be above 0"):
        source().history(watched(), 60.0, 0.0)


def test_history_is_bounded(source: Source, fake: FakePrometheus) -> None:
    fake.replies["time()"] = server_time
    fake.otherwise = Reply(fault="hang")
    started_s = time.monotonic()
    metrics = source()
    assert metrics.history(watched(), 60.0, 10.0) == ()
    assert time.monotonic() - started_s < TIMEOUT_S + SLACK_S
    assert "did not answer" in str(metrics.history_problem)
