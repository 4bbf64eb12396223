"""Who runs the episodes of a search: this process one by one or in batches, or several processes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from podgym.envs.config import EnvConfig
from podgym.errors import InputError
from podgym.eval.runner import single_threaded
from podgym.eval.tuning.batch import BATCHED, BatchRunner
from podgym.eval.tuning.episodes import Episode, EpisodeRunner, Outcome
from podgym.processes import worker_pool

Evaluator = Callable[[Sequence[Episode]], Iterable[Outcome]]
"""Runs episodes and gives their outcomes in the order of the episodes, as they come."""


@contextmanager
def evaluating(runner: EpisodeRunner, processes: int = 1) -> Iterator[Evaluator]:
    """Give something that runs episodes: in batches if the controller can, else one by one.

    Args:
        runner: what runs one.
        processes: how many at a time, each with one thread; outcomes do not depend on it. Batches need no
            more than this process.

    Raises:
        InputError: fewer than one process, or one that died.
    """
    if processes < 1:
        raise InputError(f"processes is {processes}; it must be 1 or more.")
    if runner.controller in BATCHED:
        yield BatchRunner(runner).run
        return
    if processes == 1:
        yield lambda episodes: map(runner.run, episodes)
        return
    begun_with = (runner.controller, runner.config, runner.forecaster)
    with single_threaded(), worker_pool(processes, begin=_begin, arguments=begun_with) as pool:
        yield lambda episodes: pool.map(_run_there, episodes)


_runner_here: EpisodeRunner | None = None


def _begin(controller: str, config: EnvConfig, forecaster: str | None) -> None:
    """Make the runner of this worker process, which then makes its environments once."""
    global _runner_here
    _runner_here = EpisodeRunner(controller, config, forecaster)


def _run_there(episode: Episode) -> Outcome:
    if _runner_here is None:
        raise RuntimeError("this worker process has no runner.")
    return _runner_here.run(episode)
