"""Random numbers inside kernels: xoshiro256++ streams, several per cluster.

Each cluster owns its streams, so what happens in it never depends on its neighbours: cluster i of a batch
equals the same cluster run alone. Load and faults, pods, monitoring and forecasts draw from streams of
their own, so that two controllers meet the very same load and the same failures however many pods each
of them starts. Algorithm: Blackman and Vigna,
"Scrambled linear pseudorandom number generators", 2021.
"""

import math

import numpy as np
from numpy.typing import NDArray

from podgym.envs.simulator.compile import kernel

STATE_WORDS = 4
LOAD, FAULTS, PODS, MONITORING, FORECAST = range(5)
STREAMS = 5

# Coefficients of AS 241 in Horner order, after the leading one.
_CENTRE_TOP = (
    3.3430575583588128105e4,
    6.7265770927008700853e4,
    4.5921953931549871457e4,
    1.3731693765509461125e4,
    1.9715909503065514427e3,
    1.3314166789178437745e2,
    3.3871328727963666080e0,
)
_CENTRE_BOTTOM = (
    2.8729085735721942674e4,
    3.9307895800092710610e4,
    2.1213794301586595867e4,
    5.3941960214247511077e3,
    6.8718700749205790830e2,
    4.2313330701600911252e1,
    1.0,
)
_MIDDLE_TOP = (
    2.27238449892691845833e-2,
    2.41780725177450611770e-1,
    1.27045825245236838258e0,
    3.64784832476320460504e0,
    5.76949722146069140550e0,
    4.63033784615654529590e0,
    1.42343711074968357734e0,
)
_MIDDLE_BOTTOM = (
    5.47593808499534494600e-4,
    1.51986665636164571966e-2,
    1.48103976427480074590e-1,
    6.89767334985100004550e-1,
    1.67638483018380384940e0,
    2.05319162663775882187e0,
    1.0,
)
_TAIL_TOP = (
    2.71155556874348757815e-5,
    1.24266094738807843860e-3,
    2.65321895265761230930e-2,
    2.96560571828504891230e-1,
    1.78482653991729133580e0,
    5.46378491116411436990e0,
    6.65790464350110377720e0,
)
_TAIL_BOTTOM = (
    1.42151175831644588870e-7,
    1.84631831751005468180e-5,
    7.86869131145613259100e-4,
    1.48753612908506148525e-2,
    1.36929880922735805310e-1,
    5.99832206555887937690e-1,
    1.0,
)


@kernel
def _rotate_left(word: np.uint64, bits: int) -> np.uint64:
    return (word << np.uint64(bits)) | (word >> np.uint64(64 - bits))


@kernel
def next_word(state: NDArray[np.uint64]) -> np.uint64:
    """Advance one stream, shape (4,), and return 64 random bits."""
    result = _rotate_left(state[0] + state[3], 23) + state[0]
    shifted = state[1] << np.uint64(17)
    state[2] ^= state[0]
    state[3] ^= state[1]
    state[1] ^= state[2]
    state[0] ^= state[3]
    state[2] ^= shifted
    state[3] = _rotate_left(state[3], 45)
    return result


@kernel
def uniform(state: NDArray[np.uint64]) -> float:
    """Return a number in (0, 1): never 0, so that its logarithm is finite."""
    return (float(next_word(state) >> np.uint64(11)) + 0.5) * (1.0 / 9007199254740992.0)


@kernel
def normal_quantile(probability: float) -> float:
    """Inverse of the standard normal distribution, to about 1e-16 (Wichura, algorithm AS 241, 1988)."""
    centred = probability - 0.5
    if abs(centred) <= 0.425:
        r = 0.180625 - centred * centred
        top = 2.5090809287301226727e3
        for factor in _CENTRE_TOP:
            top = top * r + factor
        bottom = 5.2264952788528545610e3
        for factor in _CENTRE_BOTTOM:
            bottom = bottom * r + factor
        return centred * top / bottom
    r = math.sqrt(-math.log(min(probability, 1.0 - probability)))
    if r <= 5.0:
        r -= 1.6
        top = 7.74545014278341407640e-4
        for factor in _MIDDLE_TOP:
            top = top * r + factor
        bottom = 1.05075007164441684324e-9
        for factor in _MIDDLE_BOTTOM:
            bottom = bottom * r + factor
    else:
        r -= 5.0
        top = 2.01033439929228813265e-7
        for factor in _TAIL_TOP:
            top = top * r + factor
        bottom = 2.04426310338993978564e-15
        for factor in _TAIL_BOTTOM:
            bottom = bottom * r + factor
    return math.copysign(top / bottom, centred)


@kernel
def normal(state: NDArray[np.uint64]) -> float:
    """Return a standard normal number, from one uniform."""
    return normal_quantile(uniform(state))


@kernel
def exponential(state: NDArray[np.uint64]) -> float:
    """Return an exponential number of mean 1."""
    return -math.log(uniform(state))


@kernel
def log_normal(state: NDArray[np.uint64], sigma: float) -> float:
    """Return a log-normal number of mean 1; ``sigma`` is the standard deviation of its logarithm.

    A coefficient of variation v means ``sigma = sqrt(ln(1 + v^2))``. Always takes one number from the
    stream, also for sigma 0, so that a changed sigma does not shift what comes later.
    """
    return math.exp(sigma * normal(state) - 0.5 * sigma * sigma)
