"""The policies that are trained are, to the last logit, those that NumPy runs afterwards."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("stable_baselines3")
pytest.importorskip("sb3_contrib")

import torch
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from oracles.policies import describe
from sb3_contrib.common.recurrent.type_aliases import RNNStates

from podgym.agents.actor import LstmState
from podgym.agents.description import NetworkSpec
from podgym.agents.policy_file import load_policy, save_policy
from podgym.agents.prior import plan_prior, prior_parts
from podgym.agents.torch_networks import TorchPrior
from podgym.agents.torch_policies import POLICIES, extract_policy

FUTURE = 3
BATCH = 40
BOUTIQUE = "podgym/Boutique-v0"
CASES = {
    "replicas": {"changes": {"action": {"quotas": False}}},
    "quotas": {},
    "wide quotas": {"changes": {"action": {"quota_steps": [-2, -1, 0, 1, 3]}}},
    "no prior": {"prior": None},
    "tanh": {"network": NetworkSpec((9,), "tanh")},
    "linear": {"network": NetworkSpec(())},
    "derived": {"network": NetworkSpec((9,), derived=True)},
    "services": {"environment": BOUTIQUE},
    "services, replicas": {"environment": BOUTIQUE, "changes": {"action": {"quotas": False}}},
    "residual": {"changes": {"action": {"mode": "residual"}}},
    "absolute": {"changes": {"action": {"mode": "absolute"}}},
}


def make(algorithm="ppo", future=FUTURE, seed=0, **fields):
    """Return a policy with weights that say something."""
    if algorithm == "recurrent_ppo":
        network = fields.pop("network", NetworkSpec((16, 12)))
        fields["network"] = NetworkSpec(network.hidden, network.activation, 7, network.derived)
    description = describe(algorithm=algorithm, **fields)
    rng = np.random.default_rng(seed)
    size = len(description.observation_names) + future
    torch.manual_seed(seed)
    return POLICIES[algorithm](
        spaces.Box(-10.0, 1e3, (size,), np.float32),
        spaces.MultiDiscrete(description.action_nvec),
        lambda left: 1e-3,
        description=description,
        observation_mean=rng.uniform(0.0, 1.0, size).astype(np.float32),
        observation_std=rng.uniform(0.3, 2.0, size).astype(np.float32),
    )


def speaking(policy, scale=1.0):
    """Give the last layer logits of the size of the prior."""
    with torch.no_grad():
        for module in (*policy.actor_modules(), policy.value_net):
            for weights in module.parameters():
                weights += 0.3 * scale * torch.randn_like(weights) / max(weights.shape[-1], 1) ** 0.5
    return policy


def observed(description, batch=BATCH, seed=0, future=FUTURE):
    """Return observations as an environment gives them, plans and presents on whole replicas and levels."""
    rng = np.random.default_rng(seed)
    names = list(description.observation_names)
    rows = rng.uniform(-0.2, 1.5, (batch, len(names) + future)).astype(np.float32)
    rows *= np.where(rng.random(rows.shape) < 0.2, rng.choice([-9.0, 9.0], rows.shape), 1.0)  # to be clipped
    for service in description.services:
        most = service.max_replicas
        for name in ("plan_replicas", "replicas_wanted[-0]"):
            column = names.index(f"{service.name}.{name}")
            rows[:, column] = rng.integers(service.min_replicas, most + 1, batch) / most
        for kind, levels in (("cpu", service.cpu_levels_cores), ("memory", service.memory_levels_bytes)):
            for name in (f"plan_{kind}_request", f"{kind}_request"):
                column = names.index(f"{service.name}.{name}")
                rows[:, column] = rng.choice(levels, batch) / levels[-1]
    return rows


def torch_logits(policy, rows, masks=None):
    """Return the logits that stable-baselines3 acts by, normalised within each number of the action."""
    options = {} if masks is None else {"action_masks": masks}
    with torch.no_grad():
        distribution = policy.get_distribution(torch.from_numpy(rows), **options)
    parts = getattr(distribution, "distributions", None) or distribution.distribution
    return [part.logits.numpy() for part in parts]


def log_softmax(logits):
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def split(logits, description):
    return np.split(logits, np.cumsum(description.action_nvec)[:-1], axis=1)


@pytest.mark.parametrize("algorithm", ["ppo", "maskable_ppo"])
@pytest.mark.parametrize("case", CASES)
def test_numpy_runs_the_actor_that_was_trained(algorithm, case):
    policy = speaking(make(algorithm, **CASES[case]))
    description = policy.description
    rows = observed(description)
    actor = extract_policy(policy)
    seen = rows[:, :-FUTURE]
    ours = actor.logits(seen)[0]
    with torch.no_grad():
        theirs = policy.actor_logits(torch.from_numpy(rows)).numpy()
    assert np.abs(ours - theirs).max() < 1e-5
    without_prior = ours if description.prior is None else ours - plan_prior(description)(seen)
    assert without_prior.std() > 0.1  # the network says something
    for own, other in zip(split(ours, description), torch_logits(policy, rows), strict=True):
        np.testing.assert_allclose(log_softmax(own), log_softmax(other), atol=1e-5)
    best = policy.predict(rows, deterministic=True)[0]
    np.testing.assert_array_equal(actor.act(seen)[0], best)


def test_masks_do_the_same_in_both():
    policy = speaking(make("maskable_ppo"))
    description = policy.description
    rows = observed(description)
    rng = np.random.default_rng(5)
    masks = rng.random((BATCH, sum(description.action_nvec))) < 0.4
    starts = np.cumsum((0, *description.action_nvec[:-1]))
    masks[:, starts + np.array(description.action_nvec) // 2] = True
    actor = extract_policy(policy)
    ours = np.where(masks, actor.logits(rows[:, :-FUTURE])[0], -1e8)
    for own, other in zip(split(ours, description), torch_logits(policy, rows, masks), strict=True):
        allowed = own > -1e7
        np.testing.assert_allclose(log_softmax(own)[allowed], log_softmax(other)[allowed], atol=1e-5)
    masked = actor.act(rows[:, :-FUTURE], masks=masks)[0]
    np.testing.assert_array_equal(masked, policy.predict(rows, deterministic=True, action_masks=masks)[0])
    assert (masked != actor.act(rows[:, :-FUTURE])[0]).any()


@pytest.mark.parametrize("case", ["replicas", "quotas", "no prior", "services, replicas"])
def test_numpy_runs_the_recurrent_actor_from_step_to_step(case):
    policy = speaking(make("recurrent_ppo", **CASES[case]), scale=1.5)
    actor = extract_policy(policy)
    size = policy.description.network.lstm_size
    states = (torch.zeros(1, BATCH, size), torch.zeros(1, BATCH, size))
    own = LstmState(*np.zeros((2, BATCH, size), np.float32))
    starts = np.zeros((6, BATCH), np.float32)
    starts[3, ::3] = 1.0  # other episodes begin
    spread = []
    for step in range(6):
        rows = observed(policy.description, seed=step)
        own = LstmState(*(np.where(starts[step, :, None] > 0.0, 0.0, part) for part in own))
        ours, own = actor.logits(rows[:, :-FUTURE], own)
        with torch.no_grad():
            distribution, states = policy.get_distribution(
                torch.from_numpy(rows), states, torch.from_numpy(starts[step])
            )
        theirs = np.concatenate([part.logits.numpy() for part in distribution.distribution], axis=1)
        np.testing.assert_allclose(own.h, states[0][0].numpy(), atol=1e-5)
        np.testing.assert_allclose(own.c, states[1][0].numpy(), atol=1e-5)
        ours = np.concatenate([log_softmax(part) for part in split(ours, policy.description)], axis=1)
        assert np.abs(ours - theirs).max() < 1e-5
        spread.append(own.h.std())
    assert min(spread) > 0.02  # the state says something


def test_a_sequence_at_once_is_the_sequence_step_by_step():
    """What an update computes from whole sequences is what was acted by."""
    policy = speaking(make("recurrent_ppo"), scale=3.0)
    size, length, batch = 7, 5, 4
    rows = torch.from_numpy(np.stack([observed(policy.description, batch, seed) for seed in range(length)]))
    starts = torch.zeros(length, batch)
    starts[2, 1] = 1.0
    zeros = tuple(torch.zeros(1, batch, size) for _ in range(2))
    states = RNNStates(zeros, zeros)
    acted, values, chosen = [], [], []
    with torch.no_grad():
        for step in range(length):
            actions, value, log_prob, states = policy(rows[step], states, starts[step])
            chosen.append(actions)
            values.append(value[:, 0])
            acted.append(log_prob)
        together = policy.evaluate_actions(
            rows.transpose(0, 1).reshape(batch * length, -1),
            torch.stack(chosen).transpose(0, 1).reshape(batch * length, -1),
            RNNStates(zeros, zeros),
            starts.transpose(0, 1).reshape(-1),
        )
    torch.testing.assert_close(together[0][:, 0].reshape(batch, length).T, torch.stack(values))
    torch.testing.assert_close(together[1].reshape(batch, length).T, torch.stack(acted))


@pytest.mark.parametrize("case", ["replicas", "quotas", "wide quotas", "services"])
def test_the_prior_is_the_same_in_both_to_the_last_bit(case):
    description = describe(**CASES[case])
    prior, numpy_prior = TorchPrior(description), plan_prior(description)
    assert prior.size == sum(description.action_nvec)
    rows = np.concatenate(
        [observed(description, 200, future=0), np.random.default_rng(1).uniform(
            -0.5, 2.0, (200, len(description.observation_names))).astype(np.float32)]
    )  # fmt: skip
    ours, theirs = numpy_prior(rows), prior(torch.from_numpy(rows)).numpy()
    assert ours.dtype == theirs.dtype == np.float32
    np.testing.assert_array_equal(ours, theirs)
    assert ours.std() > 0.5


PLAIN = describe()


@given(replicas=st.lists(st.floats(0.0, 1.25, width=32), min_size=2, max_size=2), data=st.data())
def test_ties_are_broken_alike(replicas, data):
    """Half-way between two replicas or two levels both take the same one."""
    row = np.zeros((1, len(PLAIN.observation_names)), np.float32)
    service, parts = PLAIN.services[0], prior_parts(PLAIN)
    row[0, [parts[0].plan, parts[0].present]] = replicas
    half = data.draw(st.integers(0, service.max_replicas - 1)) + 0.5
    if data.draw(st.booleans()):
        row[0, parts[0].plan] = half / service.max_replicas
    for part in parts[1:]:
        index = data.draw(st.integers(0, len(part.levels) - 2))
        row[0, part.plan] = (part.levels[index] + part.levels[index + 1]) / 2 / part.scale
        row[0, part.present] = data.draw(st.sampled_from(part.levels.tolist())) / part.scale
    np.testing.assert_array_equal(plan_prior(PLAIN)(row), TorchPrior(PLAIN)(torch.from_numpy(row)).numpy())


def test_without_a_prior_there_are_no_logits_to_add():
    policy = make(prior=None)
    rows = torch.from_numpy(observed(policy.description))
    assert TorchPrior(policy.description)(rows).shape == (BATCH, 0)
    assert not policy.prior_logits(rows).any()
    assert policy.prior_logits(rows).shape == (BATCH, sum(policy.description.action_nvec))


@pytest.mark.parametrize("algorithm", POLICIES)
def test_the_untrained_network_leaves_the_decision_to_the_plan(algorithm):
    policy = make(algorithm)
    actor, seen = extract_policy(policy), observed(policy.description)[:, :-FUTURE]
    prior = plan_prior(policy.description)(seen)
    assert np.abs(actor.logits(seen)[0] - prior).max() < 0.2
    rows = torch.from_numpy(observed(policy.description))
    np.testing.assert_array_equal(policy.prior_logits(rows).numpy(), prior)


def sampled(policy, rows):
    """Return what decides and judges: log probabilities of all choices, and values."""
    size = policy.description.network.lstm_size
    if size is None:
        logits = torch.from_numpy(np.concatenate(torch_logits(policy, rows), axis=1))
        with torch.no_grad():
            return logits, policy.predict_values(torch.from_numpy(rows))
    zeros = (torch.zeros(1, len(rows), size), torch.zeros(1, len(rows), size))
    starts = torch.zeros(len(rows))
    with torch.no_grad():
        distribution, _ = policy.get_distribution(torch.from_numpy(rows), zeros, starts)
        values = policy.predict_values(torch.from_numpy(rows), zeros, starts)
    return torch.cat([part.logits for part in distribution.distribution], dim=1), values


@pytest.mark.parametrize("algorithm", POLICIES)
def test_the_critic_sees_the_future_and_the_actor_does_not(algorithm):
    policy = speaking(make(algorithm))
    rows = observed(policy.description)
    changed = rows.copy()
    changed[:, -FUTURE:] += 1.0
    before, after = sampled(policy, rows), sampled(policy, changed)
    assert torch.equal(before[0], after[0])
    assert (before[1] - after[1]).abs().min() > 1e-6
    changed = rows.copy()
    changed[:, 0] += 1.0
    assert not torch.equal(before[0], sampled(policy, changed)[0])


@pytest.mark.parametrize("algorithm", POLICIES)
def test_actor_and_critic_share_nothing_and_the_optimiser_has_both(algorithm):
    policy = make(algorithm)
    actor = {id(weights) for module in policy.actor_modules() for weights in module.parameters()}
    everything = {id(weights): name for name, weights in policy.named_parameters()}
    assert actor < set(everything)
    optimised = [id(weights) for group in policy.optimizer.param_groups for weights in group["params"]]
    assert sorted(optimised) == sorted(everything)
    rows = torch.from_numpy(observed(policy.description))
    states = tuple(torch.ones(1, BATCH, 7) for _ in range(2))
    recurrent = (RNNStates(states, states), torch.zeros(BATCH)) if algorithm == "recurrent_ppo" else ()
    actions = torch.zeros(BATCH, len(policy.description.action_nvec))
    for chosen, part in ((1, actor), (0, set(everything) - actor)):
        policy.zero_grad()
        policy.evaluate_actions(rows, actions, *recurrent)[chosen].sum().backward()
        weights = [each for each in policy.parameters() if each.grad is not None and each.grad.any()]
        moved = {id(each) for each in weights}
        assert moved == part, sorted(everything[each] for each in moved ^ part)


def test_what_was_extracted_stays_as_it_was_and_can_be_saved(tmp_path):
    policy = speaking(make("recurrent_ppo"))
    actor = extract_policy(policy)
    before = {name: array.copy() for name, array in actor.arrays.items()}
    save_policy(actor, tmp_path / "a.policy")
    with torch.no_grad():
        for weights in policy.parameters():
            weights += 1.0
    for arrays in (actor.arrays, load_policy(tmp_path / "a.policy").arrays):
        assert arrays.keys() == before.keys()
        assert all(np.array_equal(arrays[name], before[name]) for name in before)


def test_another_description_can_be_given_for_its_provenance():
    policy = make()
    told = replace(policy.description, provenance={"seed": 3})
    assert extract_policy(policy, told).description.provenance == {"seed": 3}
    assert extract_policy(policy).description == policy.description
