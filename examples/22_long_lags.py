"""Long lags, ten cells: adding and copying, by cells that see their state and by cells that do not.

    python examples/22_long_lags.py
    python examples/22_long_lags.py --task adding --cell LRU    # one of them

Deep Learning 10.7 to 10.11; d2l 10.1 and 10.2. Example 8 asks five cells of before 2015; here are
RNN, GRU and LSTM at lags two and three times as long, beside seven later ones. Adding: the sum of
two marked numbers among 100. Copying: five symbols, asked for again after 30 blanks. All have
the same frame: a map of each input with ReLU, the cell, a map with ReLU, and scores.

MGU, SRU and sLSTM see their state; minGRU, minLSTM and RG-LRU gate by the input alone; LRU does not
gate at all, but its state is of complex numbers, which turn: it knows how long ago something was.

You see two different gifts. To add is to let some inputs in: gates do it, whatever they see. To
copy in order is to tell when. LRU does so at once. Gates that see the state learn it slowly, or not
in these batches; those that see the input alone find all blanks alike.
"""

from __future__ import annotations

from typing import NamedTuple

import course  # before NumPy
import numpy as np

import tinygrad_seq as ts
from tinygrad_seq import data, nn, optim

SYMBOLS = 5  # to be copied


class Setting(NamedTuple):
    """How a task is learned: H hidden units, Adam's rate at its peak, so many batches."""

    task: type
    steps: int
    inputs: int
    outputs: int
    hidden: int
    rate: float
    batches: int
    what: str  # the error that is counted


SETTINGS = {
    "adding": Setting(data.AddingProblem, 100, 2, 1, 32, 1e-2, 1000, "squared error"),
    "copying": Setting(data.CopyMemory, 30, 10, 9, 32, 1e-2, 1500, "share wrong"),
}
QUICK = {
    "adding": SETTINGS["adding"]._replace(steps=20, hidden=24, batches=300),
    "copying": SETTINGS["copying"]._replace(steps=5, batches=300),
}


def seeing(make):
    """A layer of a cell whose gates see the state; it starts orthogonal, and remembering."""

    def layer(size):
        cell = make(size, size)
        if make is not nn.SRUCell:  # its U is diagonal
            nn.init.recurrent_(cell, nn.init.orthogonal)
        if "f" in cell.gate_names and make is not nn.MGUCell:  # its f is of what is new
            nn.init.bias_(cell, 1.0, gate="f")
        return nn.Recurrent(cell)

    return layer


def lru(size):
    """λ starts on a ring near the unit circle, where lags are long."""
    return nn.LRU(size, size, r_min=0.9, r_max=0.999)


CELLS = {
    "RNN": seeing(nn.RNNCell),
    "GRU": seeing(nn.GRUCell),
    "LSTM": seeing(nn.LSTMCell),
    "MGU": seeing(nn.MGUCell),
    "SRU": seeing(nn.SRUCell),
    "sLSTM": seeing(nn.SLSTMCell),
    "minGRU": lambda size: nn.MinGRU(size, size),
    "minLSTM": lambda size: nn.MinLSTM(size, size),
    "RG-LRU": lambda size: nn.RGLRU(size, size),
    "LRU": lru,
}
COLORS = course.COLORS | {
    "MGU": "tab:brown",
    "SRU": "tab:olive",
    "sLSTM": "tab:cyan",
    "minGRU": "tab:red",
    "minLSTM": "salmon",
    "RG-LRU": "tab:pink",
    "LRU": "tab:purple",
}
LINEAR = {"minGRU", "minLSTM", "RG-LRU", "LRU"}  # in their state: dotted


class Frame(nn.Module):
    """The same around every cell."""

    def __init__(self, kind: str, setting: Setting):
        size = setting.hidden
        self.enter = nn.Sequential(nn.Linear(setting.inputs, size), nn.ReLU())
        self.recur = CELLS[kind](size)
        self.leave = nn.Sequential(
            nn.Linear(size, size), nn.ReLU(), nn.Linear(size, setting.outputs)
        )

    def forward(self, x, steps: int):
        """x (T, N, I) -> what is said at the last steps (steps, N, O)."""
        return self.leave(self.recur(self.enter(x))[0][-steps:])


def judge(model: Frame, batch: data.TaskBatch, setting: Setting) -> tuple[ts.Tensor, float]:
    """The loss where an answer is asked for, and the error that is counted."""
    inputs, targets, _ = batch
    if inputs.ndim == 3:  # numbers
        loss = nn.mse_loss(model(inputs, 1)[0, :, 0], targets)
        return loss, loss.item()
    targets = targets[-SYMBOLS:]
    scores = model(ts.one_hot(inputs, setting.inputs), SYMBOLS)
    wrong = scores.detach().numpy().argmax(-1) != targets
    return nn.cross_entropy(scores, targets), float(wrong.mean())


def train(kind: str, setting: Setting, seed: int) -> tuple[list[float], float]:
    """Every batch is new; Adam, its rate in one cycle.

    Returns:
        The error of each batch, and the error on 1000 fresh sequences.
    """
    ts.manual_seed(seed)
    task, model = make_task(setting, 32), Frame(kind, setting)
    optimizer = optim.Adam(model.parameters())
    schedule = optim.OneCycleLR(optimizer, setting.rate, setting.batches)
    errors = []
    for _ in course.progress(range(setting.batches), desc=kind):
        loss, error = judge(model, next(task), setting)
        optimizer.zero_grad()
        loss.backward()
        optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        errors.append(error)
    with ts.no_grad():
        return errors, judge(model, next(make_task(setting, 1000)), setting)[1]


def make_task(setting: Setting, batch: int):
    """A stream of batches."""
    options = {"symbols": SYMBOLS} if setting.task is data.CopyMemory else {}
    return setting.task(setting.steps, batch, **options)


def no_memory(name: str) -> float:
    """The error of who remembers nothing: the mean for all; one of eight symbols."""
    return 1 / 6 if name == "adding" else 7 / 8


def draw(axes, name: str, setting: Setting, curves: dict[str, list[float]]) -> None:
    """Error against batches, one line for each cell."""
    axes.axhline(no_memory(name), **course.BASELINE, label="no memory")
    for kind, errors in curves.items():
        width = min(50, len(errors))
        mean = np.convolve(errors, np.full(width, 1 / width), "valid")
        line = ":" if kind in LINEAR else "-"
        at = np.arange(width, len(errors) + 1)
        axes.plot(at, np.maximum(mean, 1e-4), line, color=COLORS[kind], label=kind)
    axes.set(yscale="log", xlabel="batches", ylabel=setting.what)
    axes.set_title(f"{name.capitalize()}, T = {setting.steps}")


def main(argv: list[str] | None = None) -> dict[tuple[str, str], float]:
    """Train what is asked for; returns the error on fresh sequences of each task and cell."""
    parser = course.arguments(__doc__)
    parser.add_argument("--task", choices=SETTINGS, help="one task instead of both")
    parser.add_argument("--cell", choices=CELLS, help="one cell instead of all")
    parser.add_argument("--steps", type=int, help="T, another length")
    options = parser.parse_args(argv)
    settings = dict(QUICK if options.quick else SETTINGS)
    kinds = [options.cell] if options.cell else ["LSTM", "LRU"] if options.quick else list(CELLS)
    names = [options.task] if options.task else list(settings)
    curves, reached = {}, {}
    for name in names:
        if options.steps:
            settings[name] = settings[name]._replace(steps=options.steps)
        curves[name] = {}
        for kind in kinds:
            curves[name][kind], reached[name, kind] = train(kind, settings[name], options.seed)
    course.table(
        ["cell", *(f"{name}, {settings[name].what}" for name in names)],
        *([kind, *(reached[name, kind] for name in names)] for kind in kinds),
        ["no memory", *(no_memory(name) for name in names)],
    )
    panels = len(names)
    with course.picture(
        options.out / "22_long_lags.png", 1, panels, figsize=(4.5 * panels, 4.2)
    ) as plots:
        for axes, name in zip(np.atleast_1d(plots), names, strict=True):
            draw(axes, name, settings[name], curves[name])
        handles = axes.get_legend_handles_labels()
        axes.figure.legend(*handles, loc="outside lower center", ncols=6)
    for name in names:
        best = min(reached[name, kind] for kind in kinds)
        course.expect(best < no_memory(name) / 2, f"{name}: the best error is {best:.3f}")
    return reached


if __name__ == "__main__":
    main()
