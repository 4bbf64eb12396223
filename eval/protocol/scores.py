"""From rows of episodes to arrays (training seeds, episodes) per environment and method."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from podgym.agents.running import load_actor
from podgym.baselines import leaves_quotas
from podgym.errors import InputError
from podgym.eval.protocol.definition import DEV
from podgym.eval.protocol.entrants import Entrant, Kind, best_by_dev
from podgym.eval.protocol.units import MEASURES, EpisodeRow

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What the episodes of one method on one environment came to."""

    environment: str
    """Id."""
    method: str
    """Label."""
    kind: Kind
    """What it is."""
    variant_of: str | None
    """Label of the method whose front it is a further point of."""
    training_seeds: tuple[int | None, ...]
    """Seeds of the trainings; one None for what has one policy, or is not trained."""
    policies: tuple[str | None, ...]
    """Files of the policies, in the same order."""
    seeds: tuple[int, ...]
    """Seeds of the episodes."""
    values: Mapping[str, Floats]
    """(training seeds, episodes) by measure; empty when the method failed."""
    failure: str
    """Why it failed, in the first episode that did; empty: it did not."""
    replicas_only: bool = False
    """Whether it surely leaves the pods as every service begins, so that a bound of replicas holds for it."""

    @property
    def is_bound(self) -> bool:
        """Whether it is no method but a bound on methods."""
        return self.kind in ("lower_bound", "clairvoyant")

    @property
    def compared(self) -> bool:
        """Whether it is a method of its own with results."""
        return not self.failure and not self.is_bound and self.variant_of is None

    def cost(self, count: int | None = None) -> Floats:
        """Return the costs (training seeds, episodes) of the first ``count`` episodes."""
        return self.values["cost"][:, :count]

    def violation(self, count: int | None = None) -> Floats:
        """Return the violations that the cost charges, likewise."""
        return self.values["slo_violation_time_ratio"][:, :count]


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """Everything that took part on one environment."""

    environment: str
    """Id."""
    scores: tuple[Scores, ...]
    """In the order of the protocol."""
    rival: Scores | None
    """Whom all are compared with; None: there is none, or it failed."""
    rival_choice: str
    """How the rival was chosen, in words."""
    hindsight: Scores | None
    """The controller with the lowest mean cost on these very episodes; None: no controller took part."""
    bound: Scores | None
    """What regret is measured against; None: no lower bound took part."""
    replicas_bound: Scores | None = None
    """A lower bound of methods that decide replicas alone, where ``bound`` holds for all; None: none did."""

    def front_of(self, method: str) -> tuple[Scores, ...]:
        """Return a method and its variants that have results."""
        wanted = (each for each in self.scores if method in (each.method, each.variant_of))
        return tuple(each for each in wanted if not each.failure)

    @property
    def rules(self) -> tuple[Scores, ...]:
        """Controllers with results, variants left out."""
        return tuple(each for each in self.scores if each.compared and each.kind == "controller")

    @property
    def learned(self) -> tuple[Scores, ...]:
        """Policies with results, variants left out."""
        return tuple(each for each in self.scores if each.compared and each.kind == "policy")


def field_of(environment: str, entrants: Sequence[Entrant], rows: Sequence[EpisodeRow], rival: str) -> Field:
    """Return what took part on an environment.

    Args:
        environment: id.
        entrants: of all environments.
        rows: likewise.
        rival: label, or ``dev``, as of ``Protocol``.
    """
    own = [each for each in entrants if each.environment == environment]
    by_method: dict[str, list[Entrant]] = {}
    for each in own:
        by_method.setdefault(each.method, []).append(each)
    here = [row for row in rows if row.environment == environment]
    scores = tuple(_scores(group, here) for group in by_method.values())
    by_label = {each.method: each for each in scores}
    chosen = best_by_dev(own) if rival == DEV else rival
    named = by_label.get(chosen) if chosen is not None else None
    usable = named if named is not None and not named.failure else None
    rules = [each for each in scores if each.compared and each.kind == "controller"]
    return Field(
        environment,
        scores,
        usable,
        "best tuned controller on dev" if rival == DEV else "named in the protocol",
        min(rules, key=lambda each: float(each.cost().mean())) if rules else None,
        _bound(scores),
        _replicas_bound(scores),
    )


def _scores(group: Sequence[Entrant], rows: Sequence[EpisodeRow]) -> Scores:
    """Return the scores of the entrants of one method."""
    first = group[0]
    mine = [row for row in rows if row.method == first.method]
    failure = next((row.failure for row in mine if row.failure), "")
    blocks = [[row for row in mine if row.training_seed == each.training_seed] for each in group]
    values = (
        {}
        if failure
        else {
            name: np.array([[getattr(row, name) for row in block] for block in blocks]) for name in MEASURES
        }
    )
    return Scores(
        first.environment,
        first.method,
        first.kind,
        first.variant_of,
        tuple(each.training_seed for each in group),
        tuple(each.policy for each in group),
        tuple(row.seed for row in blocks[0]),
        values,
        failure,
        _replicas_only(group),
    )


def _replicas_only(group: Sequence[Entrant]) -> bool:
    """Return whether all of a method leave the pods as they begin; of a bound, whether it supposes so."""
    first = group[0]
    if first.kind in ("lower_bound", "clairvoyant"):
        return not first.quotas
    if any(each.changes for each in group):
        return False
    if first.kind == "controller":
        return leaves_quotas(first.controller, first.options)
    return all(_policy_leaves_quotas(each) for each in group)


def _policy_leaves_quotas(entrant: Entrant) -> bool:
    if entrant.policy is None:
        return False
    try:
        return not load_actor(entrant.policy).description.quota_steps
    except InputError:  # what it is cannot be said, so nothing is claimed of it
        return False


def _bound(scores: Sequence[Scores]) -> Scores | None:
    """Return the lower bound; of two the lower one, which holds for every method, quotas or not."""
    found = [each for each in scores if each.kind == "lower_bound" and not each.failure]
    return min(found, key=lambda each: float(each.cost().mean())) if found else None


def _replicas_bound(scores: Sequence[Scores]) -> Scores | None:
    """Return the bound of replicas alone, if another one stands beside it that holds for every method."""
    found = [
        each for each in scores if each.kind == "lower_bound" and not each.failure and each.replicas_only
    ]
    return found[0] if found and found[0] is not _bound(scores) else None
