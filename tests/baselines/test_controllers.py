import pytest

from podgym.baselines import CONTROLLERS, REPLICAS_ONLY, controller_options, leaves_quotas, make_controller
from podgym.envs import AutoscaleEnv
from podgym.envs.cluster import ClusterObservation, Quota, ServiceDecision, ServiceView
from podgym.envs.make import scenario_config
from podgym.errors import InputError


def service(name, low=1, high=10):
    quota = Quota(1, 1, 1, 1)
    return ServiceView(name, 3, 3, 3, low, high, quota, None, *[float("nan")] * 4, ())


def test_every_controller_can_be_made_and_decides_for_every_service():
    observation = ClusterObservation(0.0, (service("a"), service("b")))
    for name in CONTROLLERS:
        controller = make_controller(name)
        assert controller.name == name
        controller.reset()
        decisions = controller.decide(observation)
        assert len(decisions) == 2
        if name != "random":  # it needs to see nothing; the others change nothing as long as they are blind
            assert decisions == (ServiceDecision(), ServiceDecision())


@pytest.mark.parametrize("name", sorted(REPLICAS_ONLY))
def test_controllers_of_replicas_leave_the_pods_as_they_are(name):
    """Through an episode with a burst, in which all but the static one scale."""
    env = AutoscaleEnv(scenario_config("burst"))
    controller = make_controller(name)
    env.reset(seed=7)
    controller.reset()
    wanted = set()
    for _ in range(env.episode_steps):
        decisions = controller.decide(env.observe())
        assert all(each == ServiceDecision(replicas=each.replicas) for each in decisions)
        wanted |= {each.replicas for each in decisions}
        env.step_decisions(decisions)
    assert (len(wanted) > 2) == (name != "static")


def test_who_may_change_quotas_is_not_said_to_leave_them():
    assert not any(leaves_quotas(name, {}) for name in CONTROLLERS if name not in REPLICAS_ONLY)
    assert leaves_quotas("lstm_ga", {"keep_quotas": True})
    assert not leaves_quotas("lstm_ga", {"keep_quotas": False})


def test_options_reach_the_controller():
    assert "cpu_target_percent" in controller_options("hpa")
    controller = make_controller("static", replicas=4)
    decisions = controller.decide(ClusterObservation(0.0, (service("a"), service("b"))))
    assert decisions == (ServiceDecision(replicas=4), ServiceDecision(replicas=4))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("hps", {}, r"unknown controller 'hps'; allowed: .*static.*Did you mean 'hpa'\?"),
        ("hpa", {"cpu_target": 50}, r"unknown option of controller 'hpa' 'cpu_target'.*'cpu_target_percent'"),
        ("static", {"replica": 2}, r"Did you mean 'replicas'\?"),
        ("static", {"replicas": 0}, "got 0; a whole number >= 1"),
        ("static", {"replicas": 2.0}, "got 2.0; a whole number >= 1"),
        ("static", {"replicas": True}, "got True"),
    ],
)
def test_what_cannot_be_made_is_refused(name, options, message):
    with pytest.raises(InputError, match=message):
        make_controller(name, **options)


@pytest.mark.parametrize(("low", "high"), [(1, 3), (5, 10)])
def test_a_static_number_must_suit_the_service(low, high):
    with pytest.raises(InputError, match=f"'a' allows {low} to {high}"):
        make_controller("static", replicas=4).decide(ClusterObservation(0.0, (service("a", low, high),)))
