"""How a real cluster is reached, watched and kept safe: one YAML file, typed; a wrong key is refused.

context: kind-podgym
environment: podgym/Trace-v0
metrics: {url: "http://localhost:9090"}
services:
  web: {namespace: demo, max_replicas: 10}
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from podgym.errors import InputError, require_whole, unknown_name
from podgym.files import missing_with_hint

Mode = Literal["act", "dry_run", "shadow"]
"""``act``: decisions change the cluster. ``dry_run``: they are sent with ``dryRun=All``, so that the API
server checks them and keeps nothing. ``shadow``: nothing is written at all; decisions are only logged."""
Source = Literal["prometheus", "metrics-server"]
Resize = Literal["auto", "in_place", "template"]

_LARGEST_S = 1e9


def _require_number(name: str, value: object, low: float, high: float = _LARGEST_S) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
    if not number:  # nan is between no bounds
        raise InputError(f"{name} is {value!r}; it must be a number from {low:g} to {high:g}.")


def _require_text(name: str, value: object, *, optional: bool = False) -> None:
    if value is None and optional:
        return
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{name} is {value!r}; it must be text that is not empty.")


def _require_choice(name: str, value: object, allowed: Any) -> None:  # noqa: ANN401  (a Literal)
    if value not in get_args(allowed):
        raise unknown_name(name, value, get_args(allowed))


@dataclass(frozen=True, slots=True)
class TargetSettings:
    """One service: the Deployment behind it and how far it may be scaled."""

    namespace: str = "default"
    """Namespace of the Deployment."""
    deployment: str | None = None
    """Name of the Deployment; None: that of the service."""
    container: str | None = None
    """Container whose quota is scaled and whose CPU counts; None: the only one."""
    min_replicas: int | None = None
    """Least replicas; None: as in the simulated environment."""
    max_replicas: int | None = None
    """Most replicas; None: as in the simulated environment."""
    slo_response_time_s: float | None = None
    """Service level objective; None: as in the simulated environment."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """More placeholders for the queries: ``{job: shop}`` fills ``${job}``."""

    def __post_init__(self) -> None:
        _require_text("namespace", self.namespace)
        _require_text("deployment", self.deployment, optional=True)
        _require_text("container", self.container, optional=True)
        for name in ("min_replicas", "max_replicas"):
            if getattr(self, name) is not None:
                require_whole(name, getattr(self, name), 1, 5000)
        if self.min_replicas and self.max_replicas and self.min_replicas > self.max_replicas:
            raise InputError(f"min_replicas {self.min_replicas} is above max_replicas {self.max_replicas}.")
        if self.slo_response_time_s is not None:
            _require_number("slo_response_time_s", self.slo_response_time_s, 1e-6)
        if not isinstance(self.labels, Mapping):
            raise InputError(f"labels is {self.labels!r}; it must be a mapping of names to text.")


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """Where the metrics come from."""

    source: Source = "prometheus"
    """``prometheus``, or ``metrics-server``: CPU and memory alone, without request rate or response time."""
    url: str | None = None
    """Address of Prometheus, such as ``http://localhost:9090``."""
    token_file: str | None = None
    """File with the bearer token for Prometheus; it is read anew for every request and never shown."""
    queries: Mapping[str, str] = field(default_factory=dict)
    """PromQL by name, in place of the defaults; see ``podgym.envs.kubernetes.queries``."""
    window_s: float = 60.0
    """Averaging window of rates, seconds; it should hold four values of the slowest metric, and cAdvisor's
    come every 10 to 15 s."""
    max_age_s: float = 60.0
    """A sample older than this is stale: it never makes a service smaller."""
    timeout_s: float = 3.0
    """Longest wait for one answer."""
    history_s: float = 3600.0
    """Past that is read at the start, for forecasts; 0: none."""

    def __post_init__(self) -> None:
        _require_choice("metrics.source", self.source, Source)
        _require_text("metrics.url", self.url, optional=True)
        _require_text("metrics.token_file", self.token_file, optional=True)
        if self.source == "prometheus" and self.url is None:
            raise InputError(
                "metrics.url is missing; give the address of Prometheus, or metrics.source: metrics-server."
            )
        for name, low in (("window_s", 1.0), ("max_age_s", 1.0), ("timeout_s", 0.05), ("history_s", 0.0)):
            _require_number(f"metrics.{name}", getattr(self, name), low)


@dataclass(frozen=True, slots=True)
class SafetySettings:
    """What no decision can pass, see ``podgym.envs.kubernetes.guard``."""

    tolerance: float = 0.0
    """Relative change of the replicas below which nothing is written, 0.1 for Kubernetes' HPA."""
    up_factor: float = 2.0
    """Most growth within ``rate_period_s``, as a factor of the replicas at its start ..."""
    up_pods: int = 4
    """... or as pods, whichever allows more; one pod more is always allowed."""
    down_factor: float = 0.5
    """What must be left at least of the replicas at the start of ``rate_period_s``; one pod less is always
    allowed."""
    rate_period_s: float = 14.0
    """Period of the rates, seconds; a little less than the control interval, so that a step which comes some
    milliseconds early is not held back."""
    down_window_s: float = 60.0
    """A service shrinks to no less than the most replicas that were wanted within this window; nothing
    shrinks before one window has passed since the start."""
    allow_scale_up: bool = True
    """Whether services may grow."""
    allow_scale_down: bool = True
    """Whether services may shrink."""
    allow_quotas: bool = True
    """Whether CPU and memory of pods may be changed."""
    max_api_calls_per_step: int = 12
    """Most calls of the API server for one service in one step, retries included."""
    max_retries: int = 2
    """Attempts beyond the first, for conflicts and what is transient."""
    timeout_s: float = 5.0
    """Longest wait for one answer of the API server."""
    max_retry_after_s: float = 5.0
    """Longest ``Retry-After`` that is waited for; a longer one makes the step hold."""
    stop_after_failures: int = 20
    """Steps in a row without any usable answer after which the run stops."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("tolerance", 0.0, 1.0), ("up_factor", 1.0, 1e6), ("down_factor", 0.0, 1.0),
            ("rate_period_s", 1.0, 3600.0), ("down_window_s", 0.0, 86400.0), ("timeout_s", 0.05, 300.0),
            ("max_retry_after_s", 0.0, 300.0),
        ):  # fmt: skip
            _require_number(f"safety.{name}", getattr(self, name), low, high)
        require_whole("safety.up_pods", self.up_pods, 0, 5000)
        require_whole("safety.max_api_calls_per_step", self.max_api_calls_per_step, 4, 1000)
        require_whole("safety.max_retries", self.max_retries, 0, 10)
        require_whole("safety.stop_after_failures", self.stop_after_failures, 1, 10**6)
        for name in ("allow_scale_up", "allow_scale_down", "allow_quotas"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"safety.{name} is {getattr(self, name)!r}; it must be true or false.")


@dataclass(frozen=True, slots=True)
class KubernetesSettings:
    """Everything about one real cluster."""

    services: Mapping[str, TargetSettings]
    """What is scaled, by the name that the service has in the simulated environment."""
    metrics: MetricsSettings
    """Where metrics come from."""
    environment: str = "podgym/Trace-v0"
    """Simulated environment with the same services: its constants scale observations, its levels are what
    actions choose from, and it runs beside the cluster on the recorded load."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """What differs from it, as for ``gym.make``; ``podgym calibrate`` writes such a mapping."""
    kubeconfig: str | None = None
    """File with the contexts; None: ``$KUBECONFIG``, else ``~/.kube/config``."""
    context: str | None = None
    """Context; None: the current one."""
    in_cluster: bool = False
    """Use the credentials of the pod that this runs in."""
    mode: Mode = "act"
    """``act``: decisions change the cluster; ``dry_run``: the API server checks them and keeps nothing;
    ``shadow``: nothing is written."""
    take_over: bool = False
    """Act on targets that an HPA, a ScaledObject or a VPA manages: they are stopped, and given back at the
    end, whatever ``restore`` says."""
    restore: bool = True
    """Whether the replicas and quotas found at the start are restored at the end; false: they stay as the
    last decision left them, with the note of what was found, for ``podgym restore``."""
    resize: Resize = "auto"
    """How quotas change: ``in_place`` (resize of the running pods), ``template`` (roll out), ``auto``: in
    place where the API server serves it."""
    emit_events: bool = False
    """Whether every change is also told as a Kubernetes Event on the Deployment."""
    safety: SafetySettings = field(default_factory=SafetySettings)
    """The limits of every decision."""

    def __post_init__(self) -> None:
        if not self.services:
            raise InputError(
                "services is empty; name at least one, such as services: {web: {namespace: demo}}."
            )
        _require_choice("mode", self.mode, Mode)
        _require_choice("resize", self.resize, Resize)
        _require_text("environment", self.environment)
        _require_text("kubeconfig", self.kubeconfig, optional=True)
        _require_text("context", self.context, optional=True)
        for name in ("in_cluster", "take_over", "restore", "emit_events"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name} is {getattr(self, name)!r}; it must be true or false.")
        if self.in_cluster and (self.context or self.kubeconfig):
            raise InputError("in_cluster: true takes no context and no kubeconfig; leave them out.")


def read_settings(path: str | Path) -> KubernetesSettings:
    """Read the settings of a cluster from a YAML file.

    Raises:
        InputError: no such file, no YAML, an unknown key (with the closest match) or a bad value.
    """
    path = Path(path)
    if not path.is_file():
        raise missing_with_hint(path, (".yml", ".yaml"))
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    try:
        return parse_settings(content)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def parse_settings(content: object) -> KubernetesSettings:
    """Return the settings that a mapping, as read from YAML or JSON, says.

    Raises:
        InputError: see ``read_settings``.
    """
    fields = dict(_mapping("the settings of a cluster", content, KubernetesSettings))
    services = fields.get("services") or {}
    if not isinstance(services, Mapping):
        raise InputError(f"services is {services!r}; it must be a mapping of names to their settings.")
    fields["services"] = {
        str(name): _made(TargetSettings, f"services.{name}", each or {}) for name, each in services.items()
    }
    fields["metrics"] = _made(MetricsSettings, "metrics", fields.get("metrics") or {})
    fields["safety"] = _made(SafetySettings, "safety", fields.get("safety") or {})
    return KubernetesSettings(**fields)


def _mapping(what: str, content: object, kind: type) -> Mapping[str, Any]:
    if not isinstance(content, Mapping):
        raise InputError(f"{what}: got {content!r}; it must be a mapping.")
    names = [item.name for item in dataclasses.fields(kind)]
    for key in content:
        if key not in names:
            raise unknown_name(f"key of {what}", key, names)
    return content


def _made(kind: Any, what: str, content: object) -> Any:  # noqa: ANN401  (one of the dataclasses above)
    try:
        return kind(**_mapping(what, content, kind))
    except InputError as error:
        raise InputError(str(error) if what in str(error) else f"{what}: {error}") from error
