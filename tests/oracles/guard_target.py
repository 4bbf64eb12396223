"""A Deployment that obeys the guard, with a clock that the test moves."""

from podgym.envs.kubernetes.guard import REASONS, GuardMemory, Limits, Signal, Verdict, guard
from podgym.envs.kubernetes.settings import SafetySettings

OK = (Signal("cpu", "ok"), Signal("requests", "ok"))


def limits(low=2, high=20, interval_s=15.0, **safety):
    return Limits.of(SafetySettings(**safety), low, high, interval_s=interval_s)


class Target:
    """A Deployment that does what the guard lets pass, from a start at 100 s."""

    def __init__(self, replicas, bounds=None, *, history=True):
        self.replicas = replicas
        self.limits = bounds or limits()
        self.memory = GuardMemory(started_s=100.0)
        self.now_s = 100.0
        self.steps = 0
        if history:
            self.settle()

    def settle(self):
        """Pass enough time, at rest and with good data, that no window or rate holds anything back."""
        for _ in range(12):
            self.step(None)
        assert self.memory.has_history(self.limits.safety.down_window_s)
        self.memory = GuardMemory(
            started_s=100.0,
            last_s=self.memory.last_s,
            elapsed_s=self.memory.elapsed_s,
            good_s=self.memory.good_s,
            present=self.memory.present,
        )

    def step(self, *proposals, signals=OK, ready=5, wait_s=15.0, carried_out=True) -> Verdict:
        """Decide once, 15 s after the last time."""
        self.steps += 1
        assert self.steps < 5000, "what the test waits for never happens"
        self.now_s += wait_s
        verdict, self.memory = guard(
            proposals,
            self.replicas,
            ready,
            signals,
            self.limits,
            self.memory,
            self.now_s,
        )
        assert verdict.change == (verdict.replicas != self.replicas) or "cannot" in verdict.reasons[0]
        assert set(verdict.reasons) <= set(REASONS)
        if carried_out and verdict.change:
            self.replicas = verdict.replicas
        return verdict


def one(wanted, replicas=10, bounds=None, **given):
    return Target(replicas, bounds).step(wanted, **given)
