"""Behaviour cloning: the actor does what a controller would have done."""

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("stable_baselines3")
pytest.importorskip("sb3_contrib")

import torch
from oracles.training_problems import LOW_LOAD, make_model, small_problem

from podgym.agents.torch_policies import extract_policy
from podgym.envs.actions import ActionDecoder
from podgym.envs.cluster import ServiceDecision
from podgym.envs.make import scenario_config
from podgym.errors import InputError
from podgym.train.cloning import clone, demonstrate, nearest_action
from podgym.train.problem import describe, make_training_envs, measure_constants
from podgym.train.settings import CloneSettings

BURST = "podgym/Burst-v0"
BARE = {"planner": None, "prior": None, "reference": "none", "env_kwargs.episode_s": 600.0}


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("PODGYM_CACHE", str(tmp_path / "cache"))


def problem_of(teacher, algorithm="ppo", environment=BURST, **changes):
    return small_problem(algorithm, environment, clone=teacher, **{**BARE, **changes})


def model_of(problem, algorithm="ppo"):
    envs = make_training_envs(problem)
    still = np.full((8, 1), 7)
    constants = measure_constants(envs, lambda observations: still, 20, 0)
    model = make_model(algorithm, envs, describe(problem, algorithm))
    for part in (model.policy.pi_features_extractor, model.policy.vf_features_extractor):
        size = len(part.normaliser.mean)
        part.normaliser.mean[:] = torch.from_numpy(constants.mean[:size])
        part.normaliser.std[:] = torch.from_numpy(constants.std[:size])
    return model


@pytest.mark.parametrize(
    ("teacher", "least"),
    [
        ({"controller": "static", "options": {"replicas": 9}, "epochs": 30}, 0.98),
        ({"controller": "hpa", "options": {"cpu_target_percent": 50}, "epochs": 60}, 0.9),
    ],
)
def test_the_clone_does_what_the_controller_does(teacher, least, monkeypatch):
    monkeypatch.setattr("podgym.train.cloning.EPISODES", 16)
    problem = problem_of(teacher)
    settings = problem.settings.clone
    model = model_of(problem)
    critic = [weights.clone() for weights in model.policy.value_net.parameters()]
    agreed = clone(model, problem, settings, seed=1)
    assert agreed > least
    assert all(map(torch.equal, critic, model.policy.value_net.parameters()))
    fresh = demonstrate(problem, settings, episodes=20)  # 4 of which were not shown
    fresh = fresh.observations[-4 * 40 :], fresh.actions[-4 * 40 :]
    assert len(np.unique(fresh[1])) > 1  # doing the same always would not do
    actions, _ = extract_policy(model.policy).act(fresh[0])
    assert (actions == fresh[1]).mean() > least - 0.05
    still = (fresh[1] == 7).mean()
    assert still < 0.99


def test_equal_seeds_learn_the_same():
    problem = problem_of({"controller": "static", "options": {"replicas": 9}, "epochs": 2})

    def weights(seed):
        torch.manual_seed(0)
        model = model_of(problem)
        shares = clone(model, problem, problem.settings.clone, seed=seed)
        return shares, [each.detach().numpy().tobytes() for each in model.policy.parameters()]

    assert weights(1) == weights(1)
    assert weights(1)[1] != weights(2)[1]


def test_demonstrations_are_what_the_controller_asked_for():
    """A static controller goes to its replicas in as few steps as there are, and stays there."""
    problem = problem_of({"controller": "static", "options": {"replicas": 9}})
    shown = demonstrate(problem, problem.settings.clone, episodes=2)
    steps = np.array(problem.config.action.replica_steps)
    wanted = problem.config.cluster.services[0].initial_replicas
    for action in shown.actions[:40, 0]:
        left = 9 - wanted
        assert abs(steps[action] - left) == np.abs(steps - left).min()
        wanted += steps[action]
    assert wanted == 9
    assert shown.observations.shape == (80, len(describe(problem, "ppo").observation_names))


def test_a_controller_that_plans_is_asked_about_its_own_plans():
    """Also where the policy sees no plan, or another one: that is what an ablation compares."""
    options = {"preset": "slo_cost", "headroom": 0.5, "keep_quotas": True}
    teacher = {"controller": "lstm_ga", "options": options}
    planner = {"controller": "lstm_ga", "options": options}
    same = problem_of(teacher, planner=planner)
    none, other = problem_of(teacher), problem_of(teacher, planner={**planner, "options": {}})
    shown = [demonstrate(each, each.settings.clone, episodes=3) for each in (same, none, other)]
    assert len(np.unique(shown[0].actions)) > 2
    for each in shown[1:]:
        np.testing.assert_array_equal(each.actions, shown[0].actions)
    names = describe(same, "ppo").observation_names
    plan = names.index("web.plan_replicas")
    seen = [np.unique(each.observations[:, plan]) for each in shown]
    assert len(seen[1]) == 1  # the policy itself still sees none
    assert len(seen[0]) > 1
    columns = [at for at, name in enumerate(names) if ".plan_" not in name]
    for each in shown[1:]:
        np.testing.assert_array_equal(each.observations[:, columns], shown[0].observations[:, columns])


def test_a_controller_begins_each_episode_anew(monkeypatch):
    class Counting:
        """Asks for a replica more at each decision since the episode began."""

        def reset(self):
            self.count = 0

        def decide(self, observation):
            self.count += 1
            return (decision(observation.services[0].replicas_wanted + min(self.count, 4)),)

    problem = problem_of({"controller": "static", "options": {"replicas": 9}})
    monkeypatch.setattr("podgym.train.cloning.make_controller", lambda name, **options: Counting())
    shown = demonstrate(problem, problem.settings.clone, episodes=3)
    steps = np.array(problem.config.action.replica_steps)[shown.actions[:, 0]].reshape(3, 40)
    assert (steps == [1, 2, 3, *[4] * 37]).all()


def decision(replicas):
    return ServiceDecision(replicas)


def test_the_nearest_action_per_service():
    config = scenario_config("boutique")
    decoder = ActionDecoder(config.action, config.cluster)
    count = len(config.cluster.services)
    decisions = [decision(None), decision(5), decision(3), decision(40), decision(1), decision(12)]
    decisions += [decision(2)] * (count - 6)
    wanted = [4, 4, 6, 4, 20, 5, *[2] * (count - 6)]
    action = nearest_action(decoder, tuple(decisions), wanted).reshape(count, 3)
    steps = decoder.steps[action[:, 0]]
    assert steps[:6].tolist() == [0, 1, -3, 12, -12, 6]  # 7 is between 6 and 8
    assert not steps[6:].any()
    assert (decoder.quota_steps[action[:, 1:]] == 0).all()


@pytest.mark.parametrize(
    ("algorithm", "changes", "message"),
    [
        ("recurrent_ppo", {}, "a policy with an LSTM cannot be cloned here"),
        ("ppo", {"env_kwargs.action.mode": "absolute"}, "action.mode is 'absolute'; a controller can be"),
        ("maskable_ppo", {"env_kwargs.action.mode": "residual"}, "action.mode is 'residual'"),
    ],
)
def test_what_cannot_be_cloned_is_refused(algorithm, changes, message):
    teacher = CloneSettings("static", {"replicas": 2})
    problem = problem_of({"controller": "static", "options": {"replicas": 2}}, algorithm, LOW_LOAD, **changes)
    with pytest.raises(InputError, match=message):
        clone(None, problem, teacher, seed=0)
