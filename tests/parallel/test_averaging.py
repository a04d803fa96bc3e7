"""The mean gradient of drawn models, counts and gaps, over ranks that are threads."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallel.threads import together
from tinygrad_seq import Tensor, nn
from tinygrad_seq.parallel import Team, TeamError


@st.composite
def situations(draw):
    """Shapes and dtypes of parameters, counts of ranks, and who has which gradient."""
    size = draw(st.integers(2, 4))
    shapes = draw(
        st.lists(st.lists(st.integers(0, 3), max_size=3).map(tuple), min_size=1, max_size=5)
    )
    dtypes = draw(st.lists(st.sampled_from("efd"), min_size=len(shapes), max_size=len(shapes)))
    counts = draw(st.lists(st.sampled_from([0, 1, 2, 7, 0.5]), min_size=size, max_size=size))
    row = st.lists(st.booleans(), min_size=len(shapes), max_size=len(shapes))
    has = draw(st.lists(row, min_size=size, max_size=size))
    return shapes, dtypes, counts, has, draw(st.integers(0, 2**32 - 1))


def gradients(shapes, dtypes, ranks, seed):
    rng = np.random.default_rng(seed)
    pairs = list(zip(shapes, dtypes, strict=True))
    return [[np.asarray(rng.normal(size=s)).astype(t) for s, t in pairs] for _ in range(ranks)]


@given(situations())
def test_it_is_the_mean_over_all_items(situation):
    shapes, dtypes, counts, has, seed = situation
    given = gradients(shapes, dtypes, len(counts), seed)

    def program(team):
        params = [nn.Parameter(np.zeros(s, t)) for s, t in zip(shapes, dtypes, strict=True)]
        for p, g, there in zip(params, given[team.rank], has[team.rank], strict=True):
            p.grad = Tensor(g.copy()) if there else None
        team.average(params, counts[team.rank])
        return [None if p.grad is None else p.grad.numpy() for p in params]

    results = together(len(counts), program)
    for k, (shape, dtype) in enumerate(zip(shapes, dtypes, strict=True)):
        counted = [r for r, n in enumerate(counts) if n and has[r][k]]
        for result in results:
            if not counted:
                assert result[k] is None
                continue
            expected = sum(counts[r] * given[r][k].astype(float) for r in counted) / sum(counts)
            assert (result[k].shape, result[k].dtype.char) == (shape, dtype)
            eps = np.finfo(dtype).eps
            np.testing.assert_allclose(result[k], expected, rtol=16 * eps, atol=16 * eps)
            np.testing.assert_array_equal(result[k], results[0][k])


@given(situations())
def test_gradients_share_memory_with_nothing(situation):
    shapes, dtypes, counts, has, seed = situation
    given = gradients(shapes, dtypes, len(counts), seed)

    def program(team):
        params = [nn.Parameter(np.zeros(s, t)) for s, t in zip(shapes, dtypes, strict=True)]
        for p, g, there in zip(params, given[team.rank], has[team.rank], strict=True):
            p.grad = Tensor(g) if there else None
        team.average(params, counts[team.rank])
        arrays = [p.grad.data for p in params if p.grad is not None]
        return arrays + [p.data for p in params] + list(given[team.rank])

    for arrays in together(len(counts), program):
        for k, a in enumerate(arrays):
            assert not any(np.shares_memory(a, b) for b in arrays[:k])


def test_frozen_parameters_are_left_alone():
    def program(team):
        frozen, learns = Tensor(np.ones(2)), nn.Parameter(np.ones(3))
        frozen.grad = Tensor(np.full(2, float(team.rank)))
        learns.grad = Tensor(np.full(3, float(team.rank)))
        team.average([frozen, learns], 1)
        return frozen.grad.numpy(), learns.grad.numpy()

    for rank, (frozen, learns) in enumerate(together(2, program)):
        assert frozen.tolist() == [rank, rank]
        assert learns.tolist() == [0.5, 0.5, 0.5]


def test_what_a_rank_without_items_holds_does_not_count():
    def program(team):
        p = nn.Parameter(np.ones(2))
        p.grad = Tensor(np.full(2, np.nan if team.rank else 3.0))
        team.average([p], 0 if team.rank else 4)
        return p.grad.numpy().tolist(), team.mean(
            np.nan if team.rank else 3.0, 0 if team.rank else 4
        )

    assert together(3, program) == [([3.0, 3.0], 3.0)] * 3


@pytest.mark.parametrize("team_of", [1, 3])
def test_nothing_counted_anywhere_leaves_no_gradient(team_of):
    def program(team):
        p = nn.Parameter(np.ones(2))
        p.grad = Tensor(np.full(2, np.nan))
        team.average([p], 0)
        return p.grad, math.isnan(team.mean(np.nan, 0))

    found = [program(Team())] if team_of == 1 else together(team_of, program)
    assert found == [(None, True)] * team_of


@given(st.lists(st.tuples(st.floats(-9, 9), st.integers(0, 9)), min_size=1, max_size=4))
def test_means_of_numbers(pairs):
    def program(team):
        return team.mean(*pairs[team.rank])

    found = together(len(pairs), program) if len(pairs) > 1 else [program(Team())]
    total = sum(n for _, n in pairs)
    expected = sum(n * v for v, n in pairs) / total if total else math.nan
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_a_mean_takes_a_tensor_and_keeps_infinities():
    values = [Tensor(np.array([np.inf]), requires_grad=True), -np.inf, 1.0]
    assert np.isnan(together(3, lambda team: team.mean(values[team.rank], 1))).all()


@pytest.mark.parametrize("count", [-1, np.nan, np.inf])
def test_a_count_must_be_one(count):
    for call in (lambda: Team().average([], count), lambda: Team().mean(1.0, count)):
        with pytest.raises(ValueError, match="at least 0; got"):
            call()


def test_it_takes_parameters():
    with pytest.raises(TypeError, match=r"pass model.parameters\(\)"):
        Team().average(nn.Linear(2, 2), 1)
    with pytest.raises(TypeError, match="got ndarray"):
        Team().average([np.ones(3)], 1)


def test_parameters_that_differ_are_named_on_all_ranks():
    def program(team):
        team.average([nn.Parameter(np.ones((2, 3 + team.rank // 2)), name="w")], 1)

    errors = together(3, program)
    assert all(isinstance(e, TeamError) for e in errors)
    assert {str(e) for e in errors} == {
        "rank 2 averages gradients at step 1 with w(2, 4) float64 where rank 0 has "
        "w(2, 3) float64: build the same model on every rank"
    }
