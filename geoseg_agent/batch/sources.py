"""Where the images of a batch are: a folder, a pattern, a table, JSON lines or a STAC ItemCollection.

A source is read lazily and in one order, every time anew, so a batch of a million images needs no list of them.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Final, Literal

from geoseg_agent.batch import stac, tables
from geoseg_agent.batch.items import Refused, Row
from geoseg_agent.batch.plan import NAME, RESULTS
from geoseg_agent.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterator

Kind = Literal["folder", "pattern", "csv", "jsonl", "stac"]

SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff"})
"""Of the files that a folder or a pattern offers, in small letters."""

_BY_SUFFIX: Final[dict[str, Kind]] = {
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "stac",
    ".geojson": "stac",
}
_WILD = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class Source:
    """Images, and perhaps queries and hints with them.

    Attributes:
        kind: what it is.
        path: absolute: the folder, the file, or for a pattern the folder below which it matches.
        pattern: relative to that, or None.
        asset: the key of the asset to take from every STAC item, or None for the first that fits.
        leave_out: a folder whose files are none of it, because the batch writes them; nor are those of any folder
            below that holds a batch.
    """

    kind: Kind
    path: Path
    pattern: str | None = None
    asset: str | None = None
    leave_out: Path | None = None

    @property
    def root(self) -> str:
        """The folder that names of its images are relative to, as traces have it: without links."""
        return os.path.realpath(self.path if self.kind in {"folder", "pattern"} else self.path.parent)

    @property
    def names_queries(self) -> bool:
        """Whether its records may have queries of their own."""
        return self.kind in {"csv", "jsonl"}

    def rows(self) -> Iterator[Row | Refused]:
        """Its records, lazily, in an order that depends on nothing but what it holds.

        Raises:
            DatasetError: it cannot be read.
        """
        if self.kind == "csv":
            return tables.csv_rows(self.path)
        if self.kind == "jsonl":
            return tables.jsonl_rows(self.path)
        if self.kind == "stac":
            return stac.rows(self.path, self.asset, SUFFIXES)
        return self._files()

    def _files(self) -> Iterator[Row | Refused]:
        wanted = None if self.pattern is None else re.compile(_as_regex(self.pattern), re.DOTALL)
        for path, name in _walked(self.path, "", self.leave_out):
            if PurePath(name).suffix.lower() not in SUFFIXES or (wanted and not wanted.fullmatch(name)):
                continue
            try:
                name.encode()
            except UnicodeEncodeError:
                yield Refused(path.encode(errors="backslashreplace").decode(), "its name is not UTF-8")
            else:
                yield Row(path, name, path)


def open_source(where: str, *, asset: str | None = None, leave_out: Path | None = None) -> Source:
    """The source that `where` names; arguments as of `Source`.

    Raises:
        DatasetError: there is nothing of that name, or nothing that a batch can be made of.
    """
    path = Path(where).absolute()
    kept = None if leave_out is None else leave_out.absolute()
    if path.is_dir():
        found = Source("folder", path, leave_out=kept)
    elif path.is_file():
        kind = _BY_SUFFIX.get(path.suffix.lower())
        if kind is None:
            raise DatasetError(
                f"{where} is no source of a batch: its name ends in none of {', '.join(_BY_SUFFIX)}",
                hint="name a folder, a pattern in quotes, or a table; `geoseg segment` asks a single image",
            )
        found = Source(kind, path, asset=asset)
    elif _WILD.search(where):
        parts = path.parts
        first = next(number for number, part in enumerate(parts) if _WILD.search(part))
        found = Source("pattern", Path(*parts[:first]), "/".join(parts[first:]), leave_out=kept)
        if not found.path.is_dir():
            raise DatasetError(f"{where}: there is no folder {found.path}")
    else:
        raise DatasetError(f"{where} does not exist", hint="name a folder, a pattern in quotes, or a table")
    if asset is not None and found.kind != "stac":
        raise DatasetError(f"{where} is no STAC ItemCollection, so there is no asset {asset!r} in it")
    return found


def _walked(folder: Path, name: str, leave_out: Path | None) -> Iterator[tuple[str, str]]:
    """Path and name of every file below, sorted within its folder; what begins with a dot is left out."""
    try:
        with os.scandir(folder) as found:
            entries = sorted(
                (entry.name, entry.is_dir(follow_symlinks=False)) for entry in found if entry.name[0] != "."
            )
    except OSError as error:
        raise DatasetError(f"{folder} cannot be read: {error.strerror or error}") from error
    for entry, is_folder in entries:
        path = folder / entry
        if not is_folder:
            yield str(path), name + entry
        elif not _is_batch(path, leave_out):
            yield from _walked(path, f"{name}{entry}/", leave_out)


def _is_batch(folder: Path, leave_out: Path | None) -> bool:
    """Whether a folder is what a batch writes, this one or an earlier one: masks and overlays are no scenes."""
    if leave_out is not None and leave_out.exists() and folder.samefile(leave_out):
        return True
    return (folder / NAME).is_file() and (folder / RESULTS).is_file()


def _as_regex(pattern: str) -> str:
    """The shell's pattern as a regular expression: * and ? stay within a part of the path, ** does not."""
    found, at = "", 0
    for match in re.finditer(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\]", pattern):
        found += re.escape(pattern[at : match.start()])
        mark = match.group()
        if mark[0] == "[":
            inside = mark[1:-1].replace("\\", "\\\\")
            found += f"[^/{inside[1:]}]" if inside[0] == "!" else f"[{inside}]"
        else:
            found += {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}[mark]
        at = match.end()
    return found + re.escape(pattern[at:])
