"""Count or learn: n-gram tables of orders 1 to 5 beside a recurrent net, on the same text.

    python examples/04_language_models.py

A language model gives P(x_t | x_{t-1}, ..., x_1). An n-gram model looks n - 1 characters back
(Deep Learning 12.4.1; d2l 9.3.1) and keeps a count for each n-gram: of V characters there are Vⁿ,
of which a text shows few, so the rest must be smoothed (here by Kneser and Ney). A recurrent net
looks back as far as its state remembers, with a number of weights that does not depend on it.

Both read nine tenths of Python's own documentation and are asked for the last tenth, in bits per
character and as perplexity. They err in different places: half the probability of each, together,
is better than either (Mikolov et al. 2010).
"""

from __future__ import annotations

from pathlib import Path

import course  # before NumPy
import numpy as np

import tinygrad_seq as ts
from tinygrad_seq import data, nn, optim

ORDERS = (1, 2, 3, 4, 5)


class CharGRU(nn.Module):
    """Characters in, scores of the next one out; dropout, as the net is large for its text."""

    def __init__(self, vocabulary: int, hidden: int, dropout: float):
        self.embed = nn.Embedding(vocabulary, 48)
        self.recur = nn.GRU(48, hidden)
        self.drop = nn.Dropout(dropout)
        self.read = nn.Linear(hidden, vocabulary)

    def forward(self, ids, state=None):
        """ids (T, N) and the state before -> scores (T, N, V) and the state after."""
        h, state = self.recur(self.embed(ids), state)
        return self.read(self.drop(h)), state


def train(model: CharGRU, ids: np.ndarray, epochs: int, steps: int, streams: int) -> None:
    """Truncated back-propagation: the text as parallel streams, so many steps at a time."""
    model.train()
    batches = data.Streams(ids, steps, streams)
    optimizer = optim.Adam(model.parameters(), lr=5e-3)
    schedule = optim.CosineAnnealingLR(optimizer, epochs * len(batches))
    for epoch in range(epochs):
        state, total = None, 0.0
        for inputs, targets in course.progress(batches, total=len(batches), desc=f"{epoch + 1}"):
            scores, state = model(inputs, state)
            loss = nn.cross_entropy(scores, targets)
            optimizer.zero_grad()
            loss.backward()
            optim.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            state = state.detach()
            total += loss.item()
        bits = data.bits_per_character(total / len(batches))
        print(f"epoch {epoch + 1} of {epochs}: training {bits:.3f} bits per character")


@ts.no_grad()
def probabilities(model: CharGRU, ids: np.ndarray) -> np.ndarray:
    """P(ids[t] | all before it) for t ≥ 1, shape (L - 1,): one stream, from the first character."""
    model.eval()
    found, state = [], None
    for inputs, targets in data.Streams(ids, steps=min(512, len(ids) - 1), batch_size=1):
        scores, state = model(inputs, state)
        found.append(nn.cross_entropy(scores, targets, reduction="none").numpy().ravel())
    return np.exp(-np.concatenate(found).astype(np.float64))


def bits(p: np.ndarray) -> float:
    """Mean of -log₂ P: what a perfect coder needs per character."""
    return data.bits_per_character(-np.log(p).mean())


def draw(seen, possible, reached, weights: int, net: float, both: float, path: Path) -> None:
    """Left the sizes of the tables; right the bits per character that each size reaches."""
    with course.picture(path, columns=2, figsize=(11, 4.2)) as (left, right):
        entries = np.cumsum(seen)
        every = np.cumsum(possible)
        left.semilogy(ORDERS, every, "s--", color="darkgray", label="possible: $V + … + V^n$")
        left.semilogy(ORDERS, entries, "o-", color="dimgray", label="seen in the text")
        left.axhline(weights, color=course.COLORS["GRU"], label="weights of the GRU")
        left.set(xticks=ORDERS, xlabel="order n", ylabel="entries of the tables of order 1 to n")
        left.set_title("Size of the tables")
        left.legend()
        right.semilogx(entries, reached, "o-", color="dimgray", label="n-grams, Kneser–Ney")
        for n, x, y in zip(ORDERS, entries, reached, strict=True):
            right.annotate(
                f"n = {n}", (x, y), xytext=(-6, -14), textcoords="offset points", ha="right"
            )
        right.plot(weights, net, "D", color=course.COLORS["GRU"], markersize=9, label="GRU")
        size = weights + entries[-1]
        right.plot(size, both, "*", color="tab:purple", markersize=14, label="half of each")
        right.set(
            xlim=(20, 1e6),
            xlabel="entries seen of order 1 to n, or weights",
            ylabel="bits per character, held-out text",
            title="Size and quality",
        )
        right.margins(y=0.15)
        right.legend()


def main(argv: list[str] | None = None) -> dict[str, float]:
    """Fit, train, compare; returns the bits per character of each model."""
    parser = course.arguments(__doc__)
    parser.add_argument("--text", type=Path, help="a UTF-8 file (default: Python's documentation)")
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args(argv)
    ts.manual_seed(options.seed)
    text = course.text(options.text)
    window = {"steps": 64, "streams": 32}
    if options.quick:
        text, options.hidden, options.epochs = text[:80_000], 96, 6
        window = {"steps": 24, "streams": 16}
    tokenizer = data.CharTokenizer.from_text(text)
    ids, held_out = data.split(tokenizer.encode(text), validation=0.1)
    size = len(tokenizer)
    print(f"{len(text):,} characters, {size} kinds")

    p, rows = {}, []
    for n in ORDERS:
        table = data.NGram(n, size).fit(ids)
        p[f"{n}-grams"] = table.probabilities(held_out)[1:]
        rows.append([f"{n}-grams", f"{size**n:,}", f"{table.seen[-1]:,}"])
    model = CharGRU(size, options.hidden, dropout=0.0 if options.quick else 0.3)
    weights = sum(w.size for w in model.parameters())
    train(model, ids, options.epochs, **window)
    p["GRU"] = probabilities(model, held_out)
    rows.append(["GRU", f"{weights:,} weights", ""])
    p["half GRU, half 5-grams"] = (p["GRU"] + p["5-grams"]) / 2
    rows.append(["half GRU, half 5-grams", "", ""])

    reached = {name: bits(each) for name, each in p.items()}
    for row, value in zip(rows, reached.values(), strict=True):
        row += [value, 2**value]
    heads = ["model", "entries possible", "seen", "bits per character", "perplexity"]
    course.table(heads, *rows)
    *grams, net, both = reached.values()
    draw(
        table.seen,
        [size**n for n in ORDERS],
        grams,
        weights,
        net,
        both,
        options.out / "04_language_models.png",
    )
    course.expect(net < grams[2], f"{net:.3f} bits per character, trigrams {grams[2]:.3f}")
    course.expect(both < min(*grams, net), f"{both:.3f} bits per character together")
    return reached


if __name__ == "__main__":
    course.run(main)
