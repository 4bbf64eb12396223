"""Several workloads as one: each episode is an episode of one of them."""

import bisect
import math
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from podgym.envs.workloads.profile import LoadKind, LoadProfile, Workload, require_number
from podgym.errors import InputError


class MixtureWorkload:
    """Draws a member for each episode, then the load from that member, with the same generator.

    It has ``part`` only when members have one, and ``duration_s`` only when all members agree on it, as
    whoever asks takes the absence for an answer.
    """

    def __init__(
        self, members: Sequence[Workload], weights: Sequence[float] | None = None, name: str = "mixture"
    ) -> None:
        """Take the members.

        Args:
            members: what to draw from; all open or all closed.
            weights: (n,) 0 or more, relative frequency of each; None: all alike.
            name: of the mixture; profiles carry the labels of their members.

        Raises:
            InputError: no member, members of both kinds or of different parts, or bad weights.
        """
        if not members:
            raise InputError("a mixture needs at least one workload to draw from.")
        self.name = name
        self.members: tuple[Workload, ...] = tuple(members)
        self.weights = _shares(weights, len(self.members))
        """(n,) share of the episodes of each member; they sum to 1."""
        self._bounds = list(accumulate(self.weights))
        self.kind: LoadKind = self._common_kind()
        self.step_s = min(member.step_s for member in self.members)
        """Shortest step of a member; profiles have the step of their own member."""
        self.max_duration_s = min(member.max_duration_s for member in self.members)
        lengths_s = {getattr(member, "duration_s", None) for member in self.members}
        length_s = lengths_s.pop() if len(lengths_s) == 1 else None
        if length_s is not None:
            self.duration_s: float = length_s
        parts: set[str] = {getattr(member, "part", None) for member in self.members} - {None}  # type: ignore[assignment]
        if len(parts) > 1:
            raise InputError(
                f"the members of a mixture are of the parts {', '.join(sorted(parts))}; all must be of one, "
                "so that parts stay apart."
            )
        if parts:
            self.part: str = parts.pop()

    def _common_kind(self) -> LoadKind:
        kinds = {member.kind for member in self.members}
        if len(kinds) > 1:
            listed = ", ".join(f"{member.name} is {member.kind}" for member in self.members)
            raise InputError(
                f"the members of a mixture must all be open (requests/s) or all closed (users); {listed}."
            )
        return kinds.pop()

    def sample(self, rng: np.random.Generator, duration_s: float) -> LoadProfile:
        """Return the load of one episode of one member; see ``Workload.sample``."""
        if not duration_s <= self.max_duration_s * (1.0 + 1e-9):  # whichever member it would have been
            raise InputError(
                f"workload {self.name!r} lasts at most {self.max_duration_s:g} s, as its shortest member; "
                f"the episode asks for {duration_s:g} s. Shorten the episode or leave that member out."
            )
        index = bisect.bisect_right(self._bounds, rng.random() * self._bounds[-1])
        return self.members[min(index, len(self.members) - 1)].sample(rng, duration_s)


def _shares(weights: Sequence[float] | None, count: int) -> tuple[float, ...]:
    if weights is None:
        return (1.0 / count,) * count
    given: object = weights
    if isinstance(given, str) or not isinstance(given, Sequence | np.ndarray) or len(given) != count:
        raise InputError(f"weights is {weights!r}; it must be {count} numbers, one for each workload in of.")
    numbers = [require_number("a weight of the mixture", weight, low=0.0) for weight in weights]
    total = math.fsum(numbers)
    if not 0.0 < total < math.inf:
        raise InputError(f"weights is {weights!r}; at least one must be above 0.")
    return tuple(number / total for number in numbers)
