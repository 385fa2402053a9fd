"""A trace as one page for people who look rather than read: what was asked, what each stage saw, what came out.

The page is one file. It loads nothing, runs nothing, and its content policy forbids both.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple

from jinja2 import Environment, StrictUndefined, Template

from geoseg_agent.errors import ImageError, InputError, TraceCorrupt
from geoseg_agent.overlay import _COLOURS as COLOURS
from geoseg_agent.trace import timeline
from geoseg_agent.trace.cards import Card, Place, card_of, places
from geoseg_agent.trace.files import DiskFiles, write_atomically
from geoseg_agent.trace.pictures import fit, heat_png, mask_png, photo, united
from geoseg_agent.trace.seal import changes
from geoseg_tools.errors import ToolError
from geoseg_tools.geometry import whole

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

    from geoseg_agent.imagery import Image
    from geoseg_agent.trace.model import Trace

MOST_CARDS = 24
"""Targets with a card of their own."""

MOST_DRAWN = 200
"""Targets in the picture and in the list below it."""

MOST_STEPS = 200
"""Rows of the timeline."""

PICTURE_SIDE = 1400
"""Longest side of the picture."""

_PICTURE_BYTES = 900_000
_CROPS_BYTES = 1_000_000


class Drawn(NamedTuple):
    """One target in the picture and in the list.

    Attributes:
        mask: data address of its mask, stretched over its RoI; None where there is none.
        share: of the RoI that is in the mask.
        points: keypoints, absolute pixels.
    """

    place: Place
    mask: str | None
    share: float | None
    points: list[tuple[float, float]]


class Picture(NamedTuple):
    """The image with all targets.

    Attributes:
        photo: data address, or None for a blank canvas.
        why_blank: why there is no image.
        unit: image pixels that look like one pixel of the page.
        hints: the caller's points: x, y, positive.
    """

    photo: str | None
    why_blank: str | None
    width: int
    height: int
    unit: float
    drawn: list[Drawn]
    hints: list[tuple[float, float, bool]]


def write_report(trace: Trace, out: Path, image: Image | None = None) -> Path:
    """Write the page that explains `trace` to `out`, in one step; an older file there is replaced.

    Args:
        trace: of any status.
        out: the HTML file; its folder is made where it is missing.
        image: the picture the query was asked about; a blank canvas of its size stands in where it is None or
            has no pixels.

    Returns:
        `out`.

    Raises:
        ImageError: `image` is not the one the trace is about.
        TraceCorrupt: the parts of the trace do not fit together, so that it cannot be drawn.
        InputError: `out` cannot be written.
    """
    if image is not None and image.sha256 != trace.image.sha256:
        raise ImageError(
            f"{image.name} is not the image of this trace: its sha256 is {image.sha256}, the trace was made on "
            f"{trace.image.name} with {trace.image.sha256}",
            hint="give the image that was asked about, or none for a blank canvas",
        )
    page = _page(trace, image).encode("utf-8", "replace")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(DiskFiles(), out, page)
    except OSError as error:
        left = f"{out.name}.tmp is in the way; remove it" if isinstance(error, FileExistsError) else None
        raise InputError(
            f"the report cannot be written to {out}: {error.strerror or error}",
            hint=left or "choose a folder with space that you may write",
        ) from error
    return out


def _page(trace: Trace, image: Image | None) -> str:
    try:
        shown = places(trace)
        steps = timeline.rows(trace.steps, MOST_STEPS)
        return _template().render(
            trace=trace,
            result=trace.result,
            targets=len(shown),
            picture=_picture(trace, shown[:MOST_DRAWN], image),
            cards=_cards(trace, shown[:MOST_CARDS], image),
            ramp=_ramp(),
            rows=steps,
            axis=timeline.axis(trace, steps),
            changed=_changed(trace),
            limits={"cards": MOST_CARDS, "drawn": MOST_DRAWN, "steps": MOST_STEPS},
            facts=_facts(trace),
        )
    except (ValueError, OverflowError, ToolError) as error:
        raise TraceCorrupt(f"trace {trace.id} cannot be drawn: {error}") from error


def _picture(trace: Trace, shown: list[Place], image: Image | None) -> Picture:
    height, width = trace.image.height, trace.image.width
    address, why = None, None
    if image is not None and image.scene.has_pixels:
        address = photo(image, whole(image.size), PICTURE_SIDE, _PICTURE_BYTES)
    else:
        why = "The image was not given, so its place is left blank: a trace holds no pixels."
    scale = min(1.0, PICTURE_SIDE / max(height, width))
    drawn = [_drawn(trace, place, scale) for place in shown]
    hints = [(point.x + 0.5, point.y + 0.5, point.positive) for point in trace.hints.points]
    return Picture(address, why, width, height, max(width / 1100, height / 780), drawn, hints)


def _drawn(trace: Trace, place: Place, scale: float) -> Drawn:
    result = None if trace.result is None else trace.result.targets[place.number - 1]
    if result is None or place.roi is None:
        return Drawn(place, None, None, [])
    runs = united([result.mask], place.roi.size)
    side = max(1, round(max(place.roi.size) * scale))
    mask = mask_png(runs, side, colour_of(place.number), spotlight=False) if runs.area else None
    points = [(place.roi.x1 + x + 0.5, place.roi.y1 + y + 0.5) for x, y in result.keypoints.points]
    return Drawn(place, mask, runs.area / place.roi.area, points)


def _cards(trace: Trace, shown: list[Place], image: Image | None) -> list[Card]:
    side = 560 if len(shown) <= 4 else 440 if len(shown) <= 12 else 340
    cards = []
    for place in shown:
        if place.roi is None:
            continue
        crop = None
        if image is not None and image.scene.has_pixels:
            crop = photo(image, place.roi, side, _CROPS_BYTES // len(shown))
        cards.append(card_of(trace, place, place.roi, crop, max(fit(place.roi.size, side)), colour_of(place.number)))
    return cards
