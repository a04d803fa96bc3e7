"""Vocabulary and character tokenizer: there and back, a fixed order, errors that say where."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as ts
from tinygrad_seq.data import CharTokenizer, Vocabulary

TEXT = "the cat sat\non the mat"
ANY_TEXT = st.text(st.characters(), max_size=40)  # half surrogate pairs and NULs too


@given(ANY_TEXT.filter(bool))
def test_encoding_and_decoding_give_the_text_again(text: str) -> None:
    tokenizer = CharTokenizer.from_text(text)
    ids = tokenizer.encode(text)
    assert ids.dtype == np.int64
    assert ids.shape == (len(text),)
    assert tokenizer.decode(ids) == text
    np.testing.assert_array_equal(ids, tokenizer.vocabulary.encode(text))
    assert tokenizer.vocabulary.decode(ids) == list(text)


@given(ANY_TEXT.filter(bool), st.randoms(use_true_random=False))
def test_ids_depend_on_the_counts_alone(text: str, random) -> None:
    shuffled = list(text)
    random.shuffle(shuffled)
    assert Vocabulary.from_iterable(text) == Vocabulary.from_iterable(shuffled)


def test_frequent_tokens_come_first_and_equals_in_alphabetical_order() -> None:
    made = Vocabulary.from_iterable("bcabcab")
    assert made.tokens == ["b", "a", "c"]
    assert [made[t] for t in "bac"] == [0, 1, 2]


def test_words_with_a_threshold_special_tokens_and_an_unknown_one() -> None:
    made = Vocabulary.from_iterable(
        [*"abacab", "<pad>"], min_count=2, unknown="<unk>", special=["<pad>", "<eos>"]
    )
    assert made.tokens == ["<unk>", "<pad>", "<eos>", "a", "b"]
    np.testing.assert_array_equal(made.encode(["a", "c", "zzz", "b"]), [3, 0, 0, 4])
    assert made.decode([3, 0]) == ["a", "<unk>"]
    assert made["zzz"] == 0
    assert "zzz" not in made
    assert "b" in made


def test_the_list_of_tokens_makes_it_again() -> None:
    made = Vocabulary.from_iterable(TEXT, unknown="\ufffd")
    again = Vocabulary(made.tokens, made.unknown)
    assert again == made
    assert made != Vocabulary(made.tokens)
    assert len(again) == len(made) == len(list(made))
    assert repr(made).startswith("Vocabulary(12 tokens: '\ufffd', ")


def test_a_token_without_an_id_is_named_with_its_position() -> None:
    made = Vocabulary(["a", "b"])
    with pytest.raises(ValueError, match="token 'x' at position 2 is not among the 2"):
        made.encode(["a", "b", "x"])
    with pytest.raises(KeyError, match="token 'x' is not among the 2"):
        made["x"]
    tokenizer = CharTokenizer(made)
    with pytest.raises(ValueError, match=r"character 'é' \(U\+00E9\) at position 3 is not among"):
        tokenizer.encode("abaéb")


def test_an_unknown_character_stands_for_others() -> None:
    tokenizer = CharTokenizer.from_text("aab", unknown="\ufffd")
    np.testing.assert_array_equal(tokenizer.encode("abz\U0001f600"), [1, 2, 0, 0])
    assert tokenizer.decode([1, 0, 2]) == "a\ufffdb"


def test_nothing_encodes_to_nothing() -> None:
    tokenizer = CharTokenizer.from_text("ab")
    assert tokenizer.encode("").shape == (0,)
    assert tokenizer.decode([]) == ""
    assert Vocabulary(["a"]).encode([]).dtype == np.int64


@pytest.mark.parametrize("wrong", [[0, 2], [0, -1], [0, 10**6]])
def test_an_id_out_of_range_is_named_with_its_position(wrong: list[int]) -> None:
    tokenizer = CharTokenizer.from_text("ab")
    message = f"id {wrong[1]} at position 1 is out of range for 2 tokens"
    with pytest.raises(IndexError, match=message):
        tokenizer.decode(wrong)
    with pytest.raises(IndexError, match=message):
        tokenizer.vocabulary.decode(np.array(wrong))


def test_ids_of_another_kind_are_refused() -> None:
    tokenizer = CharTokenizer.from_text("ab")
    with pytest.raises(TypeError, match="ids are integers; got dtype float64"):
        tokenizer.decode([0.0, 1.0])
    with pytest.raises(ValueError, match=r"shape \(T,\); got shape \(1, 2\)"):
        tokenizer.decode([[0, 1]])


def test_what_is_no_text_is_not_encoded() -> None:
    for wrong in (b"ab", ["a", "b"], 3):
        with pytest.raises(TypeError, match=r"encodes a str; got a (bytes|list|int)"):
            CharTokenizer.from_text("ab").encode(wrong)


def test_vocabularies_that_make_no_sense_are_refused() -> None:
    for make, kind, message in [
        (lambda: Vocabulary([]), ValueError, "at least one token"),
        (lambda: CharTokenizer.from_text(""), ValueError, "at least one token"),
        (lambda: Vocabulary(["a", "b", "a"]), ValueError, "'a' was given twice: as 0 and 2"),
        (lambda: Vocabulary(["a", 3]), TypeError, "token 1 is 3"),
        (lambda: Vocabulary(["a"], unknown="?"), ValueError, "must be one of the tokens"),
        (lambda: CharTokenizer(Vocabulary(["a", "<unk>"])), ValueError, "got the token '<unk>'"),
    ]:
        with pytest.raises(kind, match=message):
            make()


def test_a_checkpoint_keeps_the_ids(tmp_path: Path) -> None:
    tokenizer = CharTokenizer.from_text("hello", unknown="?")
    run = ts.Checkpoint(tokenizer=tokenizer, words=Vocabulary(["a", "bb"]))
    run.save(tmp_path / "run.npz")
    run.restore(tmp_path / "run.npz")
    parts = ts.load(tmp_path / "run.npz")["parts"]
    assert Vocabulary(**parts["tokenizer"]) == tokenizer.vocabulary
    for other, message in (
        (Vocabulary(["a", "c"]), "id 1 is 'bb' there, 'c' here"),
        (Vocabulary(["a", "bb", "c"]), "id 2 is None there, 'c' here"),
        (Vocabulary(["a", "bb"], "a"), "unknown is None there, 'a' here"),
    ):
        with pytest.raises(ts.CheckpointError, match=message):
            ts.Checkpoint(tokenizer=tokenizer, words=other).restore(tmp_path / "run.npz")
