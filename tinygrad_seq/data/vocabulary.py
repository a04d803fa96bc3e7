"""Tokens and their ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..messages import Hinted


class Vocabulary(Hinted):
    """A finite set of tokens, numbered from 0 in a fixed order.

    ``Vocabulary(**v.state_dict())`` is ``v`` again. As a part of a
    :class:`~tinygrad_seq.Checkpoint` it is saved with the model, and found again before the model
    is made: ``Vocabulary(**ts.load(path)["parts"]["vocabulary"])``.

    Args:
        tokens: The tokens in the order of their ids, each once.
        unknown: One of the tokens, used for every token that is not in the vocabulary; None
            makes such a token an error.

    Attributes:
        tokens: The tokens in the order of their ids.
        unknown: The token used for unknown tokens, or None.

    Raises:
        TypeError: A token is not a string.
        ValueError: No tokens, one given twice, or ``unknown`` is not among them.
    """

    def __init__(self, tokens: Iterable[str], unknown: str | None = None) -> None:
        self.tokens = list(tokens)
        self.unknown = unknown
        if not self.tokens:
            raise ValueError("a vocabulary needs at least one token; got none (an empty text?)")
        self._ids: dict[str, int] = {}
        for i, token in enumerate(self.tokens):
            if not isinstance(token, str):
                raise TypeError(f"tokens are strings; token {i} is {token!r}")
            if self._ids.setdefault(token, i) != i:
                raise ValueError(f"token {token!r} was given twice: as {self._ids[token]} and {i}")
        if unknown is not None and unknown not in self._ids:
            raise ValueError(f"unknown={unknown!r} must be one of the tokens, to have an id")

    @classmethod
    def from_iterable(
        cls,
        tokens: Iterable[str],
        *,
        min_count: int = 1,
        unknown: str | None = None,
        special: Sequence[str] = (),
    ) -> Vocabulary:
        """The vocabulary of a text, given as its tokens (a string gives its characters).

        Ids go to ``unknown`` first, then ``special``, then by decreasing frequency, in
        alphabetical order for equal counts, so they depend only on the counts.

        Args:
            tokens: The tokens of the text, repeated as they come.
            min_count: Rarer tokens are left out.
            unknown: A token used for tokens left out or never seen.
            special: Tokens with a special meaning, such as padding or the end of a sentence.
        """
        first = [] if unknown is None else [unknown]
        first += [token for token in special if token != unknown]
        counts = Counter(tokens)
        found = [t for t, count in counts.items() if count >= min_count and t not in first]
        found.sort(key=lambda token: (-counts[token], token))
        return cls(first + found, unknown)

    def __len__(self) -> int:
        return len(self.tokens)

    def __iter__(self) -> Iterator[str]:
        return iter(self.tokens)

    def __contains__(self, token: object) -> bool:
        return token in self._ids

    def __getitem__(self, token: str) -> int:
        """The id of ``token``; KeyError if it has none and there is no ``unknown``."""
        if token in self._ids:
            return self._ids[token]
        if self.unknown is None:
            raise KeyError(f"token {token!r} is not among the {len(self)} of this vocabulary")
        return self._ids[self.unknown]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Vocabulary):
            return NotImplemented
        return self.tokens == other.tokens and self.unknown == other.unknown

    __hash__ = None  # type: ignore[assignment]  # its tokens are a list, which may change

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self.tokens[:8])) + (", ..." if len(self) > 8 else "")
        return f"Vocabulary({len(self)} tokens: {shown})"

    def state_dict(self) -> dict[str, Any]:
        """The tokens and which of them is the unknown one, as plain values."""
        return {"tokens": list(self.tokens), "unknown": self.unknown}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Check that a saved state has the same tokens, because ids must not change.

        Raises:
            ValueError: It has other tokens; the message names the first difference.
        """
        saved = Vocabulary(**state)
        if saved == self:
            return
        pairs = enumerate(zip_longest(saved.tokens, self.tokens))
        ids = [f"id {i} is {a!r} there, {b!r} here" for i, (a, b) in pairs if a != b]
        reason = ids[0] if ids else f"unknown is {saved.unknown!r} there, {self.unknown!r} here"
        raise ValueError(
            f"the state is of another vocabulary: {reason}. Make this one of the state before "
            "anything is encoded: Vocabulary(**state)"
        )

    def encode(self, tokens: Iterable[str]) -> NDArray[np.int64]:
        """The ids of ``tokens``, shape (T,), int64.

        Raises:
            ValueError: A token has no id, and there is no ``unknown``.
        """
        ids = []
        for position, token in enumerate(tokens):
            if token not in self._ids and self.unknown is None:
                raise ValueError(
                    f"token {token!r} at position {position} is not among the {len(self)} of this "
                    "vocabulary; a vocabulary made with unknown=... has an id for it"
                )
            ids.append(self[token])
        return np.array(ids, dtype=np.int64)

    def decode(self, ids: Any) -> list[str]:
        """The tokens of ``ids``, an integer array or list of shape (T,).

        Raises:
            IndexError: An id is out of range.
        """
        return [self.tokens[i] for i in _checked_ids(ids, len(self))]


class CharTokenizer(Hinted):
    """A text as the ids of its characters, and back.

    Args:
        vocabulary: Its tokens are the characters (Unicode code points), ``unknown`` among them.

    Raises:
        ValueError: A token is not a single character.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        if not isinstance(vocabulary, Vocabulary):
            raise TypeError(
                f"CharTokenizer expects a Vocabulary; got {type(vocabulary).__name__}: of a text, "
                "CharTokenizer.from_text(text) makes one"
            )
        long = [token for token in vocabulary if len(token) != 1]
        if long:
            raise ValueError(f"CharTokenizer expects single characters; got the token {long[0]!r}")
        self.vocabulary = vocabulary
        self._codes = _code_points("".join(vocabulary))
        self._order = np.argsort(self._codes)
        self._sorted = self._codes[self._order]

    @classmethod
    def from_text(
        cls, text: Iterable[str], min_count: int = 1, unknown: str | None = None
    ) -> CharTokenizer:
        """The tokenizer of the characters of a text, given whole or in pieces.

        See :meth:`Vocabulary.from_iterable` for the order of the ids, and the other arguments.
        """
        characters = chain.from_iterable(text)
        return cls(Vocabulary.from_iterable(characters, min_count=min_count, unknown=unknown))

    def __len__(self) -> int:
        return len(self.vocabulary)

    def state_dict(self) -> dict[str, Any]:
        """The state of its vocabulary."""
        return self.vocabulary.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """As :meth:`Vocabulary.load_state_dict`."""
        self.vocabulary.load_state_dict(state)

    def encode(self, text: str) -> NDArray[np.int64]:
        """The ids of the characters of ``text``, shape (T,), int64.

        Raises:
            TypeError: It is no str.
            ValueError: A character has no id, and the vocabulary no ``unknown``.
        """
        if not isinstance(text, str):
            raise TypeError(f"CharTokenizer encodes a str; got a {type(text).__name__}")
        codes = _code_points(text)
        place = np.minimum(np.searchsorted(self._sorted, codes), len(self) - 1)
        ids = self._order[place].astype(np.int64, copy=False)
        missing = self._sorted[place] != codes
        if missing.any():
            if self.vocabulary.unknown is None:
                at = int(np.argmax(missing))
                raise ValueError(
                    f"character {text[at]!r} (U+{ord(text[at]):04X}) at position {at} is not among "
                    f"the {len(self)} of this vocabulary; one made with unknown='\\ufffd' has an "
                    "id for it"
                )
            ids[missing] = self.vocabulary[self.vocabulary.unknown]
        return ids

    def decode(self, ids: Any) -> str:
        """The text whose characters have ``ids``, an integer array or list of shape (T,).

        Raises:
            IndexError: An id is out of range.
        """
        codes = self._codes[_checked_ids(ids, len(self))]
        return codes.tobytes().decode("utf-32-le", "surrogatepass")


def _code_points(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def _checked_ids(ids: Any, size: int) -> NDArray[np.int64]:
    """``ids`` as an integer array of one axis whose values are all in ``range(size)``."""
    array = np.asarray(ids)
    if array.size == 0:
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"ids are integers; got dtype {array.dtype}")
    if array.ndim != 1:
        raise ValueError(f"expected ids of shape (T,); got shape {array.shape}")
    wrong = (array < 0) | (array >= size)
    if wrong.any():
        at = int(np.argmax(wrong))
        raise IndexError(f"id {array[at]} at position {at} is out of range for {size} tokens")
    return array.astype(np.int64, copy=False)
