"""Tools whose answer at a pixel depends on what lies within `REACH` pixels of it, and on nothing else.

Red things, by a blurred threshold; an object is what hangs together. Pieces of a picture that overlap enough must
then give what the whole gives, to the pixel.
"""

import numpy as np
from scipy import ndimage

from geoseg_agent.guard import GuardedToolbox
from geoseg_agent.imagery import Image
from geoseg_agent.tiling import TiledToolbox
from geoseg_agent.toolbox import LocalToolbox, Makers
from geoseg_tools import Box, Masks
from geoseg_tools.masks import tight

REACH = 3
CELL = 8
RED = (200, 40, 40)
GREEN = (60, 120, 60)
EIGHT = np.ones((3, 3), dtype=bool)


class EvenTools:
    """Matcher and segmenter; counts what it encodes, and what is asked where."""

    def __init__(self):
        self.encoded, self.compared = [], []

    def encode(self, crop):
        self.encoded.append(crop.roi)
        return _redness(crop.pixels) > 80

    def similarity(self, crop, phrase):
        self.compared.append(crop.roi)
        red = _redness(crop.pixels) / 160
        h, w = max(1, crop.size[0] // CELL), max(1, crop.size[1] // CELL)
        rows, cols = np.arange(h) * crop.size[0] // h, np.arange(w) * crop.size[1] // w
        sums = np.add.reduceat(np.add.reduceat(red, rows, axis=0), cols, axis=1)
        area = np.outer(np.diff([*rows, crop.size[0]]), np.diff([*cols, crop.size[1]]))
        return (sums / area).astype(np.float32)

    def from_points(self, mask, points, positive, earlier=None):
        labels, _ = ndimage.label(mask, structure=EIGHT)
        on = [labels[y, x] for x, y in points[positive] if labels[y, x]]
        off = [labels[y, x] for x, y in points[~positive] if labels[y, x]]
        found = np.isin(labels, on)
        if earlier is not None:
            found |= earlier
        found &= ~np.isin(labels, off)
        return Masks.of(
            found[None] if found.any() else found[:0].reshape(0, *mask.shape), np.full(int(found.any()), 0.75)
        )

    def from_text(self, mask, phrase):
        labels, count = ndimage.label(mask, structure=EIGHT)
        return Masks(mask.shape, tuple(tight(labels == n) for n in range(1, count + 1)), np.full(count, 0.5))


def _redness(pixels):
    red = pixels[..., 0].astype(float) - pixels[..., 1]
    return ndimage.uniform_filter(red, 2 * REACH + 1, mode="nearest")


def even(side=None, margin=None):
    """A toolset of one `EvenTools` that declares the tile, and the tool."""
    tool = EvenTools()
    tools = LocalToolbox("even", [Makers(lambda: tool, lambda: tool)], defaults={"tau": 0.3}, tile_side=side)
    tools.tile_margin = margin
    return tools, tool


def tiled(side=64, margin=8, *, origin=(0, 0), most=2):
    """The same tools, behind tiles; and the tool."""
    tools, tool = even()
    return TiledToolbox(GuardedToolbox(tools), side, margin, origin=origin, most=most), tool


def things(size, boxes, *, seed=0, valid=None):
    """A green picture with some noise, and red boxes (x1, y1, x2, y2) on it."""
    pixels = np.full((*size, 3), GREEN, dtype=np.int64)
    for x1, y1, x2, y2 in boxes:
        pixels[y1:y2, x1:x2] = RED
    noise = np.random.default_rng(seed).integers(-25, 26, pixels.shape)
    return Image.from_array((pixels + noise).clip(0, 255).astype(np.uint8), valid=valid)


def blobs(size, count, seed=0):
    """Boxes for `things`, at random places, some of them over several tiles."""
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, (size[1] - 8, size[0] - 8), (count, 2))
    sides = rng.integers(6, 60, (count, 2))
    return [(x, y, min(x + w, size[1]), min(y + h, size[0])) for (x, y), (w, h) in zip(corners, sides, strict=True)]


def whole_of(image):
    """The crop of everything."""
    return image.crop(Box(0, 0, image.size[1], image.size[0]))


def labels_of(image):
    """(H, W) int: which red thing a pixel is of, 0 for none."""
    return ndimage.label(EvenTools().encode(whole_of(image)), structure=EIGHT)[0]


async def texts(tools, crop):
    """What the tools find for a phrase."""
    async with tools.encode(crop) as handle:
        return await tools.from_text(handle, "red")


async def points(tools, crop, given, earlier=None):
    """What the tools make of points (x, y, positive) of the crop."""
    where = np.array([(x, y) for x, y, _ in given], dtype=np.int64)
    more = () if earlier is None else (earlier,)
    async with tools.encode(crop) as handle:
        return await tools.from_points(handle, where, np.array([sign for *_, sign in given]), *more)
