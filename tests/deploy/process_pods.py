"""One pod of the local cluster: a real process of the demo service and the Pod object that tells of it."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from deploy.process_api_server import ApiServer, now_text

ROOT = Path(__file__).resolve().parents[2]
SERVICE = ROOT / "deploy" / "demo" / "service.py"
SUFFIXES = {"": 1.0, "m": 1e-3, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30}
KILL_AFTER_S = 10.0


@dataclass(frozen=True, slots=True)
class PodOptions:
    """How the processes behave."""

    start_up_s: float = 0.2
    """Time from the start of the process until it is ready, besides what Python takes."""
    drain_s: float = 0.2
    """Time for which a terminating process still answers."""
    probe_period_s: float = 0.1
    """How often readiness is asked."""
    cpu_period_s: float = 0.01
    """Period of the CPU limit: the shorter, the more a pod of half a core is one of half the speed."""
    memory_mib: int = 0
    """Memory that each process holds besides what Python needs."""
    queue_limit: int = 1024
    """Requests that may wait in a process."""


def free_port() -> int:
    """Return a port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_process(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a program that ends with us, even if we are killed; its output goes to a file."""
    keeper = shutil.which("setpriv")
    prefix = [] if keeper is None else [keeper, "--pdeathsig", "KILL", "--"]
    with log.open("ab") as output:
        return subprocess.Popen(prefix + command, stdout=output, stderr=subprocess.STDOUT)


def quantity(text: str | float | None) -> float | None:
    """Return what a quantity such as ``500m`` or ``512Mi`` means; None for None."""
    if text is None:
        return None
    digits = str(text).rstrip("KMGim")
    return float(digits) * SUFFIXES[str(text)[len(digits) :]]


@dataclass(slots=True)
class ProcessPod:
    """A process and its Pod. Belongs to the thread of the API server."""

    server: ApiServer
    namespace: str
    name: str
    options: PodOptions
    folder: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = None
    ready: bool = False
    restarts: int = 0
    _killed_at_s: float | None = field(default=None)
    _applied: Any = None
    _probed_s: float = 0.0

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pod(self) -> dict[str, Any]:
        """A copy of its object."""
        return self.server.named("pods", self.namespace, self.name)

    @property
    def terminating(self) -> bool:
        """The deletion timestamp is set, or the object is gone."""
        found = self.server.objects.get(("pods", self.namespace, self.name))
        return found is None or "deletionTimestamp" in found["metadata"]

    def start(self) -> None:
        """Start the process; its CPU limit is a file beside the log."""
        self.port = free_port()
        pod = self.pod
        container = pod["spec"]["containers"][0]
        container["ports"] = [{"name": "http", "containerPort": self.port}]
        self._limit(container)
        cores = quantity(container.get("resources", {}).get("limits", {}).get("cpu")) or 1.0
        options = self.options
        self.process = start_process(
            [
                sys.executable, str(SERVICE), "--host", "127.0.0.1", "--port", str(self.port),
                "--workers", str(max(1, round(cores))), "--start-up-s", str(options.start_up_s),
                "--drain-s", str(options.drain_s), "--memory-mib", str(options.memory_mib),
                "--queue-limit", str(options.queue_limit), "--cpu-max", str(self._limit_file),
            ],
            self.folder / f"{self.name}.log",
        )  # fmt: skip
        running = {"state": {"running": {"startedAt": now_text()}}, "started": True}
        pod["status"] = {
            "phase": "Running",
            "startTime": pod.get("status", {}).get("startTime") or now_text(),
            "podIP": "127.0.0.1",
            "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": now_text()}],
            "containerStatuses": [self._container_status(container, running)],
        }
        self.server.store("pods", pod)
        self._set_ready(False)

    async def tend(self, session: aiohttp.ClientSession) -> bool:
        """Do what the kubelet does now; return whether the pod is over and its object gone."""
        if self.process is None:
            self.start()
            return False
        ended = self.process.poll() is not None
        if self.terminating:
            return self._end(ended)
        if ended:
            self._restart()
            return False
        self._resize()
        now_s = time.monotonic()
        if now_s - self._probed_s >= self.options.probe_period_s:
            self._probed_s = now_s
            ready = await self._probe(session)
            if not self.terminating:  # it may have been deleted meanwhile
                self._set_ready(ready)
        return False

    def stop(self) -> None:
        """Kill the process and wait for its end."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    @property
    def _limit_file(self) -> Path:
        return self.folder / f"{self.name}.cpu.max"

    def _limit(self, container: dict[str, Any]) -> None:
        cores = quantity(container.get("resources", {}).get("limits", {}).get("cpu"))
        period_us = round(self.options.cpu_period_s * 1e6)
        quota = "max" if cores is None else str(round(cores * period_us))
        draft = self._limit_file.with_suffix(".draft")
        draft.write_text(f"{quota} {period_us}\n", encoding="ascii")
        os.replace(draft, self._limit_file)
        self._applied = container.get("resources", {})

    def _container_status(self, container: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
        return {
            "name": container["name"],
            "image": container["image"],
            "imageID": container["image"],
            "ready": self.ready,
            "restartCount": self.restarts,
            "resources": container.get("resources", {}),
            **state,
        }

    def _resize(self) -> None:
        pod = self.pod
        container = pod["spec"]["containers"][0]
        if container.get("resources", {}) != self._applied:
            self._limit(container)
            pod["status"]["containerStatuses"][0]["resources"] = container.get("resources", {})
            self.server.store("pods", pod)

    def _set_ready(self, ready: bool) -> None:
        pod = self.pod
        conditions = {each["type"]: each for each in pod["status"].get("conditions", [])}
        status = str(ready)
        if conditions.get("Ready", {}).get("status") == status:
            return
        self.ready = ready
        for name in ("Ready", "ContainersReady"):
            conditions[name] = {"type": name, "status": status, "lastTransitionTime": now_text()}
        pod["status"]["conditions"] = list(conditions.values())
        pod["status"]["containerStatuses"][0]["ready"] = ready
        self.server.store("pods", pod)

    async def _probe(self, session: aiohttp.ClientSession) -> bool:
        try:
            async with session.get(f"{self.url}/readyz") as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False

    def _restart(self) -> None:
        code = self.process.returncode if self.process is not None else 0
        self.restarts += 1
        self.start()
        pod = self.pod
        ended = {"exitCode": code, "reason": "Error", "finishedAt": now_text(), "startedAt": now_text()}
        pod["status"]["containerStatuses"][0]["lastState"] = {"terminated": ended}
        self.server.store("pods", pod)

    def _end(self, ended: bool) -> bool:
        now_s = time.monotonic()
        if self.process is None or ended:
            self.server.remove("pods", self.namespace, self.name)
            return True
        if self._killed_at_s is None:
            self._killed_at_s = now_s
            self.process.send_signal(signal.SIGTERM)
            if ("pods", self.namespace, self.name) in self.server.objects:
                self._set_ready(False)
        elif now_s - self._killed_at_s > self.options.drain_s + KILL_AFTER_S:
            self.process.kill()
        return False
