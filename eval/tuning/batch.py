"""Running many episodes of a controller at once, where it can decide for a batch of clusters.

An outcome is bit by bit that of ``EpisodeRunner.run``. What an episode's seed alone decides, its load and the
forecasts of it, is made once for all candidates that face it.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from gymnasium.utils import seeding

from podgym.baselines import make_controller
from podgym.baselines.rule import NonlinearRuleController
from podgym.baselines.rule_batch import BatchedRule
from podgym.envs.config import EnvConfig
from podgym.envs.core import AutoscaleCore, open_workload
from podgym.envs.splits import TuningPart
from podgym.envs.workloads import remembered_rates
from podgym.envs.workloads.profile import LoadKind, LoadProfile, Workload
from podgym.errors import InputError
from podgym.eval.forecast_choice import open_forecaster
from podgym.eval.tuning.episodes import Episode, EpisodeRunner, Outcome

MOST_ENVS = 512
"""Episodes at a time, unless told otherwise."""
BATCHED = ("rule",)
"""Controllers that can decide for a batch."""
_MOST_LOADS = 1024  # remembered, with their forecasts


class BatchRunner:
    """Runs episodes of one controller on one environment, many at a time."""

    def __init__(self, runner: EpisodeRunner, most_envs: int = MOST_ENVS) -> None:
        """Say what to run.

        Args:
            runner: runs the same episodes one by one.
            most_envs: most episodes at a time; outcomes do not depend on it.

        Raises:
            InputError: the controller cannot decide for a batch.
        """
        if runner.controller not in BATCHED:
            raise InputError(
                f"controller {runner.controller!r} decides for one cluster at a time; those that decide for "
                f"many: {', '.join(BATCHED)}."
            )
        self._runner = runner
        self._most_envs = most_envs
        self._parts: dict[TuningPart, _Part] = {}

    def run(self, episodes: Sequence[Episode]) -> Iterator[Outcome]:
        """Run episodes and give their outcomes in order, a batch at a time."""
        batches = -(-len(episodes) // self._most_envs)
        for batch in range(batches):  # of equal size, but for one
            first, stop = (len(episodes) * each // batches for each in (batch, batch + 1))
            yield from self._run_batch(episodes[first:stop])

    def _run_batch(self, episodes: Sequence[Episode]) -> list[Outcome]:
        outcomes: list[Outcome | None] = [None] * len(episodes)
        rules: dict[int, NonlinearRuleController] = {}
        for place, episode in enumerate(episodes):
            try:
                rules[place] = _make_rule(self._runner.controller, episode)
            except InputError as error:
                outcomes[place] = Outcome(0, 0.0, str(error))
        for part in dict.fromkeys(episode.part for episode in episodes):
            places = [place for place in rules if episodes[place].part == part]
            seeds = [episodes[place].seed for place in places]
            totals = self._part(part).run([rules[place] for place in places], seeds)
            for place, outcome in zip(places, totals, strict=True):
                outcomes[place] = outcome
        return [outcome for outcome in outcomes if outcome is not None]

    def _part(self, part: TuningPart) -> "_Part":
        if part not in self._parts:
            self._parts[part] = _Part(self._runner.part_config(part), self._runner.forecaster)
        return self._parts[part]


def _make_rule(controller: str, episode: Episode) -> NonlinearRuleController:
    made = make_controller(controller, **episode.options)
    if not isinstance(made, NonlinearRuleController):
        raise TypeError(f"controller {controller!r} is {type(made).__name__}, not a nonlinear rule.")
    return made


class _Part:
    """One part of the workload: its loads and their forecasts, each made once."""

    def __init__(self, config: EnvConfig, forecaster: str | None) -> None:
        self._config = config
        self._forecaster = None if forecaster is None else open_forecaster(forecaster)
        self._forget(open_workload(config))

    def _forget(self, workload: Workload) -> None:
        """Begin with no load remembered."""
        self._workload = SharedLoads(workload)
        self._rates = None if self._forecaster is None else remembered_rates(self._forecaster)

    def run(self, rules: Sequence[NonlinearRuleController], seeds: Sequence[int]) -> list[Outcome]:
        """Run one episode of each rule, (n,) each."""
        if not rules:
            return []
        if self._workload.num_loads > _MOST_LOADS:
            self._forget(self._workload.workload)
        core = AutoscaleCore(self._config, len(rules), workload=self._workload, forecaster=self._rates)
        for index, seed in enumerate(seeds):
            core.reset(index, seeding.np_random(seed)[0])
        rule = BatchedRule(rules, core)
        totals = np.zeros(len(rules))
        for _ in range(core.episode_steps):
            rule.decide()
            core.advance()
            totals += core.rewards  # in the order of the steps, as a sum in Python would be
        return [Outcome(core.episode_steps, total) for total in totals.tolist()]


class SharedLoads:
    """Gives the very same profile to every episode that begins with the same random numbers.

    The generator is left as the first of these episodes left it, so what is drawn next is the same too. It
    has ``part`` and ``duration_s`` if the workload has.
    """

    def __init__(self, workload: Workload) -> None:
        """Remember where the loads come from."""
        self.workload = workload
        self.name = workload.name
        self.kind: LoadKind = workload.kind
        self.step_s = workload.step_s
        self.max_duration_s = workload.max_duration_s
        for attribute in ("part", "duration_s"):
            if hasattr(workload, attribute):
                setattr(self, attribute, getattr(workload, attribute))
        self._known: dict[tuple[str, float], tuple[LoadProfile, dict[str, Any]]] = {}

    @property
    def num_loads(self) -> int:
        """How many loads it remembers."""
        return len(self._known)

    def sample(self, rng: np.random.Generator, duration_s: float) -> LoadProfile:
        """Return the load of an episode, sampled at the first call with this state of ``rng``."""
        key = (repr(rng.bit_generator.state), duration_s)
        if key not in self._known:
            profile = self.workload.sample(rng, duration_s)
            self._known[key] = (profile, dict(rng.bit_generator.state))
        profile, after = self._known[key]
        rng.bit_generator.state = after
        return profile
