"""Controllers and policies on a real cluster, one after another, each with the simulator beside.

Every episode opens the cluster anew and gives it back at its end, so each begins with what was found. What
was measured is on the disk before the next episode begins, also when whoever decides fails half-way. Then the
others go on, unless the cluster cannot be used any more.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from podgym.envs.kubernetes.errors import ClusterError
from podgym.envs.workloads.profile import LoadProfile
from podgym.errors import InputError
from podgym.eval.contenders import Contender
from podgym.eval.environment import EpisodeEnd
from podgym.eval.episode import EpisodeRecord
from podgym.eval.live.agreement import Agreement, agreement
from podgym.eval.live.companions import Companions, generator_remarks
from podgym.eval.live.environment import LiveEnvironment, OpenEnvironment, open_kubernetes
from podgym.eval.live.plan import LivePlan, Prepared, prepare
from podgym.eval.live.recording import Recording, write_beside, write_measured, write_run
from podgym.eval.live.result import LiveEpisode, LiveFailure, LiveResult
from podgym.eval.live.simulated import ALONE, REPLAYED, Beside, run_beside
from podgym.eval.live.stopping import StopGate, Stopped
from podgym.eval.live.watch import Notes, WatchedEnvironment

OnInterval = Callable[[int, int], None]
"""Receives the number of the episode, from 0, and of the interval that is over, from 1."""


@dataclass(slots=True)
class _Attempt:
    """One episode, until it is over."""

    env: LiveEnvironment | None = None
    """None: it could not be opened."""
    watched: WatchedEnvironment | None = None
    kept: tuple[EpisodeRecord, LoadProfile] | None = None
    """What was recorded; None: nothing was, until now."""
    failure: Exception | None = None
    """What ended it before its time; None: nothing did."""
    odd: list[str] = field(default_factory=list)
    """What a reader must know."""
    left: tuple[str, ...] = ()
    """What could not be restored in the cluster."""

    @property
    def notes(self) -> Notes:
        """What was written down."""
        return Notes() if self.watched is None else self.watched.notes

    def keep(self, record: EpisodeRecord) -> None:
        """Keep what was recorded."""
        if self.watched is not None and self.watched.profile is not None:
            self.kept = (record, self.watched.profile)


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
        self._started = False
        self._prepared = {contender.label: prepare(plan, contender) for contender in plan.contenders}

    @property
    def started(self) -> bool:
        """Whether an episode began: what fails from then on is no longer a matter of the input."""
        return self._started

    def run(self) -> LiveResult:
        """Run all episodes: for each seed every contender, so that a drift of the cluster meets all alike.

        The order moves on by one from seed to seed: whoever runs later sees the load of those before in the
        history that forecasts begin with.

        Returns:
            What was recorded, what failed, and why it was not gone on with.

        Raises:
            InputError: before anything began: the cluster is not as the settings say, or the load cannot be
                started. Later: files cannot be written.
            ClusterError: before anything began: the cluster does not answer.
        """
        plan = self._plan
        jobs = plan.jobs()
        done: list[LiveEpisode] = []
        failures: list[LiveFailure] = []
        aborted: str | None = None
        with self._gate.listening():
            for number, (contender, seed) in enumerate(jobs):
                attempt = self._attempt(contender, seed, number)
                episode = self._episode(attempt, contender, seed)
                ended_s = time.monotonic()
                reason = self._reason(attempt, f"{contender.label}, seed {seed}")
                if reason is not None:
                    failures.append(LiveFailure(contender, seed, reason, episode is not None))
                if episode is not None:
                    done.append(self._with_simulator(episode))
                aborted = _unusable(attempt, reason)
                last = number == len(jobs) - 1
                if aborted is not None or self._stopped_in_pause(
                    0.0 if last else plan.pause_s - (time.monotonic() - ended_s)
                ):
                    break
        return LiveResult(tuple(done), self._gate.received, tuple(failures), aborted)

    def _attempt(self, contender: Contender, seed: int, number: int) -> _Attempt:
        """Run an episode and give the cluster back, whatever happens."""
        prepared, attempt = self._prepared[contender.label], _Attempt()
        companions = Companions(self._plan, self._plan.episode_folder(contender, seed), seed)
        try:
            attempt.env = self._open(
                prepared.settings, planner=prepared.planner, forecaster=prepared.forecaster,
                changes=prepared.changes,
            )  # fmt: skip
            attempt.watched = companions.watch(
                attempt.env, self._gate, lambda interval: self._on_interval(number, interval)
            )
            attempt.keep(prepared.run(attempt.watched, seed, attempt.keep))
        except Exception as error:  # whoever decides may raise anything; the others still have their turn
            attempt.failure = error
            if attempt.kept is not None:
                attempt.notes.ended_because = str(error)
        finally:
            attempt.notes.finished = datetime.now(UTC)
            try:
                attempt.left = () if attempt.env is None else _closed(attempt.env)
            finally:
                attempt.odd += _stopped(companions, in_a_hurry=self._gate.received is not None)
        attempt.notes.generator = companions.generator()
        attempt.odd += [*generator_remarks(attempt.notes.generator), *attempt.left]
        self._started = self._started or attempt.notes.started is not None
        if attempt.failure is not None and not (self._started or attempt.left):
            raise attempt.failure
        return attempt

    def _reason(self, attempt: _Attempt, who: str) -> str | None:
        """Return why an episode counts as failed; None: it does not, or a signal ended it."""
        failure = attempt.failure
        if attempt.notes.load_failure is not None:
            return f"{who}: {attempt.notes.load_failure}"
        if isinstance(failure, EpisodeEnd):
            if self._gate.received is not None:
                return None
            return f"{who} ended before its first interval was over: {failure}"
        if failure is None:
            return None
        known = isinstance(failure, InputError | ClusterError)
        words = str(failure) if known else f"{type(failure).__name__}: {failure}"
        return words if words.startswith(who.partition(",")[0]) else f"{who}: {words}"

    def _episode(self, attempt: _Attempt, contender: Contender, seed: int) -> LiveEpisode | None:
        """Write down what was measured; None: nothing was."""
        env, watched, kept = attempt.env, attempt.watched, attempt.kept
        if env is None or watched is None or kept is None:
            return None
        folder, prepared = self._plan.episode_folder(contender, seed), self._prepared[contender.label]
        return self._written(contender, prepared, folder, watched, env, kept, attempt.odd)

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
        except Exception as error:  # what was measured counts for more than why the simulator failed
            kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
            remark = f"the simulator could not be run beside: {kind}{error}"
            recording = replace(recording, remarks=(*recording.remarks, remark))
            write_run(episode.folder, recording)
            return replace(episode, recording=recording)
        write_beside(episode.folder, beside)
        recording = replace(recording, agreements=_agreements(recording, beside))
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


def _closed(env: LiveEnvironment) -> tuple[str, ...]:
    """Give the cluster back; return what could not be restored, in words."""
    try:
        env.close()
    except ClusterError as error:
        return (str(error),)
    except Exception as error:  # the load still has to be stopped, and the record to be written
        return (f"not restored: {type(error).__name__}: {error}; podgym restore does it",)
    return ()


def _stopped(companions: Companions, *, in_a_hurry: bool) -> tuple[str, ...]:
    """Stop what runs beside an episode; return what was odd, for nothing of it may cost the record."""
    try:
        return companions.close(in_a_hurry=in_a_hurry)
    except Exception as error:
        return (f"load or logs could not be closed: {type(error).__name__}: {error}",)


def _unusable(attempt: _Attempt, reason: str | None) -> str | None:
    """Return why nobody can go on after an episode; None: the others can."""
    if attempt.left:
        return " ".join([*([reason] if reason else []), *attempt.left])
    if attempt.notes.denied is not None:
        return reason or f"permissions are missing: {attempt.notes.denied}"
    return reason if isinstance(attempt.failure, ClusterError) else None


def _agreements(recording: Recording, beside: Beside) -> dict[str, tuple[Agreement, ...]]:
    """Return how far the simulator was off; by itself only where the method's decisions had an effect."""
    views = [recording.view]
    found = {REPLAYED: agreement([(recording.record, beside.replayed)], views)}
    if beside.alone is not None and recording.settings.mode == "act":
        found[ALONE] = agreement([(recording.record, beside.alone)], views)
    return found
