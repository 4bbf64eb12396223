"""What every test shares: one thread, no display, hypothesis without chance, the folder of real data."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

# Before numpy, numba and torch are first imported: several threads make results depend on the machine.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_variable] = "1"
os.environ["MPLBACKEND"] = "Agg"

import pytest  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

# The same examples on every run. Nothing is judged by the clock: the machine may be busy, and a kernel's
# first call compiles it.
settings.register_profile(
    "podgym",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("podgym")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what runs against a cluster of the user's, unless -m asks for it by name."""
    if "cluster" in config.option.markexpr:
        return
    skip = pytest.mark.skip(reason="runs against the cluster that KUBECONFIG names; ask with -m cluster")
    for item in items:
        if "cluster" in item.keywords and item.get_closest_marker("cluster"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """Folder of traces and conformance cases beside the repository, or where ``PODGYM_SHARED`` says."""
    beside = Path(__file__).resolve().parents[1].parent / "shared"
    folder = Path(os.environ.get("PODGYM_SHARED", beside))
    if not folder.is_dir():
        pytest.skip(f"no folder of shared data at {folder}; set PODGYM_SHARED to use one")
    return folder


@pytest.fixture
def hangup_is_not_ignored() -> Iterator[None]:
    """Under nohup it is, and podgym leaves it so."""
    former = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, former)
