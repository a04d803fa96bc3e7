"""Replace a file in one step, so that a crash never leaves half of one.

Everything in the library that writes a file writes it in this way.
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
except ImportError:  # Windows, where a file that is open cannot be removed
    fcntl = None  # type: ignore[assignment]

OLD = 60
"""Seconds without a write after which a file left over by a killed process is looked at."""


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A binary file to write; when the block ends well it takes the place of ``path``.

    The bytes go to a new file in the same folder, reach the disk, and only then get the name.
    When the block raises, the new file is removed and ``path`` stays as it was. A link is followed,
    and a file keeps its mode and, where that is allowed, its owner. New files for the same ``path``
    whose process was killed are removed.

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
        # Where nothing was, the mode that the umask allows, unlike the tempfile module's 0600.
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
    """Give a new file the owner and the mode of the one whose place it takes."""
    if hasattr(os, "fchown"):  # POSIX
        with suppress(OSError):  # only the superuser may change a file's owner
            os.fchown(descriptor, before.st_uid, before.st_gid)
        os.fchmod(descriptor, stat.S_IMODE(before.st_mode))


def _remove_left_over(folder: Path, mark: str) -> None:
    """Remove new files of this name that nobody writes any more: old ones that nobody has locked.

    One that is being made has no lock for a moment, and is not old.
    """
    with suppress(OSError):  # the folder may be written to, and not listed
        for path in folder.glob(f"{mark}*.tmp"):
            with suppress(OSError), open(path, "rb") as file:
                if time.time() - os.fstat(file.fileno()).st_mtime > OLD:
                    if fcntl:
                        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()


def _sync_folder(folder: Path) -> None:
    """Bring the new name to the disk, where the system lets a folder be opened."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    with suppress(PermissionError):  # one that can be written to, and not listed
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
