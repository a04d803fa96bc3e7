"""Export a character model to ONNX, and let it write where neither this library nor its Python is.

    python examples/20_onnx.py                        # a minute or two of training, then the file
    python examples/onnx_writer.py runs/20_onnx.onnx  # writes with NumPy and ONNX Runtime alone

d2l 9.5 to 9.7; Deep Learning 10.2. The model of 05_char_lm.py, smaller, is trained and written as
one file whose batch and time are open and whose state goes in and out:

    scores, (h', c') = file(ids, (h, c))

So the same file reads a whole text at once, or one character at a time. onnx_writer.py, which
imports NumPy and ONNX Runtime and nothing else, writes on from "The ", in a process of its own. The
same random numbers are given to the model here: it must write the same text.

You see the difference between the scores here and there, character by character: rounding, which
does not grow with the length of the text, although each state is computed from the one before.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import course  # before NumPy
import numpy as np

import tinygrad_seq as ts
from tinygrad_seq import data, io, nn, optim

TEMPERATURE = 0.5


class CharModel(nn.Module):
    """Characters in, scores of the next character out, and the state after."""

    def __init__(self, vocabulary: int, hidden: int):
        self.embed = nn.Embedding(vocabulary, 32)
        self.lstm = nn.LSTM(32, hidden)
        self.read = nn.Linear(hidden, vocabulary)

    def forward(self, ids, state=None):
        """ids (T, N) and the state before -> scores (T, N, V) and the state after."""
        h, state = self.lstm(self.embed(ids), state)
        return self.read(h), state


def train(model, ids, epochs):
    """Truncated BPTT over parallel streams, windows of 64 characters."""
    batches = data.Streams(ids, 64, 32)
    adam = optim.Adam(model.parameters(), lr=4e-3)
    for _ in range(epochs):
        state = None
        for inputs, targets in course.progress(batches, total=len(batches), unit="batch"):
            scores, state = model(inputs, state)
            loss = nn.cross_entropy(scores, targets)
            adam.zero_grad()
            loss.backward()
            optim.clip_grad_norm_(model.parameters(), 1.0)
            adam.step()
            state = tuple(part.detach() for part in state)


@ts.no_grad()
def evaluate(model, ids):
    """Bits per character of a text, read as one sequence."""
    scores, _ = model(ids[:-1, None])
    return data.bits_per_character(nn.cross_entropy(scores, ids[1:, None]).item())


@ts.no_grad()
def step(model, token, state):
    """One character: scores of the next (V,), and the state after, as onnx_writer.Model.step."""
    scores, state = model(np.array([[token]]), state)
    return scores.numpy()[0, 0], state


def main(argv: list[str] | None = None) -> float:
    """Train, export, write here and there; returns the largest difference of any score."""
    parser = course.arguments(__doc__)
    parser.add_argument("--text", type=Path, help="a UTF-8 file (default: Python's documentation)")
    options = parser.parse_args(argv)
    try:
        import onnx_writer
    except ImportError:
        raise SystemExit("error: this example runs ONNX Runtime: pip install onnxruntime") from None
    ts.manual_seed(options.seed)
    text = course.text(options.text)[: 60_000 if options.quick else None]
    tokenizer = data.CharTokenizer.from_text(text)
    ids, held_out = data.split(tokenizer.encode(text), validation=0.1)
    model = CharModel(len(tokenizer), 64 if options.quick else 192)
    train(model, ids, epochs=12 if options.quick else 3)
    model.eval()
    bits = evaluate(model, held_out[:5000])
    bigram = data.NGram(2, len(tokenizer)).fit(ids).cross_entropy(held_out[:5000])
    bigram = data.bits_per_character(bigram)

    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "20_onnx.onnx"
    part = io.Input(1, "batch", model.lstm.hidden_size)
    checked = io.export_onnx(
        model,
        path,
        inputs={"ids": io.Input("time", "batch", dtype="int64"), "state": {"h": part, "c": part}},
        outputs=["scores", "h_after", "c_after"],
        check=True,
        metadata={"vocabulary": json.dumps(list(tokenizer.vocabulary))},
    )

    length = 200 if options.quick else 1000
    known = {character: k for k, character in enumerate(tokenizer.vocabulary)}
    start = [known[character] for character in "The " if character in known] or [0]
    uniforms = np.random.default_rng(options.seed).random(length)
    there = onnx_writer.Model(str(path))
    theirs = list(onnx_writer.write(there.step, there.start(), start, uniforms, TEMPERATURE))
    ours = list(onnx_writer.write(lambda *a: step(model, *a), None, start, uniforms, TEMPERATURE))
    same = [a == b for (a, _), (b, _) in zip(ours, theirs, strict=True)]
    differences = [np.abs(a - b).max() for (_, a), (_, b) in zip(ours, theirs, strict=True)]

    course.table(
        ["what", "here", "beside it"],
        ["bits per character, held out", bits, f"bigrams {bigram:.4g}"],
        ["largest difference, three sizes", checked, "rounding 1e-7 of a score"],
        [f"largest of {length} characters", float(max(differences)), "the same"],
        ["characters that are the same", sum(same), f"of {length}"],
        ["size of the file, kB", path.stat().st_size / 1000, "4 bytes a weight"],
    )
    with course.picture(options.out / "20_onnx.png", figsize=(7, 3.5)) as axes:
        axes.semilogy(np.maximum(differences, 1e-9), ".", color=course.COLORS["LSTM"])
        axes.axhline(np.finfo(np.float32).eps, **course.BASELINE, label="float32's ε")
        axes.set(xlabel="character", ylabel="largest difference of a score", ylim=(1e-8, 1e-3))
        axes.set_title("Scores of the model and of its file in ONNX Runtime, on their own output")
        axes.legend()
    writer = Path(__file__).with_name("onnx_writer.py")
    command = [sys.executable, str(writer), str(path), "--seed", str(options.seed)]
    written = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    print(f"\n--- {writer.name} {path} ---\n{written}")
    course.expect(all(same), f"{sum(same)} of {length} characters are the same")
    course.expect(bits < bigram, f"{bits:.3f} bits per character")
    return float(max(differences))


if __name__ == "__main__":
    course.run(main)
