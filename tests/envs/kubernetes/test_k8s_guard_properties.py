"""Whatever happens, in whatever order: the guard's promises on random runs, judged by a full history.

The judge keeps every step and works each limit out anew from it, unlike the guard, which keeps what it needs.
"""

import math
from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from podgym.envs.kubernetes.guard import REASONS, GuardMemory, Limits, Signal, Verdict, guard
from podgym.envs.kubernetes.settings import SafetySettings

STATES = ("ok", "stale", "missing", "invalid", "partial")

anything = st.one_of(
    st.none(),
    st.integers(-5, 120),
    st.floats(),
    st.sampled_from([math.nan, math.inf, 1e308, -1e308, 10**400, True, "7", np.int64(9), np.uint8(3)]),
    st.integers(0, 100).map(np.int64),
    st.floats(0.0, 100.0).map(np.float32),
)
good_number = st.one_of(st.integers(0, 30), st.integers(0, 120), st.floats(0.0, 120.0))
signal_lists = st.lists(st.sampled_from(STATES), max_size=3).map(
    lambda states: tuple(Signal(f"m{i}", state) for i, state in enumerate(states))
)
good_signals = st.just((Signal("cpu", "ok"),))
safeties = st.builds(
    SafetySettings,
    tolerance=st.sampled_from([0.0, 0.0, 0.1]),
    up_factor=st.sampled_from([1.0, 1.5, 2.0, 10.0]),
    up_pods=st.sampled_from([0, 1, 4]),
    down_factor=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    rate_period_s=st.sampled_from([5.0, 15.0, 60.0]),
    down_window_s=st.sampled_from([0.0, 30.0, 60.0]),
    allow_scale_up=st.sampled_from([True, True, True, False]),
    allow_scale_down=st.sampled_from([True, True, True, False]),
)
bounds = st.tuples(st.integers(0, 5), st.integers(5, 60))
ready_counts = st.one_of(st.none(), st.integers(0, 60), st.just(math.nan))


@dataclass(frozen=True)
class Event:
    """What happens at one step."""

    proposals: tuple
    signals: tuple
    ready: object
    wait_s: float
    carried_out: bool
    foreign: int | None


def events(proposal, signals, ready, waits, foreign):
    return st.builds(
        Event,
        st.lists(proposal, max_size=3).map(tuple) if proposal is anything else st.tuples(proposal),
        signals,
        ready,
        waits,
        st.sampled_from([True, True, True, False]),
        foreign,
    )


wild = events(
    anything,
    signal_lists,
    ready_counts,
    st.one_of(
        st.floats(0.0, 40.0), st.sampled_from([-1e9, 1e9, 1e308, -1e308, math.nan, math.inf, 0.0, -3.0])
    ),
    st.one_of(st.none(), st.none(), st.integers(0, 80)),
)
tame = events(good_number, good_signals, st.just(5), st.sampled_from([5.0, 7.0, 15.0, 15.0, 20.0]), st.none())


@dataclass(frozen=True)
class Step:
    """What was there, what was wanted and what came of it, at one moment."""

    time_s: float
    before: int
    event: Event
    verdict: Verdict
    after: int


def play(script, replicas, limits):
    """Return the steps of a run."""
    memory, now_s, steps = GuardMemory(started_s=0.0), 0.0, []
    for event in script:
        moved_s = now_s + event.wait_s
        replicas = replicas if event.foreign is None else event.foreign
        verdict, memory = guard(
            event.proposals, replicas, event.ready, event.signals, limits, memory, moved_s
        )
        now_s = moved_s if math.isfinite(moved_s) else now_s
        after = verdict.replicas if verdict.change and event.carried_out else replicas
        steps.append(Step(now_s, replicas, event, verdict, after))
        replicas = after
    return steps


@given(st.lists(wild, max_size=12), st.integers(0, 80), safeties, bounds)
def test_p01_p03_p04_every_answer_is_sound_whatever_happens(script, replicas, safety, low_high):
    low, high = low_high
    for step in play(script, replicas, Limits.of(safety, low, high, interval_s=15.0)):
        verdict = step.verdict
        assert type(verdict.replicas) is int
        assert verdict.change == (verdict.replicas != step.before)
        assert set(verdict.reasons) <= set(REASONS)
        assert len(set(verdict.reasons)) == len(verdict.reasons)
        assert verdict.quotas in ("any", "up_only", "none")
        if step.before == 0 and low > 0:
            assert verdict == Verdict(0, False, "none", ("target_at_zero",))
        else:
            assert low <= verdict.replicas <= high
            assert step.before <= high or verdict.replicas == high
            assert step.before >= low or verdict.replicas == low


def usable(proposal, before):
    """Return the number that a proposal is; None: it is none."""
    if proposal is None:
        return before
    if isinstance(proposal, bool | str):
        return None
    try:
        number = float(proposal)
    except OverflowError:
        return math.inf  # a whole number, only too large for a float
    return number if math.isfinite(number) and number >= 0 else None


@given(st.lists(wild, max_size=12), st.integers(1, 60), safeties, bounds)
def test_p09_p10_p13_to_p18_p20_p25_bad_data_never_shrinks_and_none_never_changes(
    script, replicas, safety, low_high
):
    low, high = low_high
    for step in play(script, replicas, Limits.of(safety, low, high, interval_s=15.0)):
        if not max(low, 1) <= step.before <= high:
            continue
        event, verdict = step.event, step.verdict
        states = [signal.state for signal in event.signals]
        numbers = [usable(proposal, step.before) for proposal in event.proposals]
        counted = isinstance(event.ready, int)
        bad = set(states) != {"ok"} or None in numbers or not numbers or not counted
        blind = not {"ok", "stale", "partial"} & set(states)
        if bad or not safety.allow_scale_down:
            assert verdict.replicas >= step.before
            assert verdict.quotas != "any"
        if blind or not counted or all(number is None for number in numbers):
            assert verdict.replicas == step.before
            assert verdict.quotas == "none"
            assert verdict.reasons
        if not safety.allow_scale_up:
            assert verdict.replicas <= step.before
        most = max((number for number in numbers if number is not None), default=0)
        assert verdict.replicas <= max(most + 1, step.before)
        if verdict.replicas > step.before:
            assert most > step.before


faults = st.one_of(
    st.tuples(st.just("signals"), st.sampled_from(STATES[1:]).map(lambda state: Signal("other", state))),
    st.tuples(st.just("proposals"), st.sampled_from([math.nan, math.inf, -math.inf, -1, "7", True])),
    st.tuples(st.just("ready"), st.sampled_from([None, math.nan, -1, 2.5])),
)


@given(faults, st.integers(2, 60), st.floats(0.0, 0.8), safeties)
def test_p14_to_p18_p20_p25_one_fault_holds_what_would_shrink_without_it(fault, replicas, share, safety):
    limits = Limits.of(safety, 1, 60, interval_s=20.0)
    memory, now_s, wish = GuardMemory(started_s=0.0), 0.0, share * replicas
    arguments = {"proposals": (wish,), "ready": 5, "signals": (Signal("cpu", "ok"),)}
    for _ in range(6):  # what is wanted is not carried out, so that it is wanted until the end
        now_s += 20.0
        _, memory = guard([wish], replicas, 5, arguments["signals"], limits, memory, now_s)
    name, wrong = fault
    faulty = {**arguments, name: wrong if name == "ready" else (*arguments[name], wrong)}
    good, bad = (
        guard(each["proposals"], replicas, each["ready"], each["signals"], limits, memory, now_s + 20.0)[0]
        for each in (arguments, faulty)
    )
    assert good.change == (safety.allow_scale_down and math.ceil(wish) < replicas)
    assert bad.replicas == replicas
    assert bad.quotas != "any"
    assert set(bad.reasons) & {
        "held_invalid",
        "held_missing",
        "held_stale",
        "held_partial",
        "cannot_count_pods",
    }


def there(steps, time_s):
    """Return the replicas at a moment, after what was decided then; before the first step, its own."""
    found = steps[0].before
    for step in steps:
        if step.time_s <= time_s + 1e-6:
            found = step.after
    return found


@given(st.lists(tame, min_size=5, max_size=30), st.integers(5, 30), safeties)
def test_p06_p07_no_run_is_faster_than_the_rates(script, replicas, safety):
    limits = Limits.of(safety, 1, 200, interval_s=20.0)
    steps = play(script, replicas, limits)
    for number, step in enumerate(steps):
        since_s = step.time_s - safety.rate_period_s
        start = there(steps[:number], since_s) if number else step.before
        within = [each.before for each in steps[: number + 1] if each.time_s > since_s + 1e-6]
        most = max([start, *within])
        target = step.verdict.replicas
        growth = max(math.floor(start * safety.up_factor + 1e-9), start + max(safety.up_pods, 1))
        assert target <= max(growth, step.before)
        cut = min(math.ceil(most * safety.down_factor - 1e-9), most - 1)
        assert target >= min(cut, step.before)


@given(st.lists(tame, min_size=5, max_size=30), st.integers(5, 30), safeties)
def test_p08_p24_nothing_shrinks_below_the_window_nor_before_it(script, replicas, safety):
    steps = play(script, replicas, Limits.of(safety, 1, 200, interval_s=20.0))
    for number, step in enumerate(steps):
        if step.verdict.replicas >= step.before:
            continue
        assert step.time_s >= safety.down_window_s - 1e-6
        wishes = [
            min(max(math.ceil(each.event.proposals[0]), 1), 200)
            for each in steps[: number + 1]
            if each.time_s > step.time_s - safety.down_window_s or each is step
        ]
        assert step.verdict.replicas >= max(wishes)


@given(st.lists(tame, min_size=5, max_size=30), st.integers(5, 30), safeties)
def test_p05_p12_what_no_rule_forbids_is_done(script, replicas, safety):
    """The guard is no stricter than its rules: the judge allows nothing more than it does."""
    steps = play(script, replicas, Limits.of(safety, 1, 200, interval_s=20.0))
    for number, step in enumerate(steps):
        raw = step.event.proposals[0]
        wanted = min(max(math.ceil(raw), 1), 200)
        if abs(raw - step.before) <= safety.tolerance * step.before:
            assert not step.verdict.change
        elif wanted > step.before and safety.allow_scale_up:
            assert step.verdict.replicas > step.before or "up_rate" in step.verdict.reasons
            first = number == 0 or step.time_s - steps[0].time_s >= safety.rate_period_s
            if first and len({each.before for each in steps[: number + 1]}) == 1:
                assert step.verdict.replicas > step.before
        elif wanted < step.before and safety.allow_scale_down:
            longer_s = safety.down_window_s + 20.0
            recent = [each for each in steps[: number + 1] if each.time_s >= step.time_s - longer_s]
            calm = all(math.ceil(each.event.proposals[0]) <= wanted for each in recent)
            still = len({each.before for each in steps[: number + 1]}) == 1
            if calm and still and step.time_s >= longer_s:
                assert step.verdict.replicas < step.before


@given(
    st.lists(st.sampled_from([9, 8, 7]), min_size=1, max_size=6),
    st.sampled_from([-1e12, -40.0, 0.0, 1e3, 1e12]),
    st.integers(1, 5),
)
def test_p23_no_jump_empties_the_window_or_freezes_it(wishes, jump_s, at):
    limits = Limits.of(SafetySettings(), 2, 20, interval_s=15.0)
    memory, now_s = GuardMemory(started_s=0.0), 0.0
    for _ in range(6):
        now_s += 15.0
        _, memory = guard([10], 10, 5, (Signal("cpu", "ok"),), limits, memory, now_s)
    shrunk_after = 0
    for number in range(1, 10):
        now_s += jump_s if number == at else 15.0
        wanted = wishes[number % len(wishes)]
        verdict, memory = guard([wanted], 10, 5, (Signal("cpu", "ok"),), limits, memory, now_s)
        if verdict.change:
            shrunk_after = number
            break
    # Without a jump the fifth step is the first that is more than 60 s after the last wish for 10.
    assert shrunk_after >= 4
    assert shrunk_after <= 6


@given(st.lists(wild, max_size=20), st.integers(0, 80), safeties, bounds)
def test_the_guard_depends_on_nothing_but_its_arguments(script, replicas, safety, low_high):
    limits = Limits.of(safety, *low_high, interval_s=15.0)
    assert play(script, replicas, limits) == play(script, replicas, limits)
