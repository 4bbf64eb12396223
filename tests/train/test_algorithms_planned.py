"""What is added to PPO and its relatives: time limits, schedules of a whole run, freezing, a stop at nan."""

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("stable_baselines3")
pytest.importorskip("sb3_contrib")

import torch
from oracles.training_problems import STEPS, LoadPlanner, make_env, make_envs, make_model, training_config
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import set_random_seed

from podgym.train.algorithms import ALGORITHM_CLASSES, BootstrapTimeLimits, forget_rollout
from podgym.train.values import Schedule
from podgym.train.vec_env import TrainingEnvs

FRAMES = 6 * 8
QUOTAS = {"action": {"quotas": False}}


class TellingEnvs(TrainingEnvs):
    """Says what stable-baselines3 itself looks for: last observations of episodes at their time limit."""

    def step_wait(self):
        observations, rewards, dones, _ = super().step_wait()
        infos = [{} for _ in range(self.num_envs)]
        for place, index in enumerate(self.ended.tolist()):
            infos[index] = {
                "terminal_observation": self.final_observations[place],
                "TimeLimit.truncated": True,
            }
        return observations, rewards, dones, infos


class Silent(BaseCallback):
    def _on_step(self):
        return True


def rollout(algorithm, kind, callback):
    """Collect one rollout of an untrained model and return its buffer."""
    envs = kind(make_env(training_config(**QUOTAS), 6, planner=LoadPlanner(30.0)), future_steps=3)
    envs.reward_scale = 0.01
    set_random_seed(7)
    model = make_model(algorithm, envs, n_steps=2 * STEPS, batch_size=12)
    with torch.no_grad():
        for weights in model.policy.parameters():
            weights += 0.3 * torch.randn_like(weights)
    model.gamma = 0.9
    envs.seed_from([7])
    model.train = lambda: None
    model.learn(6 * 2 * STEPS, callback=callback, log_interval=None)
    return model.rollout_buffer


@pytest.mark.parametrize("algorithm", ALGORITHM_CLASSES)
def test_time_limits_are_bootstrapped_as_stable_baselines3_does(algorithm):
    own = rollout(algorithm, TrainingEnvs, BootstrapTimeLimits())
    theirs = rollout(algorithm, TellingEnvs, Silent())
    without = rollout(algorithm, TrainingEnvs, Silent())
    for name in ("observations", "actions", "episode_starts", "values"):
        np.testing.assert_array_equal(getattr(own, name), getattr(theirs, name))
    np.testing.assert_allclose(own.rewards, theirs.rewards, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(own.returns, theirs.returns, rtol=1e-5, atol=1e-5)
    added = np.abs(own.rewards - without.rewards)
    last = np.zeros(added.shape, dtype=bool)  # (steps, environments), the last step of an episode
    last[:-1] = own.episode_starts[1:] > 0.0
    assert last.sum() > 6
    assert (added[last] > 1e-3).all()
    assert not added[:-1][~last[:-1]].any()


def test_others_environments_are_refused():
    from stable_baselines3 import PPO

    model = PPO("MlpPolicy", "CartPole-v1", n_steps=4, batch_size=4)
    with pytest.raises(TypeError, match="DummyVecEnv does not say which episodes ended"):
        model.learn(4, callback=BootstrapTimeLimits())


class Watch(BaseCallback):
    """Takes note of what an update was made with, at the beginning of the next rollout or at the end."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def _on_step(self):
        return True

    def _on_training_end(self):
        recorded = self.logger.name_to_value
        self.seen.append(
            tuple(float(recorded[f"train/{name}"]) for name in ("learning_rate", "ent_coef", "clip_range"))
        )
        assert self.model.policy.optimizer.param_groups[0]["lr"] == self.seen[-1][0]


def planned(algorithm="ppo", frozen=0, envs=None, **options):
    envs = envs or make_envs(training_config(**QUOTAS), planner=LoadPlanner(30.0), future_steps=2)
    envs.reward_scale = 0.01
    set_random_seed(3)
    options = {"learning_rate": Schedule(1e-2, 1e-3), "clip_range": Schedule(0.4, 0.1), **options}
    model = make_model(algorithm, envs, **options)
    model.planned_timesteps = 5 * FRAMES
    model.entropy_schedule = Schedule(0.5, 0.0)
    model.frozen_iterations = frozen
    envs.seed_from([3])
    return model


@pytest.mark.parametrize("algorithm", ALGORITHM_CLASSES)
def test_schedules_are_of_the_whole_run_however_it_is_cut(algorithm):
    whole, parts = Watch(), Watch()
    model = planned(algorithm)
    for _ in range(5):
        model.learn(FRAMES, callback=parts, reset_num_timesteps=False, log_interval=None)
    assert model.num_timesteps == 5 * FRAMES
    assert model.iterations == 5
    expected = [(s(1e-2, 1e-3), s(0.5, 0.0), s(0.4, 0.1)) for s in map(between, range(1, 6))]
    np.testing.assert_allclose(parts.seen, expected, rtol=1e-6, atol=1e-12)
    other = planned(algorithm)
    for frames in (2 * FRAMES, 3 * FRAMES):
        other.learn(frames, callback=whole, reset_num_timesteps=False, log_interval=None)
    np.testing.assert_allclose(whole.seen, [expected[1], expected[4]], rtol=1e-6, atol=1e-12)
    for name, weights in other.policy.state_dict().items():
        assert torch.equal(weights, model.policy.state_dict()[name]), name


def between(iteration):
    share = iteration / 5
    return lambda first, last: (1.0 - share) * first + share * last


def weights_of(model):
    actor = {id(w) for module in model.policy.actor_modules() for w in module.parameters()}
    parts = ({}, {})
    for name, weights in model.policy.named_parameters():
        parts[id(weights) not in actor][name] = weights.detach().clone()
    return parts


def same(before, after):
    return [torch.equal(before[name], after[name]) for name in before]


@pytest.mark.parametrize("algorithm", ALGORITHM_CLASSES)
def test_the_actor_is_frozen_at_first_while_the_critic_learns(algorithm):
    model = planned(algorithm, frozen=2)
    actor, critic = weights_of(model)
    assert len(actor) > 3
    assert len(critic) > 3
    for _ in range(2):
        model.learn(FRAMES, reset_num_timesteps=False, log_interval=None)
        new_actor, new_critic = weights_of(model)
        assert all(same(actor, new_actor))
        assert not any(same(critic, new_critic))
        critic = new_critic
    model.learn(FRAMES, reset_num_timesteps=False, log_interval=None)
    new_actor, new_critic = weights_of(model)
    assert not any(same(actor, new_actor))
    assert not any(same(critic, new_critic))


@pytest.mark.parametrize("algorithm", ALGORITHM_CLASSES)
@pytest.mark.parametrize("validated", [False, True])
@pytest.mark.parametrize("options", [{}, {"batch_size": FRAMES, "n_epochs": 1}])
def test_a_weight_that_becomes_nan_stops_with_the_cause(algorithm, options, validated, monkeypatch):
    """In the first update of many, where torch may refuse the next logits, and in the last one."""
    model = planned(algorithm, **options)
    monkeypatch.setattr(torch.distributions.Distribution, "_validate_args", validated)
    model.learn(FRAMES, reset_num_timesteps=False, log_interval=None)
    train = type(model).train

    def spoilt(self=model):
        self.rollout_buffer.returns[0, 0] = np.nan
        train(self)

    model.train = spoilt
    message = r"weights \S+ are not finite after update 2; lower learning_rate"
    with pytest.raises(FloatingPointError, match=message):
        model.learn(FRAMES, reset_num_timesteps=False, log_interval=None)


def test_other_errors_are_not_called_nan(monkeypatch):
    model = planned()

    def refuse(*arguments):
        raise ValueError("something else")

    monkeypatch.setattr(model.policy, "evaluate_actions", refuse)
    with pytest.raises(ValueError, match="something else"):
        model.learn(FRAMES, log_interval=None)
    assert model.iterations == 0


@pytest.mark.parametrize("algorithm", ALGORITHM_CLASSES)
def test_a_forgotten_rollout_leaves_nothing_behind(algorithm):
    """After it a model goes on like one that never collected anything."""

    def next_rollout(before):
        model = planned(algorithm)
        state = {name: weights.clone() for name, weights in model.policy.state_dict().items()}
        if before:
            model.learn(FRAMES, reset_num_timesteps=False, log_interval=None)
            model.policy.load_state_dict(state)
        set_random_seed(9)
        model.env.seed_from([9])
        forget_rollout(model)
        model.train = lambda: None
        model.learn(FRAMES, reset_num_timesteps=False, log_interval=None)
        return model.rollout_buffer

    first, second = next_rollout(False), next_rollout(True)
    for name in ("observations", "actions", "rewards", "values", "log_probs", "episode_starts"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes(), name
    if algorithm == "recurrent_ppo":
        for name in ("hidden_states_pi", "cell_states_vf"):
            assert getattr(first, name).tobytes() == getattr(second, name).tobytes(), name


def test_masked_choices_are_never_taken():
    envs = make_envs(training_config(**QUOTAS), planner=LoadPlanner(30.0), future_steps=2)
    model = planned("maskable_ppo", envs=envs)
    taken, step = [], envs.step_async

    def checked(actions):
        masks = envs.action_masks()
        taken.extend(masks[np.arange(6), actions[:, 0]].tolist())
        assert not masks.all()
        step(actions)

    envs.step_async = checked
    model.learn(2 * FRAMES, log_interval=None)
    assert all(taken)
    assert len(taken) == 2 * FRAMES
