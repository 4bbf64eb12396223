"""What runs and is written beside the environment of one episode: its load, its log and its curves."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from podgym.eval.live.curves import TensorBoardCurves
from podgym.eval.live.environment import LiveEnvironment
from podgym.eval.live.load_command import FINISH_S, OUTPUT_FOLDER, RunningLoad
from podgym.eval.live.plan import LivePlan
from podgym.eval.live.recording import DECISIONS_FILE
from podgym.eval.live.stopping import StopGate
from podgym.eval.live.watch import DecisionLog, WatchedEnvironment

GENERATOR_FILE = "load.json"
"""Summary that the generator in deploy/load leaves in its output folder."""
_GENERATOR_KEYS = ("asked", "sent", "failed", "fell_behind")


class Companions:
    """What belongs to the environment of one episode, from its first interval to its end."""

    def __init__(self, plan: LivePlan, folder: Path, seed: int) -> None:
        """Note what is wanted; nothing is started.

        Args:
            plan: what to do.
            folder: of the episode.
            seed: of the episode.
        """
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
        try:
            odd = None if self._load is None else self._load.stop(0.0 if in_a_hurry else FINISH_S)
        finally:
            for each in (self._log, self._curves):
                if each is not None:
                    each.close()
        return () if odd is None else (odd,)

    def generator(self) -> dict[str, Any]:
        """Return what the generator says of itself; nothing where it left no summary that can be read."""
        try:
            path = self._folder / OUTPUT_FOLDER / GENERATOR_FILE
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        if self._load is None or not isinstance(content, dict):
            return {}
        return {name: content[name] for name in _GENERATOR_KEYS if name in content}


def generator_remarks(generator: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what a reader must know of a generator that did not send what was asked for."""
    if not generator.get("fell_behind"):
        return ()
    return (
        f"the load generator fell behind: of {generator.get('asked')} requests that were due it sent "
        f"{generator.get('sent')}, or sent them late, so the load was not the one asked for and response "
        "times of the generator are its own",
    )
