"""The command that sends load while an episode runs: a process of its own, started and stopped with it."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from podgym.errors import InputError, unknown_name
from podgym.eval.live.load_watchman import Watchman
from podgym.eval.live.redaction import public_output
from podgym.files import write_text

PLACEHOLDERS = ("output", "seed", "duration_s")
"""What ``{name}`` in the command may stand for: a folder, the seed and the length of the episode."""
LOG_FILE = "load.log"
GROUP_FILE = "load.pgid"
"""Number of the load's process group, as long as it runs."""
OUTPUT_FOLDER = "load"
"""What ``{output}`` stands for, inside the folder of the episode."""
FINISH_S = 5.0
"""A load of just the length of the episode may end by itself within this time, seconds."""

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_STOP_S = 10.0
_LAST_WORDS = 300  # characters
_STOPPED = (0, -signal.SIGTERM, 128 + signal.SIGTERM, -signal.SIGINT, 128 + signal.SIGINT)


@dataclass(frozen=True, slots=True)
class LoadCommand:
    """A command line, parted into words; no shell is involved."""

    words: tuple[str, ...]
    """Program and arguments, with placeholders."""

    def filled(self, output: Path, seed: int, duration_s: float) -> list[str]:
        """Return the words with their placeholders filled in."""
        values = {"output": str(output), "seed": str(seed), "duration_s": f"{duration_s:g}"}
        return [_PLACEHOLDER.sub(lambda match: values[match[1]], word) for word in self.words]

    def start(self, folder: Path, seed: int, duration_s: float) -> "RunningLoad":
        """Start it; what it prints goes to ``load.log``, and ``{output}`` is the folder ``load``.

        Args:
            folder: of the episode.
            seed: of the episode.
            duration_s: length of the episode.

        Raises:
            InputError: it cannot be started.
        """
        output = folder / OUTPUT_FOLDER
        output.mkdir(parents=True, exist_ok=True)
        words = self.filled(output, seed, duration_s)
        log = folder / LOG_FILE
        try:
            with log.open("wb") as sink:
                process = subprocess.Popen(  # a group of its own: its children are stopped with it
                    words, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT,
                    start_new_session=True,
                )  # fmt: skip
        except OSError as error:
            raise InputError(f"the load command {words[0]!r} cannot be started: {error.strerror}.") from error
        group = folder / GROUP_FILE
        running = RunningLoad(process, log, group, words)
        try:
            running.watch()
            write_text(group, f"{process.pid}\n")
        except BaseException:
            running.stop(0.0)
            raise
        return running


def parse_load(text: str) -> LoadCommand:
    """Read a command line.

    Raises:
        InputError: no words, unmatched quotes, an unknown placeholder, or a program that is not there.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InputError(f"--load {text!r}: {error}.") from error
    if not words:
        raise InputError("--load is empty; give a command, such as 'python load.py --seed {seed}'.")
    for name in _PLACEHOLDER.findall(text):
        if name not in PLACEHOLDERS:
            raise unknown_name("placeholder of --load", name, PLACEHOLDERS)
    if shutil.which(words[0]) is None:
        raise InputError(f"--load: there is no program {words[0]!r}.")
    return LoadCommand(tuple(words))


class RunningLoad:
    """A load that was started."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", log: Path, group: Path, words: Sequence[str]
    ) -> None:
        """Take charge of a process.

        Args:
            process: the leader of a group of its own.
            log: where it prints to.
            group: file with the number of its group; it goes when the load has gone.
            words: what was started, for the secrets among them.
        """
        self._process = process
        self._log = log
        self._group = group
        self._words = tuple(words)
        self._started_s = time.monotonic()
        self._ended_s: float | None = None
        self._watchman: Watchman | None = None

    def watch(self) -> None:
        """See to it that it ends with this process, even if that is killed.

        Raises:
            InputError: there is no process to be had for that.
        """
        try:
            self._watchman = Watchman(self._process.pid)
        except OSError as error:
            raise InputError(f"the load cannot be watched: {error.strerror}.") from error

    def failure(self) -> str | None:
        """Return why the load is no load any more; None: it runs, or ended well."""
        status = self._process.poll()
        if status is None:
            return None
        if self._ended_s is None:
            self._ended_s = time.monotonic() - self._started_s
            if not self._signal(0):
                self._dismiss()
        if status == 0:
            return None
        return (
            f"the load command ended with status {status} within {self._ended_s:.0f} s; its last words: "
            f"{self._last_words()}"
        )

    def stop(self, finish_s: float = FINISH_S) -> str | None:
        """Stop it, at the latest by force; return what was odd about that, None: nothing was.

        Args:
            finish_s: how long it may go on to end by itself, seconds.
        """
        try:
            return self._stop(finish_s)
        finally:
            if self._watchman is not None:  # as long as there is one, the group was not found empty
                self._signal(signal.SIGKILL)
            self._dismiss()
            self._group.unlink(missing_ok=True)

    def _stop(self, finish_s: float) -> str | None:
        ran_out = self.failure()
        if ran_out is not None:
            return ran_out
        if self._ended_s is not None:
            return f"the load ended by itself after {self._ended_s:.0f} s"
        if self._waited(finish_s):
            return self.failure()
        self._signal(signal.SIGTERM)
        if not self._waited(_STOP_S):
            self._signal(signal.SIGKILL)
            self._process.wait()
            return f"the load command did not stop within {_STOP_S:g} s and was killed"
        self._signal(signal.SIGKILL)  # children that outlived it
        status = self._process.returncode
        return None if status in _STOPPED else f"the load command ended with status {status} when stopped"

    def _waited(self, duration_s: float) -> bool:
        try:
            self._process.wait(duration_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _signal(self, number: int) -> bool:
        """Send a signal to the group; return whether anybody is left of it."""
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):  # all of them have gone
            return False
        return True

    def _dismiss(self) -> None:
        if self._watchman is not None:
            self._watchman.dismiss()
            self._watchman = None

    def _last_words(self) -> str:
        try:
            text = self._log.read_bytes()[-4 * _LAST_WORDS :].decode("utf-8", "replace")
        except OSError:
            return "unknown"
        shown = public_output(text, self._words)
        return " ".join(shown.split())[-_LAST_WORDS:] or "none"
