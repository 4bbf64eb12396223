import pickle
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podgym.envs.workloads import TraceWorkload, make_workload, open_trace
from podgym.envs.workloads.sources import checked_trace
from podgym.envs.workloads.traces import cut_part
from podgym.errors import InputError

Write = Callable[..., Path]
PARTS = ("train", "dev", "test")


def _ramp(write_csv: Write, rows: int = 200, skip: tuple[int, ...] = ()) -> Path:
    """Write a trace whose value is its own row, so that a sample tells where it comes from."""
    kept = [row for row in range(rows) if row not in skip]
    return write_csv(t_seconds=[60 * row for row in kept], rate_rps=kept)


def _window_s(label: str) -> tuple[float, float]:
    found = re.search(r"(\d+) to (\d+) s\]$", label)
    assert found is not None
    return float(found[1]), float(found[2])


@given(
    rows=st.integers(100, 200),
    cuts=st.dictionaries(st.integers(1, 99), st.integers(2, 500), max_size=4),
    seed=st.integers(0, 1000),
    steps=st.integers(1, 5),
)
def test_windows_of_different_parts_never_overlap_and_never_cross_a_cut(
    rows: int, cuts: dict[int, int], seed: int, steps: int
) -> None:
    gaps_s = np.full(rows - 1, 60.0)
    for row, missing in cuts.items():
        gaps_s[row - 1] = 60.0 * missing
    times_s = np.concatenate([[0.0], np.cumsum(gaps_s)])
    trace = checked_trace("made up", "rate", times_s, np.arange(rows, dtype=np.float64))
    workloads = [cut_part(trace, part, trace.values, 1.0, "") for part in PARTS]
    rng = np.random.default_rng(seed)
    seen = []
    for workload in workloads:
        rows: set[int] = set()
        for _ in range(20):
            duration_s = min(steps * 60.0, workload.max_duration_s)
            profile = workload.sample(rng, duration_s)
            at = profile.values.astype(int)
            assert np.all(np.diff(at) == 1)
            assert np.all(np.diff(trace.times_s[at]) == 60.0)
            assert _window_s(profile.label) == (trace.times_s[at[0]], trace.times_s[at[-1]])
            rows.update(at.tolist())
        seen.append(rows)
    assert max(seen[0]) < min(seen[1])
    assert max(seen[1]) < min(seen[2])


def test_the_parts_are_70_15_and_15_per_cent_and_make_up_the_whole(write_csv: Write) -> None:
    path = _ramp(write_csv)
    parts = [open_trace(path, part=part).rates_rps for part in PARTS]
    assert [len(rates) for rates in parts] == [140, 30, 30]
    assert np.concatenate(parts).tolist() == open_trace(path, part="all").rates_rps.tolist()


def test_a_workload_holds_no_sample_of_another_part(write_csv: Write) -> None:
    workload = open_trace(_ramp(write_csv), part="dev")
    assert workload.rates_rps.base is None
    assert (workload.rates_rps.min(), workload.rates_rps.max()) == (140.0, 169.0)
    assert not workload.rates_rps.flags.writeable
    copy = pickle.loads(pickle.dumps(workload))
    one, two = (each.sample(np.random.default_rng(4), 600.0) for each in (workload, copy))
    assert np.array_equal(one.values, two.values)
    assert one.label == two.label


def test_an_episode_can_be_as_long_as_the_longest_piece_and_no_longer(write_csv: Write) -> None:
    workload = open_trace(_ramp(write_csv, skip=(50, 51)), part="all")
    assert workload.max_duration_s == (200 - 52 - 1) * 60.0
    profile = workload.sample(np.random.default_rng(0), workload.max_duration_s)
    assert profile.values.tolist() == list(range(52, 200))
    with pytest.raises(InputError, match=r"\[all\]' lasts at most 8820 s"):
        workload.sample(np.random.default_rng(0), workload.max_duration_s + 60.0)


def test_every_window_is_equally_likely(write_csv: Write) -> None:
    workload = open_trace(_ramp(write_csv, rows=40, skip=(15,)), part="all")
    rng = np.random.default_rng(0)
    starts = [int(workload.sample(rng, 600.0).values[0]) for _ in range(5000)]
    allowed = [*range(5), *range(16, 30)]  # 11 samples from there on stay in one piece of 15 or 24
    counts = np.array([starts.count(start) for start in allowed])
    assert counts.sum() == len(starts)
    expected = len(starts) / len(allowed)
    assert ((counts - expected) ** 2 / expected).sum() < 42.3  # chi-squared, 18 degrees, 0.1 %


@pytest.mark.parametrize(
    ("column", "values", "rates_rps", "derivation"),
    [
        ("request_rate", [10, 20, 40], [10, 20, 40], "request_rate in requests/s"),
        ("anything", [10, 20, 40], [10, 20, 40], "anything in requests/s"),
        ("requests", [60, 120, 240], [1, 2, 4], "requests / 60 s"),
        (
            "cpu_util_percent",
            [10, 50, 100],
            [160, 800, 1600],
            "cpu_util_percent / 100 * 16 cores / 0.01 core s",
        ),
        ("cpu", [10, 50, 100], [160, 800, 1600], "cpu / 100 * 16 cores"),
        ("utilisation", [0.1, 0.5, 1.0], [160, 800, 1600], "utilisation * 16 cores"),
        (
            "cpu_core_pct",
            [1000, 2000, 4000],
            [400, 800, 1600],
            r"cpu_core_pct / 4000 \(its maximum\) * 16 cores",
        ),
    ],
)
def test_the_name_of_the_column_tells_how_it_becomes_a_rate(
    write_csv: Write, column: str, values: list[float], rates_rps: list[float], derivation: str
) -> None:
    workload = open_trace(write_csv(**{"t_seconds": [0, 60, 120], column: values}), part="all")
    assert workload.rates_rps == pytest.approx(rates_rps)
    assert workload.rate_derivation.startswith(derivation.replace("\\", ""))
    assert workload.scale == 1.0


def test_a_window_says_where_in_the_whole_trace_it_lies_and_how_it_was_scaled(write_csv: Write) -> None:
    path = _ramp(write_csv, skip=(50, 51))
    for part in (*PARTS, "all"):
        workload = open_trace(path, part=part, peak_rate_rps=398.0)
        assert workload.scale == 2.0
        for seed in range(20):
            profile = workload.sample(np.random.default_rng(seed), 600.0)
            assert (profile.trace, profile.scale) == ("trace.csv:rate_rps", 2.0)
            assert profile.trace_start_s == 60.0 * profile.values[0] / profile.scale  # the value is the row
            assert profile.trace_start_s == _window_s(profile.label)[0]


def test_semantics_and_the_cluster_can_be_given(write_csv: Write) -> None:
    path = write_csv(t_seconds=[0, 60, 120], value=[10, 20, 40])
    options = {"part": "all", "reference_cores": 8.0, "cpu_demand_core_s": 0.02}
    assert open_trace(path, semantics="percent", **options).rates_rps == pytest.approx([40, 80, 160])
    assert open_trace(path, semantics="utilisation", **options).rates_rps == pytest.approx([40, 80, 160])
    assert open_trace(path, semantics="demand", **options).rates_rps == pytest.approx([100, 200, 400])
    assert open_trace(path, semantics="count", **options).rates_rps == pytest.approx([1 / 6, 1 / 3, 2 / 3])


@pytest.mark.parametrize(
    ("column", "values", "options", "complaint"),
    [
        ("cpu_util_percent", [10, 101, 20], {}, "row 1 is 101; utilisation as percent is at most 100"),
        ("cpu", [0.5, 1.5, 0.2], {}, "peaks at 1.5.*say semantics="),
        ("cpu", [0.5, 1.5, 0.2], {"semantics": "fraction"}, "row 1 is 1.5; utilisation as fraction"),
        ("requests", [1, 2, 3], {"semantics": "counts"}, "unknown semantics 'counts'.*'count'"),
        ("requests", [1, 2, 3], {"part": "validation"}, "unknown part of a trace 'validation'"),
        ("requests", [0, 0, 0], {"peak_rate_rps": 100.0}, "0 throughout"),
        ("cpu_core_pct", [0, 0, 0], {"semantics": "demand"}, "0 throughout"),
        ("requests", [1, 2, 3], {"peak_rate_rps": 1.0, "mean_rate_rps": 1.0}, "not both"),
        ("requests", [1, 2, 3], {"mean_rate_rps": -1.0}, "mean_rate_rps is -1"),
        ("requests", [1, 2, 3], {"cpu_demand_core_s": 0.0}, "cpu_demand_core_s is 0"),
        (
            "requests",
            [1, 2, 3],
            {"part": "dev"},
            "part 'dev' .*3 samples in all.* has no two samples in a row",
        ),
    ],
)
def test_bad_options_are_refused_by_name(
    write_csv: Write, column: str, values: list[float], options: dict[str, object], complaint: str
) -> None:
    path = write_csv(**{"t_seconds": [0, 60, 120], column: values})
    with pytest.raises(InputError, match=complaint):
        open_trace(path, **({"part": "all"} | options))


def test_scaling_is_the_same_in_all_parts_and_stands_in_label_and_derivation(write_csv: Write) -> None:
    path = _ramp(write_csv)
    peak = [open_trace(path, part=part, peak_rate_rps=398.0) for part in PARTS]
    assert [workload.scale for workload in peak] == [2.0, 2.0, 2.0]
    assert peak[2].rates_rps.max() == 398.0
    mean = open_trace(path, part="all", mean_rate_rps=199.0)
    assert mean.rates_rps.mean() == pytest.approx(199.0)
    assert mean.rate_derivation.endswith("times 2 for a mean of 199 requests/s")
    assert " x2 [all, " in mean.sample(np.random.default_rng(0), 60.0).label


@pytest.mark.parametrize(
    ("first", "clock_s"),
    [("2024-05-01T12:00:00", 2.5 * 86400.0), (0, 0.0), ("2024-05-05T23:59:00", 604740.0)],
)
def test_profiles_carry_the_clock_of_the_trace_or_one_that_starts_with_it(
    write_csv: Write, first: str | int, clock_s: float
) -> None:
    times = (
        [60 * row for row in range(50)]
        if first == 0
        else [str(np.datetime64(first) + np.timedelta64(60 * row, "s")) for row in range(50)]
    )
    workload = open_trace(write_csv(timestamp=times, rps=list(range(50))), part="all")
    for seed in range(5):
        profile = workload.sample(np.random.default_rng(seed), 600.0)
        assert profile.start_time_s == (clock_s + 60.0 * profile.values[0]) % (7 * 86400.0)
    assert (workload.clock_start_s is None) == (first == 0)


def test_alibaba_episodes_stay_clear_of_the_cut_and_a_week_long_one_fits() -> None:
    train = open_trace("alibaba2018")
    assert isinstance(train, TraceWorkload)
    assert len(train.pieces) == 2
    rng = np.random.default_rng(0)
    windows = [_window_s(train.sample(rng, 6 * 3600.0).label) for _ in range(300)]
    cut_s = 1.75 * 86400.0
    assert {start < cut_s for start, _ in windows} == {True, False}
    assert all((start < cut_s) == (stop < cut_s) for start, stop in windows)
    assert open_trace("alibaba2018", part="all").max_duration_s > 6 * 86400.0
    ends = [open_trace("alibaba2018", part=part) for part in ("dev", "test")]
    assert all(workload.max_duration_s > 86400.0 for workload in ends)


@pytest.mark.parametrize(
    ("file", "column", "peak_share"),
    [
        ("clarknet_1min.csv", "requests", 60.0),
        ("nab_tweets_5min.csv", "requests", 300.0),
        ("google2019_service_pods_5min.csv", "cpu", None),
        ("azure_vm_2019_region_cpu_5min.csv", "cpu_core_pct", None),
        ("worldcup98_group_stage_1min.csv", "requests", 60.0),
    ],
)
def test_development_traces_open_by_path_alone(
    shared_traces: Path, file: str, column: str, peak_share: float | None
) -> None:
    raw = np.genfromtxt(shared_traces / file, delimiter=",", names=True)[column]
    workload = make_workload(shared_traces / file, part="all")
    assert isinstance(workload, TraceWorkload)
    assert workload.name == f"{file}:{column}"
    assert len(workload.rates_rps) == len(raw)
    if peak_share is not None:
        assert np.allclose(workload.rates_rps, raw / peak_share)
    assert workload.max_duration_s == (len(raw) - 1) * workload.step_s
