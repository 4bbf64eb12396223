"""The demo service: an HTTP server whose requests need as much CPU time as they ask for.

    python service.py --port 8080 --workers 1

``GET /work?cpu_s=0.0086&cv=1&latency_s=0`` uses 8.6 ms of CPU time on average (exponentially distributed
with ``cv=1``, always the same with ``cv=0``) and waits ``latency_s`` besides, as for a database; the
handling takes some 0.6 ms of CPU time more. Requests wait in one queue, first come first served, for one of
``--workers`` threads; when it is full, 503 at once.
``GET /metrics`` is for Prometheus, ``/healthz`` for liveness, ``/readyz`` for readiness: 503 during
``--start-up-s`` and from SIGTERM on. After SIGTERM requests are still answered for ``--drain-s``, until every
endpoint list has forgotten the pod; then the rest is finished and the process ends with status 0.
"""

import argparse
import asyncio
import math
import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web
from cpu import CpuWorkers, draw_demand
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

BUCKETS_S = (
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.125, 0.15, 0.175, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75,
    1.0, 1.5, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
"""Upper bounds of the latency histogram, seconds; 0.25 is the service level objective."""
DEMAND_S = 0.0086
"""Default CPU time of a request, core seconds: that of the simulated service."""
LARGEST_S = 60.0


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    port: int
    host: str
    workers: int
    queue_limit: int
    start_up_s: float
    drain_s: float
    memory_mib: int
    cpu_max: Path | None
    seed: int | None


class Metrics:
    """What ``/metrics`` shows."""

    def __init__(self) -> None:
        disable_created_metrics()
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "http_requests", "Requests that ended, by status code", ["code"], registry=self.registry
        )
        self.duration = Histogram(
            "http_request_duration_seconds",
            "From arrival to answer",
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        self.in_flight = Gauge("http_requests_in_flight", "Requests in the system", registry=self.registry)
        self.cpu = Counter("work_cpu_seconds", "CPU time that requests used", registry=self.registry)
        ProcessCollector(registry=self.registry)
        for code in ("200", "503"):
            self.requests.labels(code)  # there from the start, so that the first failure is an increase


class DemoService:
    """State and handlers of one process."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.metrics = Metrics()
        self.workers = CpuWorkers(options.workers, options.cpu_max)
        self.random_numbers = random.Random(options.seed)
        self.waiting = 0
        self.in_flight = 0
        self.started = False
        self.terminating = asyncio.Event()
        self.memory = bytearray(options.memory_mib * 1024**2)
        self.memory[::4096] = b"\1" * len(self.memory[::4096])  # touched, or it would not count

    def application(self) -> web.Application:
        """Return the routes."""
        application = web.Application()
        application.router.add_get("/work", self.work)
        application.router.add_get("/metrics", self.show_metrics)
        application.router.add_get("/healthz", self.health)
        application.router.add_get("/readyz", self.readiness)
        return application

    async def work(self, request: web.Request) -> web.StreamResponse:
        """Answer once the work is done, and count from arrival to the last byte of the answer."""
        arrived_s = time.perf_counter()
        self._add_in_flight(1)
        try:
            response = await self._answer(request)
            if self.terminating.is_set():
                response.force_close()
            code = str(response.status)
            try:
                await response.prepare(request)
                await response.write_eof()
            except ConnectionError:
                code = "499"  # the client did not wait for it
            self.metrics.requests.labels(code).inc()
            self.metrics.duration.observe(time.perf_counter() - arrived_s)
            return response
        finally:
            self._add_in_flight(-1)

    async def _answer(self, request: web.Request) -> web.Response:
        try:
            demand_s = _number(request, "cpu_s", DEMAND_S, LARGEST_S)
            variation = _number(request, "cv", 1.0, 10.0)
            latency_s = _number(request, "latency_s", 0.0, LARGEST_S)
        except ValueError as error:
            return web.Response(status=400, text=f"{error}\n")
        if not self.started:
            return web.Response(status=503, text="starting\n")
        if self.waiting >= self.options.queue_limit + self.workers.count:
            return web.Response(status=503, text="queue full\n")
        cpu_s = draw_demand(demand_s, variation, self.random_numbers)
        self.waiting += 1
        try:
            loop = asyncio.get_running_loop()
            used_s = await loop.run_in_executor(self.workers.pool, self.workers.burn, cpu_s)
        finally:
            self.waiting -= 1
        self.metrics.cpu.inc(used_s)
        if latency_s > 0.0:
            await asyncio.sleep(latency_s)
        return web.Response(text=f"{used_s:.6f}\n")

    async def show_metrics(self, request: web.Request) -> web.Response:
        """Answer in the text format of Prometheus."""
        body = generate_latest(self.metrics.registry)
        return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    async def health(self, request: web.Request) -> web.Response:
        """Answer 200 as long as the event loop turns."""
        return web.Response(text="ok\n")

    async def readiness(self, request: web.Request) -> web.Response:
        """Answer 200 between start-up and termination."""
        if self.terminating.is_set():
            return web.Response(status=503, text="terminating\n")
        if not self.started:
            return web.Response(status=503, text="starting\n")
        return web.Response(text="ready\n")

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then drain."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.terminating.set)
        runner = web.AppRunner(self.application(), access_log=None, shutdown_timeout=LARGEST_S)
        await runner.setup()
        site = web.TCPSite(runner, self.options.host, self.options.port, backlog=1024)
        await site.start()
        loop.call_later(self.options.start_up_s, self._start)
        await self.terminating.wait()
        await asyncio.sleep(self.options.drain_s)
        await site.stop()
        await runner.cleanup()  # waits for the requests that are under way

    def _start(self) -> None:
        self.started = True

    def _add_in_flight(self, change: int) -> None:
        self.in_flight += change
        self.metrics.in_flight.set(self.in_flight)


def _number(request: web.Request, name: str, default: float, highest: float) -> float:
    text = request.query.get(name)
    if text is None:
        return default
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0.0 <= number <= highest:
        raise ValueError(f"{name} is {text!r}; it must be a number from 0 to {highest:g}.")
    return number


def parse_options(arguments: list[str] | None = None) -> Options:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on")
    parser.add_argument("--workers", type=int, default=1, help="threads that work, so cores that can be used")
    parser.add_argument("--queue-limit", type=int, default=1024, help="requests that may wait; more: 503")
    parser.add_argument("--start-up-s", type=float, default=0.0, help="time until it is ready")
    parser.add_argument("--drain-s", type=float, default=5.0, help="time after SIGTERM with answers")
    parser.add_argument("--memory-mib", type=int, default=0, help="memory held besides what Python needs")
    parser.add_argument(
        "--cpu-max", type=Path, default=None,
        help="file such as cpu.max of a control group (version 2), '50000 100000':\n"
        "limits the CPU time where there is no control group; it is read anew",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=None, help="of the random demands; default: a new one")
    options = Options(**vars(parser.parse_args(arguments)))
    if options.workers < 1 or options.queue_limit < 0 or options.memory_mib < 0:
        parser.error("--workers must be at least 1, --queue-limit and --memory-mib at least 0")
    return options


async def _main() -> None:
    await DemoService(parse_options()).run()


if __name__ == "__main__":
    asyncio.run(_main())
