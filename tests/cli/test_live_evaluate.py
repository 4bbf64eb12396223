"""``podgym evaluate --cluster``: what a user types and gets, on a simulation in the role of the cluster."""

import json
import signal

import pytest
import yaml
from oracles.simulated_live import Opener, raising

from podgym.baselines import CONTROLLERS
from podgym.cli import main
from podgym.envs.kubernetes.errors import AccessDeniedError
from podgym.eval.episode import read_episode
from podgym.eval.measures import MEASURES

FIVE = ["--episode-minutes", "5", "--pause-s", "0"]  # 20 steps


@pytest.fixture
def settings_file(tmp_path):
    path = tmp_path / "testbed.yml"
    content = {
        "environment": "podgym/Burst-v0",
        "metrics": {"url": "http://localhost:9"},
        "services": {"web": {"namespace": "demo"}},
    }
    path.write_text(yaml.safe_dump(content))
    return str(path)


@pytest.fixture
def cluster(monkeypatch):
    """What ``KubernetesEnv`` is replaced by; options may be added before it is opened."""
    opener = Opener()

    def opened(settings, *, planner, forecaster, **changes):
        return opener(settings, planner=planner, forecaster=forecaster, changes=changes)

    monkeypatch.setattr("podgym.envs.kubernetes.env.KubernetesEnv", opened)
    return opener


@pytest.fixture
def no_figure(monkeypatch):
    """Figures take longer than all else."""
    monkeypatch.setattr("podgym.eval.plots.save_figure", lambda path, *records: path)


@pytest.fixture
def evaluate(settings_file, tmp_path):
    def run(*argv, output="out"):
        folder = tmp_path / output
        return main(["evaluate", "--cluster", settings_file, *FIVE, "--output", str(folder), *argv])

    return run


def test_one_table_report_and_files_as_in_simulation(evaluate, cluster, tmp_path, capsys):
    assert evaluate("--controller", "hpa", "--seed", "7") == 0
    out = capsys.readouterr().out
    assert "cluster testbed: 1 episode (seed 7) of 5 min, a decision every 15 s" in out
    for words in ("response p95, ms", "core-hours", "replayed", "ready replicas", "CPU use, %", "(MAPE)"):
        assert words in out
    assert max(len(line) for line in out.splitlines() if not line.startswith(("wrote ", "next: "))) <= 80
    folder = tmp_path / "out"
    assert sorted(path.name for path in folder.iterdir()) == [
        "cluster-testbed-hpa-hpa-replayed-hpa-simulated-seed7.png",
        "cluster-testbed-hpa-replayed-seed7.parquet",
        "cluster-testbed-hpa-seed7.parquet",
        "cluster-testbed-hpa-simulated-seed7.parquet",
        "hpa-seed7",
        "results.json",
    ]
    assert sorted(path.name for path in (folder / "hpa-seed7").iterdir()) == [
        "decisions.jsonl", "live.parquet", "pods.csv", "replayed.parquet", "run.json", "scrapes.csv",
        "series.csv", "simulated.parquet",
    ]  # fmt: skip
    assert read_episode(folder / "cluster-testbed-hpa-seed7.parquet").num_steps == 20
    document = json.loads((folder / "results.json").read_text())
    assert [each["controller"] for each in document["results"]] == ["hpa", "hpa replayed", "hpa simulated"]
    assert set(document["results"][0]["mean"]) == {each.name for each in MEASURES}
    errors = document["live"]["predicted_against_observed"]
    replayed = [each for each in errors if each["simulator"] == "replayed"]
    assert {each["quantity"] for each in replayed} == {"replicas_ready", "response_time_s", "cpu_utilisation"}
    ready = next(each for each in replayed if each["quantity"] == "replicas_ready")
    assert ready["mean_absolute_percentage_error"] < 1e-6
    means = [row["mean"] for row in document["results"][:2]]  # the world is the one that is believed in
    for name in ("response_time_mean_s", "slo_violation_ratio", "core_hours", "cpu_utilisation"):
        assert means[1][name] == pytest.approx(means[0][name], rel=1e-6)
    assert document["live"]["recordings"][0]["intervals"] == 20
    assert str(folder / "hpa-seed7") in out
    assert out.endswith(f"next: podgym report {folder}\n")

    assert main(["report", str(folder)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("hpa ran on cluster testbed, one after another: one episode of 5 minutes.")
    assert max(map(len, out.splitlines()[:-3])) <= 80
    assert f"wrote {folder / 'report.html'}\nwrote {folder / 'report.md'}\nwrote 1 figures to" in out
    assert (folder / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert (folder / "report_files" / "live-episode-1.svg").is_file()


def test_a_controller_that_fails_leaves_a_recording_and_says_what_to_do(evaluate, cluster, tmp_path, capsys):
    own = tmp_path / "own.py"
    own.write_text(
        "class Mine:\n    name = 'mine'\n    def reset(self): self.n = 0\n"
        "    def decide(self, observation):\n        self.n += 1\n        1 / (self.n - 7)\n"
        "        from podgym.baselines import make_controller\n"
        "        return make_controller('static').decide(observation)\n"
    )
    assert evaluate("--controller", f"{own}:Mine", "static") == 1
    captured = capsys.readouterr()
    folder = tmp_path / "out"
    assert captured.err.count("\n") == 1
    assert "failed in interval 7 of seed 0: ZeroDivisionError" in captured.err
    assert "Mine, seed 0 ended after 6 of 20 intervals" in captured.out
    assert [each.closed for each in cluster.opened] == [1, 1]
    document = json.loads((folder / "results.json").read_text())
    episodes = {each["controller"]: each["duration_s"] for each in document["results"]}
    assert (episodes["Mine"], episodes["static"]) == (90.0, 300.0)
    assert [each["controller"] for each in document["live"]["failures"]] == ["Mine"]
    assert main(["report", str(folder)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "seed 0: ended after 6 of 20 intervals: " in out
    assert "- Failed: Mine failed in interval 7 of seed 0" in out
    assert "Their order: Mine, static (seed 0)." in out
    assert "ZeroDivisionError" in out


@pytest.mark.parametrize(
    ("argv", "words"),
    [(["--methods", "a", "b"], "--methods goes with the results of a protocol"),
     (["--no-episodes"], "--no-episodes goes with the results of a protocol"),
     (["--episode-seed", "3"], "episode seed 3 is not among those recorded: 0")],
)  # fmt: skip
def test_options_that_the_report_of_a_real_cluster_has_not(
    argv, words, evaluate, cluster, no_figure, tmp_path, capsys
):
    assert evaluate("--controller", "static") == 0
    capsys.readouterr()
    assert main(["report", str(tmp_path / "out"), "--output", str(tmp_path / "page"), *argv]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "page").exists()


def test_the_document_is_printed_for_programs(evaluate, cluster, no_figure, tmp_path, capsys):
    assert evaluate("--controller", "hpa", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "out" / "results.json").read_text())


def test_the_mode_and_the_length_reach_the_cluster(evaluate, cluster, no_figure, capsys):
    assert evaluate("--controller", "static", "--replicas", "5", "--mode", "shadow") == 0
    assert cluster.settings[0].mode == "shadow"
    assert cluster.changes[0]["episode_s"] == 300.0
    assert "Shadow mode: decisions were logged, and nothing was written." in capsys.readouterr().out


def test_in_shadow_mode_the_row_is_nobodys_merit(evaluate, cluster, no_figure, tmp_path, capsys):
    cluster.options["foreign"] = [5]
    assert evaluate("--controller", "cluster", "hpa", "--mode", "shadow") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "The row of hpa (shadow) is of whoever scaled the cluster meanwhile, not of a method." in out
    document = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {each["controller"] for each in document["results"]} == {
        "cluster", "cluster replayed", "hpa (shadow)", "hpa (shadow) replayed", "hpa (shadow) simulated"
    }  # fmt: skip
    predicted = document["live"]["predicted_against_observed"]
    assert {each["simulator"] for each in predicted} == {"replayed"}
    assert (tmp_path / "out" / "hpa-shadow-seed0").is_dir()
    assert main(["report", str(tmp_path / "out")]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "against cluster" not in out
    assert "hpa (shadow) decided and wrote nothing (shadow mode)" in out
    assert "--controller cluster hpa " in (tmp_path / "out" / "report.md").read_text()


def test_a_cluster_that_is_not_given_back_is_status_1_with_what_there_is(
    evaluate, cluster, no_figure, monkeypatch, tmp_path, capsys
):
    def stuck(self):
        raise RuntimeError("mine")

    monkeypatch.setattr("oracles.simulated_live.SimulatedLive.close", stuck)
    assert evaluate("--controller", "hpa", "static") == 1
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert (
        "not restored: RuntimeError: mine; podgym restore does it. Episodes that were not run: 1."
        in captured.err
    )
    document = json.loads((tmp_path / "out" / "results.json").read_text())
    assert document["live"]["aborted"].startswith("not restored")
    assert main(["report", str(tmp_path / "out")]) == 0
    assert "- The evaluation was ended: not restored" in " ".join(capsys.readouterr().out.split())


@pytest.mark.usefixtures("hangup_is_not_ignored")
@pytest.mark.parametrize(
    ("changes", "words"),
    [({}, "; the cluster was given back."), ({"mode": "shadow"}, "; nothing was changed in the cluster."),
     ({"restore": False}, "; replicas and quotas were left as they are (restore: false); podgym restore")],
)  # fmt: skip
def test_after_a_signal_it_says_what_became_of_the_cluster(
    changes, words, evaluate, cluster, settings_file, capsys
):
    with open(settings_file, "a") as file:
        file.write(yaml.safe_dump(changes) if changes else "")
    cluster.options["raises"] = (8, raising(signal.SIGHUP))
    assert evaluate("--controller", "hpa") == 129
    error = capsys.readouterr().err
    assert words in error
    assert ("given back" in error) == (not changes)


def test_the_autoscaler_in_the_cluster_and_ours_side_by_side(evaluate, cluster, no_figure, capsys):
    assert evaluate("--controller", "cluster", "hpa:cpu_target_percent=60", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    names = [each["controller"] for each in document["results"]]
    assert names == ["cluster", "cluster replayed", "hpa", "hpa replayed", "hpa simulated"]
    assert [each.mode for each in cluster.settings] == ["shadow", "act"]


def test_without_a_folder_the_recording_is_kept_all_the_same(
    settings_file, cluster, no_figure, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", "--cluster", settings_file, *FIVE, "--controller", "hpa"]) == 0
    (folder,) = (tmp_path / "results").iterdir()
    assert folder.name.startswith("live-")
    assert (folder / "hpa-seed0" / "run.json").is_file()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_gives_the_cluster_back_and_shows_in_the_exit_status(
    number, status, evaluate, cluster, tmp_path, capsys
):
    cluster.options["raises"] = (8, raising(number))
    assert evaluate("--controller", "hpa", "--episodes", "2") == status
    assert [each.closed for each in cluster.opened] == [1]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"stopped by {signal.Signals(number).name}; 1 episodes are recorded" in captured.err
    assert f"podgym report {tmp_path / 'out'}\n" in captured.err
    assert read_episode(tmp_path / "out" / "hpa-seed0" / "live.parquet").num_steps == 7


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_after_a_signal_there_are_results_of_the_episodes_that_were_over(
    number, status, evaluate, cluster, no_figure, tmp_path, capsys, monkeypatch
):
    class Later(type(cluster)):
        def __call__(self, *args, **fields):
            self.options = {"raises": (8, raising(number))} if len(self.opened) == 1 else {}
            return super().__call__(*args, **fields)

    monkeypatch.setattr(cluster, "__class__", Later)
    assert evaluate("--controller", "hpa", "static", "--episodes", "2") == status
    captured = capsys.readouterr()
    folder, name = tmp_path / "out", signal.Signals(number).name
    document = json.loads((folder / "results.json").read_text())
    rows = ["hpa", "hpa replayed", "hpa simulated"]
    assert [each["controller"] for each in document["results"]] == rows
    assert {each["duration_s"] for each in document["results"]} == {300.0}
    assert document["live"]["stopped"] == name
    assert [each["ended_because"] for each in document["live"]["recordings"]] == [None, name]
    assert any(each.startswith(f"stopped by {name}: rows are of") for each in document["remarks"])
    assert f"stopped by {name}: rows are of the episodes that were over." in " ".join(captured.out.split())
    assert "static, seed 0 ended after 7 of 20 intervals" in " ".join(captured.out.split())
    assert captured.err.count("\n") == 1
    assert f"stopped by {name}; 2 episodes are recorded" in captured.err
    assert main(["report", str(folder)]) == 0
    assert f"was stopped by {name}" in " ".join(capsys.readouterr().out.split())


def test_a_cluster_that_fails_is_status_1_and_one_line(evaluate, cluster, capsys):
    cluster.options["raises"] = (1, AccessDeniedError("patch deployments/scale in namespace demo"))
    assert evaluate("--controller", "hpa") == 1
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "patch deployments/scale" in captured.err
    assert "podgym report" not in captured.err  # there is nothing to report
    assert cluster.opened[0].closed == 1


ERRORS = {
    "env": (["--env", "podgym/Burst-v0"], "--env does not go with --cluster"),
    "workload": (["--workload", "burst"], "--workload does not go with --cluster"),
    "hours": (["--episode-hours", "1"], "--episode-hours does not go with --cluster"),
    "set": (["--set", "episode_s=60"], "--set does not go with --cluster"),
    "processes": (["--processes", "2"], "--processes does not go with --cluster"),
    "protocol": (["--protocol", "quick"], "--protocol does not go with --cluster"),
    "mode": (["--mode", "shdow"], "invalid choice: 'shdow'"),
    "controller": (["--controller", "hpaa"], "Did you mean 'hpa'?"),
    "load": (["--load", "no-such-program"], "there is no program 'no-such-program'"),
    "placeholder": (["--load", "python {sed}"], "Did you mean 'seed'?"),
    "minutes": (["--episode-minutes", "0"], "an episode of 0 s"),
    "pause": (["--pause-s", "-1"], "a pause of -1 s"),
    "seed": (["--seed", "-1"], "seed is -1"),
    "episodes": (["--episodes", "0"], "episodes is 0"),
    "future": (["--forecaster", "oracle"], "nobody knows the future"),
    "no policy": (["--agent", "no/such.policy"], "no/such.policy"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_bad_input_is_one_line_before_anything_is_opened(name, evaluate, cluster, tmp_path, capsys):
    argv, words = ERRORS[name]
    assert evaluate(*argv) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert words in captured.err
    assert captured.out == ""
    assert not cluster.opened
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [("services: {web: {}}\nmetrics: {urll: x}", "Did you mean 'url'"), ("[", "is not YAML"),
     ("services: {wob: {}}\nmetrics: {url: x}", "Did you mean 'web'")],
)  # fmt: skip
def test_bad_settings(content, words, tmp_path, cluster, capsys):
    path = tmp_path / "bad.yml"
    path.write_text(content)
    assert main(["evaluate", "--cluster", str(path), *FIVE]) == 2
    assert words in capsys.readouterr().err
    assert not cluster.opened


@pytest.mark.parametrize(
    ("argv", "words"),
    [(["--load", "true"], "--load goes with --cluster"), (["--mode", "shadow"], "--mode goes with --cluster"),
     (["--episode-minutes", "5"], "--episode-minutes goes with"), (["--pause-s", "5"], "--pause-s goes with"),
     (["--tensorboard"], "--tensorboard goes with"),
     (["--controller", "cluster"], "'cluster' is the autoscaler inside a real cluster")],
)  # fmt: skip
def test_options_of_a_real_cluster_need_one(argv, words, capsys):
    assert main(["evaluate", "--env", "podgym/Burst-v0", *argv]) == 2
    assert words in capsys.readouterr().err


def test_all_controllers_of_the_simulator_do_not_include_the_one_in_a_cluster(monkeypatch, capsys):
    few = {name: CONTROLLERS[name] for name in ("static", "cluster")}
    monkeypatch.setattr("podgym.baselines.CONTROLLERS", few)
    monkeypatch.setattr("podgym.agents.shipped.shipped_environments", tuple)
    argv = ["--env", "podgym/Burst-v0", "--episode-hours", "0.05", "--tuned", "no", "--json"]
    assert main(["evaluate", *argv, "--controller", "all"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [each["controller"] for each in document["results"]] == ["static"]
