"""What is saved comes back to the last bit, in both formats, and what cannot be is refused."""

from __future__ import annotations

import collections
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from device import host
from hypothesis import example, given
from trees import NPZ_DTYPES, SHARED_DTYPES, arrays, assert_identical, trees

import tinygrad_seq as ts
from tinygrad_seq.io import CheckpointError, load, save
from tinygrad_seq.tensor import Tensor

pytestmark = pytest.mark.usefixtures("backend")

SUFFIXES = [".npz", ".safetensors"]


@pytest.fixture(params=SUFFIXES)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == ".safetensors":
        pytest.importorskip("safetensors")
    return tmp_path / f"file{request.param}"


def there_and_back(tree: Any, suffix: str) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"tree{suffix}"
        save(file, tree)
        assert [p.name for p in Path(folder).iterdir()] == [file.name]
        return load(file)


@given(trees(NPZ_DTYPES))
@example({"a": {"b": np.zeros(1)}, "a.b": np.ones(2), "a.b~1": np.ones(3), "a.npy": np.ones(4)})
@example({"\0": np.zeros(1), "?": np.ones(1), "\ud800": np.ones(2), "": np.ones(3)})
@example({1: np.zeros(1), "1": np.ones(1), "x" * 70_000: np.ones(2), "x" * 70_001: np.ones(3)})
@example({"file": np.zeros(2), "allow_pickle": np.ones(2), "tree.json": np.ones(1)})
@example([{}, [], (), {"a": {}}, "", -0.0, float("nan"), float("-inf"), 10**5000, -(2**53)])
def test_a_tree_comes_back_from_npz(tree: Any) -> None:
    assert_identical(tree, there_and_back(tree, ".npz"))


@given(trees(SHARED_DTYPES))
@example({"a": {"b": np.zeros(1)}, "a.b": np.ones(2), "__metadata__": np.ones(3)})
@example({"\0": np.zeros(1), "?": np.ones(1), "\ud800": np.ones(2), "": np.ones(3)})
@example([{}, [], (), {"a": {}}, "", -0.0, float("nan"), float("-inf"), 10**5000, -(2**53)])
def test_a_tree_comes_back_from_safetensors(tree: Any) -> None:
    pytest.importorskip("safetensors")
    assert_identical(tree, there_and_back(tree, ".safetensors"))


@given(arrays([np.dtype("f4"), np.dtype(">f8")]))
def test_what_is_loaded_is_writable_and_new(array: np.ndarray) -> None:
    for suffix in SUFFIXES:
        loaded = there_and_back([array, array], suffix)
        assert all(one.flags.writeable for one in loaded)
        assert not np.shares_memory(loaded[0], loaded[1])


def test_subclasses_come_back_plain(path: Path) -> None:
    Point = collections.namedtuple("Point", "x y")
    save(path, {"d": collections.OrderedDict(b=1, a=2), "p": Point(1, 2)})
    assert_identical(load(path), {"d": {"b": 1, "a": 2}, "p": (1, 2)})


def test_a_result_comes_back_as_a_leaf(path: Path) -> None:
    w = Tensor(np.arange(3.0), requires_grad=True)
    save(path, w * 2)
    loaded = load(path)
    assert loaded.is_leaf
    assert loaded.requires_grad
    np.testing.assert_array_equal(host(loaded), [0, 2, 4])


def test_the_state_of_the_generator_comes_back(path: Path) -> None:
    save(path, ts.get_rng_state())
    expected = ts.generator().random(5)
    ts.set_rng_state(load(path))
    np.testing.assert_array_equal(ts.generator().random(5), expected)


FLAT = {
    "rnn.weight_ih_l0": np.arange(6.0).reshape(2, 3).T,
    "b/c": np.float32([1]),
    "n": np.array(3),
}


def test_numpy_reads_an_npz_by_the_same_names(tmp_path: Path) -> None:
    save(tmp_path / "a.npz", FLAT)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as archive:
        assert set(archive.files) == {*FLAT, "tree.json"}
        for name, array in FLAT.items():
            assert_identical(archive[name], array)


def test_safetensors_reads_a_flat_dict_under_the_same_names(tmp_path: Path) -> None:
    library = pytest.importorskip("safetensors.numpy")
    save(tmp_path / "a.safetensors", FLAT)
    assert_identical(
        dict(sorted(library.load_file(tmp_path / "a.safetensors").items())),
        dict(sorted(FLAT.items())),
    )


def test_a_plain_safetensors_file_loads_as_a_flat_dict(tmp_path: Path) -> None:
    library = pytest.importorskip("safetensors.numpy")
    plain = {name: np.ascontiguousarray(array) for name, array in FLAT.items() if array.ndim}
    for metadata in (None, {"format": "pt"}):
        library.save_file(plain, tmp_path / "a.safetensors", metadata=metadata)
        loaded = load(tmp_path / "a.safetensors")
        assert loaded.keys() == plain.keys()
        for name, array in plain.items():
            assert_identical(loaded[name], array)


def test_a_file_of_pytorch_loads_with_bfloat16_as_float32(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    library = pytest.importorskip("safetensors.torch")
    values = torch.tensor([1.0, -2.5, 3e38, float("inf"), 1e-40])
    file = tmp_path / "a.safetensors"
    library.save_file({"w": values.bfloat16(), "v": values.double()}, file)
    loaded = load(file)
    assert_identical(loaded["w"], values.bfloat16().float().numpy())
    assert_identical(loaded["v"], values.double().numpy())
    library.save_file({"w": values.to(torch.float8_e4m3fn)}, file)
    with pytest.raises(CheckpointError, match="NumPy has no dtype F8_E4M3, which 'w' has"):
        load(file)


def recursive() -> list:
    tree: list = []
    tree.append(tree)
    return tree


@pytest.mark.parametrize(
    ("tree", "error", "message"),
    [
        ({"a": [1, {2, 3}]}, TypeError, r"cannot save tree\['a'\]\[1\]: .* got set"),
        ({"a": b"bytes"}, TypeError, "got bytes"),
        ({"a": 1j}, TypeError, "got complex"),
        (np.array([None, 1]), TypeError, "cannot save tree: dtype object has no plain"),
        ({"x": np.zeros(2, [("a", object)])}, TypeError, "has no plain form"),
        ({"x": np.zeros(2, "V3")}, TypeError, r"tree\['x'\]: dtype \|V3"),
        ({"x": np.ma.masked_array([1, 2], [0, 1])}, TypeError, "data and mask apart"),
        ({"x": {(1, 2): 3}}, TypeError, r"tree\['x'\]: its keys must be str or int; got \(1, 2\)"),
        ({True: 1}, TypeError, "keys must be str or int; got True"),
        (recursive(), ValueError, "containing itself"),
    ],
)
def test_what_cannot_be_saved_is_refused_and_the_old_file_kept(
    path: Path, tree: Any, error: type[Exception], message: str
) -> None:
    save(path, "old")
    with pytest.raises(error, match=message):
        save(path, tree)
    assert load(path) == "old"
    assert len(list(path.parent.iterdir())) == 1


def test_safetensors_names_a_dtype_that_it_lacks(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    with pytest.raises(TypeError, match=r"no dtype complex128, which 'm.x' has: save as .npz"):
        save(tmp_path / "a.safetensors", {"m": {"x": np.zeros(2, complex)}})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["model", "model.pt", "model.npz.bak"])
def test_an_unknown_suffix_is_refused(tmp_path: Path, name: str) -> None:
    for call in (lambda p: save(p, 1), load):
        with pytest.raises(ValueError, match=r"ends in \.npz or \.safetensors; got .*model"):
            call(tmp_path / name)


def test_missing_files_and_folders_are_named(path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        save(path.parent / "nowhere" / path.name, 1)
    with pytest.raises(FileNotFoundError, match="file"):
        load(path)
    path.mkdir()
    with pytest.raises(IsADirectoryError, match="it is a folder"):
        save(path, 1)


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "safetensors", None)
    for call in (lambda p: save(p, 1), load):
        with pytest.raises(ImportError, match=r"pip install safetensors"):
            call(tmp_path / "a.safetensors")
