"""Whether the files of an answer can go into a folder: what can be known before an answer is paid for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from geoseg_agent.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def check_free(folder: Path, image: str | os.PathLike[str] | None, names: Iterable[str]) -> None:
    """Refuse a folder where a file of the answer would take the place of the image that it is of.

    Raises:
        InputError: one of the `names` in the folder is the file at `image`.
    """
    if image is None or not os.path.exists(image):  # noqa: PTH110 - False where it may not be looked at
        return
    for path in (folder / name for name in names):
        if os.path.exists(path) and path.samefile(image):  # noqa: PTH110 - as above
            raise InputError(
                f"{path} is the image itself, and a file of the answer would take its place",
                hint="choose another folder with --out, or rename the image",
            )


def check_writable(folder: Path) -> None:
    """Refuse a folder that cannot be made or written; nothing is made here.

    Raises:
        InputError: what is there is no folder, or may not be written.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    problem = "is no folder" if not there.is_dir() else "may not be written"
    if problem == "is no folder" or not os.access(there, os.W_OK | os.X_OK):
        raise InputError(
            f"the results cannot be written to {folder}: {there} {problem}",
            hint="choose a folder with space that you may write",
        )
