"""Train one model on two processes, lose one on the way, and go on with what is left.

    python examples/19_more_hands.py

Deep Learning 12.1.3; d2l 13.5 (data parallelism). The character model of example 5 is trained
three times over the same batches: by one process; by two ranks, each of which holds the model and
reads half of the parallel streams; and again by two, of which one is killed on the way. That ends
the other too, with a sentence, and the last checkpoint goes on alone. Gradients are averaged over
all characters before each step,

    g = Σ_r n_r g_r / Σ_r n_r,

so all three learn the same.

You see three curves that are one. They part in the last digits only, since float64 sums have
another order; float32 would part at about 1e-4.

What every rank runs is :func:`train`. By hand it is launched so:

    mpiexec -n 2 python -m tinygrad_seq.parallel examples/19_more_hands.py --train runs/two.npz
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import course  # before NumPy
import numpy as np

import tinygrad_seq as ts
from tinygrad_seq import data, nn, optim, parallel

example_5 = importlib.import_module("05_char_lm")


def train(options):
    """Some steps of truncated BPTT, from the checkpoint if there is one; every rank runs this."""
    ts.set_default_dtype("float64")
    ts.manual_seed(options.seed)
    text = course.text(None)[: 60_000 if options.quick else None]
    tokenizer = data.CharTokenizer.from_text(text)
    streams = data.Streams(tokenizer.encode(text), steps=64, batch_size=32)

    with parallel.team(timeout=120) as team:
        model = team.share(example_5.CharModel("LSTM", len(tokenizer), options.hidden, 1, 0.0))
        optimizer = optim.Adam(model.parameters(), lr=4e-3)
        run = ts.Checkpoint(model=model, optimizer=optimizer, data=streams)
        losses, state = [], None
        if options.train.exists():
            notes = team.restore(run, options.train)
            losses, state = notes["losses"], example_5.each(ts.Tensor, team.part(notes["state"]))

        while team.step < options.steps:
            for inputs, targets in team.shard(streams):  # this rank's streams
                scores, state = model(inputs, state)
                loss = nn.cross_entropy(scores, targets)
                optimizer.zero_grad()
                loss.backward()
                team.average(model.parameters(), count=targets.size)
                optim.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                state = example_5.each(ts.Tensor.detach, state)
                losses.append(team.mean(loss, targets.size))

                if team.step % options.every == 0 or team.step == options.steps:
                    team.save(run, options.train, losses=losses, state=team.gather(state))
                if team.step == options.kill and team.rank == 1:
                    os.kill(os.getpid(), signal.SIGKILL)  # as a machine does without memory
                if team.step == options.steps:
                    break
            else:
                state = None  # the text begins afresh


def launch(ranks, path, options, kill=None):
    """Train on so many ranks up to a checkpoint; whether they all came there."""
    mpiexec = Path(sys.executable).with_name("mpiexec")
    mpiexec = str(mpiexec) if mpiexec.exists() else shutil.which("mpiexec")
    if mpiexec is None:
        raise SystemExit("error: there is no mpiexec: pip install mpi4py mpich")
    command = [sys.executable, __file__, "--train", str(path), "--seed", str(options.seed)]
    command += ["--steps", str(options.steps), "--every", str(options.every)]
    command += ["--hidden", str(options.hidden), *["--quick"] * options.quick]
    if kill is not None:
        command += ["--kill", str(kill)]
    if ranks > 1:
        command[1:1] = ["-m", "tinygrad_seq.parallel"]
        command = [mpiexec, "-n", str(ranks), *command]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    said = done.stderr.decode(errors="replace")
    if done.returncode and kill is None:
        raise SystemExit(f"{' '.join(command)} failed:\n{said}")
    print(*[line for line in said.splitlines() if line.startswith("rank ")], sep="\n", end="")
    return done.returncode == 0


def main(argv: list[str] | None = None) -> float:
    """Train in the three ways; returns the largest difference between their losses."""
    options = parse(argv)
    if options.train:
        train(options)
        return 0.0
    options.out.mkdir(parents=True, exist_ok=True)
    paths = {name: options.out / f"19_{name}.npz" for name in ("one", "two", "killed")}
    for path in paths.values():
        path.unlink(missing_ok=True)

    launch(1, paths["one"], options)
    launch(2, paths["two"], options)
    kill = options.steps * 5 // 8
    if launch(2, paths["killed"], options, kill=kill):
        raise SystemExit("the killed rank ended well")
    saved = kill // options.every * options.every
    lost = ts.load(paths["killed"])["notes"]["losses"]
    course.expect(len(lost) == saved, f"the checkpoint is of step {len(lost)}")
    print(f"\nkilled at step {kill}; one process goes on from step {saved}")
    launch(1, paths["killed"], options)

    one, two, killed = (np.array(ts.load(p)["notes"]["losses"]) for p in paths.values())
    curves = {"one process": one, "two ranks": two, "two, then one": killed}
    course.table(
        ["", f"bits per character, last {options.every} steps", "largest difference of a loss"],
        *[
            [name, curve[-options.every :].mean() / np.log(2), np.abs(curve - one).max()]
            for name, curve in curves.items()
        ],
    )
    with course.picture(options.out / "19_more_hands.png", columns=2, figsize=(10, 4)) as (a, b):
        steps = 1 + np.arange(len(one))
        a.plot(steps, one / np.log(2), **course.BASELINE, label="one process")
        a.plot(steps, two / np.log(2), linewidth=0.8, label="two ranks")
        a.plot(steps[:saved], killed[:saved] / np.log(2), ":", label="two ranks, before the kill")
        a.plot(steps[saved:], killed[saved:] / np.log(2), ":", label="resumed on one process")
        a.axvline(kill, color="tab:red", linewidth=0.8, label="one rank killed")
        a.set(xlabel="step", ylabel="bits per character", title="Three runs, one curve")
        a.legend()
        for name in ("two ranks", "two, then one"):
            difference = np.maximum(np.abs(curves[name] - one), 1e-17)
            b.semilogy(steps, difference, linewidth=0.8, label=name)
        b.axvline(kill, color="tab:red", linewidth=0.8)
        b.set(xlabel="step", ylabel="nats", title="Difference to the loss of one process")
        b.legend()
    largest = max(np.abs(curve - one).max() for curve in curves.values())
    course.expect(largest < 1e-6 and one[-1] < one[0], f"the losses differ by {largest}")
    return largest


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = course.arguments(__doc__)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--every", type=int, default=20, help="steps between checkpoints")
    parser.add_argument("--hidden", type=int, default=256, help="hidden units")
    parser.add_argument("--train", type=Path, metavar="PATH", help="be a rank: train up to PATH")
    parser.add_argument("--kill", type=int, metavar="STEP", help="let rank 1 be killed there")
    options = parser.parse_args(argv)
    if options.quick:
        parser.set_defaults(steps=24, every=6, hidden=48)
        options = parser.parse_args(argv)
    return options


if __name__ == "__main__":
    main()
