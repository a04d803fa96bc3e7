"""Files with bytes changed, left out or put in: refused with a sentence, or read as they were."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_seq as ts
from tinygrad_seq.data import read_rolls, save_rolls
from tinygrad_seq.io import CheckpointError

from . import Row

TREE = {
    "model": {"w": np.arange(12, dtype=np.float32).reshape(3, 4), "b": np.zeros(0)},
    "rng": {"state": 2**120 + 1},
    "losses": [1.5, 2.5],
    "name": "a net",
}
ROLLS = {"train": [np.eye(5, 88), np.ones((2, 88))], "test": [np.zeros((1, 88))]}
NOTES = '{"train": [[[60, 64], [], [67]], [[21]]], "test": [[[108]]]}'


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """The content with one to three faults."""
    changed = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(len(changed) + 1))
        kind = rng.integers(4)
        if kind == 0:
            junk = rng.bytes(int(rng.integers(1, 9)))
            changed[at : at + len(junk)] = junk
        elif kind == 1:
            del changed[at : at + int(rng.integers(1, 30))]
        elif kind == 2:
            changed[at:at] = rng.bytes(int(rng.integers(1, 30)))
        elif at < len(changed):
            changed[at] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def same(a: Any, b: Any) -> bool:
    """Whether two trees are equal, to the dtypes of their arrays."""
    if isinstance(b, dict):
        return isinstance(a, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in b)
    if isinstance(b, list):
        return isinstance(a, list) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(b, np.ndarray):
        return isinstance(a, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b)
    return type(a) is type(b) and bool(a == b)


def campaign(rng: np.random.Generator, scale: float) -> Iterator[Row]:
    """Faults in every kind of file that is read. Of a JSON text other notes may be right."""
    times = int(4000 * scale)
    with tempfile.TemporaryDirectory() as folder:
        for suffix in (".npz", ".safetensors"):
            path = Path(folder) / f"run{suffix}"
            ts.save(path, TREE)
            yield _tried(
                f"load of a damaged `{suffix}`", path, ts.load, CheckpointError, rng, times
            )
        path = Path(folder) / "rolls.npz"
        save_rolls(path, ROLLS)
        yield _tried("read_rolls of a damaged `.npz`", path, read_rolls, ValueError, rng, times)
        path = Path(folder) / "rolls.json"
        path.write_text(NOTES)
        yield _tried(
            "read_rolls of a damaged `.json`", path, read_rolls, ValueError, rng, times, exact=False
        )


def _tried(
    what: str,
    path: Path,
    read: Callable[[Path], Any],
    error: type[Exception],
    rng: np.random.Generator,
    times: int,
    exact: bool = True,
) -> Row:
    content, right = path.read_bytes(), read(path)
    refused = equal = wrong = 0
    others: set[str] = set()
    for _ in range(times):
        path.write_bytes(damaged(content, rng))
        try:
            found = read(path)
        except error as raised:
            refused += 1
            wrong += len(str(raised)) > 1000 + len(str(path))
        except Exception as raised:
            wrong += 1
            others.add(type(raised).__name__)
        else:
            equal += same(found, right)
            wrong += exact and not same(found, right)
    seen = f"{refused:,} refused, {equal:,} read as they were"
    return Row(what, times, wrong, ", ".join([seen, *sorted(others)]))
