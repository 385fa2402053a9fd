"""Opening a raster file with GDAL: one driver, the file alone, a bounded block cache.

Only the named driver is tried, and only the file itself is read: no sidecar files, no virtual file systems, no
network. A picture is therefore the same wherever its file lies.
"""

from __future__ import annotations

import os
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from geoseg_agent.decode import quiet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

_ENV = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # no sidecar files
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".none",  # a file that names another by address reaches nothing
    "GDAL_CACHEMAX": 64 << 20,
}
_ORIENTATION = 0x0112


@contextmanager
def gdal() -> Iterator[None]:
    """Within the block, GDAL on this thread reads as the module says; whatever touches a dataset runs inside one."""
    import rasterio  # noqa: PLC0415 - a second to load, and only needed for rasters

    with rasterio.Env(**_ENV):
        yield


def open_dataset(path: str, driver: str, **options: Any) -> Any:
    """The rasterio dataset of the file at `path`, absolute; for the caller to close."""
    import rasterio  # noqa: PLC0415 - as above

    with quiet():
        return rasterio.open(path, driver=driver, sharing=False, **options)


class Stamp(NamedTuple):
    """Which file it is and when it was last written: a file with another stamp is another file."""

    device: int
    inode: int
    length: int
    written: int

    @classmethod
    def of(cls, path: str) -> Stamp | None:
        """The stamp of the file at `path`, None where there is none."""
        try:
            found = os.stat(path)  # noqa: PTH116 - called for every block: as cheap as may be
        except OSError:
            return None
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def tiff_orientation(stream: BinaryIO) -> int:
    """The orientation tag of a classic TIFF's first directory, 1 where there is none."""
    head = stream.read(8)
    order = "<" if head[:2] == b"II" else ">"
    magic, offset = struct.unpack(order + "HI", head[2:8]) if len(head) == 8 else (0, 0)
    if magic != 42:
        return 1
    stream.seek(offset)
    count = stream.read(2)
    entries = stream.read(12 * struct.unpack(order + "H", count)[0]) if len(count) == 2 else b""
    for start in range(0, len(entries) - 11, 12):
        tag, kind, _, value = struct.unpack(order + "HHIH", entries[start : start + 10])
        if tag == _ORIENTATION and kind == 3:
            return int(value)
    return 1
