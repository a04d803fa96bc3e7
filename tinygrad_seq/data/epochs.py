"""Loops over data that can stop at any batch and continue later, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

import numpy as np

from ..messages import Hinted

B = TypeVar("B")


class Epochs(Hinted, Generic[B]):
    """An endless number of epochs, each a loop: ``for batch in batches``.

    ``state_dict()`` holds the position of the loop. After ``load_state_dict()`` the next loop
    yields the rest of that epoch.

    Args:
        seed: The seed of the order, together with the epoch; None if nothing is drawn.
        **cut: Plain numbers that must be equal for a position to mean the same batch.

    Attributes:
        epoch: The number of the current or next epoch, from 0.
        position: How many of its batches were yielded.
    """

    def __init__(self, seed: int | None, **cut: int) -> None:
        self.seed = seed
        self.epoch = 0
        self.position = 0
        self._resumed = False
        self._cut = cut

    def __len__(self) -> int:
        """Batches in an epoch."""
        raise NotImplementedError

    def _batches(self, start: int) -> Iterator[B]:
        """The batches of the current epoch, from batch ``start`` on."""
        raise NotImplementedError

    def _drawn(self) -> np.random.Generator:
        """The generator for the order of the current epoch."""
        return np.random.default_rng((self.seed or 0, self.epoch))

    def __iter__(self) -> Iterator[B]:
        """One epoch; or, after ``load_state_dict``, the rest of one.

        A loop that stopped early does not count: the next one starts a new epoch.
        """
        if self.position and not self._resumed:
            self.epoch, self.position = self.epoch + 1, 0
        self._resumed = False
        for position, batch in enumerate(self._batches(self.position), start=self.position + 1):
            self.position = position
            yield batch
        self.epoch, self.position = self.epoch + 1, 0

    def state_dict(self) -> dict[str, Any]:
        """The position of the loop, as plain numbers; the current batch counts as done."""
        place = {"epoch": self.epoch, "position": self.position}
        return place | self._cut | ({} if self.seed is None else {"seed": self.seed})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue at the position of ``state``.

        Raises:
            ValueError: It is from other data, or from other sizes; nothing changed.
        """
        check_state(self, state, self._cut)
        if not (state["epoch"] >= 0 and 0 <= state["position"] <= len(self)):
            raise ValueError(
                f"the state stands at batch {state['position']} of epoch {state['epoch']}; "
                f"an epoch has {len(self)} batches"
            )
        new = {name: state.get(name) for name in ("epoch", "position", "seed")}
        vars(self).update(new, _resumed=True)  # all or nothing


def check_state(data: Any, state: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Raise ValueError unless a state has the keys of ``data`` and was taken with its settings."""
    kind, mine = type(data).__name__, data.state_dict()
    if state.keys() != mine.keys():
        raise ValueError(f"the state of {kind} has the keys {sorted(mine)}; got {sorted(state)}")
    for name, value in settings.items():
        if state[name] != value:
            raise ValueError(
                f"the state was taken with {name}={state[name]}, but this {kind} has "
                f"{name}={value}: resume with the same data and sizes"
            )
