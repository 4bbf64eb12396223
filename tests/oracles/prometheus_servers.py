"""A Prometheus that plays every fault, and a real one that scrapes exporters in this process."""

import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

# Whoever imports this is left out where they are missing.
pytest.importorskip("prometheus_api_client")
pytest.importorskip("prometheus_client")

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from podgym.envs.kubernetes.queries import QUERIES
from podgym.envs.kubernetes.readings import WatchedService

EVALUATED_S = 1_700_000_100.0
SAMPLED_S = EVALUATED_S - 2.0
WEB_PODS = ("web-7d9f8b6c5d-x2k4q", "web-7d9f8b6c5d-b8m6z")
# Each default query stands for its own name, so that the fake knows which one is asked.
NAMED_QUERIES = {name: name for name, query in QUERIES.items() if query.promql}
HEALTHY: dict[str, list[tuple[dict[str, str], Any]]] = {
    "sample_time_s": [({}, SAMPLED_S)],
    "request_rate_rps": [({}, 20.0)],
    "error_rate_rps": [({}, 1.0)],
    "response_time_sum_rate": [({}, 4.0)],
    "response_time_count_rate": [({}, 20.0)],
    "response_time_buckets": [({"le": "0.1"}, 5.0), ({"le": "0.5"}, 20.0), ({"le": "+Inf"}, 20.0)],
    "in_flight": [({}, 3.0)],
    "lost_pods": [],
    "pod_sample_time_s": [({"pod": pod}, SAMPLED_S - 1.0) for pod in WEB_PODS],
    "pod_cpu_cores": [({"pod": pod}, 0.25) for pod in WEB_PODS],
    "pod_memory_bytes": [({"pod": pod}, 1e8) for pod in WEB_PODS],
}


def watched(name: str = "web", slo_response_time_s: float = 0.25, **changes: Any) -> WatchedService:
    """A service of namespace demo whose Deployment has its name."""
    fields = {"namespace": "demo", "deployment": name, "container": "app"} | changes
    return WatchedService(name=name, slo_response_time_s=slo_response_time_s, **fields)


@dataclass
class Reply:
    """What the fake sends back."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    fault: str = ""
    """``hang``, ``drip_headers``, ``drip_body``, ``reset`` or ``cut``: see ``_Handler``."""
    delay_s: float = 0.0


def success(result: Any, kind: str = "vector", **more: Any) -> Reply:
    """A successful answer."""
    content = {"status": "success", "data": {"resultType": kind, "result": result}} | more
    return Reply(json.dumps(content).encode(), headers={"Content-Type": "application/json"})


def vector(series: list[tuple[dict[str, str], Any]], evaluated_s: float = EVALUATED_S, **more: Any) -> Reply:
    """An instant vector of (labels, value)."""
    return success(
        [{"metric": labels, "value": [evaluated_s, str(value)]} for labels, value in series], **more
    )


def failure(kind: str, text: str, status: int = 200) -> Reply:
    """An answer that says of itself that it is an error."""
    content = {"status": "error", "errorType": kind, "error": text}
    return Reply(json.dumps(content).encode(), status)


@dataclass(frozen=True)
class Asked:
    """One request that the fake got."""

    path: str
    promql: str
    params: Mapping[str, str]
    authorization: str | None


class FakePrometheus:
    """Answers as it is told: ``replies`` by PromQL, else ``otherwise``, else healthy."""

    def __init__(self) -> None:
        self.replies: dict[str, Reply | Callable[[Asked], Reply]] = {}
        self.otherwise: Reply | None = None
        self.asked: list[Asked] = []
        self.closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.fake = self  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def names(self) -> list[str]:
        """The queries that were asked, in order."""
        return [each.promql for each in self.asked]

    def reply(self, asked: Asked) -> Reply:
        reply = self.replies.get(asked.promql, self.otherwise)
        if callable(reply):
            return reply(asked)
        return vector(HEALTHY.get(asked.promql, [])) if reply is None else reply

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        fake: FakePrometheus = self.server.fake  # type: ignore[attr-defined]
        parts = urllib.parse.urlsplit(self.path)
        params = dict(urllib.parse.parse_qsl(parts.query))
        asked = Asked(parts.path, params.get("query", ""), params, self.headers.get("Authorization"))
        fake.asked.append(asked)
        reply = fake.reply(asked)
        fake.closing.wait(reply.delay_s)
        try:
            self._send(reply, fake)
        except OSError:
            self.close_connection = True  # the client went away

    def _send(self, reply: Reply, fake: FakePrometheus) -> None:
        if reply.fault in ("hang", "drip_headers", "reset"):
            self.close_connection = True
        if reply.fault == "hang":
            fake.closing.wait(30.0)
        elif reply.fault == "drip_headers":
            self.wfile.write(b"HTTP/1.1 200 OK\r\n")
            self._drip(b"X-Slow: yes\r\n" * 1000, fake)
        elif reply.fault == "reset":
            # Closing with this option sends RST in place of FIN.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            self.connection.close()
        else:
            self.send_response(reply.status)
            length = len(reply.body) + (100 if reply.fault == "cut" else 0)
            for name, value in {"Content-Length": str(length), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if reply.fault == "drip_body":
                self._drip(reply.body, fake)
            else:
                self.wfile.write(reply.body)
            self.close_connection = reply.fault == "cut"

    def _drip(self, content: bytes, fake: FakePrometheus) -> None:
        for byte in content:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            if fake.closing.wait(0.05):
                return

    def log_message(self, *_: object) -> None:
        pass


class Pod:
    """An exporter that stands for one pod: HTTP metrics as common libraries have them, and cAdvisor's."""

    def __init__(
        self, name: str, container: str = "app", *, job: str = "pods", with_http: bool = True
    ) -> None:
        self.name, self.job = name, job
        self.registry = CollectorRegistry()
        self._open = True
        if with_http:
            self.requests = Counter("http_requests", "requests", ["code"], registry=self.registry)
            self.requests.labels("200")
            self.durations = Histogram(
                "http_request_duration_seconds", "durations", registry=self.registry,
                buckets=(0.05, 0.1, 0.25, 0.5, 1.0),
            )  # fmt: skip
            self.in_flight = Gauge("http_requests_in_flight", "in flight", registry=self.registry)
        of_container = {"container": container}
        names = list(of_container)
        self.cpu = Counter("container_cpu_usage_seconds", "CPU", names, registry=self.registry).labels(
            container
        )
        self.memory = Gauge(
            "container_memory_working_set_bytes", "memory", names, registry=self.registry
        ).labels(container)
        self.memory.set(64e6)
        self._server, self._thread = start_http_server(0, "127.0.0.1", registry=self.registry)

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    def serve(self, response_time_s: float, code: str = "200") -> None:
        """Count one request."""
        self.requests.labels(code).inc()
        self.durations.observe(response_time_s)
        self.cpu.inc(0.01)

    def close(self) -> None:
        """Stop listening, as a process that died."""
        if self._open:
            self._open = False
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()


class RealPrometheus:
    """A running Prometheus."""

    def __init__(self, url: str) -> None:
        self.url = url

    def query(self, promql: str, at_s: float | None = None) -> list[dict[str, Any]]:
        """Result of an instant query, without any code of ours."""
        params = {"query": promql} | ({} if at_s is None else {"time": f"{at_s:.3f}"})
        address = f"{self.url}/api/v1/query?{urllib.parse.urlencode(params)}"
        with urllib.request.urlopen(address, timeout=10) as answer:
            result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return result

    def number(self, promql: str, at_s: float | None = None) -> float:
        """The one value of a query."""
        (series,) = self.query(promql, at_s)
        return float(series["value"][1])


def wait_until(condition: Callable[[], Any], what: str, longest_s: float = 30.0) -> Any:
    """Poll until a condition holds, and return what it gave."""
    deadline_s = time.monotonic() + longest_s
    while time.monotonic() < deadline_s:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {longest_s:g} s")


@contextmanager
def running_prometheus(folder: Path, jobs: Mapping[str, tuple[str, list[Pod]]]) -> Iterator[RealPrometheus]:
    """Run Debian's Prometheus on a free port; it scrapes jobs of (interval, pods) of namespace demo."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("no prometheus on PATH")
    config = {
        "scrape_configs": [
            {
                "job_name": job,
                "scrape_interval": interval,
                "scrape_timeout": interval,
                "static_configs": [
                    {"targets": [pod.target], "labels": {"namespace": "demo", "pod": pod.name}}
                    for pod in pods
                ],
            }
            for job, (interval, pods) in jobs.items()
        ]
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        program, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn",
    ]  # fmt: skip
    with ExitStack() as stack:
        log = stack.enter_context((folder / "prometheus.log").open("wb"))
        process = stack.enter_context(subprocess.Popen(command, stdout=log, stderr=log))
        stack.callback(process.terminate)
        server = RealPrometheus(f"http://127.0.0.1:{port}")
        wait_until(lambda: _is_ready(server.url, process), "Prometheus is ready")
        yield server


def _is_ready(url: str, process: "subprocess.Popen[bytes]") -> bool:
    if process.poll() is not None:
        raise AssertionError(f"prometheus ended with status {process.returncode}")
    try:
        with urllib.request.urlopen(f"{url}/-/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
