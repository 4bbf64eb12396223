"""All constants of a recorded run: one service after the other, then the monitoring."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from podgym.envs.config import EnvConfig, override
from podgym.envs.simulator.parameters import ServiceConfig
from podgym.errors import InputError, unknown_name
from podgym.eval.calibration.constants import FittedConstant
from podgym.eval.calibration.recording import Recording
from podgym.eval.calibration.replay import QueueReplay
from podgym.eval.calibration.response import fit_response
from podgym.eval.calibration.scrapes import fit_scrapes
from podgym.eval.calibration.series import service_series, sights_of
from podgym.eval.calibration.start_up import fit_start_up
from podgym.eval.calibration.work import fit_cpu, fit_memory


@dataclass(frozen=True, slots=True)
class ServiceCalibration:
    """What a recording says of one service."""

    name: str
    constants: tuple[FittedConstant, ...]
    """Fields of ``ServiceParameters``."""
    cpu_error: float
    """Mean absolute residual of CPU use over its mean; nan: not fitted."""
    memory_error: float
    """The same of memory."""
    response_error: float
    """Mean absolute relative residual of the mean response time of an interval; nan: not fitted."""
    cautions: tuple[str, ...]
    """What a user should know."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a recording says of the simulator's constants."""

    recording: str
    """Where the recording comes from."""
    services: tuple[ServiceCalibration, ...]
    """One per service that was asked for."""
    monitoring: tuple[FittedConstant, ...]
    """Fields of ``MonitoringParameters``."""
    config: EnvConfig
    """The environment before the fit, with the constants that ``was`` shows."""

    @property
    def changes(self) -> dict[str, Any]:
        """What differs now, as for ``gym.make`` and for ``changes`` in the settings of a cluster.

        Only what the recording tells is in it; it can be empty.
        """
        services = {
            service.name: {"parameters": changed}
            for service in self.services
            if (changed := _changed(service.constants))
        }
        monitoring = _changed(self.monitoring)
        cluster: dict[str, Any] = {"services": services} if services else {}
        if monitoring:
            cluster["monitoring"] = monitoring
        return {"cluster": cluster} if cluster else {}

    @property
    def fitted_config(self) -> EnvConfig:
        """The environment after the fit."""
        return override(self.config, self.changes)


def _changed(constants: tuple[FittedConstant, ...]) -> dict[str, float | str]:
    return {constant.name: constant.value for constant in constants if constant.changed}


def calibrate(recording: Recording, config: EnvConfig, services: tuple[str, ...] = ()) -> Calibration:
    """Fit the constants of the simulator to a recorded run.

    Args:
        recording: the run.
        config: environment with the constants before, from ``recorded_configuration``.
        services: names of the services to fit; none: all.

    Raises:
        InputError: an unknown service, or a recording that is too short or without requests.
    """
    names = recording.record.metadata.service_names
    for name in services:
        if name not in names:
            raise unknown_name("service", name, names)
    known = {service.name: service for service in config.cluster.services}
    asked = services or names
    fitted = tuple(_calibrate_service(recording, config, known[name]) for name in asked)
    pods = recording.record.columns["replicas_ready"][:, names.index(asked[0])]
    staggered = recording.live and bool(np.nanmax(pods) > 1.0)
    monitoring = fit_scrapes(sights_of(recording, asked[0]), config.cluster.monitoring, staggered=staggered)
    result = Calibration(recording.label, fitted, monitoring, config)
    try:
        _ = result.fitted_config
    except InputError as error:
        raise InputError(f"{recording.label}: what was fitted cannot be simulated: {error}") from error
    return result


def _calibrate_service(recording: Recording, config: EnvConfig, service: ServiceConfig) -> ServiceCalibration:
    was = service.parameters
    series = service_series(recording, service.name, service.quota.cpu_limit_cores)
    cpu = fit_cpu(series, was)
    working = replace(was, cpu_demand_core_s=cpu.demand_core_s)
    replay = QueueReplay(series, config.cluster.tick_s, config.cluster.load)
    response = fit_response(series, replay, working, cpu.demand_spread_core_s)
    memory = fit_memory(series, response.held_request_s, was)
    start_up = fit_start_up(recording.pods, service.name, was)
    cautions = list(response.cautions)
    if series.lag_s > 0.0:
        cautions.append(
            f"metrics lag {series.lag_s:.1f} s behind their interval; ready replicas were shifted by it"
        )
    if service.calls:
        cautions.append(
            "if response times were measured with the calls of other services, so is base_latency_s"
        )
    constants = (*cpu.constants, *response.constants, *start_up, *memory.constants)
    return ServiceCalibration(
        service.name, constants, cpu.error, memory.error, response.error, tuple(cautions)
    )


def as_document(calibration: Calibration) -> Mapping[str, Any]:
    """Return a calibration as plain data, for JSON."""
    return {
        "recording": calibration.recording,
        "services": {
            service.name: {
                "constants": [_entry(constant) for constant in service.constants],
                "errors": {
                    "cpu": service.cpu_error,
                    "memory": service.memory_error,
                    "response_time": service.response_error,
                },
                "cautions": list(service.cautions),
            }
            for service in calibration.services
        },
        "monitoring": [_entry(constant) for constant in calibration.monitoring],
        "changes": calibration.changes,
    }


def _entry(constant: FittedConstant) -> dict[str, Any]:
    return {
        "name": constant.name,
        "unit": constant.unit,
        "was": constant.was,
        "value": constant.value,
        "lower": constant.lower,
        "upper": constant.upper,
        "status": constant.status,
        "how": constant.how,
        "note": constant.note,
    }
