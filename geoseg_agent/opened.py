"""A raster that is opened and not read: a `Scene` whose windows come from its file when they are asked for.

Whatever one thread decodes, the others find: one lock, one set of datasets, and the windows used last are kept. What
a window of it shows is, pixel by pixel, what reading the file as a whole would have shown.
"""

from __future__ import annotations

import math
import weakref
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import numpy as np

from geoseg_agent.area_mean import AreaMean
from geoseg_agent.decode import STRIP_PIXELS
from geoseg_agent.errors import ImageError
from geoseg_agent.logs import log
from geoseg_agent.opened_source import Level
from geoseg_agent.raster_blocks import parts
from geoseg_agent.view_cache import Views
from geoseg_tools.crop import Scene, View
from geoseg_tools.errors import GeometryError, WindowsOnlyError
from geoseg_tools.geometry import Box, whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from geoseg_agent.georeference import Georeference
    from geoseg_agent.opened_source import OpenedSource
    from geoseg_agent.stretch import Span
    from geoseg_tools.arrays import Mask, Rgb, Size


LEAST_HELD = 4096 * 4096
"""A limit on pixels below this still lets an opened raster show a window of so many: a picture for people."""


class Limits(NamedTuple):
    """How much is read and held at a time.

    Attributes:
        largest: pixels of the largest window that is held at full resolution, and of the largest coarse one.
        direct: windows of up to this many pixels are read at full resolution, whatever is enough: they are cheap, and
            often the next caller wants the finest.
        slow: a coarse view of most of the raster that reads more pixels of the finest resolution than this is worth
            keeping an overview.
        most: pixels of a file that are ever read for one view; without overviews a larger one has no coarse view.
        side: longest side of that overview; 4096 takes about 64 MiB.
    """

    largest: int
    direct: int = STRIP_PIXELS
    slow: int = 16_000_000
    most: int = 1 << 34
    side: int = 4096


class Opened(NamedTuple):
    """What opening a raster gives.

    Attributes:
        scene: its windows.
        bands: as `Decoded.bands`.
        stretch: as `Decoded.stretch`, from a sample.
        georeference: where it lies on the ground, or None.
    """

    scene: OpenedScene
    bands: tuple[int, ...]
    stretch: tuple[Span, ...] | None
    georeference: Georeference | None


class OpenedScene(Scene):
    """A Scene that reads windows of a raster file; for any thread.

    Args:
        digest: of the file and of how it is shown, hex; see `opened_digest`.
        source: the open file; closed with the scene.
        limits: how much is read and held at a time.
        again: opens the same file in another process, where the scene is sent there.
    """

    def __init__(
        self,
        digest: str,
        source: OpenedSource,
        limits: Limits,
        *,
        again: Callable[[], OpenedScene] | None = None,
    ) -> None:
        super().__init__(source.size, digest, opened=True)
        self._source = source
        self._limits = limits
        self._again = again
        self._views = Views()
        self._overview: Level | None = None
        self._finalizer = weakref.finalize(self, source.close)
        self._finalizer.atexit = False

    @property
    def has_pixels(self) -> bool:
        """True: they are in the file."""
        return True

    @property
    def pixels(self) -> Rgb:
        """Not to be had.

        Raises:
            WindowsOnlyError: always.
        """
        self._refuse()

    @property
    def valid(self) -> Mask | None:
        """Not to be had.

        Raises:
            WindowsOnlyError: always.
        """
        self._refuse()

    def view(self, window: Box, at_least: Size | None = None) -> View:
        """As `Scene.view`: the window at full resolution, or at `at_least` where that is coarser and saves reading.

        A coarser pixel is the average of the valid ones that it covers, and valid where at least half of its area
        is. It comes from the file's own overviews where they are fine enough.

        Raises:
            ImageError: the window is too large for its resolution, or the file is damaged, was changed or closed.
            GeometryError: the window reaches over the image.
        """
        if not whole(self.size).contains(window):
            raise GeometryError(f"window {tuple(window)} reaches over the image of size {self.size}")
        size = self._enough(window, at_least)
        with self._source.lock:
            self._source.check_open()
            view = self._views.find(window, size)
            if view is None:
                view = self._read(window) if size == window.size else self._coarse(window, size)
                for array in view:
                    if array is not None:
                        array.flags.writeable = False
                self._views.keep(window, view)
            return view

    def seen(self, window: Box) -> Mask | None:
        """As `Scene.seen`, of a window of any size: no more than its validity is held.

        Raises:
            ImageError: the file is damaged, was changed or closed.
        """
        if not self._source.masked:
            return None
        if window.area <= self._limits.largest:
            return self.view(window).valid
        mask = np.ones(window.size, dtype=np.bool_)
        finest = self._source.levels[0]
        for box in parts(window, finest.block):
            with self._source.lock:
                valid = finest.read(box).valid
            if valid is not None:
                mask[box.relative_to(window).slices] = valid
        return None if mask.all() else mask

    def close(self) -> None:
        """Close the file and forget every window; what is asked for afterwards is an ImageError. Twice is fine."""
        with self._source.lock:
            self._views.clear()
            self._overview = None
            self._finalizer()

    def __reduce__(self) -> tuple[Callable[[], OpenedScene], tuple[()]]:
        """A copy in another process is the file, opened there."""
        if self._again is None:
            raise TypeError(f"{self._source.name} cannot be sent to another process: open it there")
        return self._again, ()

    def _refuse(self) -> NoReturn:
        height, width = self.size
        raise WindowsOnlyError(
            f"{self._source.name} has {width} x {height} = {width * height:,} pixels: it is opened, not read, and "
            "they are not to be had at once",
            hint="use scene.view(window, at_least) or a crop, or raise GEOSEG_MAX_PIXELS to read it as a whole",
        )

    def _enough(self, window: Box, at_least: Size | None) -> Size:
        """The size (h, w) at which a window is read."""
        if at_least is None or window.area <= min(self._limits.direct, self._limits.largest):
            return window.size
        return min(window.height, max(1, at_least[0])), min(window.width, max(1, at_least[1]))

    def _read(self, window: Box) -> View:
        if window.area > self._limits.largest:
            raise ImageError(
                f"a window of {window.width} x {window.height} = {window.area:,} pixels of {self._source.name} is "
                f"more than is held at full resolution, {self._limits.largest:,}",
                hint="ask for a smaller part of the image, or raise GEOSEG_MAX_PIXELS if there is memory for it",
            )
        finest = self._source.levels[0]
        pixels = np.empty((*window.size, 3), dtype=np.uint8)
        valid = np.ones(window.size, dtype=np.bool_) if self._source.masked else None
        for box in parts(window, finest.block):
            part, good = finest.read(box)
            place = box.relative_to(window).slices
            pixels[place] = part
            if valid is not None and good is not None:
                valid[place] = good
        return View(pixels, None if valid is None or valid.all() else valid)

    def _coarse(self, window: Box, size: Size) -> View:
        if size[0] * size[1] > self._limits.largest:
            raise ImageError(
                f"a view of {size[1]} x {size[0]} pixels of {self._source.name} is more than is held at once, "
                f"{self._limits.largest:,}",
                hint="ask for less resolution or a smaller window",
            )
        levels = [*self._source.levels, *([self._overview] if self._overview else [])]
        level = self._coarsest(levels, window, size)
        read = window.area * math.prod(level.size) // math.prod(self.size)
        if read > self._limits.most:
            raise ImageError(
                f"{self._source.name} has no overviews that help, and {read:,} pixels would have to be read to see "
                f"{window.width} x {window.height} of it at once",
                hint="add overviews with gdaladdo FILE, or give a box",
            )
        if self._worth_keeping(level, window, size):
            self._overview = level = self._make_overview()
        return self._averaged(level, window, size)

    def _coarsest(self, levels: list[Level], window: Box, size: Size) -> Level:
        """The level with the fewest pixels that is no coarser than `size` for the window."""
        fine = [level for level in levels if _is_enough(level.size, self.size, window, size)]
        return min(fine, key=lambda level: math.prod(level.size), default=levels[0])

    def _worth_keeping(self, level: Level, window: Box, size: Size) -> bool:
        """Whether an overview that is made now would save reading as much again."""
        made = self._overview_size()
        share = window.area / whole(self.size).area
        read = share * math.prod(level.size)
        return (
            level is self._source.levels[0]
            and read > self._limits.slow
            and share >= 0.25
            and _is_enough(made, self.size, window, size)
        )

    def _overview_size(self) -> Size:
        scale = min(1.0, self._limits.side / max(self.size))
        return max(1, round(self.size[0] * scale)), max(1, round(self.size[1] * scale))

    def _make_overview(self) -> Level:
        size = self._overview_size()
        everything = whole(self.size)
        level = self._coarsest(list(self._source.levels), everything, size)
        log.warning(
            "a large raster without overviews of its own is read once as a whole: this takes long",
            image=self._source.name,
            pixels=math.prod(level.size),
            remedy="gdaladdo FILE adds overviews, and makes it fast; those in a file beside it (.ovr) are not read",
        )
        pixels, valid = self._averaged(level, everything, size)
        return Level(size, (1, 1), lambda box: View(pixels[box.slices], None if valid is None else valid[box.slices]))

    def _averaged(self, level: Level, window: Box, size: Size) -> View:
        """The window at `size`, averaged from a level."""
        if size == level.size and window == whole(self.size):
            return level.read(whole(size))
        down, right = level.size[0] / self.size[0], level.size[1] / self.size[1]
        x, y = (window.x1 * right, window.x2 * right), (window.y1 * down, window.y2 * down)
        mean = AreaMean(size, x, y, masked=self._source.masked)
        cover = Box(
            math.floor(x[0]),
            math.floor(y[0]),
            min(level.size[1], math.ceil(x[1])),
            min(level.size[0], math.ceil(y[1])),
        )
        for box in parts(cover, level.block):
            mean.add(level.read(box), box)
        return mean.view()


def _is_enough(level: Size, full: Size, window: Box, size: Size) -> bool:
    """Whether a level of size `level` of an image of size `full` shows the window with at least `size` pixels."""
    return all(
        side * level[axis] >= size[axis] * full[axis] for axis, side in enumerate((window.height, window.width))
    )
