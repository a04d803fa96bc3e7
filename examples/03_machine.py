"""Read "machin", say "achine": a recurrent net written out by hand, on a minibatch of one.

    python examples/03_machine.py
    python examples/03_machine.py --word mississippi

Dive into Deep Learning 9.4 (fig. 9.4.2): at each step the net reads a character and predicts the
next. The loss of a step is the cross-entropy of its prediction, the loss of the word their mean,
and exp of it the perplexity. Nothing of `nn` is used, only equations on tensors:

    H_t = tanh(X_t W_xh + H_{t-1} W_hh + b_h)        (9.4.5)
    O_t = H_t W_hq + b_q                             (9.4.6)

You see the gradients of back-propagation through time beside central differences, the loss of
every character on its way from ln 7 ("any of seven letters") to nothing, and the word spelled from
its first letter. In "machine" each letter settles the next, so a table of bigrams could spell it
too; in "abracadabra" an "a" is followed by b, c or d, and only a net that remembers knows by which.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import course  # before NumPy
import numpy as np

import tinygrad_seq as ts
from tinygrad_seq import data

Net = dict[str, ts.Tensor]


def new_net(letters: int, hidden: int) -> Net:
    """The parameters: weights small and random, biases 0; float64, to compare gradients."""

    def weights(*shape):
        return ts.tensor(0.1 * ts.generator().normal(size=shape), requires_grad=True)

    def bias(size):
        return ts.zeros(1, size, dtype="f8", requires_grad=True)

    return {
        "W_xh": weights(letters, hidden),
        "W_hh": weights(hidden, hidden),
        "b_h": bias(hidden),
        "W_hq": weights(hidden, letters),
        "b_q": bias(letters),
    }


def step(net: Net, x: ts.Tensor, h: ts.Tensor) -> tuple[ts.Tensor, ts.Tensor]:
    """One character X_t (1, V), one-hot, and the state before -> scores O_t (1, V) and H_t."""
    h = ts.tanh(x @ net["W_xh"] + h @ net["W_hh"] + net["b_h"])  # 9.4.5
    return h @ net["W_hq"] + net["b_q"], h  # 9.4.6


def losses(net: Net, ids: np.ndarray) -> list[ts.Tensor]:
    """Read the word but its last letter; the loss of predicting each letter but the first."""
    one_hot = np.eye(net["W_xh"].shape[0])
    h = ts.zeros(1, net["W_hh"].shape[0], dtype="f8")  # H_0
    each = []
    for now, following in pairwise(ids):
        o, h = step(net, ts.Tensor(one_hot[now : now + 1]), h)
        y_hat = ts.exp(o) / ts.sum(ts.exp(o))  # softmax
        each.append(-ts.log(y_hat[0, int(following)]))  # cross-entropy
    return each


def word_loss(net: Net, ids: np.ndarray) -> ts.Tensor:
    """Mean over the letters: exp of it is the perplexity."""
    return ts.mean(ts.stack(losses(net, ids)))


@ts.no_grad()
def numerical_gradient(net: Net, name: str, ids: np.ndarray, eps: float = 1e-5) -> np.ndarray:
    """(L(w + ε) - L(w - ε)) / 2ε for each entry w of one parameter."""
    found = np.empty(net[name].shape)
    for at in np.ndindex(found.shape):
        nudge = np.zeros(found.shape)
        nudge[at] = eps
        up, down = (word_loss(net | {name: net[name] + s * nudge}, ids).item() for s in (1, -1))
        found[at] = (up - down) / (2 * eps)
    return found


def compare_gradients(net: Net, ids: np.ndarray) -> float:
    """Print back-propagation through time beside central differences; the largest difference."""
    word_loss(net, ids).backward()
    rows, worst = [], 0.0
    for name, parameter in net.items():
        exact, numerical = parameter.grad.numpy(), numerical_gradient(net, name, ids)
        k = np.unravel_index(np.argmax(abs(exact)), exact.shape)
        worst = max(worst, float(abs(exact - numerical).max()))
        rows.append([name, parameter.shape, f"{exact[k]:+.9f}", f"{numerical[k]:+.9f}"])
        parameter.grad = None
    course.table(["parameter", "shape", "largest ∂L/∂w by BPTT", "by central differences"], *rows)
    print(f"largest difference of all {sum(p.size for p in net.values())} gradients: {worst:.1e}\n")
    return worst


def train(net: Net, ids: np.ndarray, steps: int, lr: float) -> np.ndarray:
    """Plain gradient descent, w ← w - η ∂L/∂w; the losses (steps, letters) on the way."""
    history = []
    for _ in course.progress(range(steps)):
        each = losses(net, ids)
        ts.mean(ts.stack(each)).backward()
        with ts.no_grad():
            for parameter in net.values():
                parameter.copy_(parameter - lr * parameter.grad)
                parameter.grad = None
        history.append([loss.item() for loss in each])
    return np.array(history)


@ts.no_grad()
def spell(net: Net, first: int, length: int) -> tuple[list[int], np.ndarray]:
    """Write on from the first letter, each time the likeliest; ids, and the probabilities."""
    one_hot, h = np.eye(net["W_xh"].shape[0]), ts.zeros(1, net["W_hh"].shape[0], dtype="f8")
    ids, probabilities = [first], []
    while len(ids) < length:
        o, h = step(net, ts.Tensor(one_hot[ids[-1:]]), h)
        probabilities.append(ts.softmax(o, axis=-1).numpy()[0])
        ids.append(int(probabilities[-1].argmax()))
    return ids, np.array(probabilities)


def bigram_perplexity(word: str) -> float:
    """Of the best that can be said from the letter before alone, fitted to the word itself."""
    pairs = list(pairwise(word))
    p = [pairs.count(pair) / word[:-1].count(pair[0]) for pair in pairs]
    return data.perplexity(-np.log(p).mean())


def draw(word: str, history: np.ndarray, said: dict[str, np.ndarray], path: Path) -> None:
    """The loss of every letter of a word; and what the net says of each word in the end."""
    import matplotlib.pyplot as plt

    with course.picture(path, columns=1 + len(said), figsize=(5 + 4 * len(said), 4)) as axes:
        losses, *maps = axes
        colors = plt.get_cmap("viridis")(np.linspace(0, 0.9, len(word) - 1))
        for k, color in enumerate(colors):
            label = f"{word[k]} → {word[k + 1]}"
            losses.plot(np.arange(1, len(history) + 1), history[:, k], color=color, label=label)
        count = len(set(word))
        losses.axhline(np.log(count), **course.BASELINE)
        losses.text(len(history), np.log(count), f"ln {count}", color="gray", ha="right", va="top")
        losses.set(xscale="log", xlabel="step of gradient descent", ylabel="loss, nats")
        losses.set(title=f"The loss of each letter of “{word}”")
        losses.legend(title="read → next", loc="upper right", bbox_to_anchor=(1, 0.85))
        for plot, (word, probabilities) in zip(maps, said.items(), strict=True):
            tokens = sorted(set(word))
            plot.imshow(probabilities.T, cmap="Blues", vmin=0, vmax=1, aspect="auto")
            for k, letter in enumerate(word[1:]):
                plot.text(k, tokens.index(letter), letter, ha="center", va="center", color="white")
            plot.set_xticks(range(len(word) - 1), list(word[:-1]))
            plot.set_yticks(range(len(tokens)), tokens)
            plot.set(
                xlabel="letter read", ylabel="next letter", title=f"“{word}”: P(next | read so far)"
            )


def main(argv: list[str] | None = None) -> dict[str, float]:
    """Check the gradients, train, spell; returns the perplexity of each word."""
    parser = course.arguments(__doc__)
    parser.add_argument("--word", default="machine", help="the word to spell")
    parser.add_argument("--hidden", type=int, default=16)
    options = parser.parse_args(argv)
    if len(set(options.word)) < 2:
        raise SystemExit(f"error: a word of two letters at least is needed; got {options.word!r}")
    ts.manual_seed(options.seed)
    reached, history, said, rows = {}, {}, {}, []
    for word in (options.word, "abracadabra"):
        tokenizer = data.CharTokenizer(data.Vocabulary(sorted(set(word))))
        ids, tokens = tokenizer.encode(word), tokenizer.vocabulary.tokens
        net = new_net(len(tokens), options.hidden)
        if word == options.word:
            print(f'"{word[:-1]}" in, "{word[1:]}" out: gradients before training\n')
            worst = compare_gradients(net, ids)
            course.expect(worst < 1e-8, f"gradients differ by {worst:.1e}")
        history[word] = train(net, ids, 300 if options.quick else 1000, lr=0.5)
        written, said[word] = spell(net, ids[0], len(ids))
        reached[word] = data.perplexity(word_loss(net, ids).item())
        baseline = bigram_perplexity(word)
        rows.append([word, data.perplexity(history[word][0].mean()), reached[word], baseline])
        rows[-1].append(tokenizer.decode(written))
        course.expect(tokenizer.decode(written) == word, f"it spelled {tokenizer.decode(written)}")
        course.expect(reached[word] < max(1.1, 0.8 * baseline), f"perplexity {reached[word]:.3f}")
    course.table(["word", "perplexity before", "after", "best bigrams", "spelled"], *rows)
    draw(options.word, history[options.word], said, options.out / "03_machine.png")
    return reached


if __name__ == "__main__":
    main()
