"""What a budget buys: how many candidates are run on how many episodes.

A race in three stages, in which all candidates of a stage face the same episodes. *Screen*: every candidate
on a few training episodes. *Promote*: the best of them on more training episodes. *Choose*: the best of
those, and the default options, on dev episodes; the winner is the result. Choosing and promoting may cost a
fifth of the budget each, and screening gets all the rest.

A method that moves from generation to generation makes more of a large budget: each generation is screened on
training episodes of its own, so that no luck with one of them lasts, and what it arrived at is promoted.
"""

from dataclasses import dataclass

from podgym.envs.splits import TRAIN_SEEDS
from podgym.errors import InputError

_SHARE = 0.2  # of the budget, for promoting and for choosing
_MOST_SCREEN_EPISODES = 16
_MOST_PROMOTED = 16
_MOST_PROMOTION_EPISODES = 32
_MOST_FINALISTS = 5
_MOST_DEV_EPISODES = 64
_LEAST_TO_PROMOTE = 20  # episodes; with fewer, those that were screened best are chosen from
_LEAST_TO_SEARCH = 4  # episodes: the default and one more candidate, screened and chosen
_LEAST_GENERATIONS = 50  # arbitrary; smaller budgets keep the race on common episodes


@dataclass(frozen=True, slots=True)
class Schedule:
    """One race, in numbers of candidates and episodes."""

    candidates: int
    """Candidates that are screened, in the first race with the default options among them."""
    screen_episodes: int
    """Training episodes of each."""
    promoted: int
    """Candidates that are promoted."""
    promotion_episodes: int
    """Further training episodes of each."""
    finalists: int
    """Candidates that are chosen from, in the first race with the default options among them."""
    dev_episodes: int
    """Dev episodes of each."""
    generations: int = 0
    """Generations that the candidates come in, each screened on episodes of its own; 0: all are screened on
    the same."""

    @property
    def episodes(self) -> int:
        """Episodes of the whole race, at most."""
        return (
            self.candidates * self.screen_episodes
            + self.promoted * self.promotion_episodes
            + self.finalists * self.dev_episodes
        )


def affordable_episodes(budget_steps: int, episode_steps: int) -> int:
    """Return how many episodes a budget pays for.

    Args:
        budget_steps: environment steps (control intervals).
        episode_steps: length of an episode, in steps.

    Raises:
        InputError: not a single one.
    """
    if budget_steps < episode_steps:
        raise InputError(
            f"a budget of {budget_steps} steps does not pay for one candidate on one episode; the least is "
            f"{episode_steps} steps, and a search needs {_LEAST_TO_SEARCH * episode_steps} or more."
        )
    return budget_steps // episode_steps


def first_schedule(episodes: int, wanted_candidates: int) -> Schedule:
    """Return the race for a number of episodes.

    Args:
        episodes: what the budget pays for, 1 or more. Below 4 only the default options are run, on dev.
        wanted_candidates: how many candidates the method can use; what is left over makes each candidate's
            screening longer and so less noisy.
    """
    if episodes < _LEAST_TO_SEARCH:
        return Schedule(0, 0, 0, 0, 1, episodes)
    finalists = min(2 + episodes // 20, _MOST_FINALISTS)
    dev_episodes = _between(1, int(_SHARE * episodes / finalists), _MOST_DEV_EPISODES)
    for_search = episodes - finalists * dev_episodes
    wanted_screen = round((1.0 - 2.0 * _SHARE) * episodes / wanted_candidates)
    screen_episodes = _between(1, min(wanted_screen, for_search // 10), _MOST_SCREEN_EPISODES)
    promoted = promotion_episodes = 0
    if episodes >= _LEAST_TO_PROMOTE:
        promoted = _between(finalists - 1, for_search // screen_episodes // 8, _MOST_PROMOTED)
        promotion_episodes = min(int(_SHARE * episodes / promoted), _MOST_PROMOTION_EPISODES)
    candidates = (for_search - promoted * promotion_episodes) // screen_episodes
    return Schedule(candidates, screen_episodes, promoted, promotion_episodes, finalists, dev_episodes)


def generation_schedule(episodes: int, population: int, screen_episodes: int) -> Schedule | None:
    """Return the race of a method that moves from generation to generation.

    Args:
        episodes: what the budget pays for.
        population: candidates of a generation.
        screen_episodes: training episodes of each candidate, the same for all of a generation.

    Returns:
        The race; None: too few episodes for generations of their own.
    """
    compared = _MOST_PROMOTED * _MOST_PROMOTION_EPISODES + _MOST_FINALISTS * _MOST_DEV_EPISODES
    most = (len(TRAIN_SEEDS) - _MOST_PROMOTION_EPISODES) // screen_episodes  # each has seeds of its own
    generations = min((episodes - compared) // (population * screen_episodes), most)
    if generations < _LEAST_GENERATIONS:
        return None
    return Schedule(
        generations * population,
        screen_episodes,
        _MOST_PROMOTED,
        _MOST_PROMOTION_EPISODES,
        _MOST_FINALISTS,
        _MOST_DEV_EPISODES,
        generations,
    )


def further_schedule(episodes: int, first: Schedule) -> Schedule | None:
    """Return the race of a further search, whose candidates face the episodes of the first.

    Args:
        episodes: what the further budget pays for.
        first: the first race.

    Returns:
        The race, in which candidates of before take part without cost; None: too few episodes for one.
    """
    if first.candidates == 0:
        return None
    finalists = min(int(_SHARE * episodes / first.dev_episodes), first.finalists - 1)
    finalists = max(finalists, 1)
    promoted = 0
    if first.promoted:
        promoted = min(int(_SHARE * episodes / first.promotion_episodes), first.promoted)
    paid = finalists * first.dev_episodes + promoted * first.promotion_episodes
    candidates = (episodes - paid) // first.screen_episodes
    if candidates < 1:
        return None
    return Schedule(
        candidates, first.screen_episodes, promoted, first.promotion_episodes, finalists, first.dev_episodes
    )


def _between(low: int, value: int, high: int) -> int:
    return min(max(value, low), high)
