"""Who can count? Parity of bits, asked of longer sequences; and three languages that count.

    python examples/21_counting.py

Deep Learning 10.2; d2l 9.4. Bits come one at a time, and after each the net says whether the ones
so far are odd. It is trained on sequences of up to 40 bits and asked at steps 41 to 256. A
recurrence h' = a ⊙ h + b that is linear in its state is fast, for its loop is a scan. What it can
count depends on where a lies: in (0, 1), as in minGRU, it can only forget, and guesses; in (-1, 1)
it can turn its state round at each one. RNN and LSTM see their state, and count.

Then they learn aⁿbⁿ, aⁿbⁿcⁿ (n geometric, from 1) and Dyck-1 (brackets that are closed) symbol by
symbol. Their distributions are known, so is the least cross-entropy that any net can reach, and
what who knows the last symbol alone reaches. What is determined is asked of longer words, too: all
after the first b. There is no bound on n, so that a net has to count, not to remember.

Source: Grazzi et al., "Unlocking state-tracking in linear RNNs through negative eigenvalues"
(2024); Gers & Schmidhuber, "LSTM recurrent networks learn simple context-free and
context-sensitive languages" (2001).

You see how often each is right at every step, far beyond what it was trained on; and how many bits
each language costs more than it must.
"""

from __future__ import annotations

from pathlib import Path

import course  # before NumPy
import numpy as np

import tinygrad_seq as ts
from tinygrad_seq import data, nn, optim

TRAINED, ASKED = 40, 256
COLORS = {"minGRU, a in (0, 1)": "tab:red", "linear, a in (-1, 1)": "tab:purple"} | course.COLORS
HIDDEN = 32
LANGUAGES = {"aⁿbⁿ": 2, "aⁿbⁿcⁿ": 3, "Dyck-1": 0}  # and how many letters stand n times
END, STOP = 0, 0.3  # the end of a word, also before it; n = 1, 2, ... with STOP (1 - STOP)^(n-1)
OPEN = 0.4  # P("(") within brackets; outside of them a word ends with P = 1/2


class TurningCell(nn.LinearCell):
    """h' = tanh(W_a x + b_a) ⊙ h + (W_b x + b_b): the factor may be negative."""

    def __init__(self, input_size, hidden_size, dtype=None):
        super().__init__(input_size, hidden_size, dtype)
        self.maps = nn.Linear(input_size, 2 * hidden_size, dtype=dtype)

    def coefficients(self, x):
        """a in (-1, 1), and b."""
        a, b = ts.split(self.maps(x), 2, axis=-1)
        return ts.tanh(a), b


class Turning(nn.LinearLayer):
    """The cell over sequences."""

    cell = TurningCell


class Counter(nn.Module):
    """Symbols in, scores of K answers out at every step."""

    def __init__(self, layer: type, symbols: int):
        self.recur = layer(symbols, HIDDEN)
        self.read = nn.Sequential(nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, symbols))

    def forward(self, x):
        """x (T, N, K) -> scores (T, N, K)."""
        return self.read(self.recur(x)[0])


def draw_bits(steps: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Bits as one-hot (T, N, 2), and the parity of the ones so far (T, N)."""
    bits = ts.generator().integers(0, 2, (steps, count))
    return np.eye(2, dtype=np.float32)[bits], bits.cumsum(axis=0) % 2


def draw_words(counted: int, count: int) -> list[np.ndarray]:
    """Words of a language, each with its end."""
    rng = ts.generator()
    if counted:
        return [word(counted, n) for n in rng.geometric(STOP, count)]
    words = []
    for _ in range(count):
        symbols, depth = [], 0
        while depth or rng.random() < 0.5:
            symbols.append(1 if not depth or rng.random() < OPEN else 2)
            depth += 1 if symbols[-1] == 1 else -1
        words.append(np.array([*symbols, END]))
    return words


def word(counted: int, n: int) -> np.ndarray:
    """aⁿbⁿ, aⁿbⁿcⁿ, ..., and its end."""
    return np.append(np.repeat(np.arange(1, counted + 1), n), END)


def bits(counted: int, word: np.ndarray) -> float:
    """-log2 P(word)."""
    if counted:
        n = (word == 1).sum()
        return float(-np.log2(STOP) - (n - 1) * np.log2(1 - STOP))
    depth = np.cumsum(np.where(word == 1, 1, -1))[:-1]
    outside = 1 + (depth == 0).sum()  # each costs one bit
    chosen = word[1:-1][depth[:-1] > 0]
    return float(outside - np.log2(np.where(chosen == 1, OPEN, 1 - OPEN)).sum())


def optimum(counted: int) -> float:
    """Entropy of a word in bits / its expected number of symbols, the end among them."""

    def entropy(p: float) -> float:
        return float(-p * np.log2(p) - (1 - p) * np.log2(1 - p))

    if counted:
        return entropy(STOP) / STOP / (counted / STOP + 1)
    inside = 1 / (1 - 2 * OPEN)  # steps until a bracket is closed; there is one pair on average
    return (2 + inside * entropy(OPEN)) / (2 + inside)


def last_symbol_alone(counted: int) -> float:
    """Bits per symbol of who knows the last symbol only, counted in many words."""
    pairs = np.zeros((4, 4))
    for w in draw_words(counted, 20_000):
        np.add.at(pairs, (np.append(END, w[:-1]), w), 1)
    p = pairs / pairs.sum()
    given = pairs / np.maximum(pairs.sum(axis=1, keepdims=True), 1)
    return float(-(p * np.log2(np.where(given > 0, given, 1))).sum())


def laid(words: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """What is read, one-hot (T, N, 4), and what is to be said (T, N), -100 past the end."""
    targets, _ = data.pad_sequences(words, -100)
    before = np.vstack([np.full((1, len(words)), END), np.maximum(targets[:-1], 0)])
    return np.eye(4, dtype=np.float32)[before], targets


def train(model: nn.Module, name: str, batches: int, draw_batch) -> None:
    """A new batch at each step; Adam, its rate in one cycle."""
    optimizer = optim.Adam(model.parameters())
    schedule = optim.OneCycleLR(optimizer, 1e-2, batches)
    for _ in course.progress(range(batches), desc=name):
        x, targets = draw_batch()
        loss = nn.cross_entropy(model(x), targets)
        optimizer.zero_grad()
        loss.backward()
        optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()


def some_bits() -> tuple[np.ndarray, np.ndarray]:
    """64 sequences of 1 to 40 bits."""
    return draw_bits(int(ts.generator().integers(1, TRAINED + 1)), 64)


@ts.no_grad()
def excess(model: nn.Module, counted: int) -> float:
    """Bits per symbol above the optimum: of 2000 words, less what these words must cost."""
    words = draw_words(counted, 2000)
    x, targets = laid(words)
    said = nn.cross_entropy(model(x), targets, reduction="sum").item() / np.log(2)
    return (said - sum(bits(counted, w) for w in words)) / sum(map(len, words))


@ts.no_grad()
def right_up_to(model: nn.Module, counted: int, most: int = 200) -> int:
    """The largest n up to which all that is determined is right: what follows the first b."""
    x, targets = laid([word(counted, n) for n in range(1, most + 1)])
    determined = (np.arange(len(targets))[:, None] > np.arange(1, most + 1)) & (targets >= 0)
    wrong = (determined & (model(x).numpy().argmax(axis=-1) != targets)).any(axis=0)
    return int(wrong.argmax()) if wrong.any() else most


def draw(right: dict[str, np.ndarray], over: dict[str, dict[str, float]], path: Path) -> None:
    """How often each is right, over the steps; and the bits above the optimum."""
    with course.picture(path, 1, 2, figsize=(11, 4.4)) as (plot, bars):
        plot.axvspan(1, TRAINED, color="tab:gray", alpha=0.15, label="trained on these lengths")
        plot.axhline(0.5, label="guessing", **course.BASELINE)
        for name, share in right.items():
            style = "--" if name == "LSTM" else "-"  # it lies on the RNN
            smooth = np.convolve(share, np.ones(8) / 8, mode="valid")
            steps = np.arange(len(smooth)) + 4
            plot.plot(steps, smooth, style, label=name, color=COLORS[name])
        plot.set(xlabel="step", ylabel="share of right answers", ylim=(0.4, 1.03))
        plot.set_title("Parity, on sequences longer than in training")
        plot.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=3)
        names = [name for name in right if name in over["aⁿbⁿ"]]
        places, width = np.arange(len(over)), 0.8 / len(names)
        for k, name in enumerate(names):
            heights = [max(found[name], 1e-5) for found in over.values()]
            bars.bar(
                places + (k - (len(names) - 1) / 2) * width,
                heights,
                width,
                color=COLORS[name],
                label=name,
            )
        for place, found in zip(places, over.values(), strict=True):
            bars.hlines(found["last"], place - 0.4, place + 0.4, **course.BASELINE)
        bars.set_xticks(places, list(over))
        bars.set(yscale="log", ylabel="bits per symbol above the optimum")
        bars.set_title("Counting; gray: a model that sees the last symbol only")


def learn_parity(layers: dict[str, type], options) -> dict[str, np.ndarray]:
    """How often each is right at every step."""
    right = {}
    for name, layer in layers.items():
        ts.manual_seed(options.seed)
        model = Counter(layer, 2)
        train(model, name, options.batches, some_bits)
        x, parity = draw_bits(ASKED, 500)
        with ts.no_grad():
            right[name] = (model(x).numpy().argmax(axis=-1) == parity).mean(axis=1)
    course.table(
        ["net", "parity right at steps 1-40", "at steps 41-256"],
        *(
            [name, float(s[:TRAINED].mean()), float(s[TRAINED:].mean())]
            for name, s in right.items()
        ),
    )
    return right


def learn_languages(names: list[str], layers: dict[str, type], options) -> dict[str, dict]:
    """Bits per symbol above the optimum, of each net and language."""
    over, heads, rows = {}, ["bits per symbol"], {name: [name] for name in layers}
    alone, least = ["the last symbol alone"], ["the exact optimum"]
    for language in names:
        counted = LANGUAGES[language]
        ts.manual_seed(options.seed)
        least.append(optimum(counted))
        alone.append(last_symbol_alone(counted))
        over[language] = {"last": alone[-1] - least[-1]}
        heads.append(language)
        for name, layer in layers.items():
            ts.manual_seed(options.seed)
            model = Counter(layer, 4)
            train(model, name, options.batches // 2, lambda c=counted: laid(draw_words(c, 64)))
            over[language][name] = excess(model, counted)
            rows[name].append(optimum(counted) + over[language][name])
            rows[name] += [right_up_to(model, counted)] if counted else []
        if counted:
            heads.append("right up to n")
            alone.append("-")
            least.append("-")
    course.table(heads, *rows.values(), alone, least)
    return over


def main(argv: list[str] | None = None) -> dict[str, float]:
    """Train four nets on parity and three languages; returns how often each is right at steps 41
    to 256, and its bits above the optimum of each language."""
    parser = course.arguments(__doc__)
    parser.add_argument("--batches", type=int, default=1500)
    options = parser.parse_args(argv)
    if options.quick:
        options.batches = 500
    layers = {
        "minGRU, a in (0, 1)": nn.MinGRU,
        "linear, a in (-1, 1)": Turning,
        "RNN": nn.RNN,
        "LSTM": nn.LSTM,
    }
    right, languages = learn_parity(layers, options), list(LANGUAGES)
    if options.quick:
        layers = {name: layers[name] for name in ("minGRU, a in (0, 1)", "LSTM")}
        languages = languages[:1]
    over = learn_languages(languages, layers, options)
    draw(right, over, options.out / "21_counting.png")
    reached = {name: float(share[TRAINED:].mean()) for name, share in right.items()}
    turning, forgetting = reached["linear, a in (-1, 1)"], reached["minGRU, a in (0, 1)"]
    course.expect(turning > forgetting + 0.1, f"{turning:.3f} against {forgetting:.3f}")
    for language, found in over.items():
        course.expect(
            found["LSTM"] < found["last"] / 4, f"{language}: {found['LSTM']:.3f} bits over"
        )
        reached |= {f"{name}: {language}": found[name] for name in layers}
    return reached


if __name__ == "__main__":
    main()
