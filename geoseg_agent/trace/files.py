"""The few things a trace asks of a file system, as one seam, and the one way to write a file that is never torn."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path


class Files(Protocol):
    """Calls that reach the disk; each raises OSError when the disk or the system says no."""

    def create(self, path: Path) -> int:
        """A descriptor of a new, empty file for appending, locked until it is closed."""
        ...

    def write(self, descriptor: int, data: bytes) -> None:
        """All of `data`, at the end."""
        ...

    def fsync(self, descriptor: int) -> None:
        """What was written survives a loss of power from here on."""
        ...

    def close(self, descriptor: int) -> None:
        """Give the descriptor back, and its lock with it."""
        ...

    def replace(self, source: Path, target: Path) -> None:
        """`source` takes the place of `target` in one step."""
        ...

    def fsync_folder(self, folder: Path) -> None:
        """The names in the folder survive a loss of power from here on."""
        ...

    def unlink(self, path: Path) -> None:
        """The file is gone; nothing happens where there is none."""
        ...


class DiskFiles:
    """The real ones (POSIX)."""

    def create(self, path: Path) -> int:
        """As `Files.create`; the lock is advisory (flock), it ends with the process however that ends."""
        while True:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                # Between open and flock, a recovery may have taken the empty file for a crash's and removed it.
                if os.fstat(descriptor).st_nlink:
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def write(self, descriptor: int, data: bytes) -> None:
        """As `Files.write`."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]

    def fsync(self, descriptor: int) -> None:
        """As `Files.fsync`."""
        os.fsync(descriptor)

    def close(self, descriptor: int) -> None:
        """As `Files.close`."""
        os.close(descriptor)

    def replace(self, source: Path, target: Path) -> None:
        """As `Files.replace`."""
        source.replace(target)

    def fsync_folder(self, folder: Path) -> None:
        """As `Files.fsync_folder`."""
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def unlink(self, path: Path) -> None:
        """As `Files.unlink`."""
        path.unlink(missing_ok=True)


def write_atomically(files: Files, path: Path, data: bytes) -> None:
    """Write `path` so that it is at every moment, kill and loss of power included, either whole or not there.

    The data goes to PATH.tmp, is synced, renamed over `path`, and the folder is synced. The temporary name is
    derived, not random, so that what a kill leaves behind can be told from other people's files. On an error
    before the rename the temporary file is removed.

    Raises:
        OSError: the disk is full or says no; after the rename this means that the file may not survive a loss
            of power.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        descriptor = files.create(temporary)
        try:
            files.write(descriptor, data)
            files.fsync(descriptor)
        finally:
            files.close(descriptor)
        files.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            files.unlink(temporary)
        raise
    files.fsync_folder(path.parent)
