"""What comes of a live evaluation: the episodes that were recorded, and what failed."""

from dataclasses import dataclass, replace
from pathlib import Path

from podgym.eval.contenders import Contender
from podgym.eval.live.recording import Recording
from podgym.eval.live.simulated import Beside
from podgym.eval.live.stopping import signal_name


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


@dataclass(frozen=True, slots=True)
class LiveFailure:
    """An episode that failed; what it had measured until then is an episode all the same."""

    contender: Contender
    seed: int
    reason: str
    """What went wrong, in words that name the contender."""
    recorded: bool
    """Whether there is an episode with what was measured until then."""


@dataclass(frozen=True, slots=True, eq=False)
class LiveResult:
    """What came of a plan."""

    episodes: tuple[LiveEpisode, ...]
    """Every recorded episode, in the order in which they ran."""
    stopped: int | None
    """Signal that ended the evaluation before its time; None: none did."""
    failures: tuple[LiveFailure, ...] = ()
    """Episodes that failed, in the order in which they ran."""
    aborted: str | None = None
    """Why the cluster could not be used any more, or what was not restored in it; None: all is well."""

    @property
    def finished(self) -> "LiveResult":
        """The same without the episode that a signal cut short: its means are none of a whole episode.

        Episodes that failed by themselves stay, as they would without the signal.
        """
        if self.stopped is None:
            return self
        cut_short = signal_name(self.stopped)
        whole = [each for each in self.episodes if each.recording.notes.ended_because != cut_short]
        return replace(self, episodes=tuple(whole))

    def of(self, contender: Contender) -> list[LiveEpisode]:
        """Return the episodes of a contender, by seed."""
        return [each for each in self.episodes if each.contender == contender]
