"""A run that is restored goes on as if it had never stopped, or is left as it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from device import host

import tinygrad_seq as ts
from tinygrad_seq import optim
from tinygrad_seq.data import RandomWindows
from tinygrad_seq.io import Checkpoint, CheckpointError, load, save
from tinygrad_seq.tensor import Tensor

pytestmark = pytest.mark.usefixtures("backend")


class Model:
    """A table of logits per token, with noise, so that training draws random numbers."""

    def __init__(self, size: int) -> None:
        self.table = Tensor(ts.generator().normal(size=(size, size)), requires_grad=True)

    def loss(self, inputs: np.ndarray, targets: np.ndarray) -> Tensor:
        noise = ts.generator().normal(size=(*inputs.shape, self.table.shape[1]))
        logits = self.table[inputs] + 0.1 * noise
        return -(ts.log_softmax(logits, axis=-1) * np.eye(self.table.shape[1])[targets]).mean()

    def state_dict(self) -> dict[str, np.ndarray]:
        return {"table": self.table.detach().numpy().copy()}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        if state["table"].shape != self.table.shape:
            raise ValueError(f"table has shape {state['table'].shape}")
        with ts.no_grad():
            self.table.copy_(state["table"])


class Run:
    def __init__(self, seed: int, size: int = 7, cls: type = optim.Adam) -> None:
        ts.manual_seed(seed)
        ids = np.random.default_rng(0).integers(0, size, 90)
        self.data = RandomWindows(ids, steps=6, batch_size=4)
        self.model = Model(size)
        self.optimizer = cls([self.model.table], lr=0.05)
        self.schedule = optim.LinearWarmup(
            self.optimizer, 5, after=optim.CosineAnnealingLR(self.optimizer, T_max=20)
        )
        self.checkpoint = Checkpoint(
            model=self.model, optimizer=self.optimizer, schedule=self.schedule, data=self.data
        )

    def train(self, epochs: int) -> Iterator[float]:
        while self.data.epoch < epochs:
            for inputs, targets in self.data:
                loss = self.model.loss(inputs, targets)
                self.optimizer.zero_grad()
                loss.backward()
                optim.clip_grad_norm_([self.model.table], 0.1)
                self.optimizer.step()
                self.schedule.step()
                yield loss.item()

    def everything(self) -> Any:
        return {name: part.state_dict() for name, part in self.checkpoint.parts.items()}


@pytest.fixture(params=[".npz", ".safetensors"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == ".safetensors":
        pytest.importorskip("safetensors")
    return tmp_path / f"run{request.param}"


@pytest.mark.parametrize("stop", [0, 1, 2, 3, 4, 5, 8, 11])
def test_a_resumed_run_is_bit_identical(path: Path, stop: int) -> None:
    straight = Run(seed=1)
    losses = list(straight.train(4))
    assert len(losses) == 4 * len(straight.data)

    stopped = Run(seed=1)
    steps = stopped.train(4)
    first = [next(steps) for _ in range(stop)]
    stopped.checkpoint.save(path, done=stop, best=min(first, default=float("inf")))

    resumed = Run(seed=999)
    notes = resumed.checkpoint.restore(path)
    assert notes == {"done": stop, "best": min(first, default=float("inf"))}
    assert first + list(resumed.train(4)) == losses
    np.testing.assert_array_equal(host(resumed.model.table), host(straight.model.table))
    ours = resumed.everything()
    straight_again = Run(seed=1)
    list(straight_again.train(4))
    np.testing.assert_equal(ours, straight_again.everything())


def test_what_does_not_fit_changes_nothing(path: Path) -> None:
    for other, message in [
        (Run(seed=2, size=8), "does not fit the part 'model': table has shape"),
        (Run(seed=2, cls=optim.SGD), "does not fit the part 'optimizer': .* another optimizer"),
    ]:
        list(other.train(1))
        other.checkpoint.save(path)
        run = Run(seed=1)
        list(run.train(1))
        before = run.everything()
        with pytest.raises(CheckpointError, match=f"{path.name} {message}.* Nothing was changed"):
            run.checkpoint.restore(path)
        np.testing.assert_equal(run.everything(), before)


def test_a_damaged_generator_changes_nothing(path: Path) -> None:
    run = Run(seed=1)
    run.checkpoint.save(path)
    content = load(path)
    content["parts"]["rng"] = {"bit_generator": "none"}
    save(path, content)
    list(run.train(1))
    before = run.everything()
    with pytest.raises(CheckpointError, match="the part 'rng': not a generator state"):
        run.checkpoint.restore(path)
    np.testing.assert_equal(run.everything(), before)


def test_a_file_of_other_parts_is_told(path: Path) -> None:
    run = Run(seed=1)
    Checkpoint(model=run.model).save(path)
    with pytest.raises(CheckpointError, match=r"holds the parts \['model', 'rng'\]; expected"):
        run.checkpoint.restore(path)
    save(path, {"w": np.zeros(3)})
    with pytest.raises(CheckpointError, match=r"not written by Checkpoint\.save"):
        run.checkpoint.restore(path)
    with pytest.raises(FileNotFoundError):
        run.checkpoint.restore(path.with_stem("nowhere"))


def test_some_parts_alone_are_restored(path: Path) -> None:
    run = Run(1)
    list(run.train(1))
    run.checkpoint.save(path, best=1.5)
    other, random = Run(2), ts.get_rng_state()
    before = host(other.model.table).copy()
    for names in (["model"], "model"):
        assert Checkpoint(model=other.model).restore(path, only=names) == {"best": 1.5}
        np.testing.assert_array_equal(host(other.model.table), host(run.model.table))
        with ts.no_grad():
            other.model.table.copy_(before)
    assert other.checkpoint.restore(path, only=[]) == {"best": 1.5}
    np.testing.assert_array_equal(host(other.model.table), before)
    assert ts.get_rng_state() == random
    with pytest.raises(ValueError, match=r"names the part 'modle'; this checkpoint has \['model'"):
        other.checkpoint.restore(path, only=["model", "modle"])
    with pytest.raises(CheckpointError, match=r"expected.*only="):
        Checkpoint(model=other.model).restore(path)
    with pytest.raises(CheckpointError, match=r"expected.*'net'"):
        Checkpoint(net=other.model).restore(path, only=["net"])
    wide = Run(2, size=8)
    with pytest.raises(CheckpointError, match="does not fit the part 'model'"):
        wide.checkpoint.restore(path, only=["model"])


def test_parts_without_a_state_are_refused() -> None:
    with pytest.raises(TypeError, match="'step', of type int, does not: save a plain value as"):
        Checkpoint(step=3)
    with pytest.raises(ValueError, match="always included"):
        Checkpoint(rng=Run(seed=1).model)
