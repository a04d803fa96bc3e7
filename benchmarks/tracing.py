"""What the hooks of observers cost a training step without an observer.

    python benchmarks/tracing.py

Wall times of two builds differ by more than the hooks cost, so the cost is counted: how often a
step passes each hook, which an observer tells exactly, times what one passing takes without one
(the best of many), over the time of the step (the best of many). The aim is less than 1 %.
"""

from __future__ import annotations

import timeit

import numpy as np

from tinygrad_seq import nn
from tinygrad_seq.autograd.observe import Observer, at_step, observing

NETS = {  # steps, batch, sizes: small ones are the worst case
    "LSTM (20, 1, 8, 8)": (20, 1, 8),
    "LSTM (35, 20, 64, 64)": (35, 20, 64),
}


class Counter(Observer):
    """Counts what it is told."""

    def __init__(self):
        self.forwards = self.nodes = self.pullbacks = 0

    def forward(self, op, compute, /, *args, **params):
        self.forwards += 1
        return super().forward(op, compute, *args, **params)

    def recorded(self, node):
        self.nodes += 1

    def pullback(self, node, pull, /, *args):
        self.pullbacks += 1
        return super().pullback(node, pull, *args)


def best(function, number, repeat):
    """Seconds for one call, the best of several runs."""
    return min(timeit.repeat(function, number=number, repeat=repeat)) / number


def unit_costs():
    """Seconds for one passing of each hook: read the variable and find nothing."""
    empty = min(timeit.repeat("pass", number=200_000, repeat=30)) / 200_000

    def cost(statement, setup="pass"):
        names = {"observing": observing, "at_step": at_step, "here": None, "n": Counter()}
        taken = timeit.repeat(statement, setup, number=200_000, repeat=30, globals=names)
        return min(taken) / 200_000 - empty

    return {
        "operation": cost("h = observing.get()\nif h is None: pass"),
        "node": cost("n.scope = observing.get()\nif n.scope is not None: pass"),
        "rule": cost("if here is None: pass"),
        "module": cost("if observing.get() is None: pass"),
        "time step": cost("with at_step(0): pass"),
    }


def main():
    units = unit_costs()
    print("one passing:", ", ".join(f"{name} {1e9 * s:.0f} ns" for name, s in units.items()))
    print(f"{'step of':34}{'ms':>8}{'operations':>12}{'nodes':>8}{'hooks, µs':>11}{'share':>8}")
    for name, (steps, batch, size) in NETS.items():
        for mode in ("fused", "unrolled"):
            net = nn.Sequential(nn.LSTM(size, size))
            x = np.random.default_rng(0).normal(size=(steps, batch, size)).astype("f4")

            def step(net=net, x=x, mode=mode):
                if mode == "fused":
                    y, _ = net(x)
                else:
                    with nn.unrolled():
                        y, _ = net(x)
                (y * y).mean().backward()

            seconds = best(step, 1, 200 if mode == "fused" else 60)
            with Counter() as count:
                step()
            modules = 4  # Sequential, LSTM, the level, and the cell of a fused operation
            hooks = (
                count.forwards * units["operation"]
                + count.nodes * units["node"]
                + count.pullbacks * units["rule"]
                + modules * units["module"]
                + (steps * units["time step"] if mode == "unrolled" else 0)
            )
            print(
                f"{name + ', ' + mode:34}{1e3 * seconds:8.3f}{count.forwards:12}{count.nodes:8}"
                f"{1e6 * hooks:11.1f}{hooks / seconds:8.2%}"
            )


if __name__ == "__main__":
    main()
