"""The controller that plays a fixed schedule."""

import numpy as np
import pytest

from podgym.baselines.schedule import ScheduleController
from podgym.envs.cluster import ClusterObservation, Quota, ServiceDecision, ServiceView
from podgym.errors import InputError


def observation(*bounds):
    services = tuple(
        ServiceView(f"s{i}", 3, 3, 3, low, high, Quota(1, 1, 1, 1), None, *[float("nan")] * 4, ())
        for i, (low, high) in enumerate(bounds)
    )
    return ClusterObservation(0.0, services)


def test_it_plays_line_by_line_then_the_last_one_and_begins_anew_after_a_reset():
    controller = ScheduleController([[2, 5], [3, 6]], name="plan b")
    seen = observation((1, 10), (1, 10))
    assert controller.name == "plan b"
    lines = [[decision.replicas for decision in controller.decide(seen)] for _ in range(3)]
    assert lines == [[2, 5], [3, 6], [3, 6]]
    controller.reset()
    assert controller.decide(seen) == (ServiceDecision(replicas=2), ServiceDecision(replicas=5))


def test_it_stays_within_the_bounds_of_a_service():
    controller = ScheduleController([[1], [99]])
    seen = observation((2, 8))
    assert [controller.decide(seen)[0].replicas for _ in range(2)] == [2, 8]


def test_quotas_are_part_of_the_decision():
    quota = [0.5, 1.0, 256.0, 512.0]
    controller = ScheduleController([[4]], [[quota]])
    assert controller.decide(observation((1, 8))) == (ServiceDecision(4, *quota),)


def test_a_schedule_given_as_arrays_does_not_change_when_they_do():
    replicas = np.array([[4]])
    controller = ScheduleController(replicas)
    replicas[0, 0] = 7
    assert controller.decide(observation((1, 8)))[0].replicas == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([3, 4],), r"shape \(2,\); it must be \(num_steps, num_services\)"),
        ((np.zeros((0, 1)),), r"shape \(0, 1\)"),
        (([[1], [0]],), r"replicas\[1, 0\] of a schedule is 0; it must be a whole number of 1 or more"),
        (([[2.5]],), "is 2.5"),
        (([[np.nan]],), "is nan"),
        (([["x"]],), "must be an array of numbers"),
        (([[1]], [[[1.0, 2.0, 3.0]]]), r"shape \(1, 1, 3\); .* must be \(1, 1, 4\)"),
        (([[1]], [[[1.0, 0.5, 3.0, 3.0]]]), r"quotas\[0, 0\] .* number 1 must be positive"),
        (([[1]], [[[1.0, 1.0, -3.0, 3.0]]]), "number 2 must be positive"),
    ],
)
def test_what_is_no_schedule_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        ScheduleController(*arguments)


def test_a_schedule_for_other_services_is_refused():
    with pytest.raises(InputError, match="is for 1 services; the cluster has 2"):
        ScheduleController([[1]]).decide(observation((1, 8), (1, 8)))
