"""The whole state of a training run in one file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from ..backend import get_rng_state, set_rng_state
from ..messages import Hinted
from .files import LONGEST, CheckpointError, load, save


class Stateful(Protocol):
    """A possible part of a checkpoint: a model, an optimizer, a schedule, the data."""

    def state_dict(self) -> Any:
        """The state, made of arrays and plain values."""

    def load_state_dict(self, state: Any, /) -> Any:
        """Take over such a state."""


class Checkpoint(Hinted):
    """Saves and restores the parts of a run together, and with them the library's generator.

    A run that restores everything that changes (weights, optimizer, schedule, data position)
    continues bit for bit:

        checkpoint = Checkpoint(model=model, optimizer=optimizer, schedule=schedule, data=windows)
        checkpoint.save("run.npz", best=1.83)
        notes = checkpoint.restore("run.npz")        # {"best": 1.83}

    To use a trained model, its weights suffice:

        Checkpoint(model=model).restore("run.npz", only=["model"])

    Args:
        **parts: Objects with ``state_dict()`` and ``load_state_dict(state)``.

    Raises:
        TypeError: A part lacks one of the two.
        ValueError: A part is called ``rng``, the generator's name.
    """

    def __init__(self, **parts: Stateful) -> None:
        if "rng" in parts:
            raise ValueError("the part 'rng' is the library's generator, which is always included")
        for name, part in parts.items():
            if not (hasattr(part, "state_dict") and hasattr(part, "load_state_dict")):
                raise TypeError(
                    f"a part of a checkpoint has state_dict() and load_state_dict(); {name!r}, "
                    f"of type {type(part).__name__}, does not: save a plain value as a note"
                )
        self.parts: dict[str, Stateful] = {**parts, "rng": _Generator()}

    def save(self, path: str | os.PathLike[str], **notes: Any) -> None:
        """Write the state of every part, and any notes, to ``path``; see :func:`tinygrad_seq.save`.

        Args:
            path: Ends in ``.npz`` or ``.safetensors``.
            **notes: Further plain values and arrays to store: the best loss, a vocabulary.
        """
        parts = {name: part.state_dict() for name, part in self.parts.items()}
        save(path, {"parts": parts, "notes": notes})

    def restore(
        self, path: str | os.PathLike[str], only: Iterable[str] | None = None
    ) -> dict[str, Any]:
        """Restore every part from ``path``; on an error no part is changed.

        An interrupt (Ctrl-C) is such an error.

        Args:
            path: A file that :meth:`save` wrote.
            only: The names of the parts to restore; the file may hold others. By default all,
                and the generator, whose name is ``rng``. ``[]`` reads the notes alone.

        Returns:
            The notes.

        Raises:
            CheckpointError: The file cannot be loaded, is of other parts, or a part refuses its
                state.
            FileNotFoundError: There is no such file.
            ValueError: ``only`` names a part that this checkpoint does not have.
        """
        return self.take(load(path), path, only)

    def take(
        self, content: Any, path: str | os.PathLike[str], only: Iterable[str] | None = None
    ) -> dict[str, Any]:
        """Do as :meth:`restore` does with what :func:`tinygrad_seq.load` read from ``path``."""
        if not (isinstance(content, Mapping) and content.keys() == {"parts", "notes"}):
            raise CheckpointError(f"{path} was not written by Checkpoint.save; read it with load()")
        saved, parts = content["parts"], self._chosen(only)
        if not isinstance(saved, Mapping) or not (
            saved.keys() == parts.keys() or (only is not None and saved.keys() >= parts.keys())
        ):
            raise CheckpointError(
                f"{path} holds the parts {str(list(saved))[:LONGEST]}; expected {list(parts)}. "
                "restore(path, only=[...]) restores some parts of a file"
            )
        # All states first: parts may share something, as a schedule sets its optimizer's rates.
        before = {name: part.state_dict() for name, part in parts.items()}
        name = ""
        try:
            for name, part in parts.items():
                part.load_state_dict(saved[name])
        except BaseException as error:
            for done, state in before.items():
                parts[done].load_state_dict(state)
            if not isinstance(error, Exception):
                raise  # an interrupt
            raise CheckpointError(
                f"{path} does not fit the part {name!r}: {error}. Nothing was changed"
            ) from error
        notes: dict[str, Any] = content["notes"]
        return notes

    def _chosen(self, only: Iterable[str] | None) -> dict[str, Stateful]:
        """The parts that ``only`` names."""
        if only is None:
            return self.parts
        names = [only] if isinstance(only, str) else list(only)
        unknown = [name for name in names if name not in self.parts]
        if unknown:
            raise ValueError(
                f"only= names the part {unknown[0]!r}; this checkpoint has {list(self.parts)}"
            )
        return {name: self.parts[name] for name in names}


class _Generator:
    """The library's random generator, as a part."""

    def state_dict(self) -> dict[str, Any]:
        return get_rng_state()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        set_rng_state(state)
