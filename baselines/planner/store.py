"""Plans that were made before, in memory and on disk.

Problems are told apart by a *fingerprint* (cluster, objective, settings, kind of load), and within it by the
rates of the forecast and the replicas present. On disk each fingerprint has a folder, each batch of plans a
file in it, named by what it answers: processes that write at the same time do not disturb each other. A file
that cannot be read, or does not hold plans, is passed over, and written again once its plans are made again.
"""

import hashlib
import os
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from podgym.files import write_atomically

Floats = NDArray[np.float64]

SMALLEST_BATCH = 64
"""Plans that are waiting before they are written: a file for every short episode would be too many."""
_MOST_REMEMBERED = 200_000


def plans_folder() -> Path:
    """Return where plans are kept: ``$PODGYM_CACHE``, else ``~/.cache/podgym``."""
    given = os.environ.get("PODGYM_CACHE")
    return (Path(given) if given else Path.home() / ".cache" / "podgym") / "plans"


class PlanStore:
    """Plans (S, 3) of one fingerprint by key, a row of numbers."""

    def __init__(self, folder: Path | None, width: int, services: int) -> None:
        """Read what is on disk.

        Args:
            folder: of this fingerprint; None: keep nothing on disk.
            width: numbers in a key.
            services: services of a plan.
        """
        self._folder, self._width, self._services = folder, width, services
        self._plans: dict[bytes, Floats] = {}
        self._waiting: list[tuple[Floats, Floats]] = []
        for path in sorted(folder.glob("*.npz")) if folder is not None and folder.is_dir() else ():
            self._read(path)

    def get(self, key: Floats) -> Floats | None:
        """Return the plan (S, 3) of a key; None: not known."""
        return self._plans.get(key.tobytes())

    def add(self, key: Floats, plan: Floats) -> None:
        """Remember a plan, and write all that wait once they are many.

        Raises:
            InputError: the folder cannot be written to.
        """
        if len(self._plans) >= _MOST_REMEMBERED:
            self._plans.clear()
        self._plans[key.tobytes()] = plan
        if self._folder is None:
            return
        self._waiting.append((key, plan))

    def write(self) -> None:
        """Write the plans that wait, if they are many.

        Raises:
            InputError: the folder cannot be written to.
        """
        if self._folder is None or len(self._waiting) < SMALLEST_BATCH:
            return
        keys = np.stack([key for key, _ in self._waiting])  # (plans, width)
        plans = np.stack([plan for _, plan in self._waiting])  # (plans, S, 3)
        path = self._folder / f"{hashlib.sha256(keys.tobytes()).hexdigest()}.npz"

        def save(draft: Path) -> None:
            with draft.open("wb") as file:
                np.savez(file, keys=keys, plans=plans)

        write_atomically(path, save)
        self._waiting.clear()

    def _read(self, path: Path) -> None:
        try:
            # Opened here, as numpy would leave a broken file open.
            with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
                keys = np.asarray(content["keys"], dtype=np.float64)
                plans = np.asarray(content["plans"], dtype=np.float64)
        except (OSError, ValueError, EOFError, KeyError, BadZipFile):  # not whole, or something else
            return
        whole = keys.shape == (len(keys), self._width) and plans.shape == (len(keys), self._services, 3)
        if whole and np.isfinite(plans).all() and (plans > 0.0).all():
            for key, plan in zip(keys, plans, strict=True):
                self._plans[key.tobytes()] = plan
