"""Pointing in place of words: what was asked, where the caller gives points, or corrects an earlier mask with them.

    query                     it is grounded; a phrase without a query is one
    points, no query          one target, route A from these points alone: nobody is asked anything
    points and `previous`     the points so far together, or on top of the mask that a query came to

Route A alone answers, and any mask of it counts: a click on a small thing must not be lost to Eq. 6.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from geoseg_agent.errors import QueryError
from geoseg_agent.routes import region
from geoseg_agent.segmentation import Segmentation
from geoseg_agent.types import MAX_PHRASE, Hints, Query, clean_phrase
from geoseg_tools.geometry import Box

if TYPE_CHECKING:
    from geoseg_agent.imagery import Image
    from geoseg_agent.method import Method

PHRASE = "what was clicked"
"""What a target is called that nobody named."""

_POINT = "give Hints(points=[(x, y)]), on the command line --point x,y"


class Asked(NamedTuple):
    """What a call of `segment` amounts to.

    Attributes:
        query: the question; without words where the caller only pointed.
        hints: the caller's, with those of the earlier answer.
        clicked: the points say it all: nothing is grounded, and route A alone answers.
    """

    query: Query
    hints: Hints
    clicked: bool

    def check(self, image: Image, previous: Segmentation | None, method: Method) -> None:
        """Refuse what does not go with the image or the method, before anything is paid.

        Raises:
            QueryError: a hint lies outside, the earlier answer is of another image, or the variant has no route A.
        """
        if previous is not None and previous.image.sha256 != image.sha256:
            raise QueryError(
                f"the earlier answer is of {previous.image.name}, not of {image.name}",
                hint="correct an answer on the image that it is of",
            )
        self.hints.check(image.size)
        if self.clicked and self.hints.box is not None:
            roi = region(method, self.hints.box, image.size)
            if not any(p.positive and roi.x1 <= p.x < roi.x2 and roi.y1 <= p.y < roi.y2 for p in self.hints.points):
                raise QueryError(
                    f"no point on the thing lies in the region {tuple(roi)} of the box {tuple(self.hints.box)}",
                    hint="leave the box out, or make it larger",
                )
        if self.clicked and not method.plan.points:
            raise QueryError(
                f"points cannot be used: the variant {method.variant} has no route A",
                hint="set GEOSEG_VARIANT=full, or ask with words",
            )

    def check_points(self, image: Image) -> None:
        """Refuse a point on the thing where there is none: it would speak for whatever else looks like nodata.

        Raises:
            ImageError: the file is damaged, was changed or closed.
            QueryError: a positive point lies on a pixel that is not valid.
        """
        for point in self.hints.points:
            seen = image.scene.seen(Box(point.x, point.y, point.x + 1, point.y + 1)) if point.positive else None
            if seen is not None and not seen.any():
                raise QueryError(
                    f"the point ({point.x}, {point.y}) lies where {image.name} has no data",
                    hint="leave it out, or move it onto the thing",
                )


def asked(query: str | None, hints: Hints | None, previous: Segmentation | None) -> Asked:
    """Make one question out of words, hints and an earlier answer.

    Raises:
        QueryError: there is neither a query nor a point on the thing, or hints do not go with an earlier answer.
    """
    known = _known(hints)
    if previous is not None:
        query, known = _continued(query, known, previous)
    if known.earlier is not None:
        if not known.points:
            raise QueryError("an earlier mask is corrected with points, and there are none", hint=_POINT)
        if known.box is not None:
            raise QueryError(
                f"an earlier mask and the box {tuple(known.box)} do not go together: the rest would be lost",
                hint="leave the box out; points correct the whole mask",
            )
        return Asked(Query.unsaid() if query is None else Query(query), known, True)
    if query is not None:
        return Asked(Query(query), known, False)
    if known.points and not any(point.positive for point in known.points):
        raise QueryError("every point is one that is not on the thing", hint=_POINT)
    if known.points:
        return Asked(Query.unsaid(), known, True)
    if known.phrase is None:
        raise QueryError("there is no query, and no point on the thing", hint=f"ask for something, or {_POINT}")
    return Asked(Query(known.phrase), known, False)


def _known(hints: Hints | None) -> Hints:
    if hints is not None and not isinstance(hints, Hints):
        raise QueryError(
            f"hints are a Hints, got {type(hints).__name__}", hint="give Hints(box=(x1, y1, x2, y2), points=[(x, y)])"
        )
    return hints or Hints()


def label(query: Query, hints: Hints) -> str:
    """What a clicked target is called: never a reason to fail."""
    try:
        return hints.phrase or clean_phrase(query.text[:MAX_PHRASE], error=QueryError)
    except QueryError:
        return PHRASE


def _continued(query: str | None, hints: Hints, previous: Segmentation) -> tuple[str | None, Hints]:
    """The words and hints that go on from an earlier answer."""
    if not isinstance(previous, Segmentation):
        raise QueryError(
            f"previous is an answer of segment, not {type(previous).__name__}",
            hint="a mask from elsewhere goes into Hints(earlier=mask)",
        )
    if not hints.points:
        raise QueryError("an earlier answer is corrected with points, and there are none", hint=_POINT)
    if hints.box is not None or hints.earlier is not None:
        what = "a box" if hints.box is not None else "a mask"
        raise QueryError(
            f"an earlier answer has its own region and mask, and {what} was given too",
            hint="leave it out, or leave `previous` out and ask anew",
        )
    if query is not None and Query(query).text != previous.query:
        raise QueryError(
            f"the query {query[:60]!r} is not that of the earlier answer, {previous.query[:60]!r}",
            hint="leave the query out: points correct an answer, words ask anew",
        )
    before = previous.hints
    phrase = hints.phrase or before.phrase
    if previous.clicked:
        # A correction of a correction starts where the first one did, so that no point is counted twice.
        return previous.query or None, replace(before, points=(*before.points, *hints.points), phrase=phrase)
    return previous.query, Hints(points=hints.points, phrase=phrase, earlier=previous.mask)
