"""Requests to Prometheus that end in time, are never repeated in silence, and never show a token.

prometheus-api-client by itself waits for ever, repeats a failed request three times and drops the warnings of
an answer. So it gets a session that reads the whole answer itself and refuses what is none.
"""

import io
import re
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import requests
from prometheus_api_client import PrometheusConnect
from requests.auth import AuthBase
from urllib3.exceptions import ReadTimeoutError
from urllib3.util.retry import Retry

from podgym.envs.kubernetes.prometheus_answers import (
    Answer,
    PrometheusError,
    parse_answer,
    parse_payload,
    require_success,
)
from podgym.envs.kubernetes.settings import MetricsSettings
from podgym.errors import InputError

LARGEST_ANSWER_BYTES = 32 * 2**20
"""A longer answer is refused."""
# The socket gives up a little before the watch does, so that as a rule no thread is left behind.
_SOCKET_SHARE = 0.9
_MOST_HANGING = 3
_CHUNK_BYTES = 65536

_Result = TypeVar("_Result")


class PrometheusClient:
    """Queries of one Prometheus. Use it as a context manager: connections live no longer than that.

    Raises:
        InputError: the address is none, or the file of the token cannot be used.
    """

    def __init__(self, settings: MetricsSettings) -> None:
        self._url = checked_url(settings.url)
        self._timeout_s = settings.timeout_s
        self._token = _BearerToken(Path(settings.token_file)) if settings.token_file else None
        if self._token is not None:
            self._token.read()
        self._hanging: list[threading.Thread] = []
        self._open()

    def _open(self) -> None:
        self._session = _Session(self._token)
        once = Retry(total=0, read=False)  # False: a timeout arrives as what it is
        self._library = PrometheusConnect(url=self._url, session=self._session, retry=once)

    def __repr__(self) -> str:
        return f"PrometheusClient({self.address})"

    @property
    def address(self) -> str:
        """Address without credentials, for messages."""
        return _without_secrets(self._url)

    def __enter__(self) -> "PrometheusClient":
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def query(self, promql: str, *, at_s: float | None = None, timeout_s: float | None = None) -> Answer:
        """Return the answer to an instant query.

        Args:
            promql: without placeholders.
            at_s: time of the evaluation, seconds since 1970; None: now, by the server's clock.
            timeout_s: longest wait; None, or more than that of the settings: that of the settings.

        Raises:
            PrometheusError: there is no usable answer.
        """
        params = {} if at_s is None else {"time": f"{at_s:.3f}"}
        return self._ask(lambda client: client.custom_query(promql, params=params), timeout_s)

    def query_range(
        self, promql: str, start_s: float, end_s: float, step_s: float, *, timeout_s: float | None = None
    ) -> Answer:
        """Return the answer to a range query; the times are rounded to whole seconds.

        Raises:
            PrometheusError: there is no usable answer.
        """
        start, end = (datetime.fromtimestamp(each, UTC) for each in (start_s, end_s))
        step = f"{step_s:.3f}"
        return self._ask(lambda client: client.custom_query_range(promql, start, end, step), timeout_s)

    def _ask(self, action: Callable[[PrometheusConnect], Any], timeout_s: float | None) -> Answer:
        wait_s = self._timeout_s if timeout_s is None else min(timeout_s, self._timeout_s)
        session, library = self._session, self._library
        session.wait_s = wait_s * _SOCKET_SHARE
        try:
            self._within(wait_s, lambda: action(library))
        except requests.Timeout:
            # Without its cause: what the libraries say repeats the address, credentials and all.
            raise self._no_answer(wait_s) from None
        except (requests.RequestException, OSError) as error:
            text = f"{self.address} cannot be reached: {_reason(error)}"
            raise PrometheusError(self._clean(text), "down") from None
        except PrometheusError as error:
            raise PrometheusError(self._clean(f"{self.address}: {error}"), error.fault) from None
        return session.answer

    def _within(self, wait_s: float, action: Callable[[], _Result]) -> _Result:
        """Run an action that may hang where no timeout of a socket reaches: name lookup, dripping answers."""
        self._hanging = [thread for thread in self._hanging if thread.is_alive()]
        if len(self._hanging) >= _MOST_HANGING:
            raise PrometheusError(f"{len(self._hanging)} earlier requests still hang", "timeout")
        session = self._session
        results: list[_Result] = []
        errors: list[BaseException] = []

        def run() -> None:
            try:
                results.append(action())
            except BaseException as error:  # handed on to the caller below
                errors.append(error)
            if session is not self._session:  # nobody waits any more
                session.close()

        thread = threading.Thread(target=run, name="prometheus-query", daemon=True)
        thread.start()
        thread.join(wait_s)
        if thread.is_alive():
            self._hanging.append(thread)
            self._open()  # the thread keeps the session that it uses
            raise self._no_answer(wait_s)
        if errors:
            raise errors[0]
        return results[0]

    def _no_answer(self, wait_s: float) -> PrometheusError:
        return PrometheusError(f"{self.address} did not answer within {wait_s:.3g} s", "timeout")

    def _clean(self, text: str) -> str:
        """Cut out the token, should a header have repeated it."""
        return self._token.cut_from(text) if self._token else text


class _Session(requests.Session):
    """A session that reads an answer to its end, within a time and a size, and keeps it as checked."""

    def __init__(self, token: "_BearerToken | None") -> None:
        super().__init__()
        self.auth = self._token = token
        self.wait_s = 0.0
        self.answer = Answer("vector", ())

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:  # noqa: ANN401
        """Send a request; a redirect is not followed, so that no token goes astray."""
        deadline_s = time.monotonic() + self.wait_s
        kwargs.update(timeout=self.wait_s, stream=True, allow_redirects=False)
        with super().send(request, **kwargs) as answer:
            body = _read_body(answer, deadline_s)
        if self._token is not None:  # should the server have repeated it
            body = self._token.cut_from(body.decode(errors="replace")).encode()
        _require_answer(answer, body)
        payload = parse_payload(body)
        require_success(payload)
        self.answer = parse_answer(payload)
        whole = requests.Response()
        whole.status_code, whole.headers, whole.raw = answer.status_code, answer.headers, io.BytesIO(body)
        return whole


class _BearerToken(AuthBase):
    """The token in a file, read anew for every request: tokens of service accounts are renewed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last = ""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        try:
            request.headers["Authorization"] = f"Bearer {self.read()}"
        except InputError as error:
            raise PrometheusError(str(error), "setup") from error
        return request

    def read(self) -> str:
        """Return the token, or refuse the file without showing what is in it."""
        try:
            token = self._path.read_text(encoding="ascii").strip()
        except OSError as error:
            raise InputError(f"metrics.token_file {self._path} cannot be read: {error.strerror}.") from error
        except UnicodeDecodeError:
            token = ""
        if not re.fullmatch(r"[\x21-\x7e]+", token):
            raise InputError(f"metrics.token_file {self._path} does not hold one token on one line.")
        self._last = token
        return token

    def cut_from(self, text: str) -> str:
        """Return the text with the token blotted out."""
        return text.replace(self._last, "***") if self._last else text


def checked_url(url: str | None) -> str:
    """Return the address of Prometheus without a slash at its end.

    Raises:
        InputError: it is not an address of HTTP or HTTPS.
    """
    try:
        parts = urlsplit(url or "")
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1) > 0
    except ValueError:
        usable = None
    if not url or not usable:
        shown = "no URL" if not url else "not an HTTP URL" if "@" in url else f"{url!r}"
        raise InputError(f"metrics.url is {shown}; it must be an address such as http://localhost:9090.")
    if parts.query or parts.fragment:
        raise InputError(
            f"metrics.url {_without_secrets(url)} goes on after '?' or '#'; give the address alone."
        )
    return url.rstrip("/")


def _without_secrets(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _read_body(answer: requests.Response, deadline_s: float) -> bytes:
    body = bytearray()
    try:
        for chunk in answer.iter_content(_CHUNK_BYTES):
            body += chunk
            if len(body) > LARGEST_ANSWER_BYTES:
                raise PrometheusError(f"the answer is longer than {LARGEST_ANSWER_BYTES >> 20} MiB", "query")
            if time.monotonic() > deadline_s:
                raise requests.Timeout
    except requests.ConnectionError as error:
        if any(isinstance(argument, ReadTimeoutError) for argument in error.args):
            raise requests.Timeout from error  # requests calls this timeout a lost connection
        raise
    return bytes(body)


def _require_answer(answer: requests.Response, body: bytes) -> None:
    """Refuse what is no answer to a query by its HTTP status, and say what to do."""
    status = answer.status_code
    if status == 200:
        return
    if status in (400, 422):
        require_success(parse_payload(body))
    if status in (401, 403):
        text = f"access denied (HTTP {status}); see metrics.token_file"
        raise PrometheusError(text, "setup")
    if 300 <= status < 400:
        target = _without_secrets(answer.headers.get("Location", "elsewhere"))
        raise PrometheusError(f"redirected (HTTP {status}) to {target}; see metrics.url", "setup")
    if status == 429 or status >= 500:
        raise PrometheusError(f"HTTP {status}{_error_text(body)}", "down")
    raise PrometheusError(f"HTTP {status}; is metrics.url the address of Prometheus?", "setup")


def _error_text(body: bytes) -> str:
    """What Prometheus itself says of a failure; nothing of a page that a proxy made."""
    try:
        require_success(parse_payload(body))
    except PrometheusError as error:
        return f": {error}" if str(error).startswith("Prometheus") else ""
    return ""


def _reason(error: Exception) -> str:
    """What went wrong, without the text of the libraries, which repeats the whole request."""
    cause: BaseException | None = error
    found = type(error).__name__
    for _ in range(8):
        if isinstance(cause, OSError) and not isinstance(cause, requests.RequestException):
            found = cause.strerror or type(cause).__name__
        following = getattr(cause, "reason", None) or cause.__cause__ or cause.__context__ if cause else None
        if not isinstance(following, BaseException):
            break
        cause = following
    return found
