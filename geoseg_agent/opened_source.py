"""The open file behind an opened raster: its resolutions, read block by block under one lock, and never garbage."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from geoseg_agent.decode import damaged
from geoseg_agent.errors import ImageError
from geoseg_agent.raster_bands import mask_free
from geoseg_agent.raster_blocks import shown_block
from geoseg_agent.raster_file import Stamp, gdal, open_dataset
from geoseg_tools.crop import View

if TYPE_CHECKING:
    from collections.abc import Callable
    from functools import partial

    from geoseg_agent.raster_bands import Plan
    from geoseg_agent.stretch import Span
    from geoseg_tools.arrays import Size
    from geoseg_tools.geometry import Box


class Level(NamedTuple):
    """One resolution of a raster.

    Attributes:
        size: (h, w), of the whole raster at this resolution.
        block: (h, w) of what is decoded together.
        read: a part, in pixels of this resolution, as it is shown; only under the source's lock.
    """

    size: Size
    block: Size
    read: Callable[[Box], View] | partial[View]


class OpenedSource:
    """A raster file and its overviews, held open.

    Args:
        path: absolute.
        name: what messages call it.
        stamp: which file it was when it was opened.
        dataset: the file as rasterio has it; it belongs to the source from now on.
        plan: how its bands are shown.
        spans: how they are stretched, None where they have 8 bits.

    Attributes:
        levels: the file itself, then its overviews, finest first.
        lock: whoever reads holds it; a thread may take it twice.
        masked: whether there may be a pixel that is not valid.
    """

    def __init__(
        self, path: str, name: str, stamp: Stamp | None, dataset: Any, plan: Plan, spans: tuple[Span, ...] | None
    ) -> None:
        self.path = path
        self.name = name
        self.lock = threading.RLock()
        self.masked = plan.masked
        self._stamp = stamp
        self._plan = plan
        self._spans = spans
        self._closed = False
        self._datasets = [dataset, *_overviews(path, dataset, plan)]
        self.levels = tuple(self._level(one) for one in self._datasets)

    @property
    def size(self) -> Size:
        """(H, W) of the raster."""
        return self.levels[0].size

    def check_open(self) -> None:
        """Refuse to go on after `close`.

        Raises:
            ImageError: it was closed.
        """
        if self._closed:
            raise ImageError(f"{self.name} was closed", hint="open it again with read_image")

    def close(self) -> None:
        """Close the file; safe to call twice."""
        with self.lock:
            self._closed = True
            datasets, self._datasets = self._datasets, []
            for dataset in datasets:
                with gdal():
                    dataset.close()

    def _level(self, dataset: Any) -> Level:
        rows, columns = dataset.block_shapes[self._plan.shown[0] - 1]
        return Level((dataset.height, dataset.width), (rows, columns), lambda box: self._read(dataset, box))

    def _read(self, dataset: Any, box: Box) -> View:
        """A block as it is shown.

        Raises:
            ImageError: the file is damaged there, or is not the one that was opened.
        """
        self.check_open()
        try:
            with gdal():
                pixels, valid = shown_block(dataset, self._plan, self._spans, box)
        except MemoryError:
            raise
        except Exception as error:
            self._check_unchanged()
            raise damaged(self.name, error) from error
        self._check_unchanged()
        return View(pixels, None if valid.all() else valid)

    def _check_unchanged(self) -> None:
        now = Stamp.of(self.path)
        if now != self._stamp:
            what = "is not there any more" if now is None else "was changed"
            raise ImageError(
                f"{self.name} {what} since it was opened: no more of it can be read",
                hint="leave the file as it is until the answer is there, or open it again",
            )


def _overviews(path: str, dataset: Any, plan: Plan) -> list[Any]:
    """The overviews of the file, open, finest first; none where they say less of validity than the file itself."""
    found: list[Any] = []
    bands = [*plan.shown, *([plan.alpha] if plan.alpha else [])]
    for number in range(min(len(dataset.overviews(band)) for band in bands)):
        one = open_dataset(path, "GTiff", overview_level=number)
        found.append(one)
        smaller = one.height * one.width < dataset.height * dataset.width
        if not smaller or any(mask_free(one, band) != mask_free(dataset, band) for band in plan.shown):
            for each in found:
                each.close()
            return []
    return sorted(found, key=lambda one: -int(one.height * one.width))
