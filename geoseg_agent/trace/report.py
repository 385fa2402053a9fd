"""A trace as one page for people who look rather than read: what was asked, what each stage saw, what came out.

The page is one file. It loads nothing, runs nothing, and its content policy forbids both.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from geoseg_agent.drawing import colour_of
from geoseg_agent.errors import ImageError, InputError, TraceCorrupt
from geoseg_agent.trace import timeline
from geoseg_agent.trace.cards import Card, Place, card_of, places
from geoseg_agent.trace.conversation import WORDS, asked_of
from geoseg_agent.trace.files import DiskFiles, write_atomically
from geoseg_agent.trace.jsontext import pretty
from geoseg_agent.trace.pages import template_of
from geoseg_agent.trace.pictures import fit, heat_png, mask_png, photo, united
from geoseg_agent.trace.seal import changes
from geoseg_tools.errors import ToolError
from geoseg_tools.geometry import whole

if TYPE_CHECKING:
    from pathlib import Path

    from jinja2 import Template

    from geoseg_agent.imagery import Image
    from geoseg_agent.trace.model import Trace
    from geoseg_tools.arrays import Size

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


class Tag(NamedTuple):
    """A number in the picture, absolute pixels."""

    number: int
    title: str
    x: float
    y: float
    width: float
    height: float


class Picture(NamedTuple):
    """The image with all targets.

    Attributes:
        photo: data address, or None for a blank canvas.
        why_blank: why there is no image.
        unit: image pixels that look like one pixel of the page.
        tags: the targets' numbers, clear of each other where there is room.
        hints: the caller's points: x, y, positive.
    """

    photo: str | None
    why_blank: str | None
    width: int
    height: int
    unit: float
    drawn: list[Drawn]
    tags: list[Tag]
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
            asked=asked_of(trace),
            rows=steps,
            axis=timeline.axis(trace, steps),
            changed=_changed(trace),
            words=WORDS,
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
    unit = max(width / 1100, height / 780)
    return Picture(address, why, width, height, unit, drawn, _tags(shown, (height, width), unit), hints)


def _tags(shown: list[Place], size: Size, unit: float) -> list[Tag]:
    """A number at the top left of each region; one that would cover another moves on along the top."""
    tags: list[Tag] = []
    high = 20 * unit
    for place in shown:
        corner, wide = place.roi or place.box, (9 + 9 * len(str(place.number))) * unit
        y = max(0.0, min(corner.y1, size[0] - high))
        last = max(0.0, min(corner.x2, size[1]) - wide)
        first = min(float(corner.x1), last)
        spots = [Tag(place.number, place.phrase, min(first + n * wide / 2, last), y, wide, high) for n in range(40)]
        tags.append(next((spot for spot in spots if not any(_overlap(spot, tag) for tag in tags)), spots[0]))
    return tags


def _overlap(one: Tag, other: Tag) -> bool:
    across = one.x < other.x + other.width and other.x < one.x + one.width
    return across and one.y < other.y + other.height and other.y < one.y + one.height


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


def _changed(trace: Trace) -> list[str]:
    """What is not as it was sealed, one line each."""
    tree = trace.model_dump(by_alias=True)
    return [f"{change.path} {change.kind}" for change in changes(tree, trace.seal)]


def _facts(trace: Trace) -> dict[str, str]:
    """What stands under the title, by its heading."""
    image, hints = trace.image, trace.hints
    given = [] if hints.box is None else [f"box {tuple(hints.box)}"]
    given += [f"point {'' if p.positive else 'not '}at {p.x}, {p.y}" for p in hints.points]
    given += [] if hints.earlier is None else ["an earlier mask"]
    given += [] if hints.phrase is None else [f"phrase “{hints.phrase}”"]
    place = "" if image.crs is None else f", {image.crs if len(image.crs) < 40 else 'georeferenced'}"
    return {
        "Image": f"{image.name}, {image.width:,} × {image.height:,} px{place}",  # noqa: RUF001 - the sign
        "Digest": f"{image.sha256[:16]}…",
        "Engine": trace.engine,
        "Profile": str(trace.settings.get("profile", "not recorded")),
        "Asked": trace.started.replace("T", " ").replace("Z", " UTC"),
        "Took": seconds(trace.seconds),
        "Hints": "; ".join(given) or "none",
        "Method": ", ".join(f"{name} {value}" for name, value in trace.method.items()),
    }


def seconds(value: float) -> str:
    """A duration for people."""
    return f"{value:.2f} s" if value >= 1 else f"{1000 * value:.0f} ms" if value >= 0.01 else f"{1000 * value:.1f} ms"


@cache
def _ramp() -> str:
    """The colours of the similarity grid, lowest to highest."""
    return heat_png(np.linspace(0, 1, 64, dtype=np.float32)[None])


@cache
def _template() -> Template:
    filters = {
        "seconds": seconds,
        "percent": lambda share: f"{100 * share:.3g} %",
        "rgb": lambda number: "#{:02x}{:02x}{:02x}".format(*colour_of(number)),
        "json": lambda value: pretty(value).decode("utf-8").strip(),
    }
    return template_of("geoseg_agent.trace", filters)
