"""Fitting the simulator's constants to a recorded run, and judging the fitted simulator by it.

In reading order: ``recording`` (what a run left behind), ``run_log`` (how it is noted), ``series`` (one
service as arrays), ``constants`` and ``regression`` (what a fit says, and how sure it is), ``replay`` (the
queue under recorded load), ``work``, ``response``, ``start_up``, ``scrapes`` (the fits), ``fit`` (all of
them) and ``validation``.
"""

from podgym.eval.calibration.constants import FittedConstant
from podgym.eval.calibration.fit import Calibration, ServiceCalibration, as_document, calibrate
from podgym.eval.calibration.recording import (
    PodStart,
    Recording,
    ScrapeSight,
    read_recording,
    recorded_configuration,
    write_recording,
)
from podgym.eval.calibration.run_log import LoggedController, RunLog, record_simulated_run
from podgym.eval.calibration.validation import (
    Comparison,
    RecordedDecisions,
    RecordedLoad,
    Validation,
    validate,
)

__all__ = [
    "Calibration",
    "Comparison",
    "FittedConstant",
    "LoggedController",
    "PodStart",
    "RecordedDecisions",
    "RecordedLoad",
    "Recording",
    "RunLog",
    "ScrapeSight",
    "ServiceCalibration",
    "Validation",
    "as_document",
    "calibrate",
    "read_recording",
    "record_simulated_run",
    "recorded_configuration",
    "validate",
    "write_recording",
]
