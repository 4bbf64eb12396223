"""Queries: placeholders, names of pods, and what is refused before anything is asked."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles.prometheus_servers import watched

from podgym.envs.kubernetes.prometheus import PrometheusMetrics
from podgym.envs.kubernetes.queries import QUERIES, Query, chosen_queries, duration, pods_expression, render
from podgym.envs.kubernetes.readings import ServiceReading
from podgym.envs.kubernetes.settings import MetricsSettings
from podgym.errors import InputError

HASH_AND_SUFFIX = st.tuples(
    st.text("bcdfghjklmnpqrstvwxz2456789", min_size=1, max_size=10),
    st.text("bcdfghjklmnpqrstvwxz2456789", min_size=5, max_size=5),
)
NAMES = st.from_regex(r"[a-z0-9]([-a-z0-9.]{0,80}[a-z0-9])?", fullmatch=True)


def asked(promql: str, **changes: object) -> str:
    return render(Query("q", promql, "test"), watched(**changes), 30.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [name for name, query in QUERIES.items() if query.promql])
def test_defaults_select_the_namespace_and_the_pods(name: str) -> None:
    promql = render(QUERIES[name], watched(), 30.0)
    selectors = re.findall(r"\{([^}]*\{[^}]*\}[^}]*\{[^}]*\}[^}]*)\}", promql)
    assert selectors
    for selector in selectors:
        assert 'namespace="demo"' in selector
        assert f'pod=~"{pods_expression("web")}"' in selector
    assert "$" not in promql


def test_names_are_those_of_the_reading_where_it_has_them() -> None:
    assert set(ServiceReading.__slots__) & set(QUERIES) == {
        "request_rate_rps", "error_ratio", "response_time_s", "response_time_std_s", "response_time_p50_s",
        "response_time_p95_s", "response_time_p99_s", "slow_ratio", "in_flight",
    }  # fmt: skip


def test_every_placeholder_is_filled() -> None:
    promql = asked(
        '${namespace} ${deployment} ${container} ${window} ${slo} ${job} "$$"', labels={"job": "shop"}
    )
    assert promql == 'demo web app 30s 0.25 shop "$"'


@pytest.mark.parametrize(
    ("seconds", "text"), [(30.0, "30s"), (1.5, "1500ms"), (1.0004, "1s"), (3600.0, "3600s")]
)
def test_durations_are_as_promql_writes_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_labels_stay_inside_their_quotes() -> None:
    promql = asked('up{job="${job}"}', labels={"job": 'a"} or vector(0) or up{job="\\d\n'})
    assert promql == 'up{job="a\\"} or vector(0) or up{job=\\"\\\\d\\n"}'


def test_unknown_placeholder_names_the_closest() -> None:
    with pytest.raises(InputError, match=r"placeholder in the query q of 'web'.*Did you mean 'namespace'"):
        asked("up{namespace='${namespce}'}")
    with pytest.raises(InputError, match="container, deployment, job, namespace"):
        asked("${zzz}", labels={"job": "shop"})


def test_labels_cannot_shadow_a_placeholder() -> None:
    with pytest.raises(InputError, match="labels holds 'window'"):
        asked("up", labels={"window": "5m"})


def test_unknown_query_names_the_closest() -> None:
    with pytest.raises(InputError, match=r"unknown query 'request_rate'.*Did you mean 'request_rate_rps'"):
        PrometheusMetrics(MetricsSettings(url="http://localhost:1", queries={"request_rate": "up"}))


@pytest.mark.parametrize("promql", ['up{pod=~"web-.*$"}', "up ${} x", "$"])
def test_lone_dollar_sign_is_explained(promql: str) -> None:
    with pytest.raises(InputError, match=r"metrics.queries.in_flight.*write \$\$"):
        chosen_queries({"in_flight": promql})


def test_query_that_is_no_text_is_refused() -> None:
    with pytest.raises(InputError, match="must be PromQL, as text"):
        chosen_queries({"in_flight": 3})  # type: ignore[dict-item]


def test_query_for_the_age_cannot_be_switched_off() -> None:
    assert chosen_queries({"in_flight": " "})["in_flight"].promql == ""
    with pytest.raises(InputError, match="sample_time_s is empty"):
        chosen_queries({"sample_time_s": " "})


@given(NAMES, HASH_AND_SUFFIX)
def test_expression_matches_the_pods_of_the_deployment(name: str, random: tuple[str, str]) -> None:
    # As the API server makes names: what does not fit into 63 characters is cut before the suffix.
    pod = f"{name}-{random[0]}-"[:58] + random[1]
    assert re.fullmatch(pods_expression(name), pod)


@pytest.mark.parametrize("length", range(40, 70))
def test_expression_matches_pods_whose_names_were_cut(length: int) -> None:
    name = ("n" * 23 + ".") * 3
    for random in (("7d9f8b6c5d", "x2k4q"), ("b", "22222")):
        pod = f"{name[:length]}-{random[0]}-"[:58] + random[1]
        assert re.fullmatch(pods_expression(name[:length]), pod)


@pytest.mark.parametrize(
    "pod",
    [
        "web-api-0",  # a StatefulSet web-api
        "web-api-x7k2p",  # a DaemonSet web-api
        "web-api-7d9f8b6c5d-x2k4q",  # a Deployment web-api
        "my-web-7d9f8b6c5d-x2k4q",
        "web-7d9f8b6c5d",
        "web-0",
    ],
)
def test_expression_matches_no_pod_of_others(pod: str) -> None:
    assert re.fullmatch(pods_expression("web"), "web-7d9f8b6c5d-x2k4q")
    assert not re.fullmatch(pods_expression("web"), pod)


def test_dots_in_a_name_are_dots() -> None:
    assert 'pod=~"my\\\\.app-' in asked('up{pod=~"${pods}"}', deployment="my.app")
    assert not re.fullmatch(pods_expression("my.app"), "my-app-7d9f8b6c5d-x2k4q")


@pytest.mark.parametrize(
    "url", [None, "localhost:9090", "ftp://x", "http://", "http://h:99999", "http://u:pw@h:x"]
)
def test_address_that_is_none_is_refused(url: str | None) -> None:
    settings = MetricsSettings(source="metrics-server", url=url)
    with pytest.raises(InputError, match="http://localhost:9090") as caught:
        PrometheusMetrics(settings)
    assert "pw" not in str(caught.value)


def test_address_of_a_page_is_refused_without_what_follows() -> None:
    settings = MetricsSettings(url="http://u:pw@localhost:9090/graph?token=abc")
    with pytest.raises(InputError, match="http://localhost:9090/graph goes on after"):
        PrometheusMetrics(settings)
