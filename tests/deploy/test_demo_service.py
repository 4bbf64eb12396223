"""The demo service as a real process: the CPU it uses, its queue, its metrics, its beginning and end."""

import math
import random
import signal
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytestmark = pytest.mark.source_tree
pytest.importorskip("aiohttp")
pytest.importorskip("prometheus_client")

from deploy.demo_process import Demo, demo, module_of  # noqa: E402

OBJECTIVE_S = 0.25
COUNT = "http_request_duration_seconds_count"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    folder = tmp_path_factory.mktemp("demo")
    with demo(
        folder, "--workers", "2", "--queue-limit", "2", "--drain-s", "0", "--memory-mib", "64"
    ) as running:
        running.wait_for("/readyz", 200)
        yield running


def cpu_s(running: Demo) -> float:
    return running.metrics()["process_cpu_seconds_total"]


def test_a_request_uses_the_cpu_time_it_asks_for(service: Demo) -> None:
    count, demand_s = 50, 0.02
    before, before_s = service.metrics(), cpu_s(service)
    used = [float(service.get(f"/work?cpu_s={demand_s}&cv=0")[1]) for _ in range(count)]
    after, after_s = service.metrics(), cpu_s(service)
    assert statistics.fmean(used) == pytest.approx(demand_s, rel=0.02)
    worked_s = after["work_cpu_seconds_total"] - before["work_cpu_seconds_total"]
    assert worked_s == pytest.approx(sum(used), rel=1e-3)
    # The whole process: handling requests comes on top. Its clock has ticks of 10 ms.
    assert demand_s * 0.98 <= (after_s - before_s) / count <= demand_s * 1.10


def test_metrics_count_every_request_from_arrival_to_answer(service: Demo) -> None:
    before = service.metrics()
    for _ in range(5):
        assert service.get("/work?cpu_s=0.001&cv=0&latency_s=0.05")[0] == 200
    after = service.metrics()

    def change(name: str) -> float:
        return after[name] - before.get(name, 0.0)

    assert change('http_requests_total{code="200"}') == 5.0
    assert change(COUNT) == 5.0
    assert change("http_request_duration_seconds_sum") >= 5 * 0.051
    assert change('http_request_duration_seconds_bucket{le="0.05"}') == 0.0
    assert change('http_request_duration_seconds_bucket{le="+Inf"}') == 5.0
    assert f'http_request_duration_seconds_bucket{{le="{OBJECTIVE_S:g}"}}' in after
    assert after["http_requests_in_flight"] == 0.0
    assert after["process_resident_memory_bytes"] > 64 * 2**20


def test_work_leaves_the_interpreter_free_and_two_workers_do_not_wait_for_each_other(service: Demo) -> None:
    order: list[str] = []

    def ask(name: str, seconds: float) -> None:
        service.get(f"/work?cpu_s={seconds}&cv=0")
        order.append(name)

    long = threading.Thread(target=ask, args=("long", 0.6))
    long.start()
    poll(lambda: service.metrics()["http_requests_in_flight"] == 1.0)
    assert service.get("/healthz")[0] == 200
    ask("short", 0.02)
    long.join()
    assert order == ["short", "long"]


def test_a_full_queue_refuses_at_once(service: Demo) -> None:
    before = service.metrics()
    with ThreadPoolExecutor(8) as clients:  # 2 are worked on, 2 wait
        codes = [code for code, _ in clients.map(lambda _: service.get("/work?cpu_s=0.2&cv=0"), range(8))]
    assert sorted(codes) == [200] * 4 + [503] * 4
    after = service.metrics()
    name = 'http_requests_total{code="503"}'
    assert after[name] - before[name] == 4.0


@pytest.mark.parametrize("query", ["cpu_s=-1", "cpu_s=nan", "cpu_s=61", "cv=eleven", "latency_s=inf"])
def test_a_bad_query_is_refused_by_name(service: Demo, query: str) -> None:
    code, text = service.get(f"/work?{query}")
    assert code == 400
    assert query.split("=")[0] in text


def test_it_is_ready_only_after_its_start_up_and_drains_before_it_ends(tmp_path: Path) -> None:
    with demo(tmp_path, "--start-up-s", "0.6", "--drain-s", "0.6") as running:
        assert running.get("/readyz")[0] == 503
        assert running.get("/work?cpu_s=0")[0] == 503
        running.wait_for("/readyz", 200)
        with ThreadPoolExecutor(1) as client:
            last = client.submit(running.get, "/work?cpu_s=0.01&cv=0&latency_s=1.2")
            poll(lambda: running.metrics()["http_requests_in_flight"] == 1.0)
            running.process.send_signal(signal.SIGTERM)
            running.wait_for("/readyz", 503)
            assert running.get("/healthz")[0] == 200
            assert running.get("/work?cpu_s=0.001&cv=0")[0] == 200  # still answered: not yet forgotten
            assert last.result()[0] == 200  # longer than the drain, finished all the same
        assert running.process.wait(10) == 0


def poll(condition: object) -> None:
    end_s = time.monotonic() + 120.0
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end_s
        time.sleep(0.01)


# What needs no process.


@pytest.mark.parametrize("variation", [0.0, 0.5, 1.0, 2.0])
def test_demands_have_the_mean_and_the_variation_asked_for(variation: float) -> None:
    draw_demand = module_of("demo", "cpu").draw_demand
    numbers = random.Random(7)
    drawn = [draw_demand(0.0086, variation, numbers) for _ in range(40_000)]
    error = 4.0 * max(variation, 1e-12) / math.sqrt(len(drawn))
    assert statistics.fmean(drawn) == pytest.approx(0.0086, rel=error)
    assert statistics.pstdev(drawn) / statistics.fmean(drawn) == pytest.approx(variation, rel=0.06)
    assert min(drawn) >= 0.0


def test_a_limit_makes_the_same_work_last_longer(tmp_path: Path) -> None:
    limit = tmp_path / "cpu.max"
    limit.write_text("2000 10000\n")
    workers = module_of("demo", "cpu").CpuWorkers(1, limit)
    began_s = time.monotonic()
    used_s = workers.burn(0.1)
    assert used_s == pytest.approx(0.1, rel=0.05)
    assert time.monotonic() - began_s > 0.1 / 0.2 * 0.9  # a fifth of a core; the first period is free


def test_a_changed_limit_holds_without_a_restart(tmp_path: Path) -> None:
    limit = tmp_path / "cpu.max"
    limit.write_text("100 10000\n")  # a hundredth of a core: 0.2 s of work would take 20 s
    workers = module_of("demo", "cpu").CpuWorkers(1, limit)
    work = threading.Thread(target=workers.burn, args=(0.2,))
    began_s = time.monotonic()
    work.start()
    limit.write_text("max 10000\n")
    work.join()
    assert time.monotonic() - began_s < 10.0
