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

pytestmark = pytest.mark.source_tree

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "deploy" / "kind" / "testbed.sh"
WORKFLOW = ROOT / ".github" / "workflows" / "kind.yml"
TOKEN = "eyJ-this-is-secret"

TOOL = r"""#!/usr/bin/env bash
printf '%s %s\n' "$(basename "$0")" "$*" >> "$CALLS"
case "$(basename "$0") $*" in
    "kind get clusters") cat "$CLUSTERS" ;;
    "kind create cluster"*) echo podgym > "$CLUSTERS" ;;
    "kind delete cluster"*) : > "$CLUSTERS" ;;
    *"jsonpath={.clusters[0].cluster.server}") printf 'https://127.0.0.1:6443' ;;
    *"certificate-authority-data}") printf 'Q0E=' ;;
    *"create token"*) printf '%s' "$TOKEN" ;;
    curl*) echo '{"metric":{"pod":"web-1"}}' ;;
esac
"""


class Testbed:
    """The script with stand-ins that write down how they were called."""

    __test__ = False

    def __init__(self, folder: Path) -> None:
        self.calls_file = folder / "calls"
        self.kubeconfig = folder / "state" / "testbed.kubeconfig"
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
    assert re.search(r"kubectl --context kind-podgym apply --kustomize \S+/manifests/base\n", calls)
    second = testbed.run("up")
    assert second.returncode == 0, second.stderr
    calls = testbed.calls()
    assert "kind create cluster" not in calls
    assert "apply --kustomize" in calls
    assert f"export KUBECONFIG={testbed.kubeconfig}" in second.stdout
    assert "podgym evaluate --cluster deploy/podgym.yml --mode shadow" in second.stdout


def test_every_kubectl_call_names_the_context(testbed: Testbed) -> None:
    testbed.run("up", "--with-hpa")
    testbed.run("status")
    calls = [line for line in testbed.calls().splitlines() if line.startswith("kubectl")]
    assert len(calls) > 10
    assert all(line.startswith("kubectl --context kind-podgym ") for line in calls)


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
    assert "delete hpa" not in calls
    testbed.run("up")
    calls = testbed.calls()
    assert "metrics-server" not in calls
    assert "--namespace demo delete hpa web --ignore-not-found" in calls


def test_down_removes_all_of_it_and_may_be_repeated(testbed: Testbed) -> None:
    testbed.run("up")
    assert testbed.run("down").returncode == 0
    assert "kind delete cluster --name podgym" in testbed.calls()
    assert not testbed.kubeconfig.exists()
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
    found = re.findall(r"podgym (evaluate|restore)((?:\\+\n|[^\n`#;|])*)", text)
    assert len(found) > 8
    for name, rest in found:
        parser = argparse.ArgumentParser()
        load_command(name).add_arguments(parser)
        known = {option for action in parser._actions for option in action.option_strings}
        options = re.findall(r"(?<!\S)(--[a-z-]+)", re.sub(r'"[^"]*"', "", rest))
        assert options
        assert set(options) <= known, (name, options)
