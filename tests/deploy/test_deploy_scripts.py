"""testbed.sh with stand-ins for its tools, and the workflow's commands."""

import argparse
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
import yaml

from podgym.cli import load_command
from podgym.envs.workloads import make_workload
from podgym.eval.live.load_command import PLACEHOLDERS

pytestmark = pytest.mark.source_tree

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "deploy" / "kind" / "testbed.sh"
WORKFLOW = ROOT / ".github" / "workflows" / "kind.yml"
TOKEN = "eyJ-this-is-secret"
APPLIED = """\
metadata:
  name: web
spec:
  replicas: 3
  template:
    spec:
      replicas: not a field, but deeper
"""

TOOL = r"""#!/usr/bin/env bash
printf '%s %s\n' "$(basename "$0")" "$*" >> "$CALLS"
write_kubeconfig() {  # as kind: into the file of --kubeconfig, else into that of $KUBECONFIG
    local file=${KUBECONFIG:-$HOME/.kube/config}
    while [ $# -gt 0 ]; do [ "$1" != --kubeconfig ] || file=$2; shift; done
    mkdir -p "$(dirname "$file")" && echo admin > "$file"
}
case "$(basename "$0") $*" in
    "kind get clusters") cat "$CLUSTERS" ;;
    "kind create cluster"*) echo podgym > "$CLUSTERS"; write_kubeconfig "$@" ;;
    "kind export kubeconfig"*) write_kubeconfig "$@" ;;
    "kind delete cluster"*) : > "$CLUSTERS" ;;
    *"jsonpath={.clusters[0].cluster.server}") printf 'https://127.0.0.1:6443' ;;
    *"certificate-authority-data}") printf 'Q0E=' ;;
    "kubectl "*"get events"*) echo "an event"; exit "${STATUS:-0}" ;;
    *"create token"*) printf '%s' "$TOKEN" ;;
    *view-last-applied*) [ -s "$APPLIED" ] || exit 1; cat "$APPLIED" ;;
    *set-last-applied*) cat > "$APPLIED" ;;
    *"apply --kustomize "*/base) printf '%s' "$BASE" > "$APPLIED" ;;
    curl*) echo '{"metric":{"pod":"web-1"}}' ;;
esac
"""


class Testbed:
    """The script with stand-ins that write down how they were called."""

    __test__ = False

    def __init__(self, folder: Path) -> None:
        self.calls_file = folder / "calls"
        self.kubeconfig = folder / "state" / "testbed.kubeconfig"
        self.admin_kubeconfig = folder / "state" / "testbed-admin.kubeconfig"
        self.applied = folder / "applied"
        (folder / "clusters").touch()
        tools = folder / "bin"
        tools.mkdir()
        for name in ("docker", "kind", "kubectl", "curl"):
            (tools / name).write_text(TOOL)
            (tools / name).chmod(0o755)
        self.environment = {
            "PATH": f"{tools}:{os.environ['PATH']}",
            "HOME": str(folder),
            "CALLS": str(self.calls_file),
            "CLUSTERS": str(folder / "clusters"),
            "TOKEN": TOKEN,
            "APPLIED": str(self.applied),
            "BASE": APPLIED,
            "PODGYM_TESTBED_KUBECONFIG": str(self.kubeconfig),
        }

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", str(SCRIPT), *arguments], env=self.environment, capture_output=True, text=True
        )

    def calls(self) -> str:
        text = self.calls_file.read_text() if self.calls_file.exists() else ""
        self.calls_file.unlink(missing_ok=True)
        return text


@pytest.fixture
def testbed(tmp_path: Path) -> Testbed:
    return Testbed(tmp_path)


def test_it_is_valid_bash() -> None:
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)
    if shutil.which("shellcheck") is not None:
        subprocess.run(["shellcheck", str(SCRIPT)], check=True)
    assert os.access(SCRIPT, os.X_OK)


def test_up_makes_the_cluster_once_and_brings_it_up_to_date_the_second_time(testbed: Testbed) -> None:
    first = testbed.run("up")
    assert first.returncode == 0, first.stderr
    calls = testbed.calls()
    assert "kind create cluster --config" in calls
    assert "kind load docker-image podgym-demo:0.1.0 --name podgym" in calls
    assert re.search(r"kubectl .*--context kind-podgym apply --kustomize \S+/manifests/base\n", calls)
    second = testbed.run("up")
    assert second.returncode == 0, second.stderr
    calls = testbed.calls()
    assert "kind create cluster" not in calls
    assert "apply --kustomize" in calls
    assert f"export KUBECONFIG={testbed.kubeconfig}" in second.stdout
    assert "podgym evaluate --cluster deploy/podgym.yml --mode shadow" in second.stdout


def test_every_kubectl_call_names_its_own_file_and_context(testbed: Testbed) -> None:
    testbed.run("up", "--with-hpa")
    testbed.run("status")
    calls = [line for line in testbed.calls().splitlines() if line.startswith("kubectl")]
    assert len(calls) > 10
    start = f"kubectl --kubeconfig {testbed.admin_kubeconfig} --context kind-podgym "
    assert all(line.startswith(start) for line in calls)


def test_a_shell_that_exports_podgyms_account_can_use_every_word(testbed: Testbed, tmp_path: Path) -> None:
    testbed.environment["KUBECONFIG"] = str(testbed.kubeconfig)
    for words in (("up",), ("up", "--with-hpa"), ("status",), ("kubectl", "get", "pods"), ("up",)):
        result = testbed.run(*words)
        assert result.returncode == 0, (words, result.stderr)
        assert yaml.safe_load(testbed.kubeconfig.read_text())["current-context"] == "podgym-testbed"
    assert testbed.admin_kubeconfig.read_text() == "admin\n"
    assert not (tmp_path / ".kube").exists()
    testbed.calls()
    assert testbed.run("down").returncode == 0
    assert f"kind delete cluster --name podgym --kubeconfig {testbed.admin_kubeconfig}" in testbed.calls()


def test_kubectl_is_handed_its_words_and_hands_back_its_status(testbed: Testbed) -> None:
    early = testbed.run("kubectl", "get", "events")
    assert early.returncode == 1
    assert "testbed.sh up" in early.stderr
    testbed.run("up")
    testbed.calls()
    testbed.environment["STATUS"] = "3"
    result = testbed.run("kubectl", "-n", "demo", "get", "events")
    assert (result.returncode, result.stdout) == (3, "an event\n")
    assert testbed.calls().endswith("--context kind-podgym -n demo get events\n")


def test_the_token_is_in_one_private_file_and_nowhere_else(testbed: Testbed) -> None:
    result = testbed.run("up")
    assert TOKEN in testbed.kubeconfig.read_text()
    assert stat.S_IMODE(testbed.kubeconfig.stat().st_mode) == 0o600
    assert TOKEN not in result.stdout + result.stderr + testbed.calls()
    content = yaml.safe_load(testbed.kubeconfig.read_text())
    assert content["contexts"][0]["name"] == content["current-context"] == "podgym-testbed"
    assert content["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:6443"


def test_with_hpa_brings_metrics_server_and_without_takes_the_hpa_away(testbed: Testbed) -> None:
    testbed.run("up", "--with-hpa")
    calls = testbed.calls()
    assert "metrics-server" in calls
    assert re.search(r"apply --kustomize \S+/manifests/with-hpa\n", calls)
    assert " delete " not in calls
    testbed.run("up")
    calls = testbed.calls()
    assert "metrics-server" not in calls
    taken = "hpa/web role/podgym-take-over rolebinding/podgym-take-over"
    assert f"--namespace demo delete {taken} --ignore-not-found\n" in calls


@pytest.mark.parametrize("there", [False, True])
def test_kubectl_forgets_the_replicas_before_it_applies_none(testbed: Testbed, there: bool) -> None:
    if there:
        testbed.run("up")
        assert testbed.applied.read_text() == APPLIED
    testbed.calls()
    assert testbed.run("up", "--with-hpa").returncode == 0
    assert testbed.applied.read_text() == APPLIED.replace("  replicas: 3\n", "")
    calls = testbed.calls()
    assert 0 < calls.index("set-last-applied") < calls.index("manifests/with-hpa")
    assert ("manifests/base" in calls) is not there


def test_down_removes_all_of_it_and_may_be_repeated(testbed: Testbed) -> None:
    testbed.run("up")
    assert testbed.run("down").returncode == 0
    assert "kind delete cluster --name podgym" in testbed.calls()
    assert not testbed.kubeconfig.exists()
    assert not testbed.admin_kubeconfig.exists()
    again = testbed.run("down")
    assert again.returncode == 0
    assert "there is no cluster podgym" in again.stdout
    assert "delete" not in testbed.calls()


def test_what_is_missing_is_named(testbed: Testbed, tmp_path: Path) -> None:
    (tmp_path / "bin" / "kind").unlink()
    system = tmp_path / "system"
    system.mkdir()
    for tool in ("bash", "dirname", "grep", "sed", "cat", "basename"):
        (system / tool).symlink_to(str(shutil.which(tool)))
    testbed.environment["PATH"] = f"{tmp_path / 'bin'}:{system}"
    result = testbed.run("up")
    assert result.returncode == 1
    assert "there is no kind on the PATH" in result.stderr
    assert "kind.sigs.k8s.io" in result.stderr


@pytest.mark.parametrize("arguments", [(), ("upp",), ("up", "--hpa")])
def test_a_wrong_word_is_refused_before_anything_happens(
    testbed: Testbed, arguments: tuple[str, ...]
) -> None:
    result = testbed.run(*arguments)
    assert result.returncode != 0
    assert result.stderr
    assert testbed.calls() == ""


def test_status_without_a_cluster_says_how_to_make_one(testbed: Testbed) -> None:
    result = testbed.run("status")
    assert result.returncode == 1
    assert "testbed.sh up" in result.stderr


# The workflow.


def test_the_workflow_runs_valid_bash_on_commands_that_exist() -> None:
    workflow = yaml.safe_load(WORKFLOW.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    job = workflow["jobs"]["end-to-end"]
    scripts = [step["run"] for step in job["steps"] if "run" in step]
    for script in scripts:
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
        for path in re.findall(r"\b(deploy/[\w./-]+)", script):
            assert (ROOT / path).exists(), path
    assert any("-m cluster" in script for script in scripts)
    assert scripts[-1] == "deploy/kind/testbed.sh down"
    assert all(
        "@" in step["uses"] and "latest" not in step["uses"] for step in job["steps"] if "uses" in step
    )


def test_commands_of_the_workflow_and_the_readme_are_those_of_podgym() -> None:
    text = WORKFLOW.read_text() + (ROOT / "deploy" / "README.md").read_text() + SCRIPT.read_text()
    found = re.findall(r"podgym (evaluate|restore|report|calibrate) ((?:\\+\n|[^\n`#;|])*)", text)
    assert len(found) > 14
    assert {name for name, _ in found} == {"evaluate", "restore", "report", "calibrate"}
    for name, rest in found:
        parser = argparse.ArgumentParser()
        load_command(name).add_arguments(parser)
        known = {option for action in parser._actions for option in action.option_strings}
        options = re.findall(r"(?<!\S)(--[a-z-]+)", re.sub(r'"[^"]*"', "", rest))
        assert options or name in ("report", "calibrate")
        assert set(options) <= known, (name, options)


def test_the_workflow_kills_a_run_and_looks_at_what_changed() -> None:
    workflow = yaml.safe_load(WORKFLOW.read_text())
    changed = workflow[True]["pull_request"]["paths"]  # YAML 1.1 reads "on" as true
    assert {"podgym/cli/**", "eval/live/**", "eval/calibration/**", "envs/kubernetes/**", "deploy/**"} < set(
        changed
    )
    (script,) = [
        each.get("run", "") for each in workflow["jobs"]["end-to-end"]["steps"] if "KILL" in str(each)
    ]
    killed, restored, back = (
        script.index(words) for words in ("-s KILL", "podgym restore", 'test "$(web .spec.replicas)" = 3')
    )
    assert killed < restored < back


# The load of the examples.

LOAD = (
    "python deploy/load/run.py --scenario burst --scale 0.1 --latency-s 0.097 --url http://localhost:8080 "
    "--duration-s {duration_s} --seed {seed} --output {output}"
)
EXAMPLES = ("deploy/README.md", "deploy/kind/testbed.sh", "docs/kubernetes.md", ".github/workflows/kind.yml")


def loads_of(text: str) -> list[str]:
    """The commands after LOAD= and --load, on one line each."""
    found = re.findall(r"""(?:LOAD=|LOAD: >-|--load )\s*["']?(python [^"'`]*?\{output\})""", text)
    return [" ".join(each.replace("\\", " ").split()) for each in found]


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_sends_the_same_load(name: str) -> None:
    text = (ROOT / name).read_text()
    assert loads_of(text) == [LOAD]
    assert text.count("--scenario burst") == 1


def test_the_help_of_evaluate_sends_it_too() -> None:
    parser = argparse.ArgumentParser()
    load_command("evaluate").add_arguments(parser)
    assert loads_of(str(parser.epilog)) == [LOAD]


def test_the_load_lasts_as_long_as_the_longest_example() -> None:
    lasts_s = make_workload("burst").max_duration_s
    for name in EXAMPLES:
        minutes = [float(each) for each in re.findall(r"--episode-minutes (\d+)", (ROOT / name).read_text())]
        assert minutes
        assert max(minutes) * 60.0 <= lasts_s
    assert set(re.findall(r"\{(\w+)\}", LOAD)) == set(PLACEHOLDERS)
