"""Deep and bidirectional nets on a task whose answers lie to the right.

    python examples/09_tagging.py

Deep Learning 10.3 and 10.5; d2l 10.3 and 10.4. Strings of 10 to 40 symbols "(", ")" and "." are
drawn at random, so that some brackets find no partner. Each symbol is tagged: does it belong to, or
stand within, a pair of brackets? For ")" the answer lies to its left, for "(" to its right, and for
"." on both sides.

What a reader from the left can know at best is computed: given the symbols so far, what follows is
a random walk, and the chance that it closes a bracket follows from its equations. No net in one
direction passes that ceiling, however deep; one layer in both directions does. Seven LSTMs of about
equally many weights are compared.
"""

from __future__ import annotations

import course  # before NumPy
import numpy as np

import tinygrad_seq as ts
from tinygrad_seq import nn, optim

SYMBOLS = "()."
OPEN, CLOSE, LETTER, PADDING = range(4)
SHORTEST, LONGEST = 10, 40
BRACKET = 0.25  # the chance of "(", and of ")", at each step
WEIGHTS = 6000  # of each net


def waiting(symbols, opening, closing):
    """How many ``opening`` before each step still wait for a ``closing``; all arrays (T, N)."""
    count, counts = np.zeros(symbols.shape[1], int), []
    for s in symbols:
        counts.append(count)
        count = np.maximum(count + (s == opening) - (s == closing), 0)
    return np.stack(counts)


def sentences(rng, number):
    """Random strings side by side: symbols (T, N), lengths (N,), tags (T, N), -100 for padding."""
    lengths = rng.integers(SHORTEST, LONGEST, number, endpoint=True)
    kinds = [BRACKET, BRACKET, 1 - 2 * BRACKET]
    symbols = rng.choice(3, size=(lengths.max(), number), p=kinds)
    symbols[np.arange(len(symbols))[:, None] >= lengths] = PADDING
    left = waiting(symbols, OPEN, CLOSE) > 0
    right = waiting(symbols[::-1], CLOSE, OPEN)[::-1] > 0
    tags = np.choose(symbols, [right, left, left & right, -100])
    return symbols, lengths, tags


def closing_chances():
    """P(a bracket that is open after t + 1 symbols is closed before the end), for every t.

    The count of what is open goes up and down by 1 at the chance of a bracket each; from 0 on, the
    bracket is closed when it first reaches -1. The end is at any length still possible.
    """
    walk, within = np.zeros(LONGEST + 2), []  # P(the count is k, and was never -1)
    walk[0] = 1
    for _ in range(LONGEST):
        within.append(1 - walk.sum())  # closed within as many symbols as steps were taken
        up, down = np.r_[0, walk[:-1]], np.r_[walk[1:], 0]
        walk = (1 - 2 * BRACKET) * walk + BRACKET * (up + down)
    lengths = np.arange(SHORTEST, LONGEST + 1)
    left = [lengths[lengths > t] - 1 - t for t in range(LONGEST)]  # symbols still to come
    return np.array([np.take(within, rest).mean() for rest in left])


def best_guess(symbols, read, opening, closing):
    """The chance that the best guess from one side is right, (T, N).

    ``read`` is the number of symbols read before; sure are those whose answer has been read.
    """
    open_before = waiting(symbols, opening, closing)
    sure = (symbols == closing) | ((symbols == LETTER) & (open_before == 0))
    chance = closing_chances()[np.minimum(read, LONGEST - 1)]
    return np.where(sure, 1.0, np.maximum(chance, 1 - chance))


class Tagger(nn.Module):
    """An LSTM that reads "ahead", "back" or "both" ways, and two scores for each step."""

    def __init__(self, direction: str, layers: int, hidden: int):
        if direction == "back":
            self.recur = nn.Recurrent(nn.LSTMCell(3, hidden), reverse=True)
        else:
            self.recur = nn.LSTM(3, hidden, layers, bidirectional=direction == "both")
        self.read = nn.Linear(hidden * (2 if direction == "both" else 1), 2)

    def forward(self, symbols, lengths):
        x = ts.one_hot(np.minimum(symbols, LETTER), 3)  # padding is left out by lengths
        return self.read(self.recur(x, lengths=lengths)[0])


def count(model: nn.Module) -> int:
    return sum(p.size for p in model.parameters())


def of_size(direction: str, layers: int) -> Tagger:
    """The net of its kind whose number of weights is nearest to what all shall have."""
    nets = [Tagger(direction, layers, hidden) for hidden in range(2, 50)]
    return min(nets, key=lambda net: abs(count(net) - WEIGHTS))


def train(model: Tagger, batches: int, seed: int, name: str) -> None:
    """Every batch is new."""
    rng, optimizer = np.random.default_rng(seed), optim.Adam(model.parameters(), lr=1e-2)
    schedule = optim.CosineAnnealingLR(optimizer, batches)
    for _ in course.progress(range(batches), desc=name):
        symbols, lengths, tags = sentences(rng, 32)
        loss = nn.cross_entropy(model(symbols, lengths), tags)  # ignores -100
        optimizer.zero_grad()
        loss.backward()
        optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()


def per_symbol(right, symbols) -> list[float]:
    """The mean of what is right at "(", at ")", at ".", and at all."""
    masks = [*(symbols == s for s in range(3)), symbols != PADDING]
    return [float(right[mask].mean()) for mask in masks]


def main(argv: list[str] | None = None) -> dict[str, float]:
    """Compare the nets with what can be known from one side; returns their accuracies."""
    options = course.arguments(__doc__).parse_args(argv)
    depths, batches = ((1,), 300) if options.quick else ((1, 2, 3), 1000)

    symbols, lengths, tags = sentences(np.random.default_rng(10**6 + options.seed), 4000)
    t = np.arange(len(symbols))[:, None]
    from_left = best_guess(symbols, t, OPEN, CLOSE)
    from_right = best_guess(symbols[::-1], (lengths - 1 - t)[::-1], CLOSE, OPEN)[::-1]
    ceilings = {
        "best guess from the left": per_symbol(from_left, symbols),
        "best guess from the right": per_symbol(from_right, symbols),
    }

    nets = [("ahead", layers) for layers in depths] + [("back", 1)]
    nets += [("both", layers) for layers in depths]
    chances, accuracy, rows = {}, {}, []
    for direction, layers in nets:
        ts.manual_seed(options.seed)
        name = f"{direction}, {layers} layer" + "s" * (layers > 1)
        model = of_size(direction, layers)
        train(model, batches, options.seed, name)
        with ts.no_grad():
            chances[name] = ts.softmax(model(symbols, lengths), axis=-1).numpy()[..., 1]
        accuracy[name] = per_symbol((chances[name] > 0.5) == tags, symbols)
        rows.append([name, count(model), *accuracy[name]])
    rows += [[name, "-", *values] for name, values in ceilings.items()]
    course.table(["LSTM", "weights", *(f'at "{s}"' for s in SYMBOLS), "all symbols"], *rows)

    reached, ceiling = {name: a[-1] for name, a in accuracy.items()}, from_left[tags >= 0].mean()
    for name, value in reached.items():
        if name.startswith("both"):
            course.expect(value > ceiling + 0.15, f"{name}: {value:.3f}, one side {ceiling:.3f}")
        else:  # 0.005: what 4000 strings may favour it by chance
            course.expect(ceiling - 0.05 < value < ceiling + 0.005, f"{name}: {value:.3f}")

    path = options.out / "09_tagging.png"
    with course.picture(path, 2, 1, figsize=(11, 7), height_ratios=(3, 2)) as (bars, example):
        draw_accuracies(bars, accuracy, ceilings)
        n = int(np.argmax((lengths == 36) * (np.diff(tags, axis=0) != 0).sum(0)))  # varied
        rows = {"truth": tags} | chances
        draw_example(example, symbols[:36, n], {name: row[:36, n] for name, row in rows.items()})
    return reached


READS = {"ahead": "left to right", "back": "right to left", "both": "both directions"}


def draw_accuracies(axes, accuracy, ceilings) -> None:
    """One group of bars for each symbol, dashed what can be known from one side."""
    import matplotlib

    maps = {"ahead": "Blues", "back": "Greens", "both": "Oranges"}  # darker with each layer
    width, groups = 0.8 / len(accuracy), np.arange(4)
    for k, (name, values) in enumerate(accuracy.items()):
        direction, layers = name.split(", ")
        color = matplotlib.colormaps[maps[direction]](0.3 + 0.2 * int(layers.split()[0]))
        places, label = groups - 0.4 + (k + 0.5) * width, f"{READS[direction]}, {layers}"
        axes.bar(places, values, 0.9 * width, label=label, color=color)
    for (name, values), style in zip(ceilings.items(), ("k--", "k:"), strict=True):
        ends = np.add.outer([-0.45, 0.45], groups)
        line, *_ = axes.plot(ends, np.stack([values, values]), style)
        line.set_label(name)
    axes.set(ylim=(0, 1.05), ylabel="accuracy")
    axes.set_title("LSTMs that read in one direction do not pass the best guess from that side")
    axes.set_xticks(groups, [*(f'at "{s}"' for s in SYMBOLS), "all symbols"])
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))


def draw_example(axes, symbols, rows) -> None:
    """One string, its tags, and what each net makes of it; crosses where it is wrong."""
    axes.imshow(list(rows.values()), cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for place, values in enumerate(rows.values()):
        wrong = np.flatnonzero((values > 0.5) != rows["truth"])
        axes.plot(wrong, np.full(len(wrong), place), "x", color="tab:red")
    axes.set_xticks(range(len(symbols)), [SYMBOLS[s] for s in symbols], fontsize=13)
    names = [", ".join(READS.get(part, part) for part in name.split(", ")) for name in rows]
    axes.set_yticks(range(len(rows)), names)
    axes.set_title("One string: P(in a pair) from 0 (white) to 1 (dark blue); × marks an error")


if __name__ == "__main__":
    main()
