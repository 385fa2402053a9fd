"""Windows of a raster that were decoded, kept by how recently they were asked for, within a number of bytes."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from geoseg_tools.crop import View

if TYPE_CHECKING:
    from geoseg_tools.arrays import Size
    from geoseg_tools.geometry import Box

KEPT = 128 << 20
"""Bytes of decoded windows that are kept for each opened raster; the last one is kept whatever its size."""


class Views:
    """Decoded windows by place and size. Not for two threads at once."""

    def __init__(self, keep: int = KEPT) -> None:
        self._keep = keep
        self._bytes = 0
        self._kept: OrderedDict[tuple[Box, Size], View] = OrderedDict()

    def find(self, window: Box, size: Size) -> View | None:
        """The window at `size` (h, w), also as a part of a larger one at full resolution."""
        key = (window, size)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        if size != window.size:
            return None
        for (other, its_size), (pixels, valid) in self._kept.items():
            if its_size == other.size and other.contains(window):
                self._kept.move_to_end((other, its_size))
                inside = window.relative_to(other).slices
                return View(pixels[inside], None if valid is None else valid[inside])
        return None

    def keep(self, window: Box, view: View) -> None:
        """Keep a window; the oldest go."""
        size = (view.pixels.shape[0], view.pixels.shape[1])
        self._kept[window, size] = view
        self._bytes += _length(view)
        while self._bytes > self._keep and len(self._kept) > 1:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= _length(oldest)

    def clear(self) -> None:
        """Let all of them go."""
        self._kept.clear()
        self._bytes = 0


def _length(view: View) -> int:
    return view.pixels.nbytes + (0 if view.valid is None else view.valid.nbytes)
