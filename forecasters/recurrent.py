"""Forecasters made of one recurrent network: the paper's LSTM, a tuned LSTM and a GRU."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from podgym.errors import InputError, require_whole, unknown_name
from podgym.forecasters.base import HORIZON_MINUTES, Forecaster
from podgym.forecasters.cleaning import CleaningConfig
from podgym.forecasters.run import FitRun
from podgym.forecasters.series import Series, require_variation
from podgym.forecasters.windows import usable_origins, windows

if TYPE_CHECKING:
    import torch

    from podgym.forecasters.networks import Cell, Inputs, PaperNetwork, TunedNetwork
    from podgym.forecasters.training import Batch, TrainingConfig, TrainingReport


class NetworkForecaster(Forecaster):
    """What forecasters with one network share: windows, training, saving."""

    def __init__(
        self,
        *,
        horizon_minutes: int = HORIZON_MINUTES,
        cleaning: CleaningConfig | None = None,
        training: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(horizon_minutes=horizon_minutes, cleaning=cleaning)
        require_whole("seed", seed, 0, 2**63 - 1)
        self.seed = seed
        self.training = dict(training or {})
        self._config()  # refuse bad settings before any data are read
        self._network: PaperNetwork | TunedNetwork | None = None
        self._report: TrainingReport | None = None

    @abstractmethod
    def _defaults(self) -> "TrainingConfig":
        """Return how this model is trained unless told otherwise."""

    @abstractmethod
    def _build(self, shape: Mapping[str, Any]) -> "PaperNetwork | TunedNetwork":
        """Build the network from the plain values that ``_shape`` returned."""

    @abstractmethod
    def _shape(self, values: NDArray[np.float64], step_s: float) -> dict[str, Any]:
        """Return plain values that define the network, from the samples to learn from."""

    @abstractmethod
    def _prepare(self, windows: "Iterator[Inputs]", targets: NDArray[np.float64]) -> "Batch":
        """Turn windows and their targets (n, horizon, num_features) into tensors to learn from."""

    @abstractmethod
    def _losses(self) -> tuple[Any, Any]:
        """Return the loss to learn by and the loss to validate by."""

    @property
    def network(self) -> "PaperNetwork | TunedNetwork":
        """The trained network, a ``torch.nn.Module``.

        Raises:
            InputError: the forecaster was not fitted.
        """
        self._need()
        return cast("PaperNetwork | TunedNetwork", self._network)

    @property
    def training_report(self) -> "TrainingReport | None":
        """Losses by epoch; None when the forecaster was loaded."""
        return self._report

    @property
    def _parameters(self) -> int:
        network = self._network
        return 0 if network is None else sum(weight.numel() for weight in network.parameters())

    def _config(self) -> "TrainingConfig":
        from podgym.forecasters.training import TrainingConfig

        allowed = [name for name in TrainingConfig.__slots__ if name != "seed"]  # is an argument of its own
        for key in self.training:
            if key not in allowed:
                raise unknown_name("training setting", key, allowed)
        return replace(self._defaults(), seed=self.seed, **self.training)

    def _fit(self, series: Series, trusted: NDArray[np.bool_], fit_stop: int, run: FitRun) -> None:
        from podgym.forecasters.training import one_thread, train

        config = self._config()
        fit_stop = self._learned_stop(series, fit_stop)
        require_variation(series.slice(0, fit_stop), " in the part that is learned from")
        self._settings = self._shape(series.values[:fit_stop], series.step_s)
        with one_thread(config.seed):
            self._network = self._build(self._settings)
            learned, judged = (
                usable_origins(trusted, self.min_context, self._horizon, first, stop, self._kept)
                for first, stop in ((0, fit_stop), (fit_stop, series.num_samples))
            )
            if not len(learned) or (config.patience is not None and not len(judged)):
                raise InputError(
                    f"series {series.name!r} has no stretch of {self.min_context + self._horizon} samples "
                    "without a long gap; record a longer series or use a shorter window."
                )
            data, validation = (self._batch(series, origins) for origins in (learned, judged))
            loss, validation_loss = self._losses()
            self._report = train(
                self._network, loss, data, validation, config, run, validation_loss=validation_loss
            )
            self._earlier_s = self._report.earlier_s

    def _learned_stop(self, series: Series, fit_stop: int) -> int:
        """Return where the samples to learn from end: without early stopping nothing is held back."""
        return series.num_samples if self._config().patience is None else fit_stop

    def _batch(self, series: Series, origins: NDArray[np.int64]) -> "Batch":
        context = cast("PaperNetwork | TunedNetwork", self._network).context
        future = series.values[origins[:, None] + np.arange(1, self._horizon + 1)]
        return self._prepare(_tensors(series, origins, context), future)

    def _means(self, series: Series, origins: NDArray[np.int64]) -> NDArray[np.float64]:
        import torch

        from podgym.forecasters.training import one_thread

        network = cast("PaperNetwork | TunedNetwork", self._network)
        network.eval()
        with one_thread(), torch.inference_mode():
            parts = [network(*inputs).numpy() for inputs in _tensors(series, origins, network.context)]
        return np.concatenate(parts)

    def options(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {
            "horizon_minutes": self.horizon_minutes,
            "training": self.training,
            "seed": self.seed,
        }

    def _state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        weights = {name: weight.numpy() for name, weight in self.network.state_dict().items()}
        return {"shape": self._settings}, weights

    def _restore(self, values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        import torch

        self._settings = dict(values["shape"])
        self._network = self._build(self._settings)
        weights = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
        self._network.load_state_dict(weights)
        self._network.eval()


def _tensors(series: Series, origins: NDArray[np.int64], context: int) -> "Iterator[Inputs]":
    """Yield the windows as a network takes them."""
    import torch

    from podgym.forecasters.networks import Inputs

    for chunk in windows(series, origins, context):
        yield Inputs(*(torch.from_numpy(array) for array in chunk))


class PaperLstm(NetworkForecaster):
    """The paper's LSTM: 10 steps, 2 x 64 units with ReLU, min-max scaling, Adam, MSE, batch 64, 50 epochs.

    No early stopping and no gradient clip, as published.

    Args:
        horizon_minutes: how far ahead.
        cleaning: how the training series is cleaned.
        training: changes of ``TrainingConfig``, by name.
        seed: of everything random.
    """

    name = "paper_lstm"
    min_context = 10

    def _defaults(self) -> "TrainingConfig":
        from podgym.forecasters.training import TrainingConfig

        return TrainingConfig()

    def _shape(self, values: NDArray[np.float64], step_s: float) -> dict[str, Any]:
        return {
            "low": values.min(axis=0).tolist(), "high": values.max(axis=0).tolist(), "horizon": self._horizon
        }  # fmt: skip

    def _build(self, shape: Mapping[str, Any]) -> "PaperNetwork":
        from podgym.forecasters.networks import PaperNetwork

        return PaperNetwork(
            np.array(shape["low"]), np.array(shape["high"]),
            horizon=int(shape["horizon"]), window=self.min_context,
        )  # fmt: skip

    def _prepare(self, windows: "Iterator[Inputs]", targets: NDArray[np.float64]) -> "Batch":
        import torch

        network = cast("PaperNetwork", self._network)
        inputs = [network.scaled(each.history) for each in windows]
        return (
            torch.cat(inputs) if inputs else torch.zeros(0, self.min_context, targets.shape[2]),
            network.scaled(torch.from_numpy(targets)),
        )

    def _losses(self) -> tuple[Any, Any]:
        from torch.nn.functional import mse_loss

        def loss(network: "PaperNetwork", batch: "Batch") -> "torch.Tensor":
            return mse_loss(network.core(batch[0]), batch[1])

        return loss, loss


class TunedLstm(NetworkForecaster):
    """An LSTM with the usual activations, measured from the level of its window, with the three days before.

    See ``networks.TunedNetwork``; docs/forecasters.md tells on what its settings were chosen.

    Args:
        horizon_minutes: how far ahead.
        cleaning: how the training series is cleaned.
        training: changes of ``TrainingConfig``, by name.
        seed: of everything random.
        window: samples that the recurrent layer reads.
        units: size of the recurrent layer.
        seasonal: whether the three days before are an input.
        proportional: whether fluctuations are taken as proportional to the level; False for residuals.
    """

    name = "lstm"
    cell: ClassVar["Cell"] = "lstm"

    def __init__(
        self,
        *,
        horizon_minutes: int = HORIZON_MINUTES,
        cleaning: CleaningConfig | None = None,
        training: Mapping[str, Any] | None = None,
        seed: int = 0,
        window: int = 60,
        units: int = 32,
        seasonal: bool = True,
        proportional: bool = True,
    ) -> None:
        super().__init__(horizon_minutes=horizon_minutes, cleaning=cleaning, training=training, seed=seed)
        require_whole("window", window, 4, 4096)
        require_whole("units", units, 1, 4096)
        self.window, self.units, self.seasonal, self.proportional = window, units, seasonal, proportional
        self.min_context = window

    def _defaults(self) -> "TrainingConfig":
        from podgym.forecasters.training import TrainingConfig

        # No early stopping: a tenth of a short trace is half a day, and stopping by it keeps an epoch from
        # before the schedule has settled (Alibaba, 1 minute ahead: RMSE 3.9 instead of 3.2 on the dev part).
        return TrainingConfig(
            epochs=12, batch_size=128, learning_rate=2e-3, schedule="one_cycle", weight_decay=1.0,
            gradient_clip=1.0, averaging=0.99,
        )  # fmt: skip

    def options(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {
            **super().options(), "window": self.window, "units": self.units, "seasonal": self.seasonal,
            "proportional": self.proportional,
        }  # fmt: skip

    def _shape(self, values: NDArray[np.float64], step_s: float) -> dict[str, Any]:
        return {
            "mean": values.mean(axis=0).tolist(), "std": values.std(axis=0).tolist(), "step_s": step_s,
            "horizon": self._horizon,
            # Levels that may be negative or far from 0 say nothing of the size of fluctuations.
            "proportional": self.proportional and bool(values.min() >= 0.0),
        }  # fmt: skip

    def _build(self, shape: Mapping[str, Any]) -> "TunedNetwork":
        from podgym.forecasters.networks import TunedNetwork, window_shape

        return TunedNetwork(
            np.array(shape["mean"]), np.array(shape["std"]),
            shape=window_shape(self.window, int(shape["horizon"]), float(shape["step_s"]), self.seasonal),
            horizon=int(shape["horizon"]), step_s=float(shape["step_s"]), cell=self.cell, units=self.units,
            proportional=bool(shape["proportional"]),
        )  # fmt: skip

    def _prepare(self, windows: "Iterator[Inputs]", targets: NDArray[np.float64]) -> "Batch":
        import torch

        network = cast("TunedNetwork", self._network)
        future = torch.from_numpy(targets)
        with torch.inference_mode():
            scaled = [network.scaled(*inputs) for inputs in windows]
        if not scaled:
            empty = torch.zeros(0)
            return empty, empty, empty, empty
        level, scale = (torch.cat([getattr(part, name) for part in scaled]) for name in ("level", "scale"))
        steady = ((future - level) / scale).float()  # (n, horizon, num_features)
        # In units of the training deviation, so that errors of a busy hour weigh as in the physical RMSE.
        weight = (scale / network.get_buffer("std")).float()
        return (
            torch.cat([part.window for part in scaled]).clone(),
            torch.cat([part.summary for part in scaled]).clone(),
            steady.clone(), weight.clone(),
        )  # fmt: skip

    def _losses(self) -> tuple[Any, Any]:
        def loss(network: "TunedNetwork", batch: "Batch") -> "torch.Tensor":
            window, summary, steady, weight = batch
            error = network.core(window, summary) - steady
            return (weight * error**2).mean()

        def physical(network: "TunedNetwork", batch: "Batch") -> "torch.Tensor":
            window, summary, steady, weight = batch
            error = network.core(window, summary) - steady
            return ((weight * error) ** 2).mean()

        return loss, physical


class Gru(TunedLstm):
    """The tuned network with a GRU in place of the LSTM."""

    name = "gru"
    cell: ClassVar["Cell"] = "gru"
