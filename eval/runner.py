"""Running controllers on environments: one episode, or many in parallel processes.

An episode depends on its configuration, its controller and its seed alone, so results do not depend on how
many processes computed them.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any

from podgym.baselines import Controller, PlanningController, make_controller
from podgym.envs.config import EnvConfig
from podgym.envs.env import AutoscaleEnv
from podgym.errors import InputError
from podgym.eval.episode import (
    EpisodeMetadata,
    EpisodeRecord,
    EpisodeRecorder,
    library_versions,
    profile_sha256,
)
from podgym.eval.forecast_choice import open_forecaster

OnStep = Callable[[int], None]
"""Called every so often with the number of intervals done."""

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
    """Name of the controller."""
    controller_options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the controller."""
    seed: int = 0
    """Seed of the episode."""
    label: str = ""
    """What tables call it; empty: the controller's name."""
    forecaster: str | None = None
    """File of the forecaster behind the observation and the plans, or ``oracle``; None: there is none."""


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
) -> list[Job]:
    """Return the jobs of one controller: episodes with seeds ``seed``, ``seed + 1``, ...

    Controllers that are given equal seeds face the same load.

    Raises:
        InputError: a seed below 0 or no episode.
    """
    if seed < 0:
        raise InputError(f"seed is {seed}; it must be 0 or more.")
    if episodes < 1:
        raise InputError(f"episodes is {episodes}; it must be 1 or more.")
    return [
        Job(environment, config, controller, dict(options or {}), seed + i, label, forecaster)
        for i in range(episodes)
    ]


def run_episode(
    env: AutoscaleEnv,
    controller: Controller,
    seed: int,
    *,
    environment: str = "",
    label: str = "",
    controller_options: Mapping[str, Any] | None = None,
    on_step: OnStep | None = None,
) -> EpisodeRecord:
    """Run one controller for one whole episode and record every interval.

    Args:
        env: the environment, with its planner and forecaster if the controller needs them.
        controller: what decides.
        seed: of the episode.
        environment: what tables call the environment.
        label: what they call the controller; empty: its name.
        controller_options: what the controller was made with, for the record.
        on_step: called every so often with the number of intervals done.
    """
    env.reset(seed=seed)
    controller.reset()
    profile = env.profile
    if profile is None:
        raise RuntimeError("the environment has no load profile after its reset.")
    recorder = EpisodeRecorder(env.episode_steps, len(env.service_names))
    for step in range(1, env.episode_steps + 1):
        _, _, _, _, info = env.step_decisions(controller.decide(env.observe()))
        recorder.add(env.interval, info)
        if on_step is not None and (step % _REPORT_EVERY == 0 or step == env.episode_steps):
            on_step(step)
    metadata = EpisodeMetadata(
        environment=environment,
        workload=env.config.workload,
        controller=label or controller.name,
        controller_options=dict(controller_options or {}),
        seed=seed,
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


def make_environment(config: EnvConfig, controller: Controller, forecaster: str | None) -> AutoscaleEnv:
    """Return the environment for a controller, with forecaster and, if the controller plans, its planner.

    Args:
        config: the environment.
        controller: what will decide in it.
        forecaster: see ``Job.forecaster``.
    """
    rates = None if forecaster is None else open_forecaster(forecaster)
    planner = controller.planner(rates) if isinstance(controller, PlanningController) else None
    return AutoscaleEnv(config, planner=planner, forecaster=rates)


def run_job(job: Job, on_step: OnStep | None = None) -> EpisodeRecord:
    """Make the environment and the controller of a job and run it.

    Raises:
        InputError: an option that the controller or the environment refuses.
    """
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
        InputError: fewer than one process, or what ``run_job`` raises.
    """
    if processes < 1:
        raise InputError(f"processes is {processes}; it must be 1 or more.")
    if processes == 1 or len(jobs) == 1:
        return [_run_here(index, job, on_step, on_done) for index, job in enumerate(jobs)]
    with (
        single_threaded(),
        ProcessPoolExecutor(min(processes, len(jobs)), mp_context=get_context("spawn")) as pool,
    ):
        futures = [pool.submit(run_job, job) for job in jobs]
        if on_done is not None:
            for index, future in enumerate(futures):
                future.add_done_callback(_telling(on_done, index))
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


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
