"""What a budget buys."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podgym.errors import InputError
from podgym.eval.tuning.schedule import (
    Schedule,
    affordable_episodes,
    first_schedule,
    further_schedule,
    generation_schedule,
)

episodes = st.integers(1, 100_000)
wanted = st.sampled_from([1, 10, 100, 600])


@given(episodes, wanted)
def test_a_race_never_costs_more_than_there_is_and_leaves_little(count, wanted_candidates):
    race = first_schedule(count, wanted_candidates)
    assert race.episodes <= count
    assert count - race.episodes < max(race.screen_episodes, 1)
    assert race.finalists >= 1
    assert race.dev_episodes >= 1


@given(st.integers(4, 100_000), wanted)
def test_every_stage_has_candidates_enough_for_the_next(count, wanted_candidates):
    race = first_schedule(count, wanted_candidates)
    assert race.candidates >= 2
    assert race.screen_episodes >= 1
    assert 2 <= race.finalists <= 5
    feeds = race.promoted if race.promotion_episodes else race.candidates
    assert feeds >= race.finalists - 1
    assert race.candidates >= race.promoted
    assert bool(race.promoted) == bool(race.promotion_episodes)


@given(st.integers(100, 100_000), wanted)
def test_screening_gets_most_of_it(count, wanted_candidates):
    race = first_schedule(count, wanted_candidates)
    assert race.candidates * race.screen_episodes >= 0.55 * count


@pytest.mark.parametrize("count", [1, 2, 3])
def test_too_little_to_search_runs_the_default_options_alone(count):
    assert first_schedule(count, 100) == Schedule(0, 0, 0, 0, 1, count)


@given(episodes, episodes, wanted)
def test_a_further_race_is_on_the_same_episodes_and_within_its_own_budget(count, further, wanted_candidates):
    first = first_schedule(count, wanted_candidates)
    race = further_schedule(further, first)
    if race is None:
        return
    assert race.episodes <= further
    assert race.candidates >= 1
    for name in ("screen_episodes", "promotion_episodes", "dev_episodes"):
        assert getattr(race, name) == getattr(first, name)


def test_a_further_race_as_long_as_the_first_takes_place():
    first = first_schedule(500, 100)
    race = further_schedule(250, first)
    assert race is not None
    assert race.candidates > 0.4 * first.candidates
    assert further_schedule(0, first) is None
    assert further_schedule(1000, first_schedule(2, 100)) is None


@pytest.mark.parametrize("budget", [0, 59])
def test_the_least_budget_is_named(budget):
    with pytest.raises(
        InputError, match=rf"a budget of {budget} steps .* the least is 60 steps.* 240 or more"
    ):
        affordable_episodes(budget, 60)
    assert affordable_episodes(60, 60) == 1
    assert affordable_episodes(179, 60) == 2


# --------------------------------------------------------------------------------------- generations


@given(st.integers(1, 10**7), st.integers(2, 100), st.integers(1, 16))
def test_generations_cost_no_more_than_there_is_and_leave_less_than_one(count, population, screen_episodes):
    race = generation_schedule(count, population, screen_episodes)
    of_one = population * screen_episodes
    if race is None:
        assert count < 832 + 50 * of_one  # 16 on 32 to promote, 5 on 64 to choose
        return
    assert race.episodes <= count
    assert race.generations >= 50
    assert race.candidates == race.generations * population
    seeds_left = 100_000 - race.generations * screen_episodes - race.promotion_episodes
    assert seeds_left >= 0
    assert count - race.episodes < of_one or seeds_left < screen_episodes


def test_the_race_of_four_million_steps():
    assert generation_schedule(4_000_000 // 240, 20, 4) == Schedule(3940, 4, 16, 32, 5, 64, 197)
    assert generation_schedule(100_000 // 240, 20, 4) is None
