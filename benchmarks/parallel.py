"""Two ranks of one thread against one process of two threads, and what averaging costs.

    python benchmarks/parallel.py

A training step of the character model of ``examples/05_char_lm.py`` (an LSTM of 256 units, 32
streams of 64 characters) and of one with 512 units, float32, on NumPy alone and compiled. Every
contender is a process of its own, or two; they take turns, and a figure is the median over the
turns of the median step of a turn. The last columns are a part of that step: ``team.average`` with
the waiting for the slower rank in it, and ``team.mean``, which sends only lines.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

HIDDEN = (256, 512)
CONTENDERS = {  # processes, threads of each
    "1 process, 1 thread": (1, 1),
    "1 process, 2 threads": (1, 2),
    "2 ranks, 1 thread each": (2, 1),
}


def measure(hidden: int, seconds: float) -> dict[str, float]:
    """Milliseconds of a step and of what the team does in it, on rank 0."""
    import numpy as np

    from tinygrad_seq import data, nn, optim, parallel

    class Model(nn.Module):
        def __init__(self):
            self.embed = nn.Embedding(91, 64)
            self.recur = nn.LSTM(64, hidden)
            self.read = nn.Linear(hidden, 91)

        def forward(self, ids):
            return self.read(self.recur(self.embed(ids))[0])

    times = {"step": [], "average": [], "mean": []}
    with parallel.team() as team:
        model = team.share(Model())
        optimizer = optim.Adam(model.parameters())
        ids = np.random.default_rng(0).integers(91, size=200_000)
        for step, (x, y) in enumerate(team.shard(data.Streams(ids, 64, 32))):
            began = time.perf_counter()
            loss = nn.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            before = time.perf_counter()
            team.average(model.parameters(), count=y.size)
            averaged = time.perf_counter()
            optim.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            ended = time.perf_counter()
            team.mean(loss, y.size)
            if step > 2:  # the first ones compile
                times["step"].append(time.perf_counter() - began)
                times["average"].append(averaged - before)
                times["mean"].append(time.perf_counter() - ended)
            # The mean is one number for all, so all ranks stop together.
            if team.mean(sum(times["step"]), 1) > seconds:
                break
    return {name: 1000 * statistics.median(values) for name, values in times.items()}


def turn(contender: str, hidden: int, jit: bool, seconds: float) -> dict[str, float]:
    """One turn of a contender, in processes of its own."""
    ranks, threads = CONTENDERS[contender]
    launcher = [str(Path(sys.executable).with_name("mpiexec")), "-n", str(ranks)]
    command = [sys.executable, __file__, "--measure", str(hidden), "--seconds", str(seconds)]
    root = str(Path(__file__).parent.parent)
    environment = os.environ | {
        "PYTHONPATH": root,
        "OPENBLAS_NUM_THREADS": str(threads),
        "TINYGRAD_SEQ_THREADS": str(threads),
        "TINYGRAD_SEQ_JIT": str(int(jit)),
    }
    done = subprocess.run(
        [*(launcher if ranks > 1 else []), *command],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="how long a turn lasts")
    parser.add_argument("--measure", type=int, metavar="H", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        found = measure(options.measure, options.seconds)
        if os.environ.get("PMI_RANK", "0") == os.environ.get("OMPI_COMM_WORLD_RANK", "0") == "0":
            print(json.dumps(found), flush=True)
        return
    print("| | H | step, ms | ÷ 1 process, 2 threads | average, ms | mean, ms |")
    print("|---|---|---|---|---|---|")
    for jit in (False, True):
        for hidden in HIDDEN:
            found = {name: [] for name in CONTENDERS}
            for _ in range(options.turns):
                for name, turns in found.items():
                    turns.append(turn(name, hidden, jit, options.seconds))
            peers = found["1 process, 2 threads"]
            for name, turns in found.items():
                step, average, mean = (
                    statistics.median(t[what] for t in turns)
                    for what in ("step", "average", "mean")
                )
                ratios = [t["step"] / p["step"] for t, p in zip(turns, peers, strict=True)]
                print(
                    f"| {name}{', jit' if jit else ''} | {hidden} | {step:.1f} | "
                    f"{statistics.median(ratios):.2f} | {average:.2f} | {mean:.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
