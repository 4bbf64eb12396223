"""Worker processes end with the process that started them, however that ends, and leave the word to it."""

import os
import re
import select
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from oracles import hanging_jobs

from podgym import cli
from podgym.baselines.planner import batches
from podgym.cli import forecast_evaluate
from podgym.errors import InputError
from podgym.eval import runner
from podgym.eval.protocol import run as protocol_run
from podgym.eval.tuning import evaluators
from podgym.processes import worker_pool

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
Start = Callable[[str], object]
"""Starts two processes, each with a job that is given the pipe."""


# Jobs are given to other processes by name, so one of another name can take their place.


def start_episodes(pipe: str) -> object:
    runner.run_job = hanging_jobs.hang
    return runner.run_jobs([pipe, pipe], processes=2)


def start_search(pipe: str) -> object:
    evaluators._run_there, evaluators._begin = hanging_jobs.hang, hanging_jobs.begin_nothing
    asked = SimpleNamespace(controller="mine", config=None, forecaster=None)
    with evaluators.evaluating(asked, processes=2) as evaluate:
        return list(evaluate([pipe, pipe]))


def start_plans(pipe: str) -> object:
    batches._solve_batch = hanging_jobs.hang
    return batches.solve(pipe, [SimpleNamespace(indices=())] * 2, 2, None)


def start_protocol(pipe: str) -> object:
    protocol_run.run_unit = hanging_jobs.hang
    return list(protocol_run._results([pipe, pipe], 2))


def start_forecasters(pipe: str) -> object:
    forecast_evaluate._judged = hanging_jobs.hang
    return forecast_evaluate._run([pipe, pipe], 2)


STARTS = {
    "episodes": start_episodes,
    "search": start_search,
    "plans": start_plans,
    "protocol": start_protocol,
    "forecasters": start_forecasters,
}


class Parent:
    """A process with workers, seen from outside."""

    def __init__(self, folder: Path, start: Start) -> None:
        self.pipe, self.output = folder / "pipe", folder / "output"
        os.mkfifo(self.pipe)
        self._reading = os.open(self.pipe, os.O_RDONLY | os.O_NONBLOCK)
        self.workers: set[int] = set()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._run(start)

    def _run(self, start: Start) -> None:
        """Be the command line with work that needs workers, in a process group of its own."""
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background shells have it ignored
        written = os.open(self.output, os.O_WRONLY | os.O_CREAT)
        for stream in (1, 2):
            os.dup2(written, stream)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
        cli._dispatch = lambda arguments: start(str(self.pipe))
        status = cli.main([])
        sys.stderr.flush()
        os._exit(status if isinstance(status, int) else 0)

    def wait_for(self, workers: int) -> None:
        """Wait until so many workers have said that they are there."""
        while len(self.workers) < workers:
            assert self._readable(), "the workers did not come"
            self.workers |= {int(line) for line in os.read(self._reading, 4096).split()}

    def workers_left(self) -> bool:
        """Whether a worker that came is there after a while; the pipe ends when the last one goes."""
        while self._readable():
            if not os.read(self._reading, 4096):
                return False
        return True

    def ended(self) -> int:
        """Wait for the parent; its exit status, or minus the signal that ended it."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _readable(self) -> bool:
        return bool(select.select([self._reading], [], [], 20.0)[0])

    def close(self) -> None:
        """Leave nothing of it, even of one that failed the test."""
        os.close(self._reading)
        for pid in self.workers:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


@contextmanager
def parent(folder: Path, start: Start, workers: int = 2) -> Iterator[Parent]:
    running = Parent(folder, start)
    try:
        running.wait_for(workers)
        yield running
    finally:
        running.close()


# -- every pool of the package ------------------------------------------------------------------------------


@needs_fork
@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_no_worker_outlives_a_parent_that_is_killed(start: Start, tmp_path: Path) -> None:
    with parent(tmp_path, start) as running:
        os.kill(running.pid, signal.SIGKILL)
        assert running.ended() == -signal.SIGKILL
        assert not running.workers_left()


@needs_fork
@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_ctrl_c_ends_every_process_with_one_message(start: Start, tmp_path: Path) -> None:
    with parent(tmp_path, start) as running:
        os.killpg(running.pid, signal.SIGINT)
        assert not running.workers_left()
        assert running.ended() == 130
        assert running.output.read_text() == "podgym: interrupted\n"


def test_every_pool_of_the_package_is_the_shared_one() -> None:
    """Other modules name neither of the ways to start a worker."""
    package = Path(cli.__file__).parents[1]
    found = [
        path.name
        for folder, _, names in os.walk(package, followlinks=True)
        for path in (Path(folder) / name for name in names if name.endswith(".py"))
        if re.search(r"ProcessPoolExecutor|multiprocessing", path.read_text(encoding="utf-8"))
    ]
    assert found == ["processes.py"]


# -- the shared one -----------------------------------------------------------------------------------------


def start_one_idle(pipe: str) -> object:
    """One worker at work, one with nothing to do."""
    with worker_pool(2, begin=hanging_jobs.come, arguments=(pipe,)) as pool:
        for future in [pool.submit(os.getpid) for _ in range(2)]:
            future.result()
        return pool.submit(hanging_jobs.hang, pipe).result()


def start_many(pipe: str) -> object:
    """Most jobs wait, some of them in the queue of the workers."""
    with worker_pool(1) as pool:
        return [future.result() for future in [pool.submit(hanging_jobs.hang, pipe) for _ in range(6)]]


def start_deaf(pipe: str) -> object:
    with worker_pool(1) as pool:
        return pool.submit(hanging_jobs.hang_deaf, pipe).result()


def start_drafting(pipe: str) -> object:
    """One job at work on a file; the next ones are not to begin theirs."""
    with worker_pool(1) as pool:
        futures = [pool.submit(hanging_jobs.hang_with_a_draft, pipe) for _ in range(3)]
        return [future.result() for future in futures]


@needs_fork
@pytest.mark.parametrize(("start", "workers"), [(start_one_idle, 2), (start_deaf, 1)], ids=["idle", "deaf"])
def test_idle_and_deaf_workers_end_with_a_parent_that_is_killed(
    start: Start, workers: int, tmp_path: Path
) -> None:
    with parent(tmp_path, start, workers) as running:
        os.kill(running.pid, signal.SIGKILL)
        assert not running.workers_left()
        assert running.ended() == -signal.SIGKILL
        # Python's own keeper of semaphores may say that it tidied up.
        assert "Traceback" not in running.output.read_text()


@needs_fork
@pytest.mark.parametrize(
    ("start", "workers"),
    [(start_one_idle, 2), (start_many, 1), (start_deaf, 1)],
    ids=["idle", "many", "deaf"],
)
def test_ctrl_c_ends_workers_whatever_they_do(start: Start, workers: int, tmp_path: Path) -> None:
    with parent(tmp_path, start, workers) as running:
        os.killpg(running.pid, signal.SIGINT)
        assert not running.workers_left()
        assert running.ended() == 130
        assert running.output.read_text() == "podgym: interrupted\n"


def start_interrupted(pipe: str) -> object:
    """Ctrl-C while the workers are still being started."""
    with worker_pool(2) as pool:
        futures = [pool.submit(hanging_jobs.hang, pipe) for _ in range(2)]
        os.killpg(0, signal.SIGINT)
        return [future.result() for future in futures]


@needs_fork
def test_ctrl_c_while_workers_start_ends_with_one_message(tmp_path: Path) -> None:
    with parent(tmp_path, start_interrupted, 0) as running:
        assert running.ended() == 130
        assert running.output.read_text() == "podgym: interrupted\n"


@needs_fork
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_job_tidies_up_when_only_its_parent_gets_the_signal(number: int, tmp_path: Path) -> None:
    with parent(tmp_path, start_drafting, 1) as running:
        assert (tmp_path / "pipe.draft").exists()
        os.kill(running.pid, number)
        assert not running.workers_left()
        assert not (tmp_path / "pipe.draft").exists()
        assert "broken off" not in running.output.read_text()
        assert running.ended() == (130 if number == signal.SIGINT else -signal.SIGTERM)


def test_a_worker_that_dies_is_told_in_one_sentence() -> None:
    with (
        pytest.raises(InputError, match=r"^a worker process died, .* fewer processes\.$"),
        worker_pool(1) as pool,
    ):
        pool.submit(hanging_jobs.die).result()


def test_an_error_lets_running_jobs_finish_and_drops_those_that_wait() -> None:
    futures: list[Future[int]] = []
    with suppress(ZeroDivisionError), worker_pool(1) as pool:
        futures += [pool.submit(os.getpid) for _ in range(200)]
        raise ZeroDivisionError
    assert futures[0].result() != os.getpid()
    assert futures[-1].cancelled()


def test_jobs_run_in_processes_that_were_prepared() -> None:
    """And an error of a job comes back as itself."""
    with worker_pool(1, begin=os.umask, arguments=(0o027,)) as pool:
        assert pool.submit(os.umask, 0o022).result() == 0o027
        with pytest.raises(ValueError, match="base 10"):
            pool.submit(int, "none").result()
        assert pool.submit(int, "ff", base=16).result() == 255
