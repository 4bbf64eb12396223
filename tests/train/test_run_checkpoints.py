"""Checkpoints: what is saved comes back, and nothing that a kill or a damaged disk does is fatal."""

import errno
import hashlib
import json
import os
import pickle
import random
import shutil
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

pytest.importorskip("torch")

import torch

from podgym.errors import InputError
from podgym.train import checkpoints
from podgym.train.checkpoints import latest_checkpoint, save_checkpoint
from podgym.train.settings import TrainingSettings

SETTINGS = {**TrainingSettings().as_dict(), "environment": "podgym/Burst-v0"}


def state_of(index):
    """A state that tells its interval, of the kinds that a run saves."""
    return {"weights": torch.full((3, 2), float(index)), "index": index, "nested": {"list": [1.5, None, "x"]}}


def save(folder, *indices):
    for index in indices:
        save_checkpoint(folder, index, state_of(index), SETTINGS)


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def assert_whole(checkpoint, index):
    assert checkpoint.index == checkpoint.state["index"] == index
    assert torch.equal(checkpoint.state["weights"], state_of(index)["weights"])


def test_a_state_comes_back_bitwise(tmp_path):
    network = torch.nn.Linear(3, 2)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    network(torch.ones(3)).sum().backward()
    optimiser.step()
    state = {
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),
        "seeds": np.random.default_rng(1).bit_generator.state,  # whole numbers of 128 bits
        "multiplier": np.float64(0.1) + np.float64(0.2),
        "best": {"cost": float("inf"), "frames": 0, "file": "best.policy", "none": None},
        "flags": (True, [np.int64(3), np.bool_(False)]),
        7: b"".decode(),
    }
    save_checkpoint(tmp_path, 1, state, SETTINGS)
    read = latest_checkpoint(tmp_path, SETTINGS)
    assert read.remarks == ()
    for name, weight in network.state_dict().items():
        assert torch.equal(read.state["network"][name], weight)
    for group, moments in optimiser.state_dict()["state"].items():
        for name, value in moments.items():
            assert torch.equal(read.state["optimiser"]["state"][group][name], value)
    assert read.state["optimiser"]["param_groups"] == optimiser.state_dict()["param_groups"]
    for name in ("seeds", "multiplier", "best", "flags", 7):
        assert read.state[name] == state[name]
    optimiser.load_state_dict(read.state["optimiser"])


@pytest.mark.parametrize(
    ("value", "place"),
    [(np.zeros(2), r"state\['a'\]\[1\] is a ndarray"), (object(), "is a object"), ({1, 2}, "is a set"),
     (np.random.default_rng(0), "is a Generator")],
)  # fmt: skip
def test_what_could_not_be_read_safely_is_not_written(tmp_path, value, place):
    with pytest.raises(TypeError, match=place):
        save_checkpoint(tmp_path, 1, {"a": [0, value]}, SETTINGS)
    assert names(tmp_path) == []


def test_the_last_two_are_kept(tmp_path):
    save(tmp_path, 1, 2, 3, 4)
    assert names(tmp_path) == [f"checkpoint-00000{i}.{end}" for i in (3, 4) for end in ("json", "pt")]
    assert_whole(latest_checkpoint(tmp_path, SETTINGS), 4)


def test_a_run_that_went_back_removes_what_is_newer(tmp_path):
    save(tmp_path, 4, 5, 3)
    assert names(tmp_path) == ["checkpoint-000003.json", "checkpoint-000003.pt"]


def test_many_digits_sort_as_numbers(tmp_path):
    save(tmp_path, 999_999, 1_000_000)
    assert_whole(latest_checkpoint(tmp_path, SETTINGS), 1_000_000)


def test_no_checkpoint_yet(tmp_path):
    assert latest_checkpoint(tmp_path, SETTINGS) is None
    assert latest_checkpoint(tmp_path / "none", SETTINGS) is None
    (tmp_path / "checkpoint-000001.pt").write_bytes(b"no manifest: not finished")
    (tmp_path / "notes.json").write_text("{}")
    assert latest_checkpoint(tmp_path, SETTINGS) is None


def test_the_manifest_describes_the_checkpoint(tmp_path):
    save(tmp_path, 2)
    manifest = json.loads((tmp_path / "checkpoint-000002.json").read_text())
    content = (tmp_path / "checkpoint-000002.pt").read_bytes()
    assert (manifest["format"], manifest["format_version"], manifest["index"]) == ("podgym checkpoint", 1, 2)
    assert manifest["sha256"] == {"checkpoint-000002.pt": hashlib.sha256(content).hexdigest()}
    assert manifest["settings"] == SETTINGS
    assert len(manifest["settings_sha256"]) == 64


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_envs": 64, "seed": 3}, "of a run with n_envs = 512, but it is 64 now"),
        ({"prior": None}, "with prior = {'strength': 1.0"),
        ({"environment": "x"}, "with environment = 'podgym/Burst-v0', but it is 'x' now"),
        ({"new": 1}, "with new = None, but it is 1 now"),
    ],
)  # fmt: skip
def test_other_settings_are_refused_by_name(tmp_path, changes, message):
    save(tmp_path, 1)
    with pytest.raises(InputError, match=message):
        latest_checkpoint(tmp_path, {**SETTINGS, **changes})


def test_settings_that_json_writes_alike_are_the_same(tmp_path):
    save_checkpoint(tmp_path, 1, {}, {"sizes": (64, 64)})
    assert latest_checkpoint(tmp_path, {"sizes": [64, 64]}).index == 1


def damage_truncate(content):
    return content[: len(content) // 2]


def damage_empty(content):
    return b""


def damage_garbage(content):
    return random.Random(0).randbytes(len(content))


def damage_bit(content):
    at = len(content) // 2
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def damage_append(content):
    return content + b"\0"


@pytest.mark.parametrize("ending", ["pt", "json"])
@pytest.mark.parametrize(
    "damage", [damage_truncate, damage_empty, damage_garbage, damage_bit, damage_append, None]
)
def test_a_damaged_checkpoint_is_left_out_and_told(tmp_path, ending, damage):
    save(tmp_path, 1, 2)
    path = tmp_path / f"checkpoint-000002.{ending}"
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(path.read_bytes()))
    read = latest_checkpoint(tmp_path, SETTINGS)
    assert_whole(read, 1)
    if (ending, damage) == ("json", None):  # without its manifest it was never finished
        assert read.remarks == ()
    else:
        (remark,) = read.remarks
        assert remark.startswith(f"checkpoint 2 in {tmp_path} ")
    save(tmp_path, 2)
    assert_whole(latest_checkpoint(tmp_path, SETTINGS), 2)
    assert latest_checkpoint(tmp_path, SETTINGS).remarks == ()


@hypothesis_settings(max_examples=25)
@given(st.sampled_from(["pt", "json"]), st.integers(0, 10**6), st.integers(0, 7))
def test_any_flipped_bit_is_noticed(tmp_path_factory, ending, position, bit):
    folder = tmp_path_factory.mktemp("flip")
    save(folder, 1, 2)
    path = folder / f"checkpoint-000002.{ending}"
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= 1 << bit
    path.write_bytes(content)
    read = latest_checkpoint(folder, SETTINGS)
    if read.index == 2:  # such as a changed blank in the manifest, which says the same
        assert ending == "json"
        assert_whole(read, 2)
    else:
        assert_whole(read, 1)
        assert len(read.remarks) == 1


def test_a_manifest_that_was_changed_is_not_believed(tmp_path):
    save(tmp_path, 1, 2)
    path = tmp_path / "checkpoint-000002.json"
    text = path.read_text()
    path.write_text(text.replace('"n_envs": 512', '"n_envs": 513'))
    assert path.read_text() != text
    read = latest_checkpoint(tmp_path, SETTINGS)  # damaged, and not "of other settings"
    assert_whole(read, 1)
    assert "manifest that was changed" in read.remarks[0]


def test_a_checkpoint_under_another_name_is_not_believed(tmp_path):
    save(tmp_path, 1)
    for ending in ("pt", "json"):
        shutil.copy(tmp_path / f"checkpoint-000001.{ending}", tmp_path / f"checkpoint-000002.{ending}")
    forge(tmp_path, 3, (tmp_path / "checkpoint-000001.pt").read_bytes(), index=1)
    read = latest_checkpoint(tmp_path, SETTINGS)
    assert_whole(read, 1)
    assert len(read.remarks) == 2


def test_when_all_are_damaged_the_remedy_is_named(tmp_path):
    save(tmp_path, 1, 2)
    for path in tmp_path.glob("*.pt"):
        path.write_bytes(b"")
    with pytest.raises(InputError, match=r"no checkpoint in .* checkpoint 2 .* checkpoint 1 .*start anew"):
        latest_checkpoint(tmp_path, SETTINGS)


def forge(folder, number, content, **changes):
    """A checkpoint whose manifest and checksums are right, whatever its content."""
    name = f"checkpoint-{number:06d}"
    (folder / f"{name}.pt").write_bytes(content)
    manifest = {
        "format": checkpoints.FORMAT, "format_version": checkpoints.FORMAT_VERSION, "index": number,
        "sha256": {f"{name}.pt": hashlib.sha256(content).hexdigest()},
        "settings_sha256": checkpoints._digest(SETTINGS), "settings": SETTINGS, **changes,
    }  # fmt: skip
    own = {"manifest_sha256": checkpoints._digest(manifest)}
    (folder / f"{name}.json").write_text(json.dumps({**manifest, **own}))


class Harmful:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_crafted_checkpoint_runs_nothing(tmp_path):
    save(tmp_path, 1)
    mark = tmp_path / "ran"
    harmful = tmp_path / "harmful.pt"
    torch.save({"index": Harmful(mark)}, harmful)
    for number, content in enumerate((harmful.read_bytes(), pickle.dumps(Harmful(mark)))):
        forge(tmp_path, 2 + number, content)
    read = latest_checkpoint(tmp_path, SETTINGS)
    assert_whole(read, 1)
    assert len(read.remarks) == 2
    assert not mark.exists()
    torch.load(harmful, weights_only=False)
    assert mark.exists()  # the file is as harmful as it looks


def test_another_format_version_is_refused(tmp_path):
    save(tmp_path, 1)
    forge(tmp_path, 2, b"", format_version=2)
    with pytest.raises(InputError, match="has format version 2; this podgym reads version 1"):
        latest_checkpoint(tmp_path, SETTINGS)


def test_a_state_that_is_no_mapping_is_left_out(tmp_path):
    save(tmp_path, 1)
    path = tmp_path / "list.pt"
    torch.save([1], path)
    forge(tmp_path, 2, path.read_bytes())
    assert_whole(latest_checkpoint(tmp_path, SETTINGS), 1)


def killed_at(call, folder, index):
    """Save in a process that dies at its n-th operation on the file system; whether it came to its end."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        calls = 0

        def step():
            nonlocal calls
            calls += 1
            if calls == call:
                os._exit(9)

        def on_event(event, arguments):
            if event == "open" or event.startswith(("os.", "shutil.")):
                step()

        real = {name: getattr(os, name) for name in ("fsync", "replace")}
        for name, function in real.items():

            def after(*arguments, _function=function, **named):
                result = _function(*arguments, **named)
                step()  # the call was made, and that was the last thing
                return result

            setattr(os, name, after)
        sys.addaudithook(on_event)
        try:
            save(folder, index)
        except BaseException:
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 9)
    return status == 9


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("again", [False, True], ids=["a new interval", "an interval that was there"])
def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(tmp_path, again):
    before = tmp_path / "before"
    save(before, 1, 2, *([3] if again else []))
    call, seen = 0, set()
    while True:
        call += 1
        folder = tmp_path / str(call)
        shutil.copytree(before, folder)
        killed = killed_at(call, folder, 3)
        read = latest_checkpoint(folder, SETTINGS)
        assert_whole(read, read.index)
        assert read.remarks == ()
        assert read.index in (2, 3)
        seen.add(read.index)
        assert all(path.with_suffix(".pt").exists() for path in folder.glob("*.json"))
        save(folder, 3)  # the run goes on over whatever was left behind
        assert_whole(latest_checkpoint(folder, SETTINGS), 3)
        assert names(folder) == [f"checkpoint-00000{i}.{end}" for i in (2, 3) for end in ("json", "pt")]
        if not killed:
            break
    assert call > 10  # it did die many times
    assert seen == {2, 3}


@pytest.mark.parametrize("failing", ["os.fsync", "os.replace", "pathlib.Path.write_bytes"])
def test_a_full_disk_leaves_the_checkpoints_that_are_there(tmp_path, monkeypatch, failing):
    save(tmp_path, 1, 2)
    before = names(tmp_path)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(failing, full)
    with pytest.raises(InputError, match=r"checkpoint-000003.pt cannot be written: No space left on device"):
        save(tmp_path, 3)
    assert names(tmp_path) == before
    monkeypatch.undo()
    assert_whole(latest_checkpoint(tmp_path, SETTINGS), 2)


def test_what_a_killed_writer_left_is_cleared_away(tmp_path):
    save(tmp_path, 1)
    leftover = tmp_path / ".unfinished-abc"
    leftover.mkdir()
    (leftover / "checkpoint-000002.pt").write_bytes(b"half")
    (tmp_path / "checkpoint-000002.pt").write_bytes(b"whole, but no manifest")
    assert_whole(latest_checkpoint(tmp_path, SETTINGS), 1)
    save(tmp_path, 2)
    assert len(names(tmp_path)) == 4
