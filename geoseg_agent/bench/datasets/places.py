"""Where the files are that a data set names: in its folder, and nowhere else."""

from __future__ import annotations

import os.path
from dataclasses import dataclass
from pathlib import Path

from geoseg_agent.errors import DatasetError


@dataclass(frozen=True, slots=True)
class Places:
    """The folders in which the names of a data set are looked up.

    A name that is absolute or holds ".." is followed only where the file really lies inside `root`, symbolic links
    resolved: a data set from elsewhere must not pick files of this machine. Links that the owner of the folder laid
    inside it, such as `images` on another disk, are followed.

    Attributes:
        root: nothing outside it is read.
        folders: searched in this order; a name that is nowhere counts as being in the first.
    """

    root: Path
    folders: tuple[Path, ...]

    def find(self, *names: str) -> Path:
        """The first file that exists under one of `names` in one of the folders, else where it should have been.

        Raises:
            DatasetError: every place that the names mean lies outside `root`, or a name is no path.
        """
        for name in names:
            if not name or "\0" in name:
                raise DatasetError(f"{name[:80]!r} is not the name of a file")
        tries = [self._inside(folder, name) for name in names for folder in self.folders]
        allowed = [path for path in tries if path is not None]
        if not allowed:
            raise DatasetError(f"{names[0][:200]!r} leads out of the data set's folder {self.root}")
        # os.path, since Path.exists raises for a name that is too long
        return next((path for path in allowed if os.path.exists(path)), allowed[0])  # noqa: PTH110

    def _inside(self, folder: Path, name: str) -> Path | None:
        path = folder / name
        if not name.startswith("/") and ".." not in name.split("/"):
            return path
        real = Path(os.path.realpath(path))
        return real if real.is_relative_to(os.path.realpath(self.root)) else None


def visible(folder: Path, *patterns: str) -> list[Path]:
    """What matches in a folder, in order, without hidden files: a Mac leaves a "._x.json" beside an x.json."""
    return sorted(file for pattern in patterns for file in folder.glob(pattern) if not file.name.startswith("."))


def places(root: Path, *folders: str) -> Places:
    """`Places` for folders of `root`, each named relative to it; "." is the root itself."""
    return Places(root, tuple(root / folder for folder in folders))
