"""The controller that plays a course which was fixed beforehand."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from podgym.envs.cluster import ClusterObservation, ServiceDecision, ServiceView
from podgym.errors import InputError

QUOTA_COLUMNS = 4
"""CPU request and limit in cores, memory request and limit in bytes."""


class ScheduleController:
    """Asks in each control interval for what its schedule says, and after its end for the last of it.

    It looks at nothing, so it may play what no controller could know: the schedule of a clairvoyant. What a
    service does not allow is moved to its nearest bound.
    """

    def __init__(
        self, replicas: ArrayLike, quotas: ArrayLike | None = None, *, name: str = "schedule"
    ) -> None:
        """Fix the schedule.

        Args:
            replicas: (num_steps, num_services) wanted from each decision on.
            quotas: (num_steps, num_services, 4) CPU request and limit in cores, memory request and limit in
                bytes; None: as each service began.
            name: what tables call it.

        Raises:
            InputError: not such arrays, replicas that are not whole numbers of 1 or more, or quotas that are
                not positive or whose limit is below its request.
        """
        self.name = name
        self._replicas = _checked_replicas(replicas)
        self._quotas = None if quotas is None else _checked_quotas(quotas, self._replicas.shape)
        self._step = 0

    def reset(self) -> None:
        """Begin the schedule anew."""
        self._step = 0

    def decide(self, observation: ClusterObservation) -> tuple[ServiceDecision, ...]:
        """Ask for the next line of the schedule.

        Raises:
            InputError: the schedule is for another number of services.
        """
        services = self._replicas.shape[1]
        if len(observation.services) != services:
            raise InputError(
                f"schedule {self.name!r} is for {services} services; the cluster has "
                f"{len(observation.services)}."
            )
        row = min(self._step, len(self._replicas) - 1)
        self._step += 1
        return tuple(self._decide_one(row, s, service) for s, service in enumerate(observation.services))

    def _decide_one(self, row: int, s: int, service: ServiceView) -> ServiceDecision:
        replicas = min(max(int(self._replicas[row, s]), service.min_replicas), service.max_replicas)
        if self._quotas is None:
            return ServiceDecision(replicas=replicas)
        return ServiceDecision(replicas, *self._quotas[row, s].tolist())


def _numbers(name: str, values: ArrayLike) -> NDArray[np.float64]:
    try:
        return np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} of a schedule must be an array of numbers: {error}.") from error


def _checked_replicas(values: ArrayLike) -> NDArray[np.int64]:
    numbers = _numbers("replicas", values)
    if numbers.ndim != 2 or 0 in numbers.shape:
        raise InputError(
            f"replicas of a schedule have shape {numbers.shape}; it must be (num_steps, num_services)."
        )
    good = (numbers >= 1.0) & (numbers <= 1e9) & (numbers % 1.0 == 0.0)
    if not good.all():
        row, service = np.argwhere(~good)[0]
        raise InputError(
            f"replicas[{row}, {service}] of a schedule is {numbers[row, service]:g}; it must be a whole "
            "number of 1 or more."
        )
    return numbers.astype(np.int64)


def _checked_quotas(values: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float64]:
    quotas = _numbers("quotas", values)
    if quotas.shape != (*shape, QUOTA_COLUMNS):
        raise InputError(
            f"quotas of a schedule have shape {quotas.shape}; beside replicas of shape {shape} it must be "
            f"{(*shape, QUOTA_COLUMNS)}."
        )
    good = (quotas > 0.0) & np.isfinite(quotas)
    good[..., 1::2] &= quotas[..., 1::2] >= quotas[..., ::2]
    if not good.all():
        row, service, column = np.argwhere(~good)[0]
        raise InputError(
            f"quotas[{row}, {service}] of a schedule are {quotas[row, service].tolist()}; number {column} "
            "must be positive, finite and, for a limit, at least its request."
        )
    return quotas
