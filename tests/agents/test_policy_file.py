"""Saved policies: the same decisions after loading, and no file that can do anything but be refused."""

import contextlib
import io
import json
import os
import pickle
import re
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from oracles.policies import describe, observations, planning, random_policy, recurrent, zero_policy

from podgym.agents import policy_file
from podgym.agents.policy_file import load_policy, policy_sha256, save_policy
from podgym.errors import InputError


@pytest.fixture
def saved(tmp_path):
    return save_policy(random_policy(describe()), tmp_path / "p.policy")


@pytest.mark.parametrize("description", [describe(), planning(), recurrent()], ids=["plain", "plan", "lstm"])
def test_a_loaded_policy_is_the_saved_one(description, tmp_path):
    policy = random_policy(description)
    path = save_policy(policy, tmp_path / "folder" / "p")
    assert path == tmp_path / "folder" / "p.policy"
    loaded = load_policy(path)
    assert loaded.description == description
    for name, array in policy.arrays.items():
        np.testing.assert_array_equal(loaded.arrays[name], array)
    rows = observations(description, 20)
    np.testing.assert_array_equal(loaded.logits(rows)[0], policy.logits(rows)[0])
    assert policy_sha256(loaded) == policy_sha256(policy)
    assert [entry.name for entry in path.parent.iterdir()] == ["p.policy"]


def test_numpy_reads_it_too(saved):
    with np.load(saved, allow_pickle=False) as archive:
        assert json.loads(archive["manifest"].tobytes())["format"] == "podgym policy"
        assert archive["actor.0.weight"].shape == (16, 91)


def test_equal_policies_give_equal_bytes_and_others_other_hashes(saved, tmp_path):
    again = save_policy(random_policy(describe()), tmp_path / "again.policy")
    assert again.read_bytes() == saved.read_bytes()
    hashes = {
        policy_sha256(policy)
        for policy in (
            random_policy(describe()),
            random_policy(describe(), seed=1),
            random_policy(describe(clip=4.0)),
            random_policy(describe(provenance={"steps": 3})),  # is no difference
        )
    }
    assert len(hashes) == 3


def test_every_truncation_and_changed_byte_is_noticed(saved):
    content = saved.read_bytes()
    pristine = policy_sha256(load_policy(saved))
    rng = np.random.default_rng(0)
    for length in [0, 1, 100, *rng.integers(100, len(content), 20), len(content) - 1]:
        saved.write_bytes(content[:length])
        with pytest.raises(InputError, match="again"):
            load_policy(saved)
    noticed = 0
    tail = len(content) - 2500  # where the zip directory is
    for place in [*rng.integers(0, len(content), 200), *rng.integers(tail, len(content), 200)]:
        damaged = bytearray(content)
        damaged[place] ^= 1 << rng.integers(8)
        saved.write_bytes(damaged)
        try:
            # A field of the zip header that nobody reads, such as a date.
            assert policy_sha256(load_policy(saved)) == pristine
        except InputError:
            noticed += 1
    assert noticed > 250


def parts_of(path):
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    return json.loads(arrays.pop("manifest").tobytes()), arrays


def write(path, manifest, arrays):
    """Write any manifest, with the right hashes unless it has some."""
    if isinstance(manifest, dict) and "sha256" not in manifest:
        manifest = {
            **manifest,
            "sha256": {name: policy_file._digest(array) for name, array in arrays.items()},
        }
    text = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
    with path.open("wb") as file:
        np.savez(file, manifest=np.frombuffer(text, dtype=np.uint8), **arrays)


MANIFESTS = {
    "another format": (lambda m: m.update(format="podgym forecaster"), "no file of a policy"),
    "another version": (lambda m: m.update(format_version=99), "version is 99"),
    "wrong type": (lambda m: m.update(clip="wide"), "clip is 'wide'; it must be a finite number"),
    "wrong nested type": (lambda m: m["services"][0].update(max_replicas=[]), r"s\[0\].max_replicas is \[\]"),
    "a field too many": (lambda m: m.update(code="print(1)"), "unknown field"),
    "a field missing": (lambda m: m.pop("services"), "services is missing"),
    "other hashes": (lambda m: m.update(sha256={}), "not those that the manifest names"),
    "hashes of a wrong type": (lambda m: m.update(sha256=[1, 2]), "not those that the manifest names"),
    "a huge network": (lambda m: m["network"].update(hidden=[10**6, 10**6]), r"shape \(1000000, 91\)"),
    "too huge a network": (lambda m: m["network"].update(hidden=[10**12]), "hidden layer"),
    "more layers": (lambda m: m["network"].update(hidden=[16, 12, 4]), "actor.3.weight' is missing"),
}  # fmt: skip


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests_that_do_not_fit_are_refused(saved, name):
    change, words = MANIFESTS[name]
    manifest, arrays = parts_of(saved)
    del manifest["sha256"]
    change(manifest)
    write(saved, manifest, arrays)
    with pytest.raises(InputError, match=words):
        load_policy(saved)


TEXTS = {
    "no JSON": b"podgym policy",
    "a list": b"[]",
    "a number": b"3",
    "not a number": b'{"format": NaN}',
    "nested deeply": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "a list nested deeply": b"[" * 100_000 + b"]" * 100_000,
    "a number of a million digits": b'{"format_version": 1' + b"0" * 10**6 + b"}",
    "no text": b"\xff\xfe\x00\xd8",
    "empty": b"",
}


@pytest.mark.parametrize("name", TEXTS)
def test_manifests_that_are_none_are_refused(saved, name):
    write(saved, TEXTS[name], {})
    with pytest.raises(InputError, match="policy"):
        load_policy(saved)


def test_changes_nested_just_deep_enough_for_json_are_refused(saved):
    manifest, arrays = parts_of(saved)
    depth = 900
    text = json.dumps({**manifest, "provenance": "HERE"}).replace(
        '"HERE"', '{"a":' * depth + "1" + "}" * depth
    )
    write(saved, text.encode(), arrays)
    with contextlib.suppress(InputError):  # or loaded, where Python's stack is deep enough
        load_policy(saved)


class Bomb:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (Path.touch, (Path(self.path),))


def npy(array):
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=True)
    return file.getvalue()


def header(text, data=b"", version=b"\x01\x00"):
    """An .npy file whose header says anything."""
    body = text.encode() + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(body)) + body + data


def member(path, content, name="manifest.npy", **options):
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr(name, content)


@pytest.mark.parametrize("name", ["manifest.npy", "actor.0.weight.npy"])
def test_a_pickle_is_never_opened(saved, tmp_path, name):
    """As an object array, as a bare pickle, and as the whole file."""
    ran = tmp_path / "ran"
    bombs = [npy(np.array([Bomb(ran)], dtype=object)), pickle.dumps(Bomb(ran))]
    manifest, arrays = parts_of(saved)
    for bomb in bombs:
        write(saved, manifest, {key: array for key, array in arrays.items() if f"{key}.npy" != name})
        with zipfile.ZipFile(saved) as archive:
            others = {key: archive.read(key) for key in archive.namelist() if key != name}
        with zipfile.ZipFile(saved, "w") as archive:
            for key, content in {**others, name: bomb}.items():
                archive.writestr(key, content)
        with pytest.raises(InputError, match="cannot be read"):
            load_policy(saved)
    saved.write_bytes(pickle.dumps(Bomb(ran)))
    with pytest.raises(InputError, match="cannot be read"):
        load_policy(saved)
    assert not ran.exists()
    pickle.loads(bombs[1])
    assert ran.exists()  # the bomb is a real one


HEADERS = {
    "an expression": "{'descr': '<f4', 'fortran_order': False, 'shape': (__import__('os').abort(),), }",
    "a call as a type": "{'descr': exit(), 'fortran_order': False, 'shape': (3,), }",
    "parentheses": "(" * 5000 + ")" * 5000,
    "minus signs": "-" * 60000 + "1",
    "objects": "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
    "records": "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }",
    "a petabyte": "{'descr': '<f4', 'fortran_order': False, 'shape': (999999999, 999999999), }",
    "more than counts": "{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999999999999,), }",
    "a negative size": "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }",
    "a hundred dimensions": "{'descr': '|u1', 'fortran_order': False, 'shape': (" + "1, " * 100 + "), }",
    "nothing, hugely": "{'descr': '<f4', 'fortran_order': False, 'shape': (0, " + "999999999, " * 9 + "), }",
    "another order": "{'descr': '<f4', 'fortran_order': True, 'shape': (1, 1), }",
    "another shape": "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }",
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers_are_compared_and_never_evaluated(saved, name):
    member(saved, header(HEADERS[name], b"\x00" * 4))
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="cannot be read"):
            load_policy(saved)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


def test_a_zip_bomb_is_not_unpacked(saved):
    """Sixty megabytes of zeros in sixty kilobytes; and what claims to be small."""
    zeros = npy(np.zeros(2**26, dtype=np.uint8))
    member(saved, zeros, compression=zipfile.ZIP_DEFLATED)
    assert saved.stat().st_size < 2**17
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="cannot be read"):
            load_policy(saved)
        content = saved.read_bytes()
        saved.write_bytes(content.replace(struct.pack("<I", len(zeros)), struct.pack("<I", 64)))
        with pytest.raises(InputError, match="cannot be read"):
            load_policy(saved)
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()


def test_members_cannot_share_bytes(saved):
    """A directory in which many members are one: ten thousand times the file."""
    member(saved, b"x" * 50_000)
    content = saved.read_bytes()
    start = content.rindex(b"PK\x01\x02")
    end = content.rindex(b"PK\x05\x06")
    entry, count = content[start:end], 1000
    directory = b"".join(entry.replace(b"manifest.npy", b"%08d.npy" % i) for i in range(count))
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, len(directory), start, 0)
    saved.write_bytes(content[:start] + directory + tail)
    with pytest.raises(InputError, match="cannot be read"):
        load_policy(saved)


def test_a_name_twice_is_refused(saved):
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(saved, "a") as archive:
        archive.writestr("manifest.npy", archive.read("manifest.npy"))
    with pytest.raises(InputError, match="cannot be read"):
        load_policy(saved)


def test_random_bytes_are_refused(saved):
    rng = np.random.default_rng(1)
    for length in (10, 1000, 100_000):
        saved.write_bytes(b"PK\x03\x04" + rng.bytes(length))
        with pytest.raises(InputError, match="cannot be read"):
            load_policy(saved)


def test_numbers_that_no_policy_has_are_refused(saved):
    """With right hashes: not finite, of another type, one array too many."""
    manifest, arrays = parts_of(saved)
    del manifest["sha256"]
    for change, words in (
        ({"actor.0.bias": np.full(16, np.inf, np.float32)}, "not finite"),
        ({"actor.0.bias": np.zeros(16, np.uint8)}, "is uint8"),
        ({"observation_std": np.zeros(91, np.float32)}, "not above 0"),
        ({"../../evil": np.zeros(1, np.float32)}, "'../../evil' is not one"),
    ):
        write(saved, manifest, {**arrays, **change})
        with pytest.raises(InputError, match=words):
            load_policy(saved)


def test_other_files_are_named(saved, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"Did you mean 'p\.policy'"):
        load_policy(tmp_path / "q.policy")
    with pytest.raises(InputError, match="there is no file"):
        load_policy(tmp_path)
    (tmp_path / "text.policy").write_text("hello")
    with pytest.raises(InputError, match=r"text\.policy cannot be read as a policy; copy the file again"):
        load_policy(tmp_path / "text.policy")
    monkeypatch.setattr(policy_file, "MOST_BYTES", 1000)
    with pytest.raises(InputError, match="at most 1,000"):
        load_policy(saved)


def test_messages_are_one_line(saved):
    for content in (b"", b"hello", saved.read_bytes()[:-7]):
        saved.write_bytes(content)
        with pytest.raises(InputError) as caught:
            load_policy(saved)
        assert "\n" not in str(caught.value)
        assert re.search(r"p\.policy", str(caught.value))


def test_nothing_is_left_of_a_file_that_cannot_be_written(saved, tmp_path, monkeypatch):
    before = saved.read_bytes()

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(InputError, match="No space left"):
        save_policy(zero_policy(describe()), saved)
    assert os.listdir(tmp_path) == ["p.policy"]
    assert saved.read_bytes() == before


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(InputError, match="podgym export"):
        save_policy(zero_policy(describe()), tmp_path / "p.onnx")
