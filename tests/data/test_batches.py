"""Batches of unequal sequences: each once, padded as told, resumable, shared by a team."""

from __future__ import annotations

import json
from itertools import islice

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import tinygrad_seq as ts
from tinygrad_seq import nn
from tinygrad_seq.data import Batches, random_split

SIZES = {
    "count": st.integers(1, 40),
    "batch_size": st.integers(1, 7),
    "bucket": st.integers(1, 4),
    "shuffle": st.booleans(),
    "seed": st.integers(0, 2**70),
}


def draw(count, seed=0, features=()):
    """Sequences in which every step holds the number of the sequence, and their lengths."""
    lengths = np.random.default_rng(seed).integers(1, 12, count)
    return [np.full((t, *features), n, float) for n, t in enumerate(lengths)], lengths


@given(**SIZES)
def test_each_sequence_comes_once_in_an_epoch_with_its_length_and_target(
    count, batch_size, bucket, shuffle, seed
):
    sequences, lengths = draw(count, seed % 100)
    labels = [np.full(n % 4, n) for n in range(count)]
    options = {"shuffle": shuffle, "bucket": bucket, "seed": seed}
    batches = Batches(sequences, batch_size, labels, **options)
    for _ in range(2):
        seen = []
        every = list(batches)
        assert len(every) == len(batches) == -(-count // batch_size)
        for x, steps, y, counts in every:
            assert len(x) == steps.max()
            for column, (t, s) in enumerate(zip(steps, counts, strict=True)):
                n = int(x[0, column])
                assert t == lengths[n]
                assert s == n % 4
                assert (x[:t, column] == n).all()
                assert (x[t:, column] == 0).all()
                assert (y[:s, column] == n).all()
                assert (y[s:, column] == -100).all()
                seen.append(n)
        assert sorted(seen) == list(range(count))
        if not shuffle and bucket == 1:
            assert seen == list(range(count))


@given(**SIZES, size=st.integers(1, 4))
def test_the_parts_of_a_team_are_the_columns_of_each_batch(
    count, batch_size, bucket, shuffle, seed, size
):
    sequences, _ = draw(count, features=(2,))
    options = {"shuffle": shuffle, "bucket": bucket, "seed": seed}
    whole = Batches(sequences, batch_size, np.arange(count), **options)
    parts = [
        Batches(sequences, batch_size, np.arange(count), part=(rank, size), **options)
        for rank in range(size)
    ]
    for batch, *shares in zip(whole, *parts, strict=True):
        for rank, share in enumerate(shares):
            np.testing.assert_array_equal(share.inputs, batch.inputs[:, rank::size])
            np.testing.assert_array_equal(share.lengths, batch.lengths[rank::size])
            np.testing.assert_array_equal(share.targets, batch.targets[rank::size])
    for part in parts:
        assert part.state_dict() == whole.state_dict()


@given(**SIZES, data=st.data())
def test_a_state_resumes_bit_for_bit(count, batch_size, bucket, shuffle, seed, data):
    sequences, _ = draw(count)
    options = {"shuffle": shuffle, "bucket": bucket}
    batches = Batches(sequences, batch_size, seed=seed, **options)
    list(batches)
    at = data.draw(st.integers(0, len(batches)))
    for _ in islice(batches, at):
        pass
    state = json.loads(json.dumps(batches.state_dict()))
    resumed = Batches(sequences, batch_size, seed=1, **options)
    resumed.load_state_dict(state)
    batches.load_state_dict(state)
    for _ in range(2):
        rest, again = list(batches), list(resumed)
        assert len(rest) == len(again)
        for batch, other in zip(rest, again, strict=True):
            for array, same in zip(batch, other, strict=True):
                np.testing.assert_array_equal(array, same)


def test_buckets_pad_less_and_still_differ_from_epoch_to_epoch():
    sequences, lengths = draw(600)
    plain = Batches(sequences, 10, seed=0)
    sorted_ = Batches(sequences, 10, seed=0, bucket=20)
    sizes = [sum(batch.inputs.size for batch in batches) for batches in (plain, sorted_)]
    assert lengths.sum() < sizes[1] < 1.05 * lengths.sum() < sizes[0]
    orders = [np.concatenate([batch.inputs[0] for batch in sorted_]) for _ in range(2)]
    assert (orders[0] != orders[1]).any()


def test_kinds_of_targets():
    sequences, _ = draw(3)
    rows = np.arange(6.0).reshape(3, 2)
    for given_, dtype, expected in (
        ([4, 5, 6], np.int64, [4, 5, 6]),
        (np.array([4, 5, 6], "u1"), np.int64, [4, 5, 6]),
        ([0.5, 1.5, 2.5], np.float64, [0.5, 1.5, 2.5]),
        (rows, np.float64, rows),
    ):
        ((_, _, targets, lengths),) = Batches(sequences, 3, given_, shuffle=False)
        np.testing.assert_array_equal(targets, expected)
        assert targets.dtype == dtype
        assert lengths is None
    ((_, _, targets, lengths),) = Batches(sequences, 3, [[1.0, 2.0], [], [3.0]], shuffle=False)
    np.testing.assert_array_equal(targets, [[1, 0, 3], [2, 0, 0]])
    np.testing.assert_array_equal(lengths, [2, 0, 1])
    ((x, _, none, _),) = Batches([[1], [2, 3]], 2, shuffle=False, pad=9)
    assert none is None
    assert x.tolist() == [[1, 2], [9, 3]]
    assert x.dtype == np.int64


def test_a_net_reads_them_and_so_does_ctc():
    rng = np.random.default_rng(0)
    sequences = [rng.normal(size=(t, 3)).astype("f4") for t in (5, 2, 4)]
    labels = [np.array(y, "u1") for y in ([1, 2], [], [2, 2])]
    net, read = nn.GRU(3, 8), nn.Linear(8, 4)
    alone = []
    for x, y in zip(sequences, labels, strict=True):
        h, _ = net(x[:, None])
        alone.append(nn.ctc_loss(ts.log_softmax(read(h)), y[None], reduction="sum").item())
    for x, lengths, y, counts in Batches(sequences, 3, labels, seed=0):
        h, _ = net(x, lengths=lengths)
        loss = nn.ctc_loss(ts.log_softmax(read(h)), y.T, lengths, counts, reduction="sum")
    assert loss.item() == pytest.approx(sum(alone), rel=1e-5)


def test_the_seed_comes_from_the_library():
    sequences, _ = draw(20)
    ts.manual_seed(3)
    first = [b.inputs[0] for b in Batches(sequences, 20)]
    ts.manual_seed(3)
    np.testing.assert_array_equal(first, [b.inputs[0] for b in Batches(sequences, 20)])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Batches([], 2), ValueError, "at least one sequence; got none"),
        (lambda: Batches([[1], []], 2), ValueError, r"at least 1 step; sequence 1 has shape \(0,"),
        (lambda: Batches(["ab"], 2), TypeError, "encode texts first"),
        (lambda: Batches([[1], [1.0]], 2), TypeError, "one dtype; sequence 0 has int64"),
        (lambda: Batches([[1]], 0), ValueError, "batch_size of at least 1"),
        (lambda: Batches([[1]], 1, bucket=0), ValueError, "bucket of at least 1"),
        (lambda: Batches([[1]], 1, [1, 2]), ValueError, "2 targets for 1 sequences"),
        (lambda: Batches([[1]], 1, ["a"]), TypeError, "targets that are numbers"),
        (lambda: Batches([[1]], 1, pad=0.5), TypeError, "padding of 0.5 does not fit"),
        (lambda: Batches([[1]], 1, [[1]], target_pad=0.5), TypeError, "padding of 0.5"),
        (lambda: Batches([[1]], 1, part=(2, 2)), ValueError, r"rank < size; got \(2, 2\)"),
        (lambda: Batches([[1]], 1, seed=-1), ValueError, "a seed"),
    ],
)
def test_what_does_not_fit_is_told(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_state_of_other_data_is_refused():
    batches = Batches([[1], [2, 3]], 1, [5, 6], seed=0)
    for other in (
        Batches([[1], [2, 4]], 1, [5, 6], seed=0),
        Batches([[1], [2, 3]], 1, [5, 7], seed=0),
        Batches([[1], [2, 3]], 2, [5, 6], seed=0),
    ):
        with pytest.raises(ValueError, match="resume with the same data and sizes"):
            batches.load_state_dict(other.state_dict())


@given(count=st.integers(3, 50), seed=st.integers(0, 99), third=st.sampled_from([0.1, 0.25, 1 / 3]))
def test_a_random_split_puts_each_item_into_one_part(count, seed, third):
    items = [f"{k:02}" for k in range(count)]
    shares = (1 - 2 * third, third, third)
    assume(count * third >= 1)
    parts = random_split(items, shares, seed=seed)
    assert sorted(item for part in parts for item in part) == items
    assert parts == random_split(items, shares, seed=seed)
    for part, share in zip(parts, shares, strict=True):
        assert part == sorted(part)
        assert abs(len(part) - share * count) <= 1


def test_a_split_that_leaves_nothing_is_told():
    with pytest.raises(ValueError, match=r"sum to 1; got \(0.5, 0.4\)"):
        random_split([1, 2], (0.5, 0.4))
    with pytest.raises(ValueError, match=r"2 items would give parts of \[2, 0\]"):
        random_split([1, 2], (0.9, 0.1))
