"""The rule in a batch is the rule alone, to the last bit."""

import numpy as np
import pytest
from gymnasium.utils import seeding

from podgym.baselines.rule import NUM_WEIGHTS, NonlinearRuleController, _signals
from podgym.baselines.rule_arithmetic import SIGNALS
from podgym.baselines.rule_batch import BatchedRule
from podgym.envs.config import override
from podgym.envs.core import AutoscaleCore
from podgym.envs.env import AutoscaleEnv
from podgym.envs.forecasts import TrueRates
from podgym.envs.make import scenario_config
from podgym.envs.outlook import Outlook
from podgym.errors import InputError

FAULTY = {
    "cluster.monitoring": {"sample_loss_probability": 0.3, "scrape_delay_s": 20.0},
    "cluster.faults": {"node_failures_per_hour": 2.0, "node_failure_duration_s": 200.0},
    "randomisation": {"cpu_demand": [0.5, 2.0], "scrape_delay": [1.0, 3.0], "start_up": [0.5, 4.0]},
    "reward.preset": "paper",
}
CASES = {
    "burst": ("family_burst", {}, None),
    "trace": ("trace", {"observation.forecast": "noisy_oracle"}, None),
    "closed": ("high_load", {"observation.forecast": "none", "action.first_action": "plan"}, None),
    "learned": ("family_flash", {}, TrueRates()),
    "faulty": ("family_variable", FAULTY, None),
    "relative": ("family_burst", {"reward.relative_to_plan": True, "action.quotas": False}, None),
    "boutique": ("boutique", {"cluster.monitoring.sample_loss_probability": 0.3, "episode_s": 1200.0}, None),
}


def rules(count, seed=0, **options):
    rng = np.random.default_rng(seed)
    scales = (0.0, 0.2, 1.0)
    return [
        NonlinearRuleController(weights=scales[each % 3] * rng.standard_normal(NUM_WEIGHTS), **options)
        for each in range(count)
    ]


def started(config, seeds, forecaster=None):
    core = AutoscaleCore(config, len(seeds), forecaster=forecaster)
    for index, seed in enumerate(seeds):
        core.reset(index, seeding.np_random(seed)[0])
    return core


@pytest.mark.parametrize("case", CASES)
def test_rewards_of_whole_episodes_are_those_of_one_cluster_alone(case):
    scenario, changes, forecaster = CASES[case]
    config = override(scenario_config(scenario), changes)
    seeds = [3, 3, 4, 5, 6, 7]
    deciding = rules(len(seeds))
    core = started(config, seeds, forecaster)
    batch = BatchedRule(deciding, core)
    rewards = []
    for _ in range(core.episode_steps):
        batch.decide()
        core.advance()
        rewards.append(core.rewards.copy())
    env = AutoscaleEnv(config, forecaster=forecaster)
    for index, seed in enumerate(seeds):
        env.reset(seed=seed)
        deciding[index].reset()
        own = [
            env.step_decisions(deciding[index].decide(env.observe()))[1] for _ in range(core.episode_steps)
        ]
        assert own == [row[index] for row in rewards]
    assert len(np.unique(np.sum(rewards, axis=0))) >= 5  # weights and seeds matter


@pytest.mark.parametrize("scenario", ["family_burst", "boutique"])
def test_it_measures_what_an_observation_shows(scenario):
    """Quotas change under way, so pods differ, and some come, go, fail or are not scraped yet."""
    config = override(scenario_config(scenario), {**FAULTY, "episode_s": 1800.0})
    core = started(config, range(4))
    deciding = rules(4, max_sample_age_s=60.0)
    batch = BatchedRule(deciding, core)
    outlook = Outlook(core.layout, config.cluster.services, planned=False)
    rng = np.random.default_rng(1)
    pods, unlike, missing = 0, 0, 0
    for step in range(core.episode_steps):
        world = core.clusters.world
        observations = [
            core.clusters.observe(b, outlook.ahead(world.services[b]["seen_rate_rps"], core.observation[b],
                                                   core.plan[b]))
            for b in range(4)
        ]  # fmt: skip
        batch.decide()
        for b, observation in enumerate(observations):
            expected = [each.replicas for each in deciding[b].decide(observation)]
            changed = [None if each == -1 else each for each in batch._decided[b].tolist()]
            assert changed == expected
            for s, service in enumerate(observation.services):
                own = np.array(_signals(service, observation.time_s, 60.0), dtype=SIGNALS)
                if not abs(observation.time_s - own["sample_time_s"]) <= 60.0:
                    missing += 1  # nothing is decided: it does not matter what the pods show
                    continue
                assert batch.signals[b, s].tobytes() == own.tobytes()
                pods += int(own["serving_pods"])
                alike = own["serving_pods"] * service.quota.cpu_limit_cores
                unlike += bool(abs(own["serving_limit_cores"] - alike) > 0.01)
        if step % 20 == 10:
            core.quotas[..., :2] = rng.choice([0.25, 0.4, 0.75], size=(*core.wanted.shape, 1))
        core.advance()
    assert pods > 1000
    assert unlike > 10
    assert missing > 10


def test_options_are_those_of_each_rule():
    """Two clusters that differ in nothing but the options of their rules."""
    config = scenario_config("family_burst")
    options = [{}, {"target_utilisation": 0.4}, {"max_sample_age_s": 3.0}]
    core = started(config, [1, 1, 1])
    batch = BatchedRule([NonlinearRuleController(**each) for each in options], core)
    for _ in range(60):
        batch.decide()
        core.advance()
    usual, more, blind = core.wanted[:, 0].tolist()
    assert more > 1.4 * usual
    assert blind == config.cluster.services[0].initial_replicas != usual


def test_what_is_wanted_changes_in_the_core_alone():
    core = started(scenario_config("family_burst"), [0, 1])
    batch = BatchedRule(rules(2), core)
    before = core.wanted.copy()
    batch.decide()  # nothing was scraped yet
    assert np.array_equal(core.wanted, before)
    for _ in range(8):
        core.advance()
    batch.decide()
    assert not np.array_equal(core.wanted, before)
    assert np.array_equal(core.clusters.world.services["wanted"], before)


def test_one_rule_for_each_cluster():
    core = started(scenario_config("family_burst"), [0, 1])
    with pytest.raises(InputError, match="got 3 rules for 2 clusters"):
        BatchedRule(rules(3), core)
