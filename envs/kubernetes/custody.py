"""Taking targets into custody for a run, and giving them back as they were found."""

import contextlib
import dataclasses
from collections.abc import Iterable, Sequence
from typing import Protocol

from podgym.envs.kubernetes.errors import ClusterError, TargetGoneError
from podgym.envs.kubernetes.ownership import (
    Owner,
    Stopped,
    find_owners,
    hand_back,
    refusal,
    require_within,
    stopped_state,
    take_over,
)
from podgym.envs.kubernetes.readings import DeploymentState
from podgym.envs.kubernetes.settings import KubernetesSettings
from podgym.envs.kubernetes.snapshot import SnapshotApi, give_owners_back, load, restore, save
from podgym.envs.kubernetes.targets import Target
from podgym.errors import InputError


class Keeper(SnapshotApi, Protocol):
    """What custody needs of ``KubernetesApi``."""

    def permissions(self, targets: Iterable[str]) -> tuple[str, ...]:
        """Return what is needed in these namespaces and not allowed."""
        ...


class Custody:
    """Keeps what was found on every target of a run. In other modes than ``act`` it changes nothing."""

    def __init__(
        self, settings: KubernetesSettings, targets: Sequence[Target], api: Keeper, run_id: str
    ) -> None:
        """Prepare; nothing is read or changed yet."""
        self._settings, self._targets, self._api, self._run_id = settings, targets, api, run_id
        self._stopped: dict[int, tuple[Stopped, ...]] = {}
        self._foreign: set[int] = set()

    def take(self) -> None:
        """Take every target, or none; what this run has already stays taken.

        Raises:
            InputError: a permission is missing, someone else manages a target and may not be stopped, or an
                earlier run did not finish.
        """
        missing = self._api.permissions({target.watched.namespace for target in self._targets})
        if missing:
            raise InputError(
                f"the credentials may not {', nor '.join(missing)}; grant it, for example with the Role in "
                "deploy/manifests."
            )
        if self._settings.mode == "shadow":
            return
        for index in sorted(self._foreign & set(self._stopped)):  # theirs now: found anew
            self._give_back(index)
            self._forget(index)
        found = [self._found(index, target) for index, target in enumerate(self._targets)]
        if self._settings.mode != "act":
            return
        taken: list[int] = []
        try:
            for index, (deployment, owners) in enumerate(found):
                if index not in self._stopped:
                    taken.append(index)
                    self._take(index, deployment, owners)
        except BaseException:
            self._undo(taken)
            raise

    def _take(self, index: int, deployment: DeploymentState, owners: tuple[Owner, ...]) -> None:
        stopped = stopped_state(owners)
        save(self._api, deployment, stopped, self._run_id)
        self._stopped[index] = stopped  # from here on it is given back, whatever happens
        take_over(self._api, owners)

    def _undo(self, taken: Sequence[int]) -> None:
        """Give back what was taken before something failed; what cannot be stays for ``release``."""
        for index in taken:
            if index in self._stopped:
                with contextlib.suppress(ClusterError, InputError):
                    self._give_back(index)
                    self._forget(index)

    def _forget(self, index: int) -> None:
        del self._stopped[index]
        self._foreign.discard(index)

    def _found(self, index: int, target: Target) -> tuple[DeploymentState, tuple[Owner, ...]]:
        deployment = self._api.deployment(target.watched.namespace, target.watched.deployment)
        ours = {(each.kind, each.name) for each in self._stopped.get(index, ())}
        owners = tuple(
            owner for owner in find_owners(self._api, deployment) if (owner.kind, owner.name) not in ours
        )
        if owners and index in self._stopped:
            raise InputError(
                f"{refusal(deployment, owners)} It appeared after the run began: begin a new one."
            )
        if owners and not self._settings.take_over:
            raise InputError(refusal(deployment, owners))
        service = target.service
        require_within(owners, service.name, service.min_replicas, service.max_replicas)
        return deployment, owners

    def leave(self, index: int) -> None:
        """Leave a target's replicas to whoever changed them; everything else is still given back."""
        self._foreign.add(index)

    @property
    def held(self) -> bool:
        """Whether ``release`` has anything to give back."""
        return any(self._settings.restore or stopped for stopped in self._stopped.values())

    def holds(self, deployment: DeploymentState) -> bool:
        """Return whether a Deployment still carries the note of this run."""
        try:
            snapshot = load(deployment)
        except InputError:
            return False
        return snapshot is not None and snapshot.run_id == self._run_id

    def release(self) -> tuple[str, ...]:
        """Give back what was taken; return what was done, in words.

        With ``restore: false`` these are only the autoscalers that were stopped: nobody asked for a service
        without one.

        Raises:
            ClusterError: something could not be given back; everything else was.
        """
        words: list[str] = []
        failures: list[str] = []
        for index in sorted(self._stopped):
            try:
                words += self._release(index)
            except (ClusterError, InputError) as error:
                watched = self._targets[index].watched
                failures.append(
                    f"{watched.namespace}/{watched.deployment}: {error}; do it later: podgym restore "
                    f"--namespace {watched.namespace} --deployment {watched.deployment}"
                )
        if failures:
            raise ClusterError("not restored: " + "; ".join(failures))
        return tuple(words)

    def _release(self, index: int) -> tuple[str, ...]:
        if self._settings.restore:
            words = self._give_back(index)
            self._forget(index)
        elif self._stopped[index]:
            words = self._give_back(index, only_owners=True)
            self._stopped[index] = ()  # the note stays, and the next episode finds them anew
        else:
            words = ()
        return words

    def _give_back(self, index: int, *, only_owners: bool = False) -> tuple[str, ...]:
        self._api.end_steps()
        watched = self._targets[index].watched
        try:
            deployment = self._api.deployment(watched.namespace, watched.deployment)
        except TargetGoneError:
            return hand_back(self._api, self._stopped[index])
        snapshot = load(deployment)
        if snapshot is None:  # restored by hand, or deleted and made again: whoever was stopped still is
            return hand_back(self._api, self._stopped[index])
        if snapshot.run_id != self._run_id:
            return ()  # another run has it, and noted who was stopped
        if only_owners:
            return give_owners_back(self._api, deployment, snapshot)
        if index in self._foreign:
            snapshot = dataclasses.replace(snapshot, replicas=deployment.replicas)
        return restore(self._api, deployment, snapshot)
