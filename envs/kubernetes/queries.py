r"""The PromQL behind every metric: defaults, what may stand in their place, and the placeholders in both.

A query under ``metrics.queries`` of the settings replaces the default of the same name. Placeholders:
``${namespace}``, ``${deployment}``, ``${container}``, ``${pods}`` (regular expression of the names of the
Deployment's pods), ``${window}`` (such as ``30s``), ``${slo}`` (seconds), and every name under ``labels`` of
the service. They stand for text within double quotes: quotes and backslashes are escaped. A dollar sign is
written ``$$``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from string import Template
from typing import Literal

from podgym.envs.kubernetes.readings import WatchedService
from podgym.errors import InputError, unknown_name

Shape = Literal["one", "pod", "le"]
"""How many series a query is meant to give: ``one``, or one for each value of the label ``pod`` or ``le``."""

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # of the random parts of names, k8s.io/apimachinery/pkg/util/rand
_HASH_LENGTH, _SUFFIX_LENGTH = 10, 5
_LONGEST_BASE = 58  # a generated name is 63 characters: what does not fit before the random part is cut off
_PLACEHOLDERS = ("namespace", "deployment", "container", "pods", "window", "slo")


@dataclass(frozen=True, slots=True)
class Query:
    """One query."""

    name: str
    """Name, as under ``metrics.queries``."""
    promql: str
    """PromQL with placeholders; empty: not asked."""
    meaning: str
    """What the answer is, with its unit."""
    shape: Shape = "one"
    """Which series are meant."""


_HTTP = 'namespace="${namespace}",pod=~"${pods}"'
_CONTAINER = 'namespace="${namespace}",pod=~"${pods}",container="${container}"'
_REQUESTS = f"http_requests_total{{{_HTTP}}}"
_DURATIONS = "http_request_duration_seconds"


def _rate(metric: str, matchers: str = _HTTP) -> str:
    return f"rate({metric}{{{matchers}}}[${{window}}])"


def _by_status(matcher: str) -> str:
    """Rates of requests by status, whether the label is called ``code`` or ``status``."""
    requests = "http_requests_total"
    return f"{_rate(requests, f'{_HTTP},code{matcher}')} or {_rate(requests, f'{_HTTP},status{matcher}')}"


_DEFAULTS = (
    Query(
        "sample_time_s",
        f"max(timestamp({_REQUESTS}) or timestamp({_DURATIONS}_count{{{_HTTP}}})"
        f" or timestamp(http_requests_in_flight{{{_HTTP}}}))",
        "when the newest sample of the request metrics was scraped, seconds since 1970; the rates are taken "
        "over the window that ends there, and count for nothing where there is no such sample",
    ),
    Query(
        "request_rate_rps",
        f"sum({_rate('http_requests_total')}) or sum({_rate(f'{_DURATIONS}_count')})",
        "requests that ended per second, failed ones included",
    ),
    Query(
        "error_rate_rps",
        # No series with an error yet is 0 errors, but only where requests do carry their status.
        f"""sum({_by_status('=~"5.."')}) or 0 * sum({_by_status('!=""')})""",
        "requests that failed per second",
    ),
    Query(
        "response_time_sum_rate",
        f"sum({_rate(f'{_DURATIONS}_sum')})",
        "response times added up, seconds per second",
    ),
    Query(
        "response_time_count_rate",
        f"sum({_rate(f'{_DURATIONS}_count')})",
        "response times counted, per second",
    ),
    Query(
        "response_time_buckets",
        f"sum by (le) ({_rate(f'{_DURATIONS}_bucket')})",
        "response times at or below the bound in the label le (seconds), per second",
        "le",
    ),
    Query("in_flight", f"sum(http_requests_in_flight{{{_HTTP}}})", "requests in the system"),
    Query(
        "lost_pods",
        f"count(count by (pod) ({_rate('http_requests_total')} or {_rate(f'{_DURATIONS}_count')})"
        f" and on (pod) (up{{{_HTTP}}} == 0))",
        "pods whose metrics were scraped within the window and no longer are; empty: none. Rates are too low "
        "then, and the reading is marked as partial",
    ),
    Query(
        "pod_sample_time_s",
        f"max by (pod) (timestamp(container_memory_working_set_bytes{{{_CONTAINER}}}))",
        "when CPU and memory of each pod were scraped, seconds since 1970",
        "pod",
    ),
    Query(
        "pod_cpu_cores",
        f"sum by (pod) ({_rate('container_cpu_usage_seconds_total', _CONTAINER)})",
        "mean cores used by each pod",
        "pod",
    ),
    Query(
        "pod_memory_bytes",
        f"max by (pod) (container_memory_working_set_bytes{{{_CONTAINER}}})",
        "working set of each pod, bytes",
        "pod",
    ),
    # What follows is derived from the queries above, unless a query is given: for summaries with a label
    # quantile, native histograms, or whatever a service has.
    Query("error_ratio", "", "failed requests over all that ended, 0 to 1"),
    Query("response_time_s", "", "mean response time, seconds"),
    Query("response_time_std_s", "", "standard deviation of the response times, seconds"),
    Query("response_time_p50_s", "", "median response time, seconds"),
    Query("response_time_p95_s", "", "95th percentile of the response times, seconds"),
    Query("response_time_p99_s", "", "99th percentile of the response times, seconds"),
    Query("slow_ratio", "", "share of the requests that took longer than the SLO, 0 to 1"),
)

QUERIES: dict[str, Query] = {query.name: query for query in _DEFAULTS}
"""The defaults by name: container metrics of cAdvisor and HTTP metrics under their common names."""


def chosen_queries(replaced: Mapping[str, str]) -> dict[str, Query]:
    """Return the defaults with what the settings put in their place.

    Args:
        replaced: PromQL by name of the query; an empty text switches a query off.

    Raises:
        InputError: an unknown name, something that is no text, a dollar sign that begins no placeholder, or
            no ``sample_time_s``.
    """
    chosen = dict(QUERIES)
    for name, promql in replaced.items():
        if name not in QUERIES:
            raise unknown_name("query", name, QUERIES)
        if not isinstance(promql, str):
            raise InputError(f"metrics.queries.{name} is {promql!r}; it must be PromQL, as text.")
        if not Template(promql).is_valid():
            raise InputError(
                f"metrics.queries.{name} has a dollar sign that begins no placeholder; write $$ for a dollar "
                f'sign, as in pod=~"web-.*$$". PromQL: {promql}'
            )
        chosen[name] = replace(QUERIES[name], promql=promql.strip())
    if not chosen["sample_time_s"].promql:
        raise InputError(
            "metrics.queries.sample_time_s is empty; without it nobody knows whether a rate is fresh. "
            "Give max(timestamp(METRIC)) of one of the request metrics."
        )
    return chosen


def render(query: Query, service: WatchedService, window_s: float) -> str:
    """Return the PromQL of a query for one service.

    Args:
        query: with placeholders.
        service: what the placeholders stand for.
        window_s: averaging window of rates, seconds.

    Raises:
        InputError: an unknown placeholder, with the closest match; a label named as one that is built in.
    """
    meanings = {
        "namespace": service.namespace,
        "deployment": service.deployment,
        "container": service.container,
        "pods": pods_expression(service.deployment),
        "window": duration(window_s),
        "slo": f"{service.slo_response_time_s:.12g}",
    }
    for name, value in service.labels.items():
        if name in _PLACEHOLDERS:
            raise InputError(
                f"service {service.name!r}: labels holds {name!r}, which every query has already; "
                "choose another name."
            )
        meanings[name] = str(value)
    template = Template(query.promql)
    for name in template.get_identifiers():
        if name not in meanings:
            raise unknown_name(f"placeholder in the query {query.name} of {service.name!r}", name, meanings)
    return template.substitute({name: _quoted(value) for name, value in meanings.items()})


def pods_expression(deployment: str) -> str:
    """Return a regular expression (RE2, anchored by Prometheus) of the names of a Deployment's pods.

    A name is ``<deployment>-<hash>-<suffix>``; both random parts are drawn from an alphabet without vowels,
    which keeps the pods of ``web-api-0`` and of a DaemonSet ``web-api`` from being taken for pods of ``web``.
    """
    name = deployment.replace(".", r"\.")
    suffix = f"[{_ALPHABET}]{{{_SUFFIX_LENGTH}}}"
    if len(deployment) + 1 + _HASH_LENGTH + 1 <= _LONGEST_BASE:
        return f"{name}-[{_ALPHABET}]{{1,{_HASH_LENGTH}}}-{suffix}"
    if len(deployment) >= _LONGEST_BASE:
        return deployment[:_LONGEST_BASE].replace(".", r"\.") + suffix
    return f"{name}-[{_ALPHABET}]{{0,{_HASH_LENGTH}}}-?{suffix}"


def duration(seconds: float) -> str:
    """Return a duration as PromQL writes it, to the millisecond: ``30s``, ``1500ms``."""
    milliseconds = round(seconds * 1000.0)
    return f"{milliseconds // 1000}s" if milliseconds % 1000 == 0 else f"{milliseconds}ms"


def _quoted(value: str) -> str:
    """Escape text for the inside of a double-quoted string of PromQL."""
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
