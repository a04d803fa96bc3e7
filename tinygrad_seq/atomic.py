"""Replaces a file in one step, so that a crash never leaves half a file.

The library writes every file in this way.
"""

from __future__ import annotations

import os
import stat
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be removed
    fcntl = None  # type: ignore[assignment]

OLD = 60
"""Seconds without a write after which a file left over by a killed process is looked at."""


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A binary file to write, which replaces ``path`` when the block ends without an error.

    The bytes go to a new file in the same folder, which is flushed to the disk and then renamed.
    If the block raises, the new file is removed and ``path`` is unchanged. A link is followed. The
    file keeps its mode and, if allowed, its owner. New files for the same ``path`` left by killed
    processes are removed.

    Raises:
        FileNotFoundError: The folder does not exist.
        IsADirectoryError: ``path`` is a folder.
        FileExistsError: ``path`` is a device, a pipe or a socket.
    """
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(f"cannot save {path}: there is no folder {target.parent}")
    before = _status(target)
    if before and stat.S_ISDIR(before.st_mode):
        raise IsADirectoryError(f"cannot save {path}: it is a folder")
    if before and not stat.S_ISREG(before.st_mode):
        raise FileExistsError(f"cannot save {path}: it is no ordinary file; save to another name")
    mark = f".saving-{zlib.crc32(os.fsencode(target.name)):08x}-"
    _remove_left_over(target.parent, mark)
    temporary = target.parent / f"{mark}{os.urandom(8).hex()}.tmp"
    try:
        # A new file gets the mode that the umask allows, unlike the tempfile module's 0600.
        mode = stat.S_IMODE(before.st_mode) if before else 0o666
        with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            if fcntl:
                with suppress(OSError):  # a file system without locks
                    fcntl.flock(file, fcntl.LOCK_EX)
            yield file
            file.flush()
            if before:
                _keep(file.fileno(), before)
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _status(path: Path) -> os.stat_result | None:
    with suppress(FileNotFoundError):
        return path.stat()
    return None


def _keep(descriptor: int, before: os.stat_result) -> None:
    """Give a new file the owner and the mode of the file that it replaces."""
    if hasattr(os, "fchown"):  # POSIX
        with suppress(OSError):  # only the superuser may change a file's owner
            os.fchown(descriptor, before.st_uid, before.st_gid)
        with suppress(OSError):  # a file system without modes, or of another owner
            os.fchmod(descriptor, stat.S_IMODE(before.st_mode))


def _remove_left_over(folder: Path, mark: str) -> None:
    """Remove old, unlocked new files of this name: no process writes them any more.

    A file that is just being made has no lock for a moment, but it is not old.
    """
    with suppress(OSError):  # the folder may be writable but not listable
        for path in folder.glob(f"{mark}*.tmp"):
            with suppress(OSError), open(path, "rb") as file:
                if time.time() - os.fstat(file.fileno()).st_mtime > OLD:
                    if fcntl:
                        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()


def _sync_folder(folder: Path) -> None:
    """Flush the new name to the disk, if the system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    with suppress(OSError):  # the file is saved, even where the folder cannot be opened or flushed
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
