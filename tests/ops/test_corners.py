"""Corners that drawing seldom meets: kinks, ties, saturation, empty arrays, every product."""

from __future__ import annotations

import numpy as np
import pytest
from along import second_order_along_a_line

import tinygrad_seq as ts
from tinygrad_seq import nn
from tinygrad_seq.testing import gradcheck

from .kinks import KINKS
from .table import FUNCTIONS

pytestmark = pytest.mark.usefixtures("backend")

FAR = np.array([-1e4, -1e3, -100.0, -20.0, 0.0, 20.0, 100.0, 1e3, 1e4])
SATURATING = [
    "sigmoid", "tanh", "softplus", "silu", "gelu", "gelu_tanh", "relu", "leaky_relu", "elu", "erf",
    "softmax", "log_softmax", "logsumexp", "arctan", "arcsinh",
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "number"), [(name, k) for name, cases in KINKS.items() for k in range(len(cases))]
)
def test_kinks_and_ties(name, number):
    """PyTorch's conventions, in values that anyone can check."""
    case = KINKS[name][number]
    args = [
        ts.Tensor(x.copy(), requires_grad=True) if isinstance(x, np.ndarray) else x
        for x in case.args
    ]
    y = FUNCTIONS[name](*args, **case.kwargs)
    leaves = [x for x in args if isinstance(x, ts.Tensor)]
    found = ts.autograd.grad(y, leaves, ts.Tensor(case.upstream[0]))
    for x, expected in zip(found, case.expected, strict=True):
        np.testing.assert_allclose(x.numpy(), expected, rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", SATURATING)
def test_finite_far_out(name, dtype):
    """Values and gradients at ±1e4, first and second order, without a warning."""
    x = ts.Tensor(FAR.astype(dtype), requires_grad=True)
    with np.errstate(all="raise", under="ignore"):
        y = FUNCTIONS[name](x)
        (gradient,) = ts.autograd.grad(y, x, ts.ones_like(y), create_graph=True)
        if gradient.requires_grad:
            (second,) = ts.autograd.grad(gradient, x, ts.ones_like(gradient))
            assert np.isfinite(second.numpy()).all()
    assert y.dtype == gradient.dtype == dtype
    assert np.isfinite(y.detach().numpy()).all()
    assert np.isfinite(gradient.detach().numpy()).all()


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("sigmoid", 0, 1), ("tanh", -1, 1), ("softplus", 0, 1e4), ("silu", 0, 1e4), ("gelu", 0, 1e4)],
)
def test_limits(name, low, high):
    """The values far out are the limits, not only finite ones."""
    y = FUNCTIONS[name](FAR)
    np.testing.assert_allclose([y[0], y[-1]], [low, high], atol=1e-12)


SHAPES = [
    ((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2)), ((2, 3), (3, 2)), ((1, 1), (1, 1)),
    ((2, 2, 3), (3,)), ((3,), (2, 3, 2)), ((2, 2, 3), (3, 2)), ((2, 3), (2, 3, 2)),
    ((2, 2, 3), (2, 3, 1)), ((1, 2, 3), (2, 3, 2)), ((2, 1, 1, 2), (3, 2, 1)),
    ((2, 1, 2, 2), (1, 3, 2, 1)),
]  # fmt: skip


@pytest.mark.parametrize(("left", "right"), SHAPES)
def test_matmul_in_every_form(left, right, rng):
    """One axis, two, batches, and batches that broadcast; both orders."""
    a, b = rng.normal(size=left), rng.normal(size=right)
    np.testing.assert_allclose(ts.matmul(a, b), a @ b, rtol=1e-14)
    assert gradcheck(ts.matmul, a, b)
    assert second_order_along_a_line(ts.matmul, a, b)


@pytest.mark.parametrize(
    ("left", "right"), [((), (3,)), ((3,), ()), ((2, 3), (2, 3)), ((2,), (3,))]
)
def test_matmul_refuses_what_does_not_fit(left, right):
    with pytest.raises(ValueError, match="matmul"):
        ts.matmul(ts.Tensor(np.ones(left)), ts.Tensor(np.ones(right)))


INDICES = [
    1, -1, (0, 1), (), slice(None), slice(None, None, -1), slice(3, 0, -2), slice(5, 9), None, ...,
    (None, 0, ..., None, slice(1, 3)), (..., -1), np.int64(1), np.array(1),
    [0, 0, 1], [], np.array([[0, 1], [1, 1]]), ([0, 1, 1], [3, 3, 3]), ([[0], [1]], [0, 2]),
    (slice(None), [3, 0, 3]), ([1, 1], slice(None), [0, 1]), (0, [1, 1], slice(1)),
    (slice(None), None, [1, 1]), ([0, 1], None, ..., 1),
    np.array([True, False]), np.ones((2, 4), bool), np.zeros((2, 4, 3), bool),
    (slice(None), np.array([True, False, True, True])), (1, np.array([True, False, True, False])),
    (np.array([True, True]), slice(1, 3), 0), True, False, (np.array([False, True]), [1, 2]),
]  # fmt: skip


@pytest.mark.parametrize("index", INDICES, ids=repr)
def test_every_form_of_index(index, rng):
    """Basic, boolean, integer with repeats, mixed; to read, to write and to add."""
    x = rng.normal(size=(2, 4, 3))
    np.testing.assert_array_equal(ts.Tensor(x)[index].numpy(), x[index])
    assert gradcheck(lambda x: x[index], x)
    assert second_order_along_a_line(lambda x: x[index], x)
    v = rng.normal(size=x[index].shape)
    added, kept = x.copy(), np.array(x)
    np.add.at(added, index, v)
    np.testing.assert_allclose(ts.index_add(ts.Tensor(x), index, v).numpy(), added)
    assert gradcheck(lambda x, v: ts.index_add(x, index, v), x, v)
    assert gradcheck(lambda x, v: ts.index_set(x, index, v), x, v)
    np.testing.assert_array_equal(x, kept)


@pytest.mark.parametrize("shape", [(), (1,), (2,), (1, 2), (2, 1), (2, 2)])
def test_added_values_broadcast_over_repeated_positions(shape, rng):
    """NumPy's add.at errs for a vector, indices of two axes and values of fewer: we do not."""
    x, v, index = rng.normal(size=3), rng.normal(size=shape), np.array([[0, 2], [0, 0]])
    expected = x.copy()
    for k, value in zip(index.ravel(), np.broadcast_to(v, (2, 2)).ravel(), strict=True):
        expected[k] += value
    np.testing.assert_allclose(ts.index_add(x, index, v), expected, rtol=1e-14)
    assert gradcheck(lambda x, v: ts.index_add(x, index, v), x, v)


def test_a_tensor_is_an_index():
    x, ids = np.arange(12.0).reshape(4, 3), np.array([1, 1, 3])
    np.testing.assert_array_equal(ts.Tensor(x)[ts.tensor(ids)].numpy(), x[ids])
    np.testing.assert_array_equal(ts.Tensor(x)[ts.tensor(x > 4)].numpy(), x[x > 4])
    np.testing.assert_array_equal(
        ts.Tensor(x)[ts.tensor(ids), ts.tensor([0, 2, 1])].numpy(), x[ids, [0, 2, 1]]
    )


@pytest.mark.parametrize("bad", [4, -5, [0, 4], (0, 3)])
def test_an_index_out_of_range_is_refused(bad):
    with pytest.raises(IndexError):
        ts.Tensor(np.ones((4, 3)))[bad]


EMPTY = [
    ("sum", {}), ("sum", {"axis": 0}), ("sum", {"axis": 1, "keepdims": True}), ("prod", {}),
    ("prod", {"axis": 1}), ("tanh", {}), ("sigmoid", {}), ("exp", {}), ("transpose", {}),
    ("reshape", {"shape": (0, 5)}), ("cumsum", {"axis": 0}), ("cumsum", {"axis": 1}),
    ("getitem", {"index": slice(1)}),
    ("softmax", {"axis": 1}), ("log_softmax", {"axis": 1}), ("flip", {}),
    ("sort", {"axis": 1}), ("logsumexp", {"axis": 0}), ("norm", {}), ("norm", {"axis": 0}),
    ("pad", {"pad_width": 1}), ("tile", {"reps": 2}), ("repeat", {"repeats": 2}), ("tril", {}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "kwargs"), EMPTY)
def test_empty_arrays(name, kwargs):
    """No element is no reason to fail: the gradient is empty too."""
    x = ts.Tensor(
        np.ones((0, 3)) if kwargs.get("axis") != 1 else np.ones((2, 0)), requires_grad=True
    )
    if name == "reshape":
        x = ts.Tensor(np.ones((0, 3)), requires_grad=True)
    with np.errstate(divide="ignore"):
        y = FUNCTIONS[name](x, **kwargs)
    (gradient,) = ts.autograd.grad(y, x, ts.ones_like(y))
    assert gradient.shape == x.shape


@pytest.mark.parametrize(
    "shapes", [((0, 3), (3, 2)), ((2, 0), (0, 3)), ((0,), (0,)), ((4, 0, 2), (2, 3))]
)
def test_empty_products(shapes):
    a, b = (ts.Tensor(np.ones(shape), requires_grad=True) for shape in shapes)
    y = a @ b
    np.testing.assert_array_equal(y.detach().numpy(), np.ones(shapes[0]) @ np.ones(shapes[1]))
    for x, gradient in zip((a, b), ts.autograd.grad(y, (a, b), ts.ones_like(y)), strict=True):
        assert gradient.shape == x.shape
        assert not gradient.numpy().any()


@pytest.mark.parametrize("name", ["max", "min", "argmax", "argmin"])
def test_no_largest_of_nothing(name):
    with pytest.raises(ValueError, match=r"zero-size|empty"):
        getattr(ts, name)(ts.Tensor(np.ones((0,))))


@pytest.mark.parametrize(
    ("f", "slope"),
    [(ts.sqrt, 0.25), (ts.log, 0.25), (lambda x: 1 / x, -1 / 16), (lambda x: x**-0.5, -1 / 16)],
)
def test_where_keeps_nan_out_of_the_gradient(f, slope):
    """The branch that was not taken gives exactly 0, even where its slope is infinite."""
    x = ts.Tensor(np.array([0.0, 4.0]), requires_grad=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        (gradient,) = ts.autograd.grad(ts.where(x > 0, f(x), 0.0).sum(), x)
    np.testing.assert_allclose(gradient.numpy(), [0, slope], rtol=1e-15)


@pytest.mark.parametrize(("rows", "kinds"), [((3, 300), "ff"), ((7,), "fd"), ((7,), "ef")])
def test_the_row_of_an_affine_map_is_added_to_every_row(rows, kinds, rng):
    """Of many rows in blocks; in the dtype of all arguments."""
    x, weight = rng.normal(size=(*rows, 4)), rng.normal(size=(90, 4))
    x, weight = x.astype(kinds[0]), weight.astype(kinds[0])
    row = rng.normal(size=90).astype(kinds[1])
    y = ts.ops.linear.affine(x, weight, row)
    assert y.dtype == row.dtype
    np.testing.assert_array_equal(y, np.matmul(x.reshape(-1, 4), weight.T).reshape(y.shape) + row)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_where_of_many_numbers_is_numpys_to_the_bit(dtype, rng):
    """These are chosen by their bits."""
    shape = (9, 1000)
    a, b = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    other = b.astype("f8" if dtype == "float32" else "f4")
    a[:, ::7], b[:, ::5] = np.nan, -0.0
    pairs = [(a, b), (a, 0.0), (-0.0, b), (a, b[:1]), (np.inf, a[:, ::-1]), (a, other), (a > 0, b)]
    for condition in (a > b, (a.T > b.T).T, np.ones(shape, bool)):
        for x, y in pairs:
            found = ts.ops.where(condition, x, y)
            expected = np.where(condition, x, y)
            assert found.dtype == expected.dtype
            assert found.tobytes() == expected.tobytes()


def test_one_hot():
    found = ts.one_hot(np.array([[0, 2], [1, 1]]), 3)
    np.testing.assert_array_equal(np.asarray(found), np.eye(3)[[[0, 2], [1, 1]]])
    with pytest.raises(IndexError):
        ts.one_hot(np.array([3]), 3)
    with pytest.raises(IndexError):
        ts.one_hot(np.array([-1]), 3)


def test_sum_of_products_of_one_tensor_with_itself():
    """Both arguments are the same tensor: the gradients of both add up."""
    x = np.random.default_rng(0).normal(size=(3, 3))
    for f in (
        lambda x: x @ x,
        lambda x: x * x,
        lambda x: x / (x * x + 1),
        lambda x: ts.maximum(x, x),
    ):
        assert gradcheck(f, x)


@pytest.mark.parametrize(
    ("f", "x", "slope"),
    [
        (lambda x: ts.hypot(x, 0.0), [0.0, -3.0], [0, -1]),
        (ts.sinc, [0.0, 1.0], [0, -1]),
        (lambda x: ts.where(x != 0, ts.cbrt(x), 0.0), [0.0, 8.0], [0, 1 / 12]),
        (lambda x: ts.fmax(x, 1.0), [np.nan, 2.0], [0, 1]),
        (lambda x: ts.fmin(x, np.array([3.0, np.nan])), [1.0, 2.0], [1, 1]),
        (ts.nan_to_num, [np.nan, np.inf, -np.inf, 2.0], [0, 0, 0, 1]),
        (ts.nansum, [np.nan, 2.0], [0, 1]),
        (ts.nanmean, [np.nan, 2.0, 3.0], [0, 0.5, 0.5]),
        (ts.cummax, [1.0, 3.0, 3.0, 2.0], [1, 1, 2, 0]),
        (ts.cummin, [1.0, 1.0, 3.0, 0.0], [1, 2, 0, 1]),
        (ts.cumulative_prod, [2.0, 0.0, 3.0], [1, 8, 0]),
        (ts.logcumsumexp, [-np.inf, 0.0], [1, 1]),
        (ts.median, [4.0, 1.0, 3.0, 2.0], [0, 0, 0.5, 0.5]),
    ],
)
def test_kinks_of_what_is_composed(f, x, slope):
    """Values that anyone can check, where no oracle can look."""
    x = ts.Tensor(np.array(x), requires_grad=True)
    with np.errstate(divide="ignore"):
        (gradient,) = ts.autograd.grad(f(x).sum(), x)
    np.testing.assert_allclose(gradient.numpy(), slope, atol=1e-15)


@pytest.mark.host("the fake device has no linear algebra")
def test_the_determinant_of_a_singular_matrix_has_a_gradient():
    x = ts.Tensor(
        np.array([[[1.0, 2.0], [2.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]]), requires_grad=True
    )
    (gradient,) = ts.autograd.grad(ts.linalg.det(x).sum(), x)
    np.testing.assert_allclose(gradient.numpy(), [[[4, -2], [-2, 1]], np.zeros((2, 2))], atol=1e-14)


@pytest.mark.host("the fake device has no linear algebra")
def test_norms_of_equal_singular_values_have_finite_gradients():
    """The nuclear norm of the identity has the gradient 1, although its U and V are not unique."""
    x = ts.Tensor(np.eye(3), requires_grad=True)
    (gradient,) = ts.autograd.grad(ts.linalg.matrix_norm(x, ord="nuc"), x)
    np.testing.assert_allclose(gradient.numpy(), np.eye(3), atol=1e-14)


@pytest.mark.host("the fake device has no linear algebra")
@pytest.mark.parametrize("f", [ts.linalg.inv, ts.linalg.cholesky, lambda x: ts.linalg.solve(x, x)])
def test_a_singular_matrix_is_refused(f):
    with pytest.raises(np.linalg.LinAlgError):
        f(ts.Tensor(np.zeros((2, 2))))


def test_values_that_tensors_fill_stay_on_the_graph():
    x = ts.Tensor(np.array(2.0), requires_grad=True)
    like = ts.zeros(3, 2)
    for y in (ts.full((2, 3), x), ts.full(6, x), np.full_like(like, x), ts.full_like(like, x)):
        assert ts.autograd.grad(y.sum(), x)[0].item() == 6
    assert ts.autograd.grad(ts.linspace(x, 5.0, 4).sum(), x)[0].item() == 2


def test_a_masked_remainder_by_0_gives_no_gradient():
    b = ts.Tensor(np.array([0.0, 0.4]), requires_grad=True)
    with np.errstate(all="ignore"):
        ts.where(b != 0, 1.0 % b, 0.0).sum().backward()
    assert b.grad.tolist() == [0.0, -2.0]


STRETCHED = {
    "einsum over one length": (lambda x, v: ts.einsum("ij,j->i", x, v), (2, 3), (1,)),
    "einsum that keeps it": (lambda x, v: ts.einsum("ij,jk->ik", x, v), (2, 3), (1, 4)),
    "einsum, both stretched": (lambda x, v: ts.einsum("ij,ij->j", x, v), (1, 3), (2, 1)),
    "einsum of a diagonal": (lambda x, v: ts.einsum("ii,i->i", x, v), (3, 3), (1,)),
    "einsum with dots": (lambda x, v: ts.einsum("...i,...i->...", x, v), (2, 1, 3), (4, 1)),
    "index_set of a row": (lambda x, v: ts.index_set(x, 0, v), (2, 3), (1, 3)),
    "index_set by a mask": (
        lambda x, v: ts.index_set(x, np.array([True, False]), v), (2, 3), (1, 1, 3)
    ),
    "index_set by integers": (lambda x, v: ts.index_set(x, np.array([1, 1]), v), (2, 3), (1, 2, 3)),
    "index_add of a row": (lambda x, v: ts.index_add(x, slice(0, 2), v), (2, 3), (1, 3)),
}  # fmt: skip


@pytest.mark.host("gradients are checked against NumPy's forward")
@pytest.mark.parametrize("name", STRETCHED)
def test_stretched_operands_go_back_as_they_came(name, rng):
    f, *shapes = STRETCHED[name]
    arrays = [rng.normal(size=shape) for shape in shapes]
    assert gradcheck(f, *arrays)
    assert second_order_along_a_line(f, *arrays)


@pytest.mark.parametrize("x_shape", [(), (2,), (0,), (2, 3)])
@pytest.mark.parametrize("y_shape", [(0,), (0, 3), (2, 0)])
def test_the_jacobian_of_an_empty_result(x_shape, y_shape):
    x = ts.Tensor(np.ones(x_shape))
    found = ts.jacobian(lambda x: ts.zeros(y_shape, dtype="f8") * x.sum())(x)
    assert found.shape == y_shape + x_shape
    assert found.dtype == np.float64


SMOOTH_AT_ORIGIN = {
    "‖x‖²": (lambda x: ts.norm(x) ** 2, [0, 0, 0], np.diag([2, 2, 2])),
    "‖x‖ times itself": (lambda x: (n := ts.linalg.norm(x)) * n, [0, 0], np.diag([2, 2])),
    "1 - cos ‖x‖": (lambda x: 1 - ts.cos(ts.norm(x)), [0, 0], np.eye(2)),
    "‖x‖⁴": (lambda x: ts.norm(x) ** 4, [0, 0], np.zeros((2, 2))),
    "of each row": (
        lambda x: (ts.norm(ts.reshape(x, (2, 2)), axis=1) ** 2 * np.array([1.0, 3])).sum(),
        [0, 0, 3, 4],
        np.diag([2, 2, 6, 6]),
    ),
    "of each column, kept": (
        lambda x: (np.linalg.norm(ts.reshape(x, (2, 2)), axis=0, keepdims=True) ** 2).sum(),
        [0, 3, 0, 4],
        np.diag([2, 2, 2, 2]),
    ),
    "std²": (
        lambda x: ts.std(x, ddof=1) ** 2, [5, 5, 5], np.eye(3) - 1 / 3
    ),
    "std² of rows": (
        lambda x: (ts.std(ts.reshape(x, (2, 2)), axis=1) ** 2).sum(),
        [1, 1, 1, 2],
        np.kron(np.eye(2), [[0.5, -0.5], [-0.5, 0.5]]),
    ),
    "hypot²": (lambda x: ts.hypot(x[0], x[1:]).square().sum(), [0, 0, 1], np.diag([4, 2, 2])),
    "Huber": (lambda x: nn.huber_loss(x, np.zeros(2), 1.0, "sum"), [0, 2], np.diag([1, 0])),
}  # fmt: skip


@pytest.mark.parametrize("name", SMOOTH_AT_ORIGIN)
def test_the_hessian_where_a_length_is_zero_and_its_function_smooth(name):
    f, x, expected = SMOOTH_AT_ORIGIN[name]
    found = ts.hessian(f)(ts.tensor(x, dtype="f8"))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-12)


def test_a_length_itself_has_no_second_derivative_at_the_origin():
    for f in (ts.norm, lambda x: ts.norm(x) * (1 + x[0]), ts.std):
        assert not ts.hessian(f)(ts.zeros(3, dtype="f8")).numpy().any()
