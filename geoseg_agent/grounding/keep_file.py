"""Writing a file that other processes read and write too: each sees it whole or not at all."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def keep_file(path: Path, data: bytes) -> None:
    """As `keep_lines`, of one piece."""
    keep_lines(path, (data,))


def keep_lines(path: Path, pieces: Iterable[bytes]) -> None:
    """Put `pieces` in the place of what `path` held, with the folders above it, whatever happens meanwhile.

    It is written under a name of its own, synced and renamed. Unlike the name that a trace has meanwhile, this one is
    random: two processes may write the same file, and what a kill leaves behind must not be in the next one's way.

    Raises:
        OSError: the disk is full or says no; what `path` held is still there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{secrets.token_hex(8)}.tmp"
    # Opened like any other file, and so readable by whom the umask lets.
    with temporary.open("xb") as file:
        try:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
