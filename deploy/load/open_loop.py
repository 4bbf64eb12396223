"""A locust user that is no user: it sends every request when it is due, answered or not.

Locust's users wait for an answer before they ask again, so a slow service makes them ask less and hides its
own queue. Real traffic does not wait. Here one greenlet walks through the arrivals and starts another one for
each request; response times count from when a request was due.
"""

import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gevent
from arrivals import Array
from gevent import Greenlet
from gevent.event import Event
from load_record import LoadRecord
from locust import FastHttpUser, task
from locust.exception import StopUser

_LOOK_S = 0.2
"""How often the file with the endpoints is looked at."""
STOPPED_DRAIN_S = 5.0
"""How long answers are still waited for after the order to stop; whoever gives it may force it after 10 s."""


@dataclass(slots=True)
class Plan:
    """What is to be sent."""

    due_s: Array
    """(requests,) s since the start: when each request is due, ascending."""
    path: str
    """Path and query of every request."""
    keep_alive: bool
    """Whether connections are kept. Off: each request opens one, so that new pods get their share at once."""
    endpoints: Path | None
    """JSON list of base addresses, read again when it changes: each request goes to the next; None: to the
    host."""
    drain_s: float
    """How long the last answers are waited for; after the order to stop ``STOPPED_DRAIN_S`` at most."""
    record: LoadRecord = field(init=False)
    """What happened."""
    stop: Event = field(default_factory=Event)
    """Set: no further request is sent."""

    def __post_init__(self) -> None:
        self.record = LoadRecord(self.due_s)


class Endpoints:
    """The addresses in a file, in turn."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._looked_s = -_LOOK_S
        self._text = ""
        self._turns: Iterator[str] | None = None

    def next(self) -> str | None:
        """Return the next address; None: there is none now."""
        now_s = time.monotonic()
        if now_s - self._looked_s >= _LOOK_S:
            self._looked_s = now_s
            text = self._path.read_text(encoding="utf-8")
            if text != self._text:
                self._text = text
                addresses = json.loads(text)
                self._turns = itertools.cycle(addresses) if addresses else None
        return None if self._turns is None else next(self._turns)


class OpenLoopUser(FastHttpUser):
    """The one dispatcher. The environment carries its ``Plan`` as ``open_loop_plan``."""

    fixed_count = 1
    concurrency = 100_000  # never wait for a connection: that would close the loop
    connection_timeout = 5.0

    def __init__(self, environment: Any) -> None:  # noqa: ANN401  (locust's, with an attribute of ours)
        plan: Plan = environment.open_loop_plan
        self.plan = plan
        self.endpoints = None if plan.endpoints is None else Endpoints(plan.endpoints)
        self.headers = {} if plan.keep_alive else {"Connection": "close"}
        super().__init__(environment)

    @task
    def play(self) -> None:
        """Send all requests, wait for the last answers and end."""
        plan = self.plan
        self.start_s = time.monotonic()
        requests = []
        for due_s in plan.due_s.tolist():
            if self._wait_until(due_s):
                plan.record.stopped_s = self._now_s()
                break
            plan.record.add_sent(self._now_s(), due_s)
            requests.append(gevent.spawn(self._send, due_s))
            if len(requests) > 10_000:
                requests = [request for request in requests if not request.dead]
        self._drain(requests)
        gevent.killall(requests)
        self.environment.runner.quit()
        raise StopUser

    def _wait_until(self, due_s: float) -> bool:
        """Return, once it is time, whether to stop instead."""
        stop = self.plan.stop
        while (rest_s := due_s - self._now_s()) > 0.0:
            # An event costs more than a sleep, and nobody can tell 20 ms when stopping.
            if rest_s > 0.02:
                stop.wait(rest_s - 0.01)
            else:
                gevent.sleep(rest_s)
            if stop.is_set():
                return True
        return bool(stop.is_set())

    def _drain(self, requests: list[Greenlet]) -> None:
        """Wait for the last answers."""
        end_s = self._now_s() + self.plan.drain_s
        answered = gevent.spawn(gevent.joinall, requests)
        gevent.wait([answered, self.plan.stop], timeout=self.plan.drain_s, count=1)
        answered.join(min(max(end_s - self._now_s(), 0.0), STOPPED_DRAIN_S))
        answered.kill()

    def _send(self, due_s: float) -> None:
        failed = True
        try:
            base = "" if self.endpoints is None else self.endpoints.next()
            if base is not None:
                answer = self.client.get(f"{base}{self.plan.path}", name="/work", headers=self.headers)
                failed = answer.status_code == 0 or answer.status_code >= 400
        finally:  # also when it is given up, see joinall
            self.plan.record.add_ended(self._now_s(), due_s, failed=failed)

    def _now_s(self) -> float:
        return time.monotonic() - self.start_s
