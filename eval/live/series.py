"""A measured load in the trace format."""

from pathlib import Path

from podgym.envs.workloads.profile import LoadProfile
from podgym.files import write_text

COLUMNS = "time_s,rate_rps"


def write_series(path: Path, profile: LoadProfile) -> Path:
    """Write a profile as a CSV that ``open_trace`` reads without being told anything."""
    rows = zip(profile.times_s.tolist(), profile.values.tolist(), strict=True)
    lines = [COLUMNS, *(f"{time_s!r},{rate_rps!r}" for time_s, rate_rps in rows)]
    return write_text(path, "\n".join(lines) + "\n")
