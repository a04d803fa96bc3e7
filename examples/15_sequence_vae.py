"""A variational autoencoder of sequences: two numbers that say what a sequence is.

    python examples/15_sequence_vae.py

Deep Learning 20.10.3; Kingma & Welling 2014, §2.2-2.4. The sequences are waves
x_t = a sin(ω t) + noise, of any amplitude a and frequency ω; the net is given neither. A GRU
reads a sequence and gives a normal distribution over a latent z of two dimensions; a sample of it
is all that a second GRU gets, at every step, to write the sequence again:

    ELBO(x) = E_q ln p(x | z) - KL(q(z | x) ‖ p(z)) ≤ ln p(x),    q = N(μ(x), σ(x)),  z = μ + σ ε

The writer never sees the steps before: it could go on from them without z, and z would be left
empty (KL = 0). As a and ω are known to us, so is the true E ln p(x), by summing over a grid of
them: no model can have more on average. The picture shows how near the bound comes, what z means,
and the waves on the straight line between two latents. (With another seed the plane may lie round
a hole, where no wave belongs: a line across it passes through waves that are nearly flat.)
"""

from __future__ import annotations

import course  # before NumPy
import numpy as np

import tinygrad_seq as ts
from tinygrad_seq import nn, optim
from tinygrad_seq.distributions import Normal, kl_divergence

STEPS, NOISE = 24, 0.1
AMPLITUDES, FREQUENCIES = (0.5, 1.5), (0.25, 0.75)


def waves(a, omega):
    """The waves without noise (T, N)."""
    return a * np.sin(omega * np.arange(1, STEPS + 1)[:, None])


def draw_waves(count):
    """Waves (T, N, 1), float32, and their amplitudes and frequencies (N,)."""
    a, omega = (ts.generator().uniform(*r, count) for r in (AMPLITUDES, FREQUENCIES))
    x = waves(a, omega) + NOISE * ts.generator().standard_normal((STEPS, count))
    return x[..., None].astype("f4"), a, omega


def true_log_prob(x):
    """ln p(x) of each wave (N,): the mean over a grid of all that it could have been."""
    a, omega = np.linspace(*AMPLITUDES, 101), np.linspace(*FREQUENCIES, 1001)
    shapes = waves(1.0, omega)  # (T, ω)
    scores = []
    for wave in x[..., 0].T.astype("f8"):
        # |x - a s|² = |x|² - 2 a x·s + a² |s|²
        error = wave @ wave - 2 * np.outer(a, wave @ shapes) + np.outer(a**2, (shapes**2).sum(0))
        top = error.min()
        mean = np.log(np.exp((top - error) / (2 * NOISE**2)).mean())
        scores.append(mean - top / (2 * NOISE**2))
    return np.array(scores) - STEPS * np.log(NOISE * np.sqrt(2 * np.pi))


class SequenceVAE(nn.Module):
    """x → q(z | x) → z → p(x | z)."""

    def __init__(self, hidden: int, latent: int = 2):
        self.reader = nn.GRU(1, hidden)
        self.describe = nn.Linear(hidden, 2 * latent)
        self.begin = nn.Linear(latent, hidden)
        self.writer = nn.GRU(latent, hidden)
        self.write = nn.Linear(hidden, 1)
        self.log_width = nn.Parameter(np.array(-0.5, "f4"))  # of the noise, learned too

    def encode(self, x):
        """q(z | x), a batch (N, latent) of normal distributions."""
        _, last = self.reader(x)
        mean, log_width = ts.split(self.describe(last[-1]), 2, axis=-1)
        return Normal(mean, ts.exp(log_width - 1))

    def decode(self, z):
        """p(x | z), normal distributions (T, N, 1), from z (N, latent) and nothing else."""
        everywhere = ts.broadcast_to(z, (STEPS, *z.shape))
        h, _ = self.writer(everywhere, ts.tanh(self.begin(z))[None])
        return Normal(self.write(h), ts.exp(self.log_width))

    def forward(self, x):
        """E_q ln p(x | z), from one sample, and KL(q ‖ p), each (N,) in nats."""
        q = self.encode(x)
        told = self.decode(q.rsample()).log_prob(x).sum(axis=(0, -1))
        return told, kl_divergence(q, Normal(0.0, 1.0)).sum(axis=-1)


class Forecaster(nn.Module):
    """For comparison, without a latent: a GRU that sees every step before. Σ_t ln p(x_t | x_<t)"""

    def __init__(self, hidden: int):
        self.reader = nn.GRU(1, hidden)
        self.write = nn.Linear(hidden, 2)

    def forward(self, x):
        """ln p(x) (N,) and 0."""
        h, _ = self.reader(ts.concatenate([np.zeros_like(x[:1]), x[:-1]]))
        mean, log_width = ts.split(self.write(h), 2, axis=-1)
        return Normal(mean, ts.exp(log_width)).log_prob(x).sum(axis=(0, -1)), ts.zeros(x.shape[1])


def train(model, steps, test, batch=64):
    """Raise the bound on fresh waves; gives the steps, and the bound on the test waves then."""
    optimizer = optim.Adam(model.parameters(), lr=4e-3)
    schedule = optim.CosineAnnealingLR(optimizer, steps)
    curve = []
    for step in course.progress(range(1, steps + 1)):
        told, cost = model(draw_waves(batch)[0])
        share = min(1.0, 0.1 + 2 * step / steps)  # first something to tell, then its price
        loss = (share * cost - told).mean() / STEPS
        optimizer.zero_grad()
        loss.backward()
        optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % (steps // 30) == 0:
            curve.append((step, evaluate(model, test)[0]))
    return np.transpose(curve)


@ts.no_grad()
def evaluate(model, x):
    """The bound on ln p(x) and the KL within it, the means in nats per sequence."""
    told, cost = model(x)
    return (told - cost).mean().item(), cost.mean().item()


def main(argv: list[str] | None = None) -> float:
    """Train both, compare, interpolate; returns the ELBO in nats per sequence."""
    options = course.arguments(__doc__).parse_args(argv)
    ts.manual_seed(options.seed)
    steps, hidden = (600, 32) if options.quick else (4000, 64)
    test, a, omega = draw_waves(500)
    x = test[..., 0]
    true = true_log_prob(test).mean()
    apart = Normal(*(np.mean(x, 1), np.std(x, 1))).log_prob(x.T).sum(axis=-1).mean().item()
    noise = -STEPS * Normal(0.0, NOISE).entropy().item()

    model = SequenceVAE(hidden)
    curve = train(model, steps, test)
    elbo, kl = evaluate(model, test)
    rival = Forecaster(hidden)
    train(rival, steps, test)
    forecast, _ = evaluate(rival, test)
    course.table(
        ("model", "nats per sequence", "nats in z (KL)"),
        ("each step by itself", apart, ""),
        ("GRU that sees the past (no latent)", forecast, ""),
        ("sequence VAE, ELBO", elbo, kl),
        ("true ln p(x): no model has more", float(true), float(noise - true)),
    )
    print(f"noise: {NOISE} in truth, {np.exp(model.log_width.item()):.3f} learned")
    levels = {
        "true ln p(x)": true,
        "GRU that sees the past": forecast,
        "each step by itself": apart,
    }
    draw(options.out / "15_sequence_vae.png", model, test, a, omega, curve, levels)
    course.expect(kl > 2, f"the latent is left empty: KL {kl:.2f}")
    course.expect(elbo > apart + 10, f"ELBO {elbo:.1f}, and without a latent {apart:.1f}")
    return elbo


@ts.no_grad()
def draw(path, model, test, a, omega, curve, levels):
    """The bound as it rose; the latent plane; the waves between two latents."""
    with course.picture(path, 1, 3, figsize=(13.5, 4.2)) as (left, middle, right):
        left.plot(*curve, color=course.COLORS["GRU"], label="ELBO")
        for (name, level), style in zip(levels.items(), ("-", "--", ":"), strict=True):
            left.axhline(level, color="tab:gray", linestyle=style, label=name)
        left.set(xlabel="step", ylabel="nats per sequence", ylim=(-50, 20))
        left.set_title("The bound rises towards the truth")
        left.legend(loc="lower right")

        z = model.encode(test).loc.numpy()
        dots = middle.scatter(*z.T, c=omega, s=40 * a**2, cmap="viridis", alpha=0.8, linewidths=0)
        middle.figure.colorbar(dots, ax=middle, label="frequency ω, radians per step")
        ends = np.stack([np.ravel(waves(*pair)) for pair in ((1.4, 0.3), (0.6, 0.7))], axis=-1)
        first, last = model.encode(ends[..., None].astype("f4")).loc.numpy()
        middle.plot(*np.transpose([first, last]), "o-", color="tab:red")
        middle.set(
            xlabel="z₁", ylabel="z₂", title="What z means (size: amplitude a; red: the line)"
        )

        shares = np.linspace(0, 1, 7)
        path_z = np.array([(1 - s) * first + s * last for s in shares], "f4")
        written = model.decode(path_z).loc.numpy()[..., 0].T
        for k, wave in enumerate(written):
            right.plot(range(1, STEPS + 1), wave - 2.2 * k, color="tab:red", alpha=0.9)
        for k, wave in ((0, ends[:, 0]), (len(shares) - 1, ends[:, 1])):
            right.plot(
                range(1, STEPS + 1), wave - 2.2 * k, "k.", ms=4, label="given" if k else None
            )
        right.set_yticks(-2.2 * np.arange(len(shares)), [f"{s:.2f}" for s in shares])
        right.set(xlabel="step t", ylabel="share of the way", title="Written from the line")
        right.set_ylim(-15, 3.2)
        right.legend(loc="upper right")


if __name__ == "__main__":
    main()
