"""Tell a generator what to write: a context at each step, as the initial state, or both.

    python examples/12_conditioning.py

The words are of an invented language with the vowel harmony of Turkish: a stem of open syllables
whose vowels are all back (a o u) or all front (e i), and an ending, with a vowel of the same kind,
that says how the word is used:

    bare  pokula  tike        from  pokuladan  tikeden
    many  pokulalar  tikeler  with  pokulasun  tikesin

The net is asked for one of the four uses by a vector c, and must have it in mind when the stem is
over. The context enters (Deep Learning 10.2.4)

    at each step     x_t ↦ [x_t, c]: the same R c is added to the gates' sums at every step
    initial state    h_0 = tanh(W c + b)
    both; and, to compare with, not at all

A rule outside the model says whether a word is of the language, and of which use. The picture shows
how often it is the one asked for, while the four nets learn, and at the end.
"""

from __future__ import annotations

import math
import re

import course  # before NumPy
import numpy as np

import tinygrad_seq as ts
from tinygrad_seq import data, nn, optim, seq

USES = {"bare": ("", ""), "many": ("lar", "ler"), "from": ("dan", "den"), "with": ("sun", "sin")}
VOWELS, CONSONANTS = ("aou", "ei"), "bdgklmnprst"
SYLLABLES = 2, 5  # of a stem, at least and at most
MARK = "."  # before the first letter and after the last
LETTERS = data.CharTokenizer(data.Vocabulary([MARK, *VOWELS[0], *VOWELS[1], *CONSONANTS]))
IGNORED = -100


def word_of(use, rng):
    """A word of a use, given as a number."""
    kind, count = rng.integers(2), rng.integers(SYLLABLES[0], SYLLABLES[1] + 1)
    letters = [(s[rng.integers(len(s))] for s in (CONSONANTS, VOWELS[kind])) for _ in range(count)]
    return "".join(map("".join, letters)) + list(USES.values())[use][kind]


def use_of(word):
    """The rule: which use a word has, as a number; 4 if it is no word of the language."""
    for use, endings in enumerate(USES.values()):
        for vowels, ending in zip(VOWELS, endings, strict=True):
            least, most = SYLLABLES
            if re.fullmatch(f"([{CONSONANTS}][{vowels}]){{{least},{most}}}{ending}", word):
                return use
    return len(USES)


def true_nats(word, use):
    """-log p(word | use) in the language: of its kind, the length of its stem, its letters."""
    kind = any(vowel in word for vowel in VOWELS[1])
    syllables = (len(word) - len(list(USES.values())[use][kind])) // 2
    letter_pairs = len(CONSONANTS) * len(VOWELS[kind])
    return math.log(2 * (SYLLABLES[1] - SYLLABLES[0] + 1)) + syllables * math.log(letter_pairs)


class Writer(nn.Module):
    """A GRU that reads letters, and what it is asked for in one of the ways."""

    def __init__(self, at_each_step, initial_state):
        self.embed = nn.Embedding(len(LETTERS), 16)
        self.context = nn.Embedding(len(USES), 8)
        self.at_each_step = at_each_step
        self.recur = nn.GRU(16 + 8 * at_each_step, 64)
        self.start = seq.ContextState(8, self.recur) if initial_state else None
        self.read = nn.Linear(64, len(LETTERS))

    def begin(self, uses):
        """The state before the first letter: that of the GRU, and the context c (N, 8)."""
        c = self.context(uses)
        return None if self.start is None else self.start(c), c

    def forward(self, letters, state):
        """letters (T, N) -> scores of the next (T, N, V)."""
        before, c = state
        x = self.embed(letters)
        h, after = self.recur(seq.at_each_step(x, c) if self.at_each_step else x, before)
        return self.read(h), (after, c)

    def step(self, letters, state):
        scores, state = self(letters[None], state)
        return scores[0], state


def nats(model, words, uses):
    """-log p(word | use) under the model, in the mean."""
    letters, _ = data.pad_sequences([LETTERS.encode(MARK + word + MARK) for word in words], IGNORED)
    scores, _ = model(np.maximum(letters[:-1], 0), model.begin(uses))
    return nn.cross_entropy(scores, letters[1:], reduction="sum") / len(words)


@ts.no_grad()
def write(model, uses):
    """A word for each use."""
    end, before = LETTERS.vocabulary[MARK], np.full(len(uses), LETTERS.vocabulary[MARK])
    stream = seq.generate(
        model.step,
        before,
        model.begin(uses),
        length=20,
        choose=seq.sample(),
        stop=seq.end_symbol(end),
    )
    return [LETTERS.decode(ids).removesuffix(MARK) for ids in seq.written(stream)]


def train(model, steps, name, rng):
    """Learn from new words at each step; gives the share of words as asked, over the steps."""
    optimizer = optim.Adam(model.parameters(), lr=1e-2)
    schedule = optim.CosineAnnealingLR(optimizer, steps)
    curve = []
    for step in course.progress(range(1, steps + 1), desc=name):
        uses = rng.integers(len(USES), size=64)
        loss = nats(model, [word_of(use, rng) for use in uses], uses)
        optimizer.zero_grad()
        loss.backward()
        optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % (steps // 15) == 0:
            asked = np.arange(400) % len(USES)
            curve.append([step, np.mean([use_of(w) for w in write(model, asked)] == asked)])
    return np.array(curve)


def main(argv: list[str] | None = None) -> float:
    """Train the four nets, let them write, compare; returns the least share of words as asked."""
    options = course.arguments(__doc__).parse_args(argv)
    steps = 300 if options.quick else 2000
    ways = {
        "no context": (False, False),
        "at each step": (True, False),
        "initial state": (False, True),
        "both": (True, True),
    }
    asked = np.arange(2000) % len(USES)
    rng = np.random.default_rng(options.seed)
    unseen = [word_of(use, rng) for use in asked]
    rows, curves, confused = [], {}, {}
    for name, way in ways.items():
        ts.manual_seed(options.seed)
        model = Writer(*way)
        curves[name] = train(model, steps, name, np.random.default_rng(options.seed + 1000))
        words = write(model, asked)
        uses = np.array([use_of(word) for word in words])
        confused[name] = np.zeros((len(USES), len(USES) + 1))
        np.add.at(confused[name], (asked, uses), len(USES) / len(asked))
        with ts.no_grad():
            needed = nats(model, unseen, asked).item()
        right, within = np.mean(uses == asked), np.mean(uses < len(USES))
        rows.append([name, needed, f"{within:.1%}", f"{right:.1%}"])
    needed = float(np.mean([true_nats(word, use) for word, use in zip(unseen, asked, strict=True)]))
    rows.append(["the language itself", needed, "100.0%", "100.0%"])
    heads = ["the context enters", "nats per unseen word", "words of the language", "as asked"]
    course.table(heads, *rows)
    print(f"a use that is not told costs ln {len(USES)} = {math.log(len(USES)):.3f} nats")
    print("asked for and written:", ", ".join(map(" ".join, zip(USES, words, strict=False))))

    path = options.out / "12_conditioning.png"
    with course.picture(path, 1, 3, figsize=(13, 3.8), width_ratios=[1.5, 1, 1]) as axes:
        for (name, curve), style in zip(curves.items(), ("-", "-", "--", ":"), strict=True):
            axes[0].plot(curve[:, 0], 100 * curve[:, 1], style, label=name)
        axes[0].set(xlabel="training steps of 64 words", ylabel="words of the use asked for, %")
        axes[0].set(title="Told what to write, it writes it", ylim=(0, 103))
        axes[0].legend(loc="center right", title="the context enters")
        for axis, name in zip(axes[1:], ("no context", "both"), strict=True):
            axis.imshow(confused[name], cmap="Blues", vmin=0, vmax=1, aspect="auto")
            for (row, column), part in np.ndenumerate(confused[name]):
                color = "white" if part > 0.5 else "black"
                axis.text(column, row, f"{part:.0%}", ha="center", va="center", color=color)
            axis.set_xticks(range(len(USES) + 1), [*USES, "no word"])
            axis.set_yticks(range(len(USES)), USES)
            axis.set(xlabel="use of the word written", ylabel="use asked for")
            axis.set_title(name.capitalize())
    least, chance = (
        min(confused[n].trace() for n in names) / len(USES)
        for names in (list(ways)[1:], ["no context"])
    )
    wanted = 0.6 if options.quick else 0.95
    course.expect(
        least > wanted > 2 * chance,
        f"{least:.1%} as asked, expected {wanted:.0%}; without context {chance:.1%}",
    )
    return least


if __name__ == "__main__":
    main()
