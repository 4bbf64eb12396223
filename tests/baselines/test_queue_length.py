import math

import pytest
from oracles.observations import blind, service, wanted

from podgym.baselines.queue_length import QueueLengthController
from podgym.errors import InputError


def queue(in_flight, replicas=4, now_s=0.0, **fields):
    return service(replicas, now_s=now_s, in_flight=in_flight, **fields)


@pytest.mark.parametrize(
    ("in_flight", "target", "replicas"),
    [(4.0, 1.0, None), (4.4, 1.0, None), (4.5, 1.0, 5), (11.0, 2.0, 6), (100.0, 2.0, 8), (1.5, 0.25, 6)],
)
def test_replicas_are_the_queue_over_the_target(in_flight, target, replicas):
    assert wanted(QueueLengthController(target_per_replica=target), queue(in_flight)) == [replicas]


def test_an_empty_queue_scales_to_the_minimum_after_the_window():
    controller = QueueLengthController(downscale_stabilization_s=30.0)
    counts = [wanted(controller, queue(0.0, now_s=t, min_replicas=2), now_s=t)[0] for t in (0.0, 30.0, 45.0)]
    assert counts == [None, None, 2]
    controller.reset()
    assert wanted(controller, queue(0.0, now_s=60.0), now_s=60.0) == [None]


def test_an_unknown_queue_changes_nothing():
    controller = QueueLengthController(downscale_stabilization_s=0.0)
    wanted(controller, queue(4.0))
    assert wanted(controller, blind(4), now_s=15.0) == [None]
    assert wanted(controller, queue(math.nan), now_s=30.0) == [None]
    assert wanted(controller, queue(0.0), now_s=200.0) == [None]


@pytest.mark.parametrize(
    "options",
    [
        {"target_per_replica": 0.0},
        {"tolerance": -0.1},
        {"downscale_stabilization_s": math.inf},
        {"max_sample_age_s": None},
    ],
)
def test_options_that_mean_nothing_are_refused(options):
    with pytest.raises(InputError, match=next(iter(options))):
        QueueLengthController(**options)
