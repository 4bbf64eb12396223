"""Robust linear regression with coefficients of 0 or more, and a block bootstrap of it.

Residuals of neighbouring intervals are alike (windows overlap, queues remember), so whole blocks of intervals
are drawn. All that a weighted fit needs are sums of products over the rows, so that a resample costs one
small linear system.
"""

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from podgym.eval.calibration.constants import LEVEL
from podgym.forecasters.evaluation.significance import block_bootstrap_sums, politis_white_length

Floats = NDArray[np.float64]

NUM_RESAMPLES = 400
LEAST_BLOCK = 4
"""Intervals per block, at least: a minute of intervals of 15 s, twice the usual window of a rate."""
_HUBER = 1.345  # 95 % as efficient as least squares where errors are normal
_ITERATIONS = 30
_NEARLY_EXACT = 1e-9
_SINGULAR = 1e-10


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """Coefficients of a regression and how sure they are."""

    coefficients: Floats
    """(p,)"""
    replicates: Floats
    """(num_resamples, p) of the block bootstrap."""
    residuals: Floats
    """(n,) target less fit, in its unit."""
    weights: Floats
    """(n,) weights in the end: those given times Huber's."""

    @property
    def lower(self) -> Floats:
        """(p,) lower ends of the 95 % intervals."""
        return np.asarray(np.quantile(self.replicates, 0.5 * (1.0 - LEVEL), axis=0))

    @property
    def upper(self) -> Floats:
        """(p,) upper ends."""
        return np.asarray(np.quantile(self.replicates, 0.5 * (1.0 + LEVEL), axis=0))


def robust_regression(design: Floats, target: Floats, weights: Floats, *, seed: int = 0) -> Fit:
    """Fit ``target = design @ coefficients``, none below 0, with Huber's loss.

    Args:
        design: (n, p) rows in time order, p at most 4.
        target: (n,)
        weights: (n,) inverse variances up to a factor.
        seed: of the bootstrap.
    """
    scales = np.sqrt((weights[:, None] * design**2).sum(axis=0))
    scales = np.where(scales > 0.0, scales, 1.0)
    scaled = design / scales
    present = weights
    solution = np.zeros(design.shape[1])
    for iteration in range(_ITERATIONS):
        before = solution
        solution = _solved(_sums(scaled, target, present)[None, :])[0]
        present = weights * huber_weights(target - scaled @ solution, weights)
        if iteration > 0 and np.allclose(solution, before, rtol=1e-9, atol=0.0):
            break
    residuals = target - scaled @ solution
    sums = block_bootstrap_sums(
        _products(scaled, target, present), block_length(residuals * np.sqrt(present)), NUM_RESAMPLES, seed
    )
    return Fit(solution / scales, _solved(sums) / scales, residuals, present)


def block_length(residuals: Floats) -> int:
    """Return how many rows a block of the bootstrap should have, by the autocorrelation of residuals (n,)."""
    length = math.ceil(politis_white_length(residuals)) if len(residuals) > 1 else 1
    return max(min(max(length, LEAST_BLOCK), len(residuals) // 3), 1)


def huber_weights(residuals: Floats, weights: Floats) -> Floats:
    """Return (n,) Huber's weights of residuals whose inverse variances are ``weights`` up to a factor."""
    standardised = np.abs(residuals) * np.sqrt(weights)
    scale = 1.4826 * float(np.median(standardised))
    if scale <= _NEARLY_EXACT * float(np.abs(standardised).max(initial=0.0)):
        scale = max(_NEARLY_EXACT, float(np.sqrt(np.mean(standardised**2))))
    return np.asarray(np.minimum(1.0, _HUBER * scale / np.maximum(standardised, 1e-300)))


def _products(design: Floats, target: Floats, weights: Floats) -> Floats:
    """Return (n, p * p + p): weighted products of every row with itself and with the target."""
    own = (weights[:, None, None] * design[:, :, None] * design[:, None, :]).reshape(len(design), -1)
    return np.concatenate([own, weights[:, None] * design * target[:, None]], axis=1)


def _sums(design: Floats, target: Floats, weights: Floats) -> Floats:
    return np.asarray(_products(design, target, weights).sum(axis=0))


def _solved(sums: Floats) -> Floats:
    """Solve least squares with coefficients of 0 or more from sums of products, (B, p * p + p) -> (B, p).

    With so few coefficients every choice of those above 0 is tried, and the best allowed one taken.
    """
    count = round((math.sqrt(1 + 4 * sums.shape[1]) - 1) / 2)
    squares = sums[:, : count * count].reshape(-1, count, count)
    products = sums[:, count * count :]
    best = np.zeros((len(sums), count))
    explained = np.zeros(len(sums))
    for size in range(1, count + 1):
        for chosen in combinations(range(count), size):
            index = np.array(chosen)
            inverse = np.linalg.pinv(squares[:, index[:, None], index], rcond=_SINGULAR, hermitian=True)
            solution = (inverse @ products[:, index, None])[:, :, 0]
            gain = (solution * products[:, index]).sum(axis=1)
            better = (solution >= 0.0).all(axis=1) & (gain > explained)
            explained[better] = gain[better]
            best[better] = 0.0
            best[np.ix_(better, index)] = solution[better]
    return best
