"""The environment's planner: plans of a whole episode or trace from the forecasts known at each moment."""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from podgym.baselines.metrics import checked_number
from podgym.baselines.planner.batches import Batch, OnDone, Task, keeping_quotas, plan_one, solve
from podgym.baselines.planner.genetic import PlanningRun
from podgym.baselines.planner.model import MemoryBound, cluster_model
from podgym.baselines.planner.settings import GaSettings, Objective
from podgym.baselines.planner.settings import objective as objective_by_name
from podgym.baselines.planner.store import PlanStore, plans_folder
from podgym.envs.protocols import FORECAST_PERIOD_S, PLAN_PERIOD_S, RateForecaster
from podgym.envs.simulator.parameters import ClusterConfig
from podgym.envs.workloads.profile import LoadKind, LoadProfile
from podgym.errors import InputError, require_whole, unknown_name

Floats = NDArray[np.float64]

RATE_DIGITS = 3
"""Significant digits of the rates that are planned for: half a per cent at most, far below the error of any
forecast. So forecasts that differ by nothing but rounding are one problem, solved once."""

_VERSION = 1  # raised when the same problem would get another plan
_RATES = {"mean": 0, "upper": 2}
_BATCH = 16  # problems
_CHAIN = 48  # plans, four hours, after which a chain begins anew: so chains can go to several processes


class GaPlanner:
    """Plans with the genetic algorithm, one plan per ``PLAN_PERIOD_S``.

    A plan knows the forecast of its moment; without a forecaster it knows the newest sample of the load,
    which it takes to stay. It never knows the future. Where the objective counts changed replicas, what is
    present is the plan before, and at first what the services begin with; the count begins anew every four
    hours.

    Plans do not depend on ``processes`` nor on what was planned before: equal problems get equal plans.
    """

    def __init__(
        self,
        *,
        objective: str | Objective = "paper",
        settings: GaSettings | None = None,
        forecaster: RateForecaster | None = None,
        rate: str = "mean",
        headroom: float = 0.0,
        horizon_minutes: int = 5,
        keep_quotas: bool = False,
        memory_bound: MemoryBound = "request",
        cache: str | Path | None = "default",
        processes: int = 1,
        on_done: OnDone | None = None,
    ) -> None:
        """Configure the planner.

        Args:
            objective: what a plan is judged by: "paper", "slo_cost", or an ``Objective``.
            settings: of the genetic algorithm; None: the paper's.
            forecaster: gives the forecasts; None: the newest sample of the load stays as it is.
            rate: end of the forecast to plan for: "mean", or "upper" of its 80 % interval.
            headroom: share of load that is planned for beyond that, 0.1 for ten per cent more.
            horizon_minutes: minutes of forecast that a plan is for, 1 to 60.
            keep_quotas: plan replicas only, with the quotas that each service begins with.
            memory_bound: whether the memory of a pod has to stay within its "request" or within its "limit".
                Quotas that are kept are only held to their limit.
            cache: folder of the plans; None: keep nothing on disk.
            processes: processes that plan at a time, when there are many plans to make.
            on_done: called with the plans made and those to make, every so often.

        Raises:
            InputError: a value that cannot be used.
        """
        self.objective = objective_by_name(objective) if isinstance(objective, str) else objective
        self.settings = settings if settings is not None else GaSettings()
        self._check(forecaster, rate, headroom, memory_bound)
        require_whole("horizon_minutes", horizon_minutes, 1, 60)
        require_whole("processes", processes, 1, 1024)
        self.forecaster = forecaster
        self.horizon_minutes = horizon_minutes
        self._rate, self._headroom, self._keep_quotas = rate, float(headroom), keep_quotas
        self._memory_bound: MemoryBound = "limit" if keep_quotas else memory_bound
        self._cache = plans_folder() if cache == "default" else None if cache is None else Path(cache)
        self._processes, self._on_done = processes, on_done
        self._stores: dict[str, PlanStore] = {}

    def _check(self, forecaster: object, rate: str, headroom: object, memory_bound: str) -> None:
        if not isinstance(self.objective, Objective):
            raise InputError(f"objective is {self.objective!r}; it must be a name or an Objective.")
        if not isinstance(self.settings, GaSettings):
            raise InputError(f"settings is {self.settings!r}; it must be GaSettings, or None.")
        if forecaster is not None and not callable(getattr(forecaster, "forecast_rates", None)):
            raise InputError(
                f"forecaster is {forecaster!r}; it must have a method forecast_rates, or be None."
            )
        if rate not in _RATES:
            raise unknown_name("rate", rate, _RATES)
        checked_number("headroom", headroom, 0.0, 100.0)
        if memory_bound not in get_args(MemoryBound):
            raise unknown_name("memory_bound", memory_bound, get_args(MemoryBound))

    def plan(self, config: ClusterConfig, profile: LoadProfile, duration_s: float) -> Floats:
        """Return the plans of an episode, see ``podgym.envs.protocols.Planner``.

        Args:
            config: the cluster.
            profile: its load.
            duration_s: length of the episode, seconds.

        Returns:
            (num_plans, S, 3) replicas, CPU request in cores, memory request in bytes.

        Raises:
            InputError: no plan is feasible, or the forecaster returned something else than forecasts.
        """
        if not 0.0 < duration_s < 1e9:
            raise InputError(f"duration_s is {duration_s!r}; it must be a positive number of seconds.")
        rates = self.known_rates(profile, duration_s)
        task = self._task(config, profile.kind)
        store = self._store(task)
        if self._counts_churn:
            return self._chained_plans(task, store, rates)
        distinct, places = np.unique(rates, axis=0, return_inverse=True)
        known = [store.get(row) for row in distinct]
        missing = [i for i, plan in enumerate(known) if plan is None]
        batches = [
            Batch(tuple(part), tuple(tuple(distinct[i].tolist()) for i in part), None, chained=False)
            for part in (missing[first : first + _BATCH] for first in range(0, len(missing), _BATCH))
        ]
        for i, (plan, _) in solve(task, batches, self._processes, self._on_done).items():
            known[i] = plan
            store.add(distinct[i], plan)
        store.write()
        return np.stack([plan for plan in known if plan is not None])[places.reshape(-1)]

    def plan_once(
        self,
        config: ClusterConfig,
        rates: Sequence[float] | Floats,
        kind: LoadKind = "open",
        present_replicas: Sequence[int] | None = None,
    ) -> PlanningRun:
        """Return one plan and how it was found; nothing is looked up.

        Args:
            config: the cluster.
            rates: (minutes,) external requests/s, or users of a closed workload.
            kind: which of the two.
            present_replicas: (S,) pods that run now; None: the change does not count.

        Raises:
            InputError: bad input, or no plan is feasible.
        """
        task = self._task(config, kind)
        model = cluster_model(task.config, task.memory_bound)
        return plan_one(model, task, rates, present_replicas)

    @property
    def _counts_churn(self) -> bool:
        return self.objective.churn != 0.0

    def _task(self, config: ClusterConfig, kind: LoadKind) -> Task:
        planned = keeping_quotas(config) if self._keep_quotas else config
        return Task(planned, self._memory_bound, kind, self.objective, self.settings)

    def _store(self, task: Task) -> PlanStore:
        """Return the plans known for this cluster, objective and settings."""
        config = task.config
        content = (
            _VERSION, config.services, config.nodes, config.load, task.memory_bound, task.kind,
            task.objective, task.settings, self.horizon_minutes,
        )  # fmt: skip
        fingerprint = hashlib.sha256(repr(content).encode()).hexdigest()
        if fingerprint not in self._stores:
            services = len(config.services)
            timed = self.settings.time_limit_s is not None  # such plans depend on the machine
            folder = None if self._cache is None or timed else self._cache / fingerprint
            width = self.horizon_minutes + (services if self._counts_churn else 0)
            self._stores[fingerprint] = PlanStore(folder, width, services)
        return self._stores[fingerprint]

    def known_rates(self, profile: LoadProfile, duration_s: float) -> Floats:
        """Return what is planned for: the forecast of each plan's moment, with headroom, rounded.

        Args:
            profile: load of the episode.
            duration_s: length of the episode, seconds.

        Returns:
            (num_plans, horizon_minutes) external requests/s, or users of a closed workload.
        """
        count = max(math.ceil(duration_s / PLAN_PERIOD_S - 1e-9), 1)
        moments_s = np.arange(count) * PLAN_PERIOD_S
        if self.forecaster is None:
            newest = np.minimum((moments_s / profile.step_s + 1e-9).astype(np.int64), len(profile.values) - 1)
            rates = np.repeat(profile.values[newest][:, None], self.horizon_minutes, axis=1)
        else:
            rows = self._forecasts(self.forecaster, profile, duration_s)
            known = np.minimum((moments_s / FORECAST_PERIOD_S + 1e-9).astype(np.int64), len(rows) - 1)
            rates = np.maximum(rows[known, :, _RATES[self._rate]], 0.0)
        rates = rates * (1.0 + self._headroom)
        rounded = [float(f"{rate:.{RATE_DIGITS}g}") for rate in rates.ravel().tolist()]
        return np.array(rounded).reshape(rates.shape)

    def _forecasts(self, forecaster: RateForecaster, profile: LoadProfile, duration_s: float) -> Floats:
        rows = np.asarray(forecaster.forecast_rates(profile, duration_s, self.horizon_minutes), np.float64)
        if rows.ndim != 3 or len(rows) < 1 or rows.shape[1:] != (self.horizon_minutes, 3):
            raise InputError(
                f"the forecaster returned an array of shape {rows.shape}; it must be (1 or more, "
                f"{self.horizon_minutes}, 3): rows, minutes, and mean, lower and upper end of the interval."
            )
        if not np.isfinite(rows).all():
            raise InputError(
                "the forecaster returned a number that is not finite; a plan needs finite rates."
            )
        return rows

    def _chained_plans(self, task: Task, store: PlanStore, rates: Floats) -> Floats:
        """Plans of which each counts the change from the one before, (num_plans, S, 3)."""
        plans = np.empty((len(rates), len(task.config.services), 3))
        batches = []
        for first in range(0, len(rates), _CHAIN):
            stop = min(first + _CHAIN, len(rates))
            present = tuple(s.initial_replicas for s in task.config.services) if first == 0 else None
            index, plan = first, None
            while index < stop and (plan := store.get(_key(rates[index], present, task))) is not None:
                plans[index] = plan
                present = tuple(plan[:, 0].astype(np.int64).tolist())
                index += 1
            if index < stop:
                rows = tuple(tuple(row) for row in rates[index:stop].tolist())
                batches.append(Batch(tuple(range(index, stop)), rows, present, chained=True))
        for index, (plan, before) in solve(task, batches, self._processes, self._on_done).items():
            plans[index] = plan
            store.add(_key(rates[index], before, task), plan)
        store.write()
        return plans


def _key(rates: Floats, present: tuple[int, ...] | None, task: Task) -> Floats:
    """Return what tells a problem with present replicas from others; -1 where nothing is present."""
    before = present if present is not None else (-1,) * len(task.config.services)
    return np.concatenate([rates, np.array(before, dtype=np.float64)])
