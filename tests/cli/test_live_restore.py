"""``podgym restore`` against an API server over HTTP, as after a run that was killed."""

import json
import signal
import subprocess
import sys

import pytest
import yaml

pytest.importorskip("kubernetes")
pytest.importorskip("kmock")

from oracles.kmock_server import KmockServer
from oracles.server_rules import HPAS

from podgym.cli import main
from podgym.envs.cluster import Quota
from podgym.envs.kubernetes.api import KubernetesApi
from podgym.envs.kubernetes.connection import connect
from podgym.envs.kubernetes.settings import KubernetesSettings, MetricsSettings, TargetSettings
from podgym.envs.kubernetes.snapshot import ANNOTATION, save

MIB = 1024.0**2


@pytest.fixture
def server(tmp_path):
    with KmockServer(tmp_path) as started:
        started.add_deployment("web", replicas=2)
        started.add_deployment("api", replicas=4)
        yield started


@pytest.fixture
def settings_file(server, tmp_path):
    path = tmp_path / "cluster.yml"
    content = {
        "kubeconfig": str(server.kubeconfig),
        "metrics": {"url": "http://localhost:9"},
        "services": {"web": {"namespace": "demo"}, "api": {"namespace": "demo"}},
        "mode": "shadow",
    }
    path.write_text(yaml.safe_dump(content))
    return str(path)


def changed(server, name="web"):
    """Leave a Deployment as a killed run does: noted, scaled and with another quota."""
    settings = KubernetesSettings(
        services={name: TargetSettings(namespace="demo")},
        metrics=MetricsSettings(url="http://localhost:9"),
        kubeconfig=str(server.kubeconfig),
    )
    connection = connect(settings)
    api = KubernetesApi(connection, settings, sleep=pytest.fail)
    api.begin_step()
    noted = save(api, api.deployment("demo", name), (), "run-1")
    api.set_replicas(noted, 9)
    api.begin_step()
    api.set_quota(api.deployment("demo", name), "app", Quota(1.0, 1.0, 256 * MIB, 256 * MIB))
    connection.close()


def spec(server, name="web"):
    found = server.deployment(name)
    (container,) = found["spec"]["template"]["spec"]["containers"]
    return found["spec"]["replicas"], container["resources"], found["metadata"].get("annotations", {})


def test_after_a_kill_the_target_is_as_it_was_found(server, settings_file, capsys):
    before = spec(server)
    changed(server)
    assert spec(server)[0] == 9
    assert ANNOTATION in spec(server)[2]
    assert main(["restore", "--cluster", settings_file]) == 0
    assert spec(server) == before
    out = capsys.readouterr().out
    assert "demo/web: replicas 9 to 2" in out
    assert "demo/web: quota of container app restored" in out
    assert "demo/api: nothing to restore; no run left a note." in out
    assert main(["restore", "--cluster", settings_file]) == 0
    assert "demo/web: nothing to restore" in capsys.readouterr().out


def test_one_deployment_without_settings(server, capsys):
    changed(server)
    changed(server, "api")
    argv = ["restore", "--namespace", "demo", "--deployment", "api", "--kubeconfig", str(server.kubeconfig)]
    assert main([*argv, "--context", "kmock"]) == 0
    assert spec(server, "api")[0] == 4
    assert spec(server, "web")[0] == 9
    assert "demo/api: replicas 9 to 4" in capsys.readouterr().out


def test_a_dry_run_says_what_it_would_do_and_changes_nothing(server, settings_file, capsys):
    changed(server)
    before = spec(server)
    server.calls.clear()
    assert main(["restore", "--cluster", settings_file, "--dry-run"]) == 0
    assert spec(server) == before
    assert "demo/web: dry run: replicas 9 to 2" in capsys.readouterr().out
    assert server.writes
    assert all(call.query.get("dryRun") == "All" for call in server.writes)


def test_what_fails_is_said_the_rest_is_restored_and_the_note_stays(server, settings_file, capsys):
    changed(server)
    changed(server, "api")
    server.fail("PATCH", r"/deployments/web", status=403, times=99)
    server.fail("PUT", r"/deployments/web", status=403, times=99)
    assert main(["restore", "--cluster", settings_file]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("podgym: error: demo/web: ")
    assert "demo/api: replicas 9 to 4" in captured.out
    assert ANNOTATION in spec(server)[2]
    server.heal()
    assert main(["restore", "--cluster", settings_file]) == 0
    assert spec(server)[0] == 2


def test_a_deployment_that_is_gone_is_not_made_again(server, settings_file, capsys):
    server.objects["apps/v1/deployments", "demo", "web"].delete()
    assert main(["restore", "--cluster", settings_file]) == 1
    assert "demo/web" in capsys.readouterr().err
    assert not [call for call in server.writes if call.method == "POST"]


def test_a_note_that_cannot_be_read_is_no_reason_to_leave_the_others(server, settings_file, capsys):
    server.change("apps/v1/deployments", "demo", "web", {"metadata": {"annotations": {ANNOTATION: "{"}}})
    changed(server, "api")
    assert main(["restore", "--cluster", settings_file]) == 1
    captured = capsys.readouterr()
    assert "cannot be read" in captured.err
    assert "demo/api: replicas 9 to 4" in captured.out


@pytest.mark.parametrize(
    ("argv", "words"),
    [([], "--cluster FILE.yml, or --namespace and --deployment"),
     (["--namespace", "demo"], "--cluster FILE.yml, or --namespace and --deployment"),
     (["--cluster", "FILE", "--deployment", "web"], "--deployment does not go with --cluster"),
     (["--cluster", "no/such.yml"], "no/such.yml"),
     (["--cluster", "FILE", "--context", "kmok"], "kmock"),
     (["--namespace", "demo", "--deployment", "web", "--kubeconfig", "no/such"], "no/such")],
)  # fmt: skip
def test_bad_input(argv, words, server, settings_file, capsys):
    argv = [settings_file if word == "FILE" else word for word in argv]
    server.calls.clear()
    assert main(["restore", *argv]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("podgym: error: ")
    assert captured.err.count("\n") == 1
    assert words in captured.err
    assert not server.writes


KILLED = """
import sys, time
from podgym.envs.kubernetes.api import KubernetesApi
from podgym.envs.kubernetes.connection import connect
from podgym.envs.kubernetes.ownership import find_owners, stopped_state, take_over
from podgym.envs.kubernetes.settings import read_settings
from podgym.envs.kubernetes.snapshot import save

settings = read_settings(sys.argv[1])
api = KubernetesApi(connect(settings), settings)
api.begin_step()
owners = find_owners(api, api.deployment("demo", "web"))
noted = save(api, api.deployment("demo", "web"), stopped_state(owners), "run-1")
take_over(api, owners)
api.begin_step()
api.set_replicas(api.deployment("demo", "web"), 7)
print("ready", flush=True)
time.sleep(600)
"""


def test_kill_9_then_restore_gives_back_the_autoscaler_too(server, tmp_path, capsys):
    """A process takes over what an HPA manages, scales it, and is killed without a chance to clear up."""
    server.put(HPAS, "demo", "web", {
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                 "minReplicas": 1, "maxReplicas": 10},
    })  # fmt: skip
    hpa = server.get(HPAS, "demo", "web")["spec"]
    path = tmp_path / "take_over.yml"
    path.write_text(yaml.safe_dump({
        "kubeconfig": str(server.kubeconfig), "metrics": {"source": "metrics-server"}, "take_over": True,
        "services": {"web": {"namespace": "demo"}},
    }))  # fmt: skip
    before = spec(server)
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGKILL)
    assert spec(server)[0] == 7
    assert json.loads(spec(server)[2][ANNOTATION])["replicas"] == 2
    assert server.get(HPAS, "demo", "web")["spec"] != hpa
    assert main(["restore", "--cluster", str(path)]) == 0
    assert spec(server) == before
    assert server.get(HPAS, "demo", "web")["spec"] == hpa
    assert "demo/web: replicas 7 to 2" in capsys.readouterr().out
