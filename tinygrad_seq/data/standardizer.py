"""Standardises numbers to mean 0 and deviation 1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backend import default_dtype
from ..messages import Hinted


class Standardizer(Hinted):
    """Standardised numbers z = (x - mean) / std, with the statistics of training data.

    Args:
        train: The training data, finite, shape (L,) or (..., F): each feature on the last axis has
            its own mean and standard deviation; of (L,) all are one feature. None where the
            statistics come from a checkpoint: ``Standardizer()`` is to be loaded before it is used.

    Attributes:
        mean, std: (F,), or numbers; std is 1 for a feature that is constant.

    Raises:
        ValueError: No data, or not finite: nothing may come from a gap, or from the test data; of
            the methods, other features.
    """

    mean: NDArray[np.float64]
    std: NDArray[np.float64]

    def __init__(self, train: Any = None) -> None:
        if train is None:
            return
        x = np.asarray(train, dtype=np.float64)
        if not x.size or not np.isfinite(x).all():
            raise ValueError(
                f"Standardizer expects finite training data; got shape {x.shape} with "
                f"{np.count_nonzero(~np.isfinite(x))} values that are not finite"
            )
        axes = tuple(range(x.ndim - 1)) if x.ndim > 1 else None
        self.mean = x.mean(axis=axes)
        std = x.std(axis=axes)
        self.std = np.where((np.ptp(x, axis=axes) > 0) & (std > 0), std, 1.0)

    def encode(self, x: Any) -> NDArray[Any]:
        """(x - mean) / std, in the default float."""
        z: NDArray[Any] = (self._checked(x) - self.mean) / self.std
        return z.astype(default_dtype())

    def decode(self, z: Any) -> NDArray[np.float64]:
        """What :meth:`encode` read: z · std + mean."""
        x: NDArray[np.float64] = self._checked(z).astype(np.float64) * self.std + self.mean
        return x

    def state_dict(self) -> dict[str, Any]:
        """Mean and standard deviation; nothing before there are any."""
        return {name: np.array(value) for name, value in vars(self).items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load the statistics from a state.

        Raises:
            ValueError: It is not such a state, or has other features; nothing changed.
        """
        if not state:  # of one that had seen no data
            vars(self).clear()
            return
        if state.keys() != {"mean", "std"}:
            raise ValueError(f"the state of Standardizer has mean and std; got {sorted(state)}")
        mean, std = (np.array(state[name], np.float64) for name in ("mean", "std"))
        fits = mean.shape == getattr(self, "mean", mean).shape == std.shape
        if not fits or not (np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all()):
            raise ValueError(
                f"the state of Standardizer has a finite mean and a positive std of shape "
                f"{getattr(self, 'mean', mean).shape}; got mean {mean} and std {std}"
            )
        self.mean, self.std = mean, std

    def _known(self) -> None:
        if not hasattr(self, "mean"):
            raise ValueError(
                "this Standardizer has seen no data: give it training data, or load its state"
            )

    def _checked(self, x: Any) -> NDArray[Any]:
        """Numbers with the features of the training data: nothing is broadcast."""
        self._known()
        array = np.asarray(x)
        count = self.mean.size
        if count > 1 and array.shape[-1:] != (count,):
            raise ValueError(
                f"Standardizer expects {count} features on the last axis, as its training data "
                f"have; got shape {array.shape}"
            )
        return array
