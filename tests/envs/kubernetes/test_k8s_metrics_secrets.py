"""No token and no password is ever shown, nor sent to anyone but Prometheus."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from oracles.prometheus_faults import FAULTS, TYPICAL_FAULTS, Source, nothing_measured, source_of
from oracles.prometheus_servers import FakePrometheus, Reply, failure, vector, watched

from podgym.envs.kubernetes.errors import MetricsUnavailableError
from podgym.envs.kubernetes.prometheus import PrometheusMetrics
from podgym.envs.kubernetes.settings import MetricsSettings
from podgym.errors import InputError

TOKEN = "eyJhbGciOi.c2VjcmV0.s3cr3t"


@pytest.fixture
def fake() -> Iterator[FakePrometheus]:
    server = FakePrometheus()
    yield server
    server.close()


@pytest.fixture
def source(fake: FakePrometheus) -> Source:
    return source_of(fake)


def with_secrets(tmp_path: Path, fake: FakePrometheus) -> dict[str, Any]:
    (tmp_path / "token").write_text(f"{TOKEN}\n", encoding="utf-8")
    return {"token_file": str(tmp_path / "token"), "url": fake.url.replace("http://", "http://me:passw0rd@")}


def everything_said(metrics: PrometheusMetrics) -> str:
    (reading,) = metrics.read([watched()])
    said = [repr(metrics), repr(metrics._client), repr(reading), str(metrics.history_problem)]
    try:
        metrics.check([watched()])
    except (InputError, MetricsUnavailableError) as error:
        said += [str(error), repr(error), repr(error.args)]
    return "\n".join(said)


@pytest.mark.parametrize("name", [*TYPICAL_FAULTS, "redirect", "404", "503", "not UTF-8", "cut"])
def test_no_fault_shows_the_token_or_the_password(
    name: str, source: Source, fake: FakePrometheus, tmp_path: Path
) -> None:
    fake.otherwise = FAULTS[name]
    said = everything_said(source(**with_secrets(tmp_path, fake)))
    assert TOKEN not in said
    assert "passw0rd" not in said
    assert {each.authorization for each in fake.asked} == {f"Bearer {TOKEN}"}


def test_server_that_repeats_the_token_does_not_spread_it(
    source: Source, fake: FakePrometheus, tmp_path: Path
) -> None:
    fake.otherwise = failure("bad_data", f"bad header Bearer {TOKEN}", 400)
    said = everything_said(source(**with_secrets(tmp_path, fake)))
    assert TOKEN not in said
    assert "bad header Bearer ***" in said
    fake.otherwise = None
    fake.replies["in_flight"] = vector([({"authorization": TOKEN}, 1), ({}, 2)], warnings=[TOKEN])
    assert TOKEN not in everything_said(source(**with_secrets(tmp_path, fake)))


def test_token_does_not_follow_a_redirect(source: Source, fake: FakePrometheus, tmp_path: Path) -> None:
    thief = FakePrometheus()
    try:
        fake.otherwise = Reply(b"", 307, {"Location": f"{thief.url}/api/v1/query"})
        source(**with_secrets(tmp_path, fake)).read([watched()])
        assert thief.asked == []
        assert len(fake.asked) == 1
    finally:
        thief.close()


def test_token_is_read_anew_for_every_request(source: Source, fake: FakePrometheus, tmp_path: Path) -> None:
    metrics = source(**with_secrets(tmp_path, fake))
    metrics.read([watched()])
    (tmp_path / "token").write_text("renewed", encoding="utf-8")
    fake.asked.clear()
    metrics.read([watched()])
    assert {each.authorization for each in fake.asked} == {"Bearer renewed"}
    (tmp_path / "token").unlink()
    (reading,) = metrics.read([watched()])
    assert nothing_measured(reading)
    assert "token_file" in reading.problems["request_rate_rps"]
    assert "cannot be read" in reading.problems["request_rate_rps"]


@pytest.mark.parametrize("content", [b"", b"  \n", b"s3cr3t\nsecond line", b"s3cr3t \xff", b"s3cr3t two"])
def test_file_without_one_token_is_refused_without_showing_it(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(content)
    settings = MetricsSettings(url="http://localhost:9", token_file=str(tmp_path / "token"))
    with pytest.raises(InputError, match="does not hold one token") as caught:
        PrometheusMetrics(settings)
    assert "s3cr3t" not in str(caught.value)
    with pytest.raises(InputError, match="cannot be read: No such file"):
        PrometheusMetrics(MetricsSettings(url="http://h:9", token_file=str(tmp_path / "none")))
