"""The API server for tests behaves as a real one where the code relies on it."""

import json
import time
import urllib.error
import urllib.request

import pytest


def ask(server, method, path, body=None, content_type="application/json"):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(server.url + path, data, {"Content-Type": content_type}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


WEB = "/apis/apps/v1/namespaces/demo/deployments/web"


def test_scale_needs_the_latest_version(server):
    status, scale = ask(server, "GET", f"{WEB}/scale")
    assert (status, scale["kind"], scale["spec"]["replicas"]) == (200, "Scale", 2)
    scale["spec"]["replicas"] = 5
    status, new = ask(server, "PUT", f"{WEB}/scale", scale)
    assert (status, new["spec"]["replicas"], server.deployment()["spec"]["replicas"]) == (200, 5, 5)
    assert new["metadata"]["resourceVersion"] != scale["metadata"]["resourceVersion"]
    assert ask(server, "PUT", f"{WEB}/scale", scale)[0] == 409


def test_strategic_patch_merges_containers_and_others_do_not(server):
    patch = {"spec": {"template": {"spec": {"containers": [
        {"name": "app", "resources": {"requests": {"cpu": "1"}}}]}}}}  # fmt: skip
    status, new = ask(server, "PATCH", WEB, patch, "application/strategic-merge-patch+json")
    container = new["spec"]["template"]["spec"]["containers"][0]
    assert (status, container["image"]) == (200, "web:1")
    assert container["resources"]["requests"] == {"cpu": "1", "memory": "512Mi"}
    assert ask(server, "PATCH", WEB, patch, "application/merge-patch+json")[0] == 422
    assert ask(server, "PATCH", WEB, patch)[0] == 415


def test_lists_are_paged_and_selected(server):
    server.add_deployment("other", replicas=3)
    path = "/api/v1/namespaces/demo/pods?labelSelector=app%3Dother&limit=2"
    _, first = ask(server, "GET", path)
    _, second = ask(server, "GET", f"{path}&continue={first['metadata']['continue']}")
    assert [len(first["items"]), len(second["items"])] == [2, 1]
    assert "continue" not in second["metadata"]


def test_dry_run_keeps_nothing(server):
    before = server.deployment()
    patch = {"spec": {"replicas": 7}}
    status, shown = ask(server, "PATCH", f"{WEB}?dryRun=All", patch, "application/merge-patch+json")
    assert (status, shown["spec"]["replicas"]) == (200, 7)
    assert server.deployment() == before


def test_faults_come_before_anything_is_stored(server):
    server.fail("PATCH", "/deployments/web$", 409)
    before = server.deployment()
    patch = {"spec": {"replicas": 7}}
    assert ask(server, "PATCH", WEB, patch, "application/merge-patch+json")[0] == 409
    assert server.deployment() == before
    assert ask(server, "PATCH", WEB, patch, "application/merge-patch+json")[0] == 200


def test_a_hanging_request_does_not_keep_the_server_from_stopping(server):
    server.fail("GET", "/deployments/web$", kind="hang")
    start = time.monotonic()
    with pytest.raises(TimeoutError):
        urllib.request.urlopen(server.url + WEB, timeout=0.2)
    server.__exit__()
    assert time.monotonic() - start < 2.0


def test_pods_follow_when_settled(server):
    ask(server, "PATCH", WEB, {"spec": {"replicas": 4}}, "application/merge-patch+json")
    server.settle()
    assert len(server.pods()) == server.deployment()["status"]["readyReplicas"] == 4
