"""One seeded host generator for weights, masks and shuffles.

Numbers are drawn on the host for every backend, so that a seed gives the same weights everywhere.
"""

from __future__ import annotations

from typing import Any

import numpy

from .forks import in_forked_child

_generator = numpy.random.default_rng(0)


def generator() -> numpy.random.Generator:
    """The library's NumPy generator; its seed is 0 until :func:`manual_seed` is called."""
    return _generator


def manual_seed(seed: int) -> numpy.random.Generator:
    """Restart the library's generator from ``seed`` and return it."""
    global _generator
    _generator = numpy.random.default_rng(seed)
    return _generator


def get_rng_state() -> dict[str, Any]:
    """The generator's state as plain Python values, for a checkpoint."""
    return dict(_generator.bit_generator.state)


def set_rng_state(state: dict[str, Any]) -> None:
    """Restore a state of the generator that :func:`get_rng_state` returned.

    Raises:
        ValueError: ``state`` is not the state of such a generator.
    """
    global _generator
    fresh = numpy.random.default_rng(0)
    try:
        fresh.bit_generator.state = state
    except (TypeError, ValueError, KeyError) as error:
        raise ValueError(
            "not a generator state: expected the dict that get_rng_state() returns, "
            f"got {type(state).__name__} ({error})"
        ) from error
    _generator = fresh


@in_forked_child
def _renew() -> None:
    """Give a child a new generator with the same numbers: the old one may be locked."""
    set_rng_state(get_rng_state())
