"""Read a date as people write it, write it as a machine wants it: encoder, decoder, attention.

    python examples/13_dates.py               # without attention, and with two kinds of it
    python examples/13_dates.py --steps 3000  # longer

    "the 3rd of May, 2009"      "Sunday 3 May 09"      "05/03/2009" (month first)      -> 2009-05-03

Deep Learning 10.4 and 12.4.5.1; d2l 10.5 to 10.8 and 11.4. A bidirectional GRU reads the
characters, another GRU writes the date, token by token. Without attention all that the decoder
knows of the source is its own initial state. With attention it looks back, at each step, at every
character:

    c_t = Σ_s a_ts k_s,    a_t = softmax of score(h_t, k_s) over s
    additive     score = vᵀ tanh(W h_t + U k_s)        Bahdanau et al. 2015
    dot product  score = h_tᵀ k_s / √H                 Luong et al. 2015

Training is teacher forcing: all steps at once. Whole days are held out: the test is on dates that
were never seen in any format, and counts a date as right if all its ten characters are. The picture
shows how fast the three learn, and where attention looks for each character that it writes.
"""

from __future__ import annotations

import datetime

import course  # before NumPy
import numpy as np

import tinygrad_seq as ts
from tinygrad_seq import data, nn, optim, seq

FIRST = datetime.date(1950, 1, 1).toordinal()
DAYS = datetime.date(2050, 1, 1).toordinal() - FIRST
START, END = "<", ">"
EMBEDDING, HIDDEN = 32, 64


def ordinal(day):
    """1st, 2nd, 3rd, 4th, ..., 11th, ..., 31st"""
    return f"{day}" + ("th" if day // 10 == 1 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th"))


FORMATS = {
    "3 May 2009": lambda d: f"{d.day} {d:%B %Y}",
    "May 3, 2009": lambda d: f"{d:%B} {d.day}, {d:%Y}",
    "2009.5.3": lambda d: f"{d:%Y}.{d.month}.{d.day}",
    "05/03/2009": lambda d: f"{d:%m/%d/%Y}",
    "3-May-09": lambda d: f"{d.day}-{d:%b-%y}",
    "Sunday, 3 May 2009": lambda d: f"{d:%A}, {d.day} {d:%B %Y}",
    "sun 3 may 09": lambda d: f"{d:%a} {d.day} {d:%b %y}".lower(),
    "the 3rd of May, 2009": lambda d: f"the {ordinal(d.day)} of {d:%B, %Y}",
    "MAY 3RD 2009": lambda d: f"{d:%B} {ordinal(d.day)} {d:%Y}".upper(),
    "20090503": lambda d: f"{d:%Y%m%d}",
}
WRITTEN = list(FORMATS.values())


class Dates:
    """Days in every format, as ids and back; some days are for the test alone."""

    def __init__(self, rng, held_out):
        self.rng = rng
        days = rng.permutation(DAYS) + FIRST
        self.test, self.train = days[:held_out], days[held_out:]
        year = [datetime.date.fromordinal(FIRST + k) for k in range(366)]
        self.source = data.CharTokenizer.from_text("".join(f(d) for d in year for f in WRITTEN))
        self.target = data.CharTokenizer.from_text(START + END + "0123456789-")

    def batch(self, days, kinds=None):
        """Sources (S, N), their lengths, and targets (12, N) from START to END."""
        kinds = self.rng.choice(len(WRITTEN), len(days)) if kinds is None else kinds
        dates = [datetime.date.fromordinal(int(day)) for day in days]
        texts = [WRITTEN[k](d) for k, d in zip(kinds, dates, strict=True)]
        source, lengths = data.pad_sequences([self.source.encode(text) for text in texts])
        target = np.stack([self.target.encode(f"{START}{d}{END}") for d in dates], axis=1)
        return source, lengths, target


def train(model, dates, steps, name):
    """Teacher forcing; gives how many of 300 unseen dates were right, after so many steps."""
    optimizer = optim.Adam(model.parameters(), lr=4e-3)
    schedule = optim.CosineAnnealingLR(optimizer, steps)
    curve = []
    for step in course.progress(range(1, steps + 1), desc=name):
        source, lengths, target = dates.batch(dates.rng.choice(dates.train, 64))
        scores = model(source, target[:-1], lengths)  # of every next character, at once
        loss = nn.cross_entropy(scores, target[1:])
        optimizer.zero_grad()
        loss.backward()
        optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % max(1, steps // 20) == 0:
            curve.append([step, right(model, dates, dates.batch(dates.test[:300])).mean()])
    return np.array(curve)


@ts.no_grad()
def right(model, dates, batch, width=None):
    """Whether each date is written without a fault: greedily, or by a beam of some width."""
    source, lengths, target = batch
    state, end = model.encode(source, lengths), dates.target.vocabulary[END]
    if width is None:
        stop = seq.end_symbol(end)
        rows = seq.written(seq.generate(model.step, target[0], state, length=12, stop=stop))
    else:
        found = seq.beam_search(model.step, target[0], state, width=width, length=12, end=end)
        rows = [best.tokens for best, *_ in found]
    return np.array([np.array_equal(y, t) for y, t in zip(rows, target[1:].T, strict=True)])


def draw_map(axes, model, dates, day, kind):
    """Where attention looks: a row for each character written, a column for each one read."""
    source, lengths, target = dates.batch([day], [kind])
    with ts.no_grad():
        weights = model.weights(source, target[:-1], lengths).numpy()[:, 0]
    read, written = (
        list(tokens.decode(ids))
        for tokens, ids in ((dates.source, source[:, 0]), (dates.target, target[1:-1, 0]))
    )
    axes.imshow(weights[:-1], cmap="Blues", vmin=0, vmax=1, aspect="auto")
    shown = ["␣" if character == " " else character for character in read]
    axes.set_xticks(range(len(read)), shown, family="monospace")
    axes.set_yticks(range(len(written)), written, family="monospace")
    axes.set(
        xlabel="character read",
        ylabel="character written",
        title=f"Additive attention reads “{''.join(read)}”",
    )


def main(argv: list[str] | None = None) -> float:
    """Train, test, draw; returns the share of unseen dates written without a fault."""
    parser = course.arguments(__doc__)
    parser.add_argument("--steps", type=int, default=1500, help="training steps of 64 dates")
    options = parser.parse_args(argv)
    steps, tested = (250, 500) if options.quick else (options.steps, 3650)
    kinds = {
        "none": lambda: None,
        "dot product": nn.DotAttention,
        "additive": lambda: nn.AdditiveAttention(HIDDEN, HIDDEN, HIDDEN // 2),
    }
    if options.quick:
        del kinds["dot product"]

    rows, curves = [], {}
    for name, attention in kinds.items():
        ts.manual_seed(options.seed)  # the same dates in the same order for each
        dates = Dates(ts.generator(), held_out=3650)
        model = seq.EncoderDecoder(
            len(dates.source), len(dates.target), EMBEDDING, HIDDEN, attention()
        )
        curves[name] = train(model, dates, steps, name)
        test = dates.batch(dates.test[:tested])
        greedy = right(model, dates, test).mean()
        beam = right(model, dates, test, width=5).mean()
        weights = sum(p.size for p in model.parameters())
        rows.append([name, f"{weights:,}", f"{greedy:.2%}", f"{beam:.2%}"])
    course.table(["attention", "weights", f"right of {tested} unseen", "by a beam of 5"], *rows)

    path = options.out / "13_dates.png"
    with course.picture(path, 1, 3, figsize=(14, 4.2), width_ratios=[1, 1.15, 0.8]) as axes:
        for name, curve in curves.items():
            style = "o:" if name == "additive" else "o-"  # two lines may lie on one another
            axes[0].plot(curve[:, 0], 100 * curve[:, 1], style, ms=4, label=name)
        axes[0].set(xlabel="training steps of 64 dates", ylabel="unseen dates right, %")
        axes[0].set_title("One fixed vector (none) against attention")
        axes[0].legend(title="attention", loc="lower right")
        day = datetime.date(2009, 5, 3).toordinal()
        draw_map(axes[1], model, dates, day, list(FORMATS).index("the 3rd of May, 2009"))
        draw_map(axes[2], model, dates, day, list(FORMATS).index("05/03/2009"))
    wanted = 0.8 if options.quick else 0.98
    course.expect(greedy >= wanted, f"{greedy:.1%} of unseen dates right, expected {wanted:.0%}")
    return greedy


if __name__ == "__main__":
    main()
