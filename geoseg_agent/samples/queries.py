"""Questions whose answers follow from what was drawn: attributes, relations and superlatives, and uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import cv2
import numpy as np

from geoseg_agent.samples.relations import ENDS, Seen
from geoseg_agent.samples.values import SampleQuery
from geoseg_tools.geometry import Box

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from geoseg_agent.samples.values import Domain, Level, MaskKind, SampleInstance
    from geoseg_tools.arrays import Mask

MAX_BOXES: Final = 40
SMALLEST_ANSWER: Final = 60
"""Pixels: what is seen of only as a sliver is not asked for."""


class _Question(NamedTuple):
    """A question, and the class (or the word) that answers it."""

    level: Level
    id: str
    text: str
    phrase: str
    domain: Domain
    key: str


_CLASSES: Final = (
    _Question(1, "water", "Segment all water.", "water", "nature", "water"),
    _Question(1, "fields", "Segment the fields.", "field", "rural", "field"),
    _Question(1, "roads", "Show me the roads.", "road", "traffic", "road"),
    _Question(1, "buildings", "Segment all buildings.", "building", "urban", "building"),
    _Question(1, "trees", "Find the trees.", "tree", "nature", "tree"),
    _Question(1, "car-park", "Segment the car park.", "car park", "traffic", "car park"),
    _Question(1, "aircraft", "Segment the white aircraft.", "white aircraft", "traffic", "aircraft"),
    _Question(1, "runway", "Segment the runway.", "runway", "traffic", "runway"),
    _Question(3, "ducks", "Where could ducks swim?", "water", "nature", "water"),
    _Question(3, "plough", "Where does the farmer plough?", "field", "rural", "field"),
    _Question(3, "shade", "Where would a walker find shade on a hot day?", "tree", "nature", "tree"),
    _Question(3, "solar", "What could carry solar panels above people's heads?", "building", "urban", "building"),
    _Question(3, "parking", "Where can visitors leave their cars?", "car park", "traffic", "car park"),
    _Question(3, "touch-down", "Where would a plane touch down?", "runway", "traffic", "runway"),
)
_ROOFS: Final = (
    _Question(1, "red-roofs", "Segment the buildings with red roofs.", "building with red roof", "urban", "red"),
    _Question(1, "flat-roofs", "Segment the buildings with flat roofs.", "building with flat roof", "urban", "flat"),
)
_STANDS: Final = (
    _Question(
        2, "on-apron", "Segment the aircraft on the apron.", "aircraft on the apron", "traffic", "on the apron"
    ),
    _Question(
        2,
        "on-runway",
        "Segment the aircraft on the runway.",
        "aircraft on the runway",
        "traffic",
        "on the runway",
    ),
)


def ask(masks: Mapping[str, Mask], instances: Sequence[SampleInstance], metres: float) -> tuple[SampleQuery, ...]:
    """All questions that have a clear answer, by level.

    Args:
        masks: (H, W) bool per class present.
        instances: the objects seen.
        metres: side of a pixel.
    """
    rows, cols = next(iter(masks.values())).shape
    seen = Seen(instances, (rows, cols), metres)
    asked = [*_by_class(masks), *_by_attribute(seen), *_by_superlative(seen), *_by_water(seen)]
    return tuple(sorted(asked, key=lambda query: query.level))


def tight_boxes(mask: Mask) -> tuple[Box, ...]:
    """One box per 8-connected part, left to right; one around everything where there are over `MAX_BOXES` parts."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    boxes = sorted(Box(int(x), int(y), int(x + w), int(y + h)) for x, y, w, h, _ in stats[1:])
    if len(boxes) <= MAX_BOXES:
        return tuple(boxes)
    ends = np.array([tuple(box) for box in boxes])
    low, high = ends.min(axis=0), ends.max(axis=0)
    return (Box(int(low[0]), int(low[1]), int(high[2]), int(high[3])),)


def _answer(question: _Question, mask: Mask | None, kind: MaskKind) -> Iterator[SampleQuery]:
    """The question with its answer, or nothing where there is too little to see."""
    if mask is None or np.count_nonzero(mask) < SMALLEST_ANSWER:
        return
    mask.flags.writeable = False
    yield SampleQuery(
        id=question.id,
        level=question.level,
        text=question.text,
        phrase=question.phrase,
        mask=mask,
        boxes=tight_boxes(mask),
        domain=question.domain,
        mask_kind=kind,
    )


def _by_class(masks: Mapping[str, Mask]) -> Iterator[SampleQuery]:
    for question in _CLASSES:
        yield from _answer(question, masks.get(question.key), "class")


def _by_attribute(seen: Seen) -> Iterator[SampleQuery]:
    for question in _ROOFS:
        yield from _answer(question, seen.which("building", question.key), "component")
    for question in _STANDS:
        yield from _answer(question, seen.which("aircraft", question.key), "component")


def _by_superlative(seen: Seen) -> Iterator[SampleQuery]:
    domains: tuple[tuple[str, Domain], ...] = (("field", "rural"), ("building", "urban"))
    for concept, domain in domains:
        phrase = f"largest {concept}"
        question = _Question(2, f"largest-{concept}", f"Segment the {phrase}.", phrase, domain, concept)
        yield from _answer(question, seen.largest(concept), "component")
    for end in ENDS:
        phrase = f"{end} building"
        question = _Question(2, f"{end}-building", f"Segment the {phrase}.", phrase, "urban", "building")
        answered = list(_answer(question, seen.outermost("building", end), "component"))
        yield from answered
        if answered:  # one side is enough; the others would ask the same again
            break


def _by_water(seen: Seen) -> Iterator[SampleQuery]:
    """The water by the name of what it is, and what stands near it."""
    for name in ("lake", "river", "pond"):
        water = seen.which("water", name)
        if water is None:
            continue
        yield from _answer(_Question(1, name, f"Segment the {name}.", name, "nature", name), water, "component")
        phrase = f"building closest to the {name}"
        question = _Question(2, f"closest-to-{name}", f"Segment the {phrase}.", phrase, "urban", "building")
        yield from _answer(question, seen.closest("building", water), "component")
        phrase = f"buildings beside the {name}"
        question = _Question(2, f"beside-{name}", f"Segment the {phrase}.", phrase, "urban", "building")
        yield from _answer(question, seen.beside("building", water), "component")
