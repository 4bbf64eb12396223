"""Ending a load whose run was killed: a small process waits for that, for nothing else is told.

``kill -9`` lets nobody clear up. Linux can tell a child of that (``PR_SET_PDEATHSIG``), but not its children,
and with both a load would be told twice, which generators take for an order to drop everything.
"""

import os
import subprocess
import sys

GRACE_S = 10.0
"""How long a load whose run was killed may take to end by itself, seconds."""

_CODE = """
import os, select, signal, sys, time

parent, group, grace_s = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
# A copy of the run may still hold the other end of the pipe, but it is not the run.
while os.getppid() == parent and not select.select([0], [], [], 0.5)[0]:
    pass
try:
    os.killpg(group, signal.SIGTERM)
    end_s = time.monotonic() + grace_s
    while time.monotonic() < end_s:
        time.sleep(0.1)
        os.killpg(group, 0)
    os.killpg(group, signal.SIGKILL)
except (ProcessLookupError, PermissionError):  # all of them have gone
    pass
"""


class Watchman:
    """Ends a group of processes as soon as this process has gone, however it ended."""

    def __init__(self, group: int) -> None:
        """Begin to watch.

        Args:
            group: number of the process group.

        Raises:
            OSError: it cannot be started.
        """
        words = [sys.executable, "-I", "-S", "-c", _CODE, str(os.getpid()), str(group), str(GRACE_S)]
        # Out of reach of signals to our group, of Ctrl-C and of the end of the terminal.
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip

    def dismiss(self) -> None:
        """Watch no longer: the group has gone, and its number may be another's."""
        self._process.kill()
        self._process.communicate()
