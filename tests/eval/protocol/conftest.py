"""A protocol of a minute-long episodes, and policies to run in it."""

import pytest
from oracles.policies import describe, random_policy

from podgym.agents.policy_file import save_policy
from podgym.eval.protocol import ControllerMethod, Protocol

BURST, FLASH = "podgym/FamilyBurst-v0", "podgym/FamilyFlash-v0"


@pytest.fixture
def make_protocol():
    """Build a tiny protocol; fields as given."""

    def make(*methods, **fields):
        chosen = {
            "name": "tiny",
            "ids": (BURST,),
            "first_seed": 210_000,
            "episodes": 3,
            "changes": {"episode_s": 60.0},
            "episodes_per_unit": 2,
            "resamples": 200,
            "methods": methods or (ControllerMethod("hpa"), ControllerMethod("hpa", "tuned")),
        }
        return Protocol(**{**chosen, **fields})

    return make


@pytest.fixture
def make_runs(tmp_path):
    """Write runs of ``podgym train``: ``LOGDIR/ID/ppo-seedS/best.policy`` with random policies."""

    def make(seeds=(0, 1), names=("FamilyBurst-v0",), algorithm="ppo", environment=BURST):
        root = tmp_path / "runs"
        for name in names:
            for seed in seeds:
                policy = random_policy(describe(environment, prior=None), seed=seed, scale=2.0)
                save_policy(policy, root / name / f"{algorithm}-seed{seed}" / "best.policy")
        return str(root)

    return make
