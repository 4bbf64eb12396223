"""A process of the demo service for tests, and the modules of deploy/ that need no server."""

import importlib
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from types import ModuleType

from deploy.process_pods import ROOT, SERVICE, free_port, start_process


def module_of(folder: str, name: str) -> ModuleType:
    """Import a module as the scripts in ``deploy/<folder>`` do."""
    path = str(ROOT / "deploy" / folder)
    sys.path.insert(0, path)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(path)


@dataclass(frozen=True, slots=True)
class Demo:
    """A running process."""

    process: Popen[bytes]
    url: str

    def get(self, path: str, timeout_s: float = 20.0) -> tuple[int, str]:
        """Return status and text."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=timeout_s) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def metrics(self) -> dict[str, float]:
        """Return all samples by name and labels."""
        lines = self.get("/metrics")[1].splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    def wait_for(self, path: str, status: int) -> None:
        """Poll until an address answers with a status.

        Raises:
            TimeoutError: it did not within 120 s.
        """
        end_s = time.monotonic() + 120.0
        found: object = None
        while time.monotonic() < end_s:
            try:
                found = self.get(path)[0]
            except OSError as error:
                found = error
            if found == status:
                return
            time.sleep(0.02)
        raise TimeoutError(f"{path} never answered {status}, last: {found}")


@contextmanager
def demo(folder: Path, *arguments: str) -> Iterator[Demo]:
    """Run the service; it answers, but may not be ready yet."""
    port = free_port()
    command = [sys.executable, str(SERVICE), "--host", "127.0.0.1", "--port", str(port), *arguments]
    process = start_process(command, folder / "service.log")
    try:
        running = Demo(process, f"http://127.0.0.1:{port}")
        running.wait_for("/healthz", 200)
        yield running
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
