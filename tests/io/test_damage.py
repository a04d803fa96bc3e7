"""A damaged, truncated or foreign file gives one kind of error, or the very tree that was saved."""

from __future__ import annotations

import io
import json
import pickle
import tracemalloc
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
    with pytest.raises(CheckpointError, match="would have to be unpickled"):
        load(path)


def archive_of(path: Path, members: dict[str, bytes], tree: object, compress: int = 0) -> Path:
    """An archive with members and a document of our making."""
    document = {"format": "tinygrad_seq", "version": 1, "tree": tree}
    with zipfile.ZipFile(path, "w", compress) as archive:
        archive.writestr("tree.json", json.dumps(document))
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def npy(array: np.ndarray, shape: object = None, descr: object = None) -> bytes:
    """A ``.npy`` member, which may declare another shape or dtype than it has."""
    file = io.BytesIO()
    header = {"descr": descr or array.dtype.str, "fortran_order": False, "shape": array.shape}
    np.lib.format.write_array_header_1_0(file, header | ({"shape": shape} if shape else {}))
    return file.getvalue() + array.tobytes()


SMALL = npy(np.zeros(4))


@pytest.mark.parametrize(
    ("members", "tree", "message"),
    [
        ({"w.npy": npy(np.zeros(4), (10**11,))}, {"array": "w"}, "are no array of shape"),
        ({"w.npy": npy(np.zeros(4), (10**11, 10**11))}, {"array": "w"}, "are no array of shape"),
        ({"w.npy": npy(np.zeros(4), (-4,))}, {"array": "w"}, "are no array of shape"),
        ({"w.npy": npy(np.zeros(4), (3,))}, {"array": "w"}, "are no array of shape"),
        ({"w.npy": npy(np.zeros(4), (4.0,))}, {"array": "w"}, "TypeError"),
        ({"w.npy": npy(np.zeros(0), (10**10,), "|S0")}, {"array": "w"}, "of the empty dtype"),
        ({"w.npy": npy(np.zeros(4), descr="|O")}, {"array": "w"}, "would have to be unpickled"),
        ({"w.npy": npy(np.zeros(4), descr="what")}, {"array": "w"}, "TypeError"),
        ({"w.npy": SMALL[:8] + b"\xff\xff" + SMALL[10:]}, {"array": "w"}, "65535 bytes is too"),
        ({"w.npy": SMALL}, {"array": "w", "dtype": "O"}, "float64 cannot have been object"),
        ({"w.npy": SMALL}, {"array": "w", "dtype": "<f4"}, "float64 cannot have been float32"),
        ({"w": SMALL}, {"array": "w"}, "'w' is none of save"),
        ({"w.npy": SMALL, "v.npy": SMALL}, {"array": "w"}, "belong nowhere"),
    ],
)
def test_what_a_member_declares_is_believed_where_it_fits(
    tmp_path: Path, members: dict[str, bytes], tree: object, message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        load(archive_of(tmp_path / "a.npz", members, tree))


def test_a_small_file_cannot_ask_for_much_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    archive_of(path, {"w.npy": npy(np.zeros(10**7))}, {"array": "w"}, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 10**5
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=r"compressed, which save\(\) never does"):
            load(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * 10**6


def test_members_that_share_bytes_are_refused(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "a.npz", {"w.npy": npy(np.zeros(1000))}, {"array": "w"})
    assert load(path).shape == (1000,)
    content = path.read_bytes()
    start = content.index(b"PK\x01\x02", content.rindex(b"w.npy") - 60)  # its entry at the end
    end = content.index(b"PK\x05\x06")
    again = content[start:end].replace(b"w.npy", b"v.npy")
    record = bytearray(content[end:])
    record[8:12] = (3).to_bytes(2, "little") * 2
    record[12:16] = (int.from_bytes(record[12:16], "little") + len(again)).to_bytes(4, "little")
    path.write_bytes(content[:end] + again + bytes(record))
    with pytest.raises(CheckpointError, match=r"larger than the file|verlap|differ"):
        load(path)


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "a.npz", {"w.npy": SMALL}, {"array": "w"})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("w.npy", npy(np.ones(4)))
    with pytest.raises(CheckpointError, match="two members of one name"):
        load(path)


def test_a_message_does_not_grow_with_the_file(tmp_path: Path) -> None:
    members = {f"{k}{'x' * 90}.npy": SMALL for k in range(500)}
    for path in (
        archive_of(tmp_path / "a.npz", members, 1),
        archive_of(tmp_path / "b.npz", {}, {"spell" * 10**4: 1}),
    ):
        with pytest.raises(CheckpointError) as error:
            load(path)
        assert len(str(error.value)) < 1000


@pytest.mark.parametrize(("suffix", "most"), [(".npz", 1.2), (".safetensors", 2.2)])
def test_a_load_takes_little_more_than_the_file(tmp_path: Path, suffix: str, most: float) -> None:
    if suffix == ".safetensors":
        pytest.importorskip("safetensors")
    path = tmp_path / f"run{suffix}"
    save(path, {"a": np.ones((500, 1000)), "b": [np.ones(500_000)]})
    load(path)  # imports
    tracemalloc.start()
    try:
        loaded = load(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < most * path.stat().st_size
    loaded["a"] += 1
    assert (loaded["a"] == 2).all()
    assert (loaded["b"][0] == 1).all()
