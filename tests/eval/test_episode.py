"""Records: what they hold, and that they go to files and back."""

import numpy as np
import pandas as pd
import pytest

from podgym.envs.workloads.profile import LoadProfile, profile_sha256
from podgym.errors import InputError
from podgym.eval.episode import profile_means, read_episode
from podgym.eval.measures import measure
from podgym.files import to_json, usable_folder, write_atomically, write_json


def profile(values, step_s=30.0, kind="open", start_s=0.0):
    return LoadProfile(np.array(values, dtype=float), step_s, kind, start_s, "test")


def test_profile_means_integrate_the_straight_lines():
    means = profile_means(profile([0.0, 30.0, 30.0]), np.array([0.0, 15.0, 30.0, 60.0]))
    np.testing.assert_allclose(means, [3.75 * 2, 22.5, 30.0])


@pytest.mark.parametrize("interval_s", [5.0, 7.0, 15.0, 60.0])
def test_profile_means_match_fine_sums(interval_s):
    load = profile(np.random.default_rng(1).uniform(0, 100, 21), step_s=10.0)
    edges = np.arange(0.0, 200.0 + 1e-9, interval_s)
    fine = np.arange(0.0, edges[-1], 0.01) + 0.005
    expected = np.interp(fine, load.times_s, load.values).reshape(len(edges) - 1, -1).mean(axis=1)
    np.testing.assert_allclose(profile_means(load, edges), expected, rtol=1e-6)


def test_hash_depends_on_everything_that_reaches_the_cluster_and_not_on_the_label():
    base = profile([1.0, 2.0])
    relabelled = LoadProfile(base.values, base.step_s, base.kind, base.start_time_s, "other words")
    assert profile_sha256(relabelled) == profile_sha256(base)
    others = [profile([1.0, 2.0000001]), profile([1.0, 2.0], step_s=15.0), profile([1.0, 2.0], kind="closed"),
              profile([1.0, 2.0], start_s=60.0), profile([1.0, 2.0, 2.0])]  # fmt: skip
    assert len({profile_sha256(each) for each in (base, *others)}) == 6


def test_parquet_and_back_loses_nothing(worked, tmp_path):
    again = read_episode(worked.write(tmp_path / "deep" / "record.parquet"))
    assert again.metadata == worked.metadata
    np.testing.assert_array_equal(again.load, worked.load)
    assert list(again.totals) == list(worked.totals)
    assert list(again.columns) == list(worked.columns)
    for name, values in worked.columns.items():
        np.testing.assert_array_equal(again.columns[name], values)
    assert measure(again) == measure(worked)


def test_two_services_and_back(make_record, tmp_path):
    record = make_record({"completed": [[1, 2], [3, 4]]}, services=("a", "a.b"))
    again = read_episode(record.write(tmp_path / "two.parquet"))
    np.testing.assert_array_equal(again.columns["completed"], [[1, 2], [3, 4]])
    assert set(again.totals) == set(record.totals)


def test_csv_has_a_row_per_interval(worked, tmp_path):
    frame = pd.read_csv(worked.write(tmp_path / "record.csv"))
    assert len(frame) == 2
    assert frame["web.completed"].tolist() == [1200, 600]
    assert frame["load"].tolist() == [100, 94]
    assert frame["reward"].tolist() == [-3.5, 1.5]


def test_other_endings_and_other_files_are_refused(worked, tmp_path):
    with pytest.raises(InputError, match=r"\.parquet or \.csv"):
        worked.write(tmp_path / "record.xlsx")
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "alien.parquet")
    with pytest.raises(InputError, match="not one of an episode"):
        read_episode(tmp_path / "alien.parquet")
    (tmp_path / "text.parquet").write_text("not parquet")
    with pytest.raises(InputError, match="not a readable parquet"):
        read_episode(tmp_path / "text.parquet")


def test_of_service_names_the_allowed(make_record):
    record = make_record({"completed": [[1, 2]]}, services=("front", "back"))
    assert record.of_service("back").columns["completed"].tolist() == [[2]]
    with pytest.raises(InputError, match="back"):
        record.of_service("bakc")


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def half(draft):
        draft.write_text("ha")
        raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match="No space left"):
        write_atomically(path, half)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_has_no_nan(tmp_path):
    content = {"a": float("nan"), "b": [1.5, float("inf")], "c": np.float64(2.0), "d": np.arange(2)}
    written = write_json(tmp_path / "x.json", content).read_text()
    assert written == to_json(content) + "\n"
    assert "NaN" not in written
    assert "Infinity" not in written
    assert '"a": null' in written


def test_usable_folder_is_not_made_and_not_a_file(tmp_path):
    assert usable_folder(tmp_path / "new" / "folder") == tmp_path / "new" / "folder"
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        usable_folder(tmp_path / "file" / "below")
