import dataclasses
import errno
import os
import zipfile

import numpy as np
import pytest

from bigearth.errors import InputError
from bigearth.learn import checkpoint


def state(epoch=1, **changes):
    values = dict(
        config={"data": "d.h5", "momentum": 0.9, "batch_size": 64},
        digest="sha256:1",
        epoch=epoch,
        samples=0,
        global_batch=128,
        seconds=1.5,
        tables={"metrics": [{"epoch": 1, "time": 2.0}], "steps": []},
        best_score=0.5,
        variables=[np.arange(6, dtype=np.float32).reshape(2, 3), np.array(3, np.int64)],
        statistics=np.ones((2, 4), np.float32),
        best=[np.zeros(3, np.float32)],
    )
    return checkpoint.State(**{**values, **changes})


def test_gives_back_what_was_saved(tmp_path):
    saved = state()
    got = checkpoint.load(checkpoint.save(tmp_path, saved, keep=2))
    for field in dataclasses.fields(saved):
        np.testing.assert_equal(getattr(got, field.name), getattr(saved, field.name))
    assert checkpoint.load(checkpoint.save(tmp_path, state(best=None), keep=2)).best is None


def test_keeps_the_last_in_the_order_of_training(tmp_path):
    for epoch, samples in ((0, 640), (1, 0), (9, 0), (10, 0), (10, 9000)):
        checkpoint.save(tmp_path, state(epoch, samples=samples), keep=3)
    found = [checkpoint.load(p) for p in checkpoint.found(tmp_path)]
    assert [(s.epoch, s.samples) for s in found] == [(9, 0), (10, 0), (10, 9000)]


def test_a_full_disk_is_one_sentence_and_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    good = checkpoint.save(tmp_path, state(1), keep=1)
    before = good.read_bytes()

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"checkpoint-0002.*No space left"):
        checkpoint.save(tmp_path, state(2), keep=1)
    assert [p.name for p in tmp_path.iterdir()] == [good.name] and good.read_bytes() == before


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "text"])
def test_a_damaged_checkpoint_is_refused(tmp_path, damage):
    path = checkpoint.save(
        tmp_path,
        state(variables=[np.random.default_rng(0).random(5000).astype(np.float32)]),
        keep=1,
    )
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    path.write_bytes(
        {"cut": content[:-100], "flip": content, "empty": b"", "text": b"hello"}[damage]
    )
    with pytest.raises(InputError, match="not a readable checkpoint"):
        checkpoint.load(path)


@pytest.mark.parametrize(
    "now, expected",
    [
        (dict(digest="sha256:2"), "was trained on data sha256:1"),
        (dict(config={"data": "d.h5", "momentum": 0.8, "batch_size": 64}), "momentum 0.9, now 0.8"),
        (dict(shapes=[(2, 4), ()]), "another network"),
        (dict(network=2), "another network"),  # fewer best weights than the network has
        (dict(statistics=5), "another network"),
    ],
)
def test_refuses_another_run(now, expected):
    own = dict(
        config={"data": "e.h5", "momentum": 0.9, "batch_size": 32},
        resumes=("data", "batch_size"),
        digest="sha256:1",
        shapes=[(2, 3), ()],
        network=1,
        statistics=4,
    )
    saved = state(best=[np.zeros((2, 3), np.float32)])
    checkpoint.check("c.npz", saved, **own)  # another path and batch size are the same run
    with pytest.raises(InputError, match=expected):
        checkpoint.check("c.npz", saved, **{**own, **now})


def rewritten(path, change):
    """The same members, but for what `change(name -> bytes)` does to them; every CRC is right."""
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.update({"best_0009.npy": m.pop("best_0000.npy")}),
        lambda m: m.update({"variable_0001.npy": m["variable_0001.npy"] + b"more"}),
        lambda m: m.update({"extra.npy": m["best_0000.npy"]}),
        lambda m: m.update({"about.npy": m["best_0000.npy"]}),
        lambda m: m.pop("statistics.npy"),
    ],
    ids=["renamed", "longer", "extra", "about", "missing"],
)
def test_names_and_lengths_are_checked_besides_the_crc(tmp_path, change):
    path = checkpoint.save(tmp_path, state(), keep=1)
    rewritten(path, change)
    with pytest.raises(InputError, match="not a readable checkpoint.*delete it"):
        checkpoint.load(path)


def test_a_flipped_bit_in_the_last_name_of_the_directory_is_refused(tmp_path):
    path = checkpoint.save(tmp_path, state(), keep=1)
    content = bytearray(path.read_bytes())
    content[content.rindex(b"best_0000.npy") + 8] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="not a readable checkpoint"):
        checkpoint.load(path)
