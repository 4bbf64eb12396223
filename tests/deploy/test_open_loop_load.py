"""The load generator: arrivals against their law, records against a slow copy, real load."""

import csv
import json
import math
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("aiohttp")

from deploy.demo_process import Demo, demo, module_of
from deploy.process_pods import ROOT

pytestmark = pytest.mark.source_tree

LOAD = ROOT / "deploy" / "load"


@pytest.fixture(scope="module")
def arrivals() -> Any:
    return module_of("load", "arrivals")


@pytest.fixture(scope="module")
def records() -> Any:
    return module_of("load", "load_record")


def profile(arrivals: Any, *points: tuple[float, float]) -> Any:
    times_s, rates_rps = np.array(points, dtype=float).T
    return arrivals.RateProfile(times_s, rates_rps, "test")


# Arrivals.


def integral(points: tuple[tuple[float, float], ...], until_s: float) -> float:
    """Expected requests until a moment, by a fine sum."""
    grid = np.linspace(0.0, until_s, 20_001)
    rates = np.interp(grid, *np.array(points).T)
    return float(np.sum(np.diff(grid) * 0.5 * (rates[1:] + rates[:-1])))


COURSES = [
    ((0.0, 50.0), (100.0, 50.0)),
    ((0.0, 0.0), (60.0, 100.0)),
    ((0.0, 100.0), (60.0, 0.0)),
    ((0.0, 20.0), (10.0, 200.0), (10.5, 10.0), (30.0, 10.0), (60.0, 150.0)),
]


@pytest.mark.parametrize("points", COURSES)
def test_arrivals_follow_the_rate(arrivals: Any, points: tuple[tuple[float, float], ...]) -> None:
    course = profile(arrivals, *points)
    times_s = arrivals.arrival_times(course, np.random.default_rng(3))
    expected = integral(points, points[-1][0])
    assert abs(len(times_s) - expected) < 4.0 * math.sqrt(expected)
    # Kolmogorov and Smirnov: under the cumulative rate the arrivals are uniform; 1.95: one in a thousand.
    level = np.array([integral(points, time_s) for time_s in times_s[:: max(1, len(times_s) // 400)]])
    steps = np.linspace(0.0, 1.0, len(level), endpoint=False)
    assert np.max(np.abs(level / expected - steps)) < 1.95 / math.sqrt(len(times_s)) + 1.0 / len(level)


def test_counts_scatter_as_those_of_a_poisson_process(arrivals: Any) -> None:
    course = profile(arrivals, (0.0, 40.0), (50.0, 40.0))
    counts = np.concatenate(
        [
            np.histogram(arrivals.arrival_times(course, np.random.default_rng(seed)), np.arange(51))[0]
            for seed in range(40)
        ]
    )
    assert counts.var() / counts.mean() == pytest.approx(1.0, abs=4.0 * math.sqrt(2.0 / len(counts)))
    totals = np.array(
        [len(arrivals.arrival_times(course, np.random.default_rng(seed))) for seed in range(400)]
    )
    assert totals.var() / totals.mean() == pytest.approx(1.0, abs=4.0 * math.sqrt(2.0 / len(totals)))


def test_nothing_arrives_while_the_rate_is_zero(arrivals: Any) -> None:
    course = profile(arrivals, (0.0, 100.0), (5.0, 0.0), (10.0, 0.0), (15.0, 100.0))
    times_s = arrivals.arrival_times(course, np.random.default_rng(1))
    assert not np.any((times_s > 5.0) & (times_s < 10.0))
    assert len(arrivals.arrival_times(course.scaled(0.0), np.random.default_rng(1))) == 0


@given(st.lists(st.tuples(st.floats(0.01, 50.0), st.floats(0.0, 200.0)), min_size=2, max_size=6))
def test_arrivals_ascend_inside_the_profile(steps: list[tuple[float, float]]) -> None:
    arrivals = module_of("load", "arrivals")
    times_s = np.cumsum([0.0] + [length_s for length_s, _ in steps[1:]])
    course = arrivals.RateProfile(times_s, np.array([rate for _, rate in steps]), "test")
    found = arrivals.arrival_times(course, np.random.default_rng(5))
    assert np.all(np.diff(found) >= 0.0)
    assert np.all((found >= 0.0) & (found <= course.duration_s))


def test_the_same_seed_gives_the_same_arrivals(arrivals: Any) -> None:
    course = profile(arrivals, (0.0, 10.0), (20.0, 30.0))
    first, again, other = (arrivals.arrival_times(course, np.random.default_rng(s)) for s in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_cut_profile_ends_on_the_line(arrivals: Any) -> None:
    cut = profile(arrivals, (0.0, 0.0), (10.0, 100.0)).cut(4.0)
    assert cut.times_s.tolist() == [0.0, 4.0]
    assert cut.rates_rps.tolist() == [0.0, 40.0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("time_s,rate\n0,1\n1,1\n", "no column rate_rps"),
        ("time_s,rate_rps\n0,1\n", "two or more points"),
        ("time_s,rate_rps\n", "two or more points"),
        ("time_s,rate_rps\n0,1\n2,1\n1,1\n", "ascend"),
        ("time_s,rate_rps\n0,1\n1,-3\n", "0 or more"),
        ("time_s,rate_rps\n0,1\n1,many\n", "0 or more"),
        ("time_s,rate_rps\n0,1\n1,inf\n", "0 or more"),
    ],
)
def test_a_file_that_is_no_load_is_refused(arrivals: Any, tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "load.csv"
    file.write_text(text)
    with pytest.raises(ValueError, match=words):
        arrivals.read_profile(file)


# Scenarios.


def test_users_become_a_rate_and_the_label_says_so() -> None:
    run = module_of("load", "run")
    options = run.parse_options(["--scenario", "burst", "--option", "offset_s=0", "--option",
                                 "user_variation=0", "--url", "http://x"])  # fmt: skip
    course = run.make_profile(options)
    assert course.duration_s == 900.0
    assert course.rates_rps.max() == pytest.approx(1500.0 / 1.5)
    assert course.rates_rps.min() == pytest.approx(500.0 / 1.5)
    assert "users / 1.5 s" in course.label


def test_a_family_is_a_rate_already_and_is_scaled() -> None:
    run = module_of("load", "run")
    arguments = ["--scenario", "family:constant", "--url", "http://x", "--duration-s", "300"]
    whole = run.make_profile(run.parse_options(arguments))
    half = run.make_profile(run.parse_options([*arguments, "--scale", "0.5"]))
    assert "users" not in whole.label
    assert whole.duration_s == 300.0
    assert np.allclose(half.rates_rps, 0.5 * whole.rates_rps)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--scenario", "brust", "--url", "http://x"], "Did you mean 'burst'"),
        (["--scenario", "burst", "--option", "ofset_s=1", "--url", "http://x"], "offset_s"),
        (["--profile", "nowhere.csv", "--url", "http://x"], "no file nowhere.csv"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert module_of("load", "run").main(arguments) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


# Records.


@given(st.lists(st.tuples(st.floats(0.0, 5.0), st.floats(0.0, 3.0), st.floats(0.0, 3.0), st.booleans())))
def test_rows_are_those_of_a_slow_copy(requests: list[tuple[float, float, float, bool]]) -> None:
    requests = sorted(requests)
    due_times_s = np.array([due_s for due_s, *_ in requests])
    record = module_of("load", "load_record").LoadRecord(due_times_s)
    for due_s, late_s, _, _ in requests:
        record.add_sent(due_s + late_s, due_s)
    for due_s, late_s, work_s, failed in requests:
        record.add_ended(due_s + late_s + work_s, due_s, failed=failed)
    rows = record.rows()
    assert sum(row["asked"] for row in rows) == sum(row["sent"] for row in rows) == len(requests)
    assert sum(row["completed"] + row["failed"] for row in rows) == len(requests)
    for row in rows:
        second = row["time_s"]
        assert row["asked"] == sum(int(due) == second for due, *_ in requests)
        assert row["sent"] == sum(int(due + late) == second for due, late, *_ in requests)
        ended = [
            (late + work, failed) for due, late, work, failed in requests if int(due + late + work) == second
        ]
        assert row["failed"] == sum(failed for _, failed in ended)
        good = [response_s for response_s, failed in ended if not failed]
        assert row["completed"] == len(good)
        if good:
            assert row["response_time_mean_s"] == pytest.approx(sum(good) / len(good), abs=1e-9)
            assert row["response_time_max_s"] == pytest.approx(max(good), abs=1e-9)
        else:
            assert math.isnan(row["response_time_mean_s"])


@pytest.mark.parametrize(
    ("late_s", "sent_share", "behind"),
    [(0.0, 1.0, False), (0.05, 1.0, False), (0.2, 1.0, True), (0.0, 0.9, True)],
)
def test_a_generator_that_is_too_slow_says_so(
    records: Any, late_s: float, sent_share: float, behind: bool
) -> None:
    due_s = np.linspace(0.0, 10.0, 1000)
    record = records.LoadRecord(due_s)
    for each in due_s[: int(1000 * sent_share)]:
        record.add_sent(each + late_s, each)
    assert record.summary()["fell_behind"] is behind
    assert record.summary()["sent"] == 1000 * sent_share


@pytest.mark.parametrize(("duration_s", "early"), [("900", False), ("1200", True)])
def test_a_scenario_that_ends_before_the_duration_asked_for_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], duration_s: str, early: bool
) -> None:
    run = module_of("load", "run")
    nothing = dict.fromkeys(("asked", "sent", "completed", "failed"), 0)
    summary = {**nothing, "response_time": {"mean_s": 0.0, "p95_s": 0.0}, "fell_behind": False}
    monkeypatch.setattr(run, "send", lambda options, profile: summary)
    assert run.main(["--scenario", "burst", "--duration-s", duration_s, "--url", "http://localhost"]) == 0
    assert ("ends after 900 s, before the 1200 s of --duration-s" in capsys.readouterr().err) is early


# Real load.


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with demo(tmp_path_factory.mktemp("load"), "--drain-s", "0") as running:
        running.wait_for("/readyz", 200)
        yield running


def start(*arguments: str) -> subprocess.Popen[str]:
    """Locust patches the interpreter that imports it, so it gets one of its own."""
    pytest.importorskip("geventhttpclient")
    command = [sys.executable, str(LOAD / "run.py"), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def rows_of(file: Path) -> list[dict[str, float]]:
    with file.open(newline="") as content:
        return [{key: float(value or "nan") for key, value in row.items()} for row in csv.DictReader(content)]


def test_the_rate_is_reached_and_recorded(service: Demo, tmp_path: Path) -> None:
    course = tmp_path / "load.csv"
    course.write_text("time_s,rate_rps\n0,60\n2,140\n")
    answered = 'http_requests_total{code="200"}'
    before = service.metrics()[answered]
    process = start("--profile", str(course), "--url", service.url, "--demand-s", "0.001", "--seed", "4",
                    "--output", str(tmp_path / "out"))  # fmt: skip
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    after = service.metrics()[answered]
    summary = json.loads((tmp_path / "out" / "load.json").read_text())
    assert summary["sent"] == summary["asked"] == summary["completed"]
    assert abs(summary["asked"] - 200.0) < 4.0 * math.sqrt(200.0)
    assert after - before == summary["sent"]
    assert summary["lateness_p99_s"] < 0.1, errors
    rows = rows_of(tmp_path / "out" / "load.csv")
    for row, expected in zip(rows, (80.0, 120.0), strict=False):
        assert abs(row["asked"] - expected) < 4.0 * math.sqrt(expected)
    from podgym.envs.workloads import open_trace

    trace = open_trace(tmp_path / "out" / "load_rate.csv", part="all")
    assert sum(trace.rates_rps[:2]) == pytest.approx(sum(row["sent"] for row in rows[:2]))


def test_nothing_waits_for_answers_and_sigterm_ends_it_early(service: Demo, tmp_path: Path) -> None:
    course = tmp_path / "load.csv"
    course.write_text("time_s,rate_rps\n0,60\n2,60\n2.1,0\n600,0\n601,60\n")
    answered = 'http_requests_total{code="200"}'
    before = service.metrics()[answered]
    process = start("--profile", str(course), "--url", service.url, "--demand-s", "0", "--latency-s", "2",
                    "--output", str(tmp_path / "out"))  # fmt: skip
    try:
        # A second and more of the load is under way before the first answer can come.
        while service.metrics()["http_requests_in_flight"] < 60.0:
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        # Now it waits for the next request, which is due in ten minutes.
        while service.metrics()[answered] < before + 80.0:
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    summary = json.loads((tmp_path / "out" / "load.json").read_text())
    assert 2.1 < summary["stopped_early_s"] < 60.0
    assert summary["sent"] == summary["completed"] == summary["asked"]
    assert summary["response_time"]["mean_s"] >= 2.0
    rows = rows_of(tmp_path / "out" / "load.csv")
    assert rows[0]["completed"] == rows[1]["completed"] == 0.0
    assert abs(rows[0]["sent"] - 60.0) < 4.0 * math.sqrt(60.0)


def test_answers_that_do_not_come_cost_no_record(service: Demo, tmp_path: Path) -> None:
    """Whoever stops it may kill it ten seconds later; the answers of a full service take longer than that."""
    course = tmp_path / "load.csv"
    course.write_text("time_s,rate_rps\n0,30\n1,30\n")
    process = start("--profile", str(course), "--url", service.url, "--demand-s", "0", "--latency-s", "59",
                    "--timeout-s", "300", "--output", str(tmp_path / "out"))  # fmt: skip
    try:
        while service.metrics()["http_requests_in_flight"] < 10.0:
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    summary = json.loads((tmp_path / "out" / "load.json").read_text())
    assert summary["sent"] >= 10
    assert (summary["completed"], summary["failed"]) == (0, summary["sent"])


def test_the_locustfile_plays_the_same_load(service: Demo, tmp_path: Path) -> None:
    locust = shutil.which("locust", path=str(Path(sys.executable).parent))
    if locust is None:
        pytest.skip("needs locust")
    course = tmp_path / "load.csv"
    course.write_text("time_s,rate_rps\n0,40\n1,40\n")
    before = service.metrics()['http_requests_total{code="200"}']
    result = subprocess.run(
        [
            locust, "-f", str(LOAD / "locustfile.py"), "--headless", "--only-summary", "-H", service.url,
            "--load-profile", str(course), "--demand-s", "0", "-u", "1",
        ],
        capture_output=True, text=True, timeout=240, cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    after = service.metrics()['http_requests_total{code="200"}']
    assert abs(after - before - 40.0) < 4.0 * math.sqrt(40.0)
