"""Files of settings: layers, YAML's traps, and the files that ship."""

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

pytest.importorskip("yaml")

import yaml

from podgym.agents.description import ALGORITHMS
from podgym.baselines.tuned import tuned_options
from podgym.envs.registration import ENVIRONMENT_IDS
from podgym.errors import InputError
from podgym.train.settings import PolicySettings, TrainingSettings
from podgym.train.settings_file import controller_options, laid_over, parse_blocks, settings_for
from podgym.train.values import Schedule, build

BURST = "podgym/Burst-v0"


def written(tmp_path, text):
    path = tmp_path / "my.yml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("environment", ENVIRONMENT_IDS)
def test_the_files_that_ship_serve_every_id(algorithm, environment):
    settings = settings_for(algorithm, environment)
    recurrent = algorithm == "recurrent_ppo"
    assert settings.policy_kwargs.lstm_hidden_size == (64 if recurrent else None)


@pytest.mark.source_tree
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_files_that_ship_name_every_setting_and_id(algorithm):
    from importlib.resources import files

    blocks = parse_blocks(files("podgym.train").joinpath(f"{algorithm}.yml").read_text(), algorithm)
    assert list(blocks) == ["default", *ENVIRONMENT_IDS]
    expected = TrainingSettings()
    assert set(blocks["default"]) == set(expected.as_dict())
    if algorithm == "recurrent_ppo":
        expected = TrainingSettings(policy_kwargs=PolicySettings(lstm_hidden_size=64))
    assert build(TrainingSettings, blocks["default"]) == expected


def test_an_id_is_laid_over_the_default_and_changes_over_both(tmp_path):
    path = written(
        tmp_path,
        """
default: &base
  n_envs: 64
  batch_size: 64
  learning_rate: {from: 1e-3, to: 1e-5}
  policy_kwargs: {net_arch: [32, 32], activation_fn: tanh}
podgym/Burst-v0:
  n_steps: 16
  learning_rate: {to: 0}
  policy_kwargs: {net_arch: [16]}
podgym/Trace-v0:
  <<: *base
  n_envs: 128
""",
    )
    burst = settings_for("ppo", BURST, file=path, changes={"policy_kwargs.net_arch": [8], "gamma": "9e-1"})
    assert (burst.n_envs, burst.n_steps, burst.batch_size, burst.gamma) == (64, 16, 64, 0.9)
    assert burst.policy_kwargs == PolicySettings((8,), "tanh")
    assert burst.learning_rate == Schedule(1e-3, 0.0)
    assert settings_for("ppo", "podgym/Trace-v0", file=path).n_envs == 128
    assert settings_for("ppo", "podgym/LowLoad-v0", file=path).n_envs == 64


def test_settings_that_a_file_does_not_name_have_their_defaults(tmp_path):
    path = written(tmp_path, "podgym/Burst-v0: {n_timesteps: 2e6}")
    assert settings_for("ppo", BURST, file=path) == TrainingSettings()
    with pytest.raises(
        InputError, match="neither a block 'podgym/LowLoad-v0' nor one named 'default'; it has"
    ):
        settings_for("ppo", "podgym/LowLoad-v0", file=path)


def test_an_lstm_belongs_to_recurrent_ppo(tmp_path):
    path = written(tmp_path, "default:")
    assert settings_for("recurrent_ppo", BURST, file=path).policy_kwargs.lstm_hidden_size == 64
    own = settings_for("recurrent_ppo", BURST, changes={"policy_kwargs.lstm_hidden_size": 32})
    assert own.policy_kwargs.lstm_hidden_size == 32
    with pytest.raises(InputError, match="lstm_hidden_size is 32, but maskable_ppo has no LSTM"):
        settings_for("maskable_ppo", BURST, changes={"policy_kwargs.lstm_hidden_size": 32})


def test_layers_of_mappings():
    assert laid_over({"a": {"x": 1, "y": 2}}, {"a": {"y": 3}}) == {"a": {"x": 1, "y": 3}}
    assert laid_over({"a": {"x": 1}}, {"a": None}) == {"a": None}
    assert laid_over({"a": 1}, {"a.b.c": 2, "a.b.d": 3}) == {"a": {"b": {"c": 2, "d": 3}}}
    assert laid_over({"a": {"b": {"c": 1}}}, {"a": {"b.d": 2}}) == {"a": {"b": {"c": 1, "d": 2}}}


def test_options_do_not_outlive_their_controller():
    below = {"planner": {"controller": "lstm_ga", "options": {"headroom": 0.2}}}
    assert laid_over(below, {"planner.controller": "predictive_planner"}) == {
        "planner": {"controller": "predictive_planner"}
    }
    kept = laid_over(below, {"planner": {"controller": "lstm_ga", "options": {"rate": "upper"}}})
    assert kept["planner"]["options"] == {"headroom": 0.2, "rate": "upper"}


def test_layers_leave_what_is_below_as_it_is():
    below = {"a": {"x": {"y": 1}}}
    laid_over(below, {"a": {"x": {"y": 2}}})
    assert below == {"a": {"x": {"y": 1}}}


numbers = st.floats(0.0, 1.0, exclude_min=True)
plain_settings = st.fixed_dictionaries(
    {},
    optional={
        "n_timesteps": st.integers(1, 10**11),
        "gamma": st.floats(0.0, 1.0),
        "learning_rate": st.one_of(numbers, st.builds(lambda a, b: {"from": a, "to": b}, numbers, numbers)),
        "target_kl": st.one_of(st.none(), numbers),
        "policy_kwargs": st.fixed_dictionaries(
            {"net_arch": st.lists(st.integers(1, 512), min_size=1, max_size=4)}
        ),
        "env_kwargs": st.fixed_dictionaries(
            {}, optional={"action": st.fixed_dictionaries({"quotas": st.booleans()})}
        ),
        "constraint": st.one_of(st.none(), st.just({"max_violation_ratio": 0.02})),
        "clone": st.one_of(st.none(), st.just({"controller": "hpa", "options": {"tolerance": 0.2}})),
        "seed": st.integers(0, 2**31 - 1),
    },
)


@hypothesis_settings(max_examples=25)
@given(plain_settings)
def test_what_a_run_writes_is_read_back_the_same(values):
    settings = build(TrainingSettings, values)
    for name in (BURST, "default"):
        blocks = parse_blocks(settings.as_yaml(name), "config.yml")
        assert list(blocks) == [name]
        assert build(TrainingSettings, blocks[name]) == settings


def test_round_trip_through_a_file(tmp_path):
    settings = settings_for("recurrent_ppo", BURST, changes={"seed": 7, "ent_coef": "lin_0.1", "prior": None})
    path = written(tmp_path, settings.as_yaml(BURST))
    assert settings_for("recurrent_ppo", BURST, file=path) == settings


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must hold blocks of settings"),
        ("- 1", "must hold blocks of settings"),
        ("default: 3", "the block 'default' must be a mapping"),
        ("podgym/Brust-v0: {seed: 1}", r"unknown environment in .*Did you mean 'podgym/Burst-v0'\?"),
        ("default: {seed: 1, gamma: 0.9, seed: 2}", "gives 'seed' twice, the second time in line 1"),
        ("default: {prior: {cap: 1,\n cap: 2}}", "gives 'cap' twice, the second time in line 2"),
        ("default:\n  seed: 1\ndefault:\n  seed: 2", "gives 'default' twice, the second time in line 3"),
        ("default: {seed: [}", "is no YAML: .*line 1"),
        ("default: &a {env_kwargs: *a}", "refers to itself in line 1"),
        ("default: {seed: !!python/object/apply:os.system ['true']}", "is no YAML: could not determine"),
        ("default: {seed: 2026-13-45}", "cannot be read: month must be in"),
        ("default: {1: 2}", "unknown setting '1'"),
        ("default: {yes: 2}", "unknown setting 'True'"),
        ("{a: " * 2000, "cannot be read|is no YAML"),
    ],
)
def test_bad_files(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        settings_for("ppo", BURST, file=written(tmp_path, text))


def test_a_short_file_may_not_stand_for_a_billion_values(tmp_path):
    levels = [f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 10) if n else '1'}]" for n in range(10)]
    text = "default:\n env_kwargs: {" + ", ".join(levels) + "}"
    with pytest.raises(InputError, match="holds more than 100000 values by line 2"):
        settings_for("ppo", BURST, file=written(tmp_path, text))


def test_nothing_in_a_file_runs(tmp_path):
    mark = tmp_path / "ran"
    text = f"default: {{seed: !!python/object/apply:os.system ['touch {mark}']}}"
    assert yaml.unsafe_load(text)
    assert mark.exists()  # the file is as harmful as it looks
    mark.unlink()
    with pytest.raises(InputError):
        settings_for("ppo", BURST, file=written(tmp_path, text))
    assert not mark.exists()


def test_files_that_cannot_be_read(tmp_path):
    written(tmp_path, "default:")
    with pytest.raises(InputError, match=r"there is no file .*yml. Did you mean 'my.yml'\?"):
        settings_for("ppo", BURST, file=tmp_path / "mi.yml")
    (tmp_path / "my.yml").write_bytes(b"default: \xff\xfe")
    with pytest.raises(InputError, match=r"my.yml cannot be read"):
        settings_for("ppo", BURST, file=tmp_path / "my.yml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"env_kwargs": {"acton": {}}}, "env_kwargs: unknown key of the environment 'acton'.*'action'"),
        ({"env_kwargs.action.quotas": 1}, "env_kwargs: action.quotas is 1; it must be true or false"),
        ({"env_kwargs.action.mode": "absolute"}, "prior needs actions of mode 'delta'.*'absolute'"),
        ({"planner.controller": "lstm_gas"}, "planner: unknown controller 'lstm_gas'.*mean 'lstm_ga'"),
        ({"planner.controller": "hpa"}, "planner.controller is 'hpa', which makes no plans"),
        ({"planner.options": {"gama": 1}}, "planner: unknown option of controller 'lstm_ga' 'gama'.*'gamma'"),
        ({"clone.controller": "hpaa"}, "clone: unknown controller 'hpaa'"),
        ({"forecaster": "shiped"}, "forecaster 'shiped' is none of shipped, naive, oracle, and there is no"),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_the_environment(changes, message):
    with pytest.raises(InputError, match=message):
        settings_for("ppo", BURST, changes=changes)


def test_unknown_names():
    with pytest.raises(InputError, match=r"unknown algorithm 'pp'; .*Did you mean 'ppo'\?"):
        settings_for("pp", BURST)
    with pytest.raises(InputError, match="unknown environment 'Burst-v0'"):
        settings_for("ppo", "Burst-v0")


def test_tuned_options_are_those_of_the_id():
    assert controller_options("lstm_ga", "tuned", BURST) == tuned_options("lstm_ga", BURST) != {}
    assert controller_options("random", "tuned", BURST) == {}
    assert controller_options("lstm_ga", {"headroom": 0.1}, BURST) == {"headroom": 0.1}
