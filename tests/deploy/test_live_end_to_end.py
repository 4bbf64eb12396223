"""The whole way on a local cluster of real processes: evaluate, kill, restore, calibrate."""

import json
import shlex
import shutil
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("kmock")
pytest.importorskip("aiohttp")

from deploy.process_kubelet import ProcessCluster

pytestmark = [
    pytest.mark.source_tree,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="there is no prometheus on the PATH"),
    # Not imported: it would patch the standard library.
    pytest.mark.skipif(find_spec("locust") is None, reason="locust is not installed"),
]

INTERVAL_S = 1.0
SETTINGS = {
    "safety": {"down_window_s": 2.0, "rate_period_s": 1.0},
    "metrics": {"window_s": 3.0, "max_age_s": 10.0},
    "changes": {
        "cluster": {
            "control_interval_s": INTERVAL_S,
            "tick_s": 0.5,
            "monitoring": {"scrape_interval_s": 0.5, "window_s": 3.0, "scrape_delay_s": 0.5},
        }
    },
}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "podgym", *arguments]


def podgym(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=240)


def scaling(cluster: ProcessCluster, folder: Path) -> list[str]:
    """The command line of a run that wants four pods."""
    return command(
        "evaluate", "--cluster", str(cluster.settings_file), "--controller", "static:replicas=4",
        "--episode-minutes", "2", "--output", str(folder / "live"),
    )  # fmt: skip


def note(cluster: ProcessCluster) -> str | None:
    """What a run wrote on the Deployment."""
    return (cluster.deployment()["metadata"].get("annotations") or {}).get("podgym.dev/before")


@pytest.mark.slow
def test_a_killed_run_is_undone_by_restore(tmp_path):
    with ProcessCluster(tmp_path, replicas=2, settings=SETTINGS) as cluster:
        cluster.wait_ready(2)
        before = cluster.deployment()["spec"]
        run = subprocess.Popen(
            scaling(cluster, tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            cluster.wait_until(lambda: cluster.deployment()["spec"]["replicas"] == 4, 60.0, "it scales")
        finally:
            run.kill()
            run.wait()
        assert note(cluster) is not None
        refused = subprocess.run(scaling(cluster, tmp_path), capture_output=True, text=True, timeout=240)
        assert refused.returncode == 2
        assert "podgym restore" in refused.stderr
        restored = podgym("restore", "--cluster", str(cluster.settings_file))
        assert restored.returncode == 0, restored.stderr
        assert cluster.deployment()["spec"] == before
        assert note(cluster) is None


@pytest.mark.slow
def test_sigterm_gives_the_target_back(tmp_path):
    with ProcessCluster(tmp_path, replicas=2, settings=SETTINGS) as cluster:
        cluster.wait_ready(2)
        before = cluster.deployment()["spec"]
        run = subprocess.Popen(
            scaling(cluster, tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        cluster.wait_until(lambda: cluster.deployment()["spec"]["replicas"] == 4, 60.0, "it scales")
        run.send_signal(signal.SIGTERM)
        _, stderr = run.communicate(timeout=240)
        assert run.returncode == 143, stderr
        assert cluster.deployment()["spec"] == before
        assert note(cluster) is None


@pytest.mark.slow
def test_the_simulator_calibrated_on_a_recording_agrees_with_it(tmp_path):
    """Mean response time and CPU use of the fitted simulator are within 15 % of those of real processes."""
    ramp = tmp_path / "load.csv"
    ramp.write_text("time_s,rate_rps\n0,10\n5,10\n35,60\n60,60\n")
    with ProcessCluster(tmp_path, replicas=2, cpu_cores=0.2, settings=SETTINGS) as cluster:
        cluster.wait_ready(2)
        load = shlex.join(
            cluster.load_command(
                "--profile", str(ramp), "--demand-s", "0.004", "--latency-s", "0.097", "--output", "{output}"
            )
        )
        run = podgym(
            "evaluate", "--cluster", str(cluster.settings_file), "--controller", "cluster",
            "--episode-minutes", "0.6", "--load", load, "--output", str(tmp_path / "live"),
        )  # fmt: skip
    assert run.returncode == 0, run.stderr
    fitted = podgym("calibrate", str(tmp_path / "live" / "cluster-seed0"), "--json")
    assert fitted.returncode == 0, fitted.stderr
    document = json.loads(fitted.stdout)
    parameters = document["changes"]["cluster"]["services"]["web"]["parameters"]
    assert 0.004 < parameters["cpu_demand_core_s"] < 0.008  # the work, and what HTTP costs
    assert 0.07 < parameters["base_latency_s"] < 0.12
    errors = {row["measure"]: row["error"] for row in document["validation"]["after"]}
    assert abs(errors["response_time_mean_s"]) < 0.15
    assert abs(errors["cpu_cores"]) < 0.15
