"""What a search would do and cost, as a value that can be looked at before anything is paid. Pure.

    layout_of    how to look: one picture of the whole, or windows that overlap, and why
    with_data    windows without data are left out              see `geoseg_agent.grounding.search.scout`
    planned      calls and tokens, within the budget or not

A window is as large as the thing that is looked for allows: shown so that the thing keeps `WANTED` pixels, and at the
image's own resolution where its size is not known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from geoseg_agent.errors import BudgetExceeded
from geoseg_agent.grounding.search.sizes import compares, metres_per_pixel, named_in
from geoseg_tools.geometry import Box, whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geoseg_agent.georeference import Georeference
    from geoseg_agent.grounding.search.sight import Sight
    from geoseg_tools.arrays import Size

Search = Literal["overview", "tiles", "auto"]

WANTED = 32.0
"""Pixels that a thing should have in the picture; models miss much under this."""

ENOUGH = 16.0
"""Pixels in a picture of the whole from which "auto" is content with it."""

MOST_WINDOWS = 20_000
"""More are not even laid out."""

_OVERLAP = 1 / 8
_AROUND = 1.5
_COARSER = 1.25


@dataclass(frozen=True, slots=True)
class Layout:
    """How an image would be looked at.

    Attributes:
        windows: absolute pixels, row by row; the whole image alone where one picture is enough.
        scale: pixels of the image per pixel of the picture.
        why: one sentence for the person who asked.
    """

    windows: tuple[Box, ...]
    scale: float
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a search does.

    Attributes:
        windows: what is looked at, absolute pixels; the whole image alone is no search.
        skipped: how many windows have no data and are left out.
        scale: pixels of the image per pixel of the picture.
        calls: most requests that are paid for, without those asked again because a reply broke a rule.
        tokens: what they cost, an upper estimate, answers included; 0 where nothing is paid.
        why: one sentence for the person who asked.
    """

    windows: tuple[Box, ...]
    skipped: int
    scale: float
    calls: int
    tokens: int
    why: str

    @property
    def tiled(self) -> bool:
        """Whether there is more to it than one picture."""
        return len(self.windows) > 1 or self.skipped > 0

    @property
    def words(self) -> str:
        """The plan in one sentence, without its price."""
        if not self.tiled:
            return f"one picture of the whole image, because {self.why}"
        height, width = self.windows[0].size if self.windows else (0, 0)
        left_out = f" ({self.skipped} more have no data)" if self.skipped else ""
        many = f"{len(self.windows)} windows of {width} x {height} px at 1/{self.scale:.1f}"
        return f"{many}{left_out}, because {self.why}"

    @property
    def price(self) -> str:
        """What it costs at most, in words."""
        return f"at most {self.calls} calls, about {self.tokens:,} tokens" if self.calls else "nothing is paid"


class _Scale(NamedTuple):
    """What is known of the thing that is looked for, in pixels of the image."""

    word: str
    pixels: float


def layout_of(
    size: Size, georeference: Georeference | None, query: str, sight: Sight, search: Search, calls: int
) -> Layout:
    """How to look at an image for what a query names.

    Args:
        size: (h, w) of the image.
        georeference: its place on the ground, or None.
        query: its text.
        sight: what the grounder sees in one picture.
        search: "overview" looks once, "tiles" window by window, "auto" as size and query suggest.
        calls: the budget; a grounder that is free looks more coarsely rather than more often.

    Raises:
        BudgetExceeded: there would be more windows than are ever laid out.
    """
    reduced = max(size) / sight.side
    whole_image = (whole(size),)
    if search == "overview" or reduced <= 1:
        why = "it was asked for" if search == "overview" else "it shows the image at its own resolution"
        return Layout(whole_image, max(1.0, reduced), why)
    thing = _thing(size, georeference, query)
    if search == "auto" and (reason := _content(size, georeference, query, thing, reduced)) is not None:
        return Layout(whole_image, reduced, reason)
    scale = 1.0 if thing is None else max(1.0, thing.pixels / WANTED)
    if sight.free:
        while _count(size, sight, scale, thing) > calls:
            scale *= _COARSER
    if scale >= reduced:
        return Layout(whole_image, reduced, f"it shows {_shown(thing, reduced)}")
    if _count(size, sight, scale, thing) > MOST_WINDOWS:
        raise _too_many(_count(size, sight, scale, thing), calls)
    return Layout(_windows(size, *_steps(sight, scale, thing)), scale, _why(search, thing, reduced))


def planned(layout: Layout, kept: Sequence[Box], sight: Sight, search: Search, calls: int, size: Size) -> Plan:
    """The plan of a layout of which the windows `kept` have data.

    Args:
        layout: as `layout_of` gives it.
        kept: those of its windows that are looked at.
        sight: what the grounder sees, and what that costs.
        search: as in `layout_of`; "auto" falls back to one picture where the budget is too small.
        calls: the budget.
        size: (h, w) of the image.

    Raises:
        BudgetExceeded: "tiles" would take more calls than there may be.
    """
    needed = len(kept) * sight.calls(whole_image=len(layout.windows) == 1)
    if len(layout.windows) > 1 and needed > calls:
        if search == "tiles":
            raise _too_many(needed, calls)
        why = f"{needed} calls would be needed to search it in windows, and {calls} are allowed (GEOSEG_SEARCH_CALLS)"
        window = whole(size)
        return Plan((window,), 0, max(size) / sight.side, sight.calls(), sight.tokens([window]), why)
    skipped = len(layout.windows) - len(kept)
    return Plan(
        tuple(kept),
        skipped,
        layout.scale,
        needed,
        sight.tokens(kept, whole_image=len(layout.windows) == 1),
        layout.why,
    )


def _too_many(needed: int, calls: int) -> BudgetExceeded:
    return BudgetExceeded(
        f"the search would take {needed} calls, and {calls} are allowed",
        hint="raise GEOSEG_SEARCH_CALLS, cut the image, or ask with GEOSEG_SEARCH=overview",
    )


def _thing(size: Size, georeference: Georeference | None, query: str) -> _Scale | None:
    named, metres = named_in(query), metres_per_pixel(georeference, size)
    return None if named is None or metres is None else _Scale(named.word, named.metres / metres)


def _content(
    size: Size, georeference: Georeference | None, query: str, thing: _Scale | None, reduced: float
) -> str | None:
    """Why "auto" is content with one picture, or None where it is not."""
    word = compares(query)
    if word is not None:
        return f'"{word}" compares things all over the image, which windows looked at one by one cannot'
    if metres_per_pixel(georeference, size) is None:
        return "nothing says how large its pixels are on the ground"
    if thing is None:
        return "the size of what is asked for is not known"
    return f"it shows {_shown(thing, reduced)}" if thing.pixels / reduced >= ENOUGH else None


def _why(search: Search, thing: _Scale | None, reduced: float) -> str:
    if search == "tiles" and thing is None:
        return "it was asked for, and the size of what is asked for is not known"
    return f"one picture of the whole would show {_shown(thing, reduced)}"


def _shown(thing: _Scale | None, reduced: float) -> str:
    return "it in enough detail" if thing is None else f'"{thing.word}" with about {thing.pixels / reduced:.0f} px'


def _steps(sight: Sight, scale: float, thing: _Scale | None) -> tuple[int, int]:
    """Side of a window and least overlap, in pixels of the image: a thing lies in one of them as a whole."""
    side = math.floor(sight.side * scale)
    around = 0.0 if thing is None else _AROUND * thing.pixels
    return side, math.ceil(min(max(_OVERLAP * side, around), side / 2))


def _count(size: Size, sight: Sight, scale: float, thing: _Scale | None) -> int:
    side, overlap = _steps(sight, scale, thing)
    return math.prod(_number(length, side, overlap) for length in size)


def _number(length: int, side: int, overlap: int) -> int:
    return 1 if length <= side else math.ceil((length - overlap) / (side - overlap))


def _windows(size: Size, side: int, overlap: int) -> tuple[Box, ...]:
    """Windows of one size that cover the image, spread evenly, row by row."""
    rows, columns = (_spread(length, side, overlap) for length in size)
    return tuple(Box(x1, y1, x2, y2) for y1, y2 in rows for x1, x2 in columns)


def _spread(length: int, side: int, overlap: int) -> list[tuple[int, int]]:
    number = _number(length, side, overlap)
    if number == 1:
        return [(0, length)]
    starts = [(length - side) * index // (number - 1) for index in range(number)]
    return [(start, start + side) for start in starts]
