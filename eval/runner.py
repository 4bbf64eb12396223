"""Running controllers and policies on environments: one episode, or many in parallel processes.

An episode depends on its configuration, on who decides and on its seed alone, so results do not depend on how
many processes computed them.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from traceback import extract_tb
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from podgym.agents.actor import Actor, LstmState
from podgym.agents.running import load_actor, policy_environment
from podgym.baselines import Controller, ObservationPolicy, PlanningController, make_controller
from podgym.envs.config import EnvConfig
from podgym.envs.env import REPORT_COLUMNS, AutoscaleEnv
from podgym.envs.totals import INFO_KEYS
from podgym.envs.workloads.profile import Workload, profile_sha256
from podgym.errors import InputError
from podgym.eval.environment import Environment, EpisodeEnd
from podgym.eval.episode import EpisodeMetadata, EpisodeRecord, EpisodeRecorder, library_versions
from podgym.eval.forecast_choice import open_forecaster
from podgym.processes import worker_pool

OnStep = Callable[[int], None]
"""Called every so often with the number of intervals done."""
OnFailure = Callable[[EpisodeRecord], None]
"""Receives the intervals before the one in which something failed, if there were any."""

_REPORT_EVERY = 128
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Job:
    """One episode to run; plain data, so that it can go to another process."""

    environment: str
    """Name for tables: the id, or ``workload NAME``."""
    config: EnvConfig
    """The environment."""
    controller: str
    """Name of the controller; of a policy the algorithm that trained it."""
    controller_options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the controller; none for a policy."""
    seed: int = 0
    """Seed of the episode."""
    label: str = ""
    """What tables call it; empty: the controller's name."""
    forecaster: str | None = None
    """File of the forecaster behind the observation and the plans, or ``oracle``; None: there is none. For a
    policy also ``shipped`` or ``naive``; None: the one that it was trained with."""
    policy: str | None = None
    """File of the policy that decides; None: the controller does."""


def make_jobs(
    environment: str,
    config: EnvConfig,
    controller: str,
    options: Mapping[str, Any] | None = None,
    *,
    seed: int = 0,
    episodes: int = 1,
    label: str = "",
    forecaster: str | None = None,
    policy: str | None = None,
) -> list[Job]:
    """Return the jobs of one controller or policy: episodes with seeds ``seed``, ``seed + 1``, ...

    Whoever is given equal seeds faces the same load.

    Raises:
        InputError: a seed below 0 or no episode.
    """
    if seed < 0:
        raise InputError(f"seed is {seed}; it must be 0 or more.")
    if episodes < 1:
        raise InputError(f"episodes is {episodes}; it must be 1 or more.")
    return [
        Job(environment, config, controller, dict(options or {}), seed + i, label, forecaster, policy)
        for i in range(episodes)
    ]


def run_episode(
    env: Environment,
    controller: Controller | ObservationPolicy,
    seed: int,
    *,
    environment: str = "",
    label: str = "",
    controller_options: Mapping[str, Any] | None = None,
    on_step: OnStep | None = None,
    on_failure: OnFailure | None = None,
) -> EpisodeRecord:
    """Run one controller for one episode and record every interval.

    Args:
        env: the environment, with its planner and forecaster if the controller needs them.
        controller: what decides.
        seed: of the episode.
        environment: what tables call the environment.
        label: what they call the controller; empty: its name.
        controller_options: what the controller was made with, for the record.
        on_step: called every so often with the number of intervals done.
        on_failure: given what was recorded until a failure, before that is raised.

    Raises:
        InputError: the controller failed, or what it decided cannot be used.
        EpisodeEnd: the episode ended before its first interval was over.
    """
    observation, _ = env.reset(seed=seed)
    controller.reset()
    who = _Who(environment, label or controller.name, dict(controller_options or {}), seed)
    if isinstance(controller, ObservationPolicy):
        return _record(env, who, _stepping(env, controller, observation), on_step, on_failure)

    def step() -> _Outcome:
        *_, truncated, info = env.step_decisions(controller.decide(env.observe()))
        return info, truncated

    return _record(env, who, step, on_step, on_failure)


def _stepping(
    env: Environment, policy: ObservationPolicy, observation: NDArray[np.float32]
) -> Callable[[], "_Outcome"]:
    """Return what lets a policy act on what the environment shows, from the first observation on."""

    def step() -> _Outcome:
        nonlocal observation
        observation, _, _, truncated, info = env.step(policy.act(observation))
        return info, truncated

    return step


def run_policy(
    env: Environment,
    policy: Actor,
    seed: int,
    *,
    environment: str = "",
    label: str = "",
    controller_options: Mapping[str, Any] | None = None,
    on_step: OnStep | None = None,
    on_failure: OnFailure | None = None,
) -> EpisodeRecord:
    """Run one policy, by its best choices, for one episode and record every interval.

    Args:
        env: the environment, from ``podgym.agents.running.policy_environment``.
        policy: what decides.
        seed: of the episode.
        environment: what tables call the environment.
        label: what they call the policy; empty: the algorithm that trained it.
        controller_options: what else to say of the policy in the record.
        on_step: called every so often with the number of intervals done.
        on_failure: see ``run_episode``.

    Raises:
        InputError: the policy was made for another environment.
        EpisodeEnd: see ``run_episode``.
    """
    policy.check(env.config)
    observation, _ = env.reset(seed=seed)
    state: LstmState | None = None

    def step() -> _Outcome:
        nonlocal observation, state
        masks = env.action_masks() if policy.description.masked else None
        action, state = policy.act(observation, state=state, masks=masks)
        observation, _, _, truncated, info = env.step(action)
        return info, truncated

    who = _Who(environment, label or policy.description.algorithm, dict(controller_options or {}), seed)
    return _record(env, who, step, on_step, on_failure)


class _Who(NamedTuple):
    """What the metadata of a record say of who decided where."""

    environment: str
    controller: str
    controller_options: Mapping[str, Any]
    seed: int


_Outcome: TypeAlias = tuple[Mapping[str, float], bool]
"""``info``, and whether the episode ends with this interval."""


def _record(
    env: Environment,
    who: _Who,
    step: Callable[[], _Outcome],
    on_step: OnStep | None,
    on_failure: OnFailure | None,
) -> EpisodeRecord:
    """Record an episode that has just begun; ``step`` decides and lets an interval pass."""
    recorder = EpisodeRecorder(env.episode_steps, len(env.service_names), REPORT_COLUMNS, tuple(INFO_KEYS))
    for number in range(1, env.episode_steps + 1):
        try:
            info, ended = _step_or_say(step, who, number)
        except EpisodeEnd:
            if number == 1:
                raise
            break
        except InputError:
            if on_failure is not None and number > 1:
                on_failure(_finished(env, who, recorder))
            raise
        recorder.add(env.report(), info)
        if on_step is not None and (number % _REPORT_EVERY == 0 or ended):
            on_step(number)
        if ended:
            break
    return _finished(env, who, recorder)


def _finished(env: Environment, who: _Who, recorder: EpisodeRecorder) -> EpisodeRecord:
    """Return the record of the intervals so far."""
    profile = env.profile  # a real cluster has measured it by now
    if profile is None:
        raise RuntimeError("the environment has no load profile at the end of the episode.")
    metadata = EpisodeMetadata(
        **who._asdict(),
        workload=env.config.workload,
        profile_label=profile.label,
        profile_kind=profile.kind,
        profile_sha256=profile_sha256(profile),
        control_interval_s=env.config.cluster.control_interval_s,
        service_names=env.service_names,
        slo_response_time_s=tuple(env.slo_response_time_s.tolist()),
        visits=tuple(env.visits.tolist()),
        entry_share=tuple(env.entry_share.tolist()),
        provenance=tuple(entry.as_dict() for entry in env.provenance()),
        versions=library_versions(),
    )
    return recorder.finish(metadata, profile)


def _step_or_say(step: Callable[[], _Outcome], who: _Who, number: int) -> _Outcome:
    """Let an interval pass, and say who failed in it, and where."""
    try:
        return step()
    except EpisodeEnd:
        raise
    except InputError as error:
        raise InputError(f"{who.controller}, interval {number} of seed {who.seed}: {error}") from error
    except Exception as error:
        last = extract_tb(error.__traceback__)[-1]
        raise InputError(
            f"{who.controller} failed in interval {number} of seed {who.seed}: {type(error).__name__}: "
            f"{error} ({Path(last.filename).name}, line {last.lineno})"
        ) from error


def make_environment(
    config: EnvConfig,
    controller: Controller | ObservationPolicy,
    forecaster: str | None,
    workload: Workload | None = None,
) -> AutoscaleEnv:
    """Return the environment for a controller, with forecaster and, if the controller plans, its planner.

    Args:
        config: the environment.
        controller: what will decide in it.
        forecaster: see ``Job.forecaster``.
        workload: its load; None: the one that the configuration names.
    """
    rates = None if forecaster is None else open_forecaster(forecaster)
    planner = controller.planner(rates) if isinstance(controller, PlanningController) else None
    return AutoscaleEnv(config, planner=planner, forecaster=rates, workload=workload)


def run_job(job: Job, on_step: OnStep | None = None) -> EpisodeRecord:
    """Make the environment and the controller or policy of a job and run it.

    Raises:
        InputError: an option that the controller or the environment refuses, or a policy for another
            environment.
    """
    if job.policy is not None:
        policy = load_actor(job.policy)
        return run_policy(
            policy_environment(policy, config=job.config, forecaster=job.forecaster),
            policy,
            job.seed,
            environment=job.environment,
            label=job.label,
            controller_options=policy_facts(policy, job.policy, job.forecaster),
            on_step=on_step,
        )
    controller = make_controller(job.controller, **job.controller_options)
    return run_episode(
        make_environment(job.config, controller, job.forecaster),
        controller,
        job.seed,
        environment=job.environment,
        label=job.label,
        controller_options=job.controller_options,
        on_step=on_step,
    )


def policy_facts(policy: Actor, file: str, forecaster: str | None) -> dict[str, Any]:
    """Return what a record says of a policy in place of a controller's options."""
    description = policy.description
    return {
        "policy": Path(file).name,
        "sha256": hashlib.sha256(Path(file).read_bytes()).hexdigest(),
        "algorithm": description.algorithm,
        "trained_in": description.environment,
        "forecaster": forecaster or description.forecaster,
    }


def run_jobs(
    jobs: Sequence[Job],
    *,
    processes: int = 1,
    on_step: Callable[[int, int], None] | None = None,
    on_done: Callable[[int], None] | None = None,
) -> list[EpisodeRecord]:
    """Run jobs and return their records in the order of the jobs.

    Args:
        jobs: what to run.
        processes: how many at a time; each in a fresh process with one thread when more than one.
        on_step: called with job and number of intervals done; with several processes never.
        on_done: called with each job that is finished.

    Raises:
        InputError: fewer than one process, one that died, or what ``run_job`` raises.
    """
    if processes < 1:
        raise InputError(f"processes is {processes}; it must be 1 or more.")
    if processes == 1 or len(jobs) == 1:
        return [_run_here(index, job, on_step, on_done) for index, job in enumerate(jobs)]
    with single_threaded(), worker_pool(min(processes, len(jobs))) as pool:
        futures = [pool.submit(run_job, job) for job in jobs]
        if on_done is not None:
            for index, future in enumerate(futures):
                future.add_done_callback(_telling(on_done, index))
        return [future.result() for future in futures]


def _telling(on_done: Callable[[int], None], index: int) -> Callable[[object], None]:
    return lambda _: on_done(index)


def _run_here(
    index: int,
    job: Job,
    on_step: Callable[[int, int], None] | None,
    on_done: Callable[[int], None] | None,
) -> EpisodeRecord:
    record = run_job(job, None if on_step is None else lambda done: on_step(index, done))
    if on_done is not None:
        on_done(index)
    return record


@contextmanager
def single_threaded() -> Iterator[None]:
    """Let processes that are started meanwhile use one thread each."""
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
