"""Exported policies: the same decisions in ONNX Runtime, and no file or input that is not checked."""

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from oracles.policies import describe, observations, planning, random_policy, recurrent, zero_policy

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from podgym.agents import onnx_export
from podgym.agents.actor import LstmState
from podgym.agents.description import NetworkSpec
from podgym.agents.onnx_export import export_policy_onnx
from podgym.agents.onnx_policy import load_onnx_policy
from podgym.agents.policy_file import save_policy
from podgym.agents.running import load_actor
from podgym.errors import InputError

DESCRIPTIONS = {
    "plain": describe(),
    "no prior": describe(prior=None),
    "linear": describe(network=NetworkSpec(())),
    "derived": describe(network=NetworkSpec((9,), derived=True)),
    "tanh": describe(network=NetworkSpec((7,), "tanh")),
    "planning": planning(),
    "replicas only": describe(changes={"action": {"quotas": False}}),
    "absolute": describe(changes={"action": {"mode": "absolute"}}),
    "eleven services": describe("podgym/Boutique-v0"),
    "recurrent": recurrent(),
    "recurrent eleven": recurrent(environment="podgym/Boutique-v0"),
}


@pytest.fixture
def exported(tmp_path):
    return export_policy_onnx(random_policy(describe()), tmp_path / "p.onnx")


def assert_same_choices(policy, rows, actions, state=None):
    """Equal where the two best choices differ by more than rounding."""
    logits, _ = policy.logits(rows, state)
    wanted, _ = policy.act(rows, state=state)
    start = 0
    for number, choices in enumerate(policy.description.action_nvec):
        part = np.sort(logits[:, start : start + choices], axis=1)
        clear = part[:, -1] - part[:, -2] > 1e-4
        assert clear.mean() > 0.9
        np.testing.assert_array_equal(actions[clear, number], wanted[clear, number])
        start += choices


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_the_file_decides_as_the_policy(name, tmp_path):
    policy = random_policy(DESCRIPTIONS[name], scale=2.0)
    loaded = load_onnx_policy(export_policy_onnx(policy, tmp_path / "p.onnx"))
    assert loaded.description == policy.description
    rows = observations(policy.description, 100, seed=1)
    state = other = None
    for _ in range(3):
        wanted, after = policy.logits(rows, state)
        got, then = loaded.logits(rows, other)
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)
        actions, _ = loaded.act(rows, state=other)
        assert_same_choices(policy, rows, actions, state)
        if after is not None:
            np.testing.assert_allclose(then, after, atol=1e-4)
            state, other = after, then
    single, _ = loaded.act(rows[5])
    assert single.shape == (len(policy.description.action_nvec),)
    assert len(np.unique(actions)) > 1


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_any_runtime_can_run_it(name, tmp_path):
    """By its inputs and outputs alone: the choice is inside, and the file says what it takes."""
    import onnxruntime

    policy = random_policy(DESCRIPTIONS[name])
    path = export_policy_onnx(policy, tmp_path / "p.onnx")
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    inputs = {each.name: each for each in session.get_inputs()}
    rows = observations(policy.description, 4)
    given = {"observation": rows}
    if policy.description.recurrent:
        zeros = np.zeros((4, 6), dtype=np.float32)
        given |= {"h": zeros, "c": zeros}
    assert set(inputs) == set(given)
    assert inputs["observation"].shape == ["batch", rows.shape[1]]
    outputs = dict(zip([each.name for each in session.get_outputs()], session.run(None, given), strict=True))
    assert outputs["action"].dtype == np.int64
    assert outputs["logits"].shape == (4, sum(policy.description.action_nvec))
    assert set(outputs) == {"action", "logits", *(["next_h", "next_c"] if "h" in given else [])}
    np.testing.assert_array_equal(outputs["action"], load_onnx_policy(path).act(rows)[0])
    metadata = session.get_modelmeta()
    manifest = json.loads(metadata.custom_metadata_map["podgym.manifest"])
    assert manifest["observation_names"] == list(policy.description.observation_names)
    assert "not normalised" in metadata.description


def test_onnx_accepts_the_model(exported):
    import onnx

    onnx.checker.check_model(onnx.load(str(exported)), full_check=True)


def test_the_first_of_equal_choices_is_taken(tmp_path):
    """Zeros everywhere, and a plan just between two steps."""
    policy = zero_policy(describe(prior=None))
    loaded = load_onnx_policy(export_policy_onnx(policy, tmp_path / "p.onnx"))
    rows = observations(policy.description, 3)
    assert loaded.act(rows)[0].tolist() == [[0, 0, 0]] * 3
    policy = zero_policy(describe())
    loaded = load_onnx_policy(export_policy_onnx(policy, tmp_path / "q.onnx"))
    row = np.zeros(91, dtype=np.float32)
    at = list(policy.description.observation_names).index
    row[at("web.plan_replicas")] = 7 / 28  # steps 6 and 8 are equally near
    assert policy.description.replica_steps[loaded.act(row)[0][0]] == 6
    np.testing.assert_array_equal(loaded.logits(row)[0], policy.logits(row)[0])


def test_prior_is_the_same_to_the_last_bit(tmp_path):
    policy = zero_policy(describe("podgym/Boutique-v0"))
    loaded = load_onnx_policy(export_policy_onnx(policy, tmp_path / "p.onnx"))
    rows = observations(policy.description, 500, seed=2)
    np.testing.assert_array_equal(loaded.logits(rows)[0], policy.logits(rows)[0])


def test_equal_policies_give_equal_bytes(exported, tmp_path):
    again = export_policy_onnx(random_policy(describe()), tmp_path / "again.onnx")
    assert again.read_bytes() == exported.read_bytes()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(exported, bad):
    """The graph itself would decide: that is why it is checked."""
    import onnxruntime

    row = np.zeros((1, 91), dtype=np.float32)
    row[0, 3] = bad
    session = onnxruntime.InferenceSession(exported.read_bytes(), providers=["CPUExecutionProvider"])
    session.run(None, {"observation": row})
    loaded = load_onnx_policy(exported)
    with pytest.raises(InputError, match=r"'web.response_time\[-0\]', number 3"):
        loaded.act(row)


def test_samples_masks_and_states_are_those_of_every_policy(tmp_path):
    policy = random_policy(recurrent())
    loaded = load_onnx_policy(export_policy_onnx(policy, tmp_path / "p.onnx"))
    rows = observations(policy.description, 40)
    drawn = [each.act(rows, rng=np.random.default_rng(3))[0] for each in (policy, loaded)]
    assert (drawn[0] == drawn[1]).mean() > 0.99
    masks = np.zeros((40, sum(policy.description.action_nvec)), dtype=bool)
    masks[:, [5, 18, 21]] = True
    assert loaded.act(rows, masks=masks)[0].tolist() == [[5, 1, 1]] * 40
    with pytest.raises(InputError, match="h and c of shape"):
        loaded.act(rows, state=LstmState(np.zeros(6), np.zeros(6)))


def test_damaged_and_foreign_files_are_refused(exported, tmp_path):
    content = exported.read_bytes()
    rng = np.random.default_rng(0)
    for length in (0, 10, 100, len(content) // 2, len(content) - 1):
        exported.write_bytes(content[:length])
        with pytest.raises(InputError, match="Export the policy again"):
            load_onnx_policy(exported)
    for place in rng.integers(0, len(content), 100):
        damaged = bytearray(content)
        damaged[place] ^= 1 << rng.integers(8)
        exported.write_bytes(damaged)
        with pytest.raises(InputError, match=r"p\.onnx"):
            load_onnx_policy(exported)
    with pytest.raises(InputError, match=r"Did you mean 'p\.onnx'"):
        load_onnx_policy(tmp_path / "q.onnx")


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ({}, "no exported policy"),
        ({"format": "podgym policy", "format_version": 7}, "format version is 7"),
        ({"format": "podgym policy", "format_version": 1}, "services is missing"),
        (None, "no exported policy"),
    ],
)
def test_manifests_of_others_are_refused(exported, manifest, words):
    """Sealed rightly, so that only the manifest is wrong."""
    import onnx

    from podgym.forecasters.onnx.file import seal

    model = onnx.load_from_string(exported.read_bytes()[: -len(seal(b""))])
    onnx.helper.set_model_props(model, {"podgym.manifest": json.dumps(manifest)})
    exported.write_bytes(seal(model.SerializeToString()))
    with pytest.raises(InputError, match=words):
        load_onnx_policy(exported)


def test_a_graph_that_differs_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, "_prior", lambda graph, description: "")
    with pytest.raises(InputError, match="differs from the policy"):
        export_policy_onnx(random_policy(describe()), tmp_path / "p.onnx")
    assert list(tmp_path.iterdir()) == []


def test_another_ending_or_a_folder_is_refused(tmp_path):
    (tmp_path / "folder.onnx").mkdir()
    for name in ("p.policy", "p", "folder.onnx"):
        with pytest.raises(InputError, match=r"ends in \.onnx"):
            export_policy_onnx(zero_policy(describe()), tmp_path / name)


def test_the_ending_says_who_decides(exported, tmp_path):
    stored = save_policy(random_policy(describe()), tmp_path / "p.policy")
    rows = observations(describe(), 10)
    one, other = load_actor(exported), load_actor(stored)
    assert type(one) is not type(other)
    np.testing.assert_array_equal(one.act(rows)[0], other.act(rows)[0])
    with pytest.raises(InputError, match="there is no file"):
        load_actor(tmp_path / "none.onnx")


def test_an_exported_policy_goes_to_other_processes(exported):
    loaded = load_onnx_policy(exported)
    rows = observations(describe(), 3)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(loaded)).act(rows)[0], loaded.act(rows)[0])


def test_deciding_needs_onnx_runtime_alone(exported):
    """In a fresh interpreter: no torch, no onnx."""
    code = (
        "import sys, numpy as np\n"
        "from podgym.agents.onnx_policy import load_onnx_policy\n"
        "action, _ = load_onnx_policy(sys.argv[1]).act(np.zeros(91))\n"
        "print(len(action), sorted({'torch', 'onnx', 'pandas'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, str(exported)]
    run = subprocess.run(command, cwd=exported.parent, capture_output=True, text=True, check=True, timeout=99)
    assert run.stdout.strip() == "3 []"
