"""Tasks of long memory: each sequence is what its definition says, and so are the baselines."""

from __future__ import annotations

import json
from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as ts
from tinygrad_seq import nn
from tinygrad_seq.data import AddingProblem, CopyMemory, TemporalOrder

MAKERS: dict[str, Any] = {
    "adding": lambda *sizes, **options: AddingProblem(*sizes, **options),
    "adding, original": lambda *sizes, **options: AddingProblem(*sizes, original=True, **options),
    "copy": lambda *sizes, **options: CopyMemory(*sizes, symbols=3, **options),
    "order of two": lambda *sizes, **options: TemporalOrder(*sizes, **options),
    "order of three": lambda *sizes, **options: TemporalOrder(*sizes, symbols=3, **options),
}
every_task = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
SIZES = {"steps": st.integers(22, 130), "count": st.integers(1, 9), "seed": st.integers(0, 2**70)}


def sequences(batch: Any) -> Any:
    """Each sequence alone, with its targets; what pads it is zero."""
    inputs, targets, lengths = batch
    assert inputs.shape[:2] == (lengths.max(), len(lengths))
    assert lengths.dtype == np.int64
    for n, length in enumerate(lengths):
        assert not inputs[length:, n].any()
        yield inputs[:length, n], targets[:, n] if targets.ndim == 2 else targets[n]


@given(**SIZES)
def test_adding_marks_one_number_in_each_half(steps: int, count: int, seed: int) -> None:
    batch = next(AddingProblem(steps, count, seed))
    assert batch.inputs.dtype == batch.targets.dtype == np.float32
    for sequence, target in sequences(batch):
        numbers, marks = sequence.T
        assert len(numbers) == steps
        assert ((numbers >= 0) & (numbers < 1)).all()
        assert sorted(marks) == [0] * (steps - 2) + [1, 1]
        assert marks[: steps // 2].sum() == 1
        assert target == numbers @ marks


@given(**SIZES)
def test_adding_as_first_published(steps: int, count: int, seed: int) -> None:
    batch = next(AddingProblem(steps, count, seed, original=True))
    assert batch.inputs.dtype == batch.targets.dtype == np.float32
    for sequence, target in sequences(batch):
        numbers, marks = sequence.T
        assert steps <= len(numbers) <= steps + steps // 10
        assert ((numbers >= -1) & (numbers < 1)).all()
        assert marks[-1] == -1
        marked = np.flatnonzero(marks == 1)
        assert len(marked) == 2
        assert marked[0] < 10
        assert marked[1] < steps // 2  # of the first T/2 - 1 but the one marked before
        assert (marks[0], numbers[0] == 0) in [(1, True), (-1, False)]
        assert not np.delete(marks, [0, len(marks) - 1, *marked]).any()
        assert target == pytest.approx(0.5 + numbers[marked].sum() / 4, abs=1e-6)


@given(**SIZES, symbols=st.integers(1, 12))
def test_copy_asks_for_the_symbols_at_the_end(
    steps: int, count: int, seed: int, symbols: int
) -> None:
    batch = next(CopyMemory(steps, count, seed, symbols=symbols))
    assert batch.inputs.dtype == batch.targets.dtype == np.int64
    for sequence, target in sequences(batch):
        shown = list(sequence[:symbols])
        assert set(shown) <= set(range(8))
        assert list(sequence) == [*shown, *[8] * (steps - 1), 9, *[8] * symbols]
        assert list(target) == [8] * (steps + symbols) + shown


@pytest.mark.parametrize(
    ("symbols", "places"),
    [(2, [(0.1, 0.2), (0.5, 0.6)]), (3, [(0.1, 0.2), (0.33, 0.43), (0.66, 0.76)])],
)
@given(**SIZES)
def test_order_is_that_of_the_symbols(
    symbols: int, places: list, steps: int, count: int, seed: int
) -> None:
    task = TemporalOrder(steps, count, seed, symbols=symbols)
    batch = next(task)
    assert batch.inputs.dtype == batch.targets.dtype == np.int64
    classes = [f"{k:0{symbols}b}".replace("0", "X").replace("1", "Y") for k in range(2**symbols)]
    for sequence, target in sequences(batch):
        text = "".join(task.alphabet[i] for i in sequence)
        assert steps <= len(text) <= 1.1 * steps
        assert (text[0], text[-1]) == ("E", "B")
        found = [k for k, letter in enumerate(text) if letter in "XY"]
        assert "".join(text[k] for k in found) == classes[target]
        for k, (low, high) in zip(found, places, strict=True):
            assert int(low * steps) <= k <= high * steps + 1e-9
        assert set(text[1:-1]) <= set("abcdXY")


def first_mark(x: Any, _: Any) -> Any:
    """Where the first of the marks fell, where the other one is past the ten it may fall on."""
    marked = x[:, :, 1] == 1
    return np.argmax(marked[:, marked[10:].any(0) & marked[:10].any(0)], 0)


@pytest.mark.parametrize(
    ("task", "drawn"),
    [
        (AddingProblem(20, 5000, seed=1), lambda x, y: np.argmax(x[:, :, 1], 0)),
        (AddingProblem(20, 5000, seed=2), lambda x, y: 19 - np.argmax(x[::-1, :, 1], 0) - 10),
        (AddingProblem(100, 5000, seed=8, original=True), first_mark),
        (CopyMemory(2, 5000, seed=3, symbols=1), lambda x, y: x[0]),
        (TemporalOrder(100, 5000, seed=4), lambda x, y: y),
        (TemporalOrder(100, 5000, seed=5, symbols=3), lambda x, y: y),
        (TemporalOrder(100, 5000, seed=6), lambda x, y: np.argmax(x // 4 == 1, 0) - 10),
        (TemporalOrder(100, 5000, seed=7), lambda x, y: x[1]),
    ],
)
def test_what_is_drawn_is_uniform(task: Any, drawn: Any) -> None:
    inputs, targets, _ = next(task)
    if isinstance(task, TemporalOrder):
        inputs = np.where(np.isin(inputs, [6, 7]), 0, inputs)  # E and B
    counts = np.bincount(drawn(inputs, targets))
    expected = counts.mean()
    assert len(counts) in (4, 8, 10, 11)
    # the statistic has mean k - 1 and variance 2 (k - 1): six deviations
    assert ((counts - expected) ** 2 / expected).sum() < len(counts) - 1 + 6 * np.sqrt(
        2 * (len(counts) - 1)
    )


@pytest.mark.parametrize(
    ("task", "guess"),
    [
        (AddingProblem(50, 100_000, seed=1), 1.0),
        (AddingProblem(22, 100_000, seed=2, original=True), 0.5),
        (AddingProblem(100, 100_000, seed=3, original=True), 0.5),
    ],
)
def test_the_baseline_of_adding_is_the_error_of_the_best_constant(task: Any, guess: float) -> None:
    errors = (next(task).targets.astype(float) - guess) ** 2
    deviation = errors.std() / np.sqrt(errors.size)
    assert abs(errors.mean() - task.baseline) < 5 * deviation
    assert next(task).targets.mean() == pytest.approx(guess, abs=0.01)


def test_the_baseline_of_adding_is_one_sixth() -> None:
    assert AddingProblem(50, 1).baseline == 1 / 6


@given(steps=st.integers(1, 60), symbols=st.integers(1, 12))
def test_the_baseline_of_copy_is_to_know_the_task_but_not_the_symbols(
    steps: int, symbols: int
) -> None:
    task = CopyMemory(steps, 6, symbols=symbols)
    targets = next(task).targets
    p = np.zeros((*targets.shape, 9))
    p[: steps + symbols, :, 8] = 1
    p[steps + symbols :, :, :8] = 1 / 8
    with np.errstate(divide="ignore"):
        loss = -np.log(np.take_along_axis(p, targets[..., None], -1)).mean()
    assert task.baseline == pytest.approx(loss)
    assert task.baseline == pytest.approx(symbols * np.log(8) / (steps + 2 * symbols))


@pytest.mark.parametrize("symbols", [2, 3])
def test_the_baseline_of_order_is_equal_chances(symbols: int) -> None:
    task = TemporalOrder(30, 8, symbols=symbols)
    loss = nn.cross_entropy(ts.zeros((8, 2**symbols)), next(task).targets)
    assert task.baseline == pytest.approx(loss.item())


@every_task
@given(before=st.integers(0, 4), seed=st.integers(0, 2**40))
def test_a_resumed_stream_is_bit_identical(make: Any, before: int, seed: int) -> None:
    straight, stopped, other = make(30, 4, seed=seed), make(30, 4, seed=seed), make(30, 4, seed=1)
    batches = list(islice(straight, before + 3))
    list(islice(stopped, before))
    next(other)
    other.load_state_dict(json.loads(json.dumps(stopped.state_dict())))
    np.testing.assert_equal(list(islice(other, 3)), batches[before:])
    assert other.position == before + 3


@every_task
def test_every_batch_is_new(make: Any) -> None:
    task, apart = make(40, 50, seed=1), make(40, 50, seed=2)
    first, second, third = next(task), next(task), next(apart)
    for other in (second, third):
        steps = min(len(first.inputs), len(other.inputs))
        assert not np.array_equal(first.inputs[:steps], other.inputs[:steps])


@every_task
def test_the_seed_of_the_library_settles_the_stream(make: Any) -> None:
    def drawn(seed: int) -> Any:
        ts.manual_seed(seed)
        return next(make(40, 5))

    np.testing.assert_equal(drawn(3), drawn(3))
    assert not np.array_equal(drawn(3).inputs[:40], drawn(4).inputs[:40])


@every_task
def test_a_checkpoint_takes_the_stream_along(make: Any, tmp_path: Any) -> None:
    task, again = make(30, 2, seed=5), make(30, 2, seed=6)
    next(task)
    ts.Checkpoint(data=task).save(tmp_path / "run.npz")
    ts.Checkpoint(data=again).restore(tmp_path / "run.npz")
    np.testing.assert_equal(next(again), next(task))


@every_task
def test_a_state_of_another_task_changes_nothing(make: Any) -> None:
    task = make(30, 4, seed=1)
    before = task.state_dict()
    for state, message in [
        (make(31, 4).state_dict(), "taken with steps=31, but this .* has steps=30"),
        (make(30, 5).state_dict(), "taken with batch_size=5"),
        (before | {"position": -1}, "position and seed are 0 or more; got -1 and 1"),
        ({"position": 1}, r"has the keys .*; got \['position'\]"),
    ]:
        with pytest.raises(ValueError, match=message):
            task.load_state_dict(state)
        assert task.state_dict() == before
    with pytest.raises(ValueError, match="original=True, but this AddingProblem"):
        AddingProblem(30, 4).load_state_dict(AddingProblem(30, 4, original=True).state_dict())
    with pytest.raises(ValueError, match="symbols=3, but this TemporalOrder has symbols=2"):
        TemporalOrder(30, 4).load_state_dict(TemporalOrder(30, 4, symbols=3).state_dict())


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: AddingProblem(1, 2), ValueError, "AddingProblem needs steps of at least 2; got 1"),
        (lambda: AddingProblem(21, 2, original=True), ValueError, "at least 22; got 21"),
        (lambda: TemporalOrder(9, 2), ValueError, "TemporalOrder needs steps of at least 10"),
        (lambda: CopyMemory(0, 2), ValueError, "CopyMemory expects steps of at least 1; got 0"),
        (lambda: CopyMemory(5, 0), ValueError, "expects batch_size of at least 1; got 0"),
        (lambda: CopyMemory(5, 2, symbols=0), ValueError, "expects symbols of at least 1; got 0"),
        (lambda: CopyMemory(5.0, 2), TypeError, "expects an int for steps; got float 5.0"),
        (lambda: CopyMemory(5, 2, seed=-1), ValueError, "integer, 0 or more; got -1"),
        (lambda: CopyMemory(5, 2, seed=1.5), ValueError, "integer, 0 or more; got 1.5"),
        (lambda: TemporalOrder(20, 2, symbols=4), ValueError, "knows 2 or 3 symbols; got 4"),
    ],
)
def test_what_does_not_fit_gets_a_sentence(make: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_the_shortest_tasks_can_be_drawn() -> None:
    for task in (
        AddingProblem(2, 3),
        AddingProblem(22, 3, original=True),
        CopyMemory(1, 3, symbols=1),
        TemporalOrder(10, 3),
        TemporalOrder(10, 3, symbols=3),
    ):
        assert len(list(sequences(next(task)))) == 3
