"""The settings of a cluster: what is wrong is refused, with the closest match or what is allowed."""

import pytest

from podgym.envs.kubernetes.settings import parse_settings, read_settings
from podgym.errors import InputError

LEAST = {"services": {"web": {}}, "metrics": {"url": "http://localhost:9090"}}


def test_the_least_is_enough():
    settings = parse_settings(LEAST)
    assert settings.services["web"].namespace == "default"
    assert (settings.mode, settings.restore, settings.take_over) == ("act", True, False)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"servces": {}}, "Did you mean 'services'"),
        ({"services": {"web": {"namspace": "x"}}}, "Did you mean 'namespace'"),
        ({"metrics": {"ulr": "x"}}, "Did you mean 'url'"),
        ({"safety": {"tolerence": 0.1}}, "Did you mean 'tolerance'"),
        ({"mode": "shadw"}, "Did you mean 'shadow'"),
        ({"services": {}}, "services is empty"),
        ({"services": ["web"]}, "must be a mapping"),
        ({"services": {"web": {"min_replicas": 5, "max_replicas": 2}}}, "above max_replicas"),
        ({"services": {"web": {"max_replicas": 0}}}, "from 1 to 5000"),
        ({"services": {"web": {"max_replicas": 2.5}}}, "whole number"),
        ({"services": {"web": {"namespace": ""}}}, "not empty"),
        ({"services": {"web": {"slo_response_time_s": 0}}}, "slo_response_time_s"),
        ({"metrics": {}}, "metrics.url is missing"),
        ({"metrics": {"url": "x", "window_s": float("nan")}}, "metrics.window_s"),
        ({"metrics": {"url": "x", "timeout_s": True}}, "metrics.timeout_s"),
        ({"safety": {"down_factor": 1.5}}, "safety.down_factor"),
        ({"safety": {"allow_scale_down": "no"}}, "true or false"),
        ({"safety": {"max_api_calls_per_step": 1}}, "max_api_calls_per_step"),
        ({"in_cluster": True, "context": "kind"}, "takes no context"),
        ({"take_over": "yes"}, "true or false"),
    ],
)
def test_bad_settings(changes, words):
    with pytest.raises(InputError, match=words):
        parse_settings({**LEAST, **changes})


def test_metrics_server_needs_no_address():
    assert parse_settings({**LEAST, "metrics": {"source": "metrics-server"}}).metrics.url is None


def test_files(tmp_path):
    path = tmp_path / "cluster.yml"
    with pytest.raises(InputError, match=r"there is no file"):
        read_settings(path)
    path.write_text("services: {web: {}}\nmetrics: {url: 'http://x'}\n")
    assert read_settings(path).metrics.url == "http://x"
    path.write_text("a: [")
    with pytest.raises(InputError, match=r"cluster\.yml is not YAML"):
        read_settings(path)
    path.write_text("- a")
    with pytest.raises(InputError, match=r"cluster\.yml: .*must be a mapping"):
        read_settings(path)
    path.write_text("services: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(InputError, match="is not YAML"):
        read_settings(path)


def test_the_window_that_nobody_chose_holds_four_values_of_cadvisor():
    slowest_s = 15.0  # it renews the CPU of a container every 10 to 15 s
    assert parse_settings(LEAST).metrics.window_s >= 4.0 * slowest_s
