"""How the API server is asked: through the client's typed methods, with a timeout, counted, and page by page.

Everything that writes goes through ``Caller.write``: in ``shadow`` mode it refuses, in ``dry_run`` mode it
tells the server to keep nothing.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from podgym.envs.kubernetes.answers import Access, ExpiredError, parsed, read_json
from podgym.envs.kubernetes.connection import Connection
from podgym.envs.kubernetes.errors import TransientError
from podgym.envs.kubernetes.objects import Json
from podgym.envs.kubernetes.retries import CallBudget, call
from podgym.envs.kubernetes.settings import KubernetesSettings

T = TypeVar("T")
Method = Callable[..., Any]
"""A method of the client's typed API, such as ``AppsV1Api.patch_namespaced_deployment``."""

PAGE_ITEMS = 250
"""Items of a list per call."""
MOST_PAGES = 200
"""A list that goes on beyond these is no list; some proxies repeat a page for ever."""
FIELD_MANAGER = "podgym"
"""Whose changes these are, in ``metadata.managedFields``."""


class Caller:
    """Asks one API server.

    Every method raises the errors of ``retries.call``, after no longer than ``retries.worst_case_s`` a call.
    """

    def __init__(
        self,
        connection: Connection,
        settings: KubernetesSettings,
        *,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take a connection; nothing is asked yet.

        Args:
            connection: the way to the server.
            settings: mode and limits.
            sleep: waits that many seconds, between attempts.
            now: seconds of a clock that never goes back.
        """
        self.connection = connection
        self.settings = settings
        self._sleep, self._now = sleep, now
        self._limit: int | None = None
        self._budgets: dict[str, CallBudget] = {}
        self.charge("")

    @property
    def calls(self) -> int:
        """Calls since the step began, for all services, retries included."""
        return sum(budget.calls for budget in self._budgets.values())

    def begin_step(self) -> None:
        """Allow each service as many calls as ``safety.max_api_calls_per_step`` says; see ``charge``."""
        self._limit, self._budgets = self.settings.safety.max_api_calls_per_step, {}
        self.charge("")

    def end_steps(self) -> None:
        """Only count from here on: what comes before the first step and after the last is no step."""
        self._limit, self._budgets = None, {}
        self.charge("")

    def charge(self, service: str) -> None:
        """Let a service pay for the calls from here on, so that none takes those of another."""
        self._budget = self._budgets.setdefault(service, CallBudget(self._limit))

    def ask(
        self,
        access: Access,
        method: Method,
        *arguments: object,
        parse: Callable[[Json], T],
        **options: object,
    ) -> T:
        """Make one call and return what ``parse`` makes of the answer's JSON.

        Args:
            access: what is asked, for errors.
            method: of the client.
            arguments: of the method.
            parse: may raise ``KeyError``, ``TypeError`` or ``ValueError`` for an answer that cannot be used.
            options: of the method.
        """
        timeout_s = float(self.settings.safety.timeout_s)

        def action() -> T:
            response = method(*arguments, _preload_content=False, _request_timeout=timeout_s, **options)
            return parsed(parse, read_json(response, access, timeout_s), access)

        return call(
            action,
            budget=self._budget,
            safety=self.settings.safety,
            sleep=self._sleep,
            now=self._now,
            what=access,
            renew=self.connection.renew,
        )

    def write(
        self,
        access: Access,
        method: Method,
        *arguments: object,
        parse: Callable[[Json], T],
        **options: object,
    ) -> T:
        """Make one call that changes something; see ``ask``.

        Raises:
            RuntimeError: the mode is ``shadow``.
        """
        if self.settings.mode == "shadow":
            raise RuntimeError(f"mode: shadow writes nothing, but was told to {access.text}.")
        if self.settings.mode == "dry_run":
            options["dry_run"] = "All"
        return self.ask(access, method, *arguments, parse=parse, field_manager=FIELD_MANAGER, **options)

    def pages(
        self,
        access: Access,
        method: Method,
        *arguments: object,
        parse: Callable[[Json], tuple[T, ...]],
        **options: object,
    ) -> tuple[T, ...]:
        """Return a whole list; one whose pages expired half-way (410) is begun again, once."""
        try:
            return self._all_pages(access, method, arguments, parse, options)
        except ExpiredError:
            return self._all_pages(access, method, arguments, parse, options)

    def _all_pages(
        self,
        access: Access,
        method: Method,
        arguments: Sequence[object],
        parse: Callable[[Json], tuple[T, ...]],
        options: Mapping[str, object],
    ) -> tuple[T, ...]:
        items: list[T] = []
        more: dict[str, object] = {}
        for _ in range(MOST_PAGES):
            page, token = self.ask(
                access,
                method,
                *arguments,
                parse=lambda content: (parse(content), (content.get("metadata") or {}).get("continue")),
                limit=PAGE_ITEMS,
                **options,
                **more,
            )
            items.extend(page)
            if not token:
                return tuple(items)
            more = {"_continue": str(token)}
        raise TransientError(f"{access}: the list did not end within {MOST_PAGES} pages.")
