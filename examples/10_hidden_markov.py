"""Guess a missing symbol from both sides: the exact answer, and a bidirectional net's.

    python examples/10_hidden_markov.py

Deep Learning 10.3; d2l 10.4, in earlier editions of which a bidirectional net is introduced by the
two sums that run along a hidden Markov chain:

    π_{t+1}(h') = Σ_h π_t(h) P(x_t | h) P(h' | h)             all that the past says of h_{t+1}
    ρ_{t-1}(h)  = Σ_h' P(h' | h) P(x_t | h') ρ_t(h')          all that the future says of h_{t-1}
    P(x_j | x_{-j}) ∝ Σ_h π_j(h) P(x_j | h) ρ_j(h)            the missing symbol, from both

Here sequences are drawn from such a chain, four hours told by unreliable bells, so the exact answer
is known. A net learns to fill in any one symbol from examples alone: it joins a state from the
left with one from the right, as π and ρ are joined. A hidden Markov model learns it too, by Baum
and Welch. The picture shows the net's answers beside the exact ones, and how both come near: a
model that is right needs few examples, a net that could be anything needs many.
"""

from __future__ import annotations

import course  # before NumPy
import numpy as np

import tinygrad_seq as ts
from tinygrad_seq import nn, optim
from tinygrad_seq.seq.hmm import HMM

SYMBOLS, STEPS, BATCH = 5, 20, 64


def bells() -> HMM:
    """Four hidden hours that follow one another; each has its bell, of five, and errs."""
    stay, on, back = 0.3, 0.65, 0.05
    hours = np.eye(4)
    transition = stay * hours + on * np.roll(hours, 1, axis=1) + back * np.roll(hours, -1, axis=1)
    emission = np.full((4, SYMBOLS), 0.05)
    emission[:, :4] += 0.6 * hours  # its own bell
    emission[:, 4] += 0.15  # the wind: it says nothing
    return HMM.from_probabilities(np.full(4, 0.25), transition, emission)


class BothSides(nn.Module):
    """Scores of x_j from everything but x_j: h→ of the steps before it and h← of those after."""

    def __init__(self, hidden: int):
        self.embed = nn.Embedding(SYMBOLS, 8)
        self.ahead = nn.Recurrent(nn.GRUCell(8, hidden))
        self.back = nn.Recurrent(nn.GRUCell(8, hidden), reverse=True)
        self.join = nn.Linear(2 * hidden, hidden)
        self.read = nn.Linear(hidden, SYMBOLS)

    def forward(self, x):
        """x (T, N) -> scores (T, N, V)."""
        embedded = self.embed(x)
        past, _ = self.ahead(embedded)
        future, _ = self.back(embedded)
        nothing = ts.zeros_like(past[:1])
        before = ts.concatenate([nothing, past[:-1]])  # at j: the state after x_1 .. x_{j-1}
        after = ts.concatenate([future[1:], nothing])
        return self.read(ts.relu(self.join(ts.concatenate([before, after], axis=-1))))


def train(net, x, test, exact):
    """Learn to fill in every symbol, each sequence of x read once.

    Gives how many sequences were read, and KL(exact ‖ net) on the test then, as two rows.
    """
    batches = np.split(x, x.shape[1] // BATCH, axis=1)
    optimizer = optim.Adam(net.parameters(), lr=6e-3)
    schedule = optim.CosineAnnealingLR(optimizer, len(batches))
    looks = set(np.geomspace(1, len(batches), 25).astype(int))
    curve = []
    for step, batch in enumerate(course.progress(batches), start=1):
        loss = nn.cross_entropy(net(batch), batch)
        optimizer.zero_grad()
        loss.backward()
        optim.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step in looks:
            curve.append((BATCH * step, divergence(exact, answers(net, test))))
    return np.transpose(curve)


@ts.no_grad()
def answers(net, x):
    """The net's log P(x_j | x_{-j}) for every j and symbol (T, N, V)."""
    return ts.log_softmax(net(x)).numpy()


@ts.no_grad()
def from_the_past(model, x):
    """log P(x_j | x_1 .. x_{j-1}): π alone, as a net that reads in one direction could."""
    emission = model.tables()[2]
    hidden = ts.log_softmax(model.chain(x).forward())
    return ts.logsumexp(ts.expand_dims(hidden, -1) + emission, axis=-2).numpy()


def divergence(exact, guess):
    """KL(exact ‖ guess) in nats, the mean over all positions."""
    return float((np.exp(exact) * (exact - guess)).sum(-1).mean())


def cross_entropy(guess, x):
    """The mean of -log P of what was there, in nats."""
    return float(-np.take_along_axis(guess, x[..., None], axis=-1).mean())


def fit(x):
    """The best of four hidden Markov models fitted by Baum and Welch: one may get stuck."""
    models = [HMM(4, SYMBOLS, dtype="f8") for _ in range(4)]
    scores = [m.baum_welch(x, iterations=200, tolerance=0.01)[-1] for m in models]
    return models[int(np.argmax(scores))]


def main(argv: list[str] | None = None) -> float:
    """Train, compare; returns KL(exact ‖ net) in nats per symbol."""
    options = course.arguments(__doc__).parse_args(argv)
    ts.manual_seed(options.seed)
    truth = bells()
    updates, hidden, few = (600, 24, 500) if options.quick else (4000, 48, 2000)
    _, x = truth.sample(STEPS, updates * BATCH)
    _, test = truth.sample(STEPS, 500)
    with ts.no_grad():
        exact = truth.missing(test).numpy()

    net = BothSides(hidden)
    curve = train(net, x, test, exact)
    with ts.no_grad():
        fitted = fit(x[:, :few]).missing(test).numpy()
    counted = np.log(np.bincount(x.ravel(), minlength=SYMBOLS) / x.size)
    guesses = {
        "how often each symbol occurs": np.broadcast_to(counted, exact.shape),
        "the past alone, exact (π)": from_the_past(truth, test),
        "bidirectional GRU": answers(net, test),
        "Baum-Welch": fitted,
        "both sides, exact (π and ρ)": exact,
    }
    read = {"bidirectional GRU": x.shape[1], "Baum-Welch": few}
    kl = {name: divergence(exact, g) for name, g in guesses.items()}
    course.table(
        ("who fills the gap", "sequences read", "KL to the exact answer", "cross-entropy, nats"),
        *((n, read.get(n, ""), kl[n], cross_entropy(g, test)) for n, g in guesses.items()),
    )
    draw(options.out / "10_hidden_markov.png", test, guesses, curve, kl, few)
    reached, past = kl["bidirectional GRU"], kl["the past alone, exact (π)"]
    course.expect(reached < past / 2, f"KL {reached:.3f}, and the past alone {past:.3f}")
    return reached


def draw(path, test, guesses, curve, kl, few):
    """One sequence: the exact answers above the net's; and how the net came near."""
    with course.picture(path, 1, 2, figsize=(11.5, 4.6), width_ratios=[1.6, 1]) as (left, right):
        left.axis("off")
        left.set_title("One sequence, each symbol in turn left out")
        for k, name in enumerate(("both sides, exact (π and ρ)", "bidirectional GRU")):
            axes = left.inset_axes([0, 0.53 - 0.53 * k, 0.92, 0.4])
            p = np.exp(guesses[name][:, 0])
            image = axes.imshow(p.T, cmap="Blues", vmin=0, vmax=0.7, aspect="auto")
            axes.plot(test[:, 0], "o", mfc="none", mec="tab:red", ms=9, mew=1.8)
            axes.set_title(name, fontsize=10)
            axes.set(ylabel="symbol", yticks=range(SYMBOLS), xticks=range(0, STEPS, 2))
            axes.set_xticklabels(range(1, STEPS + 1, 2) if k else [])
        axes.set_xlabel("position j   (circles: the symbol that was there)")
        left.figure.colorbar(
            image, cax=left.inset_axes([0.95, 0, 0.02, 0.93]), label="P(x_j | all others)"
        )

        right.loglog(*curve, color=course.COLORS["GRU"], label="bidirectional GRU")
        right.loglog(few, kl["Baum-Welch"], "D", color="tab:purple", label="HMM, Baum-Welch")
        past = kl["the past alone, exact (π)"]
        right.axhline(past, **course.BASELINE)
        name = "the past alone, exact"
        right.text(curve[0, -1], 0.92 * past, name, color="dimgray", va="top", ha="right")
        right.set(xlabel="sequences read", ylabel="KL(exact ‖ guess), nats per symbol")
        right.set_title("How near the exact answer")
        right.set_ylim(kl["Baum-Welch"] / 3, 0.5)
        right.legend(loc="upper right")


if __name__ == "__main__":
    main()
