"""A local cluster of processes: an API server on kmock, demo-service processes as pods, a real Prometheus.

    with ProcessCluster(tmp_path, replicas=2) as cluster:
        cluster.wait_ready(2)
        settings = read_settings(cluster.settings_file)          # KubernetesSettings for all of it
        ...                                                      # observe, scale, resize, evict, delete
        subprocess.run(cluster.load_command("--profile", "load.csv", "--output", "out"))

What is real: HTTP, optimistic locking, rolling updates, start-up and draining of processes, their CPU use
under a CPU limit (the service throttles itself as the kernel would), in-place resize, the load, and a
Prometheus that finds the pods through ``file_sd`` with the labels ``namespace``, ``pod`` and ``container``.
It notices a new pod up to 5 s late, as any Prometheus does. What is not: nodes, memory limits (nothing is
killed for its memory), an HPA (objects of it can be put in, nobody acts on them), cAdvisor (its metrics are
replaced by those of the process; the settings file says so).

- ``settings_file``, ``kubeconfig``, ``prometheus_url``, ``api_url``
- ``url``: a TCP proxy that deals out connections to the ready pods in turn; it takes about 0.2 ms of CPU per
  request. ``load_command`` needs no proxy: it reads the ready pods from ``endpoints_file`` and takes the next
  for every request.
- ``deployment()``, ``pods()``: copies of the objects; ``change(...)``: what ``kubectl patch`` does
- ``inject(lambda server: server["patch /..."] ** 10 << 500)``: faults, see ``process_api_server``;
  ``inject(lambda server: server.forget_faults())`` ends them
- ``requests()``: method and path of what the API server was asked, in order
- ``wait_ready(n)``, ``wait_until(condition)``: poll; TimeoutError says what was seen
- ``python tests/deploy/process_kubelet.py --replicas 2``: runs until Ctrl-C, to try things by hand

Everything ends with the ``with`` block, or with this process if it is killed.
"""

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

if __name__ == "__main__":  # run by hand, from anywhere
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import aiohttp
import kmock
import yaml
from deploy.process_api_server import ApiServer, merged
from deploy.process_deployment import ProcessDeployment, deployment_object, node_object
from deploy.process_pods import ROOT, PodOptions, free_port, start_process

NAMESPACE = "demo"
NAME = "web"
TICK_S = 0.05
PODS = '{namespace="${namespace}",pod=~"${pods}"}'
QUERIES = {
    "pod_sample_time_s": f"max by (pod) (timestamp(process_resident_memory_bytes{PODS}))",
    "pod_cpu_cores": f"sum by (pod) (rate(process_cpu_seconds_total{PODS}[${{window}}]))",
    "pod_memory_bytes": f"max by (pod) (process_resident_memory_bytes{PODS})",
}
"""In place of those for cAdvisor, see ``podgym.envs.kubernetes.queries``."""


class ProcessCluster:
    """See the module's docstring. To be used as a context manager."""

    def __init__(
        self,
        folder: Path,
        *,
        replicas: int = 1,
        cpu_cores: float = 0.5,
        memory_mib: int = 512,
        pod_options: PodOptions | None = None,
        scrape_interval_s: float = 0.5,
        settings: Mapping[str, Any] | None = None,
        prometheus: bool = True,
    ) -> None:
        """Describe the cluster; it starts with the ``with`` block.

        Args:
            folder: for files and logs.
            replicas: replicas of the Deployment at the start.
            cpu_cores: CPU request and limit of a pod.
            memory_mib: memory request and limit of a pod, MiB.
            pod_options: how the processes behave.
            scrape_interval_s: how often Prometheus scrapes.
            settings: merged into the settings file, such as ``{"mode": "shadow"}``.
            prometheus: whether to start one; without it ``prometheus_url`` answers nothing.
        """
        self.folder = folder
        self.pods_folder = folder / "pods"
        self.pods_folder.mkdir(parents=True, exist_ok=True)
        self.settings_file = folder / "cluster.yml"
        self.kubeconfig = folder / "kubeconfig"
        self.endpoints_file = folder / "endpoints.json"
        self._targets_file = folder / "targets.json"
        self._wanted = {"replicas": replicas, "cpu_cores": cpu_cores, "memory_mib": memory_mib}
        self._pod_options = pod_options or PodOptions()
        self._scrape_interval_s = scrape_interval_s
        self._settings = dict(settings or {})
        self._with_prometheus = prometheus
        self._prometheus: subprocess.Popen[bytes] | None = None
        self._prometheus_port = free_port()
        self.prometheus_url = f"http://127.0.0.1:{self._prometheus_port}"
        self.api_url = ""
        self.url = ""
        self._turn = 0
        self._written: dict[Path, str] = {}
        self._started = threading.Event()
        self._failure: BaseException | None = None

    def __enter__(self) -> Self:
        if self._with_prometheus and shutil.which("prometheus") is None:
            raise FileNotFoundError("there is no prometheus on the PATH")
        self._thread = threading.Thread(target=self._run_thread, name="process-cluster", daemon=True)
        self._thread.start()
        self._started.wait(30.0)
        if self._failure is not None:
            raise self._failure
        self._write_kubeconfig()
        self._write_settings()
        if self._with_prometheus:
            self.wait_until(self._prometheus_ready, 30.0, "Prometheus answers")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30.0)
        if self._failure is not None and error is None:
            raise self._failure

    # What tests do.

    def inject(self, action: Callable[[ApiServer], Any]) -> Any:
        """Call something with the API server, in its thread, and return its result."""

        async def call() -> Any:
            return action(self._server)

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(10.0)

    def deployment(self) -> dict[str, Any]:
        """Return a copy of the Deployment."""
        found: dict[str, Any] = self.inject(lambda server: server.named("deployments", NAMESPACE, NAME))
        return found

    def pods(self) -> list[dict[str, Any]]:
        """Return copies of the pods, oldest first, terminating ones included."""
        found: list[dict[str, Any]] = self.inject(lambda server: server.listed("pods", NAMESPACE))
        return found

    def change(self, patch: Mapping[str, Any]) -> None:
        """Change the Deployment as someone else would: ``{"spec": {"replicas": 5}}``."""
        self.inject(
            lambda server: server.store(
                "deployments", merged(server.named("deployments", NAMESPACE, NAME), patch)
            )
        )

    def requests(self) -> list[tuple[str, str]]:
        """Return method and path of all requests that reached the API server."""
        return [(each.method.value, each.url.path) for each in self.inject(list)]

    def ready_count(self) -> int:
        """Return how many pods get traffic."""
        return int(self.inject(lambda _: len(self._deployment.ready)))

    def wait_ready(self, count: int, timeout_s: float = 30.0) -> None:
        """Wait until exactly ``count`` pods are ready and no other is there, and Prometheus has seen them."""

        def settled() -> bool:
            pods = self.pods()
            return len(pods) == count == self.ready_count() and (
                not self._with_prometheus or self.scraped_pods() == {pod["metadata"]["name"] for pod in pods}
            )

        self.wait_until(settled, timeout_s, f"{count} pods are ready")

    def scraped_pods(self) -> set[str]:
        """Return the names of the pods that Prometheus could scrape last time."""
        result = self.query('up{namespace="demo"} == 1')
        return {each["metric"]["pod"] for each in result}

    def query(self, promql: str) -> list[dict[str, Any]]:
        """Return what Prometheus answers to an instant query."""
        address = f"{self.prometheus_url}/api/v1/query?query={urllib.request.quote(promql)}"  # type: ignore[attr-defined]
        with urllib.request.urlopen(address, timeout=5.0) as answer:
            result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return result

    def wait_until(self, condition: Callable[[], object], timeout_s: float = 120.0, what: str = "it") -> None:
        """Poll until a condition holds.

        Raises:
            TimeoutError: it did not within the time.
        """
        end_s = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > end_s:
                pods = [(pod["metadata"]["name"], pod["status"]["phase"]) for pod in self.pods()]
                raise TimeoutError(f"not within {timeout_s:g} s: {what}; pods: {pods}, {self.folder}")
            time.sleep(TICK_S)

    def load_command(self, *arguments: str) -> list[str]:
        """Return the command that puts load on the ready pods, each request on the next of them."""
        runner = str(ROOT / "deploy" / "load" / "run.py")
        return [sys.executable, runner, "--endpoints", str(self.endpoints_file), *arguments]

    # The thread.

    def _run_thread(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as error:
            self._failure = error
        finally:
            self._started.set()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._server = ApiServer()
        self._server.store("namespaces", {"metadata": {"name": NAMESPACE}})
        self._server.store("nodes", node_object())
        self._server.store("deployments", deployment_object(NAMESPACE, NAME, **self._wanted))  # type: ignore[arg-type]
        self._deployment = ProcessDeployment(
            self._server, NAMESPACE, NAME, self._pod_options, self.pods_folder
        )
        timeout = aiohttp.ClientTimeout(total=1.0)
        connector = aiohttp.TCPConnector(force_close=True)
        proxy = await asyncio.start_server(self._forward, "127.0.0.1", 0, backlog=1024)
        self.url = f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
        try:
            async with (
                self._server,
                kmock.Server(self._server) as served,
                aiohttp.ClientSession(timeout=timeout, connector=connector) as session,
            ):
                self.api_url = str(served.url).rstrip("/")
                if self._with_prometheus:
                    self._start_prometheus()
                await self._reconcile_for_ever(session)
        finally:
            proxy.close()
            self._deployment.stop()
            if self._prometheus is not None:
                self._prometheus.terminate()
                self._prometheus.wait()

    async def _reconcile_for_ever(self, session: aiohttp.ClientSession) -> None:
        while not self._stop.is_set():
            await self._deployment.reconcile(session)
            self._write_targets()
            self._started.set()
            await asyncio.sleep(TICK_S)

    def _write_targets(self) -> None:
        pods = self._deployment.pods
        targets = [
            {
                "targets": [f"127.0.0.1:{pod.port}"],
                "labels": {"namespace": NAMESPACE, "pod": pod.name, "container": NAME, "service": NAME},
            }
            for pod in pods
            if pod.port
        ]
        self._write(self._targets_file, json.dumps(targets))
        self._write(self.endpoints_file, json.dumps([pod.url for pod in self._deployment.ready]))

    def _write(self, path: Path, text: str) -> None:
        if self._written.get(path) == text:
            return
        draft = path.with_name(f".{path.name}")
        draft.write_text(text, encoding="utf-8")
        os.replace(draft, path)
        self._written[path] = text

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ready = self._deployment.ready
        if not ready:
            writer.close()
            return
        self._turn += 1
        try:
            pod_reader, pod_writer = await asyncio.open_connection(
                "127.0.0.1", ready[self._turn % len(ready)].port
            )
        except OSError:
            writer.close()
            return
        await asyncio.gather(_copy(reader, pod_writer), _copy(pod_reader, writer))

    # Files.

    def _start_prometheus(self) -> None:
        config = {
            "global": {"scrape_interval": f"{round(self._scrape_interval_s * 1000)}ms"},
            "scrape_configs": [
                {
                    "job_name": "pods",
                    "scrape_timeout": f"{round(min(self._scrape_interval_s, 1.0) * 1000)}ms",
                    "file_sd_configs": [{"files": [str(self._targets_file)], "refresh_interval": "1s"}],
                }
            ],
        }
        self._write_targets()
        file = self.folder / "prometheus.yml"
        file.write_text(yaml.safe_dump(config), encoding="utf-8")
        self._prometheus = start_process(
            [
                "prometheus", f"--config.file={file}", f"--storage.tsdb.path={self.folder / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{self._prometheus_port}", "--log.level=warn",
                "--scrape.discovery-reload-interval=200ms",
            ],
            self.folder / "prometheus.log",
        )  # fmt: skip

    def _prometheus_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.prometheus_url}/-/ready", timeout=1.0) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _write_kubeconfig(self) -> None:
        cluster = {"name": "processes", "cluster": {"server": self.api_url}}
        user = {"name": "podgym", "user": {"token": "not-a-secret"}}
        context = {"name": "processes", "context": {"cluster": "processes", "user": "podgym"}}
        content = {
            "apiVersion": "v1", "kind": "Config", "current-context": "processes",
            "clusters": [cluster], "users": [user], "contexts": [context],
        }  # fmt: skip
        self.kubeconfig.write_text(yaml.safe_dump(content), encoding="utf-8")

    def _write_settings(self) -> None:
        settings = {
            "kubeconfig": str(self.kubeconfig),
            "context": "processes",
            "environment": "podgym/Trace-v0",
            "services": {NAME: {"namespace": NAMESPACE, "max_replicas": 6}},
            "metrics": {
                "url": self.prometheus_url,
                "queries": QUERIES,
                "window_s": max(1.0, 6.0 * self._scrape_interval_s),
                "max_age_s": max(2.0, 10.0 * self._scrape_interval_s),
                "history_s": 0.0,
            },
        }
        text = yaml.safe_dump(merged(settings, self._settings), sort_keys=False)
        self.settings_file.write_text(text, encoding="utf-8")


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while chunk := await source.read(65536):
            target.write(chunk)
            await target.drain()
    except OSError:
        pass
    finally:
        target.close()


def main() -> None:
    """Run a cluster until Ctrl-C."""
    parser = argparse.ArgumentParser(description="A local cluster of processes, until Ctrl-C.")
    parser.add_argument("--folder", type=Path, default=None, help="for files; default: temporary")
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--cpu-cores", type=float, default=0.5, help="CPU limit of a pod")
    parser.add_argument("--start-up-s", type=float, default=2.0)
    parser.add_argument("--scrape-interval-s", type=float, default=1.0)
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="podgym-processes-"))
    cluster = ProcessCluster(
        folder, replicas=options.replicas, cpu_cores=options.cpu_cores,
        pod_options=PodOptions(start_up_s=options.start_up_s), scrape_interval_s=options.scrape_interval_s,
    )  # fmt: skip
    with cluster:
        cluster.wait_ready(options.replicas)
        print(f"settings:   {cluster.settings_file}\nAPI server: {cluster.api_url}")
        print(f"Prometheus: {cluster.prometheus_url}\nservice:    {cluster.url}")
        print("load:       " + " ".join(cluster.load_command("--scenario", "burst", "--scale", "0.05")))
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
