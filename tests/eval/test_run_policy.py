"""Policies as contenders: the same episodes and records as controllers, in any number of processes."""

import numpy as np
import pytest
from oracles.policies import describe, planning, random_policy, recurrent, short_config, zero_policy

from podgym.agents import shipped
from podgym.agents.policy_file import save_policy
from podgym.agents.running import policy_environment
from podgym.errors import InputError
from podgym.eval.contenders import Contender, agent_contenders, parse_contenders, with_tuned
from podgym.eval.measures import measure
from podgym.eval.runner import make_jobs, run_job, run_jobs, run_policy

STEPS = 40


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("PODGYM_CACHE", str(tmp_path / "cache"))


def saved(tmp_path, policy, name="p.policy"):
    return str(save_policy(policy, tmp_path / name))


def policy_jobs(file, config, **options):
    return make_jobs("podgym/Burst-v0", config, "ppo", policy=file, **options)


def test_a_policy_meets_the_load_that_controllers_meet(tmp_path):
    config = short_config()
    file = saved(tmp_path, zero_policy(planning()))
    jobs = policy_jobs(file, config, seed=3, episodes=2, label="mine")
    jobs += make_jobs("podgym/Burst-v0", config, "static", {"replicas": 7}, seed=3, episodes=2)
    records = run_jobs(jobs)
    hashes = [record.metadata.profile_sha256 for record in records]
    assert hashes[:2] == hashes[2:]
    assert hashes[0] != hashes[1]
    np.testing.assert_array_equal(records[0].load, records[2].load)
    assert set(records[0].columns) == set(records[2].columns)
    assert set(records[0].totals) == set(records[2].totals)
    assert set(measure(records[0])) == set(measure(records[2]))
    assert records[0].num_steps == STEPS
    assert records[0].metadata.versions == records[2].metadata.versions


def test_a_record_says_which_policy_it_was(tmp_path):
    file = saved(tmp_path, zero_policy(planning()))
    (job,) = policy_jobs(file, short_config(), seed=5, label="mine")
    metadata = run_job(job).metadata
    assert (metadata.controller, metadata.seed, metadata.environment) == ("mine", 5, "podgym/Burst-v0")
    options = dict(metadata.controller_options)
    assert len(options.pop("sha256")) == 64
    assert options == {"policy": "p.policy", "algorithm": "ppo", "trained_in": "podgym/Burst-v0",
                       "forecaster": "oracle"}  # fmt: skip
    (job,) = policy_jobs(file, short_config(), forecaster="naive")
    assert run_job(job).metadata.controller_options["forecaster"] == "naive"


def test_a_policy_of_zeros_does_as_well_as_the_plan_it_follows(tmp_path):
    """Against LSTM+GA itself on the same episodes; a fleet that does not move is far from both."""
    config = short_config(episode_s=900.0)
    file = saved(tmp_path, zero_policy(planning()))
    jobs = policy_jobs(file, config, episodes=3)
    jobs += make_jobs("podgym/Burst-v0", config, "lstm_ga", forecaster="oracle", episodes=3)
    jobs += make_jobs("podgym/Burst-v0", config, "static", {"replicas": 20}, episodes=3)
    costs = -np.array([measure(record)["reward"] for record in run_jobs(jobs)]).reshape(3, 3).mean(axis=1)
    assert costs[0] == pytest.approx(costs[1], rel=0.15)
    assert abs(costs[2] / costs[1] - 1.0) > 0.3


def test_the_forecaster_given_replaces_the_own(tmp_path):
    file = saved(tmp_path, zero_policy(planning()))
    rewards = [
        measure(run_job(policy_jobs(file, short_config(), forecaster=forecaster)[0]))["reward"]
        for forecaster in (None, "oracle", "naive")
    ]
    assert rewards[0] == rewards[1] != rewards[2]


def test_results_do_not_depend_on_the_number_of_processes(tmp_path):
    jobs = policy_jobs(saved(tmp_path, random_policy(recurrent(prior=None))), short_config(), episodes=2)
    apart, together = run_jobs(jobs, processes=2), run_jobs(jobs)
    for one, other in zip(apart, together, strict=True):
        assert one.metadata == other.metadata
        np.testing.assert_array_equal(one.totals["reward"], other.totals["reward"])
        np.testing.assert_array_equal(one.columns["replicas_wanted"], other.columns["replicas_wanted"])


def test_the_state_of_an_lstm_goes_from_step_to_step():
    """Against a loop of its own; with a state that is forgotten the episode is another."""
    policy = random_policy(recurrent(prior=None), scale=3.0)
    config = short_config()
    record = run_policy(policy_environment(policy, config=config), policy, 2)
    sums = []
    for remembers in (True, False):
        env = policy_environment(policy, config=config)
        observation, _ = env.reset(seed=2)
        state, rewards = None, []
        for _ in range(STEPS):
            action, after = policy.act(observation, state=state)
            state = after if remembers else None
            observation, reward, *_ = env.step(action)
            rewards.append(reward)
        sums.append(np.array(rewards).sum())
    assert record.totals["reward"].sum() == sums[0] != sums[1]


def test_masks_are_used_where_they_were_trained_with():
    policy = random_policy(describe(algorithm="maskable_ppo", prior=None), seed=1)
    plain = random_policy(describe(prior=None), seed=1)
    config = short_config()
    env = policy_environment(policy, config=config)
    observation, _ = env.reset(seed=0)
    rewards = []
    for _ in range(STEPS):
        observation, reward, *_ = env.step(policy.act(observation, masks=env.action_masks())[0])
        rewards.append(reward)
    masked = run_policy(policy_environment(policy, config=config), policy, 0)
    np.testing.assert_array_equal(masked.totals["reward"], rewards)
    assert plain.description.masked is False
    assert masked.metadata.controller == "maskable_ppo"


def test_steps_are_reported(tmp_path):
    seen = []
    jobs = policy_jobs(saved(tmp_path, zero_policy(describe())), short_config())
    run_jobs(jobs, on_step=lambda job, steps: seen.append((job, steps)))
    assert seen[-1] == (0, STEPS)


def test_a_policy_for_another_environment_is_refused(tmp_path):
    file = saved(tmp_path, zero_policy(describe()))
    with pytest.raises(InputError, match="services, position 0"):
        run_job(make_jobs("x", short_config("podgym/Boutique-v0"), "ppo", policy=file)[0])
    policy = zero_policy(describe())
    env = policy_environment(zero_policy(describe(changes={"observation": {"lags": 3}})))
    with pytest.raises(InputError, match="observation, position 24"):
        run_policy(env, policy, 0)


def test_contenders_are_called_by_their_files(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "files", lambda package: tmp_path)
    policy = zero_policy(describe())
    files = [saved(tmp_path, policy, name) for name in ("a/best.policy", "b/best.policy", "own.policy")]
    saved(tmp_path, zero_policy(recurrent()), "pretrained/Burst-v0/seed0.policy")
    agents = agent_contenders([*files, "pretrained"], "podgym/Burst-v0")
    assert [each.label for each in agents] == ["a best", "b best", "own", "ppo"]
    assert [each.controller for each in agents] == ["ppo", "ppo", "ppo", "recurrent_ppo"]
    assert agents[0] == Contender("a best", "ppo", policy=files[0])
    assert with_tuned(agents, "podgym/Burst-v0") == agents
    other = saved(tmp_path, policy, "other/own.policy")
    labels = [each.label for each in agent_contenders([files[0], files[2], other], "podgym/Burst-v0")]
    assert labels[0] == "best"
    assert labels[2] == "other own"


def test_a_policy_and_its_export_are_told_apart(tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from podgym.agents.onnx_export import export_policy_onnx

    policy = random_policy(describe(prior=None))
    files = [saved(tmp_path, policy), str(export_policy_onnx(policy, tmp_path / "p.onnx"))]
    agents = agent_contenders(files, "podgym/Burst-v0")
    assert [each.label for each in agents] == ["p.policy", "p.onnx"]
    one, other = run_jobs([policy_jobs(file, short_config())[0] for file in files])
    np.testing.assert_array_equal(one.totals["reward"], other.totals["reward"])


def test_labels_and_files_that_do_not_go_are_refused(tmp_path):
    file = saved(tmp_path, zero_policy(describe()), "hpa.policy")
    taken = [each.label for each in parse_contenders(["hpa"])]
    with pytest.raises(InputError, match="two contenders are called 'hpa'"):
        agent_contenders([file], "podgym/Burst-v0", taken)
    with pytest.raises(InputError, match="two contenders are called"):
        agent_contenders([file, file], "podgym/Burst-v0")
    with pytest.raises(InputError, match=r"Did you mean 'hpa\.policy'"):
        agent_contenders([str(tmp_path / "hpaa.policy")], "podgym/Burst-v0")
    with pytest.raises(InputError, match="podgym train --env podgym/Nothing-v0"):
        agent_contenders(["pretrained"], "podgym/Nothing-v0")
