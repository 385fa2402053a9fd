"""The values that travel through one query. Each checks its invariant where it is made, and nowhere else.

Frames: boxes and RoIs are in absolute pixels of the original image, half-open; masks of a target are in the
frame of its RoI; keypoints are pixel indices in the RoI frame. Sizes are (h, w), points (x, y).
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, NamedTuple, Self

import numpy as np

from geoseg_agent.errors import InvalidReply, QueryError
from geoseg_tools.geometry import Box, paste, whole

if TYPE_CHECKING:
    from geoseg_tools.arrays import Mask, Size
    from geoseg_tools.fusion import Rule
    from geoseg_tools.keypoints import Keypoints

Status = Literal["found", "not_found", "ambiguous"]

MAX_QUERY = 2000
MAX_PHRASE = 200


def _printable(text: str) -> bool:
    return all(unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Co", "Cn"} for character in text)


@dataclass(frozen=True, slots=True)
class Query:
    """An open question in natural language: stripped, 1 to 2000 characters, no control characters.

    Raises:
        QueryError: the text breaks one of these rules; the message says which.
    """

    text: str

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise QueryError(f"a query is a string, got {type(self.text).__name__}")
        text = self.text.strip()
        if not text:
            raise QueryError("the query is empty", hint="ask for something, for example 'the buildings by the lake'")
        if len(text) > MAX_QUERY:
            raise QueryError(f"the query has {len(text)} characters, at most {MAX_QUERY} are allowed")
        bad = next((c for c in text if unicodedata.category(c) in {"Cc", "Cs"} and c not in "\n\t"), None)
        if bad is not None:
            raise QueryError(f"the query holds the control character U+{ord(bad):04X}", hint="remove it")
        object.__setattr__(self, "text", " ".join(text.split()))

    @classmethod
    def unsaid(cls) -> Self:
        """No question in words, where the caller points instead; its text is empty."""
        query = object.__new__(cls)
        object.__setattr__(query, "text", "")
        return query


class PointHint(NamedTuple):
    """A pixel index x, y of the original image; `positive` False means: not this."""

    x: int
    y: int
    positive: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Hints:
    """What the caller already knows.

    A box replaces grounding altogether; points join the keypoints of every target whose region holds them; a
    phrase replaces the grounder's. Points without a query say by themselves what is meant, also inside a box.

    Attributes:
        box: absolute pixels x1, y1, x2, y2 of the original image; a `Box` or a tuple of four ints.
        points: pixel indices (x, y) or (x, y, positive).
        phrase: 1 to 200 printable characters; without a query or a point it is the query.
        earlier: (H, W) bool, image frame: a mask that the points correct; copied. With it nothing is grounded.

    Raises:
        QueryError: a hint is malformed. Whether it fits the image is checked when there is one.
    """

    box: Box | None = None
    points: tuple[PointHint, ...] = ()
    phrase: str | None = None
    earlier: Mask | None = None

    def __post_init__(self) -> None:
        if self.box is not None and not isinstance(self.box, Box):
            try:
                object.__setattr__(self, "box", Box(*self.box))
            except (TypeError, ValueError) as error:
                raise QueryError(
                    f"hint box {self.box!r} is not a box: {error}",
                    hint="give x1, y1, x2, y2 in whole pixels, x1 < x2, y1 < y2",
                ) from error
        points = tuple(_point(point) for point in self.points)
        object.__setattr__(self, "points", points)
        if self.phrase is not None:
            object.__setattr__(self, "phrase", clean_phrase(self.phrase, error=QueryError))
        if self.earlier is not None:
            object.__setattr__(self, "earlier", _mask(self.earlier))

    def __eq__(self, other: object) -> bool:
        return self._values() == other._values() if isinstance(other, Hints) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._values())

    def _values(self) -> tuple[object, ...]:
        mask = self.earlier
        return self.box, self.points, self.phrase, None if mask is None else (mask.shape, mask.tobytes())

    def named(self, target: Target) -> Target:
        """The target under the caller's phrase, where there is one."""
        return target if self.phrase is None else replace(target, phrase=self.phrase)

    def check(self, size: Size) -> None:
        """Refuse hints that do not lie on an image of `size` (h, w).

        Raises:
            QueryError: the box or a point lies outside, or the mask is of another size.
        """
        if self.earlier is not None and self.earlier.shape != size:
            raise QueryError(
                f"the earlier mask has {self.earlier.shape[1]} x {self.earlier.shape[0]} pixels, the image "
                f"{size[1]} x {size[0]}",
                hint="it has to be a mask of this image, (H, W) bool",
            )
        if self.box is not None and not whole(size).contains(self.box):
            raise QueryError(
                f"hint box {tuple(self.box)} reaches over the image of {size[1]} x {size[0]} pixels",
                hint="boxes are x1, y1, x2, y2 in pixels of the original image",
            )
        for point in self.points:
            if not (0 <= point.x < size[1] and 0 <= point.y < size[0]):
                raise QueryError(
                    f"hint point ({point.x}, {point.y}) is outside the image of {size[1]} x {size[0]} pixels"
                )


def _point(point: tuple[int, ...]) -> PointHint:
    x, y, positive = (*point, True)[:3] if 2 <= len(point) <= 3 else (None, None, None)
    if type(x) is not int or type(y) is not int or x < 0 or y < 0:
        raise QueryError(
            f"hint point {point!r} is not a point", hint="give (x, y) or (x, y, positive) in whole pixels"
        )
    return PointHint(x, y, bool(positive))


def _mask(mask: object) -> Mask:
    if not isinstance(mask, np.ndarray) or mask.ndim != 2 or mask.dtype != np.bool_ or not mask.size:
        raise QueryError(
            f"an earlier mask is an (H, W) bool array, got {type(mask).__name__}",
            hint="use Segmentation.mask, or mask > 0 of an array of numbers",
        )
    if mask.flags.owndata and not mask.flags.writeable:  # one that was kept before
        return mask
    kept = mask.copy()
    kept.flags.writeable = False
    return kept


def clean_phrase(phrase: str, *, error: type[QueryError | InvalidReply] = InvalidReply) -> str:
    """The phrase with single spaces: 1 to 200 printable characters.

    Raises:
        QueryError or InvalidReply, as `error` says: it is empty, too long or holds unprintable characters.
    """
    text = " ".join(phrase.split())
    if not 1 <= len(text) <= MAX_PHRASE or not _printable(text):
        raise error(f"phrase {phrase[:60]!r} must be 1 to {MAX_PHRASE} printable characters, it has {len(text)}")
    return text


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """One thing to segment: where it is, and what to call it.

    Attributes:
        box: absolute pixels of the original image, before refinement.
        phrase: a short noun phrase for the tools.
        confidence: 0..1, or None where the grounder supplies none; never invented.
        within: (h, w) bool in the frame of `box`: the result is limited to it. Classical grounder only.
    """

    box: Box
    phrase: str
    confidence: float | None = None
    within: Mask | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "phrase", clean_phrase(self.phrase))
        if self.confidence is not None and not 0 <= self.confidence <= 1:
            raise InvalidReply(f"confidence {self.confidence!r} is not between 0 and 1")
        if self.within is not None and (self.within.shape != self.box.size or self.within.dtype != np.bool_):
            raise InvalidReply(f"within has shape {self.within.shape}, its box {tuple(self.box)} has {self.box.size}")


@dataclass(frozen=True, slots=True, eq=False)
class GroundingReply:
    """What a grounder answers: found with targets, not_found without, ambiguous with or without.

    Attributes:
        notes: remarks for the person who asked, one sentence each.
    """

    status: Status
    targets: tuple[Target, ...] = ()
    reasoning: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.status == "found" and not self.targets) or (self.status == "not_found" and self.targets):
            raise InvalidReply(f"status {self.status} does not go with {len(self.targets)} targets")


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """One object of a target.

    Attributes:
        id: 1, 2, ... within its target.
        box: tight around the object, absolute pixels of the original image.
        pixels: bool in the frame of `box`; kept tight so that hundreds of instances stay small.
        score: the tool's own, 0..1, or None.
        roi: the target's region of interest.
    """

    id: int
    box: Box
    pixels: Mask
    score: float | None
    roi: Box

    @property
    def mask(self) -> Mask:
        """(h, w) bool in the frame of the RoI, assembled on demand."""
        return paste(self.pixels, self.box.relative_to(self.roi), self.roi.size)


class Similarity(NamedTuple):
    """What a raw similarity grid amounts to: whether a phrase is present shows in its raw values only."""

    low: float
    high: float
    mean: float


class Areas(NamedTuple):
    """Pixel counts inside one RoI: of each route, and of the result."""

    points: int
    text: int
    mask: int


@dataclass(frozen=True, slots=True, eq=False)
class TargetMask:
    """The answer for one target.

    Attributes:
        target: what the grounder asked for.
        roi: the refined box, absolute pixels.
        mask: (h, w) bool, RoI frame.
        instances: the objects in it, by their own order.
        areas: pixel counts behind the rule.
        rule: which line of Eq. 7 gave the mask.
        score: product of what the routes in use report, or None where a tool reports none.
        keypoints: what route A started from, without the caller's points.
        similarity: summary of the raw grid, or None where route A was left out.
        notes: remarks of the tools.
    """

    target: Target
    roi: Box
    mask: Mask
    instances: tuple[Instance, ...]
    areas: Areas
    rule: Rule
    score: float | None
    keypoints: Keypoints
    similarity: Similarity | None
    notes: tuple[str, ...] = field(default=())

    @property
    def box(self) -> Box:
        """The target's box before refinement, absolute pixels."""
        return self.target.box

    @property
    def phrase(self) -> str:
        """What the target was called."""
        return self.target.phrase
