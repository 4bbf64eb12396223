"""The computation against a slow second version, whatever the batch, and the inputs that are refused."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles.policies import describe, observations, random_policy, recurrent, zero_policy

from podgym.agents.actor import LstmState, Policy, array_shapes, dense
from podgym.agents.description import NetworkSpec
from podgym.agents.policy_file import save_policy
from podgym.agents.prior import plan_prior
from podgym.errors import InputError

NARROW = {"action": {"replica_steps": [-1, 0, 1]}}
LINEAR = describe(network=NetworkSpec(()), prior=None)
TANH = describe(network=NetworkSpec((5,), "tanh"))


def slow_logits(policy, row, state=None):
    """One observation, neuron by neuron, in float64."""
    numbers = {name: array.astype(np.float64).tolist() for name, array in policy.arrays.items()}
    network, clip = policy.description.network, policy.description.clip
    triples = zip(row.tolist(), numbers["observation_mean"], numbers["observation_std"], strict=True)
    x = [min(max((value - mean) / std, -clip), clip) for value, mean, std in triples]

    def layer(name, bias, inputs):
        return [sum(w * v for w, v in zip(weights, inputs, strict=True)) + b
                for weights, b in zip(numbers[name], numbers[bias], strict=True)]  # fmt: skip

    after = None
    if network.lstm_size is not None:
        size = network.lstm_size
        h, c = state or ([0.0] * size, [0.0] * size)
        pairs = zip(layer("lstm.weight_ih", "lstm.bias_ih", x), layer("lstm.weight_hh", "lstm.bias_hh", h),
                    strict=True)  # fmt: skip
        gates = [a + b for a, b in pairs]

        def sigmoid(v):
            return 1.0 / (1.0 + np.exp(-v))

        put, forget, cell, out = (gates[size * i : size * (i + 1)] for i in range(4))
        c = [
            sigmoid(f) * old + sigmoid(i) * np.tanh(g)
            for f, old, i, g in zip(forget, c, put, cell, strict=True)
        ]
        h = [sigmoid(o) * np.tanh(v) for o, v in zip(out, c, strict=True)]
        after, x = (h, c), h
    for i in range(len(network.hidden)):
        x = layer(f"actor.{i}.weight", f"actor.{i}.bias", x)
        x = [np.tanh(v) if network.activation == "tanh" else max(v, 0.0) for v in x]
    last = len(network.hidden)
    logits = np.array(layer(f"actor.{last}.weight", f"actor.{last}.bias", x))
    if policy.description.prior is not None:
        logits = logits + plan_prior(policy.description)(row[None])[0]
    return logits, after


@pytest.mark.parametrize("description", [describe(), LINEAR, TANH], ids=["relu", "linear", "tanh"])
def test_a_slow_network_gives_the_same(description):
    policy = random_policy(description)
    rows = observations(description, 5)
    got, state = policy.logits(rows)
    assert state is None
    assert got.dtype == np.float32
    expected = np.array([slow_logits(policy, row)[0] for row in rows])
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
    assert np.ptp(got, axis=0).max() > 0.5


def test_a_slow_lstm_gives_the_same_over_many_steps():
    description = recurrent()
    policy = random_policy(description, scale=2.0)
    rows = observations(description, 8)
    state, slow = None, None
    for row in rows:
        got, state = policy.logits(row, state)
        expected, slow = slow_logits(policy, row, slow)
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(state, slow, rtol=1e-4, atol=1e-5)
    fresh, _ = policy.logits(rows[-1])
    assert np.abs(fresh - got).max() > 1e-3  # the state matters


@pytest.mark.parametrize("make", [describe, recurrent])
def test_a_batch_decides_as_each_alone_to_the_last_bit(make):
    network = NetworkSpec((64, 40), "relu", 32 if make is recurrent else None)
    description = make(environment="podgym/Boutique-v0", network=network)
    policy = random_policy(description)
    rows = observations(description, 70)
    together, after = policy.logits(rows)
    actions, _ = policy.act(rows)
    assert actions.shape == (70, 33)
    assert actions.dtype == np.int64
    for index in (0, 1, 33, 69):
        alone, state = policy.logits(rows[index])
        np.testing.assert_array_equal(alone, together[index])
        np.testing.assert_array_equal(policy.act(rows[index])[0], actions[index])
        if after is not None:
            np.testing.assert_array_equal(state.h, after.h[index])
            np.testing.assert_array_equal(state.c, after.c[index])
    first, middle = policy.logits(rows[:33])[0], policy.logits(rows[33:])[0]
    np.testing.assert_array_equal(np.concatenate([first, middle]), together)


@given(
    batch=st.integers(1, 40), inputs=st.integers(1, 40), outputs=st.integers(1, 70), seed=st.integers(0, 99)
)  # fmt: skip
def test_dense_is_a_matrix_product(batch, inputs, outputs, seed):
    generator = np.random.default_rng(seed)
    values, weight, bias = (
        generator.normal(size=shape).astype(np.float32)
        for shape in ((batch, inputs), (outputs, inputs), (outputs,))
    )
    exact = values.astype(np.float64) @ weight.T.astype(np.float64) + bias
    np.testing.assert_allclose(dense(values, weight, bias), exact, rtol=1e-4, atol=1e-4)


def test_observations_are_normalised_and_clipped():
    description = describe(network=NetworkSpec(()), prior=None, clip=2.0)
    policy = zero_policy(description)
    weight = np.zeros_like(policy.arrays["actor.0.weight"])
    weight[0, 4] = 1.0
    arrays = {**policy.arrays, "actor.0.weight": weight}
    arrays["observation_mean"] = np.full_like(arrays["observation_mean"], 0.5)
    arrays["observation_std"] = np.full_like(arrays["observation_std"], 0.25)
    policy = Policy(description, arrays)
    rows = np.full((4, len(weight[0])), 9.0, dtype=np.float32)
    rows[:, 4] = [0.5, 0.75, 100.0, -100.0]
    assert policy.logits(rows)[0][:, 0].tolist() == [0.0, 1.0, 2.0, -2.0]


def test_the_first_of_equal_choices_is_taken():
    policy = zero_policy(LINEAR)
    assert policy.act(observations(LINEAR, 1)[0])[0].tolist() == [0, 0, 0]


def test_masks_leave_the_best_allowed_choice():
    policy = random_policy(describe(prior=None, changes=NARROW))
    rows = observations(policy.description, 50)
    logits, _ = policy.logits(rows)
    masks = np.random.default_rng(1).random(logits.shape) < 0.6
    masks[:, [1, 4, 7]] = True
    actions, _ = policy.act(rows, masks=masks)
    for row in range(50):
        for number in range(3):
            allowed = [i for i in range(3) if masks[row, 3 * number + i]]
            assert actions[row, number] == max(allowed, key=lambda i, s=3 * number, r=row: logits[r, s + i])
    assert (actions != policy.act(rows)[0]).any()
    alone, _ = policy.act(rows[7], masks=masks[7])
    np.testing.assert_array_equal(alone, actions[7])


def test_samples_follow_the_probabilities():
    policy = random_policy(describe(prior=None, changes=NARROW), seed=4)
    row = observations(policy.description, 1)
    logits = policy.logits(row)[0][0].astype(np.float64)
    count = 20_000
    actions, _ = policy.act(np.repeat(row, count, axis=0), rng=np.random.default_rng(0))
    for number in range(3):
        part = np.exp(logits[3 * number : 3 * number + 3])
        shares = np.bincount(actions[:, number], minlength=3) / count
        np.testing.assert_allclose(shares, part / part.sum(), atol=4 * np.sqrt(0.25 / count))
    again, _ = policy.act(np.repeat(row, count, axis=0), rng=np.random.default_rng(0))
    np.testing.assert_array_equal(actions, again)
    masks = np.array([[True, False, False, True, True, True, False, True, True]])
    masked, _ = policy.act(np.repeat(row, 500, axis=0), rng=np.random.default_rng(0),
                           masks=np.repeat(masks, 500, axis=0))  # fmt: skip
    assert set(masked[:, 0]) == {0}
    assert set(masked[:, 2]) == {1, 2}


N = len(describe().observation_names)
BAD_OBSERVATIONS = {
    "nan": (np.where(np.arange(N) == 8, np.nan, 0.0), r"'web.cpu_utilisation\[-1\]', number 8"),
    "infinite": (np.full((2, N), np.inf), "observation 0 has inf"),
    "too large for float32": (np.full((1, N), 1e300), "observation 0 has inf"),
    "too short": (np.zeros(N - 1), rf"shape \({N - 1},\); this policy takes \(B, {N}\)"),
    "no batch": (np.zeros((0, N)), r"shape \(0, "),
    "three dimensions": (np.zeros((1, 1, N)), r"shape \(1, 1"),
    "text": (["a"] * N, "must be numbers"),
    "booleans": (np.zeros(N, dtype=bool), "must be numbers"),
    "ragged": ([[0.0] * N, [0.0]], "differ in length"),
    "a number": (0.0, r"shape \(\)"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_OBSERVATIONS)
def test_bad_observations_are_refused(name):
    given, words = BAD_OBSERVATIONS[name]
    with pytest.raises(InputError, match=words):
        zero_policy(describe()).act(given)


def test_bad_states_are_refused():
    policy = zero_policy(recurrent())
    row = np.zeros(N)
    for state in (LstmState(np.zeros(5), np.zeros(6)), LstmState(np.zeros((2, 6)), np.zeros((2, 6)))):
        with pytest.raises(InputError, match=r"h and c of shape \(6,\)"):
            policy.act(row, state=state)
    with pytest.raises(InputError, match="not finite"):
        policy.act(row, state=LstmState(np.full(6, np.nan), np.zeros(6)))
    with pytest.raises(InputError, match="takes no state"):
        zero_policy(describe()).act(row, state=LstmState(np.zeros(6), np.zeros(6)))


def test_bad_masks_are_refused():
    policy = zero_policy(describe(changes=NARROW))
    rows = np.zeros((2, N))
    for masks in (np.ones((2, 8), dtype=bool), np.ones((2, 9)), np.ones(9, dtype=bool)):
        with pytest.raises(InputError, match="must be booleans of shape"):
            policy.act(rows, masks=masks)
    none = np.ones((2, 9), dtype=bool)
    none[1, 3:6] = False
    with pytest.raises(InputError, match="leave no choice"):
        policy.act(rows, masks=none)


BAD_ARRAYS = {
    "missing": (lambda a: a.pop("actor.1.bias"), "'actor.1.bias' is missing"),
    "too many": (lambda a: a.update(extra=np.zeros(2, np.float32)), "'extra' is not one"),
    "another shape": (lambda a: a.update({"actor.0.bias": np.zeros(3, np.float32)}), r"of shape \(3,\)"),
    "another type": (lambda a: a.update({"actor.0.bias": np.zeros(16)}), "is float64"),
    "nan": (lambda a: a.update({"actor.0.bias": np.full(16, np.nan, np.float32)}), "not finite"),
    "no spread": (lambda a: a.update(observation_std=np.zeros(N, np.float32)), "not above 0"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_bad_arrays_are_refused(name):
    change, words = BAD_ARRAYS[name]
    arrays = dict(random_policy(describe()).arrays)
    change(arrays)
    with pytest.raises(InputError, match=words):
        Policy(describe(), arrays)


def test_arrays_are_copies_that_cannot_be_changed():
    arrays = {name: np.array(array) for name, array in zero_policy(describe()).arrays.items()}
    policy = Policy(describe(), arrays)
    arrays["actor.0.bias"][:] = 7.0
    assert policy.arrays["actor.0.bias"].max() == 0.0
    with pytest.raises(ValueError, match="read-only"):
        policy.arrays["actor.0.bias"][0] = 1.0
    assert list(policy.arrays) == list(array_shapes(describe()))


def test_a_policy_goes_to_other_processes():
    policy = random_policy(recurrent())
    rows = observations(policy.description, 3)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(policy)).logits(rows)[0], policy.logits(rows)[0])


def test_deciding_needs_numpy_alone(tmp_path):
    """In a fresh interpreter: a stored policy decides without torch, numba or ONNX."""
    policy = random_policy(recurrent())
    rows = observations(policy.description, 1)
    path = save_policy(policy, tmp_path / "p.policy")
    np.save(tmp_path / "rows.npy", rows)
    code = (
        "import sys, numpy as np\n"
        "from podgym.agents.policy_file import load_policy\n"
        "action, state = load_policy(sys.argv[1]).act(np.load(sys.argv[2]))\n"
        "heavy = {'torch', 'numba', 'onnx', 'onnxruntime', 'pandas', 'stable_baselines3'}\n"
        "print(action.tolist(), sorted(heavy & {name.partition('.')[0] for name in sys.modules}))"
    )
    command = [sys.executable, "-c", code, str(path), str(tmp_path / "rows.npy")]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=240)
    assert run.stdout.strip() == f"{policy.act(rows)[0].tolist()} []"
