"""The folder of a live evaluation, read back and checked: what its report is made from."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podgym.errors import InputError
from podgym.eval.episode import EpisodeRecord, read_episode
from podgym.eval.live.agreement import MetricsView
from podgym.eval.live.plan import RUN_FILE
from podgym.eval.live.recording import DECISIONS_FILE, FORMAT, LIVE_FILE
from podgym.eval.live.simulated import ALONE, REPLAYED
from podgym.eval.summary import summarise

RESULTS_FILE = "results.json"
HOWS = (REPLAYED, ALONE)
"""How the simulator was run beside, in the order of tables."""
_SAME = 1e-6  # relative: means go through decimal text, nothing more
_PRICED = "money"
"""The measure that depends on prices, which a recording does not know."""
_KEYS = (
    "controller", "seed", "started", "finished", "intervals", "intervals_planned", "duration_s",
    "ended_because", "lateness", "api_calls", "intervals_with_problems", "problems", "remarks", "load",
    "settings", "versions", "constants", "mode", "control_interval_s", "controller_options",
)  # fmt: skip
_HOW = "a folder of podgym evaluate --cluster holds one folder per episode, each with its recording"


@dataclass(frozen=True, slots=True, eq=False)
class RecordedEpisode:
    """One episode on the cluster, as it was written down."""

    folder: Path
    """Where it lies."""
    document: Mapping[str, Any]
    """``run.json``; numbers that are not known are None."""
    record: EpisodeRecord
    """What was measured."""
    simulated: Mapping[str, EpisodeRecord]
    """What the simulator made of it, by how it was run; what is missing was not run."""
    decisions: tuple[Mapping[str, Any], ...]
    """``decisions.jsonl``, one object per interval."""

    @property
    def method(self) -> str:
        """Who decided, as tables call it."""
        return self.record.metadata.controller

    @property
    def seed(self) -> int:
        """Seed of the episode."""
        return self.record.metadata.seed

    @property
    def acted(self) -> bool:
        """Whether what was decided changed the cluster: not in shadow mode, and not in a dry run."""
        return str(self.document["mode"]) == "act"

    @property
    def view(self) -> MetricsView:
        """What the monitoring showed; recordings without a word of it are compared as they are."""
        told = self.document.get("monitoring") or {}
        return MetricsView(float(told.get("window_s") or 0.0), float(told.get("age_s") or 0.0))

    @property
    def whole(self) -> bool:
        """Whether it went on for as long as it was to."""
        return self.document["ended_because"] is None


@dataclass(frozen=True, slots=True, eq=False)
class LiveResults:
    """What ``podgym evaluate --cluster`` left in a folder."""

    folder: Path
    """Where it lies."""
    episodes: tuple[RecordedEpisode, ...]
    """Every episode, method by method in the order in which they first ran, each by seed."""
    document: Mapping[str, Any] | None
    """``results.json``; None: the evaluation did not come to its end."""
    unfinished: tuple[str, ...]
    """Folders of episodes that were begun and left no recording."""

    @property
    def methods(self) -> tuple[str, ...]:
        """Everybody who decided."""
        return tuple(dict.fromkeys(each.method for each in self.episodes))

    def of(self, method: str) -> list[RecordedEpisode]:
        """Return the episodes of a method, by seed."""
        return [each for each in self.episodes if each.method == method]

    def simulated(self, method: str, how: str) -> list[EpisodeRecord]:
        """Return the simulated episodes of a method, or none unless every live one has its own."""
        episodes = self.of(method)
        found = [each.simulated[how] for each in episodes if how in each.simulated]
        return found if len(found) == len(episodes) else []

    def money(self, name: str) -> float:
        """Return the money of a row of ``results.json``; nan: it is not known at what prices."""
        rows = [] if self.document is None else self.document["results"]
        found = [row["mean"].get(_PRICED) for row in rows if row["controller"] == name]
        return math.nan if not found or found[0] is None else float(found[0])


def is_live(folder: str | Path) -> bool:
    """Return whether a folder is one of a live evaluation, or of one of its episodes."""
    place = Path(folder)
    return place.is_dir() and any(_is_recording(each) for each in (place, *_inside(place)))


def read_live(folder: str | Path) -> LiveResults:
    """Read what a live evaluation recorded, and make sure that its files belong together.

    The folders of the episodes are what counts, so an evaluation that was killed can be read as well: it has
    no ``results.json``. That of one which a signal ended in good order tells of the episodes that were over.

    Raises:
        InputError: no such folder, the folder of a single episode, or a file that is missing, cannot be read,
            is of another version or does not belong to the others.
    """
    place = Path(folder)
    if _is_recording(place):
        raise InputError(f"{place} is a single episode of a live evaluation; name the folder above it.")
    folders = [each for each in _inside(place) if _is_recording(each)]
    if not folders:
        raise InputError(f"{place} holds no recording of a real cluster; {_HOW}.")
    beside = _beside(place)
    episodes = [_episode(each, beside) for each in folders]
    document = _results(place)
    begun = [each for each in _inside(place) if (each / DECISIONS_FILE).is_file() and each not in folders]
    results = LiveResults(
        place, _ordered(episodes), document, tuple(each.name for each in begun),
    )  # fmt: skip
    _check(results)
    return results


def _inside(place: Path) -> list[Path]:
    return sorted(each for each in place.iterdir() if each.is_dir() and not each.name.startswith("."))


def _is_recording(folder: Path) -> bool:
    """Whether a folder holds the recording of an episode; of whichever version."""
    try:
        content = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return (folder / RUN_FILE).is_file() and (folder / LIVE_FILE).is_file()
    return isinstance(content, dict) and str(content.get("format")).startswith(FORMAT.partition("/")[0] + "/")


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {error}.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is no JSON object.")
    return content


def _episode(folder: Path, beside: Mapping[tuple[str, int, str], EpisodeRecord]) -> RecordedEpisode:
    path = folder / RUN_FILE
    document = _json(path)
    if document.get("format") != FORMAT:
        raise InputError(
            f"{path} is of format {document.get('format')!r}, but this podgym reads {FORMAT!r}; write the "
            "report with the podgym that ran it."
        )
    missing = [name for name in _KEYS if name not in document]
    if missing:
        raise InputError(f"{path} has no {missing[0]}; {_HOW}.")
    record = read_episode(folder / LIVE_FILE)
    own = (record.metadata.controller, record.metadata.seed)
    if (*own, record.num_steps) != (document["controller"], document["seed"], document["intervals"]):
        raise InputError(
            f"{path} and {LIVE_FILE} do not belong together: {document['controller']}, seed "
            f"{document['seed']}, {document['intervals']} intervals in one and {own[0]}, seed {own[1]}, "
            f"{record.num_steps} intervals in the other."
        )
    simulated = {how: beside[*own, how] for how in HOWS if (*own, how) in beside}
    return RecordedEpisode(folder, document, record, simulated, _decisions(folder / DECISIONS_FILE))


def _decisions(path: Path) -> tuple[Mapping[str, Any], ...]:
    try:
        entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {error}.") from error
    if not all(isinstance(each, dict) for each in entries):
        raise InputError(f"{path} is no log of decisions; {_HOW}.")
    return tuple(entries)


def _beside(place: Path) -> dict[tuple[str, int, str], EpisodeRecord]:
    """Return all simulated episodes by the method, the seed and how they came about, wherever they lie."""
    found = {}
    for path in (*place.glob("*.parquet"), *place.glob("*/*.parquet")):
        if path.name == LIVE_FILE:
            continue
        record = read_episode(path)
        how = record.metadata.controller_options.get("simulated")
        if how in HOWS:
            method = record.metadata.controller.removesuffix(f" {how}")
            found[method, record.metadata.seed, str(how)] = record
    return found


def _ordered(episodes: Sequence[RecordedEpisode]) -> tuple[RecordedEpisode, ...]:
    begun: dict[str, str] = {}
    for each in episodes:
        started = str(each.document["started"])
        begun[each.method] = min(started, begun.get(each.method, started))
    return tuple(sorted(episodes, key=lambda each: (begun[each.method], each.method, each.seed)))


def _results(place: Path) -> dict[str, Any] | None:
    path = place / RESULTS_FILE
    if not path.is_file():
        return None
    content = _json(path)
    if not isinstance(content.get("results"), list) or not isinstance(content.get("live"), dict):
        raise InputError(f"{path} is not of an evaluation on a real cluster; {_HOW}.")
    return content


def _check(results: LiveResults) -> None:
    """Refuse results that were not made of these recordings.

    Raises:
        InputError: a recording is missing, or the means are others.
    """
    if results.document is None:
        return
    here = {(each.method, each.seed) for each in results.episodes}
    for each in results.document["live"]["recordings"]:
        if (each["controller"], each["seed"]) not in here:
            raise InputError(
                f"{results.folder / RESULTS_FILE} names the recording of {each['controller']}, seed "
                f"{each['seed']}, which is not here; it was in {each['folder']}."
            )
    for row in results.document["results"]:
        method, seeds = row["controller"], {each["seed"] for each in row["episodes"]}
        records = [each.record for each in results.of(method) if each.seed in seeds]
        different = _different(row["mean"], summarise(records).mean) if records else ""
        if different:
            raise InputError(
                f"{results.folder / RESULTS_FILE} and the recordings of {method} do not belong together: "
                f"they differ in {different}."
            )


def _different(told: Mapping[str, Any], found: Mapping[str, float]) -> str:
    """Return the first measure that is not the same; empty: there is none."""
    for name in found:
        if name == _PRICED:
            continue
        value = math.nan if told.get(name) is None else float(told[name])
        both_unknown = not math.isfinite(value) and not math.isfinite(found[name])
        if not (both_unknown or math.isclose(value, found[name], rel_tol=_SAME, abs_tol=1e-12)):
            return name
    return ""
