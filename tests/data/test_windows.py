"""Batches of windows: each position once, targets shifted by one, resumable at any batch."""

from __future__ import annotations

import json
from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import tinygrad_seq as ts
from tinygrad_seq.data import RandomWindows, Streams, split

KINDS = [RandomWindows, Streams]
SIZES = {
    "length": st.integers(2, 200),
    "steps": st.integers(1, 12),
    "batch_size": st.integers(1, 6),
}


def make(kind: type, length: int, steps: int, batch_size: int, seed: int = 0) -> Any:
    """Windows of the text 0, 1, 2, ..., in which an id is its own position."""
    options = {"seed": seed} if kind is RandomWindows else {}
    return kind(np.arange(length), steps, batch_size, **options)


def fits(kind: type, length: int, steps: int, batch_size: int) -> bool:
    return length > (steps if kind is RandomWindows else steps * batch_size)


@pytest.mark.parametrize("kind", KINDS)
@given(**SIZES)
def test_an_epoch_has_its_length_and_targets_follow_inputs(
    kind: type, length: int, steps: int, batch_size: int
) -> None:
    assume(fits(kind, length, steps, batch_size))
    windows = make(kind, length, steps, batch_size)
    for _ in range(2):
        batches = list(windows)
        assert len(batches) == len(windows) > 0
        for inputs, targets in batches:
            assert inputs.dtype == targets.dtype == np.int64
            assert inputs.flags.c_contiguous
            np.testing.assert_array_equal(targets, inputs + 1)
            np.testing.assert_array_equal(inputs, inputs[0] + np.arange(len(inputs))[:, None])
            assert inputs.max() + 1 < length


@given(**SIZES, seed=st.integers(0, 2**70))
def test_random_windows_give_each_window_of_a_grid_once(
    length: int, steps: int, batch_size: int, seed: int
) -> None:
    assume(length > steps)
    windows = make(RandomWindows, length, steps, batch_size, seed)
    shapes = [inputs.shape for inputs, _ in windows]
    assert all(shape == (steps, batch_size) for shape in shapes[:-1])
    assert shapes[-1][0] == steps
    covered = np.sort(np.concatenate([inputs.ravel() for inputs, _ in windows]))
    np.testing.assert_array_equal(covered, covered[0] + np.arange(len(covered)))
    assert len(covered) == windows.windows * steps
    assert length - 1 - len(covered) < 2 * steps


@given(**SIZES)
def test_streams_give_each_position_once_and_go_on_where_they_stopped(
    length: int, steps: int, batch_size: int
) -> None:
    assume(fits(Streams, length, steps, batch_size))
    batches = [inputs for inputs, _ in make(Streams, length, steps, batch_size)]
    assert all(b.shape == (steps, batch_size) for b in batches[:-1])
    assert 1 <= len(batches[-1]) <= steps
    streams = np.concatenate(batches)
    covered = streams.T.ravel()
    np.testing.assert_array_equal(covered, np.arange(len(covered)))
    assert 0 <= length - 1 - len(covered) < batch_size


@pytest.mark.parametrize("kind", KINDS)
@given(**SIZES, data=st.data())
def test_a_resumed_run_is_bit_identical(
    kind: type, length: int, steps: int, batch_size: int, data: st.DataObject
) -> None:
    assume(fits(kind, length, steps, batch_size))
    straight, stopped = (make(kind, length, steps, batch_size, seed=5) for _ in range(2))
    fresh = make(kind, length, steps, batch_size, seed=99)
    expected = [batch for _ in range(3) for batch in straight]
    stop = data.draw(st.integers(0, 2 * len(stopped)), label="stop after")

    seen = list(islice((batch for _ in range(3) for batch in stopped), stop))
    state = json.loads(json.dumps(stopped.state_dict()))
    fresh.load_state_dict(state)
    while len(seen) < len(expected):
        seen += list(fresh)
    np.testing.assert_equal(seen, expected)
    assert fresh.epoch == 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_inside_the_loop_counts_the_present_batch_as_done(kind: type) -> None:
    windows = make(kind, 100, 5, 2)
    seen = [(windows.epoch, windows.position) for _ in range(2) for _ in windows]
    count = len(windows)
    assert seen == [(epoch, k) for epoch in range(2) for k in range(1, count + 1)]
    assert (windows.epoch, windows.position) == (2, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_at_the_last_batch_leaves_an_empty_rest_of_the_epoch(kind: type) -> None:
    windows, again = make(kind, 100, 5, 2), make(kind, 100, 5, 2)
    for _ in windows:
        state = windows.state_dict()
    again.load_state_dict(state)
    assert list(again) == []
    np.testing.assert_equal(list(again), list(windows))


@pytest.mark.parametrize("kind", KINDS)
def test_a_loop_left_early_does_not_count(kind: type) -> None:
    windows, other = make(kind, 100, 5, 2), make(kind, 100, 5, 2)
    for _ in windows:
        break
    batches = list(windows)
    assert len(batches) == len(windows)
    list(other)
    np.testing.assert_equal(batches, list(other))


def test_epochs_of_random_windows_differ_in_offset_and_order() -> None:
    windows = make(RandomWindows, 300, 10, 4)
    epochs = [np.concatenate([inputs[0] for inputs, _ in windows]) for _ in range(20)]
    assert len({int(first[0]) % 10 for first in epochs}) > 3
    assert all((np.diff(np.sort(first)) == 10).all() for first in epochs)
    assert all((np.diff(first) != 10).any() for first in epochs)


def test_the_seed_of_the_library_settles_the_order() -> None:
    def order(seed: int) -> list:
        ts.manual_seed(seed)
        return list(RandomWindows(np.arange(300), 10, 4))

    np.testing.assert_equal(order(3), order(3))
    assert not np.array_equal(order(3)[0][0], order(4)[0][0])


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_shares_no_memory_with_the_text(kind: type) -> None:
    text = np.arange(50)
    windows = kind(text, 5, 2)
    for inputs, targets in windows:
        inputs[...] = targets[...] = -1
    np.testing.assert_array_equal(text, np.arange(50))


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_of_other_windows_changes_nothing(kind: type) -> None:
    windows = make(kind, 100, 5, 2)
    before = windows.state_dict()
    other_text = np.arange(100)
    other_text[50] = 0
    for state, message in [
        (make(kind, 101, 5, 2).state_dict(), "taken with length=101, .* has length=100"),
        (make(kind, 100, 6, 2).state_dict(), "taken with steps=6"),
        (make(kind, 100, 5, 3).state_dict(), "taken with batch_size=3"),
        (kind(other_text, 5, 2).state_dict(), "taken with checksum"),
        ({**before, "position": 1000}, "stands at batch 1000 of epoch 0"),
        ({"epoch": 1}, r"has the keys .*; got \['epoch'\]"),
    ]:
        with pytest.raises(ValueError, match=message):
            windows.load_state_dict(state)
        assert windows.state_dict() == before


def test_a_text_that_is_too_short_gets_a_sentence() -> None:
    with pytest.raises(ValueError, match=r"35 steps .* at least 36 ids; got 35: give a longer"):
        make(RandomWindows, 35, 35, 4)
    assert len(list(make(RandomWindows, 36, 35, 4))) == 1
    with pytest.raises(ValueError, match=r"4 streams of 5 steps .* at least 21 ids; got 20"):
        make(Streams, 20, 5, 4)
    assert len(list(make(Streams, 21, 5, 4))) == 1
    for kind in KINDS:
        with pytest.raises(ValueError, match="at least"):
            kind([], 5, 4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_of_another_kind_is_refused(kind: type) -> None:
    for ids, steps, batch_size, error, message in [
        ("some text", 2, 1, TypeError, "encode it first"),
        (np.zeros((4, 9), int), 2, 1, ValueError, r"shape \(L,\); got shape \(4, 9\)"),
        (np.zeros(9, complex), 2, 1, TypeError, "a series of floats; got dtype complex128"),
        (np.array([0.0, 1.0, np.nan, 2.0]), 2, 1, ValueError, "finite; got nan at step 2"),
        (np.float64(3.0), 2, 1, ValueError, r"got shape \(\)"),
        (np.arange(9), 0, 1, ValueError, "expects steps of at least 1; got 0"),
        (np.arange(9), 2, 0, ValueError, "expects batch_size of at least 1; got 0"),
        (np.arange(9), 2.5, 1, TypeError, "expects an int for steps; got float 2.5"),
        (np.arange(9), 2, "1", TypeError, "expects an int for batch_size; got str '1'"),
    ]:
        with pytest.raises(error, match=message):
            kind(ids, steps, batch_size)


@pytest.mark.parametrize("wrong", [-1, 1.5, "a"])
def test_a_seed_that_is_none_is_refused_at_once(wrong: Any) -> None:
    with pytest.raises(ValueError, match="expects a seed that is an integer, 0 or more; got"):
        RandomWindows(np.arange(100), 5, 2, wrong)


def test_a_text_is_split_by_position() -> None:
    train, validation = split(np.arange(100), 0.1)
    np.testing.assert_array_equal(train, np.arange(90))
    np.testing.assert_array_equal(validation, np.arange(90, 100))
    assert split("abcd", 0.5) == ("ab", "cd")
    for share in (0.0, 1.0, -0.5, 2.0, 0.01, np.nan, np.inf):
        with pytest.raises(ValueError, match="leaves both parts something"):
            split("abcd", share)


@given(**SIZES, stride=st.integers(1, 20), epochs=st.integers(1, 3))
def test_a_stride_settles_where_windows_start(
    length: int, steps: int, batch_size: int, stride: int, epochs: int
) -> None:
    assume(length > steps)
    windows = RandomWindows(np.arange(length), steps, batch_size, seed=3, stride=stride)
    for _ in range(epochs):
        starts = np.sort(np.concatenate([inputs[0] for inputs, _ in windows]))
        assert len(starts) == windows.windows
        assert (np.diff(starts) == stride).all()
        assert starts[0] >= 0
        assert starts[-1] + steps < length  # the last target is there
        assert windows.windows == 1 or starts[0] < 2 * stride
        # A further window may not fit at every offset, two would.
        assert starts[-1] + 2 * stride + steps >= length or starts[0] < stride


def test_a_stride_of_one_gives_every_window() -> None:
    windows = RandomWindows(np.arange(100), 32, 16, seed=0, stride=1)
    starts = np.concatenate([inputs[0] for inputs, _ in windows])
    np.testing.assert_array_equal(np.sort(starts), np.arange(68))
    with pytest.raises(ValueError, match="expects stride of at least 1; got 0"):
        RandomWindows(np.arange(100), 32, 16, stride=0)
    with pytest.raises(TypeError, match=r"expects an int for stride; got float 1.5"):
        RandomWindows(np.arange(100), 32, 16, stride=1.5)
    with pytest.raises(ValueError, match="taken with stride=1, but this RandomWindows has"):
        RandomWindows(np.arange(100), 32, 16).load_state_dict(windows.state_dict())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("trailing", [(), (1,), (3,)])
def test_a_series_keeps_its_dtype_and_features(kind: type, trailing: tuple[int, ...]) -> None:
    series = np.random.default_rng(0).normal(size=(60, *trailing)).astype(np.float32)
    series[:, ...] += np.arange(60, dtype=np.float32).reshape(-1, *(1 for _ in trailing)) * 10
    order = np.argsort(series.reshape(60, -1)[:, 0])
    np.testing.assert_array_equal(order, np.arange(60))  # so that a value tells its place
    for inputs, targets in kind(series, 5, 4):
        assert inputs.dtype == targets.dtype == np.float32
        assert inputs.shape[2:] == trailing
        flat = series.reshape(60, -1)[:, 0]
        places = np.searchsorted(flat, inputs.reshape(*inputs.shape[:2], -1)[..., 0])
        np.testing.assert_array_equal(inputs, series[places])
        np.testing.assert_array_equal(targets, series[places + 1])


@pytest.mark.parametrize("kind", KINDS)
def test_small_ids_in_a_file_come_as_those_in_memory(kind: type, tmp_path: Any) -> None:
    np.save(tmp_path / "ids.npy", np.arange(100, dtype=np.uint8))
    ids = np.load(tmp_path / "ids.npy", mmap_mode="r")
    options = {"seed": 1} if kind is RandomWindows else {}
    windows = kind(ids, 5, 4, **options)
    assert np.shares_memory(windows.ids, ids)
    for (one, _), (other, _) in zip(windows, make(kind, 100, 5, 4, seed=1), strict=True):
        assert one.dtype == np.int64
        np.testing.assert_array_equal(one, other)
