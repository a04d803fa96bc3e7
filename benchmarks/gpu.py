"""Race a training step of an LSTM on a GPU: this library, cuDNN, and a loop of PyTorch's cells.

    make bench-gpu                 # all rows; writes benchmarks/results/gpu.md and gpu.json
    python benchmarks/gpu.py --short

A step is forward and backward in float32 with gradients of the input and of every parameter, from
the same weights. The contenders take turns (A B C A B C ...) in one process, since each has the GPU
to itself between synchronisations; every time is that of several steps between two of them, so that
what a library leaves running is counted. The table has the median of each, and the median of the
ratios of neighbours with their quartiles. Before it is timed, each is checked against the others.
TF32 is off for all of them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import racing
from recurrent import ROWS as CPU_ROWS

# (T, N, I, H): those of the CPU's table, and two in which the products are all
ROWS = [*CPU_ROWS, (512, 256, 1024, 1024), (256, 512, 512, 2048)]
SHORT = [ROWS[0], ROWS[4]]
Step = Callable[[], list[Any]]


class Contender:
    """A step, and how to wait for it and to read what it gave."""

    def __init__(self, name: str, step: Step, wait: Callable[[], None], read: Any) -> None:
        self.name, self.step, self.wait, self.read = name, step, wait, read

    def seconds(self, count: int) -> float:
        """Time of one step, from several."""
        self.wait()
        start = time.perf_counter()
        for _ in range(count):
            self.step()
        self.wait()
        return (time.perf_counter() - start) / count


def ours(x: np.ndarray, upstream: np.ndarray, weights: dict[str, np.ndarray]) -> Contender:
    """This library on CuPy."""
    import tinygrad_seq as ts
    from tinygrad_seq import nn
    from tinygrad_seq.backend import backend_named, use_backend

    gpu = backend_named("cupy")
    with use_backend("cupy"):
        net = nn.LSTM(x.shape[2], upstream.shape[2])
        net.load_state_dict(weights)
        inputs, g = ts.Tensor(x, requires_grad=True), ts.Tensor(upstream)

    def step() -> list[Any]:
        net.zero_grad()
        inputs.grad = None
        y, _ = net(inputs)
        y.backward(g)
        return [y, inputs.grad, *(p.grad for p in net.parameters())]

    return Contender("tinygrad_seq", step, gpu.synchronize, lambda t: t.detach().numpy())


def pytorch(
    x: np.ndarray, upstream: np.ndarray, weights: dict[str, np.ndarray], cells: bool
) -> Contender:
    """``torch.nn.LSTM``, which is cuDNN's, or PyTorch's cell in a loop."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    inputs = torch.tensor(x, device="cuda", requires_grad=True)
    g = torch.tensor(upstream, device="cuda")
    sizes = x.shape[2], upstream.shape[2]
    net = (torch.nn.LSTMCell if cells else torch.nn.LSTM)(*sizes).cuda()
    ending = "_l0" if cells else ""
    state = {name.removesuffix(ending): torch.tensor(w) for name, w in weights.items()}
    net.load_state_dict(state)

    def loop() -> Any:
        h = c = torch.zeros(x.shape[1], sizes[1], device="cuda")
        outputs = []
        for x_t in inputs.unbind(0):
            h, c = net(x_t, (h, c))
            outputs.append(h)
        return torch.stack(outputs)

    def step() -> list[Any]:
        net.zero_grad(set_to_none=True)
        inputs.grad = None
        y = loop() if cells else net(inputs)[0]
        y.backward(g)
        return [y, inputs.grad, *(p.grad for p in net.parameters())]

    name = "PyTorch, cells" if cells else "PyTorch, cuDNN"
    return Contender(name, step, torch.cuda.synchronize, lambda t: t.detach().cpu().numpy())


def contenders(row: tuple[int, int, int, int]) -> list[Contender]:
    """All of them from the same weights, input and upstream gradient, known to agree."""
    T, N, size, H = row
    rng = np.random.default_rng(0)
    shapes = {"weight_ih_l0": (4 * H, size), "weight_hh_l0": (4 * H, H)}
    shapes |= {"bias_ih_l0": (4 * H,), "bias_hh_l0": (4 * H,)}
    bound = H**-0.5
    weights = {n: rng.uniform(-bound, bound, s).astype("f4") for n, s in shapes.items()}
    x, upstream = (rng.standard_normal((T, N, n), "f4") for n in (size, H))
    made = [ours(x, upstream, weights)]
    made += [pytorch(x, upstream, weights, cells) for cells in (False, True)]
    first, *others = ([c.read(value) for value in c.step()] for c in made)
    for contender, values in zip(made[1:], others, strict=True):
        for a, b in zip(first, values, strict=True):
            error = np.abs(a - b).max() / np.abs(b).max()
            if not error < 1e-3:
                raise SystemExit(f"{row}: {contender.name} computes something else ({error:.1e})")
    return made


def race(row: tuple[int, int, int, int], pairs: int) -> dict[str, Any]:
    """Milliseconds of each, and our ratio to the others."""
    runners = contenders(row)
    counts = [max(1, round(0.2 / min(r.seconds(1) for _ in range(3)))) for r in runners]
    rounds = [[r.seconds(n) for r, n in zip(runners, counts, strict=True)] for _ in range(pairs)]
    result: dict[str, Any] = {"row": row}
    for k, runner in enumerate(runners):
        result[runner.name] = 1e3 * statistics.median(times[k] for times in rounds)
        if k:
            ratios = [times[0] / times[k] for times in rounds]
            result[f"ratio to {runner.name}"] = statistics.quantiles(ratios, n=4)
    return result


def machine() -> str:
    """The card and the versions."""
    import cupy
    import torch

    if not torch.cuda.is_available():
        raise RuntimeError(f"PyTorch {torch.__version__} sees no GPU: install its build for CUDA")
    card = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    cuda = cupy.cuda.runtime.runtimeGetVersion()
    versions = f"CUDA {cuda}, CuPy {cupy.__version__}, NumPy {np.__version__}"
    return (
        f"{card}; {versions}, PyTorch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}"
    )


def as_markdown(results: list[dict[str, Any]]) -> str:
    """The results as a table."""
    names = [name for name in results[0] if name != "row"]
    lines = [f"| (T, N, I, H) | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for result in results:
        cells = [str(result["row"]).replace(" ", "")]
        for name in names:
            value = result[name]
            if isinstance(value, list):
                low, middle, high = value
                cells.append(f"{middle:.2f} ({low:.2f} to {high:.2f})")
            else:
                cells.append(f"{value:.2f} ms")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    """Run the rows, print the table, write both forms of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--short", action="store_true", help="two rows")
    parser.add_argument("--pairs", type=int, default=9, help="rounds for each row")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args(argv)
    print(machine(), flush=True)
    results = []
    for row in SHORT if options.short else ROWS:
        results.append(race(row, options.pairs))
        print(as_markdown(results).splitlines()[-1], flush=True)
    table = as_markdown(results)
    print(f"\n{table}")
    options.out.mkdir(parents=True, exist_ok=True)
    racing.write(options.out / "gpu.md", f"{machine()}\n\n{table}\n")
    content = {"machine": machine(), "results": results}
    racing.write(options.out / "gpu.json", json.dumps(content, indent=1))


if __name__ == "__main__":
    try:
        main()
    except (ImportError, RuntimeError) as error:
        sys.exit(f"error: {error}")
