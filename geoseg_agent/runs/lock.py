"""The right to write into a folder, which one process has at a time."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from geoseg_agent.errors import DatasetError

if TYPE_CHECKING:
    from pathlib import Path


def locked(folder: Path) -> int:
    """A descriptor of the folder that holds its lock, which the system takes from a process that dies.

    Raises:
        DatasetError: another process holds it.
        OSError: the folder is not there.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if not isinstance(error, BlockingIOError):
            raise
        raise DatasetError(f"another process is writing into {folder}", hint="wait until it has ended") from error
    return descriptor
