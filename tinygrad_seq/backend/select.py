"""Selects the backend of new tensors; NumPy is the default.

An operation computes where its arrays are. The selection decides only where new tensors are made:
``ts.tensor``, ``ts.zeros``, ``ts.Tensor(numbers)``, the weights of a layer. CuPy is imported when
it is first selected.
"""

from __future__ import annotations

import os
from types import TracebackType

from .base import Backend, backend_of

NAMES = ("numpy", "cupy")
_selected: Backend | None = None


def backend_named(name: str) -> Backend:
    """The backend of that name, imported at its first use.

    Raises:
        ValueError: there is no backend of that name.
        RuntimeError: it is not available: a package is missing, or no GPU is found.
    """
    if name == "numpy":
        return backend_of()
    if name == "cupy":
        from .cupy import load

        return load()
    ours = {"cuda": "cupy", "gpu": "cupy", "cpu": "numpy"}.get(str(name).lower().partition(":")[0])
    hint = f": that is {ours!r} here" if ours else ""
    raise ValueError(f"a backend is one of {', '.join(map(repr, NAMES))}; got {name!r}{hint}")


def current() -> Backend:
    """The backend of new tensors: the selected one, or TINYGRAD_SEQ_BACKEND, or NumPy."""
    global _selected
    if _selected is None:
        _selected = backend_named(os.environ.get("TINYGRAD_SEQ_BACKEND") or "numpy")
    return _selected


class use_backend:
    """Make new tensors on this backend, from now on; in ``with``, until its end.

        ts.use_backend("cupy")            # weights and tensors made from here on live on the GPU
        with ts.use_backend("numpy"):     # on the host in here

    It holds for all threads. Existing tensors stay where they are; ``t.to("cupy")`` and
    ``model.to("cupy")`` move them.

    Args:
        name: ``"numpy"`` or ``"cupy"``.

    Raises:
        ValueError: there is no backend of that name.
        RuntimeError: CuPy is not installed, or there is no GPU; the message says what to install.
    """

    def __init__(self, name: str) -> None:
        global _selected
        chosen = backend_named(name)
        self._before, _selected = _selected, chosen

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        global _selected
        _selected = self._before
