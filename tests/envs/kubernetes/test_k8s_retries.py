"""P45 to P54: what the API server does wrong, over real HTTP, and what becomes of it."""

import time

import pytest

pytest.importorskip("kubernetes")

from podgym.envs.cluster import Quota
from podgym.envs.kubernetes.answers import Access, read_json, status_message, translated
from podgym.envs.kubernetes.errors import (
    AccessDeniedError,
    BudgetExceededError,
    ClusterError,
    ConflictError,
    TransientError,
)
from podgym.envs.kubernetes.retries import CallBudget, call, worst_case_s
from podgym.envs.kubernetes.settings import SafetySettings

WEB = "/deployments/web$"
ACCESS = Access("get", "apps", "deployments", "demo", "web")
TOKEN = "eyJhbGciOi.eyJzdWIiOi.c2lnbmF0dXJl"


def test_p45_a_conflict_is_left_to_the_caller_who_has_to_read_again(api_for, server, sleeps):
    api = api_for()
    found = api.deployment("demo", "web")
    server.fail("PATCH", "/scale$", 409)
    with pytest.raises(ConflictError, match="409"):
        api.set_replicas(found, 3)
    assert (len(server.writes), sleeps) == (1, [])
    # Reading again and trying again is all it takes.
    assert api.set_replicas(api.deployment("demo", "web"), 3).replicas == 3


@pytest.mark.parametrize("method", ["GET", "PATCH", "POST"])
def test_p46_retry_after_is_honoured_for_every_verb(api_for, server, sleeps, method):
    api = api_for(safety={"max_retry_after_s": 5.0})
    found = api.deployment("demo", "web")
    act = {
        "GET": lambda: api.deployment("demo", "web"),
        "PATCH": lambda: api.set_replicas(found, 3),
        "POST": lambda: api.emit_event(found, "Scaled", "text"),
    }[method]
    server.fail(method, ".", 429, headers={"Retry-After": "3"})
    before = api.calls
    act()
    assert sleeps == [3.0]
    assert api.calls == before + 2


def test_p46_a_retry_after_that_is_too_long_is_not_waited_for(api_for, server, sleeps):
    api = api_for(safety={"max_retry_after_s": 5.0})
    found = api.deployment("demo", "web")
    server.fail("PATCH", "/scale$", 429, headers={"Retry-After": "6"})
    with pytest.raises(TransientError, match="429"):
        api.set_replicas(found, 3)
    assert (sleeps, len(server.writes)) == ([], 1)


def test_p46_a_retry_after_may_be_a_date(api_for, server, sleeps):
    when = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 4.0))
    api = api_for()
    server.fail("GET", WEB, 503, headers={"Retry-After": when})
    api.deployment("demo", "web")
    assert 1.0 < sleeps[0] <= 4.0


GARBAGE = {
    "500": {"status": 500},
    "502 as a page": {"status": 502, "body": b"<html>bad gateway</html>"},
    "504 without a body": {"status": 504, "body": b""},
    "a page with status 200": {"status": 200, "body": b"<html>please log in</html>"},
    "nothing with status 200": {"status": 200, "body": b""},
    "a list": {"status": 200, "body": b"[1, 2]"},
    "half a body": {"kind": "cut"},
    "a cut connection": {"kind": "reset"},
    "a redirection": {"status": 302, "headers": {"Location": "http://127.0.0.1:9/"}},
}


@pytest.mark.parametrize("fault", GARBAGE.values(), ids=GARBAGE.keys())
@pytest.mark.parametrize("method", ["GET", "PATCH"])
def test_p47_garbage_is_transient_and_tried_again(api_for, server, sleeps, method, fault):
    api = api_for()
    found = api.deployment("demo", "web")
    act = {
        "GET": lambda: api.deployment("demo", "web").replicas,
        "PATCH": lambda: api.set_replicas(found, 2).replicas,
    }[method]
    server.fail(method, "/deployments/web", times=2, **fault)
    assert act() == 2
    assert sleeps == [0.1, 0.2]
    server.fail(method, "/deployments/web", times=3, **fault)
    with pytest.raises(TransientError, match=r"deployments(/scale)? in namespace demo \(web\)"):
        act()
    assert server.deployment()["spec"]["replicas"] == 2


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "Scale", "metadata": {"resourceVersion": "9"}, "spec": None},
        {"kind": "Scale", "metadata": {"resourceVersion": "9"}},
        {"kind": "Scale", "metadata": {}, "spec": {"replicas": 3}},
        {"kind": "Status", "status": "Success"},
        {},
    ],
)
def test_p47_an_empty_scale_is_no_answer(api_for, server, body):
    api = api_for(safety={"max_retries": 0})
    found = api.deployment("demo", "web")
    server.fail("PATCH", "/scale$", 200, body=body)
    with pytest.raises(TransientError, match="cannot be used"):
        api.set_replicas(found, 3)


@pytest.mark.parametrize("missing", ["uid", "resourceVersion", "name"])
def test_p47_a_deployment_without_what_identifies_it_is_no_answer(api_for, server, missing):
    api = api_for(safety={"max_retries": 0})
    body = server.deployment()
    del body["metadata"][missing]
    server.fail("GET", WEB, 200, body=body)
    with pytest.raises(TransientError, match=missing):
        api.deployment("demo", "web")


@pytest.mark.parametrize("kind", ["hang", "drip"])
@pytest.mark.parametrize("method", ["GET", "PATCH"])
def test_p48_a_hung_connection_takes_no_longer_than_stated(api_for, server, method, kind):
    safety = {"timeout_s": 0.2, "max_retries": 2}
    api = api_for(safety=safety)
    found = api.deployment("demo", "web")
    server.fail(method, "/deployments/web", times=9, kind=kind)
    start = time.monotonic()
    with pytest.raises(TransientError, match=r"0\.2 s"):
        api.deployment("demo", "web") if method == "GET" else api.set_replicas(found, 3)
    took_s = time.monotonic() - start
    # Three attempts, each to its timeout and none much longer; the waits between are not waited here.
    assert 3 * 0.2 <= took_s < 3 * 0.4 < worst_case_s(SafetySettings(**safety))


def test_p48_waits_end_at_the_stated_time():
    clock = [0.0]
    safety = SafetySettings(timeout_s=1.0, max_retries=2, max_retry_after_s=2.0)

    def hang():
        clock[0] += 2.0 * safety.timeout_s
        raise TimeoutError

    def sleep(seconds):
        clock[0] += seconds

    with pytest.raises(TransientError):
        call(hang, budget=CallBudget(), safety=safety, sleep=sleep, now=lambda: clock[0], what=ACCESS)
    assert 6.0 < clock[0] <= worst_case_s(safety) == 12.0


def test_p48_an_attempt_that_would_end_too_late_is_not_made():
    clock = [0.0]
    safety = SafetySettings(timeout_s=1.0, max_retries=2, max_retry_after_s=2.0)
    attempts = []

    def slow():
        attempts.append(clock[0])
        clock[0] += 11.0  # a suspended laptop
        raise TimeoutError

    with pytest.raises(TransientError):
        call(slow, budget=CallBudget(), safety=safety, sleep=pytest.fail, now=lambda: clock[0], what=ACCESS)
    assert attempts == [0.0]


def test_p49_an_expired_list_is_begun_again_once(api_for, server):
    api = api_for()
    found = api.deployment("demo", "web")
    server.app.page = 1
    server.fail("GET", "/pods$", kind="pass")  # the first page
    server.fail("GET", "/pods$", 410)
    before = api.calls
    assert len(api.pods(found, "app")) == 2
    assert api.calls == before + 4
    server.fail("GET", "/pods$", 410, times=2)
    with pytest.raises(TransientError, match="410"):
        api.pods(found, "app")


def test_p51_401_reads_the_credentials_anew_once(api_for, server):
    server.app.token = "first"
    server.write_kubeconfig(token="first")
    api = api_for()
    server.app.token = "second"
    server.write_kubeconfig(token="second")
    before = api.calls
    assert api.deployment("demo", "web").replicas == 2
    assert api.calls == before + 2


def test_p51_401_with_fresh_credentials_stops(api_for, server):
    server.app.token = "first"
    server.write_kubeconfig(token="first")
    api = api_for()
    server.app.token = "second"
    before = api.calls
    with pytest.raises(AccessDeniedError, match="log in again") as caught:
        api.deployment("demo", "web")
    assert api.calls == before + 2
    assert "first" not in str(caught.value)


def test_p51_credentials_that_went_away_stop(api_for, server):
    server.app.token = "first"
    server.write_kubeconfig(token="first")
    api = api_for()
    server.app.token = "second"
    server.kubeconfig.unlink()
    with pytest.raises(AccessDeniedError, match="anew"):
        api.deployment("demo", "web")


def test_p51_403_stops_at_once_and_names_the_verb(api_for, server):
    api = api_for()
    message = (
        'pods is forbidden: User "u" cannot list resource "pods" in API group "" in the namespace "demo"'
    )
    server.fail("GET", "/pods$", 403, body={"kind": "Status", "message": message, "code": 403})
    found = api.deployment("demo", "web")
    before = api.calls
    with pytest.raises(AccessDeniedError) as caught:
        api.pods(found, "app")
    assert "not allowed to list pods in namespace demo" in str(caught.value)
    assert '{apiGroups: [""], resources: ["pods"], verbs: ["list"]}' in str(caught.value)
    assert api.calls == before + 1


def test_p54_a_step_makes_no_more_calls_than_declared(api_for, server, sleeps):
    api = api_for(safety={"max_api_calls_per_step": 4, "max_retries": 10})
    server.fail("GET", WEB, 500, times=3)
    made = len(server.calls)
    api.begin_step()
    api.deployment("demo", "web")
    with pytest.raises(BudgetExceededError, match="max_api_calls_per_step"):
        api.deployment("demo", "web")
    assert (api.calls, len(server.calls) - made) == (4, 4)
    api.begin_step()
    assert api.calls == 0
    server.fail("GET", WEB, 500, times=9)
    with pytest.raises(BudgetExceededError):
        api.deployment("demo", "web")
    assert len(server.calls) - made == 8


def test_p54_the_limit_is_for_each_service_and_for_steps_only(api_for, settings_for, server):
    services = {name: settings_for().services["web"] for name in ("web", "api", "db")}
    api = api_for(services=services, safety={"max_api_calls_per_step": 4})
    api.begin_step()
    for name in services:
        api.charge(name)
        for _ in range(4):
            api.deployment("demo", "web")
        with pytest.raises(BudgetExceededError):
            api.deployment("demo", "web")
    assert api.calls == 12
    api.charge("web")  # what it has spent stays spent
    with pytest.raises(BudgetExceededError):
        api.deployment("demo", "web")
    api.end_steps()
    for _ in range(13):
        api.deployment("demo", "web")
    assert api.calls == 13


def test_the_client_does_not_retry_by_itself(api_for, server):
    api = api_for(safety={"max_retries": 0})
    server.fail("GET", WEB, 503, headers={"Retry-After": "1"})
    start, made = time.monotonic(), len(server.calls)
    with pytest.raises(TransientError, match="503"):
        api.deployment("demo", "web")
    assert (len(server.calls) - made, time.monotonic() - start < 0.9) == (1, True)


ECHOES = {
    "in a status": {"kind": "Status", "message": f"no: Authorization: Bearer {TOKEN} and {TOKEN}", "code": 0},
    "in a page": f"<html>Authorization: Bearer {TOKEN}</html>".encode(),
}


@pytest.mark.parametrize("body", ECHOES.values(), ids=ECHOES.keys())
@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 409, 410, 422, 429, 500])
def test_no_error_shows_a_token_or_a_header(api_for, server, status, body):
    server.app.token = TOKEN
    server.write_kubeconfig(token=TOKEN)
    api = api_for(safety={"max_retries": 1})
    found = api.deployment("demo", "web")
    server.fail("*", ".", status, times=9, body=body, headers={"X-Secret": "hush"})
    with pytest.raises(ClusterError) as caught:
        api.set_quota(found, "app", Quota(1.0, 1.0, 1e9, 1e9))
    shown = [str(caught.value), repr(caught.value)]
    error = caught.value
    assert error.__cause__ is None
    assert error.__suppress_context__
    assert not any(secret in text for text in shown for secret in (TOKEN, "hush", "Bearer"))


def test_messages_are_cut():
    assert len(status_message({"kind": "Status", "message": "x" * 9999})) < 300
    assert status_message("<html>") is None
    assert status_message({"message": "of something else"}) is None


def test_an_answer_that_is_too_long_is_refused(monkeypatch, api_for, server):
    monkeypatch.setattr("podgym.envs.kubernetes.answers._MOST_BYTES", 1000)
    api = api_for(safety={"max_retries": 0})
    server.fail("GET", WEB, 200, body=b" " * 100_000)
    with pytest.raises(TransientError, match="longer than 1000 bytes"):
        api.deployment("demo", "web")


def test_a_mistake_of_ours_is_not_hidden_as_transient():
    assert translated(TypeError("ours"), ACCESS, 1.0) is None

    def broken():
        raise TypeError("ours")

    with pytest.raises(TypeError, match="ours"):
        call(
            broken, budget=CallBudget(), safety=SafetySettings(), sleep=pytest.fail, now=time.monotonic,
            what=ACCESS,
        )  # fmt: skip


def test_what_is_no_json_says_what_it_is():
    class Page:
        headers = {"Content-Type": "text/html; charset=utf-8"}  # noqa: RUF012
        parts = [b"<html>", b""]  # noqa: RUF012

        def read1(self, _):
            return self.parts.pop(0)

        def close(self):
            pass

    with pytest.raises(TransientError, match="'text/html', not the JSON of an API server"):
        read_json(Page(), ACCESS, 1.0)
