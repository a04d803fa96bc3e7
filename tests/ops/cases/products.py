"""Products: every pairing of shapes."""

from __future__ import annotations

from hypothesis import strategies as st

from tinygrad_seq.testing import arrays, broadcastable_shapes

from .base import case, pair


@case
def matmul(draw):
    """Vectors, matrices, batches and batches that broadcast."""
    rows, inner, columns = (draw(st.integers(1, 3)) for _ in range(3))
    a, b = draw(st.sampled_from([(1, 1), (1, 2), (2, 1), (2, 2)]))
    batches = draw(broadcastable_shapes(2, max_dims=2, max_side=2))
    left = (inner,) if a == 1 else (*batches[0], rows, inner)
    right = (inner,) if b == 1 else (*batches[1], inner, columns)
    return (draw(arrays(left, layouts=True)), draw(arrays(right, layouts=True))), {}


@case
def affine(draw):
    """A vector, rows and batches of rows."""
    inner, outer = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    leading = draw(st.sampled_from([(), (1,), (3,), (2, 2)]))
    shapes = (*leading, inner), (outer, inner), (outer,)
    return tuple(draw(arrays(shape, layouts=True)) for shape in shapes), {}


EINSUMS = {
    "ij,jk->ik": "23,32", "ij,jk": "23,32", "i,j->ij": "2,3", "i,i->": "3,3", "ij->ji": "23",
    "ij->": "23", "ij->j": "23", "ii->i": "33", "ii": "33", "ij,ij->i": "23,23",
    "bij,bjk->bik": "223,232", "...ij,...jk->...ik": "223,32", "...i,i->...": "23,3",
    "ij,jk,kl->il": "22,23,32", "ijk->ki": "232", "i,ij,j->": "2,23,3",
    "tni,gi->tng": "222,32", "ba,c->abc": "22,2",
}  # fmt: skip


@case
def einsum(draw):
    """One to three operands: products, sums, diagonals, batches, ellipsis."""
    form = draw(st.sampled_from(sorted(EINSUMS)))
    operands = [tuple(map(int, sides)) for sides in EINSUMS[form].split(",")]
    return tuple(draw(arrays(shape)) for shape in operands), {"subscripts": form}


@case
def contract(draw):
    """Einsum with every axis named: sums, diagonals, products."""
    forms = [form for form in sorted(EINSUMS) if "->" in form and "." not in form]
    form = draw(st.sampled_from(forms))
    operands = [tuple(map(int, sides)) for sides in EINSUMS[form].split(",")]
    words, output = form.split("->")
    kwargs = {"inputs": tuple(words.split(",")), "output": output}
    return tuple(draw(arrays(shape)) for shape in operands), kwargs


@case
def dot(draw):
    """Vectors and matrices, and a number."""
    return draw(st.sampled_from([((), (2,)), ((3,), (3,)), ((2, 3), (3, 2))]).flatmap(pair)), {}


@case
def outer(draw):
    """Of any two shapes: they are flattened."""
    return draw(st.sampled_from([((3,), (2,)), ((2, 2), (2,)), ((), (3,))]).flatmap(pair)), {}


@case
def inner(draw):
    """Over the last axis of both."""
    return draw(st.sampled_from([((3,), (3,)), ((2, 3), (3,)), ((2, 2), (3, 2))]).flatmap(pair)), {}


@case
def tensordot(draw):
    """Over the last axes of one and the first of the other, or named ones."""
    shapes_, axes_ = draw(
        st.sampled_from(
            [
                (((2, 3), (3, 2)), 1),
                (((2, 2, 2), (2, 2)), 2),
                (((2,), (3,)), 0),
                (((2, 3), (2, 3)), (0, 0)),
                (((2, 3), (3, 2)), ((0, 1), (1, 0))),
                (((2, 3, 1), (3, 2)), ((-2,), (0,))),
            ]
        )
    )
    return draw(pair(shapes_)), {"axes": axes_}
