"""Parts of batches and states: neighbours, all of it, as even as can be; and back."""

from collections import namedtuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as ts
from parallel.threads import together
from tinygrad_seq.parallel import Team
from tinygrad_seq.parallel.parts import bounds, part_of

Batch = namedtuple("Batch", "x lengths labels")


@given(st.integers(0, 50), st.integers(1, 9))
def test_parts_are_neighbours_and_differ_by_one_at_most(number, size):
    parts = [bounds(number, rank, size) for rank in range(size)]
    assert [k for start, end in parts for k in range(start, end)] == list(range(number))
    lengths = [end - start for start, end in parts]
    assert max(lengths) - min(lengths) <= 1


@given(st.integers(0, 7), st.integers(2, 4))
def test_gather_is_the_inverse_of_part(number, size):
    x = np.arange(3 * number * 2.0).reshape(3, number, 2)
    batch = Batch(x, {"n": list(range(number))}, (None, x[0] > 3))
    axes = (1, 0, (0, 0))

    def program(team):
        mine = team.part(batch, axes)
        return mine, team.gather(mine, axes)

    for rank, (mine, whole) in enumerate(together(size, program)):
        start, end = bounds(number, rank, size)
        np.testing.assert_array_equal(mine.x, x[:, start:end])
        assert type(mine) is type(whole) is Batch
        np.testing.assert_array_equal(whole.x, x)
        assert whole.lengths["n"].tolist() == list(range(number))
        assert whole.labels[0] is None
        np.testing.assert_array_equal(whole.labels[1], x[0] > 3)
        assert whole.labels[1].dtype == bool


def test_a_part_of_a_tensor_stays_on_the_graph():
    h = ts.tensor(np.ones((2, 5, 3)), requires_grad=True)
    part_of((h, h), -2, 1, 3)[0].sum().backward()
    assert h.grad.numpy()[0, :, 0].tolist() == [0, 0, 1, 1, 0]


def test_a_team_of_one_has_all():
    team = Team()
    x = np.ones((4, 3))
    ((mine, labels),) = team.shard([(x, [1, 2, 3])], axis=(1, 0))
    assert mine.shape == (4, 3)
    assert labels.tolist() == [1, 2, 3]
    np.testing.assert_array_equal(team.gather(ts.tensor(x)), x)


@pytest.mark.parametrize(
    ("batch", "axis", "kind", "sentence"),
    [
        (np.ones(3), 1, ValueError, r"axis 1, which an array of shape \(3,\) does not have"),
        ((np.ones((2, 3)), np.ones((3, 2))), 1, ValueError, "have 2 and 3 sequences"),
        ((np.ones((2, 3)), np.ones(3)), (1,), ValueError, "names 1 axes; the batch has 2 items"),
        (np.array([{}, None]), 0, TypeError, "arrays of numbers or text"),
        ("text", 0, ValueError, "does not have"),
    ],
)
def test_what_cannot_be_divided_gets_a_sentence(batch, axis, kind, sentence):
    with pytest.raises(kind, match=sentence):
        Team().part(batch, axis)


def test_parts_that_do_not_fit_together_are_an_error_everywhere():
    errors = together(2, lambda team: team.gather(np.ones((2, 3 + team.rank)), axis=0))
    assert all(isinstance(e, ValueError) for e in errors)
