"""Giving a cluster back that nobody closed: when its environment is collected, or when the program ends.

A program that ends by an exception or at its last line still gets here; one that a signal ends does not.
"""

import atexit
import os
import warnings
import weakref
from typing import Protocol

from podgym.envs.kubernetes.errors import ClusterError
from podgym.errors import InputError


class Restorable(Protocol):
    """What is given back, as ``KubernetesCluster`` does."""

    @property
    def held(self) -> bool:
        """Whether anything is to be given back."""
        ...

    def close(self) -> object:
        """Give it back."""
        ...


class Forgotten:
    """Looks after the cluster of one environment between its first ``reset`` and its ``close``."""

    def __init__(self, env: object, cluster: Restorable) -> None:
        """Do nothing yet.

        Args:
            env: whose end is waited for; it is not kept alive.
            cluster: what is given back then; it must not refer to ``env``.
        """
        self._env, self._cluster = weakref.ref(env), cluster
        self._waiting: weakref.finalize[[Restorable, int], object] | None = None

    def watch(self) -> None:
        """Give the cluster back should nobody do so from here on."""
        env = self._env()
        if env is not None and self._waiting is None:
            self._waiting = weakref.finalize(env, _give_back, self._cluster, os.getpid())
            # Its own turn at the end of the program may come after the client has removed its certificates,
            # which it began with; what is registered last comes first.
            self._waiting.atexit = False
            atexit.register(self._waiting)

    def cancel(self) -> None:
        """Leave it to whoever closes the environment now."""
        if self._waiting is not None:
            self._waiting.detach()
            atexit.unregister(self._waiting)
            self._waiting = None


def _give_back(cluster: Restorable, process: int) -> None:
    if os.getpid() != process or not cluster.held:  # a forked copy gives nothing back
        return
    try:
        cluster.close()
    except (ClusterError, InputError) as error:
        warnings.warn(f"podgym/Kubernetes-v0 was not closed; {error}", RuntimeWarning, stacklevel=2)
        return
    warnings.warn(
        "podgym/Kubernetes-v0 was not closed; what was found is restored. Close it in a finally, or say "
        "with gym.make(...) as env.",
        ResourceWarning,
        stacklevel=2,
    )
