"""Text files in pieces: the pieces are the text, whatever their size; errors say where."""

from __future__ import annotations

import signal
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq.data.text as text_files
from tinygrad_seq.data import CharTokenizer, Streams, encode_file, letters, read_text, text_chunks

UNICODE = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("text")


@given(UNICODE.filter(lambda text: not text.startswith("\ufeff")), st.integers(1, 9), st.booleans())
def test_the_pieces_are_the_text(folder: Path, text: str, size: int, mark: bool) -> None:
    path = folder / "text.txt"
    path.write_bytes(text.encode("utf-8-sig" if mark else "utf-8"))
    pieces = list(text_chunks(path, size))
    assert "".join(pieces) == read_text(path) == text
    assert all(0 < len(piece) <= size for piece in pieces)


@given(UNICODE, st.sampled_from([b"\xff", b"\xc0\xaf", b"\xe2\x82", b"\xed\xa0\x80"]), UNICODE)
def test_a_byte_that_is_no_text_is_named(
    folder: Path, before: str, wrong: bytes, after: str
) -> None:
    path = folder / "wrong.txt"
    content = before.encode() + wrong + after.encode()
    path.write_bytes(content)
    with pytest.raises(UnicodeDecodeError) as error:
        content.decode()
    message = rf"no UTF-8 text: byte {error.value.start} \(0x{wrong[0]:02x}\)"
    for size in (1, 2, 5, 2**20):
        with pytest.raises(ValueError, match=message):
            list(text_chunks(path, size))


@given(UNICODE.filter(lambda text: text.strip("\ufeff")))
def test_a_file_of_ids_is_the_text_encoded(folder: Path, text: str) -> None:
    path = folder / "text.txt"
    path.write_text(text, encoding="utf-8", newline="")
    tokenizer = CharTokenizer.from_text(text_chunks(path, 3))
    assert tokenizer.vocabulary == CharTokenizer.from_text(read_text(path)).vocabulary
    ids = encode_file(path, tokenizer, folder / "ids.npy")
    assert tokenizer.decode(ids) == read_text(path)
    np.testing.assert_array_equal(np.load(folder / "ids.npy"), ids)
    del ids
    assert {p.name for p in folder.iterdir()} <= {"text.txt", "ids.npy", "wrong.txt"}


@pytest.mark.parametrize(("size", "dtype"), [(2, "u1"), (256, "u1"), (257, "u2"), (65537, "u4")])
def test_ids_take_the_smallest_dtype(tmp_path: Path, size: int, dtype: str) -> None:
    text = "".join(map(chr, range(0x10000, 0x10000 + size)))
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    ids = encode_file(tmp_path / "text.txt", CharTokenizer.from_text(text), tmp_path / "ids.npy")
    assert ids.dtype == dtype
    assert len(set(ids.tolist())) == size


def test_neither_text_nor_ids_are_whole_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("the quick brown fox " * 75_000)  # 1.5 MB
    tracemalloc.start()
    try:
        tokenizer = CharTokenizer.from_text(text_chunks(path, 2**16))
        ids = encode_file(path, tokenizer, tmp_path / "ids.npy")
        peak = tracemalloc.get_traced_memory()[1]
        inputs, _ = next(iter(Streams(ids, 32, 16)))
    finally:
        tracemalloc.stop()
    assert len(ids) == 1_500_000
    assert peak < 10e6  # of one piece: its code points, places and ids; all ids would take 12e6
    assert tokenizer.decode(inputs[:, 0]) == ("the quick brown fox " * 2)[:32]


def test_files_that_cannot_be_encoded_leave_nothing_behind(tmp_path: Path) -> None:
    path, into = tmp_path / "text.txt", tmp_path / "ids.npy"
    tokenizer = CharTokenizer.from_text("ab")
    cases: list[tuple[bytes, Any]] = [
        (b"", "is empty"),
        (b"abxab", r"from character 0: character 'x' .* at position 2"),
        (b"ab" * 2**18 + b"x", rf"from character {2**19}: character 'x' .* at position 0"),
        (b"ab\xff", "no UTF-8 text: byte 2"),
    ]
    for content, message in cases:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            encode_file(path, tokenizer, into)
        assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileNotFoundError):
        encode_file(tmp_path / "absent.txt", tokenizer, into)
    with pytest.raises(ValueError, match="at least 1 byte; got 0"):
        list(text_chunks(path, 0))


def test_a_text_that_changes_while_it_is_read_is_encoded_as_it_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "text.txt"
    path.write_text("ab" * 50_000)

    def shrinking(*args: Any, **kwargs: Any) -> Iterator[str]:
        pieces = text_chunks(path, 10_000)
        for _ in range(3):
            yield next(pieces)
        path.write_text("ab" * 15_000)
        yield from pieces

    monkeypatch.setattr(text_files, "text_chunks", shrinking)
    ids = encode_file(path, CharTokenizer.from_text("ab"), tmp_path / "ids.npy")
    assert ids.tolist() == [0, 1] * (len(ids) // 2)
    assert 30_000 <= len(ids) < 100_000


def test_a_full_disk_is_an_error_and_leaves_the_old_ids(tmp_path: Path) -> None:
    path, into = tmp_path / "text.txt", tmp_path / "ids.npy"
    path.write_text("ab" * 2**18)
    into.write_bytes(b"old")
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, before[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            encode_file(path, CharTokenizer.from_text("ab"), into)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert into.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 2


def test_letters_are_the_characters_of_the_time_machine() -> None:
    text = letters("The Time Traveller (for so it will be\r\nconvenient) — 1895; Éloi!")
    assert text == "the time traveller for so it will be convenient loi "
    assert len(CharTokenizer.from_text(letters("The quick brown fox, jumps over a lazy dog"))) == 27


def test_other_encodings_are_read_in_pieces_too(tmp_path: Path) -> None:
    text = "naïve café\r\nœuvre"
    for encoding, size in (("cp1252", 1), ("utf-16", 3), ("utf-8", 2)):
        path = tmp_path / f"{encoding}.txt"
        path.write_bytes(text.encode(encoding))
        assert "".join(text_chunks(path, size, encoding=encoding)) == text
        assert read_text(path, encoding=encoding) == text
        tokenizer = CharTokenizer.from_text(text)
        ids = encode_file(path, tokenizer, tmp_path / "ids.npy", encoding=encoding)
        assert tokenizer.decode(np.array(ids)) == text
    with pytest.raises(ValueError, match=r'no UTF-8 text: byte 2 .* encoding="latin-1"'):
        read_text(tmp_path / "cp1252.txt")
    with pytest.raises(LookupError, match="unknown encoding"):
        read_text(tmp_path / "cp1252.txt", encoding="latin-99")
