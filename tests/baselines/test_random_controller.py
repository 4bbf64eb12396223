import pytest
from oracles.observations import blind, service, wanted

from podgym.baselines.random_controller import RandomController
from podgym.errors import InputError


def draws(controller, count, replicas=5, **fields):
    return [
        wanted(controller, service(replicas, now_s=15.0 * k, **fields), now_s=15.0 * k)[0] or replicas
        for k in range(count)
    ]


def test_uniform_draws_reach_every_count_equally_often():
    counts = draws(RandomController(period_s=0.0), 4000, replicas=5, min_replicas=2, max_replicas=9)
    assert set(counts) == set(range(2, 10))
    assert all(400 < counts.count(n) < 600 for n in range(2, 10))


def test_a_walk_takes_small_steps_within_bounds():
    counts = draws(RandomController(kind="walk", period_s=0.0, largest_step=2), 1000, min_replicas=4)
    assert set(counts) == {4, 5, 6, 7}


def test_seeds_repeat_and_differ():
    first, second = (draws(RandomController(seed=seed, period_s=0.0), 30) for seed in (1, 2))
    controller = RandomController(seed=1, period_s=0.0)
    assert draws(controller, 30) == first != second
    controller.reset()
    assert draws(controller, 30) == first


def test_a_count_is_kept_for_its_period():
    controller = RandomController(period_s=60.0)
    decided = [wanted(controller, service(5, now_s=15.0 * k), now_s=15.0 * k)[0] for k in range(40)]
    assert all(count is None for k, count in enumerate(decided) if k % 4)
    assert sum(count is not None for count in decided[::4]) >= 8


def test_without_fresh_metrics_it_only_scales_up():
    controller = RandomController(period_s=0.0)
    counts = {wanted(controller, blind(25), now_s=float(k))[0] for k in range(500)}
    assert None in counts
    assert min(count for count in counts if count is not None) == 26


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "gauss"}, "allowed: uniform, walk"),
        ({"seed": -1}, "seed"),
        ({"period_s": -1.0}, "period_s"),
        ({"largest_step": 0}, "largest_step"),
        ({"max_sample_age_s": True}, "max_sample_age_s"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        RandomController(**options)
