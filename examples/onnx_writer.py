"""Write text with a character model in an ONNX file: NumPy and ONNX Runtime, nothing else.

    python examples/onnx_writer.py runs/20_onnx.onnx --start "The " --length 300

20_onnx.py makes the file. All that is needed stands in it: the vocabulary is in its metadata, and
the model takes and returns its state, so that it reads one character at a time.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnxruntime


class Model:
    """The file: a vocabulary, and a step from an id and a state to scores and the state after."""

    def __init__(self, path: str) -> None:
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self.vocabulary = json.loads(self.session.get_modelmeta().custom_metadata_map["vocabulary"])
        self.layers, _, self.hidden = self.session.get_inputs()[1].shape

    def start(self) -> tuple[Any, Any]:
        """The state before the first character."""
        zeros = np.zeros((self.layers, 1, self.hidden), np.float32)
        return zeros, zeros

    def step(self, token: int, state: tuple[Any, Any]) -> tuple[Any, tuple[Any, Any]]:
        """Read one character: scores of the next (V,), and the state after."""
        feeds = {"ids": np.array([[token]]), "h": state[0], "c": state[1]}
        scores, h, c = self.session.run(None, feeds)
        return scores[0, 0], (h, c)


def draw(scores: Any, temperature: float, uniform: float) -> int:
    """The id that a number from U[0, 1) chooses from softmax(scores / temperature)."""
    weights = np.exp((scores - scores.max()).astype(np.float64) / temperature)
    return int(
        np.searchsorted(np.cumsum(weights / weights.sum()), uniform).clip(max=len(scores) - 1)
    )


def write(
    step: Callable[[int, Any], tuple[Any, Any]],
    state: Any,
    start: list[int],
    uniforms: Any,
    temperature: float,
) -> Iterator[tuple[int, Any]]:
    """Read the start, then draw an id for every number given and read it back in: (id, scores)."""
    for token in start:
        scores, state = step(token, state)
    for uniform in uniforms:
        token = draw(scores, temperature, uniform)
        yield token, scores
        scores, state = step(token, state)


def main() -> None:
    """Print what the model writes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("file")
    parser.add_argument("--start", default="The ")
    parser.add_argument("--length", type=int, default=300)
    parser.add_argument("--temperature", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    model = Model(options.file)
    known = {character: k for k, character in enumerate(model.vocabulary)}
    start = [known[character] for character in options.start if character in known] or [0]
    uniforms = np.random.default_rng(options.seed).random(options.length)
    written = write(model.step, model.start(), start, uniforms, options.temperature)
    print(options.start + "".join(model.vocabulary[token] for token, _ in written))


if __name__ == "__main__":
    main()
