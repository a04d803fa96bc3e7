"""What the tests run on real ranks: ``results OUT``, ``run OUT PATH UNTIL DROPOUT``, ``fails HOW``.

Several, joined by ``then``, run one after the other in the same processes.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from pathlib import Path

import numpy as np

import tinygrad_seq as ts
from tinygrad_seq import data, nn, optim, parallel, seq
from tinygrad_seq.parallel.watch import place


class Tagger(nn.Module):
    """Embedding, LSTM, scores; a weight that nothing uses, and one that does not learn."""

    def __init__(self, dropout: float = 0.0) -> None:
        self.embed = nn.Embedding(9, 4)
        self.recur = nn.LSTM(4, 6, num_layers=2, dropout=dropout)
        self.read = nn.Linear(6, 9)
        self.unused = nn.Linear(3, 3)
        self.read.bias.requires_grad = False

    def forward(self, ids, state=None):
        h, state = self.recur(self.embed(ids), state)
        return self.read(h), state


def batches(widths):
    rng = np.random.default_rng(0)
    for width in widths:
        x, y = rng.integers(9, size=(2, 5, width))
        yield x, np.where(rng.random(y.shape) < 0.2, -100, y)


def learning(model):
    """The parameters that are not frozen."""
    return [p for p in model.parameters() if p.requires_grad]


def weights(model):
    return np.concatenate([p.detach().numpy().ravel() for p in model.parameters()])


def trained(team, optimizer_of, widths, micro=1):
    """Steps with clipping over batches of these widths: the weights, and each loss."""
    ts.manual_seed(7)
    model = team.share(Tagger())
    optimizer = optimizer_of(learning(model))
    schedule = optim.CosineAnnealingLR(optimizer, T_max=2 * len(widths))
    losses = []
    for x, y in team.shard(batches(widths)):
        counted, total = int((y != -100).sum()), 0.0
        optimizer.zero_grad()
        for k in range(micro):  # accumulated over steps in time
            scores, _ = model(x)
            rows = slice(k * len(x) // micro, (k + 1) * len(x) // micro)
            loss = nn.cross_entropy(scores[rows], y[rows], reduction="sum") / max(counted, 1)
            loss.backward()
            total += loss.item()
        team.average(model.parameters(), count=counted)
        assert optim.clip_grad_norm_(model.parameters(), 0.02) > 0.02
        optimizer.step()
        schedule.step()
        losses.append(team.mean(total, counted))
    assert model.unused.weight.grad is None
    return weights(model), losses


def streams(team):
    """Truncated BPTT over parallel streams whose state is carried from window to window."""
    ts.manual_seed(7)
    model = team.share(Tagger())
    optimizer = optim.SGD(learning(model), lr=0.5)
    text = data.Streams(np.random.default_rng(1).integers(9, size=400), steps=8, batch_size=5)
    state = team.part(tuple(np.full((2, 5, 6), 0.1) for _ in "hc"))
    state, losses = tuple(map(ts.Tensor, state)), []
    for x, y in team.shard(text):
        scores, state = model(x, state)
        loss = nn.cross_entropy(scores, y)
        optimizer.zero_grad()
        loss.backward()
        team.average(model.parameters(), count=y.size)
        optimizer.step()
        state = tuple(part.detach() for part in state)
        losses.append(team.mean(loss, y.size))
    h, c = team.gather(state)
    return weights(model), losses, h, c


def windows(team):
    """seq.bptt on one long sequence of five columns, truncated, with a step per sequence."""
    ts.manual_seed(7)
    cell, read = team.share(nn.ModuleList([nn.GRUCell(3, 4), nn.Linear(4, 3)]))
    params = [*cell.parameters(), *read.parameters()]
    optimizer, rng = optim.RMSprop(params, lr=0.01), np.random.default_rng(2)
    for x in team.shard(rng.normal(size=(4, 12, 5, 3)), axis=1):
        optimizer.zero_grad()
        seq.bptt(
            cell, x[:-1], lambda t, y, x=x: nn.mse_loss(read(y), x[t + 1]), method=seq.Truncated(4)
        )
        team.average(params, count=x.shape[1])
        optimizer.step()
    return (np.concatenate([p.detach().numpy().ravel() for p in params]),)


def results(team):
    """Everything that must not depend on the number of ranks, by name."""
    uneven = [7] * 9 + [1, 2, 3]

    def sgd(params):
        return optim.SGD(params, lr=0.3, momentum=0.9)

    def adam(params):
        return optim.Adam(params, lr=0.01)

    found = {
        "sgd": trained(team, sgd, uneven),
        "adam": trained(team, adam, uneven),
        "accumulated": trained(team, adam, uneven, micro=2),
        "streams": streams(team),
        "windows": windows(team),
    }
    return {
        f"{name}{k}": np.asarray(a) for name, arrays in found.items() for k, a in enumerate(arrays)
    }


def run(team, path, until, dropout):
    """A run up to some step, from the checkpoint if there is one: its losses and weights."""
    ts.manual_seed(3)
    model = team.share(Tagger(dropout))
    optimizer = optim.Adam(learning(model), lr=0.02)
    text = data.RandomWindows(np.random.default_rng(1).integers(9, size=900), 6, 7, seed=4)
    checkpoint = ts.Checkpoint(model=model, optimizer=optimizer, data=text)
    losses = team.restore(checkpoint, path)["losses"] if path.exists() else []
    while team.step < until:
        for x, y in team.shard(text):
            loss = nn.cross_entropy(model(x)[0], y)
            optimizer.zero_grad()
            loss.backward()
            team.average(model.parameters(), count=y.size)
            optimizer.step()
            losses.append(team.mean(loss, y.size))
            if team.step == until:
                break
    team.save(checkpoint, path, losses=losses)
    return {"losses": np.asarray(losses), "weights": weights(model)}


class Scores(nn.Module):
    """What is quick to start: a failure does not depend on the model."""

    def __init__(self) -> None:
        self.embed, self.unused = nn.Embedding(9, 9), nn.Linear(3, 3)

    def forward(self, ids):
        return (self.embed(ids),)


def fails(team, how, where):
    """Trains, and on rank 1 something happens at step 3; a checkpoint is there from step 2."""
    model = team.share(Scores())
    optimizer = optim.SGD(learning(model), lr=0.1)
    for x, y in team.shard(batches([4] * 6)):
        if team.step == 3 and team.rank == 1:
            match how:
                case "raises":
                    raise ValueError("these data are bad")
                case "exits":
                    sys.exit(0)
                case "exits with 5":
                    sys.exit(5)
                case "has fewer batches":
                    return
                case "is killed":
                    os.kill(os.getpid(), signal.SIGKILL)
                case "vanishes":
                    os._exit(0)
                case "is interrupted":
                    os.kill(os.getpid(), signal.SIGINT)
                case "is stopped":
                    os.kill(os.getpid(), signal.SIGSTOP)
        if how == "all are interrupted" and team.step == 3:
            os.write(1, b"%d\n" % os.getpid())  # at once: the launcher mixes what ranks write
            while True:
                team.mean(1.0, 1)
        loss = nn.cross_entropy(model(x)[0], y)
        optimizer.zero_grad()
        loss.backward()
        team.average(model.parameters(), count=y.size)
        optimizer.step()
        if team.step == 2:
            team.save(ts.Checkpoint(model=model, optimizer=optimizer), where, step=2)


def work(task, *arguments):
    """One task of a team, from its start to its end."""
    if arguments[0] == "before" and place()[0] == 1:
        raise OSError("there is no disk on this machine")
    with parallel.team(timeout=float(os.environ.get("TEST_TIMEOUT", 60))) as team:
        if task == "fails":
            fails(team, arguments[0], Path(arguments[1]))
            return
        if task == "results":
            found = results(team)
        else:
            path, until, dropout = Path(arguments[1]), int(arguments[2]), float(arguments[3])
            found = run(team, path, until, dropout)
        for name, value in found.items():  # equal to the bit on all ranks
            everyone = team.gather(value[None], axis=0)
            assert (everyone == value).all() or name in ("streams2", "streams3"), name
        if team.rank == 0:
            np.savez(arguments[0], **found)


def main(*arguments):
    ts.set_default_dtype("float64")
    for then, task in itertools.groupby(arguments, "then".__eq__):
        if not then:
            work(*task)


if __name__ == "__main__":
    main(*sys.argv[1:])
