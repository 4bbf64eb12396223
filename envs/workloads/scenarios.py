"""The paper's three load scenarios, as closed workloads of concurrent users.

The paper gives users and the request rates they caused: 200 to 1000 users with a peak of 600 requests/s,
and 500 to 1500 users with a peak of 1000 requests/s. By N = X (R + Z) a user therefore sends one request
every 1.67 s and every 1.5 s, response time R and think time Z together (``USER_CYCLE_S``). The think time
belongs to the simulated cluster; here only users are counted.

What the paper does not give is an assumption, and each scenario says which: lead-in, length and number of
the steps, speed of the jumps, and recovery. All three start and end at their base level, and have enough
of it on both sides for the events to move by ``offset_s``.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from podgym.envs.workloads.profile import LoadKind, LoadProfile, require_number, sample_count
from podgym.errors import InputError

USER_CYCLE_S = 1.5
"""Response plus think time of one user, seconds: 1500 users for 1000 requests/s in the paper's burst."""

OFFSET_S = 60.0
"""Default of ``ScenarioWorkload.offset_s``: one minute, four control intervals."""

USER_VARIATION = 0.02
"""Default of ``ScenarioWorkload.user_variation``: two per cent."""

STEP_S = 5.0
"""Sample step of the scenarios: the burst's jump of 10 s needs at least two samples."""


@dataclass(frozen=True, slots=True)
class ScenarioWorkload:
    """A fixed course of concurrent users, slightly moved and scaled from episode to episode.

    The variation keeps a policy from learning the clock instead of the load. With both variations 0 every
    episode is the scenario itself.

    Raises:
        InputError: corners that do not make a course, or a variation that is negative or so large that
            events leave the scenario.
    """

    name: str
    """Name of the scenario."""
    knot_times_s: tuple[float, ...]
    """(k,) s, ascending: corners of the course; constant before the first and after the last."""
    knot_users: tuple[float, ...]
    """(k,) concurrent users at the corners, linear in between."""
    duration_s: float
    """Length of the whole scenario, seconds; an episode may be shorter and then shows its beginning."""
    offset_s: float = OFFSET_S
    """All events of an episode move by one common offset, uniform within plus or minus this, in whole
    sample steps; our assumption, seconds."""
    user_variation: float = USER_VARIATION
    """All users of an episode are scaled by one common factor, uniform within 1 plus or minus this; our
    assumption."""
    step_s: float = STEP_S
    """Seconds between two samples."""

    def __post_init__(self) -> None:
        if len(self.knot_times_s) != len(self.knot_users) or len(self.knot_users) < 3:
            raise InputError(f"scenario {self.name!r} needs 3 or more corners, each with a time and users.")
        if any(later <= earlier for earlier, later in pairwise(self.knot_times_s)):
            raise InputError(f"the corners of scenario {self.name!r} must ascend in time.")
        require_number("offset_s", self.offset_s, low=0.0)
        require_number("user_variation", self.user_variation, low=0.0)
        if self.user_variation >= 1.0:
            raise InputError(f"user_variation is {self.user_variation:g}; it must be below 1.")
        if self.offset_s > self.max_offset_s:
            raise InputError(
                f"offset_s is {self.offset_s:g}; scenario {self.name!r} has room for {self.max_offset_s:g} s."
            )

    @property
    def max_offset_s(self) -> float:
        """How far the events can move and still lie inside the scenario, seconds."""
        return min(self.knot_times_s[1], self.duration_s - self.knot_times_s[-2])

    @property
    def kind(self) -> LoadKind:
        """The load is a number of users."""
        return "closed"

    @property
    def max_duration_s(self) -> float:
        """Longest episode: the whole scenario."""
        return self.duration_s

    def sample(self, rng: np.random.Generator, duration_s: float) -> LoadProfile:
        """Return the users of one episode; see ``Workload.sample``."""
        count = sample_count(duration_s, self.step_s, max_duration_s=self.max_duration_s, name=self.name)
        most_steps = math.floor(self.offset_s / self.step_s)
        # Whole steps keep every jump as steep as the scenario says.
        offset_s = self.step_s * int(rng.integers(-most_steps, most_steps, endpoint=True))
        factor = float(rng.uniform(1.0 - self.user_variation, 1.0 + self.user_variation))
        times_s = np.arange(count) * self.step_s - offset_s  # (n,) s
        users = factor * np.interp(times_s, self.knot_times_s, self.knot_users)  # (n,) users
        label = f"{self.name}, events {offset_s:+.0f} s, users x{factor:.3f}"
        return LoadProfile(users, self.step_s, self.kind, 0.0, label)


def high_load(*, offset_s: float = OFFSET_S, user_variation: float = USER_VARIATION) -> ScenarioWorkload:
    """Return the paper's higher load: a climb in steps from 200 to 1000 users, a held peak, a descent.

    From the paper: 200 to 1000 concurrent users, a stepwise climb, the peak (600 requests/s) held for 10
    minutes, then a fall. Assumed: five equal steps of 160 users, one every 2 minutes, on both flanks, each
    taken within 5 s; a lead-in and an end of 2 minutes at 200 users; 30 minutes in all.

    Args:
        offset_s: see ``ScenarioWorkload.offset_s``.
        user_variation: see ``ScenarioWorkload.user_variation``.
    """
    climb = [(level, 115.0) for level in (360.0, 520.0, 680.0, 840.0)]
    plateaus = [(200.0, 120.0), *climb, (1000.0, 600.0), *reversed(climb), (200.0, 110.0)]
    times_s, users = _plateaus(plateaus, ramp_s=5.0)
    return ScenarioWorkload("high_load", times_s, users, 1800.0, offset_s, user_variation)


def burst(*, offset_s: float = OFFSET_S, user_variation: float = USER_VARIATION) -> ScenarioWorkload:
    """Return the paper's burst: 500 users, suddenly 1500 for 3 minutes, and 500 again.

    From the paper: 500 to 1500 concurrent users, the request rate jumps to 1000 requests/s within seconds,
    stays for 3 minutes and returns to normal. Assumed: jump and return take 10 s each; 5 minutes of lead-in
    and 6 min 40 s of recovery at 500 users; 15 minutes in all.

    Args:
        offset_s: see ``ScenarioWorkload.offset_s``.
        user_variation: see ``ScenarioWorkload.user_variation``.
    """
    times_s, users = _plateaus([(500.0, 300.0), (1500.0, 180.0), (500.0, 400.0)], ramp_s=10.0)
    return ScenarioWorkload("burst", times_s, users, 900.0, offset_s, user_variation)


def low_load(*, offset_s: float = OFFSET_S, user_variation: float = USER_VARIATION) -> ScenarioWorkload:
    """Return the paper's lower load: a slow rise and fall between 50 and 200 requests/s.

    From the paper: 50 to 200 requests/s for 20 minutes. Assumed: the shape, one period of a raised cosine
    over 18 minutes with a minute of base level on either side, and the number of users, 75 to 300, by the
    same 1.5 s per request and user as in the other scenarios (``USER_CYCLE_S``).

    Args:
        offset_s: see ``ScenarioWorkload.offset_s``.
        user_variation: see ``ScenarioWorkload.user_variation``.
    """
    low_users, high_users = 50.0 * USER_CYCLE_S, 200.0 * USER_CYCLE_S
    wave_s = 1080.0
    wave_times_s = np.arange(0.0, wave_s + 1.0, 15.0)  # (73,) s
    wave = 0.5 * (1.0 - np.cos(2.0 * np.pi * wave_times_s / wave_s))  # (73,) 0..1
    users = low_users + (high_users - low_users) * wave  # (73,) users
    knot_times_s = (0.0, *(60.0 + wave_times_s).tolist(), 1200.0)
    knot_users = (low_users, *users.tolist(), low_users)
    return ScenarioWorkload("low_load", knot_times_s, knot_users, 1200.0, offset_s, user_variation)


def _plateaus(
    plateaus: list[tuple[float, float]], *, ramp_s: float
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return times (s) and users of the corners of plateaus (users, length in s) joined by ramps."""
    times_s: list[float] = []
    users: list[float] = []
    time_s = 0.0
    for level, length_s in plateaus:
        times_s += [time_s, time_s + length_s]
        users += [level, level]
        time_s += length_s + ramp_s
    return tuple(times_s), tuple(users)
