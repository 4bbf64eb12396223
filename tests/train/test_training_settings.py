"""Settings of a run: their values, checks, schedules, and what contradicts what."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podgym.errors import InputError
from podgym.train.settings import (
    CloneSettings,
    ConstraintSettings,
    PlannerSettings,
    PolicySettings,
    TrainingSettings,
    first_difference,
)
from podgym.train.values import Schedule, as_number, build, whole


def made(**values):
    return build(TrainingSettings, values)


def test_defaults_are_the_recipe():
    settings = TrainingSettings()
    assert (settings.n_envs, settings.n_steps, settings.batch_size, settings.n_epochs) == (512, 32, 1024, 4)
    assert (settings.gamma, settings.gae_lambda, settings.target_kl) == (0.95, 0.8, None)
    assert settings.learning_rate == Schedule(1e-3, 2e-5)
    assert settings.env_kwargs == {"action": {"quotas": False}}
    assert settings.planner == PlannerSettings("lstm_ga", "tuned")
    assert (settings.frames_per_iteration, settings.iterations) == (16384, 123)


def test_iterations_are_whole_and_enough():
    assert made(n_timesteps=16384).iterations == 1
    assert made(n_timesteps=16385).iterations == 2
    assert made(n_timesteps=1).iterations == 1


def test_settings_are_frozen_and_defaults_are_not_shared():
    settings = TrainingSettings()
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.n_envs = 1
    assert settings.env_kwargs is not TrainingSettings().env_kwargs


@pytest.mark.parametrize(
    ("given_value", "kept"),
    [
        ("1e-3", Schedule(1e-3, 1e-3)),
        (0.5, Schedule(0.5, 0.5)),
        ("lin_1e-3", Schedule(1e-3, 0.0)),
        ({"from": "1e-3", "to": 2e-5}, Schedule(1e-3, 2e-5)),
        ({"from": 0.1, "to": 0}, Schedule(0.1, 0.0)),
    ],
)
def test_schedules_as_they_may_be_written(given_value, kept):
    settings = made(learning_rate=given_value)
    assert settings.learning_rate == kept
    assert made(learning_rate=settings.as_dict()["learning_rate"]) == settings


def test_a_schedule_is_linear_between_its_ends():
    schedule = Schedule(1e-3, 2e-5)
    assert (schedule(1.0), schedule(0.0)) == (1e-3, 2e-5)
    assert schedule(0.25) == pytest.approx(2e-5 + 0.25 * (1e-3 - 2e-5), rel=1e-12)


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_a_constant_is_the_same_at_every_moment(value, remaining):
    assert Schedule(value, value)(remaining) == value


@pytest.mark.parametrize(
    ("value", "number"),
    [("1e-3", 1e-3), ("2e6", 2e6), (3, 3.0), (True, None), ("x", None), ("nan", None), ("inf", None),
     (None, None), (10**400, None)],
)  # fmt: skip
def test_numbers_in_text(value, number):
    assert as_number(value) == number


def test_whole_numbers_come_back_whole():
    check = whole(0, 2**62)
    assert check("n", "2e6") == 2_000_000
    assert isinstance(check("n", 2e6), int)
    assert check("n", 2**61 + 1) == 2**61 + 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"n_step": 32}, r"unknown setting 'n_step'; allowed: .*Did you mean 'n_steps'\?"),
        ({"policy_kwargs": {"net_arc": [64]}}, "unknown setting of policy_kwargs 'net_arc'.*'net_arch'"),
        ({"prior": {"strenght": 1}}, "unknown setting of prior 'strenght'.*Did you mean 'strength'"),
        ({"n_envs": 0}, "n_envs is 0; it must be a whole number from 1 to"),
        ({"n_envs": 2.5}, "n_envs is 2.5; it must be a whole number"),
        ({"n_envs": True}, "n_envs is True; it must be a whole number"),
        ({"n_envs": [1]}, r"n_envs is \[1\]; it must be a whole number"),
        ({"gamma": 1.01}, "gamma is 1.01; it must be a number from 0 to 1"),
        ({"gamma": "much"}, "gamma is 'much'; it must be a number from 0 to 1"),
        ({"gamma": float("nan")}, "gamma is nan"),
        ({"vf_coef": -1}, "vf_coef is -1; it must be a number, 0 or more"),
        ({"max_grad_norm": 0}, "max_grad_norm is 0; it must be a number above 0"),
        ({"target_kl": 0}, "target_kl is 0; it must be a number above 0"),
        ({"learning_rate": 0}, "learning_rate is 0; it must be a number above 0, at most 1"),
        ({"learning_rate": "exp_1e-3"}, "learning_rate is 'exp_1e-3'; it must be a number, lin_NUMBER"),
        ({"learning_rate": "lin_"}, "learning_rate is ''; it must be a number"),
        ({"learning_rate": {"from": 1e-3}}, "learning_rate is .*; it must be a number, or a mapping of from"),
        ({"learning_rate": {"from": 1e-3, "to": "low"}}, "learning_rate.to is 'low'"),
        ({"normalize_advantage": 1}, "normalize_advantage is 1; it must be true or false"),
        ({"policy_kwargs": {"net_arch": 64}}, "policy_kwargs.net_arch is 64; it must be a list"),
        ({"policy_kwargs": {"net_arch": []}}, "policy_kwargs.net_arch is .*; it must be a list of 1 to 8"),
        ({"policy_kwargs": {"net_arch": [64, 0]}}, "a size in policy_kwargs.net_arch is 0"),
        ({"policy_kwargs": {"activation_fn": "rlu"}}, "value of policy_kwargs.activation_fn: 'rlu'.*'relu'"),
        ({"policy_kwargs": "large"}, "policy_kwargs is 'large'; it must be a mapping of settings"),
        ({"reference": "plans"}, "unknown value of reference: 'plans'; allowed: none, plan"),
        ({"prior": 3}, "prior is 3; it must be a mapping of settings"),
        ({"prior": {"cap": 0}}, "prior.cap is 0; it must be a number above 0"),
        ({"planner": {"options": "best"}}, "planner.options is 'best'; it must be tuned or a mapping"),
        ({"forecaster": ""}, "forecaster is ''"),
        ({"env_kwargs": [1]}, r"env_kwargs is \[1\]; it must be a mapping"),
        ({"constraint": {"max_violation_ratio": 2}}, "constraint.max_violation_ratio is 2"),
        ({"constraint": {"initial_multiplier": 9, "max_multiplier": 8}}, "must be at most max_multiplier, 8"),
        ({"seed": -1}, "seed is -1; it must be a whole number from 0 to 2147483647"),
        ({"batch_size": 5000}, r"512 \* 32 = 16384. Try 4096"),
        ({"batch_size": 15000}, "Try 16384"),
        ({"planner": None}, "prior pulls towards the plan, but planner is null"),
        ({"planner": None, "prior": None}, "reference is plan, but planner is null; set reference to none"),
    ],
)  # fmt: skip
def test_refusals_say_what_is_allowed(values, message):
    with pytest.raises(InputError, match=message):
        made(**values)


def test_values_are_checked_when_python_sets_them_too():
    with pytest.raises(InputError, match="n_epochs is 0"):
        TrainingSettings(n_epochs=0)
    with pytest.raises(InputError, match="net_arch is 3"):
        PolicySettings(net_arch=3)
    with pytest.raises(InputError, match="epochs is -1"):
        dataclasses.replace(CloneSettings("hpa"), epochs=-1)


def test_values_that_python_sets_are_kept_as_those_of_a_file():
    settings = TrainingSettings(n_envs="1024", learning_rate=1e-3, prior={"cap": 2})
    assert settings == made(n_envs=1024, learning_rate="1e-3", prior={"cap": 2.0})


def test_without_a_plan():
    settings = made(planner=None, prior=None, reference=None)
    assert (settings.planner, settings.prior, settings.reference) == (None, None, "none")


def test_groups():
    settings = made(
        clone={"controller": "hpa", "options": {"tolerance": 0.1}, "epochs": "3"}, constraint={}, prior={}
    )
    assert settings.clone == CloneSettings("hpa", {"tolerance": 0.1}, 3)
    assert settings.constraint == ConstraintSettings()
    with pytest.raises(TypeError, match="controller"):
        CloneSettings()


def test_each_setting_changes_what_is_written():
    """A setting that is declared but not written would be lost when a run is taken up again."""
    plain = TrainingSettings().as_dict()
    assert set(plain) == {field.name for field in dataclasses.fields(TrainingSettings)}
    other = {
        "n_timesteps": 5, "n_envs": 256, "n_steps": 64, "batch_size": 2048, "n_epochs": 5, "gamma": 0.9,
        "gae_lambda": 0.9, "learning_rate": 1e-4, "ent_coef": 0.1, "clip_range": {"from": 0.3, "to": 0.1},
        "vf_coef": 0.4, "max_grad_norm": 1.0, "normalize_advantage": False, "target_kl": 0.1,
        "policy_kwargs": {"net_arch": [32], "activation_fn": "tanh", "derived": True, "lstm_hidden_size": 8},
        "env_kwargs": {},
        "prior": {"strength": 1.0, "cap": 2.0, "keep": -0.1, "quota_strength": 0.0},
        "planner": {"controller": "predictive_planner", "options": {"max_utilisation": 0.7}},
        "forecaster": "naive", "critic_future_steps": 0, "reference": "none", "actor_frozen_iterations": 0,
        "clone": {"controller": "hpa", "options": "tuned", "epochs": 2}, "episode_pool": 0,
        "constraint": {"max_violation_ratio": 0.02, "initial_multiplier": 1.0, "learning_rate": 0.1,
                       "max_multiplier": 50.0},
        "eval_every": 3, "eval_episodes": 4, "checkpoint_every": 5, "figure_every": 0, "seed": 9,
    }  # fmt: skip
    assert set(other) == set(plain)
    for name, value in other.items():
        assert plain[name] != value, name
    assert made(**other).as_dict() == other


def test_first_difference_is_named_with_both_values():
    plain = TrainingSettings().as_dict()
    assert first_difference(plain, TrainingSettings().as_dict()) is None
    changed = made(prior={"cap": 4}, seed=3).as_dict()
    assert first_difference(plain, changed) == ("prior.cap", 3.0, 4.0)
    assert first_difference(plain, made(prior=None).as_dict())[0] == "prior"
    assert first_difference({}, {"a": None}) == ("a", None, None)
    assert first_difference({"a": {"x": 1}}, {"a": {}}) == ("a.x", 1, None)
