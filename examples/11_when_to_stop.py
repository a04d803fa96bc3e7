"""When is a sequence at its end? Three ways to say so, trained and compared on one task.

    python examples/11_when_to_stop.py

The task: write a pair of brackets with brackets in it, as (()()) or ((())). A word ends where its
first bracket is closed, so that the right length depends on what was written on the way. Words are
drawn from a random walk, whose entropy is known: no model can need fewer nats for a word.

A generator knows where to stop (Deep Learning 10.2.3) by

    an end symbol      one more token in the vocabulary
    a Bernoulli output σ(w h_t + b), whether to go on, at each step
    a predicted length τ, drawn first; the net then reads τ - t beside each token

Each is a model of whole words, trained by the exact -log p(word), and each writes 2000 words. A
word is right if it stops where its first bracket is closed, neither before nor after, and is no
shorter than those it learned from: a rule outside the models decides. Beside them a bigram model,
with an end symbol and no memory, is given to the same seq.generate: any step function will do. The
picture shows how long the words are, the right and the wrong ones.
"""

from __future__ import annotations

import math

import course  # before NumPy
import numpy as np

import tinygrad_seq as ts
from tinygrad_seq import data, nn, optim, seq

OPEN, CLOSE, START = 0, 1, 2
END = START  # a symbol that never comes within a word
P = 0.45  # probability of an opening bracket
SHORTEST, LONGEST = 6, 24  # tokens in a word
IGNORED = -100


def bracket_word(rng):
    """A random walk from 0 that ends where it comes back to 0, as tokens; of these lengths."""
    word, depth = [OPEN], 1
    while depth and len(word) < LONGEST:
        word.append(OPEN if rng.random() < P else CLOSE)
        depth += 1 if word[-1] == OPEN else -1
    return bracket_word(rng) if depth or len(word) < SHORTEST else np.array(word)


def is_right(word):
    """Whether the first bracket is closed by the last one, and not before."""
    depth = np.cumsum(1 - 2 * np.asarray(word))
    return len(word) >= SHORTEST and depth[-1] == 0 and bool((depth[:-1] > 0).all())


def true_lengths():
    """p(length), and the entropy of a word in nats: Catalan numbers count the words of a length."""
    pairs = np.arange(SHORTEST // 2, LONGEST // 2 + 1)
    ways = np.array([math.comb(2 * k - 2, k - 1) // k for k in pairs], dtype=float)
    each = P ** (pairs - 1.0) * (1 - P) ** pairs
    each /= (ways * each).sum()
    return 2 * pairs, ways * each, -(ways * each * np.log(each)).sum()


class Writer(nn.Module):
    """What the three share: an LSTM that reads the tokens so far and scores the next."""

    def __init__(self, scores=2, beside=0):
        self.embed = nn.Embedding(3, 8)
        self.recur = nn.LSTM(8 + beside, 32)
        self.read = nn.Linear(32, scores)

    def step(self, tokens, state):
        h, state = self.recur(self.embed(tokens[None]), state)
        return self.read(h[0]), state

    def write(self, n, choose):
        """n words, as lists of tokens."""
        raise NotImplementedError


class EndSymbol(Writer):
    def __init__(self):
        super().__init__(scores=3)

    def nats(self, before, tokens, lengths):
        """-log p of all words: before is tokens (T+1, N) one step late, from START."""
        h, _ = self.recur(self.embed(before))
        tokens[lengths, np.arange(len(lengths))] = END
        return nn.cross_entropy(self.read(h), tokens, reduction="sum")

    def write(self, n, choose):
        stop = seq.end_symbol(END)
        stream = seq.generate(
            self.step, np.full(n, START), length=LONGEST + 1, choose=choose, stop=stop
        )
        return [word[word != END] for word in seq.written(stream)]


class BernoulliOutput(Writer):
    def __init__(self):
        super().__init__()
        self.go_on = nn.Linear(32, 1)

    def nats(self, before, tokens, lengths):
        h, _ = self.recur(self.embed(before))
        t = np.arange(len(tokens))[:, None]
        on, counts = (t < lengths).astype("f4"), (t <= lengths).astype("f4")
        coins = nn.bce_with_logits(self.go_on(h)[..., 0], on, weight=counts, reduction="sum")
        return nn.cross_entropy(self.read(h), tokens, reduction="sum") + coins

    def write(self, n, choose):
        stop = seq.coin(lambda state: self.go_on(state[0][-1])[:, 0])  # of h in (h, c)
        return seq.written(
            seq.generate(self.step, np.full(n, START), length=LONGEST, choose=choose, stop=stop)
        )


class PredictedLength(Writer):
    def __init__(self):
        super().__init__(beside=1)
        self.lengths = nn.Parameter(ts.zeros(LONGEST + 1))

    def nats(self, before, tokens, lengths):
        left = (lengths - np.arange(len(tokens))[:, None])[..., None] / 10
        x = ts.concatenate([self.embed(before), left.astype("f4")], axis=-1)
        scores = ts.broadcast_to(self.lengths, (len(lengths), LONGEST + 1))
        length = nn.cross_entropy(scores, lengths, reduction="sum")
        return nn.cross_entropy(self.read(self.recur(x)[0]), tokens, reduction="sum") + length

    def step(self, tokens, state):
        recurrent, left = state
        x = ts.concatenate([self.embed(tokens), (left / 10).astype("f4")], axis=-1)
        h, recurrent = self.recur(x[None], recurrent)
        return self.read(h[0]), (recurrent, left - 1)

    def write(self, n, choose):
        lengths = seq.sample()(np.tile(self.lengths.detach().numpy(), (n, 1)))
        state, stop = (None, lengths[:, None]), seq.after(lengths)
        return seq.written(
            seq.generate(
                self.step, np.full(n, START), state, length=LONGEST, choose=choose, stop=stop
            )
        )


def batch(words):
    """Words as the tokens before each token (T+1, N), the tokens, ignored past the end; lengths."""
    tokens, lengths = data.pad_sequences(words, IGNORED)
    n = len(words)
    tokens = np.vstack([tokens, np.full((1, n), IGNORED)])
    before = np.vstack([np.full((1, n), START), np.maximum(tokens[:-1], 0)])
    return before, tokens, lengths


def train(model, words, steps, name):
    optimizer = optim.Adam(model.parameters(), lr=1e-2)
    schedule = optim.CosineAnnealingLR(optimizer, steps)
    for k in course.progress(range(steps), desc=name):
        chosen = words[k * 64 % len(words) :][:64]
        loss = model.nats(*batch(chosen)) / len(chosen)
        optimizer.zero_grad()
        loss.backward()
        optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()


class Bigram:
    """p(token | token before), counted: an end symbol without memory."""

    def __init__(self, words):
        before, tokens, lengths = batch(words)
        tokens[lengths, np.arange(len(words))] = END
        counts = np.zeros((3, 3))
        np.add.at(counts, (before[tokens >= 0], tokens[tokens >= 0]), 1)
        with np.errstate(divide="ignore"):
            self.log_p = np.log(counts / counts.sum(axis=1, keepdims=True))

    def nats(self, before, tokens, lengths):
        tokens[lengths, np.arange(len(lengths))] = END
        return -self.log_p[before[tokens >= 0], tokens[tokens >= 0]].sum()

    def step(self, tokens, state):
        return self.log_p[tokens], state

    write = EndSymbol.write


def main(argv: list[str] | None = None) -> float:
    """Train the three, let them write, compare; returns the least share of right words."""
    options = course.arguments(__doc__).parse_args(argv)
    steps = 500 if options.quick else 3000
    ts.manual_seed(options.seed)
    rng = ts.generator()
    words = [bracket_word(rng) for _ in range(64 * steps)]
    unseen = [bracket_word(rng) for _ in range(5000)]
    lengths, share, entropy = true_lengths()

    models = {
        "bigram, end symbol": Bigram(words),
        "end symbol": EndSymbol(),
        "Bernoulli output": BernoulliOutput(),
        "predicted length": PredictedLength(),
    }
    rows, right, counts = [], {}, {}
    for name, model in models.items():
        if isinstance(model, Writer):
            train(model, words, steps, name)
        with ts.no_grad():
            nats = float(model.nats(*batch(unseen))) / len(unseen)
        written = model.write(2000, seq.sample())
        verdicts = np.array([is_right(word) for word in written])
        sizes = np.array([len(word) for word in written])
        right[name] = verdicts.mean()
        counts[name] = [np.bincount(sizes[verdicts == v], minlength=LONGEST + 2) for v in (1, 0)]
        off = np.abs(np.bincount(sizes, minlength=LONGEST + 2)[lengths] / 2000 - share).sum() / 2
        rows.append([name, nats, f"{right[name]:.1%}", off])
    rows.append(["the source itself", entropy, "100.0%", 0.0])
    heads = ["how it stops", "nats per unseen word", "right of 2000 words", "lengths off by"]
    course.table(heads, *rows)

    path = options.out / "11_when_to_stop.png"
    with course.picture(path, 1, 4, figsize=(14, 3.6), sharey=True) as axes:
        for axis, (name, (good, bad)) in zip(axes, counts.items(), strict=True):
            at = np.arange(len(good))
            axis.bar(at, good / 20, color="tab:blue", label="right")
            axis.bar(at, bad / 20, bottom=good / 20, color="tab:orange", label="wrong")
            axis.plot(lengths, 100 * share, "k_", ms=9, label="source")
            axis.set(xlabel="length of the word, tokens", title=f"{name}: {right[name]:.1%} right")
            axis.set_xticks(range(0, LONGEST + 1, SHORTEST))
            axis.margins(y=0.08)
        axes[0].set_ylabel("share of words, %")
        axes[0].legend(loc="upper right")
    least = min(right[name] for name in list(models)[1:])
    bigram, wanted = right["bigram, end symbol"], 0.6 if options.quick else 0.95
    course.expect(
        least > wanted > 2 * bigram,
        f"{least:.1%} of words right, expected {wanted:.0%}; a bigram has {bigram:.1%}",
    )
    return least


if __name__ == "__main__":
    main()
