"""Train a character language model, compare it with n-grams, and let it write.

    python examples/05_char_lm.py                     # an LSTM on Python's own documentation
    python examples/05_char_lm.py --cell GRU --text my.txt
    python examples/05_char_lm.py --resume            # go on where Ctrl-C, or the end, stopped it
    python examples/05_char_lm.py --write runs/char_lm.npz --start "The "   # no training, no text

d2l 9.5 to 9.7; Deep Learning 10.2. The text is read as N parallel streams of T characters at a
time. The state of the net is carried from window to window and detached there: truncated
back-propagation through time (d2l 9.7). The loss is the mean cross-entropy of the next character;
in bits it is what a perfect coder would need per character. The last tenth of the text is held out.

You see the loss fall below every n-gram model's, and what the net writes when it reads its own
characters back in.
"""

from __future__ import annotations

import argparse
import math
import signal
import time
from pathlib import Path

import course  # before NumPy
import numpy as np

import tinygrad_seq as ts
from tinygrad_seq import data, nn, optim, seq


class CharModel(nn.Module):
    """Characters in, scores of the next character out, one for each of the vocabulary."""

    def __init__(self, cell: str, vocabulary: int, hidden: int, layers: int, dropout: float):
        self.embed = nn.Embedding(vocabulary, 64)
        self.recur = getattr(nn, cell)(64, hidden, num_layers=layers, dropout=dropout)
        self.read = nn.Linear(hidden, vocabulary)

    def forward(self, ids, state=None):
        """ids (T, N) and the state before -> scores (T, N, V) and the state after."""
        h, state = self.recur(self.embed(ids), state)
        return self.read(h), state


def each(f, state):
    """f of every part of a state: h, or (h, c)."""
    return tuple(each(f, part) for part in state) if isinstance(state, tuple) else f(state)


def train_epoch(model, optimizer, batches, kept, run):
    """One pass over the text (or its rest) by truncated BPTT; gives the characters per second."""
    model.train()
    state = None if kept["state"] is None else each(ts.Tensor, kept["state"])
    total, count = kept["sums"]
    start, before, rate = time.time(), count, 0.0
    bar = course.progress(batches, total=len(batches), initial=batches.position, unit="batch")
    for inputs, targets in bar:
        scores, state = model(inputs, state)
        loss = nn.cross_entropy(scores, targets)
        optimizer.zero_grad()
        loss.backward()
        optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        state = each(ts.Tensor.detach, state)  # the values go on, gradients stop here

        total, count = total + loss.item() * targets.size, count + targets.size
        bits = data.bits_per_character(total / count)
        rate = (count - before) / (time.time() - start)
        bar.set_postfix_str(f"loss {total / count:.3f}, {bits:.3f} bits/char, {rate:,.0f} chars/s")
        if run.stopped():
            break
    bar.close()
    kept |= {"state": each(ts.Tensor.numpy, state), "sums": [total, count]}
    return rate


@ts.no_grad()
def evaluate(model, streams):
    """Mean cross-entropy of a text in nats, read in streams."""
    model.eval()
    state, total, count = None, 0.0, 0
    for inputs, targets in streams:
        scores, state = model(inputs, state)
        total += nn.cross_entropy(scores, targets, reduction="sum").item()
        count += targets.size
    return total / count


@ts.no_grad()
def sample(model, ids, length, temperature):
    """Write on: each character is drawn from softmax(scores / temperature), then read back in."""
    model.eval()
    _, state = model(ids[:-1, None]) if len(ids) > 1 else (None, None)

    def step(ids, state):
        scores, state = model(ids[None], state)
        return scores[0], state

    choose = seq.sample(seq.temperature(temperature))
    return np.concatenate([ids, *seq.generate(step, ids[-1:], state, length=length, choose=choose)])


def draw(history, baselines, cell, path):
    """The loss curve beside the n-grams, as a picture."""
    with course.picture(path, figsize=(7, 4)) as axes:
        epochs, *lines = np.transpose(history)
        for line, name, style in zip(lines, ("training", "validation"), ("o:", "o-"), strict=True):
            axes.plot(epochs, line, style, color=course.COLORS[cell], label=f"{cell}, {name}")
        for name, bits in baselines.items():
            axes.axhline(bits, **course.BASELINE)
            place = axes.get_yaxis_transform()
            axes.text(0.99, bits, name, transform=place, ha="right", va="bottom")
        axes.set(xlabel="epoch", ylabel="bits per character", xlim=(0.5, None))
        axes.margins(y=0.1)
        axes.set_title("Loss of the model, and of n-grams (dashed)")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, 0.92))


class Run:
    """When to stop: at Ctrl-C (after the batch under way) or when the time is up."""

    def __init__(self, minutes: float) -> None:
        self.interrupted = False
        self.deadline = time.time() + 60 * minutes
        signal.signal(signal.SIGINT, self._interrupt)

    def _interrupt(self, *_: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a second Ctrl-C ends at once
        self.interrupted = True

    def stopped(self) -> bool:
        return self.interrupted or time.time() > self.deadline


def write(model, start, tokenizer, options):
    """Print a sample for each temperature."""
    for temperature in options.temperatures:
        written = tokenizer.decode(sample(model, start, options.length, temperature))
        print(f"\n--- temperature {temperature} ---\n{written}")


def write_from(path, options):
    """Write with the best weights of an earlier run; its file says what the model is made of."""
    notes = ts.Checkpoint().restore(path, only=[])
    if not isinstance(notes.get("made"), dict):
        raise ValueError(f"{path} is no checkpoint of this example's: train without --write first")
    tokenizer = data.CharTokenizer(data.Vocabulary(**notes["made"]["vocabulary"]))
    model = CharModel(vocabulary=len(tokenizer), **notes["made"]["model"])
    model.load_state_dict(notes["weights"])
    write(model, beginning(options.start, tokenizer), tokenizer, options)
    return data.bits_per_character(notes["best"])


def beginning(start: str | None, tokenizer: data.CharTokenizer) -> np.ndarray:
    """What samples begin with, as ids: as asked, or "The ", or the vocabulary's first character."""
    if start is None:
        known = set("The ") <= set(tokenizer.vocabulary)
        return tokenizer.encode("The ") if known else np.array([0])
    if not start:
        raise ValueError("--start expects one character or more; got none")
    unknown = set(start) - set(tokenizer.vocabulary)
    if unknown:
        raise ValueError(f"--start has characters that the text does not: {sorted(unknown)}")
    return tokenizer.encode(start)


def main(argv: list[str] | None = None) -> float:
    """Train, compare, sample; returns the bits per character of the validation text."""
    options = parse(argv)
    ts.manual_seed(options.seed)
    if options.write:
        return write_from(options.write, options)
    text = course.text(options.text)
    if options.quick:
        text = text[:60_000]
    if len(text) < 10 * max(options.steps, 2):
        raise ValueError(f"a longer text is needed: {len(text)} characters, {options.steps} steps")
    tokenizer = data.CharTokenizer.from_text(text)
    train, valid = data.split(tokenizer.encode(text), validation=0.1)
    start = beginning(options.start, tokenizer)
    batches = data.Streams(train, options.steps, options.batch)
    streams = max(1, min(16, len(valid) // 129))
    held_out = data.Streams(valid, min(128, len(valid) - 1), streams)

    sizes = {"hidden": options.hidden, "layers": options.layers, "dropout": options.dropout}
    sizes["cell"] = options.cell
    model = CharModel(vocabulary=len(tokenizer), **sizes)
    optimizer = optim.Adam(model.parameters(), lr=options.lr)
    schedule = optim.ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold=0.01)
    checkpoint = ts.Checkpoint(model=model, optimizer=optimizer, schedule=schedule, data=batches)
    weights = sum(p.size for p in model.parameters())
    print(f"{len(text):,} characters, {len(tokenizer)} kinds; {options.cell}, {weights:,} weights")

    baselines = {}
    for order, name in enumerate(("unigram", "bigram", "trigram"), start=1):
        nats = data.NGram(order, len(tokenizer)).fit(train).cross_entropy(valid)
        baselines[name] = data.bits_per_character(nats)

    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "char_lm.npz"
    kept = {"history": [], "best": np.inf, "bad": 0, "weights": model.state_dict()}
    kept |= {"state": None, "sums": [0.0, 0]}  # of the epoch under way
    kept["made"] = {"model": sizes, "vocabulary": tokenizer.state_dict()}  # for --write
    if options.resume:
        if not path.exists():
            raise ValueError(f"there is no {path} to resume: train without --resume first")
        kept = checkpoint.restore(path)
        print(f"resumed {path} in epoch {batches.epoch + 1}, after batch {batches.position}")

    run = Run(options.minutes)
    while batches.epoch < options.epochs and kept["bad"] < options.patience and not run.stopped():
        epoch, began = batches.epoch + 1, time.time()
        rate = train_epoch(model, optimizer, batches, kept, run)
        nats, complete = evaluate(model, held_out), batches.position == 0
        point = [data.bits_per_character(n) for n in (kept["sums"][0] / kept["sums"][1], nats)]
        done = epoch if complete else epoch - 1 + batches.position / len(batches)
        part = "" if complete else f" to batch {batches.position} of {len(batches)}"
        print(
            f"epoch {epoch}{part}: training {point[0]:.3f}, validation {point[1]:.3f} bits/char, "
            f"perplexity {data.perplexity(nats):.2f}, {time.time() - began:.0f} s, "
            f"{rate:,.0f} characters/s"
        )
        better = {"best": nats, "weights": model.state_dict()} if nats < kept["best"] else {}
        if complete:  # the next epoch starts the text afresh
            schedule.step(nats)
            kept |= better | {
                "history": [*kept["history"], [done, *point]],
                "state": None,
                "sums": [0.0, 0],
            }
            kept["bad"] = 0 if better else kept["bad"] + 1
        checkpoint.save(path, **kept)
        if not complete:  # for this report alone: a resumed run goes on as if it had never stopped
            kept |= better | {"history": [*kept["history"], [done, *point]]}
    if run.interrupted:
        print(f"stopped by Ctrl-C; saved to {path}: --resume goes on")
        return data.bits_per_character(kept["best"])

    model.load_state_dict(kept["weights"])
    best = data.bits_per_character(kept["best"])
    rows = [[name, bits, 2**bits] for name, bits in (baselines | {options.cell: best}).items()]
    course.table(["model", "bits per character, validation text", "perplexity"], *rows)
    draw(kept["history"], baselines, options.cell, options.out / "05_char_lm.png")
    print(f"checkpoint: {path}")
    write(model, start, tokenizer, options)
    if options.quick:
        course.expect(best < baselines["bigram"], f"{best:.3f} bits per character")
    return best


def parse(argv: list[str] | None) -> argparse.Namespace:
    def positive(kind):
        def parsed(given):
            if not kind(given) > 0:
                raise argparse.ArgumentTypeError(f"must be above 0; got {given}")
            return kind(given)

        return parsed

    parser = course.arguments(__doc__)
    add, count, number = parser.add_argument, positive(int), positive(float)
    add("--text", type=Path, help="a UTF-8 file to learn (default: Python's documentation)")
    add("--cell", choices=("RNN", "GRU", "LSTM"), default="LSTM")
    add("--hidden", type=count, default=256, help="hidden units")
    add("--layers", type=count, default=1)
    add("--dropout", type=float, default=0.0, help="between layers")
    add("--steps", type=count, default=64, help="T, the window of truncated BPTT")
    add("--batch", type=count, default=32, help="N, parallel streams")
    add("--lr", type=number, default=4e-3)
    add("--epochs", type=count, default=12)
    add("--minutes", type=number, default=2.3, help="stop training after this long")
    add("--patience", type=count, default=3, help="stop after so many epochs without improvement")
    add("--temperatures", type=number, nargs="*", default=[0.5, 0.8])
    add("--length", type=count, default=400, help="characters per sample")
    add("--start", help="what samples begin with")
    add("--write", type=Path, metavar="CHECKPOINT", help="only write, with the model of a file")
    add("--resume", action="store_true", help="go on from the checkpoint")
    options = parser.parse_args(argv)
    if options.quick:
        parser.set_defaults(hidden=96, epochs=6, length=120, minutes=math.inf)
        options = parser.parse_args(argv)
    return options


if __name__ == "__main__":
    course.run(main)
