"""What a benchmark ran on, and the memory that a batch of environments takes."""

import json
import math
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import gymnasium as gym

from podgym.errors import InputError, require_whole

_STEPS = 30
_PROBE = """
import dataclasses, json, sys
from podgym.eval.bench_machine import probe_memory
print(json.dumps(dataclasses.asdict(probe_memory(sys.argv[1], int(sys.argv[2])))))
"""


@dataclass(frozen=True, slots=True)
class Machine:
    """Where it was measured."""

    cpu: str
    """Model of the processor."""
    cores: int
    """Cores of the machine; only one of them is used."""
    load_average: float
    """Processes that ran or waited in the minute before; nan where unknown."""
    system: str
    """Operating system and instruction set."""
    python: str
    """Version, as the following."""
    numpy: str
    numba: str
    gymnasium: str
    podgym: str


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Memory of a batch in a process of its own."""

    environment: str
    """Id."""
    num_envs: int
    """Environments in the batch."""
    growth_bytes: int
    """Peak of the resident set above what the imports took: the batch, what stepping it returns, numba."""
    batch_bytes: int
    """The same above a process that has run one environment already: the batch and what it returns."""
    resident_bytes: int
    """Peak of the resident set of the process, interpreter and libraries included."""


def this_machine() -> Machine:
    """Return the processor and the versions that matter for speed."""
    return Machine(
        cpu=_cpu_model(),
        cores=os.cpu_count() or 1,
        load_average=os.getloadavg()[0] if hasattr(os, "getloadavg") else math.nan,
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        numpy=version("numpy"),
        numba=version("numba"),
        gymnasium=version("gymnasium"),
        podgym=version("podgym"),
    )


def _cpu_model() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def measure_memory(environment: str, num_envs: int) -> MemoryUse:
    """Measure the memory of a batch in a fresh process; see ``probe_memory``.

    Raises:
        InputError: ``num_envs`` is not a whole number of at least 1, or the process did not live to tell,
            for example because memory was short.
    """
    require_whole("--memory-envs", num_envs, 1, 10**7)
    command = [sys.executable, "-c", _PROBE, environment, str(num_envs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["killed"])[-1]
        raise InputError(
            f"the memory of {num_envs} x {environment} cannot be measured (status {done.returncode}: "
            f"{reason}); lower --memory-envs."
        )
    return MemoryUse(**json.loads(done.stdout.splitlines()[-1]))


def probe_memory(environment: str, num_envs: int) -> MemoryUse:
    """Make, step and restart a batch with random actions in this process, and see what it takes.

    One environment runs first, so that numba and the compiled kernels can be told from the batch.
    """
    imported, _ = resident_set_bytes()
    _exercise(environment, 1)
    warm, _ = resident_set_bytes()
    _exercise(environment, num_envs)
    _, peak = resident_set_bytes()
    return MemoryUse(environment, num_envs, peak - imported, peak - warm, peak)


def _exercise(environment: str, num_envs: int) -> None:
    env = gym.make_vec(environment, num_envs=num_envs, vectorization_mode="vector_entry_point")
    env.action_space.seed(0)
    env.reset(seed=0)
    for _ in range(_STEPS):
        env.step(env.action_space.sample())
    env.reset()
    env.close()


def resident_set_bytes() -> tuple[int, int]:
    """Resident set of this process now and at its peak; where the system tells only the peak, twice that."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines())
        return 1024 * int(lines["VmRSS"].split()[0]), 1024 * int(lines["VmHWM"].split()[0])
    import resource

    unit = 1 if platform.system() == "Darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return peak, peak
