"""The networks against NumPy: equations, scaling, masks, seasonal means, clock and weekly course."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from podgym.forecasters.networks import (  # noqa: E402
    HybridNetwork,
    PaperNetwork,
    TunedNetwork,
    WindowShape,
    window_shape,
)
from podgym.forecasters.relu_lstm import ReluLstm  # noqa: E402

DAY_S, WEEK_S = 86_400.0, 604_800.0
STEP_S = 1200.0
SHAPE = window_shape(12, 3, STEP_S, seasonal=True)
HORIZON = 3
MEAN, STD = np.array([60.0, 3e9]), np.array([12.0, 6e8])


@pytest.fixture(autouse=True)
def _seed():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        yield


def tuned(**changes) -> TunedNetwork:
    options = {"shape": SHAPE, "horizon": HORIZON, "step_s": STEP_S, "units": 8} | changes
    return TunedNetwork(MEAN, STD, **options).eval()


def learned(network: TunedNetwork) -> TunedNetwork:
    """A network whose every weight plays a part; the last layers start as zeros."""
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(0.3 * torch.randn_like(weight))
    return network


def histories(number: int = 5, context: int = SHAPE.context, seed: int = 0) -> torch.Tensor:
    """Positive histories (number, context, 2) with a day, in the units of ``MEAN``."""
    random = np.random.default_rng(seed)
    ages = np.arange(context)[None, :, None]
    day = 1.0 + 0.3 * np.sin(2 * np.pi * ages / 72 + random.uniform(0, 6, (number, 1, 2)))
    return torch.from_numpy(MEAN * day * random.uniform(0.8, 1.2, (number, context, 2)))


def clocks(number: int = 5) -> torch.Tensor:
    return torch.linspace(0.0, 2.5 * WEEK_S, number, dtype=torch.float64)


def known(*counts: float) -> torch.Tensor:
    return torch.tensor(counts, dtype=torch.float64)


EVERYTHING = known(*[1e6] * 5)


# -- the layer of the paper ---------------------------------------------------------------------------------


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-values))


def slow_relu_lstm(layer: ReluLstm, inputs: np.ndarray) -> np.ndarray:
    """Hochreiter and Schmidhuber's equations with forget gates, one sequence (steps, inputs) at a time."""
    gates = "input", "forget", "output", "candidate"
    w = dict(zip(gates, np.split(layer.from_input.weight.detach().numpy(), 4), strict=True))
    b = dict(zip(gates, np.split(layer.from_input.bias.detach().numpy(), 4), strict=True))
    u = dict(zip(gates, np.split(layer.from_state.weight.detach().numpy(), 4), strict=True))
    h, c, states = np.zeros(layer.units), np.zeros(layer.units), []
    for x in inputs:
        i, f, o = (sigmoid(w[gate] @ x + u[gate] @ h + b[gate]) for gate in gates[:3])
        c = f * c + i * np.maximum(w["candidate"] @ x + u["candidate"] @ h + b["candidate"], 0.0)
        h = o * np.maximum(c, 0.0)
        states.append(h)
    return np.array(states)


def lively(layer: ReluLstm) -> ReluLstm:
    """The layer in float64, with random weights of which few leave a cell at 0."""
    for weight in layer.double().parameters():
        torch.nn.init.normal_(weight, std=0.7)
    torch.nn.init.uniform_(layer.from_input.bias, 0.2, 1.0)
    return layer


def test_relu_lstm_is_that_of_the_equations() -> None:
    layer = lively(ReluLstm(3, 5))
    inputs = torch.randn(7, 3, 4, dtype=torch.float64)  # (steps, inputs, n)
    got = layer(inputs).detach().numpy()
    assert got.shape == (7, 5, 4)
    assert (got > 0.0).mean() > 0.3  # not dead, or nothing was compared
    for sequence in range(4):
        expected = slow_relu_lstm(layer, inputs[:, :, sequence].numpy())
        np.testing.assert_allclose(got[:, :, sequence], expected, rtol=1e-12, atol=1e-14)


def test_gradients_of_relu_lstm() -> None:
    layer = lively(ReluLstm(2, 3))
    inputs = torch.randn(4, 2, 2, dtype=torch.float64, requires_grad=True)
    weights = [weight.detach().requires_grad_() for weight in layer.parameters()]
    names = [name for name, _ in layer.named_parameters()]

    def run(values: torch.Tensor, *given: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, dict(zip(names, given, strict=True)), (values,))

    assert (run(inputs, *weights) > 0.0).double().mean() > 0.3
    assert torch.autograd.gradcheck(run, (inputs, *weights))


def plain_relu_lstm(layer: ReluLstm, inputs: torch.Tensor) -> torch.Tensor:
    """Hidden states (steps, units, n), left to the automatic gradient."""
    hidden = cell = torch.zeros(layer.units, inputs.shape[2], dtype=inputs.dtype)
    states = []
    for values in inputs:
        both = layer.from_input(values.t()) + layer.from_state(hidden.t())
        entry, forget, leave, entering = both.t().chunk(4)
        cell = forget.sigmoid() * cell + entry.sigmoid() * entering.relu()
        hidden = leave.sigmoid() * cell.relu()
        states.append(hidden)
    return torch.stack(states)


@pytest.mark.parametrize("newest_only", [True, False])
def test_gradients_of_stacked_relu_lstms_in_float32(newest_only: bool) -> None:
    torch.manual_seed(0)
    layers = [lively(ReluLstm(2, 8)).float(), lively(ReluLstm(8, 8)).float()]
    inputs = torch.randn(6, 2, 16)
    weights = [weight for layer in layers for weight in layer.parameters()]
    results = []
    for run in (lambda layer, values: layer(values), plain_relu_lstm):
        states = run(layers[1], run(layers[0], inputs))
        results.append(torch.autograd.grad((states[-1:] if newest_only else states).square().mean(), weights))
    for got, expected in zip(*results, strict=True):
        assert expected.abs().max() > 1e-3
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_relu_lstm_does_not_hide_nan() -> None:
    layer, inputs = ReluLstm(2, 3), torch.ones(4, 2, 2)
    inputs[1, 0, 1] = torch.nan
    got = layer(inputs)
    assert got[:, :, 0].isfinite().all()
    assert got[0, :, 1].isfinite().all()
    assert got[1:, :, 1].isnan().all()


def test_relu_lstm_starts_as_in_keras() -> None:
    """Kernel (inputs, 4 units): up to sqrt(6 / (inputs + 4 units)); state kernel: orthonormal rows."""
    layer = ReluLstm(20, 50)
    limit = np.sqrt(6.0 / (20 + 200))
    kernel = layer.from_input.weight.detach().numpy()
    assert 0.99 * limit < np.abs(kernel).max() <= limit
    np.testing.assert_allclose(kernel.std(), limit / np.sqrt(3.0), rtol=0.05)
    state = layer.from_state.weight.detach().numpy().T  # (units, 4 units)
    np.testing.assert_allclose(state @ state.T, np.eye(50), atol=1e-5)
    bias = np.split(layer.from_input.bias.detach().numpy(), 4)
    assert [set(part) for part in bias] == [{0.0}, {1.0}, {0.0}, {0.0}]


# -- the network of the paper -------------------------------------------------------------------------------


@pytest.mark.parametrize(("num_features", "horizon", "expected"), [(1, 5, 50_245), (2, 5, 50_826)])
def test_parameters_of_the_paper_network(num_features: int, horizon: int, expected: int) -> None:
    network = PaperNetwork(np.zeros(num_features), np.ones(num_features), horizon=horizon)

    def lstm(inputs: int, units: int) -> int:
        return 4 * (units * inputs + units * units + units)

    outputs = horizon * num_features
    by_formula = lstm(num_features, 64) + lstm(64, 64) + 64 * outputs + outputs
    assert sum(weight.numel() for weight in network.parameters()) == by_formula == expected


def test_paper_network_scales_by_the_range_of_training() -> None:
    low, high = np.array([10.0, -2e9]), np.array([30.0, 2e9])
    network = PaperNetwork(low, high, horizon=3)
    values = torch.from_numpy(np.stack([low, high, (low + high) / 2, 2 * high - low]))
    np.testing.assert_allclose(network.scaled(values), [[0, 0], [1, 1], [0.5, 0.5], [2, 2]])
    history = torch.from_numpy(np.random.default_rng(0).uniform(low, high, (4, 10, 2)))
    got = network(history, clocks(4), EVERYTHING[:4]).detach().numpy()
    states = network.scaled(history).permute(1, 2, 0)
    for layer in network.layers:
        states = torch.from_numpy(
            np.stack([slow_relu_lstm(layer, each.detach().numpy()) for each in states.permute(2, 0, 1)], 2)
        ).float()
    scaled = network.dense(states[-1].t()).detach().numpy().reshape(4, 3, 2)
    np.testing.assert_allclose((got - low) / (high - low), scaled, rtol=1e-5, atol=1e-6)


def test_paper_network_in_other_units_is_the_same_network() -> None:
    low, high = np.array([0.25, 1.0]), np.array([0.75, 5.0])
    network, other = PaperNetwork(low, high, horizon=3), PaperNetwork(1024 * low, 1024 * high, horizon=3)
    other.load_state_dict({**network.state_dict(), "low": other.low, "span": other.span})
    history = torch.from_numpy(np.random.default_rng(0).uniform(low, high, (4, 10, 2)))
    got = other(1024 * history, clocks(4), EVERYTHING[:4])
    np.testing.assert_array_equal(got.detach(), 1024 * network(history, clocks(4), EVERYTHING[:4]).detach())


# -- what the tuned network looks at ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("window", "horizon", "step_s", "seasonal", "expected"),
    [
        (60, 5, 60.0, True, WindowShape(60, 1440, (5, 15, 30), 3)),
        (12, 3, 1200.0, True, WindowShape(12, 72, (1, 2), 3)),
        (60, 1, 3600.0, True, WindowShape(60, 24, (1,), 3)),
        (60, 5, 60.0, False, WindowShape(60, 0, (5, 15, 30), 3)),
        (60, 1, DAY_S / 2, True, WindowShape(60, 0, (1,), 3)),  # the day is no longer than what is ahead
        (60, 1, DAY_S / 3, True, WindowShape(60, 3, (1,), 3)),
    ],
)
def test_window_shape(window, horizon, step_s, seasonal, expected) -> None:
    shape = window_shape(window, horizon, step_s, seasonal)
    assert shape == expected
    days = 3 * expected.season + expected.half_widths[-1] if expected.season else 0
    assert shape.context == window + days


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("proportional", [True, False])
def test_untrained_network_forecasts_the_exponential_mean(cell: str, proportional: bool) -> None:
    network, history = tuned(cell=cell, proportional=proportional), histories()
    with torch.no_grad():
        got = network(history, clocks(), EVERYTHING).numpy()
    weights = (1.0 - 2.0 / 11.0) ** np.arange(12)[::-1]
    level = np.einsum("w,nwf->nf", weights / weights.sum(), history.numpy()[:, -12:])
    np.testing.assert_allclose(got, np.repeat(level[:, None], HORIZON, axis=1), rtol=1e-12)


def test_hybrid_untrained_adds_the_course_to_the_level() -> None:
    course = np.random.default_rng(0).uniform(1.0, 2.0, (504, 2)) * MEAN  # a week of 20 minutes
    network = HybridNetwork(
        0.0 * MEAN, STD, course=course, course_step_s=STEP_S, shape=window_shape(12, HORIZON, STEP_S, False),
        horizon=HORIZON, step_s=STEP_S, units=8,
    ).eval()  # fmt: skip
    history, clock_s = histories(context=12), STEP_S * known(11, 100, 502, 503, 504 * 3 + 20)
    got = network(history, clock_s, EVERYTHING).detach().numpy()
    weights = (1.0 - 2.0 / 11.0) ** np.arange(12)[::-1]
    for row, newest in enumerate([11, 100, 502, 503, 20]):
        past, ahead = newest + np.arange(-11, 1), newest + np.arange(1, HORIZON + 1)
        left = history[row].numpy() - course[past % 504]
        expected = weights @ left / weights.sum() + course[ahead % 504]
        np.testing.assert_allclose(got[row], expected, rtol=1e-10)


def test_loads_of_any_size_are_one_to_the_network_but_for_the_offset() -> None:
    """A load twice as large gets forecasts exactly twice as large, once the offset of the level is zero."""
    network, history = learned(tuned()), histories()
    single, double = (network.scaled(factor * history, clocks(), EVERYTHING) for factor in (1.0, 2.0))
    np.testing.assert_array_equal(double.window, single.window)
    np.testing.assert_array_equal(double.level, 2.0 * single.level)
    np.testing.assert_array_equal(double.scale, 2.0 * single.scale)
    differing = np.flatnonzero((double.summary != single.summary).any(axis=0))
    assert differing.tolist() == [4, 5]  # after two relative levels of two features each
    offset = (single.level[:, 0].numpy() - MEAN) / STD
    np.testing.assert_allclose(single.summary[:, 4:6], offset, rtol=1e-5)

    assert (
        network(2.0 * history, clocks(), EVERYTHING) != 2.0 * network(history, clocks(), EVERYTHING)
    ).any()
    with torch.no_grad():
        for layer, first in ((network.head[0], network.recurrent.hidden_size), (network.linear, 12 * 6)):
            layer.weight[:, first + 4 : first + 6] = 0.0
    doubled = network(2.0 * history, clocks(), EVERYTHING)
    np.testing.assert_array_equal(doubled.detach(), 2.0 * network(history, clocks(), EVERYTHING).detach())


def test_scale_has_a_floor_and_is_constant_where_levels_may_be_negative() -> None:
    """In between it is the deviation in training, at the level of a mean with span 30."""
    history = histories()
    slow = (1.0 - 2.0 / 31.0) ** np.arange(12)[::-1]
    level = np.einsum("w,nwf->nf", slow / slow.sum(), history.numpy()[:, -12:])
    usual = tuned().scaled(history, clocks(), EVERYTHING)
    np.testing.assert_allclose(usual.scale[:, 0], level / MEAN * STD, rtol=1e-12)
    tiny = tuned().scaled(1e-9 * history, clocks(), EVERYTHING)
    np.testing.assert_allclose(tiny.scale, np.broadcast_to(0.05 * STD, (5, 1, 2)))
    constant = tuned(proportional=False).scaled(-history, clocks(), EVERYTHING)
    np.testing.assert_allclose(constant.scale, np.broadcast_to(STD, (5, 1, 2)))


@pytest.mark.parametrize("options", [{"cell": "lstm"}, {"cell": "gru", "proportional": False}], ids=str)
def test_what_is_not_known_has_no_influence(options: dict[str, object]) -> None:
    """History that is not known may hold anything; the oldest day that is known matters."""
    network, history = learned(tuned(**options)), histories()
    for count, used in [(12, 12), (85, 12), (86, 86), (157, 86), (158, 158), (229, 158), (230, 230)]:
        counts = torch.full((5,), float(count), dtype=torch.float64)
        before = network(history, clocks(), counts).detach().numpy()
        for garbage in (0.0, -7e12, 1e300):
            spoiled = history.clone()
            spoiled[:, : SHAPE.context - used] = garbage
            after = network(spoiled, clocks(), counts).detach().numpy()
            np.testing.assert_array_equal(after, before)
        if used > 12:
            changed = history.clone()
            changed[:, SHAPE.context - 1 - (used - 14)] *= 1.5  # the same moment of that day
            assert (network(changed, clocks(), counts).detach().numpy() != before).any()


def test_seasonal_means_against_a_slow_loop() -> None:
    """Course and means of the three days, and of yesterday, gathered value by value."""
    network, history = tuned(), histories()
    for count, days in [(50, 0), (90, 1), (160, 2), (230, 3)]:
        batch = network.scaled(history, clocks(), torch.full((5,), float(count), dtype=torch.float64))
        level, scale = batch.level.numpy(), batch.scale.numpy()
        relative = np.clip((history.numpy() - level) / scale, -20.0, 20.0)
        every = [slow_season(relative, day) for day in range(1, days + 1)]
        zeros = slow_season(0.0 * relative, 1)
        course = np.mean([each[0] for each in every], axis=0) if every else zeros[0]
        means = np.mean([each[1] for each in every], axis=0) if every else zeros[1]
        yesterday = every[0][1] if every else zeros[1]
        np.testing.assert_allclose(batch.window[:, :, 4:], course, atol=1e-5)
        size = means.shape[1]
        np.testing.assert_allclose(batch.summary[:, 14 : 14 + size], means, atol=1e-5)
        np.testing.assert_allclose(batch.summary[:, 14 + size : 14 + 2 * size], yesterday, atol=1e-5)
        np.testing.assert_allclose(batch.summary[:, 14 + 2 * size :], days / 3)


def slow_season(relative: np.ndarray, day: int) -> tuple[np.ndarray, np.ndarray]:
    """Course (n, window, F) and means (n, ...) of one day, by their definitions."""
    now = SHAPE.context - 1 - day * 72  # one or more days before the newest sample

    def mean(center: int, half: int) -> np.ndarray:
        return relative[:, center - half : center + half + 1].mean(axis=1)  # (n, F)

    ages = range(SHAPE.window - 1, -1, -1)
    course = np.stack([mean(now - age + HORIZON, 1) - mean(now, 1) for age in ages], axis=1)
    means = []
    for half in (1, 2):
        ahead = np.stack([mean(now + step, half) - mean(now, half) for step in range(1, HORIZON + 1)], axis=2)
        means += [ahead.reshape(len(relative), -1), -mean(now, half)]
    return course, np.concatenate(means, axis=1)


def test_clock_features() -> None:
    network = tuned()
    clock_s = known(0.0, 6 * 3600.0, 3.5 * DAY_S, WEEK_S - STEP_S, 3 * WEEK_S + 1800.0)
    batch = network.scaled(histories(), clock_s, EVERYTHING)
    day = 2 * np.pi * clock_s.numpy() / DAY_S
    angles = np.stack([day, 2 * day, 3 * day, day / 7], axis=1)
    expected = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    np.testing.assert_allclose(batch.summary[:, 6:14], expected, atol=2e-5)
    hands = day[:, None] - 2 * np.pi * STEP_S / DAY_S * np.arange(11, -1, -1)
    np.testing.assert_allclose(batch.window[:, :, 2], np.sin(hands), atol=2e-5)
    np.testing.assert_allclose(batch.window[:, :, 3], np.cos(hands), atol=2e-5)


def test_the_same_time_of_another_week_is_the_same() -> None:
    network, clock_s = learned(tuned()), clocks()
    first = network(histories(), clock_s, EVERYTHING).detach().numpy()
    later = network(histories(), clock_s + 2 * WEEK_S, EVERYTHING).detach().numpy()
    np.testing.assert_allclose((later - first) / STD, 0.0, atol=1e-4)


def test_window_is_measured_from_its_level_and_clipped() -> None:
    network, history = tuned(), histories()
    history[0, -3] = 1e4 * torch.from_numpy(MEAN)
    batch = network.scaled(history, clocks(), EVERYTHING)
    relative = (history[:, -12:] - batch.level) / batch.scale
    np.testing.assert_allclose(batch.window[:, :, :2], relative.clamp(-20.0, 20.0), rtol=1e-5, atol=1e-6)
    assert float(batch.window.abs().max()) <= 20.0


# -- the weekly course of the hybrid ------------------------------------------------------------------------


@pytest.fixture
def weekly() -> HybridNetwork:
    course = np.random.default_rng(1).normal(0.0, 1.0, (168, 2))  # hours of a week
    return HybridNetwork(
        MEAN, STD, course=course, course_step_s=3600.0, shape=window_shape(12, HORIZON, STEP_S, False),
        horizon=HORIZON, step_s=STEP_S, units=8,
    )  # fmt: skip


def test_course_is_linear_between_its_samples(weekly: HybridNetwork) -> None:
    clock_s = np.random.default_rng(2).uniform(0.0, WEEK_S, (4, 50))
    got = weekly.at(torch.from_numpy(clock_s)).numpy()
    hours = np.arange(169) * 3600.0
    closed = np.concatenate([weekly.course.numpy(), weekly.course.numpy()[:1]])  # Sunday leads into Monday
    for feature in range(2):
        expected = np.interp(clock_s, hours, closed[:, feature])
        np.testing.assert_allclose(got[:, :, feature], expected, atol=1e-12)


def test_course_goes_around_at_the_end_of_the_week(weekly: HybridNetwork) -> None:
    course = weekly.course.numpy()
    clock_s = known(0.0, WEEK_S, 5 * WEEK_S, -3600.0, WEEK_S - 900.0, -1e-12)[None]
    got = weekly.at(clock_s).numpy()[0]
    sunday_last = 0.25 * course[-1] + 0.75 * course[0]
    expected = [course[0], course[0], course[0], course[-1], sunday_last, course[0]]
    np.testing.assert_allclose(got, expected, atol=1e-9)
