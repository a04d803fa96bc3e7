"""A training step of a recurrent layer, against what a user would pick instead.

    python benchmarks/recurrent.py            # all rows, LSTM, GRU and RNN, one and two threads
    python benchmarks/recurrent.py --short    # under three minutes
    python benchmarks/recurrent.py --what inference    # or tokens: the forward alone

Every contender runs in a process of its own and they take turns, A B A B; the figure is the median
of the paired ratios of wall time (first quartile to third). In the same run, outputs and gradients
must agree with the first contender's. Writes ``runs/bench/recurrent.{md,json,png}``.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import racing
from contenders import CONTENDERS, GATES, missing

HERE = Path(__file__).parent
ROWS = [
    (35, 20, 200, 200),
    (35, 20, 650, 650),
    (32, 1024, 28, 32),
    (100, 32, 64, 128),
    (100, 64, 128, 512),
    (784, 32, 1, 128),
    (50, 128, 64, 256),
    (1000, 1, 32, 32),
]
SHORT = [ROWS[0], ROWS[2], ROWS[3], ROWS[7]]
TOKENS = [(200, 1, 32, 32), (200, 1, 64, 128), (200, 1, 200, 200), (50, 1, 650, 650)]
FORWARD = ["tinygrad_seq_jit", "torch"]  # who races where there is no backward
JIT = "tinygrad_seq_jit ÷ torch"
LIMIT = 1.6  # of the picture
SLOW = {"autograd", "mygrad"}  # shown on the first and last row only: minutes elsewhere
PAIRS = [("tinygrad_seq_jit", "torch"), ("tinygrad_seq_unrolled", "torch_eager")]  # ratios beside


def make(row, kind, path):
    """Weights, input and upstream gradient of a row, the same for all."""
    steps, batch, size, hidden = row
    rng = np.random.default_rng(0)
    bound, rows = hidden**-0.5, GATES[kind] * hidden
    arrays = {
        "x": rng.normal(size=(steps, batch, size)),
        "g": rng.normal(size=(steps, batch, hidden)),
        "weight_ih": rng.uniform(-bound, bound, (rows, size)),
        "weight_hh": rng.uniform(-bound, bound, (rows, hidden)),
        "bias_ih": rng.uniform(-bound, bound, rows),
        "bias_hh": rng.uniform(-bound, bound, rows),
    }
    np.savez(path, **{name: a.astype("f4") for name, a in arrays.items()})


def race(row, kind, threads, names, turns, what):
    """Seconds of every turn of each contender, and whether their results agree."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "row.npz"
        make(row, kind, path)
        script = HERE / "contenders.py"
        runners = {n: racing.started([script, n, kind, path, what], threads) for n in names}
        times = racing.turns(runners, turns)
        results = {n: Path(f"{path}.{n}.npz") for n in names}
        base = dict(np.load(results[names[0]]))
        agree = {
            n: racing.apart(np.load(file), base)
            for n, file in results.items()
            if n != names[0] and file.exists()
        }
    return times, agree


def ratios(times, base):
    """Median and quartiles of the paired ratios of ``base`` to each other contender."""
    mine = np.array(times[base])
    return {
        name: np.percentile(mine / np.array(theirs), (50, 25, 75)).round(3).tolist()
        for name, theirs in times.items()
        if name != base
    }


def markdown(report):
    lines = [f"Machine: {', '.join(f'{k} {v}' for k, v in report['machine'].items())}", ""]
    for kind in GATES:
        for threads in (1, 2):
            found = [r for r in report["rows"] if (r["kind"], r["threads"]) == (kind, threads)]
            if not found:
                continue
            names = list(dict.fromkeys(name for r in found for name in r["ratios"]))
            lines += [f"### {kind}, {threads} thread{'s' * (threads > 1)}", ""]
            heads = [n if "÷" in n else f"÷ {n}" for n in names]
            lines += ["| (T, N, I, H) | ms | " + " | ".join(heads) + " |"]
            lines += ["|---" * (2 + len(names)) + "|"]
            for r in found:
                cells = []
                for name in names:
                    if name in r["ratios"]:
                        m, low, high = r["ratios"][name]
                        cells.append(f"{m:.2f} ({low:.2f}–{high:.2f})")
                    else:
                        cells.append("")
                row = ", ".join(map(str, r["row"]))
                lines.append(f"| ({row}) | {1e3 * r['seconds']:.1f} | " + " | ".join(cells) + " |")
            means = []
            for name in names:
                values = [r["ratios"][name][0] for r in found if name in r["ratios"]]
                means.append(f"{np.exp(np.log(values).mean()):.2f}")
            lines += ["| geometric mean | | " + " | ".join(means) + " |", ""]
    return "\n".join(lines)


def draw(report, path):
    """Ratios to torch.nn, one bar per row: left of the line is faster."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fewest = min(r["threads"] for r in report["rows"])
    found = [r for r in report["rows"] if r["threads"] == fewest and "torch" in r["ratios"]]
    kinds = list(dict.fromkeys(r["kind"] for r in found))
    figure, axes = plt.subplots(
        1,
        len(kinds),
        figsize=(2 + 3.2 * len(kinds), 3.6),
        sharey=True,
        layout="constrained",
        squeeze=False,
    )
    bars = {"torch": ("NumPy alone", "tab:blue"), JIT: ("with the extra jit", "tab:orange")}
    for axis, kind in zip(axes[0], kinds, strict=True):
        rows = [r for r in found if r["kind"] == kind]
        for shift, (name, (label, color)) in zip((-0.2, 0.2), bars.items(), strict=True):
            for k, r in enumerate(rows):
                if name in r["ratios"]:
                    value = r["ratios"][name][0]
                    axis.barh(k + shift, value, 0.38, color=color, label=label if not k else None)
                    if value > LIMIT:
                        axis.text(
                            LIMIT,
                            k + shift,
                            f"{value:.0f} ",
                            ha="right",
                            va="center",
                            color="white",
                        )
        axis.axvline(1, color="black", linewidth=1)
        axis.set(title=kind, xlabel=f"time ÷ torch.nn, threads: {fewest}", xlim=(0, LIMIT))
        labels = [
            ", ".join(f"{n}={v}" for n, v in zip("TNIH", r["row"], strict=True)) for r in rows
        ]
        axis.set_yticks(range(len(rows)), labels)
    axes[0][0].invert_yaxis()
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    racing.save(figure, path)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--short", action="store_true", help="fewer rows and turns")
    parser.add_argument("--kinds", nargs="*", choices=GATES, default=list(GATES))
    parser.add_argument("--threads", nargs="*", type=int, default=None)
    parser.add_argument(
        "--what", choices=("training", "inference", "tokens"), default="training",
        help="a training step; the forward alone; the same a token at a time, of one sequence",
    )  # fmt: skip
    parser.add_argument("--turns", type=int, default=None)
    parser.add_argument("--only", nargs="*", choices=CONTENDERS, help="these contenders")
    parser.add_argument("--out", default="runs/bench")
    options = parser.parse_args()
    turns = options.turns or (3 if options.short else 7)
    if options.what != "training":
        options.only = FORWARD
    names = ["tinygrad_seq", *(n for n in options.only or CONTENDERS if n != "tinygrad_seq")]
    absent = [name for name in names if missing(name)]
    for name in absent:
        print(f"left out: {name} is not installed")
    report = {"machine": racing.machine(), "turns": turns, "rows": []}
    for threads in options.threads or ([1] if options.short else [1, 2]):
        for kind in options.kinds:
            for row in TOKENS if options.what == "tokens" else SHORT if options.short else ROWS:
                here = [n for n in names if n not in absent]
                if row not in (ROWS[0], ROWS[-1]):
                    here = [n for n in here if n not in SLOW]
                times, agree = race(row, kind, threads, here, turns, options.what)
                wrong = {name: error for name, error in agree.items() if error > 1e-3}
                if wrong:
                    raise SystemExit(f"{kind} {row}: results differ from tinygrad_seq's: {wrong}")
                mine = float(np.median(times["tinygrad_seq"]))
                found = ratios(times, "tinygrad_seq")
                for base, other in PAIRS:
                    if base in times and other in times:
                        pair = {n: times[n] for n in (base, other)}
                        (found[f"{base} ÷ {other}"],) = ratios(pair, base).values()
                report["rows"].append(
                    {"kind": kind, "threads": threads, "row": row, "seconds": mine,
                     "ratios": found, "largest difference": agree}
                )  # fmt: skip
                shown = ", ".join(f"{n} {v[0]:.2f}" for n, v in found.items())
                print(
                    f"{kind} {row} {threads} thread(s): {1e3 * mine:.1f} ms; ratio to {shown}",
                    flush=True,
                )
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    name = "recurrent" if options.what == "training" else options.what
    racing.write(out / f"{name}.json", json.dumps(report, indent=1))
    racing.write(out / f"{name}.md", markdown(report))
    if options.what == "training":
        draw(report, out / "recurrent.png")
    print(f"\n{markdown(report)}\nwritten to {out}/{name}.*")


if __name__ == "__main__":
    main()
