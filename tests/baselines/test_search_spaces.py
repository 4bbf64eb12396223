import pytest

from podgym.baselines import CONTROLLERS, controller_options, make_controller
from podgym.baselines.forecast_threshold import ForecastThresholdController
from podgym.baselines.hpa_controller import HpaController
from podgym.baselines.keda import KedaController
from podgym.baselines.kpa import KpaController
from podgym.baselines.predictive_hpa import PredictiveHpaController
from podgym.baselines.predictive_planner import PredictivePlannerController
from podgym.baselines.queue_length import QueueLengthController
from podgym.baselines.search_spaces import SEARCH_SPACES, Parameter
from podgym.errors import InputError

CLASSES = {
    "hpa": HpaController,
    "kpa": KpaController,
    "keda": KedaController,
    "queue_length": QueueLengthController,
    "predictive_hpa": PredictiveHpaController,
    "forecast_threshold": ForecastThresholdController,
    "predictive_planner": PredictivePlannerController,
}


def extremes(parameter):
    if parameter.kind == "choice":
        return parameter.choices
    return [parameter.low, parameter.high, parameter.hard_low, parameter.hard_high]


@pytest.mark.parametrize("name", CLASSES)
def test_every_extreme_of_a_space_makes_a_controller(name):
    for parameter in SEARCH_SPACES[name]:
        for value in extremes(parameter):
            assert CLASSES[name](**{parameter.name: value}).name == name


@pytest.mark.parametrize("name", sorted(set(SEARCH_SPACES) & set(CONTROLLERS)))
def test_what_is_tuned_is_an_option_of_the_registered_controller(name):
    assert {parameter.name for parameter in SEARCH_SPACES[name]} <= set(controller_options(name))
    assert make_controller(name).name == name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "real"}, "kind of parameter 'x'"),
        ({"kind": "choice", "choices": ("a",)}, "two values"),
        ({"kind": "float", "low": 1.0, "high": 1.0}, "is not a range"),
        ({"kind": "float", "low": 0.0, "high": float("inf")}, "is not a range"),
        ({"kind": "int", "low": 0, "high": 5, "log": True}, "logarithmic"),
        ({"kind": "int", "low": 0, "high": 5, "hard_low": 1}, "hard bounds"),
        ({"kind": "int", "low": 0, "high": 5, "hard_high": 4}, "hard bounds"),
    ],
)
def test_a_parameter_must_make_sense(options, message):
    with pytest.raises(InputError, match=message):
        Parameter("x", **options)
