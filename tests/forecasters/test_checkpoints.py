"""Training that is interrupted: exact resumption, checkpoints that are whole, curves without holes."""

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from oracles.small_training import (  # noqa: E402
    DATA,
    EPOCHS,
    SETTINGS,
    assert_equal,
    batch,
    configured,
    fitted,
    interrupted,
    stop_after,
    weights,
)
from torch import Tensor  # noqa: E402

from podgym.errors import InputError  # noqa: E402
from podgym.forecasters.recurrent import TunedLstm  # noqa: E402
from podgym.forecasters.run import FitRun  # noqa: E402
from podgym.forecasters.training import TrainingReport  # noqa: E402

# -- resumption ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("epoch", [1, 4])
@pytest.mark.parametrize("name", SETTINGS)
def test_an_interrupted_run_goes_on_to_the_same_result(name: str, epoch: int, tmp_path: Path) -> None:
    config, checkpoint = configured(**SETTINGS[name]), tmp_path / "runs" / "fit.checkpoint"
    whole, report = fitted(config)
    interrupted(config, checkpoint, epoch)
    seen: list[int] = []
    resumed, resumed_report = fitted(config, FitRun(lambda done, total, note: seen.append(done), checkpoint))
    assert_equal(weights(resumed), weights(whole))
    assert resumed_report == report
    assert seen == list(range(epoch + 1, report.epochs + 1))


def test_a_run_that_is_interrupted_every_epoch_is_the_same(tmp_path: Path) -> None:
    config, checkpoint = configured(**SETTINGS["everything"]), tmp_path / "fit.checkpoint"
    whole, report = fitted(config)
    for epoch in range(1, report.epochs + 1):
        interrupted(config, checkpoint, epoch)
    assert_equal(weights(fitted(config, FitRun(checkpoint=checkpoint))[0]), weights(whole))


def test_a_checkpoint_changes_no_result(tmp_path: Path) -> None:
    config = configured(**SETTINGS["everything"])
    kept = fitted(config, FitRun(checkpoint=tmp_path / "fit.checkpoint", logdir=tmp_path / "curves"))
    assert_equal(weights(kept[0]), weights(fitted(config)[0]))


def test_a_forecaster_is_resumed_to_the_same_weights(make_load, tmp_path: Path) -> None:
    """With all that belongs to it: data, initial weights and dropout of the tuned network."""

    def build() -> TunedLstm:
        return TunedLstm(window=12, units=8, training={"epochs": 3})

    whole = build().fit(make_load(700))
    run = FitRun(stop_after(2), tmp_path / "fit.checkpoint")
    with pytest.raises(KeyboardInterrupt):
        build().fit(make_load(700), run)
    resumed = build().fit(make_load(700), FitRun(checkpoint=run.checkpoint))
    assert resumed.fingerprint == whole.fingerprint
    assert_equal(resumed._state()[1], whole._state()[1])


@pytest.mark.parametrize("name", SETTINGS)
def test_a_finished_run_returns_at_once(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, checkpoint = configured(**SETTINGS[name]), tmp_path / "fit.checkpoint"
    first, report = fitted(config, FitRun(checkpoint=checkpoint))
    written = checkpoint.stat().st_mtime_ns

    def refuse(*arguments: Any) -> Tensor:
        raise AssertionError("nothing is left to learn")

    seen: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr("torch.randperm", refuse)
        again, same = fitted(config, FitRun(lambda done, total, note: seen.append(done), checkpoint))
    assert_equal(weights(again), weights(first))
    assert (same, seen) == (report, [])
    assert checkpoint.stat().st_mtime_ns == written


# -- checkpoints that do not fit ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"config": configured(seed=4)},
        {"config": configured(learning_rate=2e-2)},
        {"config": configured(epochs=EPOCHS + 1)},
        {"data": batch(70, 5)},
        {"data": tuple(column[:69] for column in DATA)},
        {"validation": batch(30, 6)},
    ],
    ids=["seed", "rate", "epochs", "data", "fewer data", "validation"],
)
def test_a_checkpoint_of_another_run_is_refused_and_kept(change: dict[str, Any], tmp_path: Path) -> None:
    checkpoint = tmp_path / "fit.checkpoint"
    fitted(configured(), FitRun(checkpoint=checkpoint))
    content = checkpoint.read_bytes()
    config = change.pop("config", configured())
    with pytest.raises(InputError, match=r"belongs to another run \(other data, settings or seed\); delete"):
        fitted(config, FitRun(checkpoint=checkpoint), **change)
    assert checkpoint.read_bytes() == content


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "flipped", "other content"])
def test_a_damaged_checkpoint_is_refused(damage: str, tmp_path: Path) -> None:
    checkpoint = tmp_path / "fit.checkpoint"
    fitted(configured(), FitRun(checkpoint=checkpoint))
    content = bytearray(checkpoint.read_bytes())
    first_weights = weights(fitted(configured(), FitRun(checkpoint=checkpoint))[0])["0.weight"].tobytes()
    if damage == "empty":
        content = bytearray()
    elif damage == "text":
        content = bytearray(b"no checkpoint\n")
    elif damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "flipped":
        content[content.index(first_weights) + 5] ^= 0x10
    checkpoint.write_bytes(content)
    if damage == "other content":
        torch.save([1, 2, 3], checkpoint)
    with pytest.raises(InputError, match=r"fit\.checkpoint cannot be read; delete it to start anew"):
        fitted(configured(), FitRun(checkpoint=checkpoint))


def test_a_checkpoint_holds_no_code(tmp_path: Path) -> None:
    """A pickle that would run something on loading is refused, and does not run."""

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "sprung"),)

    checkpoint = tmp_path / "fit.checkpoint"
    torch.save({"key": Trap()}, checkpoint)
    with pytest.raises(InputError, match="cannot be read"):
        fitted(configured(), FitRun(checkpoint=checkpoint))
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_a_kill_while_writing_leaves_the_former_checkpoint(
    error: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, checkpoint = configured(**SETTINGS["everything"]), tmp_path / "fit.checkpoint"
    save, saved = torch.save, []

    def fail_midway(content: Any, target: Any) -> None:
        saved.append(content["epoch"])
        if len(saved) < 3:
            save(content, target)
            return
        if hasattr(target, "write"):
            target.write(b"half a checkpoint")
        else:
            Path(target).write_bytes(b"half a checkpoint")
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", fail_midway)
        with pytest.raises(error):
            fitted(config, FitRun(checkpoint=checkpoint))
    assert saved == [1, 2, 3]
    assert [path.name for path in tmp_path.iterdir()] == ["fit.checkpoint"]
    assert torch.load(checkpoint, weights_only=True)["epoch"] == 2
    assert_equal(weights(fitted(config, FitRun(checkpoint=checkpoint))[0]), weights(fitted(config)[0]))


def test_a_disk_that_is_full_leaves_the_former_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of more than half a checkpoint cannot be written while the third one is."""
    resource = pytest.importorskip("resource")
    config, checkpoint = configured(**SETTINGS["everything"]), tmp_path / "fit.checkpoint"
    save, limits = torch.save, resource.getrlimit(resource.RLIMIT_FSIZE)

    def save_until_full(content: Any, target: Any) -> None:
        if content["epoch"] == 3:
            half = checkpoint.stat().st_size // 2
            resource.setrlimit(resource.RLIMIT_FSIZE, (half, limits[1]))
        save(content, target)

    monkeypatch.setattr(torch, "save", save_until_full)
    try:
        with pytest.raises(InputError, match=r"fit\.checkpoint cannot be written: File too large\.$"):
            fitted(config, FitRun(checkpoint=checkpoint))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["fit.checkpoint"]
    assert torch.load(checkpoint, weights_only=True)["epoch"] == 2
    assert_equal(weights(fitted(config, FitRun(checkpoint=checkpoint))[0]), weights(fitted(config)[0]))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_cannot_be_written_to_is_named(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = tmp_path / "fit.checkpoint"
    interrupted(configured(), checkpoint, 1)
    before = checkpoint.read_bytes()

    def refuse(*arguments: Any, **options: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(InputError, match=f"fit.checkpoint cannot be written: {os.strerror(number)}"):
        fitted(configured(), FitRun(checkpoint=checkpoint))
    assert checkpoint.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["fit.checkpoint"]


# -- curves -------------------------------------------------------------------------------------------------


def curves(logdir: Path) -> dict[str, list[tuple[int, float]]]:
    """Read what TensorBoard would show."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(logdir))
    events.Reload()
    return {
        tag: [(each.step, each.value) for each in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }


def assert_curves(logdir: Path, report: TrainingReport) -> None:
    drawn = curves(logdir)
    assert sorted(drawn) == ["loss/training", "loss/validation", "time/epoch_s"]
    for tag in ("training", "validation"):
        values = np.float32(getattr(report, f"{tag}_loss"))
        assert drawn[f"loss/{tag}"] == list(enumerate(values, start=1))
    assert [step for step, _ in drawn["time/epoch_s"]] == list(range(1, report.epochs + 1))


def test_curves_hold_the_losses(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    _, report = fitted(configured(), FitRun(logdir=tmp_path / "curves"))
    assert_curves(tmp_path / "curves", report)


def test_curves_of_a_resumed_run_go_on(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    config, checkpoint, logdir = configured(), tmp_path / "fit.checkpoint", tmp_path / "curves"
    interrupted(config, checkpoint, 3, logdir)
    _, report = fitted(config, FitRun(checkpoint=checkpoint, logdir=logdir))
    assert_curves(logdir, report)


@pytest.mark.parametrize("epoch", [1, 3])
def test_a_point_whose_checkpoint_was_not_written_is_drawn_once(
    epoch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")
    config, checkpoint, logdir = configured(), tmp_path / "fit.checkpoint", tmp_path / "curves"
    save = torch.save

    def fail(content: Any, target: Any) -> None:
        if content["epoch"] == epoch:
            raise KeyboardInterrupt
        save(content, target)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", fail)
        with pytest.raises(KeyboardInterrupt):
            fitted(config, FitRun(checkpoint=checkpoint, logdir=logdir))
    assert [step for step, _ in curves(logdir)["loss/training"]] == list(range(1, epoch + 1))
    _, report = fitted(config, FitRun(checkpoint=checkpoint, logdir=logdir))
    assert_curves(logdir, report)


def test_curves_are_on_disk_after_every_epoch(tmp_path: Path) -> None:
    """Whoever watches a long run, or loses it to a kill, sees all epochs up to then."""
    pytest.importorskip("tensorboard")
    logdir, seen = tmp_path / "curves", []
    fitted(configured(), FitRun(lambda *_: seen.append(len(curves(logdir)["loss/validation"])), None, logdir))
    assert seen == list(range(1, EPOCHS + 1))


def test_curves_that_have_no_place_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"curves in .*file/curves cannot be written: Not a directory\.$"):
        fitted(configured(), FitRun(logdir=tmp_path / "file" / "curves"))


@pytest.mark.parametrize("function", ["add_scalar", "flush"])
def test_a_disk_that_is_full_of_curves_is_named(
    function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the checkpoint of the last epoch that was drawn is whole."""
    pytest.importorskip("tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    seen: list[int] = []
    original = getattr(SummaryWriter, function)

    def fill(*arguments: Any, **options: Any) -> None:
        if len(seen) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(*arguments, **options)

    monkeypatch.setattr(SummaryWriter, function, fill)
    run = FitRun(
        lambda done, total, note: seen.append(done), tmp_path / "fit.checkpoint", tmp_path / "curves"
    )
    with pytest.raises(InputError, match=r"curves in .* cannot be written: No space left on device\.$"):
        fitted(configured(), run)
    assert torch.load(run.checkpoint, weights_only=True)["epoch"] == 2
