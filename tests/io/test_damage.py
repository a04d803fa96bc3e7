"""A damaged, truncated or foreign file gives one kind of error, or the very tree that was saved."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trees import assert_identical

from tinygrad_seq.io import CheckpointError, load, save

TREE = {
    "model": {"w": np.arange(12, dtype=np.float32).reshape(3, 4), "b": np.zeros(0)},
    "rng": {"state": 2**120 + 1},
    "losses": [1.5, float("nan")],
    "name": "a net",
}


@pytest.fixture(scope="module", params=[".npz", ".safetensors"])
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if request.param == ".safetensors":
        pytest.importorskip("safetensors")
    path = tmp_path_factory.mktemp("damage") / f"good{request.param}"
    save(path, TREE)
    return path


def other(saved: Path, content: bytes) -> Path:
    path = saved.with_stem("bad")
    path.write_bytes(content)
    return path


def error_or_the_same(path: Path) -> bool:
    """Whether the file was refused; a tree that loads must be the one that was saved."""
    try:
        loaded = load(path)
    except CheckpointError as error:
        message = str(error)
    else:
        assert_identical(loaded, TREE)
        return False
    assert str(path) in message
    assert "load an earlier copy" in message
    return True


def test_every_truncation_is_noticed(saved: Path) -> None:
    content = saved.read_bytes()
    lengths = {*range(0, len(content), 7), *range(12), *range(len(content) - 30, len(content))}
    for length in lengths:
        assert error_or_the_same(other(saved, content[:length])), length


def test_a_flipped_bit_anywhere_is_noticed_or_harmless(saved: Path) -> None:
    content = saved.read_bytes()
    refused = 0
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        refused += error_or_the_same(other(saved, bytes(damaged)))
    assert refused > 0.6 * len(content)


@settings(max_examples=150)
@given(data=st.data())
def test_overwritten_bytes_are_noticed_or_harmless(saved: Path, data: st.DataObject) -> None:
    content = saved.read_bytes()
    start = data.draw(st.integers(0, len(content) - 1))
    junk = data.draw(st.binary(min_size=1, max_size=40))
    error_or_the_same(other(saved, content[:start] + junk + content[start + len(junk) :]))


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused(saved: Path, content: bytes) -> None:
    if saved.suffix == ".safetensors" and content[:10].endswith(b"{}"):
        return  # an empty dict of arrays
    assert error_or_the_same(other(saved, content))


def test_a_file_of_another_kind_is_refused(saved: Path) -> None:
    for content in (b"", b"text", pickle.dumps(TREE), b"\x93NUMPY" + bytes(50), bytes(1000)):
        assert error_or_the_same(other(saved, content))


def test_a_plain_npz_is_refused_and_told_from_ours(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", w=np.zeros(3))
    with pytest.raises(CheckpointError, match=r"holds no tree\.json; numpy\.load reads"):
        load(tmp_path / "a.npz")


def rewritten(path: Path, tree: object, **document: object) -> Path:
    """An archive with a document of our making."""
    content = {"format": "tinygrad_seq", "version": 1, "tree": tree} | document
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tree.json", json.dumps(content))
    return path


def test_documents_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    assert load(rewritten(path, [1, {"tuple": []}])) == [1, ()]
    for tree, document, message in [
        (1, {"version": 2}, "version 2 is later than 1"),
        (1, {"format": "another"}, "cannot be loaded"),
        ({"array": "w"}, {}, "'w'"),
        ({"spell": 1}, {}, "unknown kind 'spell'"),
        ({"dict": 3}, {}, "cannot be loaded"),
        ({}, {}, "cannot be loaded"),
    ]:
        with pytest.raises(CheckpointError, match=message):
            load(rewritten(path, tree, **document))


def test_an_archive_with_an_array_too_many_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    save(path, {"a": np.zeros(1), "b": np.zeros(1)})
    with zipfile.ZipFile(path) as archive:
        extra = archive.read("b.npy")
    with zipfile.ZipFile(rewritten(path, [1]), "a") as archive:
        archive.writestr("b.npy", extra)
    with pytest.raises(CheckpointError, match=r"arrays that belong nowhere: \['b'\]"):
        load(path)


def test_objects_in_an_archive_are_never_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, w=np.array([print], dtype=object))
    with zipfile.ZipFile(path, "a") as archive:
        tree = {"format": "tinygrad_seq", "version": 1, "tree": {"array": "w"}}
        archive.writestr("tree.json", json.dumps(tree))
    with pytest.raises(CheckpointError, match="allow_pickle=False"):
        load(path)
