import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import podgym.envs.workloads as workloads
from podgym.envs.workloads import (
    FAMILIES,
    PACKAGED_TRACES,
    PUBLIC_TRACES,
    WORKLOADS,
    GeneratedWorkload,
    TraceWorkload,
    Workload,
    make_workload,
)
from podgym.errors import InputError


def test_every_name_is_there_once() -> None:
    families = [f"family:{family}" for family in FAMILIES]
    traces = (*PACKAGED_TRACES, *PUBLIC_TRACES)
    assert list(WORKLOADS) == ["high_load", "burst", "low_load", *families, *traces, "families", "mixture"]
    assert all(hasattr(workloads, name) for name in workloads.__all__)


@pytest.mark.parametrize(
    "name", [name for name in WORKLOADS if name not in (*PUBLIC_TRACES, "families", "mixture")]
)
def test_each_workload_keeps_the_common_contract(name: str) -> None:
    workload: Workload = make_workload(name)
    assert workload.name.startswith(name)
    assert workload.kind in ("open", "closed")
    duration_s = min(workload.max_duration_s, 7 * workload.step_s)
    profile, again = (workload.sample(np.random.default_rng(3), duration_s) for _ in range(2))
    assert np.array_equal(profile.values, again.values)
    assert (profile.kind, profile.step_s, len(profile.values)) == (workload.kind, workload.step_s, 8)
    assert profile.label.startswith(name)
    if math.isfinite(workload.max_duration_s):
        whole = workload.sample(np.random.default_rng(3), workload.max_duration_s)
        assert whole.duration_s == workload.max_duration_s
        with pytest.raises(InputError, match="lasts at most"):
            workload.sample(np.random.default_rng(3), workload.max_duration_s + workload.step_s)


def test_options_reach_the_workload(write_csv: Callable[..., Path]) -> None:
    made = make_workload("family:flash", mean_rate_rps=50.0, part="dev", grid={"flash_height": (2.0, 3.0)})
    assert isinstance(made, GeneratedWorkload)
    assert (made.mean_rate_rps, made.part, made.grid.flash_height) == (50.0, "dev", (2.0, 3.0))
    trace = make_workload("google2019", part="test", peak_rate_rps=500.0)
    assert isinstance(trace, TraceWorkload)
    assert trace.part == "test"
    path = write_csv(t_seconds=[0, 60, 120], requests=[60, 120, 180], other=[1, 2, 3])
    file = make_workload(str(path), part="all", column="other")
    assert isinstance(file, TraceWorkload)
    assert file.rates_rps.tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("name", "options", "complaint"),
    [
        ("hihg_load", {}, "unknown workload 'hihg_load'.*Did you mean 'high_load'"),
        ("flash", {}, "Did you mean 'family:flash'"),
        ("alibaba2019", {}, "Did you mean 'alibaba2018'"),
        ("zzz", {}, r"a file ending in \.csv.*\.pq\.$"),
        ("burst", {"ofset_s": 1.0}, "unknown option of workload 'burst' 'ofset_s'.*'offset_s'"),
        ("family:burst", {"mean_rate": 1.0}, "'mean_rate'.*Did you mean 'mean_rate_rps'"),
        (
            "family:burst",
            {"grid": {"burst_hight": (1, 2)}},
            "unknown key of grid 'burst_hight'.*'burst_height'",
        ),
        ("alibaba2018", {"source": "x"}, "unknown option"),
        ("alibaba2018", {"part": "tests"}, "Did you mean 'test'"),
        ("somewhere/missing.csv", {}, "folder somewhere does not exist"),
    ],
)
def test_a_misspelt_name_or_option_names_the_closest(
    name: str, options: dict[str, object], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=complaint) as caught:
        make_workload(name, **options)
    assert "\n" not in str(caught.value)


def test_files_of_the_folder_are_suggested_too(
    write_csv: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_csv("clarknet.csv", t_seconds=[0, 60], requests=[1, 2])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"Did you mean 'clarknet\.csv'"):
        make_workload("clarknet")
    with pytest.raises(InputError, match=r"Did you mean 'clarknet\.csv'"):
        make_workload("clarkent.csv")
