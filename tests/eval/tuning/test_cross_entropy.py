"""The cross-entropy method finds what it is to find."""

import numpy as np
import pytest

from podgym.errors import InputError
from podgym.eval.tuning.cross_entropy import CrossEntropy, CrossEntropySettings
from podgym.eval.tuning.proposers import WeightProposer

CENTRE = np.linspace(-0.8, 0.8, 20)


def quadratic(vectors):
    """Elliptic with a ratio of axes of 10, so that plain averaging is not enough."""
    return (np.linspace(1.0, 10.0, 20) * (vectors - CENTRE) ** 2).sum(axis=1)


def minimise(generations, seed=0, settings=None, cost=quadratic):
    method = CrossEntropy(20, seed, settings)
    for _ in range(generations):
        vectors = method.draw()
        method.learn(vectors, cost(vectors))
    return method


def test_it_finds_the_least_of_a_quadratic():
    start, end = minimise(0), minimise(150)
    assert quadratic(start.mean[None])[0] > 20.0
    assert quadratic(end.mean[None])[0] < 0.1
    assert end.mean == pytest.approx(CENTRE, abs=0.12)


def test_equal_seeds_equal_searches():
    assert np.array_equal(minimise(5, seed=3).mean, minimise(5, seed=3).mean)
    assert not np.array_equal(minimise(5, seed=3).mean, minimise(5, seed=4).mean)


def test_a_step_is_the_smoothed_elite():
    method = CrossEntropy(
        1, 0, CrossEntropySettings(population=4, elite_share=0.5, smoothing=0.25, initial_deviation=1.0)
    )
    method.learn(np.array([[8.0], [4.0], [-50.0], [6.0]]), [0.2, 0.1, 9.0, 0.3])
    assert method.mean == pytest.approx([0.25 * 6.0])  # of 8 and 4
    assert method.deviation == pytest.approx([0.75 * 1.0 + 0.25 * 2.0])


def test_the_deviation_keeps_its_floor():
    method = minimise(60, settings=CrossEntropySettings(noise_floor=0.03))
    assert method.deviation.min() >= 0.03


def test_what_could_not_be_run_is_never_among_the_best():
    def cost(vectors):
        return np.where(np.arange(len(vectors)) % 2, np.inf, quadratic(vectors))

    assert quadratic(minimise(120, cost=cost).mean[None])[0] < 1.0
    method = CrossEntropy(20, 0)
    method.learn(method.draw(), np.full(40, np.inf))
    assert not method.mean.any()


def test_a_generation_begins_with_the_mean():
    method = minimise(3)
    assert np.array_equal(method.draw()[0], method.mean)


def test_a_part_of_a_generation_teaches_nothing():
    proposer = WeightProposer(CrossEntropy(3, 0))
    assert len(proposer.ask(7)) == 7
    proposer.tell([0.0] * 7)
    assert proposer.ask(1) == [{"weights": (0.0, 0.0, 0.0)}]
    proposals = proposer.ask(40)
    proposer.tell([float(np.sum(proposal["weights"])) for proposal in proposals])
    assert sum(proposer.ask(1)[0]["weights"]) < -0.1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"population": 1}, "population is 1; it must be a whole number from 2"),
        ({"elite_share": 0.0}, "elite_share is 0.0; it must be above 0"),
        ({"smoothing": 1.5}, "smoothing is 1.5"),
        ({"noise_floor": -1.0}, "noise_floor is -1.0"),
        ({"initial_deviation": float("nan")}, "initial_deviation is nan"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(InputError, match=message):
        CrossEntropySettings(**settings)
