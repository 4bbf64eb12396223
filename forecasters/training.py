"""One training loop for all networks: early stopping, weight averaging, exact resumption, curves."""

import contextlib
import hashlib
import io
import math
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from podgym.errors import InputError, unknown_name
from podgym.files import write_atomically
from podgym.forecasters.run import FitRun

Batch = tuple[Tensor, ...]
Loss = Callable[[nn.Module, Batch], Tensor]
"""Mean loss of a network on one batch."""

_CHECKPOINT_VERSION = 2
_VALIDATION_CHUNK = 4096
_FORGOTTEN = 10.0  # time constants of the average in a run: e^-10 of the first weights is left
_SCHEDULES = ("constant", "one_cycle")


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """How a network is trained."""

    epochs: int = 50
    """Passes over the data at most."""
    batch_size: int = 64
    """Windows per update."""
    learning_rate: float = 1e-3
    """Of Adam; the highest one when the schedule is ``one_cycle``."""
    schedule: Literal["constant", "one_cycle"] = "constant"
    """``one_cycle``: up during the first 30 % of the updates, then down to nearly 0 (Smith, Topin 2018)."""
    weight_decay: float = 0.0
    """Decoupled (AdamW); 0 is plain Adam."""
    gradient_clip: float | None = None
    """Largest norm of a gradient."""
    averaging: float = 0.0
    """Decay per update of the running average of the weights that is validated and kept; 0: no average. A
    short run decays faster, so that nothing is left of the weights before training."""
    patience: int | None = None
    """Epochs without a better validation loss after which training stops, and the best weights are kept;
    None: train all epochs and keep the last weights."""
    seed: int = 0
    """Of initial weights, order of the batches and dropout."""

    def __post_init__(self) -> None:
        for name, good, allowed in (
            ("epochs", _is_count(self.epochs), "a whole number, 1 or more"),
            ("batch_size", _is_count(self.batch_size), "a whole number, 1 or more"),
            ("learning_rate", _is_between(self.learning_rate) and self.learning_rate > 0.0,
             "above 0 and below 1"),
            ("weight_decay", self.weight_decay == 0 or _is_positive(self.weight_decay), "0 or more"),
            ("gradient_clip", self.gradient_clip is None or _is_positive(self.gradient_clip),
             "above 0, or None"),
            ("averaging", _is_between(self.averaging), "0 or more, and below 1"),
            ("patience", self.patience is None or _is_count(self.patience),
             "a whole number, 1 or more, or None"),
        ):  # fmt: skip
            if not good:
                raise InputError(f"{name} is {getattr(self, name)!r}; it must be {allowed}.")
        if self.schedule not in _SCHEDULES:
            raise unknown_name("schedule", self.schedule, _SCHEDULES)


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _is_count(value: object) -> bool:
    return isinstance(value, int) and _is_positive(value)


def _is_between(value: object) -> bool:
    """Whether a value is a number from 0 to 1, 1 left out."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0.0 <= value < 1.0


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """What happened in a training run."""

    epochs: int
    """Epochs that were run."""
    best_epoch: int
    """Epoch, from 1, whose weights were kept."""
    training_loss: tuple[float, ...]
    """Mean loss per epoch."""
    validation_loss: tuple[float, ...]
    """Validation loss per epoch; the training loss where nothing is held back."""
    earlier_s: float = field(default=0.0, compare=False)
    """Seconds that the epochs took which a checkpoint spared."""


@contextlib.contextmanager
def one_thread(seed: int | None = None) -> Iterator[None]:
    """Run torch on one thread, where equal seeds give equal results; leave the caller's generator alone."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            if seed is not None:
                torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)


class _Session:
    """Everything that changes during training, so that it can be saved and taken back as a whole."""

    def __init__(self, network: nn.Module, config: TrainingConfig, updates: int) -> None:
        self.network = network
        self.optimiser = torch.optim.AdamW(
            network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        self.schedule = (
            torch.optim.lr_scheduler.OneCycleLR(self.optimiser, config.learning_rate, total_steps=updates)
            if config.schedule == "one_cycle"
            else None
        )
        self.average = (
            torch.optim.swa_utils.AveragedModel(
                network,
                multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(  # type: ignore[no-untyped-call]
                    min(config.averaging, max(1.0 - _FORGOTTEN / updates, 0.0))
                ),
            )
            if config.averaging
            else None
        )
        self.epoch = 0
        self.best: tuple[float, int] = (float("inf"), 0)
        self.best_weights = _copied(network)
        self.training_loss: list[float] = []
        self.validation_loss: list[float] = []
        self.elapsed_s = 0.0

    @property
    def judged(self) -> nn.Module:
        """The network whose weights count."""
        return self.network if self.average is None else self.average.module

    def state(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": None if self.schedule is None else self.schedule.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "epoch": self.epoch,
            "best": self.best,
            "best_weights": self.best_weights,
            "training_loss": self.training_loss,
            "validation_loss": self.validation_loss,
            "elapsed_s": self.elapsed_s,
            "generator": torch.get_rng_state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.schedule is not None:
            self.schedule.load_state_dict(state["schedule"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.epoch = state["epoch"]
        self.best = tuple(state["best"])
        self.best_weights = state["best_weights"]
        self.training_loss = list(state["training_loss"])
        self.validation_loss = list(state["validation_loss"])
        self.elapsed_s = float(state["elapsed_s"])
        torch.set_rng_state(state["generator"])


def train(
    network: nn.Module,
    loss: Loss,
    data: Batch,
    validation: Batch,
    config: TrainingConfig,
    run: FitRun,
    *,
    validation_loss: Loss | None = None,
) -> TrainingReport:
    """Train a network in place; call inside ``one_thread(config.seed)``.

    Args:
        network: the network; it holds the kept weights afterwards.
        loss: mean loss of a batch.
        data: tensors of equal length to learn from.
        validation: the same to stop early by; may be empty when ``patience`` is None.
        config: how to train.
        run: progress, checkpoint and curves.
        validation_loss: what validation is judged by, default ``loss``.

    Raises:
        InputError: nothing to learn from, or a loss that is not finite.
    """
    count = len(data[0])
    if count < 1:
        raise InputError("there is no complete window to learn from; record a longer series with fewer gaps.")
    per_epoch = -(-count // config.batch_size)
    session = _Session(network, config, per_epoch * config.epochs)
    key = _run_key(config, (*data, *validation), network)
    _take_up(session, run.checkpoint, key)
    earlier_s = session.elapsed_s
    with _curves(run.logdir, session.epoch) as draw:
        while session.epoch < config.epochs and not _exhausted(session, config):
            began = time.perf_counter()
            session.training_loss.append(_one_epoch(session, loss, data, config))
            session.epoch += 1
            _judge(session, validation_loss or loss, validation, config)
            epoch_s = time.perf_counter() - began
            session.elapsed_s += epoch_s
            points = {"loss/training": session.training_loss[-1], "time/epoch_s": epoch_s}
            if len(validation[0]):
                points["loss/validation"] = session.validation_loss[-1]
            draw(points, session.epoch)  # before the checkpoint, so that no curve lags behind it
            if run.checkpoint is not None:
                _save(run.checkpoint, {"key": key, **session.state()})
            run.progress(session.epoch, config.epochs, f"loss {session.validation_loss[-1]:.4g}")
    kept = session.best_weights if config.patience is not None else _copied(session.judged)
    network.load_state_dict(kept)
    network.eval()
    best_epoch = session.best[1] if config.patience is not None else session.epoch
    return TrainingReport(
        session.epoch, best_epoch, tuple(session.training_loss), tuple(session.validation_loss), earlier_s
    )


def _exhausted(session: _Session, config: TrainingConfig) -> bool:
    return config.patience is not None and session.epoch - session.best[1] >= config.patience


def _one_epoch(session: _Session, loss: Loss, data: Batch, config: TrainingConfig) -> float:
    session.network.train()
    order = torch.randperm(len(data[0]))
    total = 0.0
    for first in range(0, len(order), config.batch_size):
        chosen = order[first : first + config.batch_size]
        value = loss(session.network, tuple(column[chosen] for column in data))
        session.optimiser.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        if config.gradient_clip is not None:
            nn.utils.clip_grad_norm_(session.network.parameters(), config.gradient_clip)
        session.optimiser.step()
        if session.schedule is not None:
            session.schedule.step()
        if session.average is not None:
            session.average.update_parameters(session.network)
        total += float(value.detach()) * len(chosen)
    return total / len(order)


def _judge(session: _Session, loss: Loss, validation: Batch, config: TrainingConfig) -> None:
    session.judged.eval()
    with torch.no_grad():
        starts = range(0, len(validation[0]), _VALIDATION_CHUNK)
        chunks = [
            tuple(column[first : first + _VALIDATION_CHUNK] for column in validation) for first in starts
        ]
        sums = [float(loss(session.judged, chunk)) * len(chunk[0]) for chunk in chunks]
    value = sum(sums) / len(validation[0]) if len(validation[0]) else session.training_loss[-1]
    session.validation_loss.append(value)
    if not math.isfinite(value):
        raise InputError(
            f"training diverged in epoch {session.epoch}: the loss is {value}. Lower the learning rate "
            f"(now {config.learning_rate:g}) or set a gradient clip."
        )
    if value < session.best[0]:
        session.best = (value, session.epoch)
        session.best_weights = _copied(session.judged)


def _copied(network: nn.Module) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in network.state_dict().items()}


def _run_key(config: TrainingConfig, tensors: Batch, network: nn.Module) -> str:
    """Tell runs apart: same settings, same data, same initial weights."""
    digest = hashlib.sha256(repr((_CHECKPOINT_VERSION, sorted(asdict(config).items()))).encode())
    for tensor in (*tensors, *network.state_dict().values()):
        digest.update(repr(tuple(tensor.shape)).encode())
        digest.update(tensor.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _save(checkpoint: Path, content: dict[str, Any]) -> None:
    # Into memory first: on a full disk torch's own writing ends in an error that names neither disk nor file.
    archive = io.BytesIO()
    torch.save(content, archive)

    def write(draft: Path) -> None:
        draft.write_bytes(archive.getbuffer())

    write_atomically(checkpoint, write)


def _take_up(session: _Session, checkpoint: Path | None, key: str) -> None:
    """Go on from a checkpoint of the same run; one of another run is refused rather than overwritten."""
    if checkpoint is None or not checkpoint.exists():
        return
    unreadable = InputError(f"checkpoint {checkpoint} cannot be read; delete it to start anew.")
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            damaged = archive.testzip()  # torch.load does not compare checksums
        state = torch.load(checkpoint, weights_only=True)
        same = state["key"] == key
    except Exception as error:  # torch raises a different error for each kind of damage
        raise unreadable from error
    if damaged is not None:
        raise unreadable
    if not same:
        raise InputError(
            f"checkpoint {checkpoint} belongs to another run (other data, settings or seed); delete it to "
            "start anew, or repeat the run that made it."
        )
    session.restore(state)


@contextlib.contextmanager
def _curves(logdir: Path | None, epoch: int) -> Iterator[Callable[[dict[str, float], int], None]]:
    """Give a function that draws the next point of some TensorBoard curves, or does nothing.

    Raises:
        InputError: TensorBoard is not installed, or the curves cannot be written.
    """
    if logdir is None:
        yield lambda points, step: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError(
            "curves need TensorBoard, which is not installed; pip install 'podgym[forecast]'."
        ) from error
    with _writable(logdir):
        # What an earlier run drew of the epochs to come no longer counts; it stopped before its checkpoint.
        writer = SummaryWriter(str(logdir), purge_step=epoch + 1)

    def draw(points: dict[str, float], step: int) -> None:
        with _writable(logdir):
            for tag, value in points.items():
                writer.add_scalar(tag, value, step)
            writer.flush()

    try:
        yield draw
    finally:
        with contextlib.suppress(OSError):  # what was drawn is flushed; it says again what `draw` has said
            writer.close()


@contextlib.contextmanager
def _writable(logdir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"curves in {logdir} cannot be written: {error.strerror or error}.") from error
