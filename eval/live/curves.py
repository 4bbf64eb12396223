"""The numbers of a live episode as TensorBoard curves, written without torch."""

import math
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from podgym.envs.cluster import ClusterObservation
from podgym.errors import InputError

_TOTALS = (
    "offered_rps", "response_time_mean_s", "response_time_p95_s", "slo_violation_ratio", "cpu_utilisation",
    "reward",
)  # fmt: skip
_OF_SERVICE = ("replicas_wanted", "replicas_ready", "request_rate_rps", "response_time_s", "error_ratio")


class TensorBoardCurves:
    """Curves of one episode; the step is the number of the interval."""

    def __init__(self, folder: Path) -> None:
        """Open an event file in a folder.

        Raises:
            InputError: TensorBoard is not installed.
        """
        try:
            writer = import_module("tensorboard.summary.writer.event_file_writer")
            self._events = import_module("tensorboard.compat.proto.event_pb2")
            self._summaries = import_module("tensorboard.compat.proto.summary_pb2")
        except ImportError as error:
            raise InputError(
                "--tensorboard needs TensorBoard, which is not installed; pip install tensorboard."
            ) from error
        self._writer: Any = writer.EventFileWriter(str(folder))

    def add(self, interval: int, observation: ClusterObservation, info: Mapping[str, float]) -> None:
        """Write the numbers of one interval; what was not measured leaves a gap."""
        numbers = {f"live/{name}": info[name] for name in _TOTALS}
        for service in observation.services:
            numbers |= {f"{service.name}/{name}": float(getattr(service, name)) for name in _OF_SERVICE}
        values = [
            self._summaries.Summary.Value(tag=name, simple_value=value)
            for name, value in numbers.items()
            if math.isfinite(value)
        ]
        summary = self._summaries.Summary(value=values)
        self._writer.add_event(self._events.Event(wall_time=time.time(), step=interval, summary=summary))
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()
