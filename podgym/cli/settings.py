"""From command line options to the configuration of an environment."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

from podgym.envs.config import EnvConfig, override
from podgym.envs.core import open_workload
from podgym.envs.env import AutoscaleEnv
from podgym.envs.make import scenario_config
from podgym.envs.registration import ENVIRONMENT_IDS
from podgym.envs.workloads import (
    PACKAGED_TRACES,
    PUBLIC_TRACES,
    WORKLOADS,
    TracePart,
    TraceWorkload,
    Workload,
)
from podgym.errors import InputError, unknown_name
from podgym.eval.provisioning import capacity_rps

PACKAGED_PEAK_RPS = 1000.0
"""Peak of a packaged trace without ``--peak-rps``: such traces hold utilisation and no request rate."""
_QUIET_SHARE = 0.02  # a load that never needs more than this share of the cluster is worth a remark


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be evaluated on."""

    name: str
    """Id, or ``workload NAME``."""
    config: EnvConfig
    env: AutoscaleEnv
    """The environment, made once to see that it can be."""
    remarks: tuple[str, ...]
    """What a reader of the results should know of the load."""

    @property
    def duration_s(self) -> float:
        """Length of an episode, seconds."""
        return self.env.episode_steps * self.config.cluster.control_interval_s


def make_target(
    *,
    environment: str | None = None,
    workload: str | None = None,
    part: str | None = None,
    peak_rps: float | None = None,
    episode_hours: float | None = None,
    changes: Sequence[str] = (),
) -> Target:
    """Build the configuration that options ask for.

    Args:
        environment: id of an environment.
        workload: name of a workload or path of a trace, on the cluster of ``podgym/Trace-v0``. One of the two
            is needed.
        part: part of the trace; default for ``workload``: all of it.
        peak_rps: scale the trace to this peak, requests/s; packaged traces: 1000 unless given.
        episode_hours: length of an episode; default for a trace: all of its longest contiguous piece.
        changes: ``key=value`` with dotted keys of ``EnvConfig``.

    Raises:
        InputError: neither or both of environment and workload, an unknown name or key, or a bad value.
    """
    if (environment is None) == (workload is None):
        raise InputError("give either --env ID or --workload NAME|FILE; `podgym envs` lists the ids.")
    if environment is not None:
        name, config = environment, environment_config(environment)
    else:
        name, config = f"workload {workload}", _workload_config(str(workload), part is None, peak_rps is None)
    given = parse_changes(changes)
    options = dict(given.pop("workload_options", {}))
    if part is not None:
        options["part"] = _checked_part(part)
    if peak_rps is not None:
        options["peak_rate_rps"] = peak_rps
    if episode_hours is not None:
        given["episode_s"] = 3600.0 * _positive("--episode-hours", episode_hours)
    try:
        config = override(config, {**given, "workload_options": {**config.workload_options, **options}})
        opened = open_workload(config)
        if workload is not None and config.episode_s is None and isinstance(opened, TraceWorkload):
            config = override(config, {"episode_s": _whole_length_s(config, opened)})
        env = AutoscaleEnv(config, workload=opened)
    except (TypeError, AttributeError) as error:  # a value of a shape that no check expected
        if not changes:
            raise
        raise InputError(f"--set {' --set '.join(changes)}: a value cannot be used: {error}.") from error
    return Target(name, config, env, _remarks(config, opened))


def environment_config(environment: str) -> EnvConfig:
    """Return the configuration of an id.

    Raises:
        InputError: there is no such id.
    """
    if environment not in ENVIRONMENT_IDS:
        raise unknown_name("environment", environment, ENVIRONMENT_IDS)
    return scenario_config(ENVIRONMENT_IDS[environment])


def parse_changes(changes: Sequence[str]) -> dict[str, Any]:
    """Turn ``a.b=1`` and the like into nested mappings; a value is JSON, or else a string.

    Raises:
        InputError: no ``=``, or a key that is given twice or both as a value and as a group.
    """
    result: dict[str, Any] = {}
    for change in changes:
        key, sign, text = change.partition("=")
        if not sign or not key.strip("."):
            raise InputError(f"--set {change!r}: key=value is needed, as in --set reward.preset=paper.")
        *path, last = key.split(".")
        place = result
        for step in path:
            place = place.setdefault(step, {})
            if not isinstance(place, dict):
                raise InputError(f"--set {change!r}: {step!r} was given a value before.")
        if last in place:
            raise InputError(f"--set {change!r}: {key!r} is given twice.")
        place[last] = parse_scalar(text)
    return result


def parse_scalar(text: str) -> Any:  # noqa: ANN401  (whatever the text stands for)
    """Return what a text stands for: JSON, a YAML-like word (yes, no, null), or itself."""
    words = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False,
             "null": None, "none": None}  # fmt: skip
    if text.strip().lower() in words:
        return words[text.strip().lower()]
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _workload_config(workload: str, whole: bool, unscaled: bool) -> EnvConfig:
    """The cluster of the trace environment under another workload, whose options start afresh."""
    options: dict[str, object] = {}
    if workload in PACKAGED_TRACES and unscaled:
        options["peak_rate_rps"] = PACKAGED_PEAK_RPS
    if whole and (workload not in WORKLOADS or workload in (*PACKAGED_TRACES, *PUBLIC_TRACES)):
        options["part"] = "all"
    return override(
        environment_config("podgym/Trace-v0"), {"workload": workload, "workload_options": options}
    )


def _checked_part(part: str) -> str:
    if part not in get_args(TracePart):
        raise unknown_name("part", part, get_args(TracePart))
    return part


def _positive(option: str, value: float) -> float:
    if not 0.0 < value < math.inf:
        raise InputError(f"{option} is {value!r}; it must be a number above 0.")
    return value


def _whole_length_s(config: EnvConfig, workload: Workload) -> float:
    interval_s = config.cluster.control_interval_s
    return max(math.floor(workload.max_duration_s / interval_s + 1e-9), 1) * interval_s


def _remarks(config: EnvConfig, workload: Workload) -> tuple[str, ...]:
    if not isinstance(workload, TraceWorkload):
        return ()
    remarks = [f"Request rate: {workload.rate_derivation}."]
    peak_rps, most_rps = float(workload.rates_rps.max()), capacity_rps(config.cluster)
    if peak_rps > most_rps:
        remarks.append(
            f"The peak of {peak_rps:.4g} requests/s exceeds the {most_rps:.4g} that the cluster can serve at "
            "most; --peak-rps scales the trace."
        )
    elif peak_rps < _QUIET_SHARE * most_rps:
        remarks.append(
            f"The peak of {peak_rps:.3g} requests/s is far below the {most_rps:.4g} that the cluster can "
            "serve; --peak-rps scales the trace."
        )
    return tuple(remarks)
