"""Named public traces, downloaded when the user asks for it and never by themselves.

No entry has a checksum yet: nobody of this project has vouched for a copy. So the first download is trusted
on first use: what arrived is read once as a test, its SHA-256 is recorded in a lock file next to the data
(``<file>.lock.json``), and from then on every download and every reading must match it. Publish the lock
file with your results to let others check that they have the same bytes.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from podgym.envs.workloads.access_log import read_access_log
from podgym.envs.workloads.sources import Trace, checked_trace, read_file
from podgym.errors import InputError, unknown_name

_TIMEOUT_S = 60.0
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class PublicTrace:
    """One trace that can be downloaded."""

    url: str
    """Where the file lies."""
    file_name: str
    """Name of the file in the user's folder."""
    licence: str
    """Terms of use, shown before the download."""
    reader: Callable[[Path, str], Trace]
    """Turns the file (path, name of the trace) into a trace."""
    sha256: str | None = None
    """Checksum of the file; None: trusted on first use and recorded."""


def _read_tweet_counts(path: Path, name: str) -> Trace:
    """Read a NAB series, ``timestamp,value``: mentions per 5 minutes, which stand for requests."""
    trace = read_file(path, "value")
    return checked_trace(name, "mention_count", trace.times_s, trace.values, trace.clock_start_s)


_ITA_TERMS = (
    "Internet Traffic Archive (ita.ee.lbl.gov), contributed by M. Arlitt and C. Williamson; general traffic "
    "patterns only, no analysis of hosts."
)
_NASA_TERMS = f'{_ITA_TERMS} "The traces may be freely redistributed."'
_CLARKNET_TERMS = f"{_ITA_TERMS} Released with permission of ClarkNet; see the archive's ClarkNet-HTTP page."


def _archive_log(file_name: str, licence: str) -> PublicTrace:
    url = f"https://ita.ee.lbl.gov/traces/{file_name}"
    return PublicTrace(url, file_name, licence, read_access_log)


def _tweet_counts(company: str) -> PublicTrace:
    file_name = f"Twitter_volume_{company}.csv"
    url = f"https://raw.githubusercontent.com/numenta/NAB/master/data/realTweets/{file_name}"
    return PublicTrace(url, file_name, "MIT (Numenta Anomaly Benchmark)", _read_tweet_counts)


PUBLIC_TRACES: dict[str, PublicTrace] = {
    "nasa_jul95": _archive_log("NASA_access_log_Jul95.gz", _NASA_TERMS),
    "nasa_aug95": _archive_log("NASA_access_log_Aug95.gz", _NASA_TERMS),
    "clarknet_aug28": _archive_log("clarknet_access_log_Aug28.gz", _CLARKNET_TERMS),
    "clarknet_sep4": _archive_log("clarknet_access_log_Sep4.gz", _CLARKNET_TERMS),
    "tweets_aapl": _tweet_counts("AAPL"),
    "tweets_amzn": _tweet_counts("AMZN"),
    "tweets_goog": _tweet_counts("GOOG"),
}
"""Traces that ``download`` fetches, by name."""


def default_folder() -> Path:
    """Return where downloads go: ``$PODGYM_TRACES``, else ``~/.cache/podgym/traces``."""
    given = os.environ.get("PODGYM_TRACES")
    return Path(given) if given else Path.home() / ".cache" / "podgym" / "traces"


def download(name: str, folder: str | Path | None = None, *, show: Callable[[str], None] = print) -> Path:
    """Fetch a public trace, unless it is there already, and return its path.

    The file appears whole or not at all: it is written next to its place, checked, test-read, and moved.

    Args:
        name: one of ``PUBLIC_TRACES``.
        folder: where to put it; ``default_folder()`` when None. Made if it does not exist.
        show: receives source, terms and checksum, line by line.

    Raises:
        InputError: an unknown name, no answer from the server, an incomplete or unreadable file, or one whose
            checksum is not the expected one; nothing of it is left behind.
    """
    entry = _entry(name)
    target = (Path(folder) if folder is not None else default_folder()) / entry.file_name
    show(f"{name}: {entry.url}")
    show(f"terms: {entry.licence}")
    if target.exists() and expected_sha256(target, entry) is not None:
        _verify(target, target, entry)
        show(f"already at {target}, checksum verified")
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    # The temporary name ends like the target, because readers go by the ending.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".download-") as scratch:
        arrived = Path(scratch) / entry.file_name
        _fetch(entry.url, arrived)
        first_use = expected_sha256(target, entry) is None
        digest = _sha256(arrived)
        if first_use:
            entry.reader(arrived, name)
            show(f"no published checksum: trusted on first use and recorded, SHA-256 {digest}")
            _write_lock(target, entry.url, digest, Path(scratch))
        else:
            _verify(arrived, target, entry)
            show(f"checksum verified, SHA-256 {digest}")
        os.replace(arrived, target)
    return target


def read_downloaded(name: str, folder: str | Path | None = None) -> Trace:
    """Return a public trace that was downloaded before, after checking its checksum.

    Raises:
        InputError: an unknown name, a file that is not there, or one that changed since its download.
    """
    entry = _entry(name)
    target = (Path(folder) if folder is not None else default_folder()) / entry.file_name
    if not target.is_file():
        raise InputError(
            f"trace {name!r} is not in {target.parent}; fetch it once with "
            f"podgym.envs.workloads.download({name!r}, {str(target.parent)!r})."
        )
    _verify(target, target, entry)
    return entry.reader(target, name)


def lock_path(target: Path) -> Path:
    """Return the lock file of a downloaded file."""
    return target.with_name(target.name + ".lock.json")


def expected_sha256(target: Path, entry: PublicTrace) -> str | None:
    """Return the checksum that the file must have: the entry's own, else the recorded one, else None.

    Raises:
        InputError: the lock file cannot be read.
    """
    if entry.sha256 is not None:
        return entry.sha256
    lock = lock_path(target)
    if not lock.is_file():
        return None
    try:
        return str(json.loads(lock.read_text(encoding="utf-8"))["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{lock} is not a lock file; remove it to trust the next download anew.") from error


def _entry(name: str) -> PublicTrace:
    if name not in PUBLIC_TRACES:
        raise unknown_name("public trace", name, PUBLIC_TRACES)
    return PUBLIC_TRACES[name]


def _fetch(url: str, path: Path) -> None:
    # Imported here: the two cost 20 ms, and few users of the package ever download.
    import http.client
    import urllib.request

    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer, path.open("wb") as file:
            shutil.copyfileobj(answer, file, _CHUNK_BYTES)
            announced = answer.headers.get("Content-Length")
    except (OSError, http.client.HTTPException) as error:  # OSError includes urllib's own errors
        raise InputError(f"{url} cannot be downloaded: {error}.") from error
    if announced is not None and int(announced) != path.stat().st_size:
        raise InputError(f"{url} broke off after {path.stat().st_size} of {announced} bytes; try again.")


def _verify(path: Path, target: Path, entry: PublicTrace) -> None:
    """Refuse ``path`` unless it has the checksum expected of ``target``."""
    expected, found = expected_sha256(target, entry), _sha256(path)
    if expected is None:
        raise InputError(f"{target} has no lock file, so it cannot be checked; download it again.")
    if found != expected:
        raise InputError(
            f"{entry.url if path != target else target} has SHA-256 {found}, expected {expected}; refused. "
            f"If the source has changed for good, remove {target.name} and {lock_path(target).name}."
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_lock(target: Path, url: str, digest: str, scratch: Path) -> None:
    draft = scratch / "lock.json"
    draft.write_text(json.dumps({"url": url, "sha256": digest}, indent=2) + "\n", encoding="utf-8")
    os.replace(draft, lock_path(target))
