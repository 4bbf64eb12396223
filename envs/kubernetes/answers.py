"""What an API server's answer means: its JSON, or the error of ``errors.py`` that it stands for.

Bodies are read as plain JSON and not as the client's models: release 36 makes an empty object of a page of
HTML, and release 37 refuses a whole pod for one field that is not as it expects. Texts hold the server's own
``Status.message`` at most, cut and without tokens; never a header or another body.
"""

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from podgym.envs.kubernetes.errors import (
    AccessDeniedError,
    ClusterError,
    ConflictError,
    TargetGoneError,
    TransientError,
)

T = TypeVar("T")

_MOST_BYTES = 64 * 2**20
_CHUNK_BYTES = 2**16
_LONGEST_MESSAGE = 256
_SECRETS = re.compile(r"(?i)\b(bearer|basic)\s+\S+|\beyJ[\w-]+\.[\w-]+(\.[\w-]*)?|\bsha256~\S+")
# Admission answers 403 too, but no RBAC rule would help.
_ADMISSION = re.compile(r"exceeded quota|failed quota|admission|LimitRange|(maximum|minimum) \w+ usage per")


class RetryLaterError(TransientError):
    """A transient error whose answer said when to ask again."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UnauthorizedError(AccessDeniedError):
    """401: the credentials were not accepted. Reading them anew may help, once."""


class ExpiredError(TransientError):
    """410: the list has to be begun again."""


class MissingError(ClusterError):
    """404 on something other than the target."""


class RefusedError(ClusterError):
    """The request was understood and refused: validation, admission, a quota. Asking again is of no use."""


@dataclass(frozen=True, slots=True)
class Access:
    """What is asked of the API server, in the words of an RBAC rule."""

    verb: str
    group: str
    """API group; empty for the core."""
    resource: str
    """With its subresource: ``deployments/scale``."""
    namespace: str | None = None
    """None: the whole cluster."""
    name: str | None = None

    def __str__(self) -> str:
        where = "" if self.namespace is None else f" in namespace {self.namespace}"
        return f"{self.verb} {self.resource}{where}"

    @property
    def text(self) -> str:
        """The same with the name of the object."""
        return str(self) if self.name is None else f"{self} ({self.name})"

    @property
    def rule(self) -> str:
        """The RBAC rule that allows it."""
        return f'{{apiGroups: ["{self.group}"], resources: ["{self.resource}"], verbs: ["{self.verb}"]}}'


def read_json(response: Any, access: Access, timeout_s: float) -> Mapping[str, Any]:  # noqa: ANN401
    """Read the body of an answer that was accepted (2xx).

    Args:
        response: the ``urllib3.HTTPResponse``, not read yet.
        access: what was asked.
        timeout_s: longest wait for the whole body; a server that lets it drip does not hold us longer.

    Raises:
        TransientError: the body is too late, too long, or no JSON object.
    """
    try:
        body = _body(response, access, time.monotonic() + timeout_s, timeout_s)
    finally:
        # A connection whose answer was not read to its end cannot serve another request.
        response.close()
    try:
        content = json.loads(body)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        kind = str(response.headers.get("Content-Type", "nothing")).partition(";")[0]
        raise TransientError(f"{access.text}: the answer is {kind!r}, not the JSON of an API server.")
    return content


def _body(response: Any, access: Access, deadline: float, timeout_s: float) -> bytes:  # noqa: ANN401
    parts: list[bytes] = []
    length = 0
    while chunk := response.read1(_CHUNK_BYTES):
        parts.append(chunk)
        length += len(chunk)
        if length > _MOST_BYTES:
            raise TransientError(f"{access.text}: the answer is longer than {_MOST_BYTES} bytes.")
        if time.monotonic() > deadline:
            raise TransientError(f"{access.text}: the answer was not complete after {timeout_s:g} s.")
    return b"".join(parts)


def parsed(parse: Callable[[Mapping[str, Any]], T], content: Mapping[str, Any], access: Access) -> T:
    """Return what ``parse`` makes of an answer; an answer that lacks what it must have is transient."""
    try:
        return parse(content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        kind = content.get("kind") or "nothing known"
        what = f"{type(error).__name__} {error}" if isinstance(error, KeyError) else type(error).__name__
        raise TransientError(f"{access.text}: the answer ({kind}) cannot be used: {what}.") from None


def status_message(body: object) -> str | None:
    """Return the message of a ``Status`` object, cut and without tokens; None: the body is none."""
    try:
        content = json.loads(body) if isinstance(body, str | bytes) else body
    except ValueError:
        return None
    if not isinstance(content, Mapping) or content.get("kind") != "Status":
        return None
    text = _SECRETS.sub("***", " ".join(str(content.get("message") or "no reason given").split()))
    return text if len(text) <= _LONGEST_MESSAGE else f"{text[:_LONGEST_MESSAGE]}..."


def translated(error: Exception, access: Access, timeout_s: float) -> ClusterError | None:
    """Return the error that something the client raised stands for; None: it is none of the client's."""
    import urllib3.exceptions as network
    from kubernetes.client.exceptions import ApiException

    if isinstance(error, ClusterError):
        return error
    if isinstance(error, ApiException):
        return _of_status(error, access)
    if isinstance(error, network.SSLError):
        return TransientError(f"{access.text}: no trusted connection (TLS); check certificate and address.")
    if isinstance(error, network.NewConnectionError):
        return TransientError(f"{access.text}: the API server cannot be reached.")
    if isinstance(error, network.TimeoutError | TimeoutError):
        return TransientError(f"{access.text}: no answer within {timeout_s:g} s.")
    if isinstance(error, network.HTTPError | OSError):
        return TransientError(f"{access.text}: the connection failed ({type(error).__name__}).")
    return None


def _of_status(error: Any, access: Access) -> ClusterError:  # noqa: ANN401  (ApiException, untyped in 36)
    status, message = int(error.status or 0), status_message(error.body)
    said = message or "the answer is no Status of an API server"
    text = f"{access.text}: {status or 'no status'}, {said}"
    if status == 0:
        return TransientError(f"{access.text}: no trusted connection (TLS); check certificate and address.")
    if status == 401:
        return UnauthorizedError(text)
    if status == 403:
        return _forbidden(access, said, text)
    if status == 404 and message is not None:
        return MissingError(text)
    if status == 409:
        return ConflictError(text)
    if status == 410:
        return ExpiredError(text)
    # Patching the uid is how a precondition on it is said; 422 is how the server says that it does not hold.
    if status == 422 and "metadata.uid" in said:
        return TargetGoneError(f"{access.text}: it was deleted and made again by someone else.")
    if status in (429, 404) or status >= 500 or status < 400:
        retry_after_s = _retry_after_s(error.headers)
        return TransientError(text) if retry_after_s is None else RetryLaterError(text, retry_after_s)
    return RefusedError(text)


def _forbidden(access: Access, said: str, text: str) -> ClusterError:
    if _ADMISSION.search(said):
        return RefusedError(text)
    return AccessDeniedError(
        f"not allowed to {access.text}: {said}. Add this rule to the Role or ClusterRole: {access.rule}."
    )


def _retry_after_s(headers: Any) -> float | None:  # noqa: ANN401  (a mapping or None)
    value = headers.get("Retry-After") if headers is not None else None
    if value is None:
        return None
    text = str(value).strip()
    if text.isdecimal():
        return float(text)
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return None
    when = when if when.tzinfo is not None else when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())
