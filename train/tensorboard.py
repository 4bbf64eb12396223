"""What a run shows of itself while it trains: TensorBoard curves, histograms and figures, and a CSV table.

``TrainingLog`` collects what stable-baselines3 and the environments say of an iteration and writes it once,
under the frames after which the iteration's update was made. A run that is taken up again at a checkpoint
continues the same curves; what was drawn beyond the checkpoint before the interruption is removed.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter, Logger

from podgym.envs.config import REWARD_TERMS
from podgym.errors import InputError
from podgym.train.folder import PROGRESS_FILE
from podgym.train.progress_file import ProgressFile
from podgym.train.results import DevEpisode, DevResult, RolloutStatistics

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

CLUSTER_CURVES: dict[str, str] = {
    "cluster/offered_rps": "offered_rps",
    "cluster/response_time_s": "response_time_mean_s",
    "cluster/response_time_p95_s": "response_time_p95_s",
    "cluster/slo_violation_ratio": "slo_violation_ratio",
    "cluster/cpu_utilisation": "cpu_utilisation",
    "cluster/memory_utilisation": "memory_utilisation",
    "cluster/requested_cores": "requested_cores",
    "cluster/requested_gib": "requested_gib",
    "cluster/replicas_wanted": "replicas_wanted",
    "cluster/replicas_ready": "replicas_ready",
    "cluster/churn": "term_churn",
    "rollout/reward": "reward",
    **{f"reward_terms/{name}": f"term_{name}" for name in REWARD_TERMS},
}
"""Curve -> key of ``info`` whose mean over a rollout it shows, per control interval."""

_RENAMED = {
    "train/entropy_loss": ("policy/entropy", -1.0),
    "train/clip_fraction": ("policy/clip_fraction", 1.0),
    "train/approx_kl": ("policy/approx_kl", 1.0),
}
"""What stable-baselines3 records -> our name and factor."""


class StatisticsSource(Protocol):
    """The vectorised environment, as far as the log needs it."""

    def drain_statistics(self) -> RolloutStatistics:
        """Return the statistics since the last call, and begin anew."""
        ...


class TrainingLog(BaseCallback):
    """Writes what an iteration came to, as soon as its update is done.

    Use: ``model.set_logger(log.make_logger())``, then ``model.learn(..., callback=log, log_interval=None)``;
    ``log_interval=None``, for the log itself decides when a row is complete. Whatever an algorithm records
    with its logger (``constraint/multiplier``, say) is written with the rest.
    """

    def __init__(self, folder: Path, *, frames: int = 0, evaluations: int = 0, figure_every: int = 5) -> None:
        """Open the log of a run.

        Args:
            folder: the folder of the run.
            frames: frames that the run goes on from; 0 for a new one.
            evaluations: evaluations that were logged up to there.
            figure_every: evaluations between two figures; 0: no figures.

        Raises:
            InputError: TensorBoard is not installed, or the folder cannot be written to.
        """
        super().__init__()
        self._folder = folder
        self._table = ProgressFile(folder / PROGRESS_FILE, frames)
        self._curves = _open_curves(folder, frames)
        self._evaluations = evaluations
        self._figure_every = figure_every
        self._flushed_at_s = time.perf_counter()
        self._flushed_frames = frames

    @property
    def figure_due(self) -> bool:
        """Whether the next evaluation should bring an episode to draw: the first, and then every so often."""
        return self._figure_every > 0 and self._evaluations % self._figure_every == 0

    def make_logger(self) -> Logger:
        """Return the logger to give to the model."""
        return Logger(str(self._folder), [_Sink(self._write)])

    def log_evaluation(self, result: DevResult, episode: DevEpisode | None = None) -> None:
        """Write an evaluation on dev.

        Args:
            result: its means.
            episode: one of its episodes, to be drawn.
        """
        values = {
            "dev/cost": result.cost,
            "dev/slo_violation_ratio": result.slo_violation_ratio,
            "dev/requested_core_hours": result.requested_core_hours,
            "dev/churn": result.churn,
        }
        self._write(result.frames, values)
        if episode is not None:
            from podgym.train.figures import episode_pixels

            self._curves.add_image("dev/episode", episode_pixels(episode), result.frames, dataformats="HWC")
        self._curves.flush()
        self._evaluations += 1

    def close(self) -> None:
        """Write what is still to be written."""
        self._curves.close()

    def _on_step(self) -> bool:
        return True

    def _on_training_start(self) -> None:
        self._flushed_at_s, self._flushed_frames = time.perf_counter(), self.model.num_timesteps

    def _on_rollout_start(self) -> None:
        self._flush()  # the update of the iteration before is done

    def _on_training_end(self) -> None:
        self._flush()

    def _on_rollout_end(self) -> None:
        # The environment is not stable-baselines3's own, so its type does not say what it offers.
        statistics = cast(StatisticsSource, self.training_env).drain_statistics()
        for curve, key in CLUSTER_CURVES.items():
            self.logger.record(curve, float(statistics.totals[key]))
        self.logger.record("policy/distance_to_plan", float(statistics.plan_distance))
        if len(statistics.episode_returns):
            self.logger.record("rollout/episode_return", float(np.mean(statistics.episode_returns)))
        self.logger.record("rollout/episodes", float(len(statistics.episode_returns)))
        for number, name in enumerate(statistics.action_names):
            values = statistics.action_values[number] if statistics.action_values else ()
            counts = statistics.action_counts[number]
            add_counts(self._curves, f"actions/{name}", counts, values, self.model.num_timesteps)

    def _flush(self) -> None:
        """Write everything that was recorded since the last time, if there is anything."""
        if not self.logger.name_to_value:
            return
        now_s, frames = time.perf_counter(), self.model.num_timesteps
        elapsed_s = max(now_s - self._flushed_at_s, 1e-9)
        self.logger.record("time/frames_per_s", (frames - self._flushed_frames) / elapsed_s)
        self._flushed_at_s, self._flushed_frames = now_s, frames
        self.logger.dump(frames)

    def _write(self, frames: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._curves.add_scalar(name, value, frames)
        self._curves.flush()
        self._table.append(frames, values)


class _Sink(KVWriter):
    """Where the logger of stable-baselines3 leaves what it was told: its numbers, under our names."""

    def __init__(self, write: Callable[[int, dict[str, float]], None]) -> None:
        self._write = write

    def write(
        self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0
    ) -> None:
        values = {}
        for name, value in key_values.items():
            if isinstance(value, int | float | np.number):
                ours, factor = _RENAMED.get(name, (name, 1.0))
                values[ours] = factor * float(value)
        self._write(step, values)

    def close(self) -> None:
        """Do nothing: the log closes its files itself."""


def add_counts(
    curves: "SummaryWriter", name: str, counts: NDArray[np.int64], values: tuple[float, ...], frames: int
) -> None:
    """Write how often each choice was taken as a histogram with one bar per choice.

    Args:
        curves: where to.
        name: of the histogram.
        counts: (num_choices,) times.
        values: (num_choices,) what the choices stand for, ascending; empty: their index.
        frames: frames trained.
    """
    centres = np.array(values if values else range(len(counts)), dtype=np.float64)
    middles = 0.5 * (centres[1:] + centres[:-1])
    limits = np.append(middles, centres[-1] + 0.5)  # upper ends of the bars
    curves.add_histogram_raw(
        name,
        min=float(centres[0] - 0.5),
        max=float(limits[-1]),
        num=int(counts.sum()),
        sum=float(counts @ centres),
        sum_squares=float(counts @ centres**2),
        bucket_limits=limits.tolist(),
        bucket_counts=counts.astype(np.float64).tolist(),
        global_step=frames,
    )


def _open_curves(folder: Path, frames: int) -> "SummaryWriter":
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError(
            "training curves need TensorBoard, which is not installed; pip install 'podgym[rl]'."
        ) from error
    # TensorBoard forgets what was drawn from this step on; a run that begins forgets an attempt before it.
    return SummaryWriter(str(folder), purge_step=frames + 1 if frames else 0)
