"""Machine code kept on disk, with everything that it depends on as its key.

numba's own key is the date of the function's file, so it runs old code after an edit of a file that
the function includes. Here the key is a hash of all sources of this folder, of the printed loop, of
the versions of numba, llvmlite and NumPy, and of numba's settings; numba adds the processor.

The folder is NUMBA_CACHE_DIR, or ``tinygrad_seq`` in the user's cache folder. If a file is damaged
or cannot be written, or if the folder belongs to another user, the code is compiled again.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import pickle
import sys
import zlib
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy
from numba.core.caching import CompileResultCacheImpl, FunctionCache, NullCache, _CacheLocator
from numba.core.compiler_lock import global_compiler_lock
from numba.core.serialize import dumps

from .. import process
from ..forks import compiling

FAST = {"contract", "arcp", "nsz", "reassoc"}
"""Of the freedoms of "fast" arithmetic those that leave NaN and infinity their meaning."""

SETTINGS = (
    "OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "BOUNDSCHECK", "DEBUGINFO_DEFAULT", "USING_SVML",
)  # fmt: skip
"""Of numba's settings (``NUMBA_OPT``, ...) those that change machine code."""

if numba.config.DISABLE_JIT:
    raise ImportError("NUMBA_DISABLE_JIT is set")

compiling.append(global_compiler_lock._lock)


def compiled(
    function: Callable[..., Any] | None = None, *, text: str = "", fast: bool = True
) -> Any:
    """Compile a function at its first call, or take its machine code from the disk.

    Args:
        function: Without it, a decorator.
        text: What the function depends on in addition to the files of this folder.
        fast: Whether sums may be regrouped.
    """
    if function is None:
        return functools.partial(compiled, text=text, fast=fast)
    how: dict[str, Any] = {
        "nogil": True,
        "error_model": "numpy",
        "fastmath": FAST if fast else False,
    }
    dispatcher = numba.njit(**how)(function)
    dispatcher._cache = kept(function, text)
    return dispatcher


def kept(function: Callable[..., Any], text: str = "") -> Any:
    """numba's cache for the machine code of a function; without a folder it keeps nothing."""
    return NullCache() if folder() is None else _Cache(function, text)


def folder() -> Path | None:
    """The folder for machine code; None if there is none."""
    if not process.allowed or _sources() is None:
        return None
    given = os.environ.get("NUMBA_CACHE_DIR")
    if given:
        path = Path(given)
    elif sys.platform == "win32":
        path = Path(os.environ.get("LOCALAPPDATA", Path.home())) / "tinygrad_seq"
    else:
        path = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tinygrad_seq"
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        mine = not hasattr(os, "getuid") or path.stat().st_uid == os.getuid()
    except OSError:
        return None
    return path if mine and os.access(path, os.W_OK) else None


@functools.cache
def _sources() -> str | None:
    """A hash of what every compiled function depends on; None if the sources cannot be read.

    They may be in a zip file, or be ``.pyc`` files alone.
    """
    total = hashlib.sha256()
    try:
        files = [f for f in resources.files(__package__).iterdir() if ".py" in f.name]
        for file in sorted(files, key=lambda file: file.name):
            total.update(file.read_bytes())
    except OSError:
        return None
    settings = [str(getattr(numba.config, name, None)) for name in SETTINGS]
    versions = [numba.__version__, llvmlite.__version__, numpy.__version__]
    total.update(" ".join(versions + settings).encode())
    return total.hexdigest() if files else None


class _Locator(_CacheLocator):  # type: ignore[misc]  # numba has no types
    """Tells numba the folder and the key of a function."""

    def __init__(self, text: str) -> None:
        self._stamp = hashlib.sha256(f"{_sources()} {text}".encode()).hexdigest()

    def get_cache_path(self) -> str:
        return str(folder())

    def get_source_stamp(self) -> str:
        return self._stamp

    def get_disambiguator(self) -> str:
        return self._stamp[:24]


class _Impl(CompileResultCacheImpl):  # type: ignore[misc]
    def __init__(self, function: Any, text: str) -> None:
        self._locator = _Locator(text)
        name = f"{function.__module__}.{function.__qualname__}".rpartition(".")[2]
        self._filename_base = self.get_filename_base(name, getattr(sys, "abiflags", ""))

    def reduce(self, data: Any) -> tuple[int, bytes]:
        """The stored form of machine code, with its checksum."""
        content = dumps(super().reduce(data))
        return zlib.crc32(content), content

    def rebuild(self, target_context: Any, payload: tuple[int, bytes]) -> Any:
        """Machine code from its stored form."""
        checksum, content = payload
        if zlib.crc32(content) != checksum:
            raise ValueError("the machine code was damaged")
        return super().rebuild(target_context, pickle.loads(content))


class _Cache(FunctionCache):  # type: ignore[misc]
    """numba's cache of a function, under a key of our own."""

    def __init__(self, function: Any, text: str) -> None:
        self._impl_class = functools.partial(_Impl, text=text)
        super().__init__(function)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The machine code, or None if it cannot be read."""
        try:
            return super().load_overload(sig, target_context)
        except Exception:
            return None  # a damaged file: compiled again and overwritten

    def save_overload(self, sig: Any, data: Any) -> None:
        """Store the machine code, if the file can be written."""
        with contextlib.suppress(OSError):  # a full disk: compiled again next time
            try:
                super().save_overload(sig, data)
            except OSError:
                raise
            except Exception:  # the index is damaged: begin a new one
                self.flush()
                super().save_overload(sig, data)
