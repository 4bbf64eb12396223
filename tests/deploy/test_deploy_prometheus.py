"""Prometheus' configuration and rules: promtool's verdict, and a real Prometheus that relabels as meant."""

import json
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("aiohttp")

from deploy.process_pods import free_port

pytestmark = [
    pytest.mark.source_tree,
    pytest.mark.skipif(shutil.which("promtool") is None, reason="needs Prometheus on the PATH"),
]

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "manifests" / "base" / "prometheus"


def promtool(*arguments: str, folder: Path = FOLDER) -> str:
    result = subprocess.run(["promtool", *arguments], cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_rules_are_valid_and_do_what_their_tests_say() -> None:
    assert "6 rules found" in promtool("check", "rules", "rules.yml")
    assert "SUCCESS" in promtool("test", "rules", "rules_test.yml")


@pytest.mark.parametrize(
    ("pattern", "mistake"),
    [
        (r'le="0\.25"', 'le="0.5"'),
        (r"demo:error_ratio > 0\.01", "demo:error_ratio > 0.5"),
        ("for: 1m", "for: 5m"),
    ],
)
def test_the_tests_of_the_rules_can_fail(tmp_path: Path, pattern: str, mistake: str) -> None:
    rules = (FOLDER / "rules.yml").read_text()
    broken = re.sub(pattern, mistake, rules)
    assert broken != rules
    (tmp_path / "rules.yml").write_text(broken)
    shutil.copy(FOLDER / "rules_test.yml", tmp_path)
    result = subprocess.run(
        ["promtool", "test", "rules", "rules_test.yml"], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode != 0


def test_rules_ask_for_metrics_that_the_demo_exports() -> None:
    exported = set(re.findall(r'"((?:http|work)_[a-z_]+)"', (ROOT / "deploy/demo/service.py").read_text()))
    known = {f"{name}{ending}" for name in exported for ending in ("", "_total", "_bucket", "_count", "_sum")}
    asked = set(re.findall(r"\b(http_[a-z_]+)\b", (FOLDER / "rules.yml").read_text()))
    assert asked
    assert asked <= known


def without_discovery(targets: list[dict[str, Any]]) -> dict[str, Any]:
    """The configuration with the discovery of pods replaced by a list; Debian's build knows no Kubernetes."""
    config: dict[str, Any] = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    for job in config["scrape_configs"]:
        assert job.pop("kubernetes_sd_configs")
        if job["job_name"] == "pods":
            job["static_configs"] = targets
        else:
            job["authorization"]["credentials_file"] = "/dev/null"
    return config


def pod(name: str, **changed: str) -> dict[str, Any]:
    labels = {
        "__meta_kubernetes_namespace": "demo",
        "__meta_kubernetes_pod_name": name,
        "__meta_kubernetes_pod_ip": "127.0.0.1",
        "__meta_kubernetes_pod_phase": "Running",
        "__meta_kubernetes_pod_container_name": "web",
        "__meta_kubernetes_pod_annotation_prometheus_io_scrape": "true",
        "__meta_kubernetes_pod_annotation_prometheus_io_port": "1",
    }
    return {"targets": ["ignored:1234"], "labels": labels | changed}


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What a real Prometheus makes of some pods."""
    folder = tmp_path_factory.mktemp("prometheus")
    config = without_discovery(
        [
            pod("web-1"),
            pod("silent", __meta_kubernetes_pod_annotation_prometheus_io_scrape="false"),
            pod("over", __meta_kubernetes_pod_phase="Succeeded"),
            pod("waiting", __meta_kubernetes_pod_phase="Pending"),
        ]
    )
    shutil.copy(FOLDER / "rules.yml", folder)
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    promtool("check", "config", "prometheus.yml", folder=folder)
    port = free_port()
    process = subprocess.Popen(
        [
            "prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data",
            f"--web.listen-address=127.0.0.1:{port}", "--log.level=error",
            "--scrape.discovery-reload-interval=100ms",
        ],
        cwd=folder,
    )  # fmt: skip
    try:
        yield poll(f"http://127.0.0.1:{port}/api/v1/targets")
    finally:
        process.terminate()
        process.wait(10)


def poll(url: str) -> dict[str, Any]:
    end_s = time.monotonic() + 120.0
    while time.monotonic() < end_s:
        try:
            with urllib.request.urlopen(url, timeout=2.0) as answer:
                data: dict[str, Any] = json.load(answer)["data"]
        except OSError:
            data = {}
        if data.get("activeTargets"):
            return data
        time.sleep(0.1)
    raise TimeoutError(url)


def test_annotated_pods_are_scraped_with_the_labels_of_the_default_queries(targets: dict[str, Any]) -> None:
    (only,) = targets["activeTargets"]
    assert only["scrapeUrl"] == "http://127.0.0.1:1/metrics"
    assert only["labels"] == {
        "namespace": "demo", "pod": "web-1", "container": "web", "instance": "127.0.0.1:1", "job": "pods",
    }  # fmt: skip


def test_other_pods_are_left_alone(targets: dict[str, Any]) -> None:
    dropped = {each["discoveredLabels"]["__meta_kubernetes_pod_name"] for each in targets["droppedTargets"]}
    assert dropped == {"silent", "over", "waiting"}
