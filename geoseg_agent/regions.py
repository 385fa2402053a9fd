"""How large a region of a raster that is opened, and not read, may be: what is held of one grows with its area."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geoseg_agent.errors import ImageError
from geoseg_tools.geometry import whole

if TYPE_CHECKING:
    from geoseg_agent.imagery import Image
    from geoseg_tools.geometry import Box
    from geoseg_tools.masks import Masks

MOST_REGION = 1 << 27
"""Pixels of the largest region: its masks, and the labels of its objects, take about 8 bytes a pixel at a time."""

_ASKED_BEFORE = "; GEOSEG_GROUNDER=replay:FILE, with the trace of this query, gives the same boxes and asks nobody"
"""Not of a region that is all of the raster: with so many pixels allowed that is read, and has another digest."""


def check_reach(image: Image, roi: Box, masks: Masks, number: int, max_pixels: int) -> None:
    """As `check_region` of what a click means: in a large region a small mask costs what it reaches over, no more.

    Raises:
        ImageError: the masks together reach over more than such a region has.
    """
    if sum(part.box.area for part in masks.parts) > max(MOST_REGION, max_pixels):
        check_region(image, roi, number, max_pixels)


def check_region(
    image: Image,
    roi: Box,
    number: int,
    max_pixels: int,
    *,
    box: Box | None = None,
    grounded: bool = False,
    remedy: str = "give a box of the part that matters",
) -> None:
    """Refuse a region of more than `MOST_REGION` pixels, or `max_pixels` where that is more, of an opened image.

    An image that was read has a limit of its own, and no other.

    Args:
        image: that the region is of.
        roi: the region, absolute pixels.
        number: of its target, from 1.
        max_pixels: as the setting of this name.
        box: that the region is of, named where margins made it larger.
        grounded: the box is from a grounder, whose reply need not be asked for again.
        remedy: how the caller can ask for less.

    Raises:
        ImageError: it is larger.
    """
    most = max(MOST_REGION, max_pixels)
    if image.opened and roi.area > most:
        with_margins = "" if box in {None, roi} else f", its box {tuple(box)} with margins"
        raise ImageError(
            f"the region of target {number} in {image.name}{with_margins} has {roi.width} x {roi.height} = "
            f"{roi.area:,} pixels, more than is segmented at once, {most:,}",
            hint=f"{remedy}, or a smaller copy of the raster (gdal_translate -outsize), or "
            f"set GEOSEG_MAX_PIXELS={roi.area} where there are 10 bytes of memory for each pixel"
            + (_ASKED_BEFORE if grounded and roi != whole(image.size) else ""),
        )
