"""Saved forecasters: the same forecasts after loading, and no file that is not whole and ours."""

import contextlib
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from podgym.errors import InputError
from podgym.forecasters.factory import MODELS, NETWORK_MODELS, make_forecaster
from podgym.forecasters.series import Series
from podgym.forecasters.store import load_forecaster, save_forecaster

STEP_S = 1800.0
NEEDS = {"ewma": "statsmodels", "holt_winters": "statsmodels", "prophet": "prophet"}


def load_series(num_features: int = 2) -> Series:
    rng = np.random.default_rng(5)
    time = np.arange(1200) * STEP_S
    day = np.sin(2 * np.pi * time / 86_400.0)
    noise = rng.normal(0, 1, (2, len(time)))
    values = np.stack([50 + 20 * day + 3 * noise[0], 1e9 * (3 + day + 0.1 * noise[1])], axis=1)
    return Series("load", ("cpu", "memory")[:num_features], ("%", "bytes")[:num_features],
                  values[:, :num_features], STEP_S)  # fmt: skip


def fitted(name: str, num_features: int = 2) -> object:
    pytest.importorskip("torch" if name in NETWORK_MODELS else NEEDS.get(name, "numpy"))
    if name == "hybrid":
        pytest.importorskip("prophet")
    options = {"training": {"epochs": 1}} if name in NETWORK_MODELS else {}
    return make_forecaster(name, horizon_minutes=60, **options).fit(load_series(num_features))


@pytest.mark.parametrize("name", MODELS)
def test_a_loaded_forecaster_is_the_saved_one(name: str, tmp_path: Path) -> None:
    forecaster = fitted(name)
    path = save_forecaster(forecaster, tmp_path / name)
    assert path.suffix == ".forecaster"
    loaded = load_forecaster(path)
    series = load_series().slice(0, 900)
    before, after = forecaster.forecast_all(series), loaded.forecast_all(series)
    for part in ("mean", "lower", "upper"):
        np.testing.assert_array_equal(getattr(before, part), getattr(after, part))
    assert loaded.spec == forecaster.spec
    assert loaded.options() == forecaster.options()
    assert loaded.cleaning == forecaster.cleaning
    assert loaded.fingerprint == forecaster.fingerprint
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_fingerprints_tell_forecasters_apart() -> None:
    one, same = (make_forecaster("last_value", horizon_minutes=60).fit(load_series()) for _ in range(2))
    other = make_forecaster("last_value", horizon_minutes=30).fit(load_series())
    assert one.fingerprint == same.fingerprint != other.fingerprint


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save_forecaster(
        make_forecaster("last_value", horizon_minutes=60).fit(load_series()), tmp_path / "m.forecaster"
    )


def test_every_truncation_and_flipped_bit_in_the_data_is_noticed(saved: Path) -> None:
    content = saved.read_bytes()
    pristine = load_forecaster(saved)
    rng = np.random.default_rng(0)
    for length in [0, 1, 100, *rng.integers(100, len(content), 20), len(content) - 1]:
        saved.write_bytes(content[:length])
        with pytest.raises(InputError, match="again"):
            load_forecaster(saved)
    for place in rng.integers(0, len(content), 150):
        damaged = bytearray(content)
        damaged[place] ^= 1 << rng.integers(8)
        saved.write_bytes(damaged)
        # Either refused, or a field of the zip header that nobody reads, such as a date.
        with contextlib.suppress(InputError):
            assert load_forecaster(saved).fingerprint == pristine.fingerprint


def rewrite(path: Path, **changes: object) -> None:
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    manifest = {**json.loads(arrays["manifest"].tobytes()), **changes}
    arrays["manifest"] = np.frombuffer(json.dumps(manifest).encode(), dtype=np.uint8)
    with path.open("wb") as file:
        np.savez(file, **arrays)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format_version": 99}, "version 99"),
        ({"format": "something else"}, "no forecaster"),
        ({"model": "lastvalue"}, "Did you mean 'last_value'"),
        ({"options": {"horizon_minutes": 60, "tint": 3}}, "tint"),
        ({"sha256": {}}, "manifest"),
        ({"spec": {"features": ["cpu"]}}, "another podgym"),
    ],
)
def test_files_of_others_are_refused(saved: Path, changes: dict[str, object], words: str) -> None:
    rewrite(saved, **changes)
    with pytest.raises(InputError, match=words):
        load_forecaster(saved)


def test_a_pickle_is_never_opened(saved: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (str(saved.with_name("ran")),))  # type: ignore[return-value]

    with saved.open("wb") as file:
        np.savez(file, manifest=np.array([Bomb()], dtype=object))
    with pytest.raises(InputError, match="cannot be read"):
        load_forecaster(saved)
    assert not saved.with_name("ran").exists()


def test_other_files_are_named(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Did you mean 'm\.forecaster'"):
        load_forecaster(tmp_path / "n.forecaster")
    text = tmp_path / "text.forecaster"
    text.write_text("hello")
    with pytest.raises(InputError, match="cannot be read"):
        load_forecaster(text)
    with zipfile.ZipFile(tmp_path / "other.forecaster", "w") as archive:
        archive.writestr("a.txt", "b")
    with pytest.raises(InputError, match="cannot be read"):
        load_forecaster(tmp_path / "other.forecaster")


def test_nothing_is_left_of_a_file_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forecaster = make_forecaster("last_value", horizon_minutes=60).fit(load_series())

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(InputError, match="No space left"):
        save_forecaster(forecaster, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_unfitted_and_misnamed_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="was not fitted"):
        save_forecaster(make_forecaster("last_value"), tmp_path / "m")
    with pytest.raises(InputError, match="export_onnx"):
        save_forecaster(
            make_forecaster("last_value", horizon_minutes=60).fit(load_series()), tmp_path / "m.onnx"
        )
    with pytest.raises(InputError, match="Did you mean 'lstm'"):
        make_forecaster("lsmt")
    with pytest.raises(InputError, match="Did you mean 'window'"):
        make_forecaster("lstm", windw=3)
