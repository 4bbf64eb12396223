"""The search: screen, promote, choose, and again where the best value sits at the edge of its range."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from podgym.baselines.search_spaces import Parameter
from podgym.envs.splits import TuningPart, tuning_seeds
from podgym.errors import InputError
from podgym.eval.tuning.episodes import Episode, Objective, Outcome, cost_of, objective_value
from podgym.eval.tuning.evaluators import Evaluator
from podgym.eval.tuning.ledger import Ledger, Line
from podgym.eval.tuning.proposers import GenerationProposer, Method, Options, Proposer, canonical
from podgym.eval.tuning.schedule import Schedule, affordable_episodes, first_schedule, further_schedule
from podgym.eval.tuning.spaces import Edge, edges, widened

MOST_WIDENINGS = 2
"""Further searches at most; they share the further budget."""
_MOST_IDLE_BATCHES = 5  # proposals in a row that bring nothing new: the space is exhausted


@dataclass(frozen=True, slots=True)
class Problem:
    """What is to be tuned, for how much."""

    method: Method
    """What proposes candidates."""
    objective: Objective
    """What is to be small or large."""
    episode_steps: int
    """Environment steps of an episode."""
    budget_steps: int
    """Environment steps of the first search, choosing included."""
    further_budget_steps: int
    """Environment steps of all further searches after a range was widened."""
    seed: int
    """Of everything random in the search."""
    default_options: Mapping[str, Any]
    """Value of every tuned option when it is not given."""


@dataclass(slots=True)
class Candidate:
    """Options and what they came to."""

    number: int
    """Candidate 0 is the default options."""
    options: Options
    values: dict[int, float] = field(default_factory=dict)
    """Objective by seed; the seeds of train and dev differ."""
    refusal: str = ""
    """Why it could not be run; empty: it could."""
    steps: int = 0
    """Environment steps that it cost."""

    def mean(self, seeds: Sequence[int]) -> float:
        """Return the mean objective over episodes; nan unless it was run on all of them, one or more."""
        if self.refusal or not seeds or any(seed not in self.values for seed in seeds):
            return math.nan
        return float(np.mean([self.values[seed] for seed in seeds]))


@dataclass(frozen=True, slots=True)
class Round:
    """One search: its race, its ranges and what came of it."""

    schedule: Schedule
    """How many candidates on how many episodes."""
    space: tuple[Parameter, ...]
    """What was searched."""
    spent_steps: int
    """Environment steps that it cost."""
    winner: int
    """Number of the best candidate so far."""
    edges: tuple[Edge, ...]
    """Where the winner sits at the edge of a range."""


@dataclass(frozen=True, slots=True)
class Found:
    """All that a search found."""

    candidates: tuple[Candidate, ...]
    """By number."""
    rounds: tuple[Round, ...]
    """The first search and those in wider ranges."""
    train_seeds: tuple[int, ...]
    """Seeds of the training episodes that were searched on."""
    promotion_seeds: tuple[int, ...]
    """Those that every promoted candidate was run on."""
    dev_seeds: tuple[int, ...]
    """Seeds that finalists were run on."""

    @property
    def default(self) -> Candidate:
        """The default options."""
        return self.candidates[0]

    @property
    def best(self) -> Candidate:
        """The candidate with the best mean objective over the dev episodes."""
        return self.candidates[self.rounds[-1].winner]


class Search:
    """Spends a budget on one problem."""

    def __init__(
        self,
        problem: Problem,
        evaluate: Evaluator,
        ledger: Ledger,
        on_spent: Callable[[int], None] = lambda steps: None,
    ) -> None:
        """Get ready.

        Args:
            problem: what to tune.
            evaluate: runs episodes.
            ledger: where every evaluation is written, or taken from.
            on_spent: receives the environment steps spent so far.

        Raises:
            InputError: a budget too small for one candidate on one episode.
        """
        self._problem = problem
        self._evaluate_episodes = evaluate
        self._ledger = ledger
        self._on_spent = on_spent
        episodes = affordable_episodes(problem.budget_steps, problem.episode_steps)
        self._first = problem.method.schedule or first_schedule(episodes, problem.method.wanted_candidates)
        generations, promotion = self._first.generations, self._first.promotion_episodes
        screen = max(generations, 1) * self._first.screen_episodes
        self._screen_seeds = tuning_seeds("train", 0, screen)
        self._promotion_seeds = tuning_seeds("train", screen, promotion)
        self._compared_seeds = self._promotion_seeds  # by which candidates are ranked for the choice
        if not generations:
            self._compared_seeds = self._screen_seeds + self._promotion_seeds
        self._dev_seeds = tuning_seeds("dev", 0, self._first.dev_episodes)
        self._candidates: list[Candidate] = []
        self._known: dict[str, Candidate] = {}
        self._round = 0
        self.spent_steps = 0

    def run(self) -> Found:
        """Search, and search again in wider ranges while the best value sits at an edge.

        Raises:
            InputError: no candidate could be run, or the ledger is not of this search.
        """
        space = self._problem.method.space
        rounds = [self._run_round(self._first, space)]
        further_steps = self._problem.further_budget_steps
        for left in range(MOST_WIDENINGS, 0, -1):
            wider = [edge for edge in rounds[-1].edges if edge.widens]
            schedule = further_schedule(further_steps // left // self._problem.episode_steps, self._first)
            if not wider or schedule is None:
                break
            self._round += 1
            space = widened(space, wider)
            remark = {"kind": "widening", "round": self._round, "episodes": schedule.episodes}
            self._ledger.note({**remark, "edges": [asdict(edge) for edge in wider]})
            rounds.append(self._run_round(schedule, space))
            further_steps -= rounds[-1].spent_steps
        train_seeds = self._screen_seeds + self._promotion_seeds
        return Found(
            tuple(self._candidates), tuple(rounds), train_seeds, self._compared_seeds, self._dev_seeds
        )

    def _run_round(self, schedule: Schedule, space: tuple[Parameter, ...]) -> Round:
        spent_before = self.spent_steps
        if not self._candidates:
            self._candidates.append(Candidate(0, {}))
        if schedule.generations:
            self._evolve(schedule, space)
        elif schedule.candidates:
            self._screen(schedule, space)
            self._promote(self._ranked(self._candidates, self._screen_seeds)[: schedule.promoted])
        winner = self._choose(schedule)
        at_edge = edges(space, {**self._problem.default_options, **winner.options})
        return Round(schedule, space, self.spent_steps - spent_before, winner.number, at_edge)

    def _screen(self, schedule: Schedule, space: tuple[Parameter, ...]) -> None:
        """Run proposed candidates on the first training episodes, until there are enough or no new ones."""
        screened = 0
        if self._round == 0:
            self._evaluate("screen", self._candidates[:1], "train", self._screen_seeds)
            screened = 1
        proposer = self._proposer(space)
        idle = 0
        while screened < schedule.candidates and idle < _MOST_IDLE_BATCHES:
            proposals = proposer.ask(min(proposer.batch_size, schedule.candidates - screened))
            new = [self._enter(options) for options in proposals if canonical(options) not in self._known]
            self._evaluate("screen", new, "train", self._screen_seeds)
            charged = sum(candidate.steps > 0 for candidate in new)
            screened += charged
            idle = 0 if charged else idle + 1
            told = [self._known[canonical(options)] for options in proposals]
            proposer.tell([self._cost(candidate, self._screen_seeds) for candidate in told])

    def _evolve(self, schedule: Schedule, space: tuple[Parameter, ...]) -> None:
        """Run generation after generation, each on training episodes of its own, and promote the outcome."""
        proposer = self._proposer(space)
        if not isinstance(proposer, GenerationProposer):
            raise TypeError(f"{type(proposer).__name__} has no generations.")
        for generation in range(schedule.generations):
            first = generation * schedule.screen_episodes
            seeds = self._screen_seeds[first : first + schedule.screen_episodes]
            drawn = [self._entered(options) for options in proposer.ask(proposer.batch_size)]
            self._evaluate("screen", _distinct(drawn), "train", seeds)
            proposer.tell([self._cost(candidate, seeds) for candidate in drawn])
        self._promote(_distinct(map(self._entered, proposer.guesses(schedule.promoted))))

    def _entered(self, options: Options) -> Candidate:
        return self._known.get(canonical(options)) or self._enter(options)

    def _proposer(self, space: tuple[Parameter, ...]) -> Proposer:
        """Return what proposes in this round; it knows all candidates of before."""
        known = [
            (
                {**self._problem.default_options, **candidate.options},
                self._cost(candidate, self._screen_seeds),
            )
            for candidate in self._candidates
        ]
        seed = int(np.random.SeedSequence([self._problem.seed, self._round]).generate_state(1)[0])
        return self._problem.method.make(space, known, seed)

    def _enter(self, options: Options) -> Candidate:
        candidate = Candidate(len(self._candidates), options)
        self._candidates.append(candidate)
        self._known[canonical(options)] = candidate
        return candidate

    def _promote(self, best: Sequence[Candidate]) -> None:
        """Run the best on further training episodes."""
        self._evaluate("promote", best, "train", self._promotion_seeds)

    def _choose(self, schedule: Schedule) -> Candidate:
        """Run the best on the dev episodes; the winner is the best of all that ever were."""
        trained = self._ranked(self._candidates[1:], self._compared_seeds)
        default = self._candidates[:1] if self._round == 0 else []
        finalists = default + trained[: schedule.finalists - len(default)]
        self._evaluate("choose", finalists, "dev", self._dev_seeds)
        ranked = self._ranked(self._candidates, self._dev_seeds)
        if not ranked:
            raise InputError(f"no candidate could be run; the default options: {self._candidates[0].refusal}")
        return ranked[0]

    def _ranked(self, candidates: Sequence[Candidate], seeds: tuple[int, ...]) -> list[Candidate]:
        """Return the candidates that were run on all of these episodes, best first."""
        costs = {candidate.number: self._cost(candidate, seeds) for candidate in candidates}
        return sorted(
            (candidate for candidate in candidates if costs[candidate.number] < math.inf),
            key=lambda candidate: (costs[candidate.number], candidate.number),
        )

    def _cost(self, candidate: Candidate, seeds: tuple[int, ...]) -> float:
        mean = candidate.mean(seeds)
        return math.inf if math.isnan(mean) else cost_of(self._problem.objective, mean)

    def _evaluate(
        self, stage: str, candidates: Sequence[Candidate], part: TuningPart, seeds: tuple[int, ...]
    ) -> None:
        """Run candidates on the episodes of a part, if they were not; recorded ones are not run again."""
        due = [each for each in candidates if not each.refusal and any(s not in each.values for s in seeds)]
        heads = [self._head(stage, candidate, part, seeds) for candidate in due]
        lines = [self._ledger.recorded(head) for head in heads]
        to_run = [candidate for candidate, line in zip(due, lines, strict=True) if line is None]
        episodes = [Episode(candidate.options, part, seed) for candidate in to_run for seed in seeds]
        outcomes = iter(self._evaluate_episodes(episodes)) if episodes else iter(())
        for candidate, head, recorded in zip(due, heads, lines, strict=True):
            line = recorded
            if line is None:
                line = self._ledger.add(self._line(head, [next(outcomes) for _ in seeds]))
            self._take(candidate, line)

    def _head(
        self, stage: str, candidate: Candidate, part: TuningPart, seeds: tuple[int, ...]
    ) -> dict[str, Any]:
        return {
            "kind": "evaluation",
            "round": self._round,
            "stage": stage,
            "candidate": candidate.number,
            "options": candidate.options,
            "part": part,
            "seeds": seeds,
        }

    def _line(self, head: Mapping[str, Any], outcomes: Sequence[Outcome]) -> dict[str, Any]:
        """Return the line of an evaluation: what it cost and what it came to."""
        steps = sum(outcome.steps for outcome in outcomes)
        refusal = next((outcome.refusal for outcome in outcomes if outcome.refusal), "")
        values = [objective_value(self._problem.objective, outcome.reward) for outcome in outcomes]
        return {
            **head,
            "steps": steps,
            "spent_steps": self.spent_steps + steps,
            "mean": None if refusal else float(np.mean(values)),
            "values": None if refusal else values,
            "refusal": refusal,
        }

    def _take(self, candidate: Candidate, line: Line) -> None:
        self.spent_steps += line["steps"]
        candidate.steps += line["steps"]
        candidate.refusal = line["refusal"]
        if not candidate.refusal:
            candidate.values.update(zip(line["seeds"], line["values"], strict=True))
        self._on_spent(self.spent_steps)


def _distinct(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Return each candidate once, in order."""
    return list({candidate.number: candidate for candidate in candidates}.values())
