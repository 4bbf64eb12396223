"""How the way to the API server is found, and what is said when it is not."""

import logging
import stat
import sys
import time
from types import SimpleNamespace

import pytest
import yaml

from podgym.envs.kubernetes import connection as module
from podgym.envs.kubernetes.connection import connect
from podgym.envs.kubernetes.errors import TransientError
from podgym.errors import InputError

TOKEN = "sha256~very-secret-token"


def kubeconfig(server, **user):
    """Write a kubeconfig for an https server that nobody listens on."""
    content = yaml.safe_load(server.kubeconfig.read_text())
    content["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"
    content["users"][0]["user"] = user
    server.kubeconfig.write_text(yaml.safe_dump(content))


def test_the_current_context_is_taken(server, settings_for):
    found = connect(settings_for())
    assert (found.context, found.server) == ("kmock", server.url)
    found.close()


def test_a_context_is_taken_by_name(server, settings_for):
    server.write_kubeconfig(contexts=["other"])
    found = connect(settings_for(context="other"))
    assert found.context == "other"
    found.close()


def test_an_unknown_context_is_refused_with_the_closest(server, settings_for):
    server.write_kubeconfig(contexts=["kind-podgym"])
    with pytest.raises(InputError, match=r"allowed: kind-podgym, kmock. Did you mean 'kind-podgym'"):
        connect(settings_for(context="kind-podgim"))
    assert server.calls == []


def test_no_current_context_is_refused_with_what_there_is(server, settings_for):
    content = yaml.safe_load(server.kubeconfig.read_text())
    del content["current-context"]
    server.kubeconfig.write_text(yaml.safe_dump(content))
    with pytest.raises(InputError, match="no current context; give context: one of kmock"):
        connect(settings_for())


def test_a_missing_kubeconfig_is_refused_with_the_closest(server, settings_for):
    with pytest.raises(InputError, match=r"Did you mean 'kubeconfig.yml'\? To mend it, give kubeconfig"):
        connect(settings_for(kubeconfig=str(server.kubeconfig.with_name("kubecnfig.yml"))))


def test_the_environment_variable_names_the_kubeconfig(server, settings_for, monkeypatch, tmp_path):
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'none'}:{server.kubeconfig}")
    connect(settings_for(kubeconfig=None)).close()
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(
        InputError, match=r"no kubeconfig at .*none; give kubeconfig: FILE, or set KUBECONFIG"
    ):
        connect(settings_for(kubeconfig=None))


@pytest.mark.parametrize(
    "text",
    [
        f"token: {TOKEN}\n  - [", "", f"{TOKEN}", "[]", "contexts: 5", "contexts: [{}]\ncurrent-context: a",
        "contexts: [{name: a, context: {cluster: c}}]\ncurrent-context: a",
        "contexts: [{name: a}]\ncurrent-context: a\nclusters: []",
        "contexts: [{name: a, context: {cluster: c, user: u}}]\ncurrent-context: a\n"
        "clusters: [{name: c, cluster: {server: 'https://x', certificate-authority-data: '*not base64'}}]\n"
        f"users: [{{name: u, user: {{token: '{TOKEN}'}}}}]",
    ],
)  # fmt: skip
def test_what_is_no_kubeconfig_is_refused_without_its_content(server, settings_for, text):
    server.kubeconfig.write_text(text)
    with pytest.raises(InputError) as caught:
        connect(settings_for())
    assert str(server.kubeconfig) in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_credentials_are_refused_before_anything_is_asked(server, settings_for):
    kubeconfig(server)
    with pytest.raises(InputError, match="context kmock gives no credentials"):
        connect(settings_for())


def test_a_login_program_that_fails_is_named(server, settings_for, caplog):
    caplog.set_level(logging.CRITICAL)
    kubeconfig(server, exec={"apiVersion": "client.authentication.k8s.io/v1", "command": "/bin/false"})
    with pytest.raises(InputError, match="its login program failed"):
        connect(settings_for())


def test_a_login_program_that_hangs_is_not_waited_for(server, settings_for, monkeypatch, tmp_path):
    program = tmp_path / "login"
    program.write_text(f"#!{sys.executable}\nimport time\ntime.sleep(3)\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    kubeconfig(server, exec={"apiVersion": "client.authentication.k8s.io/v1", "command": str(program)})
    monkeypatch.setattr(module, "LONGEST_LOGIN_S", 0.1)
    start = time.monotonic()
    with pytest.raises(InputError, match=r"no credentials within 0\.1 s"):
        connect(settings_for())
    assert time.monotonic() - start < 2.0


def test_expired_credentials_are_refused(server, settings_for):
    server.app.token = "another"
    server.write_kubeconfig(token=TOKEN)
    with pytest.raises(InputError, match="context kmock: the credentials were not accepted") as caught:
        connect(settings_for())
    assert TOKEN not in str(caught.value)


def test_a_server_that_is_not_there_is_transient_and_soon(server, settings_for):
    content = yaml.safe_load(server.kubeconfig.read_text())
    content["clusters"][0]["cluster"]["server"] = "http://127.0.0.1:9"
    server.kubeconfig.write_text(yaml.safe_dump(content))
    start = time.monotonic()
    with pytest.raises(TransientError, match="cannot be reached"):
        connect(settings_for(safety={"max_retries": 1}))
    assert time.monotonic() - start < 2.0


def test_a_server_that_hides_its_version_is_a_server(server, settings_for):
    server.fail("GET", "/version", 404)
    connect(settings_for()).close()


def test_in_a_pod_its_own_credentials_are_used(server, settings_for, monkeypatch, tmp_path):
    token, certificate = tmp_path / "token", tmp_path / "ca.crt"
    token.write_text("first")
    certificate.write_text("a certificate")
    from kubernetes.config import incluster_config as incluster

    monkeypatch.setattr(incluster, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster, "SERVICE_CERT_FILENAME", str(certificate))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", server.url.rpartition(":")[2])
    # The server of the tests speaks no TLS.
    load = module._load_in_cluster

    def plain():
        configuration = load()
        configuration.host, configuration.ssl_ca_cert = server.url, None
        return configuration

    monkeypatch.setattr(module, "_load_in_cluster", plain)
    found = connect(settings_for(kubeconfig=None, in_cluster=True))
    assert found.context == "in-cluster"
    assert server.calls[-1].headers["Authorization"] == "bearer first"
    token.write_text("second")
    found.renew()
    assert found.client.configuration.auth_settings()["BearerToken"]["value"] == "bearer second"
    found.close()


def test_outside_a_pod_in_cluster_is_refused(settings_for, monkeypatch):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(InputError, match=r"in_cluster: true works in a pod .* give context"):
        connect(settings_for(kubeconfig=None, in_cluster=True))


def test_renewing_reads_a_token_file_anew(server, settings_for, tmp_path):
    token = tmp_path / "token"
    token.write_text("first")
    server.app.token = "first"
    server.write_kubeconfig(user={"tokenFile": str(token)})
    found = connect(settings_for())
    token.write_text("second")
    pool = found.client.rest_client.pool_manager
    found.renew()
    assert found.client.configuration.auth_settings()["BearerToken"]["value"] == "Bearer second"
    assert found.client.rest_client.pool_manager is not pool
    found.close()


def test_no_repr_shows_a_token(server, settings_for):
    server.app.token = TOKEN
    server.write_kubeconfig(token=TOKEN)
    found = connect(settings_for())
    assert repr(found) == f"Connection(context='kmock', server='{server.url}')"
    assert TOKEN not in repr(found.client) + repr(found.client.configuration) + str(found)
    found.close()


def test_nothing_is_logged_about_credentials(server, settings_for, caplog):
    caplog.set_level(logging.DEBUG)
    server.app.token = TOKEN
    server.write_kubeconfig(token=TOKEN)
    connect(settings_for()).close()
    assert TOKEN not in caplog.text


def test_without_the_client_the_remedy_is_named(settings_for, monkeypatch):
    monkeypatch.setitem(sys.modules, "kubernetes.client", None)
    monkeypatch.setitem(sys.modules, "kubernetes", SimpleNamespace())
    with pytest.raises(InputError, match=r"pip install 'podgym\[k8s\]'"):
        connect(settings_for())
