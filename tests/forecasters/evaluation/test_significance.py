"""Bootstrap, Diebold-Mariano and Holm: by hand, against slow second implementations, and by simulation."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from podgym.errors import InputError
from podgym.forecasters.evaluation import significance
from podgym.forecasters.evaluation.measures import rmse
from podgym.forecasters.evaluation.significance import (
    Resampling,
    block_bootstrap_sums,
    bootstrap_rmse,
    bootstrap_rmse_improvement,
    diebold_mariano,
    holm,
    politis_white_length,
)

NAN = math.nan
values = st.floats(-100, 100, allow_subnormal=False).map(lambda x: round(x, 3))


def autoregression(random, num_series, n, phi, burn_in=100):
    """Return (num_series, n) stationary series of x_t = phi x_(t-1) + noise of variance 1."""
    series = random.normal(size=(num_series, n + burn_in))
    for t in range(1, n + burn_in):
        series[:, t] += phi * series[:, t - 1]
    return series[:, burn_in:]


# --- the resampling itself


@settings(max_examples=80, deadline=None)
@given(st.data(), st.integers(1, 12), st.integers(1, 3), st.integers(0, 99))
def test_sums_are_those_of_the_drawn_rows(data, n, num_columns, seed):
    columns = data.draw(arrays(np.float64, (n, num_columns), elements=values))
    length = data.draw(st.integers(1, n))
    got = block_bootstrap_sums(columns, length, 5, seed)
    starts = np.random.default_rng(seed).integers(n, size=(5, n // length + 1))
    for k in range(5):
        rows = [(start + i) % n for start in starts[k, :-1] for i in range(length)]
        rows += [(starts[k, -1] + i) % n for i in range(n % length)]
        assert len(rows) == n
        assert got[k] == pytest.approx(columns[rows].sum(axis=0), rel=1e-12, abs=1e-9)


def test_variance_of_a_resampled_sum_is_that_of_its_blocks():
    # 30 blocks of 7 and one of 3, independent, each evenly drawn from the ring.
    series = autoregression(np.random.default_rng(1), 1, 213, 0.7)[0]
    ring = np.concatenate((series, series))
    sums = {length: [ring[i : i + length].sum() for i in range(213)] for length in (7, 3)}
    exact = 30 * np.var(sums[7]) + np.var(sums[3])
    drawn = block_bootstrap_sums(series[:, None], 7, 20_000, seed=2)[:, 0]
    assert np.var(drawn) == pytest.approx(exact, rel=0.04)  # its own standard error is 1 %
    assert drawn.mean() == pytest.approx(series.sum(), abs=4 * math.sqrt(exact / 20_000))


def test_draws_depend_on_the_seed_and_not_on_the_chunks(monkeypatch):
    columns = np.random.default_rng(4).normal(size=(50, 2))
    whole = block_bootstrap_sums(columns, 4, 100, seed=7)
    assert not np.array_equal(whole, block_bootstrap_sums(columns, 4, 100, seed=8))
    monkeypatch.setattr(significance, "_CHUNK_VALUES", 300)
    assert np.array_equal(whole, block_bootstrap_sums(columns, 4, 100, seed=7))


def test_memory_stays_small_with_many_origins():
    losses = np.random.default_rng(9).gamma(1.0, size=(20_000, 5))
    tracemalloc.start()
    bootstrap_rmse(losses, Resampling(num_resamples=2000, block_length=27))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 80e6  # the matrix of resampled rows alone would be 320 MB for one column


# --- block length


def test_block_length_of_a_published_case():
    # Test of the Python package arch: 15.60894 for the circular bootstrap of this series.
    series = np.random.RandomState(0).standard_normal(10_100)
    for t in range(1, len(series)):
        series[t] += 0.3 * series[t - 1]
    assert politis_white_length(series[100:]) == pytest.approx(15.60894, rel=1e-6)


def test_block_length_approaches_that_of_the_true_autocovariances():
    # AR(1): the sum of |k| R(k) over that of R(k) is r = 2 phi / (1 - phi^2), and b = (1.5 n r^2)^(1/3).
    phi, n = 0.6, 4000
    true = (1.5 * n * (2 * phi / (1 - phi**2)) ** 2) ** (1 / 3)
    found = [politis_white_length(each) for each in autoregression(np.random.default_rng(3), 40, n, phi)]
    assert np.median(found) == pytest.approx(true, rel=0.15)


def test_block_length_keeps_within_its_bounds():
    assert politis_white_length(np.full(50, 3.0)) == 1.0
    assert politis_white_length(np.array([1.0, 2.0])) == 1.0
    walk = np.random.default_rng(2).normal(size=900).cumsum()
    assert politis_white_length(walk) <= 90.0  # 3 sqrt(900)
    errors = np.random.default_rng(6).gamma(1.0, size=(400, 12))
    assert bootstrap_rmse(errors, Resampling(num_resamples=10)).block_length >= 12
    assert bootstrap_rmse(errors[:8], Resampling(num_resamples=10)).block_length == 8


# --- intervals


def test_estimate_is_the_rmse_of_the_measured_pairs():
    random = np.random.default_rng(8)
    actual, mean = random.normal(size=(2, 300, 3))
    actual[random.random(actual.shape) < 0.2] = NAN
    expected = rmse(actual, mean)
    got = bootstrap_rmse((mean - actual) ** 2, Resampling(num_resamples=400))
    assert [each.estimate for each in got.by_step] == pytest.approx(expected.by_step.tolist(), rel=1e-12)
    assert got.pooled.estimate == pytest.approx(expected.pooled, rel=1e-12)
    for each in (*got.by_step, got.pooled):
        assert each.lower < each.estimate < each.upper
    # Three steps hold more than one does.
    widths = [each.upper - each.lower for each in got.by_step]
    assert got.pooled.upper - got.pooled.lower < min(widths)


def test_percentiles_are_those_of_the_resampled_ratio():
    losses = np.array([[1.0], [4.0], [NAN], [16.0], [0.25]])
    got = bootstrap_rmse(losses, Resampling(num_resamples=200, level=0.5, block_length=2, seed=3)).pooled
    starts = np.random.default_rng(3).integers(5, size=(200, 3))
    roots = []
    for first, second, last in starts:
        rows = [first, (first + 1) % 5, second, (second + 1) % 5, last]
        roots.append(math.sqrt(np.nanmean(losses[rows])))
    assert (got.lower, got.upper) == pytest.approx(np.quantile(roots, (0.25, 0.75)), rel=1e-12)


def test_one_block_of_all_origins_leaves_no_uncertainty():
    losses = np.random.default_rng(8).gamma(1.0, size=(30, 2))
    got = bootstrap_rmse(losses, Resampling(num_resamples=50, block_length=30)).pooled
    assert (got.lower, got.upper) == pytest.approx((got.estimate, got.estimate), rel=1e-12)


def test_improvement_by_a_fixed_share_is_certain():
    reference = np.random.default_rng(8).gamma(1.0, size=(300, 2))
    got = bootstrap_rmse_improvement(0.81 * reference, reference, Resampling(num_resamples=100))
    for each in (*got.by_step, got.pooled):  # 1 - sqrt(0.81), whatever is drawn: the draws are paired
        assert (each.estimate, each.lower, each.upper) == pytest.approx((0.1, 0.1, 0.1), rel=1e-9)


def test_pairing_narrows_the_interval_of_an_improvement():
    random = np.random.default_rng(8)
    hard = random.gamma(0.5, size=(500, 1))  # what is hard is hard for both
    own, reference = (hard * random.uniform(0.9, 1.1, size=hard.shape) for _ in range(2))
    paired = bootstrap_rmse_improvement(own, reference).pooled
    unpaired = bootstrap_rmse(own).pooled
    assert paired.upper - paired.lower < 0.2 * (unpaired.upper - unpaired.lower) / unpaired.estimate


def test_improvement_leaves_out_what_either_did_not_judge():
    own = np.array([[1.0], [NAN], [4.0], [9.0]])
    reference = np.array([[4.0], [100.0], [NAN], [16.0]])
    got = bootstrap_rmse_improvement(own, reference, Resampling(num_resamples=20, block_length=4))
    assert got.pooled.estimate == pytest.approx(1 - math.sqrt(10 / 20))


def test_undefined_statistics_are_nan():
    losses = np.array([[1.0, NAN], [2.0, NAN], [3.0, NAN]])
    never = bootstrap_rmse(losses, Resampling(num_resamples=20)).by_step[1]
    assert all(math.isnan(each) for each in (never.estimate, never.lower, never.upper))
    perfect = bootstrap_rmse_improvement(losses, np.zeros_like(losses), Resampling(num_resamples=20))
    assert math.isnan(perfect.pooled.estimate)


def coverage_of_rmse(phi, n, block_length):
    """Return how often a 90 % interval of the RMSE of n autocorrelated errors holds the true one."""
    true = math.sqrt(1 / (1 - phi**2))
    errors = autoregression(np.random.default_rng(1), 400, n, phi)
    hits = 0
    for k, each in enumerate(errors):
        how = Resampling(num_resamples=200, level=0.9, block_length=block_length, seed=k)
        got = bootstrap_rmse(each[:, None] ** 2, how).pooled
        hits += got.lower <= true <= got.upper
    return hits / len(errors)


def test_blocks_keep_the_promise_of_intervals_where_independent_draws_do_not():
    # Squared errors are autocorrelated by 0.49^lag: their mean varies (1 + 0.49) / (1 - 0.49) = 2.9 times as
    # much as that of independent ones, so independent draws cover P(|Z| < 1.645 / sqrt(2.9)) = 67 %. Blocks
    # come close to 90 %, but do not reach it with 600 origins: 85.5 % in 2,000 series. The standard error
    # here is 1.8 points.
    assert 0.80 <= coverage_of_rmse(0.7, 600, None) <= 0.91
    assert 0.57 <= coverage_of_rmse(0.7, 600, 1) <= 0.73


def test_intervals_of_independent_errors_keep_their_promise():
    assert 0.85 <= coverage_of_rmse(0.0, 300, None) <= 0.95


def test_interval_of_an_improvement_holds_the_true_one():
    random = np.random.default_rng(11)
    hits = 0
    for k in range(200):
        shared, own, others = autoregression(random, 3, 500, 0.6)
        # Variances 1 + 0.25 and 1 + 1 in units of one series: 1 - sqrt(1.25 / 2).
        pair = ((shared + 0.5 * own) ** 2)[:, None], ((shared + others) ** 2)[:, None]
        how = Resampling(num_resamples=300, level=0.9, seed=k)
        got = bootstrap_rmse_improvement(*pair, how).pooled
        hits += got.lower <= 1 - math.sqrt(1.25 / 2) <= got.upper
    assert 0.83 <= hits / 200 <= 0.96


# --- Diebold-Mariano

# Out-of-sample errors of exponential smoothing and ARIMA for the last 20 minutes of R's WWWusage, the
# example of dm.test in R's package forecast; errors and p-values as printed in the tests of Julia's
# HypothesisTests.
SMOOTHING = np.array(
    [0.002241270, -0.000661906, -1.200002613, -4.000218178, 3.799373533, 3.401005111, -1.199692125,
     -0.800490048, -1.200048999, 3.399847229, 7.000708948, 2.200989241, -4.800165569, -1.201043375,
     3.400167556, 3.000709085, 0.400267950, -6.800169207, -2.401259050, 1.200112198]
)  # fmt: skip
ARIMA = np.array(
    [0.1209998, 8.0622269, -0.9189429, -1.7952436, 5.3431277, 2.0459823, -0.6073261, 0.5516816, -0.7633238,
     4.1229472, 5.8785333, 1.2828331, -3.4854233, 1.1971370, 3.1709314, 2.3408457, 0.4962286, -5.9841362,
     0.1537114, 0.4207951]
)  # fmt: skip


@pytest.mark.parametrize(
    ("loss", "horizon", "p_value"), [(np.square, 1, 0.8871), (np.square, 10, 0.9362), (np.abs, 1, 0.7818)]
)
def test_diebold_mariano_of_a_published_example(loss, horizon, p_value):
    pytest.importorskip("scipy")
    assert diebold_mariano(loss(SMOOTHING), loss(ARIMA), horizon).p_value == pytest.approx(p_value, abs=6e-5)


def test_diebold_mariano_by_hand():
    pytest.importorskip("scipy")
    # Differences 1, 2, 3, 6: mean 3, variance (4 + 1 + 0 + 9) / 4 = 3.5, so 3 / sqrt(3.5 / 4) = 3.2071,
    # times sqrt((4 + 1 - 2 + 0) / 4) = 0.8660. At one step it is the t test of the mean, and Student's t of
    # 3 degrees of freedom has the law 1/2 + (x / (1 + x^2) + atan x) / pi with x = t / sqrt(3).
    got = diebold_mariano([2.0, 3.0, 5.0, 7.0], [1.0, 1.0, 2.0, 1.0], horizon=1)
    assert got.statistic == pytest.approx(3 / math.sqrt(3.5 / 4) * math.sqrt(3 / 4), rel=1e-14)
    x = got.statistic / math.sqrt(3)
    assert got.p_value == pytest.approx(1 - 2 * (x / (1 + x * x) + math.atan(x)) / math.pi, rel=1e-12)
    assert (got.mean_difference, got.n, got.weights) == (3.0, 4, "rectangular")


def test_diebold_mariano_falls_back_on_bartlett_weights():
    pytest.importorskip("scipy")
    # Differences 2, 0, 2, 0: centred 1, -1, 1, -1 with autocovariances 1 and -3/4. Equal weights give 1 -
    # 1.5 < 0, Bartlett's 1 - 0.75 = 0.25: 1 / sqrt(0.25 / 4) = 4, times sqrt((4 + 1 - 4 + 2 / 4) / 4) =
    # 0.61237.
    got = diebold_mariano([2.0, 0.0, 2.0, 0.0], [0.0, 0.0, 0.0, 0.0], horizon=2)
    assert got.weights == "bartlett"
    assert got.statistic == pytest.approx(4 * math.sqrt(1.5 / 4), rel=1e-14)


def slow_diebold_mariano(difference, horizon):
    """Return the statistic from the formulas of the papers; nan: unknown, in sums over known pairs."""
    known = [t for t, d in enumerate(difference) if not math.isnan(d)]
    n = len(known)
    mean = math.fsum(difference[t] for t in known) / n

    def covariance(lag):
        pairs = [(t, t - lag) for t in known if t - lag in known]
        return math.fsum((difference[t] - mean) * (difference[s] - mean) for t, s in pairs) / n

    variance = covariance(0) + 2 * math.fsum(covariance(lag) for lag in range(1, horizon))
    factor = (n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n
    return mean / math.sqrt(variance / n) * math.sqrt(factor) if variance > 1e-9 else None


@settings(max_examples=100, deadline=None)
@given(
    arrays(np.float64, st.integers(6, 15), elements=st.one_of(values, st.just(NAN))),
    st.integers(1, 4),
)
def test_diebold_mariano_against_its_formulas(difference, horizon):
    pytest.importorskip("scipy")
    if np.isfinite(difference).sum() <= horizon:
        with pytest.raises(InputError, match="Judge more origins"):
            diebold_mariano(difference, np.zeros_like(difference), horizon)
        return
    expected = slow_diebold_mariano(difference.tolist(), horizon) if np.nanmax(np.abs(difference)) else 0.0
    got = diebold_mariano(difference, np.zeros_like(difference), horizon)
    if expected is not None:
        assert got.statistic == pytest.approx(expected, rel=1e-6, abs=1e-12)
    assert 0.0 <= got.p_value <= 1.0
    swapped = diebold_mariano(np.zeros_like(difference), difference, horizon)
    assert swapped.statistic == pytest.approx(-got.statistic)
    assert swapped.p_value == pytest.approx(got.p_value)


def test_diebold_mariano_at_one_step_is_the_paired_t_test():
    stats = pytest.importorskip("scipy.stats")
    first, second = np.random.default_rng(1).gamma(1.0, size=(2, 40))
    got, expected = diebold_mariano(first, second, 1), stats.ttest_rel(first, second)
    assert (got.statistic, got.p_value) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-10)


def test_equal_losses_and_constant_differences():
    pytest.importorskip("scipy")
    losses = np.random.default_rng(1).integers(0, 50, size=30).astype(float)
    same = diebold_mariano(losses, losses, 3)
    assert (same.statistic, same.p_value, same.mean_difference) == (0.0, 1.0, 0.0)
    better = diebold_mariano(losses, losses + 1.0, 3)
    assert (better.statistic, better.p_value, better.mean_difference) == (-math.inf, 0.0, -1.0)


def rejections(shift, horizon, num_lags=None):
    """Return how often 5 % tests of n = 200 reject, with moving-average differences of order 3."""
    noise = np.random.default_rng(21).normal(size=(1000, 203))
    differences = shift + sum(noise[:, lag : lag + 200] for lag in range(4))
    nothing = np.zeros(200)
    return np.mean(
        [diebold_mariano(each, nothing, horizon, num_lags).p_value <= 0.05 for each in differences]
    )


def test_size_and_power_of_diebold_mariano():
    pytest.importorskip("scipy")
    # The true size is 6.3 % at n = 200 and 4.9 % at 1,000 (6,000 draws each); a standard error is 0.8 points.
    assert 0.03 <= rejections(0.0, horizon=4) <= 0.08
    # The mean has the standard deviation 4 / sqrt(200) = 0.28: a difference of 4 of them is nearly always
    # seen.
    assert rejections(4 * 0.283, horizon=4) > 0.95
    # Without the covariances its variance is taken for a quarter of what it is: P(|Z| > 0.98) = 33 %.
    assert 0.27 <= rejections(0.0, horizon=1) <= 0.39
    # More lags than the horizon asks for mend that.
    assert 0.03 <= rejections(0.0, horizon=1, num_lags=3) <= 0.08


# --- Holm


def test_holm_by_hand():
    # In order: 4 * 0.005, 3 * 0.01, then 2 * 0.03 = 0.06, and 1 * 0.04 raised to the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]).tolist() == [1.0, 1.0]
    assert holm([0.3]).tolist() == [0.3]
    assert holm([]).tolist() == []


def test_holm_against_statsmodels():
    multitest = pytest.importorskip("statsmodels.stats.multitest")

    @settings(max_examples=20, deadline=None)  # statsmodels collects garbage every time
    @given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=12))
    def agrees(p_values):
        expected = multitest.multipletests(p_values, method="holm")[1]
        assert holm(p_values) == pytest.approx(expected, rel=1e-12, abs=1e-300)

    agrees()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Resampling(num_resamples=0), "num_resamples is 0"),
        (lambda: Resampling(level=95.0), "level of an interval is 95.0"),
        (lambda: bootstrap_rmse(np.ones(5)), r"shape \(5,\)"),
        (lambda: bootstrap_rmse(-np.ones((5, 1))), "negative or infinite"),
        (lambda: bootstrap_rmse(np.full((5, 1), NAN)), "nan throughout"),
        (
            lambda: bootstrap_rmse(np.ones((5, 1)), Resampling(block_length=6)),
            "with 5 origins, allowed: 1 to 5",
        ),
        (lambda: bootstrap_rmse_improvement(np.ones((5, 1)), np.ones((5, 2))), r"but the reference \(5, 2\)"),
        (lambda: bootstrap_rmse_improvement([[1.0], [NAN]], [[NAN], [1.0]]), "no pair of losses"),
        (lambda: block_bootstrap_sums([[NAN]], 1, 1, 0), "must be finite"),
        (lambda: politis_white_length([1.0]), "2 or more finite values"),
        (lambda: diebold_mariano(np.ones(5), np.ones(4), 1), r"shapes \(5,\) and \(4,\)"),
        (lambda: diebold_mariano([math.inf, 1.0], [1.0, 2.0], 1), "a loss is infinite"),
        (lambda: diebold_mariano(np.ones(5), np.ones(5), 0), "horizon is 0"),
        (lambda: diebold_mariano(np.ones(5), np.zeros(5), 5), "with 4 lags needs at least 6"),
        (lambda: holm([0.1, NAN]), "from 0 to 1"),
        (lambda: holm([1.1]), "from 0 to 1"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(InputError, match=words):
        call()
