"""One episode of each environment, run again for two methods, to be looked at.

Which episode is shown decides what a reader believes, so nobody picks it by its looks: it is the one in which
the two methods' difference in cost is the median of all. The run must repeat what the results say: equal
hash of the load, equal cost.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from podgym.agents.running import load_actor, surroundings
from podgym.baselines import PlanningController, make_controller
from podgym.envs.config import EnvConfig, override
from podgym.envs.env import AutoscaleEnv
from podgym.envs.protocols import FORECAST_PERIOD_S, RateForecaster
from podgym.errors import InputError, unknown_name
from podgym.eval.episode import EpisodeRecord
from podgym.eval.forecast_choice import open_forecaster
from podgym.eval.protocol.entrants import Entrant, protocol_config, short_id
from podgym.eval.protocol.scores import Field, Scores
from podgym.eval.report.run_files import Run
from podgym.eval.runner import Job, run_job

_SAME_COST = 1e-9  # relative

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Choice:
    """Which episode is drawn, of whom."""

    environment: str
    """Id."""
    entrants: tuple[Entrant, ...]
    """Two methods, or the only one; of several training seeds the one with the median mean cost."""
    seed: int
    """Seed of the episode."""
    median: bool
    """Whether it is that of the median difference, or was asked for."""


@dataclass(frozen=True, slots=True, eq=False)
class Forecast:
    """What a method was told of the load, as far ahead as its forecasts reach."""

    minutes_ahead: int
    """How long before the fact."""
    time_s: Floats
    """(n,) middle of the minutes that the forecasts are of, s."""
    mean: Floats
    """(n,) in the unit of the load."""
    lower: Floats
    """(n,) lower end of the 80 % interval."""
    upper: Floats
    """(n,) upper end."""


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """One episode of one method, ready to be drawn."""

    entrant: Entrant
    """Who decided."""
    record: EpisodeRecord
    """What happened."""
    planned: bool
    """Whether there was a plan."""
    forecast: Forecast | None
    """What was forecast; None: nobody looked ahead, or only at the last load."""


@dataclass(frozen=True, slots=True, eq=False)
class ShownEpisode:
    """One episode of one environment."""

    choice: Choice
    """Which."""
    shown: tuple[Shown, ...]
    """Of each method; empty: it could not be repeated."""
    problem: str = ""
    """Why it could not; empty: it could."""


def choose(
    run: Run, field: Field, methods: Sequence[str] | None = None, seed: int | None = None
) -> Choice | None:
    """Return which episode of an environment is drawn, of whom; None: nobody has results there.

    Args:
        run: the results.
        field: the environment's.
        methods: labels of the methods; None: the learned method of least mean cost, or where there is none
            the controller of least mean cost, and the rival (where it is the rival itself, the next).
        seed: of the episode; None: that of the median difference.

    Raises:
        InputError: a method or a seed that is not among the results of the environment.
    """
    chosen = _named(field, methods) if methods else _default(field)
    if not chosen:
        return None
    places = [_median_place(each.cost().mean(axis=1)) for each in chosen]
    count = min(len(each.seeds) for each in chosen)
    costs = [each.cost(count)[place] for each, place in zip(chosen, places, strict=True)]  # each (count,)
    difference = costs[0] - costs[1] if len(costs) > 1 else costs[0]
    seeds = chosen[0].seeds[:count]
    if seed is not None and seed not in seeds:
        raise InputError(
            f"episode seed {seed} is not among those of {field.environment}: {seeds[0]} to {seeds[-1]}."
        )
    drawn = seeds[_median_place(difference)] if seed is None else seed
    entrants = tuple(_entrant(run, each, place) for each, place in zip(chosen, places, strict=True))
    return Choice(field.environment, entrants, drawn, median=seed is None)


def repeat(run: Run, choice: Choice) -> ShownEpisode:
    """Run an episode again; what goes wrong is said in ``problem``, and nothing is raised."""
    shown = []
    for entrant in choice.entrants:
        try:
            shown.append(_repeat_one(run, choice, entrant))
        except Exception as error:
            words = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
            return ShownEpisode(choice, (), f"{entrant.method} could not be run again: {words.rstrip('.')}")
    return ShownEpisode(choice, tuple(shown))


def job_of(run: Run, entrant: Entrant, seed: int) -> Job:
    """Return the job that repeats an episode of an entrant."""
    config = override(protocol_config(run.protocol, entrant.environment), entrant.changes)
    return Job(
        entrant.environment, config, entrant.controller, entrant.options, seed, entrant.method,
        entrant.forecaster, entrant.policy,
    )  # fmt: skip


def check_repeated(run: Run, entrant: Entrant, record: EpisodeRecord) -> None:
    """Refuse an episode that is not the one in the results.

    Raises:
        InputError: its load has another hash, or its cost is another.
    """
    key = (entrant.environment, entrant.method, entrant.training_seed, record.metadata.seed)
    row = next(row for row in run.rows if (row.environment, row.method, row.training_seed, row.seed) == key)
    if row.profile_sha256 != record.metadata.profile_sha256:
        raise InputError(
            f"its load has the hash {record.metadata.profile_sha256[:12]}, in the results "
            f"{row.profile_sha256[:12]}; this is another podgym than the one that ran"
        )
    cost = -float(record.totals["reward"].sum())
    if not math.isclose(cost, row.cost, rel_tol=_SAME_COST):
        raise InputError(
            f"episode {row.seed} costs {cost:.6f} now, in the results {row.cost:.6f}; this is another "
            "podgym, or another file, than the one that ran"
        )


def _repeat_one(run: Run, choice: Choice, entrant: Entrant) -> Shown:
    job = job_of(run, entrant, choice.seed)
    record = run_job(job)
    check_repeated(run, entrant, record)
    planned, forecaster = _sources(job)
    return Shown(entrant, record, planned, _forecast(job.config, choice.seed, forecaster))


def _sources(job: Job) -> tuple[bool, RateForecaster | None]:
    """Return whether a method was given plans, and who forecast for it."""
    if job.policy is None:
        planned = isinstance(make_controller(job.controller, **job.controller_options), PlanningController)
        return planned, None if job.forecaster is None else open_forecaster(job.forecaster)
    around = surroundings(load_actor(job.policy), config=job.config, forecaster=job.forecaster)
    return around.planner is not None, around.forecaster


def _forecast(config: EnvConfig, seed: int, forecaster: RateForecaster | None) -> Forecast | None:
    """Return the forecasts of an episode for the last minute of their horizon."""
    if forecaster is None:
        return None
    env = AutoscaleEnv(config)
    env.reset(seed=seed)
    if env.profile is None:
        raise RuntimeError("the environment has no load profile after its reset.")
    horizon = config.observation.horizon_minutes
    duration_s = env.episode_steps * config.cluster.control_interval_s
    rates = forecaster.forecast_rates(env.profile, duration_s, horizon)
    table: Floats = rates[:, -1]  # (rows, 3) mean, lower and upper, of the last minute
    time_s = FORECAST_PERIOD_S * np.arange(len(table)) + 60.0 * (horizon - 0.5)
    seen = time_s <= duration_s
    return Forecast(horizon, np.asarray(time_s[seen], dtype=np.float64), *table[seen].T.copy())


def _default(field: Field) -> list[Scores]:
    def by_cost(group: Sequence[Scores]) -> list[Scores]:
        return sorted(group, key=lambda each: float(each.cost().mean()))

    ranked = by_cost(field.learned) or by_cost(field.rules)
    if not ranked:
        return []
    first = ranked[0]
    others = [field.rival, field.hindsight, *by_cost(field.rules), *by_cost(field.learned)]
    second = next((each for each in others if each is not None and each is not first), None)
    return [first] if second is None else [first, second]


def _named(field: Field, methods: Sequence[str]) -> list[Scores]:
    """Return the scores of named methods; those that failed or decide nothing cannot be drawn."""
    known = {each.method: each for each in field.scores if not each.failure and each.kind in _DRAWN}
    for name in methods:
        if name not in known:
            raise unknown_name(f"method with results on {short_id(field.environment)}", name, known)
    return [known[name] for name in methods]


_DRAWN = ("controller", "policy")  # kinds that decide by themselves


def _median_place(values: Floats) -> int:
    """Return the place of the median; of an even number the larger of the two, equal ones by their place."""
    return int(np.argsort(values, kind="stable")[len(values) // 2])


def _entrant(run: Run, scores: Scores, place: int) -> Entrant:
    wanted = (scores.environment, scores.method, scores.training_seeds[place])
    return next(
        each for each in run.entrants if (each.environment, each.method, each.training_seed) == wanted
    )


def facts(shown: Shown) -> Mapping[str, Any]:
    """Return numbers of an episode for its caption."""
    record = shown.record
    return {
        "cost": -float(record.totals["reward"].sum()),
        "violation": float(record.totals["cost"].sum()) / record.duration_s,
        "core_hours": float(record.columns["cpu_requested_core_s"].sum()) / 3600.0,
    }
