"""Piano rolls: the public formats and our own, nothing lost; what is no piano roll is named."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as ts
from tinygrad_seq.data import pad_sequences, read_rolls, roll_of_notes, save_rolls

NAMES = {"train": "traindata", "valid": "validdata", "test": "testdata"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rolls")


def drawn(lengths: list[int], seed: int = 0) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [(rng.random((length, 88)) < 0.05).astype(np.uint8) for length in lengths]


def objects(pieces: list[Any]) -> Any:
    """An object array (1, N), as MATLAB's cell arrays are read."""
    array = np.empty((1, len(pieces)), dtype=object)
    array[0, :] = pieces
    return array


def assert_same(found: list[Any], pieces: list[Any]) -> None:
    assert len(found) == len(pieces)
    for one, other in zip(found, pieces, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == ts.default_dtype()


@given(
    st.dictionaries(
        st.sampled_from(list(NAMES)),
        st.lists(st.integers(1, 6), min_size=1, max_size=4),
        min_size=1,
    )
)
def test_every_format_gives_the_pieces_again(folder: Path, lengths: dict[str, list[int]]) -> None:
    rolls = {split: drawn(given, len(split)) for split, given in lengths.items()}
    save_rolls(folder / "ours.npz", rolls)
    found = read_rolls(folder / "ours.npz")
    assert list(found) == [split for split in NAMES if split in rolls]
    for split, pieces in rolls.items():
        assert_same(found[split], pieces)

    public = {NAMES[split]: objects(pieces) for split, pieces in rolls.items()}
    np.savez(folder / "public.npz", **public)
    found = read_rolls(folder / "public.npz", allow_pickle=True)
    for split, pieces in rolls.items():
        assert_same(found[split], pieces)


def test_matlab_files_of_the_public_sets_are_read(tmp_path: Path) -> None:
    savemat = pytest.importorskip("scipy.io").savemat
    rolls = {split: drawn([3, 5, 1], k) for k, split in enumerate(NAMES)}
    contents = {NAMES[s]: objects([p.astype(float) for p in rolls[s]]) for s in NAMES}
    savemat(tmp_path / "JSB_Chorales.mat", contents)
    found = read_rolls(tmp_path / "JSB_Chorales.mat")
    for split in NAMES:
        assert_same(found[split], rolls[split])


def test_pieces_of_one_length_may_be_one_array(tmp_path: Path) -> None:
    pieces = drawn([4, 4, 4])
    np.savez(tmp_path / "rolls.npz", train=np.array(pieces))
    assert_same(read_rolls(tmp_path / "rolls.npz")["train"], pieces)


def test_pieces_are_ready_for_a_net(tmp_path: Path) -> None:
    save_rolls(tmp_path / "rolls.npz", {"train": drawn([9, 4])})
    batch, lengths = pad_sequences(read_rolls(tmp_path / "rolls.npz")["train"])
    assert batch.shape == (9, 2, 88)
    h, _ = ts.nn.LSTM(88, 5)(batch, lengths=lengths)
    assert (h.detach().numpy()[4:, 1] == 0).all()


def test_pickles_are_not_read_unless_asked(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (pytest.fail, ("a pickle was run",))

    array = np.empty(1, dtype=object)
    array[0] = Trap()
    np.savez(tmp_path / "trap.npz", train=array)
    with pytest.raises(ValueError, match="can run any code: if you trust"):
        read_rolls(tmp_path / "trap.npz")


def test_what_is_no_piano_roll_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rolls.npz"
    good, wide = drawn([3])[0], np.zeros((3, 4))
    two, gap = good.astype(float), good.astype(float)
    two[1, 7], gap[2, 3] = 2, np.nan
    for content, message in [
        ({"train": np.array([1.0])}, r"object array of pieces \(T, 88\), .* got float64 of"),
        ({"music": good}, r"holds \['music'\]; expected train, valid and test"),
        ({"train": objects([good, wide])}, r"train\[1\]: .* or \(T, 128\), T ≥ 1; got \(3, 4\)"),
        ({"train": objects([good[:0]])}, r"train\[0\]: .* got \(0, 88\)"),
        ({"validdata": objects([good, two])}, r"\[1\]: .* got 2.0 at step 1, column 7"),
        ({"test": objects([gap])}, r"test\[0\]: .* got nan at step 2, column 3"),
        ({"train": objects(["abc"])}, r"train\[0\]: .* got \(\)"),
        ({"train": good, "train_lengths": [1, 1]}, "sum up to its rows"),
        ({"train": good, "train_lengths": [4, -1]}, "must be positive integers"),
        ({"train": good, "train_lengths": [1.5, 1.5]}, "must be positive integers"),
    ]:
        np.savez(path, **content)
        with pytest.raises(ValueError, match=message):
            read_rolls(path, allow_pickle=True)
    for rolls, message in [
        ({}, r"for train, valid or test; got \[\]"),
        ({"music": [good]}, r"got \['music'\]"),
        ({"train": []}, "train has no pieces"),
        ({"train": [good, wide]}, r"train\[1\]: expected a piano roll"),
    ]:
        with pytest.raises(ValueError, match=message):
            save_rolls(path, rolls)
    with pytest.raises(ValueError, match=r"writes \.npz files; got rolls\.mat"):
        save_rolls("rolls.mat", {"train": [good]})


def test_damaged_files_get_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("scipy.io")
    path = tmp_path / "rolls.npz"
    save_rolls(path, {"train": drawn([50])})
    whole = path.read_bytes()
    middle = whole[:200] + b"\x00" * 60 + whole[260:]
    other = bytearray(whole)
    other[10], other[whole.index(b"PK\x01\x02") + 10] = 99, 99  # a compression there is not
    far = bytearray(whole)
    far[-4] ^= 0x80  # where the list of members begins
    hiding = bytearray(whole)  # the first member's comment, of 46 bytes, is the second member
    hiding[whole.index(b"PK\x01\x02") + 32] = 46
    for content in (b"", b"no archive", whole[:-30], middle, bytes(other), bytes(far), hiding):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"rolls\.npz"):
            read_rolls(path)
    for name in ("absent.npz", "absent.mat"):
        with pytest.raises(FileNotFoundError):
            read_rolls(tmp_path / name)
    with pytest.raises(ValueError, match=r"reads \.mat, \.npz and \.json files"):
        read_rolls("rolls.mid")
    (tmp_path / "rolls.mat").write_bytes(b"nothing of the kind" * 20)
    with pytest.raises(ValueError, match="cannot be read as a"):
        read_rolls(tmp_path / "rolls.mat")
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(ImportError, match="pip install scipy"):
        read_rolls(tmp_path / "rolls.mat")


def test_an_array_of_texts_is_told_with_its_part(tmp_path: Path) -> None:
    path = tmp_path / "rolls.npz"
    np.savez(path, train=np.full((2, 3, 88), "a"))
    with pytest.raises(ValueError, match=r"train\[0\]: expected 0 and 1; got dtype <U1"):
        read_rolls(path)


@given(st.lists(st.lists(st.integers(21, 108), max_size=4), min_size=1, max_size=6))
def test_notes_become_rolls(steps: list[list[int]]) -> None:
    for keys, lowest in ((88, 21), (128, 0)):
        roll = roll_of_notes(steps, keys)
        assert roll.shape == (len(steps), keys)
        assert roll.dtype == ts.default_dtype()
        for row, notes in zip(roll, steps, strict=True):
            assert set(np.flatnonzero(row) + lowest) == set(notes)


def test_rests_of_voices_are_no_notes() -> None:
    voices = np.array([[60.0, np.nan], [np.nan, np.nan], [62.0, 48.0]])
    expected = roll_of_notes([[60], [], [62, 48]])
    np.testing.assert_array_equal(roll_of_notes(voices), expected)
    np.testing.assert_array_equal(roll_of_notes([[60, -1], [-1, -1], (62, 48)]), expected)


def test_lists_of_notes_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "chorales.json"
    path.write_text('{"train": [[[60, 64], []], [[70]]], "valid": [[[21]]]}')
    rolls = read_rolls(path)
    assert_same(rolls["train"], [roll_of_notes([[60, 64], []]), roll_of_notes([[70]])])
    assert_same(rolls["valid"], [roll_of_notes([[21]])])
    for content, message in (
        (
            '{"train": [[[60, 20]]]}',
            r"train\[0\]: expected MIDI notes, integers from 21 to 108; got 20",
        ),
        (
            '{"train": [[["C"]]]}',
            r"train\[0\]: expected MIDI notes, integers; got \['C'\] at step 0",
        ),
        (
            '{"train": [[[1e400]]]}',
            r"train\[0\]: expected MIDI notes, integers from 21 to 108; got inf",
        ),
        ('{"train": [[]]}', r"train\[0\]: expected a piano roll"),
        ("[1]", "lists of pieces for train"),
        ("{", "cannot be read as a .json file"),
        ("[" * 10**5, "cannot be read as a .json file"),
        ('{"train": [[[1' + "0" * 400 + "]]]}", r"train\[0\]: "),
    ):
        path.write_text(content)
        with pytest.raises(ValueError, match=message):
            read_rolls(path)


def test_rolls_of_128_pitches(tmp_path: Path) -> None:
    pieces = [roll_of_notes([[0, 127], [60]], 128), roll_of_notes([[5]], 128)]
    save_rolls(tmp_path / "midi.npz", {"train": pieces})
    assert_same(read_rolls(tmp_path / "midi.npz")["train"], pieces)
    with pytest.raises(ValueError, match="88 keys, or 128 pitches; got 100"):
        roll_of_notes([[60]], 100)
    with pytest.raises(ValueError, match=r"got 60\.5 at step 0"):
        roll_of_notes([[60.5]], 128)
    with pytest.raises(ValueError, match="from 21 to 108; got 20 at step 1: with keys=128"):
        roll_of_notes([[60], [20]])
    with pytest.raises(ValueError, match="train has pieces of 88 keys and of 128"):
        save_rolls(tmp_path / "mixed.npz", {"train": [pieces[0], roll_of_notes([[60]])]})
