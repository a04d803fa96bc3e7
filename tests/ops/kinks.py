"""What the gradient is at kinks and ties, where no oracle can look: PyTorch's conventions.

Each entry gives arguments, the upstream gradient and the gradients that follow from it. The corner
tests and the mutation tests share them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_seq.testing import Case

AROUND_0 = np.array([-1.0, 0.0, 2.0])
TIED = np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 0.0]])
UP = np.array([4.0, -2.0, 6.0])  # different, so that no entry can stand in for another


def case(args: tuple[Any, ...], upstream: Any, *expected: Any, **kwargs: Any) -> Case:
    """A case from lists of numbers."""
    gradients = tuple(np.array(x, dtype=np.float64) for x in expected)
    return Case(args, kwargs, (np.array(upstream, dtype=np.float64),), gradients)


E = 2 * np.exp(-1)

KINKS: dict[str, list[Case]] = {
    "relu": [case((AROUND_0,), UP, [0, 0, 6])],
    "leaky_relu": [case((AROUND_0,), UP, [0.4, -0.2, 6], slope=0.1)],
    "elu": [case((AROUND_0,), UP, [E, -1, 6], alpha=0.5)],
    "absolute": [case((AROUND_0,), UP, [-4, 0, 6])],
    "sign": [case((AROUND_0,), UP, [0, 0, 0])],
    "floor": [case((AROUND_0,), UP, [0, 0, 0])],
    "ceil": [case((AROUND_0,), UP, [0, 0, 0])],
    "round": [case((AROUND_0,), UP, [0, 0, 0])],
    "maximum": [
        case((AROUND_0, np.zeros(3)), UP, [0, -1, 6], [4, -1, 0]),
        case((AROUND_0, np.array(0.0)), UP, [0, -1, 6], 3),
    ],
    "minimum": [
        case((AROUND_0, np.zeros(3)), UP, [4, -1, 0], [0, -1, 6]),
        case((AROUND_0, np.array(0.0)), UP, [4, -1, 0], 5),
    ],
    "clamp": [
        case((AROUND_0,), UP, [4, -2, 0], min=-1.0, max=1.0),
        case((AROUND_0,), UP, [0, -2, 6], min=0.0, max=2.0),
        case((AROUND_0,), UP, [0, -2, 6], min=0.0),
        case((AROUND_0,), UP, [4, -2, 0], max=0.0),
    ],
    "limit": [
        case((AROUND_0, np.array(-1.0), np.array(1.0)), UP, [4, -2, 0], 0, 6),
        case((AROUND_0, np.array(0.0), np.array(2.0)), UP, [0, -2, 6], 4, 0),
        case((AROUND_0, np.array(1.0), np.array(0.0)), UP, [0, 0, 0], 0, 8),
        case((AROUND_0, np.array(1.0), np.array(1.0)), UP, [0, 0, 0], 0, 6),
        case((AROUND_0, 0.0, None), UP, [0, -2, 6]),
        case((AROUND_0, None, 0.0), UP, [4, -2, 0]),
    ],
    "max": [
        case((TIED,), 6, [[0, 3, 3], [0, 0, 0]]),
        case((TIED,), 6, [[0, 3, 3], [0, 0, 0]], axis=(0, 1)),
        case((TIED,), [6, -2], [[0, 6, 0], [-2, 0, 0]], axis=1),
        case((TIED,), [6, -2], [[0, 6, 0], [-2, 0, 0]], axis=-1),
        case((TIED,), UP, [[0, -2, 6], [4, 0, 0]], axis=0),
        case((TIED,), [[6], [-2]], [[0, 6, 0], [-2, 0, 0]], axis=1, keepdims=True),
    ],
    "min": [
        case((-TIED,), 6, [[0, 3, 3], [0, 0, 0]]),
        case((-TIED,), [6, -2], [[0, 6, 0], [-2, 0, 0]], axis=1),
    ],
    "power": [
        case(
            (np.array([0.0, 0.0, 2.0]), np.array([0.0, 2.0, 0.0])),
            UP, [0, 0, 0], [0, 0, 6 * np.log(2)],
        ),
        case((np.array([0.0, 3.0]), np.array(1.0)), [4, -2], [4, -2], -6 * np.log(3)),
        case((np.array([-2.0, 0.0]), 2), [4, -2], [-16, 0]),
        case((np.array([0.0, 4.0]), 0.5), [0, 2], [0, 0.5]),
        case((np.array([0.0, 4.0]), np.array([0.5, 0.5])), [0, 2], [0, 0.5], [0, 4 * np.log(4)]),
        case((np.array([-2.0, 0.0]), 0), [4, -2], [0, 0]),
        case((np.array([-2.0, 0.0]), 1.0), [4, -2], [4, -2]),
        case((0.0, np.array([0.0, 2.0])), [4, -2], [0, 0]),
        case((1.0, np.array([0.0, 2.0])), [4, -2], [0, 0]),
    ],
    "product": [case((np.array([0.0, 2.0, np.inf, 0.0]), np.array([np.inf, 0.0, 0.0, 2.0])),
                     [0, -2, 0, 3], [0, 0, 0, 6], [0, -4, 0, 0])],
    "quotient": [case((np.zeros(2), np.array([0.0, 2.0])), [0, -2], [0, -1], [0, 0])],
    "vector_norm": [
        case((np.zeros(3),), 2, [0, 0, 0]),
        case((np.zeros(3),), 2, [0, 0, 0], ord=3),
        case((np.array([0.0, 3.0]),), 2, [0, 2], ord=1),
    ],
    "set_at": [
        case((np.zeros(3), np.ones(3)), UP, [0, -2, 0], [0, 4, 6], index=np.array([2, 0, 2])),
        case((np.zeros(3), np.array(1.0)), UP, [0, -2, 0], 10, index=np.array([2, 0, 2])),
    ],
}  # fmt: skip
