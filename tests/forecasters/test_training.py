"""The training loop: seeds, losses, averaged weights, early stopping and divergence."""

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from oracles.small_training import (  # noqa: E402
    DATA,
    EPOCHS,
    SETTINGS,
    VALIDATION,
    assert_equal,
    batch,
    configured,
    fitted,
    loss,
    stop_after,
    weights,
)
from torch import Tensor, nn  # noqa: E402

from podgym.errors import InputError  # noqa: E402
from podgym.forecasters.run import FitRun  # noqa: E402
from podgym.forecasters.training import TrainingReport, one_thread, train  # noqa: E402

# -- seeds --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SETTINGS)
def test_equal_seeds_give_equal_weights_and_other_seeds_others(name: str) -> None:
    first, same = (fitted(configured(**SETTINGS[name])) for _ in range(2))
    assert_equal(weights(first[0]), weights(same[0]))
    assert first[1] == same[1]
    other = weights(fitted(configured(**SETTINGS[name], seed=4))[0])
    assert all((other[name] != weight).any() for name, weight in weights(first[0]).items())


def test_results_do_not_depend_on_the_callers_generator_and_leave_it_alone() -> None:
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before, threads = torch.get_rng_state(), torch.get_num_threads()
        results.append(weights(fitted(configured())[0]))
        assert torch.equal(torch.get_rng_state(), before)
        assert torch.get_num_threads() == threads
    assert_equal(*results)


def test_threads_and_generator_come_back_after_an_error() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        before = torch.get_rng_state()
        with pytest.raises(KeyboardInterrupt):
            fitted(configured(), FitRun(progress=stop_after(1)))
        assert torch.get_num_threads() == 2
        assert torch.equal(torch.get_rng_state(), before)
        with one_thread(1):
            assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)


# -- stopping -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("averaging", [0.0, 0.8])
def test_early_stopping_keeps_the_best_weights(averaging: float) -> None:
    """Validation losses by script: the third epoch is the best, and patience ends after the sixth."""
    script = iter([5.0, 3.0, 2.0, 2.5, 2.0, 4.0, 1.0])
    judged: list[dict[str, np.ndarray]] = []

    def scripted(network: nn.Module, columns: tuple[Tensor, ...]) -> Tensor:
        assert not network.training
        judged.append(weights(network))
        return torch.tensor(next(script))

    config = configured(epochs=20, patience=3, averaging=averaging)
    network, report = fitted(config, validation_loss=scripted)
    assert (report.epochs, report.best_epoch) == (6, 3)
    assert report.validation_loss == (5.0, 3.0, 2.0, 2.5, 2.0, 4.0)
    assert_equal(weights(network), judged[2])
    assert (judged[5]["0.weight"] != judged[2]["0.weight"]).any()
    assert not network.training


def test_without_patience_the_last_weights_are_kept() -> None:
    judged: list[dict[str, np.ndarray]] = []

    def rising(network: nn.Module, columns: tuple[Tensor, ...]) -> Tensor:
        judged.append(weights(network))
        return torch.tensor(float(len(judged)))

    network, report = fitted(configured(), validation_loss=rising)
    assert (report.epochs, report.best_epoch) == (EPOCHS, EPOCHS)
    assert_equal(weights(network), judged[-1])


@pytest.mark.parametrize(("epochs", "averaging", "decay"), [(6, 0.6, 0.6), (4, 0.99, 0.5)])
def test_averaged_weights_are_the_exponential_mean_of_all_updates(
    epochs: int, averaging: float, decay: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 20 updates cannot forget at 0.99: the decay is then 1 - 10 / 20.
    steps: list[dict[str, np.ndarray]] = []
    step = torch.optim.AdamW.step

    def watched(optimiser: Any, *arguments: Any) -> Any:
        result = step(optimiser, *arguments)
        steps.append([weight.detach().numpy().copy() for weight in optimiser.param_groups[0]["params"]])
        return result

    watched.hooked = True  # as torch marks the method that it wraps
    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", watched)
        network, _ = fitted(configured(epochs=epochs, averaging=averaging))
    expected = steps[0]
    for each in steps[1:]:
        expected = [decay * old + (1.0 - decay) * new for old, new in zip(expected, each, strict=True)]
    assert len(steps) == epochs * 5
    for got, wanted in zip(network.parameters(), expected, strict=True):
        np.testing.assert_allclose(got.detach(), wanted, rtol=1e-4, atol=1e-6)


def test_losses_are_means_over_all_windows() -> None:
    """Of batches of unequal size (70 = 4 x 16 + 6), and of a validation set in several chunks."""
    validation = batch(5000, 7)
    network, report = fitted(configured(epochs=1), validation=validation)
    with torch.no_grad():
        expected = float(loss(network, validation))
    np.testing.assert_allclose(report.validation_loss[0], expected, rtol=1e-6)
    sizes: list[int] = []

    def counting(network: nn.Module, columns: tuple[Tensor, ...]) -> Tensor:
        sizes.append(len(columns[0]))
        return network(columns[0]).sum() * 0.0 + float(len(columns[0]))

    with one_thread(0):
        report = train(nn.Linear(4, 1), counting, DATA, VALIDATION, configured(epochs=1), FitRun())
    assert sizes == [16, 16, 16, 16, 6, 30]
    np.testing.assert_allclose(report.training_loss, (4 * 16 * 16 + 6 * 6) / 70)


def test_every_window_is_seen_once_an_epoch_in_another_order() -> None:
    seen: list[list[float]] = [[]]
    data = (torch.arange(70.0)[:, None].expand(70, 4).contiguous(), torch.zeros(70, 1))

    def watching(network: nn.Module, columns: tuple[Tensor, ...]) -> Tensor:
        if network.training:
            seen[-1] += columns[0][:, 0].tolist()
        else:
            seen.append([])
        return network(columns[0]).mean() * 0.0

    with one_thread(0):
        train(nn.Linear(4, 1), watching, data, VALIDATION, configured(epochs=3), FitRun())
    first, second, third, rest = seen
    assert sorted(first) == sorted(second) == sorted(third) == list(range(70))
    assert first != second != third
    assert rest == []


@pytest.mark.parametrize("setting", ["constant", "averaging", "patience"])
def test_divergence_is_an_error_that_names_the_remedy(setting: str) -> None:
    """A loss that is defined near its minimum only, which a huge step leaves."""

    def barrier(network: nn.Module, columns: tuple[Tensor, ...]) -> Tensor:
        return -torch.log1p(-(network(columns[0]) ** 2)).mean()

    def run(learning_rate: float) -> TrainingReport:
        config = configured(learning_rate=learning_rate, **SETTINGS[setting])
        network = nn.Linear(4, 1)
        nn.init.constant_(network.weight, 0.05)
        nn.init.constant_(network.bias, 0.1)
        with one_thread(0):
            return train(network, barrier, DATA, VALIDATION, config, FitRun())

    assert run(1e-3).validation_loss[-1] < 0.1
    with pytest.raises(InputError, match=r"in epoch \d+: the loss is nan\. Lower .* \(now 0\.99\) or set a"):
        run(0.99)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_loss_that_is_not_finite_is_an_error(value: float) -> None:
    with pytest.raises(InputError, match=f"diverged in epoch 1: the loss is {value}"):
        fitted(configured(), validation_loss=lambda network, columns: torch.tensor(value))


def test_nothing_to_learn_from_is_refused() -> None:
    with pytest.raises(InputError, match="no complete window to learn from; record a longer series"):
        fitted(configured(), data=tuple(column[:0] for column in DATA))


def test_without_validation_data_the_training_loss_counts() -> None:
    _, report = fitted(configured(), validation=tuple(column[:0] for column in VALIDATION))
    assert report.validation_loss == report.training_loss


def test_progress_is_reported_after_every_epoch() -> None:
    seen: list[tuple[int, int, str]] = []
    _, report = fitted(configured(), FitRun(progress=lambda *arguments: seen.append(arguments)))
    assert [each[:2] for each in seen] == [(epoch, EPOCHS) for epoch in range(1, EPOCHS + 1)]
    assert [each[2] for each in seen] == [f"loss {value:.4g}" for value in report.validation_loss]
