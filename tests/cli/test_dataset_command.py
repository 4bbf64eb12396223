"""``podgym dataset``: offline datasets from the command line."""

import json

import pytest
from oracles.policies import planning, random_policy, zero_policy

from podgym.agents import shipped
from podgym.agents.policy_file import save_policy
from podgym.baselines.tuned import tuned_options
from podgym.cli import main
from podgym.eval import datasets
from podgym.eval.datasets import dataset_environment, load_dataset
from podgym.eval.transitions import replay

pytest.importorskip("minari")
SHORT = ["--env", "podgym/Burst-v0", "--set", "episode_s=300"]


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    """Where datasets, caches and shipped policies lie, unless a test says otherwise."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "home"))
    monkeypatch.setenv("PODGYM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(shipped, "files", lambda package: tmp_path)
    return tmp_path


def facts(capsys, *argv):
    assert main(["dataset", *SHORT, *argv, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def assert_made_again(root, name):
    """Every episode, under its recorded actions in the environment of the dataset, is what was recorded."""
    dataset = load_dataset(root, name)
    env = dataset_environment(dataset)
    metadata = list(dataset.storage.get_episode_metadata(range(dataset.total_episodes)))
    for episode, about in zip(dataset, metadata, strict=True):
        again = replay(env, episode.actions, about["seed"])
        assert again.observations.tobytes() == episode.observations.tobytes()
        assert again.rewards.tobytes() == episode.rewards.tobytes()
        assert again.load_sha256 == about["load_sha256"]
    return metadata


def test_a_controller_in_words(capsys, home):
    argv = ["dataset", *SHORT, "--controller", "hpa:cpu_target_percent=60", "--episodes", "2", "--seed", "9"]
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert "podgym/Burst/hpa-v0: 2 episodes, 40 transitions, mean return -" in out
    assert 'minari.load_dataset("podgym/Burst/hpa-v0")' in out
    metadata = assert_made_again(home / "home", "podgym/Burst/hpa-v0")
    assert [each["seed"] for each in metadata] == [9, 10]


def test_folder_and_name_of_ones_own(capsys, home):
    found = facts(capsys, "--controller", "static", "--output", str(home / "out"), "--name", "mine/still-v3")
    assert found["folder"] == str(home / "out" / "mine" / "still-v3")
    assert found["steps"] == 20
    assert "--name mine/still-v3" in found["command"]
    assert not (home / "home").exists()


def test_tuned_options_are_recorded(capsys, home):
    found = facts(capsys, "--controller", "forecast_threshold", "--tuned", "--forecaster", "oracle")
    expected = json.loads(json.dumps(tuned_options("forecast_threshold", "podgym/Burst-v0")))
    assert found["decided_by"]["options"] == expected
    assert found["forecaster"] == "oracle"
    assert found["forecast_shown"]
    assert_made_again(home / "home", found["name"])


def test_plans_are_part_of_what_is_seen(capsys, home):
    found = facts(capsys, "--controller", "lstm_ga", "--forecaster", "oracle")
    assert found["planner"]["controller"] == "lstm_ga"
    assert_made_again(home / "home", found["name"])


@pytest.mark.parametrize("which", ["file", "pretrained"])
def test_policies(capsys, home, which):
    file = save_policy(random_policy(planning(prior=None), scale=10.0), home / "mine.policy")
    save_policy(zero_policy(planning()), home / "pretrained" / "Burst-v0" / "seed0.policy")
    found = facts(capsys, "--agent", str(file) if which == "file" else "pretrained")
    assert found["decided_by"]["policy"] == ("mine.policy" if which == "file" else "seed0.policy")
    assert len(found["decided_by"]["sha256"]) == 64
    assert found["name"] == "podgym/Burst/ppo-v0"
    assert found["forecaster"] == "oracle"
    assert_made_again(home / "home", found["name"])


def test_a_class_of_ones_own(capsys, home):
    (home / "mine.py").write_text("class Still:\n    def act(self, observation):\n        return [7, 1, 1]\n")
    found = facts(capsys, "--controller", f"{home / 'mine.py'}:Still")
    assert found["name"] == "podgym/Burst/Still-v0"
    assert len(found["decided_by"]["sha256"]) == 64
    actions = load_dataset(home / "home", found["name"])[0].actions
    assert (actions == [7, 1, 1]).all()


def test_episodes_that_nothing_may_learn_from_are_marked(capsys):
    assert facts(capsys, "--controller", "hpa", "--seed", "199999", "--name", "a-v0")["remarks"] == []
    argv = ["--controller", "hpa", "--seed", "199999", "--episodes", "2", "--name", "b-v0"]
    assert "must not be judged" in facts(capsys, *argv)["remarks"][0]
    family = ["dataset", "--env", "podgym/FamilyBurst-v0", "--set", "episode_s=60", "--controller", "hpa"]
    assert main([*family, "--part", "test"]) == 0
    assert "These are test episodes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "one of the arguments --controller --agent is required"),
        (["--controller", "hpa", "--agent", "x.policy"], "not allowed with argument"),
        (["--controller", "hap"], "Did you mean 'hpa'?"),
        (["--controller", "hpa", "--name", "plain"], "NAMESPACE/NAME-vN is needed"),
        (["--controller", "hpa", "--episodes", "0"], "--episodes must be 1 or more"),
        (["--controller", "hpa", "--seed", "-1"], "--seed 0 or more"),
        (["--controller", "hpa:tolerance=0.2", "--tuned"], "or --tuned, not both"),
        (["--controller", "vpa", "--tuned"], "no tuned options of vpa for podgym/Burst-v0"),
        (["--controller", "vpa"], "single pods, which no action of an environment does"),
        (["--controller", "hpa", "--set", "action.mode=residual"], "action.mode is 'residual'"),
        (["--agent", "none.policy"], "there is no file none.policy"),
        (["--agent", "pretrained", "--tuned"], "--tuned goes with --controller"),
        (["--agent", "pretrained"], "no policy for podgym/Burst-v0 comes with the package"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(capsys, home, argv, words):
    assert main(["dataset", *SHORT, *argv]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not list((home / "home").glob("**/*.arrow"))


@pytest.mark.parametrize(
    ("failing", "error"),
    [
        ("os.replace", OSError(28, "No space left on device")),
        ("tempfile.mkdtemp", OSError(30, "Read-only file system")),
        ("minari.dataset.minari_storage.open", OSError(28, "No space left on device")),
    ],
)
def test_a_folder_that_cannot_be_written_to(capsys, home, monkeypatch, failing, error):
    def fails(*arguments, **options):
        raise error

    argv = ["dataset", *SHORT, "--controller", "static", "--name", "mine/still-v0"]
    with monkeypatch.context() as broken:
        broken.setattr(failing, fails, raising=False)  # the module has no open of its own yet
        assert main(argv) == 2
    said = capsys.readouterr().err
    assert f"dataset mine/still-v0 cannot be written to {home / 'home'}: {error.strerror}." in said
    assert said.splitlines()[-1].startswith("podgym: error: ")
    assert list((home / "home").iterdir()) == []
    assert main(argv) == 0


def test_a_read_only_folder_is_refused_before_anything_is_recorded(capsys, home, monkeypatch):
    monkeypatch.setattr("podgym.files.os.access", lambda path, mode: False)
    monkeypatch.setattr("podgym.eval.transitions.record_transitions", None)
    assert main(["dataset", *SHORT, "--controller", "static"]) == 2
    assert "cannot be written to; name another folder" in capsys.readouterr().err


def test_a_dataset_that_is_there_is_kept(capsys):
    argv = ["dataset", *SHORT, "--controller", "static"]
    assert main(argv) == 0
    assert main(argv) == 2
    assert "such as podgym/Burst/static-v1" in capsys.readouterr().err


def test_without_the_library(capsys, monkeypatch):
    def missing():
        raise datasets.InputError("datasets need minari; install with pip install 'podgym[datasets]'.")

    monkeypatch.setattr(datasets, "require_minari", missing)
    assert main(["dataset", *SHORT, "--controller", "hpa"]) == 2
    assert "podgym[datasets]" in capsys.readouterr().err


def test_help_teaches(capsys):
    assert main(["dataset", "--help"]) == 0
    out = capsys.readouterr().out
    for words in (
        "minari.load_dataset",
        "dataset_environment",
        "recover_environment",
        "action.mode=absolute",
    ):
        assert words in out
