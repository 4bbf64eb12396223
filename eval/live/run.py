"""Controllers and policies on a real cluster, one after another, each with the simulator beside.

Every episode opens the cluster anew and gives it back at its end, so each begins with what was found. What
was measured is on the disk before the next episode begins, also when whoever decides fails half-way.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from podgym.envs.kubernetes.errors import ClusterError
from podgym.envs.workloads.profile import LoadProfile
from podgym.errors import InputError
from podgym.eval.contenders import Contender
from podgym.eval.environment import EpisodeEnd
from podgym.eval.episode import EpisodeRecord
from podgym.eval.live.agreement import Agreement, agreement
from podgym.eval.live.curves import TensorBoardCurves
from podgym.eval.live.environment import LiveEnvironment, OpenEnvironment, open_kubernetes
from podgym.eval.live.load_command import FINISH_S, RunningLoad
from podgym.eval.live.plan import LivePlan, Prepared, prepare
from podgym.eval.live.recording import DECISIONS_FILE, Recording, write_beside, write_measured, write_run
from podgym.eval.live.simulated import ALONE, REPLAYED, Beside, run_beside
from podgym.eval.live.stopping import StopGate, Stopped
from podgym.eval.live.watch import DecisionLog, Notes, WatchedEnvironment

OnInterval = Callable[[int, int], None]
"""Receives the number of the episode, from 0, and of the interval that is over, from 1."""


class RestoreError(ClusterError):
    """What was found in the cluster could not be restored."""


@dataclass(frozen=True, slots=True, eq=False)
class LiveEpisode:
    """One episode on the cluster, and in the simulator beside."""

    contender: Contender
    folder: Path
    """Where it was written to."""
    recording: Recording
    """What was measured."""
    beside: Beside | None
    """What the simulator made of it; None: it could not be run, see the remarks."""


@dataclass(frozen=True, slots=True, eq=False)
class LiveResult:
    """What came of a plan."""

    episodes: tuple[LiveEpisode, ...]
    """Every episode, in the order in which they ran."""
    stopped: int | None
    """Signal that ended the evaluation before its time; None: none did."""

    def of(self, contender: Contender) -> list[LiveEpisode]:
        """Return the episodes of a contender, by seed."""
        return [each for each in self.episodes if each.contender == contender]


class LiveRun:
    """One evaluation under way."""

    def __init__(
        self,
        plan: LivePlan,
        *,
        open_environment: OpenEnvironment = open_kubernetes,
        gate: StopGate | None = None,
        sleep: Callable[[float], None] = time.sleep,
        on_interval: OnInterval = lambda episode, interval: None,
    ) -> None:
        """Make everybody ready.

        Args:
            plan: what to do.
            open_environment: opens the cluster for an episode.
            gate: receives signals; None: a new one.
            sleep: waits, seconds.
            on_interval: told how far it is.

        Raises:
            InputError: a contender that cannot take part, or a folder that holds a recording.
        """
        plan.check_folders()
        self._plan = plan
        self._open = open_environment
        self._gate = gate if gate is not None else StopGate()
        self._sleep = sleep
        self._on_interval = on_interval
        self._prepared = {contender.label: prepare(plan, contender) for contender in plan.contenders}

    def run(self) -> LiveResult:
        """Run all episodes: for each seed every contender, so that a drift of the cluster meets all alike.

        Raises:
            InputError: what a contender decided cannot be used, the cluster is not as the settings say, or
                the load failed.
            ClusterError: the cluster cannot be used any more, or not be restored.
        """
        plan = self._plan
        jobs = [(contender, seed) for seed in plan.seeds for contender in plan.contenders]
        done: list[LiveEpisode] = []
        with self._gate.listening():
            for number, (contender, seed) in enumerate(jobs):
                episode = self._episode(contender, seed, number)
                ended_s = time.monotonic()
                if episode is not None:
                    done.append(self._with_simulator(episode))
                last = number == len(jobs) - 1
                if self._stopped_in_pause(0.0 if last else plan.pause_s - (time.monotonic() - ended_s)):
                    break
        return LiveResult(tuple(done), self._gate.received)

    def _episode(self, contender: Contender, seed: int, number: int) -> LiveEpisode | None:
        """Run an episode and write down what was measured; None: a signal came before the first interval."""
        plan, prepared = self._plan, self._prepared[contender.label]
        folder = plan.episode_folder(contender, seed)
        env = self._open(
            prepared.settings, planner=prepared.planner, forecaster=prepared.forecaster,
            changes=prepared.changes,
        )  # fmt: skip
        running = _Running(plan, folder, seed)
        watched: WatchedEnvironment | None = None
        kept: list[tuple[EpisodeRecord, LoadProfile]] = []
        failure: Exception | None = None

        def keep(record: EpisodeRecord) -> None:
            if watched is not None and watched.profile is not None:
                kept.append((record, watched.profile))

        try:
            watched = running.watch(env, self._gate, lambda interval: self._on_interval(number, interval))
            keep(prepared.run(watched, seed, keep))
        except (EpisodeEnd, InputError, ClusterError) as error:
            failure = error
            if kept and watched is not None:
                watched.notes.ended_because = str(error)
        finally:
            left = _closed(env)
            odd = running.close(in_a_hurry=self._gate.received is not None)
        episode = None
        if watched is not None and kept:
            episode = self._written(contender, prepared, folder, watched, env, kept[0], (*odd, *left))
        self._raise_if_failed(failure, watched, left, f"{contender.label}, seed {seed}")
        return episode

    def _raise_if_failed(
        self, failure: Exception | None, watched: WatchedEnvironment | None, left: Sequence[str], who: str
    ) -> None:
        """Raise what made an episode worthless, or what is left to be done in the cluster."""
        notes = Notes() if watched is None else watched.notes
        if left:
            raise RestoreError(" ".join([*([str(failure)] if failure else []), *left])) from failure
        if notes.load_failure is not None:
            raise InputError(f"{who}: {notes.load_failure}")
        if isinstance(failure, EpisodeEnd):
            if self._gate.received is None:
                raise ClusterError(f"{who} ended before its first interval was over: {failure}") from failure
        elif failure is not None:
            raise failure

    def _written(
        self,
        contender: Contender,
        prepared: Prepared,
        folder: Path,
        watched: WatchedEnvironment,
        env: LiveEnvironment,
        outcome: tuple[EpisodeRecord, LoadProfile],
        odd: Sequence[str],
    ) -> LiveEpisode:
        """Write down what was measured, before anything else can go wrong."""
        record, profile = outcome
        named = replace(record.metadata, workload="measured on the cluster")
        words = self._plan.load.words if self._plan.load is not None else ()
        recording = Recording(
            prepared.settings, env.config, replace(record, metadata=named), profile, watched.notes,
            env.episode_steps, words, tuple(odd),
        )  # fmt: skip
        write_measured(folder, recording)
        write_run(folder, recording)
        return LiveEpisode(contender, folder, recording, None)

    def _with_simulator(self, episode: LiveEpisode) -> LiveEpisode:
        """Run the simulator on the same load; its failure is a remark, not a loss of what was measured."""
        recording = episode.recording
        first = recording.notes.first
        if first is None or self._gate.received is not None:
            return episode
        forecaster = self._prepared[episode.contender.label].beside_forecaster
        try:
            beside = run_beside(
                episode.contender, recording.config, recording.record, recording.profile, first,
                forecaster=forecaster,
            )  # fmt: skip
        except InputError as error:
            remark = f"the simulator could not be run beside: {error}"
            recording = replace(recording, remarks=(*recording.remarks, remark))
            write_run(episode.folder, recording)
            return replace(episode, recording=recording)
        write_beside(episode.folder, beside)
        recording = replace(recording, agreements=_agreements(recording.record, beside))
        write_run(episode.folder, recording)
        return replace(episode, recording=recording, beside=beside)

    def _stopped_in_pause(self, duration_s: float) -> bool:
        try:
            with self._gate.interruptible():
                if duration_s > 0.0:
                    self._sleep(duration_s)
        except Stopped:
            return True
        return False


class _Running:
    """What runs and is written beside the environment of one episode."""

    def __init__(self, plan: LivePlan, folder: Path, seed: int) -> None:
        self._plan, self._folder, self._seed = plan, folder, seed
        self._load: RunningLoad | None = None
        self._log: DecisionLog | None = None
        self._curves: TensorBoardCurves | None = None

    def watch(
        self, env: LiveEnvironment, gate: StopGate, on_interval: Callable[[int], None]
    ) -> WatchedEnvironment:
        """Return the environment with everything that belongs to it."""
        self._log = DecisionLog(self._folder / DECISIONS_FILE)
        if self._plan.tensorboard:
            self._curves = TensorBoardCurves(self._folder / "tensorboard")
        return WatchedEnvironment(
            env, gate, log=self._log, curves=self._curves, on_begin=self._start_load,
            load_failure=self._load_failure, on_interval=on_interval,
        )  # fmt: skip

    def _start_load(self) -> None:
        if self._plan.load is not None:
            self._load = self._plan.load.start(self._folder, self._seed, self._plan.episode_s)

    def _load_failure(self) -> str | None:
        return None if self._load is None else self._load.failure()

    def close(self, *, in_a_hurry: bool) -> tuple[str, ...]:
        """Stop the load and close the files; return what was odd."""
        odd = None if self._load is None else self._load.stop(0.0 if in_a_hurry else FINISH_S)
        for each in (self._log, self._curves):
            if each is not None:
                each.close()
        return () if odd is None else (odd,)


def _closed(env: LiveEnvironment) -> tuple[str, ...]:
    """Give the cluster back; return what could not be restored, in words."""
    try:
        env.close()
    except ClusterError as error:
        return (str(error),)
    return ()


def _agreements(record: EpisodeRecord, beside: Beside) -> dict[str, tuple[Agreement, ...]]:
    found = {REPLAYED: agreement([(record, beside.replayed)])}
    if beside.alone is not None:
        found[ALONE] = agreement([(record, beside.alone)])
    return found
