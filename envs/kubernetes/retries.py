"""Every call of the API server: counted, timed, tried again a bounded number of times.

The client's own retries are switched off: they never retry PATCH, sleep silently three times on 429, and make
four timeouts of one.
"""

from collections.abc import Callable
from typing import TypeVar

from podgym.envs.kubernetes.answers import (
    Access,
    ExpiredError,
    RetryLaterError,
    UnauthorizedError,
    translated,
)
from podgym.envs.kubernetes.errors import AccessDeniedError, BudgetExceededError, ClusterError, TransientError
from podgym.envs.kubernetes.settings import SafetySettings

T = TypeVar("T")

FIRST_BACKOFF_S = 0.1
LONGEST_BACKOFF_S = 1.0


class CallBudget:
    """Counts calls of the API server, and refuses those above a limit."""

    def __init__(self, limit: int | None = None) -> None:
        """Begin to count.

        Args:
            limit: most calls; None: they are only counted.
        """
        self.limit = limit
        self.calls = 0

    def spend(self) -> None:
        """Count one call.

        Raises:
            BudgetExceededError: it would be one too many; it is not counted and must not be made.
        """
        if self.limit is not None and self.calls >= self.limit:
            raise BudgetExceededError(
                f"the {self.limit} calls of the API server that one step may make for one service are spent; "
                "the step holds (safety.max_api_calls_per_step)."
            )
        self.calls += 1


def worst_case_s(safety: SafetySettings) -> float:
    """Return the longest that ``call`` takes, seconds, without the time of reading credentials anew.

    An attempt takes at most twice the timeout: once until the answer begins, once for its body. One attempt
    more is made after credentials were read anew.
    """
    waits_s = safety.max_retries * max(safety.max_retry_after_s, LONGEST_BACKOFF_S)
    return (safety.max_retries + 2) * 2.0 * safety.timeout_s + waits_s


def call(
    action: Callable[[], T],
    *,
    budget: CallBudget,
    safety: SafetySettings,
    sleep: Callable[[float], None],
    now: Callable[[], float],
    what: Access,
    renew: Callable[[], None] | None = None,
) -> T:
    """Do ``action``; if it fails for a passing reason, do it again, ``safety.max_retries`` times at most.

    ``Retry-After`` is honoured for every verb up to ``safety.max_retry_after_s``; a longer one ends the call.

    Args:
        action: makes one request of the client, with a timeout, and returns what its answer says.
        budget: pays for every attempt.
        safety: how often and how long.
        sleep: waits that many seconds.
        now: seconds of a clock that never goes back.
        what: what is asked; errors name it.
        renew: reads the credentials anew, after a 401, once.

    Raises:
        TransientError: it failed to the end, or the next attempt would end after ``worst_case_s``.
        ConflictError: 409; whoever calls has to read again.
        AccessDeniedError: 401 with fresh credentials, or 403 with the rule to add.
        TargetGoneError: the object was deleted and made again (a uid that does not match).
        BudgetExceededError: the step's calls are spent.
        ClusterError: ``MissingError`` (404) or ``RefusedError`` (400, 422, admission) of ``answers``.
    """
    deadline_s = now() + worst_case_s(safety)
    failures, renewed = 0, renew is None
    while True:
        budget.spend()
        try:
            return action()
        except Exception as error:
            problem = translated(error, what, safety.timeout_s)
            if problem is None:
                raise
        if isinstance(problem, UnauthorizedError):
            _renew_or_raise(problem, None if renewed else renew)
            renewed = True
            continue
        wait_s = _wait_s(problem, failures, safety)
        # The client's exceptions print headers and bodies, so they are not chained.
        if wait_s is None or now() + wait_s + 2.0 * safety.timeout_s > deadline_s:
            raise problem from None
        failures += 1
        sleep(wait_s)


def _renew_or_raise(problem: UnauthorizedError, renew: Callable[[], None] | None) -> None:
    if renew is None:
        raise AccessDeniedError(
            f"{problem} The credentials were not accepted, nor after they were read anew; log in again, or "
            "give another context."
        ) from None
    renew()


def _wait_s(problem: ClusterError, failures: int, safety: SafetySettings) -> float | None:
    """Return how long to wait before the next attempt; None: there is none."""
    if not isinstance(problem, TransientError) or isinstance(problem, ExpiredError):
        return None
    if failures >= safety.max_retries:
        return None
    if isinstance(problem, RetryLaterError):
        return problem.retry_after_s if problem.retry_after_s <= safety.max_retry_after_s else None
    return min(FIRST_BACKOFF_S * 2.0**failures, LONGEST_BACKOFF_S)
