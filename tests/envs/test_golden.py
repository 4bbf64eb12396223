"""No id changes its behaviour unnoticed."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

import podgym

HERE = Path(__file__).parent
_SPEC = importlib.util.spec_from_file_location("golden", HERE / "golden.py")
golden = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(golden)
KEPT = json.loads(golden.FILE.read_text(encoding="utf-8"))
HINT = (
    "behaviour changed: make a new version of the id, or run `python tests/envs/golden.py` before a release"
)


def test_every_id_has_a_summary():
    assert set(KEPT) == set(podgym.ENVIRONMENT_IDS), HINT


@pytest.mark.parametrize("id_", list(podgym.ENVIRONMENT_IDS))
def test_an_episode_is_as_it_was(id_):
    now, kept = golden.summary(id_), KEPT[id_]
    for name in ("observation_size", "actions", "episode_steps"):
        assert now[name] == kept[name], HINT
    assert now["sums"] == pytest.approx(kept["sums"], rel=1e-6, abs=1e-9), HINT
    assert np.array(now["observation_means"]) == pytest.approx(
        np.array(kept["observation_means"]), rel=1e-4, abs=1e-6
    ), HINT


def test_the_summary_notices_a_small_change(monkeypatch):
    from podgym.envs import make, scenarios
    from podgym.envs.config import override

    burst = scenarios.burst()
    demand_core_s = 1.001 * burst.cluster.services[0].parameters.cpu_demand_core_s
    changed = override(burst, {"cluster.services.web.parameters.cpu_demand_core_s": demand_core_s})
    monkeypatch.setattr(make.scenarios, "burst", lambda: changed)
    now = golden.summary("podgym/Burst-v0")
    assert now["sums"] != pytest.approx(KEPT["podgym/Burst-v0"]["sums"], rel=1e-6, abs=1e-9)
