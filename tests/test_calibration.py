"""The calibration: its fit is what it says, and what podgym ships is what ``docs/calibration.md`` reports."""

import importlib.util
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.source_tree

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "scripts" / "calibrate.py"
PAGE = ROOT / "docs" / "calibration.md"
ROW = re.compile(r"\| (\w+) \| ([^|]+?) \| ([\d.]+) \| ([\d.]+) ± ([\d.]+) \| ([-+][\d.]+) % \|")
MIB = 1024.0**2
EPISODES = 4


@pytest.fixture(scope="module")
def calibrate() -> Any:
    pytest.importorskip("scipy")
    spec = importlib.util.spec_from_file_location("calibrate", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    sys.modules["calibrate"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["calibrate"]


@pytest.fixture(scope="module")
def documented() -> list[tuple[str, ...]]:
    """Rows of the result: scenario, measure, paper, mean, standard deviation, error in per cent."""
    return ROW.findall(PAGE.read_text(encoding="utf-8"))


def test_documented_paper_figures_are_the_targets_of_the_script(calibrate: Any, documented: Any) -> None:
    titles = [title for title, _ in calibrate.MEASURES.values()]
    expected = [(s, t, v) for s, row in calibrate.PAPER.items() for t, v in zip(titles, row, strict=True)]
    assert [(scenario, title, float(paper)) for scenario, title, paper, *_ in documented] == expected


def test_documented_errors_follow_from_the_documented_means(documented: Any) -> None:
    for _, _, paper, mean, _, error in documented:
        assert 100.0 * (float(mean) / float(paper) - 1.0) == pytest.approx(float(error), abs=0.06)


def test_shipped_constants_are_the_documented_ones(calibrate: Any) -> None:
    page = PAGE.read_text(encoding="utf-8")
    units = {"base_memory_bytes": MIB, "memory_per_request_bytes": MIB}
    constants = calibrate.shipped()
    for name in calibrate.CONTINUOUS:
        value = re.search(rf"^\| {name} \| ([\d.]+) \|", page, re.MULTILINE)
        assert value is not None, name
        assert getattr(constants, name) == pytest.approx(float(value[1]) * units.get(name, 1.0)), name
    replicas = ", ".join(str(count) for count in constants.initial_replicas)
    assert f"| initial_replicas | {replicas} |" in page


def test_shipped_constants_reproduce_the_documented_table(calibrate: Any, documented: Any) -> None:
    errors = 100.0 * calibrate.relative_errors(calibrate.shipped(), range(1000, 1000 + EPISODES)).ravel()
    for (scenario, title, paper, _, spread, expected), error in zip(documented, errors, strict=True):
        # Four of the twenty documented episodes: three standard errors of their mean, and half a per cent.
        tolerance = 3.0 * 100.0 * float(spread) / float(paper) / np.sqrt(EPISODES) + 0.5
        assert error == pytest.approx(float(expected), abs=tolerance), (scenario, title)


def test_objective_of_the_fit_is_that_of_a_simulation_with_the_fitted_constants(calibrate: Any) -> None:
    fit = calibrate.fit_at(0.0086, 1.6, range(2))
    errors = calibrate.relative_errors(fit.constants, range(2))
    assert fit.objective == pytest.approx(float((errors**2).sum()), rel=1e-6)


@pytest.mark.parametrize(("name", "factor"), [("base_latency_s", 0.9), ("base_latency_s", 1.1)])
def test_no_other_base_latency_with_the_same_delay_fits_better(
    calibrate: Any, name: str, factor: float
) -> None:
    fit = calibrate.fit_at(0.0086, 1.6, range(2))
    latency_s = fit.constants.base_latency_s * factor
    delay_s = fit.constants.base_latency_s + fit.constants.think_time_s
    other = replace(fit.constants, base_latency_s=latency_s, think_time_s=delay_s - latency_s)
    assert float((calibrate.relative_errors(other, range(2)) ** 2).sum()) > fit.objective


def test_rounding_costs_little(calibrate: Any) -> None:
    fit = calibrate.fit_at(0.0086, 1.6, range(2))
    rounded = calibrate.rounded(fit.constants, fit.user_cycle_s)
    assert float((calibrate.relative_errors(rounded, range(2)) ** 2).sum()) < 1.05 * fit.objective


def test_shipped_constants_lie_within_the_bounds_of_the_search(calibrate: Any) -> None:
    constants = calibrate.shipped()
    low_s, high_s = calibrate.demand_bounds_s(calibrate.ServiceConfig())
    assert low_s <= constants.cpu_demand_core_s <= high_s
    service_s = constants.cpu_demand_core_s / calibrate.ServiceConfig().cpu_request_cores
    cycle_s = constants.think_time_s + constants.base_latency_s + service_s
    assert min(calibrate.USER_CYCLES_S) <= cycle_s <= max(calibrate.USER_CYCLES_S)
    assert constants.initial_replicas == calibrate.first_replicas(constants.cpu_demand_core_s, cycle_s)


def test_pod_full_of_requests_stays_below_its_memory_limit(calibrate: Any) -> None:
    constants, service = calibrate.shipped(), calibrate.ServiceConfig()
    requests_bytes = service.parameters.concurrency_per_pod * constants.memory_per_request_bytes
    assert constants.base_memory_bytes + requests_bytes < service.quota.memory_limit_bytes


def test_smoothing_averages_over_near_demands_of_the_same_cycle(calibrate: Any) -> None:
    constants = calibrate.shipped()
    points = [(0.008, 1.5, 1.0), (0.0084, 1.5, 3.0), (0.0084, 1.6, 100.0), (0.012, 1.5, 7.0)]
    fits = [calibrate.Fit(replace(constants, cpu_demand_core_s=d), cycle, x) for d, cycle, x in points]
    assert calibrate.smoothed(fits).tolist() == [2.0, 2.0, 100.0, 7.0]


def test_nothing_was_taken_from_the_rows_of_the_other_scheme() -> None:
    """Neither its name nor one of its figures stands in the script or on the page."""
    figures = "121.52 82.47 75.32 78.89 580.43 183.21 85.23 80.34 82.79 635.12 90.17 76.89 73.27 75.08 185.43"
    for path in (SCRIPT, PAGE):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"lstm|genetic|\bGA\b", text, re.IGNORECASE)
        for figure in figures.split():
            as_ratio_or_seconds = [f"{float(figure) / scale:g}" for scale in (100.0, 1000.0)]
            assert not [form for form in (figure, *as_ratio_or_seconds) if form in text]


def test_command_writes_a_document(calibrate: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert calibrate.main(["--shipped", "--check", "2", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    row = document["comparison"]["lower"]["targets"]["throughput_busiest_rps"]
    assert row["relative_error"] == pytest.approx(row["mean"] / 172.54 - 1.0)
    assert document["comparison"]["burst"]["users"]["users_busiest"] == pytest.approx(1500.0, rel=0.01)


def test_command_refuses_no_episodes(calibrate: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_status:
        calibrate.main(["--check", "0"])
    assert exit_status.value.code == 2
    assert "--check" in capsys.readouterr().err
