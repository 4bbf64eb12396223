"""An environment that nobody closed gives the cluster back when it is collected or the program ends."""

import gc
import subprocess
import sys
import warnings

import gymnasium as gym
import pytest
from oracles.simulated_backend import made

import podgym  # noqa: F401  (registers the environments)
from podgym.envs.cluster import ServiceDecision
from podgym.envs.kubernetes.errors import ClusterError, TransientError

LEFT = "podgym/Kubernetes-v0 was not closed"


@pytest.fixture(autouse=True)
def _nobody_is_reminded() -> None:
    """Here they are."""


def begun(**options):
    """An environment, held by a list alone, whose Deployment was scaled from 8 to 14; and its backend."""
    env, backend, _ = made(**options)
    env.reset(seed=3)
    for _ in range(6):
        env.step_decisions([ServiceDecision()])
    env.step_decisions([ServiceDecision(replicas=14)])
    return [env], backend


def forget(held):
    held.clear()
    gc.collect()


def test_one_that_is_collected_restores_what_was_found_and_says_so():
    held, backend = begun()
    assert backend.replicas == 14
    with pytest.warns(ResourceWarning, match=LEFT):
        forget(held)
    assert backend.replicas == 8
    assert backend.annotations == {}


def test_what_could_not_be_restored_is_said_where_everybody_sees_it():
    held, backend = begun()
    backend.fail["deployment"] = [TransientError("503")] * 9
    with pytest.warns(RuntimeWarning, match=f"{LEFT}; not restored.*podgym restore --namespace demo"):
        forget(held)


@pytest.mark.parametrize("mode", ["shadow", "dry_run"])
def test_where_nothing_was_changed_there_is_nothing_to_say(mode):
    held, backend = begun(mode=mode)
    count = backend.replicas
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        forget(held)
    assert backend.replicas == count


def test_one_that_was_closed_is_left_alone_and_a_new_episode_is_not():
    held, backend = begun()
    held[0].close()
    count = len(backend.writes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gc.collect()
    assert len(backend.writes) == count
    held[0].reset(seed=3)
    assert backend.annotations
    with pytest.warns(ResourceWarning, match=LEFT):
        forget(held)
    assert backend.annotations == {}


def test_what_close_could_not_restore_is_said_by_close_and_left_to_podgym_restore():
    held, backend = begun()
    backend.fail["deployment"] = [TransientError("503")] * 9
    with pytest.raises(ClusterError, match="podgym restore"):
        held[0].close()
    backend.fail.clear()
    count = len(backend.writes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        forget(held)
    assert len(backend.writes) == count


@pytest.mark.parametrize("ending", [None, ZeroDivisionError, KeyboardInterrupt])
def test_a_with_restores_however_it_ends(ending):
    held, backend = begun()
    try:
        with held[0]:
            if ending is not None:
                raise ending
    except (ZeroDivisionError, KeyboardInterrupt):
        pass
    assert backend.replicas == 8


def test_a_with_around_what_gymnasium_makes_restores(monkeypatch):
    env, backend, clock = made()
    env.close()
    monkeypatch.setattr("podgym.envs.kubernetes.opening.open_api", lambda settings: backend)
    monkeypatch.setattr("podgym.envs.kubernetes.opening.open_metrics", lambda settings, api: backend)
    monkeypatch.setattr("podgym.envs.kubernetes.env.SystemClock", lambda: clock)
    seen = []

    def use() -> None:
        with gym.make("podgym/Kubernetes-v0", settings=env.settings) as wrapped:
            wrapped.reset(seed=3)
            for _ in range(6):
                wrapped.unwrapped.step_decisions([ServiceDecision()])
            wrapped.unwrapped.step_decisions([ServiceDecision(replicas=14)])
            seen.append(backend.replicas)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        use()
    assert [*seen, backend.replicas] == [14, 8]


ENDS = """
import atexit, os, sys, weakref
from podgym.envs.kubernetes.forgotten import Forgotten

class Env:
    pass

class Cluster:
    held = True

    def close(self):
        print("restored", flush=True)

env = Env()
weakref.finalize(env, print, "collected")  # Python's own turn at the end is now an early one
atexit.register(print, "certificates removed", flush=True)
forgotten = Forgotten(env, Cluster())
forgotten.watch()
forgotten.watch()
{ending}
"""


@pytest.mark.parametrize(
    ("ending", "restored"),
    [("", 1), ("1 / 0", 1), ("sys.exit(3)", 1), ("forgotten.cancel()", 0), ("del env", 1),
     ("child = os.fork()\nif child: os.waitpid(child, 0)\nelse: sys.exit()", 1)],
    ids=["its last line", "an exception", "exit", "closed", "collected", "a copy of it ended first"],
)  # fmt: skip
def test_a_program_that_ends_restores_once_while_it_still_has_its_certificates(ending, restored):
    code = ENDS.format(ending=ending)
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=False
    )
    lines = run.stdout.splitlines()
    assert lines.count("restored") == restored
    if restored:
        assert lines.index("restored") < len(lines) - 1 - lines[::-1].index("certificates removed")
