"""Whole training steps: loss, gradients, clipping and Adam, against PyTorch and JAX.

    python benchmarks/steps.py            # all models, one and two threads
    python benchmarks/steps.py --short    # two models, one thread, a minute
    python benchmarks/steps.py --growth   # time and memory along long sequences

Every contender runs in a process of its own and they take turns; a figure is the median of the
paired ratios of wall time (first quartile to third). In the same run, the first five losses and the
gradients of the first step must agree. Writes ``runs/bench/steps.{md,json,png}``.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np
import racing
from models import CONTENDERS, IN_JAX, MODELS
from recurrent import ratios

HERE = Path(__file__).parent
SHORT = ["char LM", "MLP"]
NEEDS = {"numpy": "numpy", "jit": "numba"}
COLORS = {"numpy": "tab:blue", "jit": "tab:orange", "jax": "tab:gray"}
LABELS = {"numpy": "NumPy alone", "jit": "with the extra jit", "jax": "JAX"}


def race(name, threads, contenders, turns):
    """Seconds of every turn of each contender, and how far its results are from PyTorch's."""
    with tempfile.TemporaryDirectory() as folder:
        paths = {c: Path(folder) / f"{c}.npz" for c in contenders}
        runners = {
            c: racing.started([HERE / "models.py", c, name, path], threads)
            for c, path in paths.items()
        }
        times = racing.turns(runners, turns)
        results = {c: dict(np.load(path)) for c, path in paths.items()}
    base = results.pop("torch")
    return times, {c: racing.apart(found, base) for c, found in results.items()}


def markdown(report):
    lines = [f"Machine: {', '.join(f'{k} {v}' for k, v in report['machine'].items())}", ""]
    for threads in dict.fromkeys(r["threads"] for r in report["rows"]):
        rows = [r for r in report["rows"] if r["threads"] == threads]
        names = [c for c in COLORS if any(c in r["ratios"] for r in rows)]
        lines += [f"### Whole steps, {threads} thread{'s' * (threads > 1)}", ""]
        lines += [
            "| model | torch, ms | " + " | ".join(f"{LABELS[c]} ÷ torch" for c in names) + " |"
        ]
        lines += ["|---" * (2 + len(names)) + "|"]
        for r in rows:
            cells = [
                "{:.2f} ({:.2f}–{:.2f})".format(*r["ratios"][c]) if c in r["ratios"] else ""
                for c in names
            ]
            lines.append(f"| {r['model']} | {1e3 * r['torch']:.1f} | " + " | ".join(cells) + " |")
        means = [
            np.exp(np.mean([np.log(r["ratios"][c][0]) for r in rows if c in r["ratios"]]))
            for c in names
        ]
        lines += ["| geometric mean | | " + " | ".join(f"{m:.2f}" for m in means) + " |", ""]
    return "\n".join(lines)


def draw(report, path):
    """Time of a step ÷ PyTorch's: a bar for each contender of each model; left of 1 is faster."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    counts = list(dict.fromkeys(r["threads"] for r in report["rows"]))
    figure, axes = plt.subplots(
        1, len(counts), figsize=(4.2 * len(counts) + 1, 4), sharey=True, layout="constrained",
        squeeze=False,
    )  # fmt: skip
    for axis, threads in zip(axes[0], counts, strict=True):
        rows = [r for r in report["rows"] if r["threads"] == threads]
        for k, (c, color) in enumerate(COLORS.items()):
            found = [(i, r["ratios"][c][0]) for i, r in enumerate(rows) if c in r["ratios"]]
            places, values = [i + 0.27 * (k - 1) for i, _ in found], [v for _, v in found]
            axis.barh(places, values, 0.25, color=color, label=LABELS[c])
        axis.axvline(1, color="black", linewidth=1)
        title = f"{threads} thread{'s' * (threads > 1)}"
        axis.set(title=title, xlabel="time of a training step ÷ PyTorch's")
        axis.set_yticks(range(len(rows)), [r["model"] for r in rows])
    axes[0][0].invert_yaxis()
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    racing.save(figure, path)
    plt.close(figure)


def growth():
    """Time and memory of an LSTM's training step along T, and memory along a stream."""
    import tinygrad_seq as ts
    from tinygrad_seq import nn

    N, H = 8, 64
    layer = nn.LSTM(H, H)

    def step(x):
        layer.zero_grad()
        layer(x)[0].sum().backward()

    lines = ["| T | µs for each step of the sequence | peak ÷ arrays that the equations need |"]
    lines += ["|---|---|---|"]
    for T in (100, 1000, 10_000):
        x = ts.tensor(np.ones((T, N, H), "f4"), requires_grad=True)
        step(x)
        seconds = []
        for _ in range(7):
            start = time.perf_counter()
            step(x)
            seconds.append(time.perf_counter() - start)
        tracemalloc.start()
        x.grad = None
        step(x)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        # y and its gradient, c, four gates, their gradients, and the gradient of x
        needed = T * N * H * 4 * (2 + 1 + 4 + 4 + 1)
        lines.append(f"| {T} | {1e6 * np.median(seconds) / T:.2f} | {peak / needed:.2f} |")
    small, state, used = nn.LSTM(8, 32), None, []
    x = ts.Tensor(np.ones((100, 1, 8), "f4"))
    for k in range(10_000):
        y, state = small(x, state)
        y.sum().backward()
        state = tuple(part.detach() for part in state)
        if k in (1000, 9999):
            used.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    more, before = used[1] - used[0], used[0] // 1024
    lines += ["", f"A million steps as a stream of windows of 100: at the end {more} KiB more than"]
    lines[-1] += f" after the first tenth, of {before} MiB."
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--short", action="store_true", help="fewer models and turns")
    parser.add_argument("--growth", action="store_true", help="time and memory along T alone")
    parser.add_argument("--models", nargs="*", choices=MODELS)
    parser.add_argument("--threads", nargs="*", type=int)
    parser.add_argument("--turns", type=int)
    parser.add_argument("--out", default="runs/bench")
    options = parser.parse_args()
    if options.growth:
        print(growth())
        return
    if importlib.util.find_spec("torch") is None:
        print("left out: whole steps are raced against PyTorch, which is not installed")
        return
    turns = options.turns or (3 if options.short else 7)
    report = {"machine": racing.machine(), "turns": turns, "rows": []}
    for threads in options.threads or ([1] if options.short else [1, 2]):
        for name in options.models or (SHORT if options.short else MODELS):
            names = ["torch", *CONTENDERS, *(["jax"] if name in IN_JAX else [])]
            here = [c for c in dict.fromkeys(names) if importlib.util.find_spec(NEEDS.get(c, c))]
            times, apart = race(name, threads, here, turns)
            if max(apart.values()) > 1e-3:
                raise SystemExit(f"{name}: losses or gradients differ from PyTorch's: {apart}")
            found = {c: ratios({c: times[c], "torch": times["torch"]}, c)["torch"] for c in apart}
            report["rows"].append(
                {"model": name, "threads": threads, "torch": float(np.median(times["torch"])),
                 "ratios": found, "largest difference": apart}
            )  # fmt: skip
            shown = ", ".join(f"{c} {v[0]:.2f}" for c, v in found.items())
            print(f"{name}, {threads} thread(s): ratio to torch {shown}", flush=True)
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    racing.write(out / "steps.json", json.dumps(report, indent=1))
    racing.write(out / "steps.md", markdown(report))
    draw(report, out / "steps.png")
    print(f"\n{markdown(report)}\nwritten to {out}/steps.*")


if __name__ == "__main__":
    main()
