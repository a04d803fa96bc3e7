"""Processes that are killed while they write a file, at a moment of our choice.

As a program, ``kills.py WRITER FOLDER`` first prints how many moments a write has. Then, for each
line of input, it writes version 0 of the file, forks a process that writes version 1 and is killed
at that moment, and prints the version that is read now and how many files were left beside it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import tinygrad_seq as ts
from tinygrad_seq import io, nn, viz
from tinygrad_seq.data import CharTokenizer, encode_file, read_rolls, save_rolls

if __name__ != "__main__":
    from . import Row


class Writer(NamedTuple):
    """Something that writes version k of a file, and reads which version it is (and checks it)."""

    name: str
    write: Callable[[Path, int], object]
    read: Callable[[Path], int]


def _save(path: Path, k: int) -> None:
    ts.save(path, {"k": k, "w": np.full(3000, k), "b": np.zeros(3)})


def _load(path: Path) -> int:
    tree = ts.load(path)
    assert np.array_equal(tree["w"], np.full(3000, tree["k"]))
    return int(tree["k"])


def _encode(path: Path, k: int) -> None:
    text = path.with_suffix(".txt")
    text.write_text("ab"[k] * (9000 + k))
    encode_file(text, CharTokenizer.from_text("ab"), path)


def _ids(path: Path) -> int:
    ids = np.load(path)
    assert len(ids) == 9000 + int(ids[0])
    assert (ids == ids[0]).all()
    return int(ids[0])


def _rolls(path: Path, k: int) -> None:
    save_rolls(path, {"train": [np.full((40 + k, 88), k)]})


def _roll(path: Path) -> int:
    (piece,) = read_rolls(path)["train"]
    assert (piece == piece[0, 0]).all()
    return len(piece) - 40


def _explore(path: Path, k: int) -> None:
    x = ts.ones(3, requires_grad=True)
    viz.explore((x * x).sum(), path, title=f"version {k}")


def _page(path: Path) -> int:
    page = path.read_text("utf-8")
    assert page.rstrip().endswith("</html>")
    return int("version 1" in page)


def _export(path: Path, k: int) -> None:
    axes = {"x": io.Input("batch", 40)}
    io.export_onnx(nn.Linear(40, 40), path, axes, ["y"], metadata={"version": str(k)})


def _exported(path: Path) -> int:
    file = io.read_onnx(path)
    assert len(file.linear) == 1
    return int(file.metadata["version"])


WRITERS = {
    "save.npz": Writer("run.npz", _save, _load),
    "save.safetensors": Writer("run.safetensors", _save, _load),
    "encode_file": Writer("ids.npy", _encode, _ids),
    "save_rolls": Writer("rolls.npz", _rolls, _roll),
    "explore": Writer("graph.html", _explore, _page),
    "export_onnx": Writer("net.onnx", _export, _exported),
}


class Left(NamedTuple):
    """What a killed write left: the version that is read, and the files beside it."""

    version: int
    beside: int


def killed(
    writer: str, folder: Path, moments: Callable[[int], Iterable[int]]
) -> tuple[int, list[Left]]:
    """How many moments a write has, and what is left after a kill at each of ``moments(count)``."""
    with subprocess.Popen(
        [sys.executable, __file__, writer, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        assert process.stdout is not None
        count = int(process.stdout.readline())
        chosen = list(moments(count))
        output, _ = process.communicate("".join(f"{moment}\n" for moment in chosen))
    left = [Left(*map(int, line.split())) for line in output.splitlines()]
    if process.returncode or len(left) != len(chosen):
        raise AssertionError(f"{writer}: unreadable after a kill at moment {chosen[len(left)]}")
    return count, left


def campaign(rng: np.random.Generator, scale: float) -> Iterator[Row]:
    """Kills at drawn moments of every writer, and at each of its last moments."""
    for writer in WRITERS:
        with tempfile.TemporaryDirectory() as folder:

            def moments(count: int) -> list[int]:
                drawn = rng.integers(1, count - 40, int(100 * scale))
                return [*drawn.tolist(), *range(count - 40, count + 1)]

            count, left = killed(writer, Path(folder), moments)
        new = sum(version for version, _ in left)
        beside = sum(n for _, n in left)
        seen = f"{len(left) - new} the old file, {new} the new one; {beside} left a file beside it"
        yield Row(f"kill of `{writer}` at one of {count:,} moments", len(left), 0, seen)


def _main(name: str, folder: Path) -> None:
    writer = WRITERS[name]
    path = folder / writer.name

    def counting(end: int | None) -> int:
        calls = 0

        def look(frame: Any, event: str, argument: Any) -> None:
            nonlocal calls
            calls += event in ("call", "c_call")
            if calls == end:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.setprofile(look)
        writer.write(path, 1)
        sys.setprofile(None)
        return calls

    writer.write(path, 0)
    writer.write(path, 1)  # imports what it needs
    print(counting(None), flush=True)
    for line in sys.stdin:
        writer.write(path, 0)
        child = os.fork()
        if child == 0:
            counting(int(line))
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)
        beside = list(folder.glob(".saving-*"))
        for left in beside:  # or the next write would look at it, and have more moments
            left.unlink()
        print(writer.read(path), len(beside), flush=True)


if __name__ == "__main__":
    _main(sys.argv[1], Path(sys.argv[2]))
