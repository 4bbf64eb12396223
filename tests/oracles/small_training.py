"""Training runs of a moment, on a network that is small but has dropout, as those of the forecasters do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from podgym.forecasters.run import FitRun
from podgym.forecasters.training import TrainingConfig, TrainingReport, one_thread, train

EPOCHS = 6
SETTINGS: dict[str, dict[str, Any]] = {
    "constant": {},
    "one_cycle": {"schedule": "one_cycle"},
    "averaging": {"averaging": 0.9},
    "patience": {"patience": 3},
    "everything": {
        "schedule": "one_cycle", "averaging": 0.9, "patience": 3, "gradient_clip": 0.5, "weight_decay": 0.01,
    },
}  # fmt: skip


def batch(number: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(number, 4, generator=generator)
    return inputs, inputs.sum(1, keepdim=True).sin() + 0.1 * torch.randn(number, 1, generator=generator)


DATA, VALIDATION = batch(70, 1), batch(30, 2)


def loss(network: nn.Module, columns: tuple[Tensor, ...]) -> Tensor:
    return nn.functional.mse_loss(network(columns[0]), columns[1])


def configured(**changes: Any) -> TrainingConfig:
    return TrainingConfig(
        **({"epochs": EPOCHS, "batch_size": 16, "learning_rate": 1e-2, "seed": 3} | changes)
    )


def fitted(
    config: TrainingConfig,
    run: FitRun | None = None,
    *,
    data: tuple[Tensor, ...] = DATA,
    validation: tuple[Tensor, ...] = VALIDATION,
    **options: Any,
) -> tuple[nn.Module, TrainingReport]:
    """Train a small network with dropout, as a forecaster does."""
    with one_thread(config.seed):
        network = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 1))
        report = train(network, loss, data, validation, config, run or FitRun(), **options)
    return network, report


def weights(network: nn.Module) -> dict[str, np.ndarray]:
    return {name: weight.detach().numpy().copy() for name, weight in network.state_dict().items()}


def assert_equal(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> None:
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def stop_after(epoch: int) -> Callable[[int, int, str], None]:
    def progress(done: int, total: int, note: str) -> None:
        if done == epoch:
            raise KeyboardInterrupt

    return progress


def interrupted(config: TrainingConfig, checkpoint: Path, epoch: int, logdir: Path | None = None) -> None:
    with pytest.raises(KeyboardInterrupt):
        fitted(config, FitRun(stop_after(epoch), checkpoint, logdir))
