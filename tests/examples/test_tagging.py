"""The tagging example: its tags are those of a stack, its ceiling that of all strings."""

import importlib.util
import itertools
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tqdm")
EXAMPLES = Path(__file__).parent.parent.parent / "examples"


@pytest.fixture
def tagging(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    spec = importlib.util.spec_from_file_location("tagging", EXAMPLES / "09_tagging.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def by_a_stack(text):
    """Which symbols of a text belong to a pair of brackets, or stand within one."""
    stack, pairs = [], []
    for t, symbol in enumerate(text):
        if symbol == "(":
            stack.append(t)
        elif symbol == ")" and stack:
            pairs.append((stack.pop(), t))
    return [
        any(a < t < b for a, b in pairs) if symbol == "." else any(t in pair for pair in pairs)
        for t, symbol in enumerate(text)
    ]


def test_tags_are_those_of_a_stack(tagging, rng):
    symbols, lengths, tags = tagging.sentences(rng, 200)
    for n, length in enumerate(lengths):
        text = "".join(tagging.SYMBOLS[s] for s in symbols[:length, n])
        assert list(tags[:length, n]) == by_a_stack(text)
        assert (tags[length:, n] == -100).all()
        assert (symbols[length:, n] == tagging.PADDING).all()


def test_the_ceiling_is_that_of_all_strings(tagging, monkeypatch):
    shortest, longest, bracket = 2, 6, 0.3
    for name, value in (("SHORTEST", shortest), ("LONGEST", longest), ("BRACKET", bracket)):
        monkeypatch.setattr(tagging, name, value)
    chance = {"(": bracket, ")": bracket, ".": 1 - 2 * bracket}
    mass, true = defaultdict(float), defaultdict(float)  # of every beginning, its last symbol's tag
    for length in range(shortest, longest + 1):
        for text in itertools.product("().", repeat=length):
            p = np.prod([chance[s] for s in text])  # all lengths are equally likely
            for t, tag in enumerate(by_a_stack(text)):
                mass[text[: t + 1]] += p
                true[text[: t + 1]] += p * tag
    for beginning, total in mass.items():
        q = true[beginning] / total
        symbols = np.array([["().".index(s)] for s in beginning])
        read = np.arange(len(beginning))[:, None]
        guess = tagging.best_guess(symbols, read, tagging.OPEN, tagging.CLOSE)[-1, 0]
        assert guess == pytest.approx(max(q, 1 - q))
