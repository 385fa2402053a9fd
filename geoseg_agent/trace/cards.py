"""One target of a trace, as a card shows it: what each route saw, and why the answer is what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from geoseg_agent.method import VARIANTS, Plan
from geoseg_agent.trace.codec import decode_heat
from geoseg_agent.trace.model import GroundStep, PointsStep, SimilarityStep, TextStep, ToolStep
from geoseg_agent.trace.numbering import step_numbers
from geoseg_agent.trace.pictures import heat_png, mask_png, united
from geoseg_tools.geometry import Box, whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geoseg_agent.trace.model import ErrorRecord, HintPoint, TargetResult, Trace
    from geoseg_agent.trace.pictures import Colour
    from geoseg_tools.arrays import Heat

    Hinted = Sequence[HintPoint]

State = Literal["valid", "invalid", "missing"]
Kind = Literal["key", "plus", "minus"]

_LEFT_OUT = "The variant of the method leaves this route out."
_NO_WORDS = "The caller pointed: there were no words for this route."

MOST_INSTANCES = 6
"""Rows of the table of objects."""


class Place(NamedTuple):
    """Where a target is.

    Attributes:
        number: in the answer, from 1.
        step: its number in the steps.
        roi: None where the query ended before there was one.
    """

    number: int
    phrase: str
    box: Box
    roi: Box | None
    step: int


class Rectangle(NamedTuple):
    """Left, top, width and height."""

    x: float
    y: float
    width: float
    height: float


class Mark(NamedTuple):
    """A point on the crop, in its frame: a keypoint of rank 1, 2, ... with its cell of the grid, or the caller's."""

    kind: Kind
    x: float
    y: float
    rank: int
    title: str
    cell: Rectangle | None


class HeatPanel(NamedTuple):
    """The raw similarity grid: data address, rows, columns, lowest, highest and mean value."""

    picture: str
    size: tuple[int, int]
    low: float
    high: float
    mean: float


class Route(NamedTuple):
    """One mask of the target.

    Attributes:
        mask: data address, stretched over the RoI; None where there is none.
        area: pixels, or None where it did not run.
        share: of the RoI.
        state: whether it counts (Eq. 6).
        words: what happened, for people.
    """

    mask: str | None
    area: int | None
    share: float
    state: State
    words: str


class Row(NamedTuple):
    """One object."""

    id: int
    box: list[int]
    area: int
    score: float | None


class Card(NamedTuple):
    """Everything the page shows of one target.

    Attributes:
        crop: data address of the image in the RoI, or None for a blank canvas.
        unit: pixels of the crop that look like one pixel of the page.
        result: what the trace records, or None where the query ended before.
        gamma: share of the RoI from which a mask counts, or None where the method does not say.
        rule: why the answer is what it is, for people.
    """

    place: Place
    roi: Box
    crop: str | None
    unit: float
    result: TargetResult | None
    gamma: float | None
    heat: HeatPanel | None
    marks: list[Mark]
    by_points: Route
    by_text: Route
    fused: Route
    rule: str
    objects: list[Row]
    errors: list[tuple[str, ErrorRecord]]


class _Key(NamedTuple):
    """A keypoint, RoI frame; cell is [row, column] on the grid."""

    x: int
    y: int
    cell: list[int] | None
    more: str


def places(trace: Trace) -> list[Place]:
    """Every target of the query, also of one that failed on the way.

    Raises:
        ValueError: a box or RoI is malformed or lies outside the image.
    """
    found: dict[int, tuple[str, list[int], list[int] | None]] = {}
    for step in trace.steps:
        if isinstance(step, GroundStep):
            targets = () if step.output is None else step.output.targets
            found |= {number: (target.phrase, target.box, None) for number, target in enumerate(targets, start=1)}
        elif isinstance(step, ToolStep) and step.target is not None:
            known = found.get(step.target, (trace.hints.phrase or trace.title, [], None))[0]
            found[step.target] = (getattr(step.input, "phrase", known), step.input.box, step.input.roi)
    if trace.result is not None:
        found = {n: (target.phrase, target.box, target.roi) for n, target in enumerate(trace.result.targets, start=1)}
    elif not found and trace.hints.box is not None:
        found = {1: (trace.hints.phrase or trace.title, trace.hints.box, None)}
    size = (trace.image.height, trace.image.width)
    steps = dict(enumerate(step_numbers(trace), start=1))
    return [
        Place(
            number, phrase, _inside(box, size), None if roi is None else _inside(roi, size), steps.get(number, number)
        )
        for number, (phrase, box, roi) in sorted(found.items())
    ]


def _inside(box: Sequence[int], size: tuple[int, int]) -> Box:
    placed = Box(*box)
    if not whole(size).contains(placed):
        raise ValueError(f"box {list(box)} reaches over the image of {size[1]} x {size[0]} pixels")
    return placed


def card_of(trace: Trace, place: Place, roi: Box, crop: str | None, side: int, colour: Colour) -> Card:
    """The card of one target; its masks are drawn with `side` pixels on their longest side.

    Raises:
        ValueError: a grid, mask or list of points is malformed.
    """
    steps = [step for step in trace.steps if step.target == place.step]
    result = None if trace.result is None else trace.result.targets[place.number - 1]
    gamma = trace.method.get("gamma")
    gamma = 0.0 if trace.clicked else float(gamma) if isinstance(gamma, int | float) else None
    heat = next((decode_heat(s.output) for s in steps if isinstance(s, SimilarityStep) and s.output), None)
    asked = [step for step in steps if isinstance(step, PointsStep)]
    named = [step for step in steps if isinstance(step, TextStep)]
    areas = None if result is None else result.areas
    by_points = _route(asked, None if areas is None else areas.points, roi, gamma, (side, colour))
    by_text = _route(named, None if areas is None else areas.text, roi, gamma, (side, colour))
    plan = next((plan for name, plan in VARIANTS.items() if name == trace.method.get("variant")), Plan())
    if not plan.points:
        by_points = by_points._replace(words=_LEFT_OUT)
    if not plan.text or trace.clicked:
        by_text = by_text._replace(words=_NO_WORDS if trace.clicked else _LEFT_OUT)
    if not asked and heat is not None:
        by_points = by_points._replace(words="No keypoint, so the route did not run and counts as invalid (Eq. 6).")
    return Card(
        place=place,
        roi=roi,
        crop=crop,
        unit=max(roi.width / 280, roi.height / 300),
        result=result,
        gamma=gamma,
        heat=None if heat is None else _heat_panel(heat),
        marks=_marks(result, asked, roi, None if heat is None else heat.shape, trace.hints.points),
        by_points=by_points,
        by_text=by_text,
        fused=_fused(result, roi, side, colour),
        rule=_rule(result, by_points, by_text, gamma),
        objects=[] if result is None else _objects(result),
        errors=[(step.seam, step.error) for step in steps if step.error is not None],
    )


def _heat_panel(heat: Heat) -> HeatPanel:
    mean = float(heat.mean(dtype="float64"))
    return HeatPanel(heat_png(heat), (heat.shape[0], heat.shape[1]), float(heat.min()), float(heat.max()), mean)


def _route(
    steps: Sequence[PointsStep | TextStep],
    area: int | None,
    roi: Box,
    gamma: float | None,
    look: tuple[int, Colour],
) -> Route:
    """What a route gave in one or several calls; `area` is the recorded one, in pixels of the RoI."""
    error = next((step.error for step in steps if step.error is not None), None)
    outputs = [step.output for step in steps if step.output is not None]
    if error is not None or not outputs:
        words = "It did not run." if error is None else f"Ended by an error: {error.message}"
        return Route(None, None if area is None else 0, 0.0, "missing", words)
    runs = united([mask for output in outputs for mask in output.masks], outputs[0].size)
    share = runs.area / (runs.size[0] * runs.size[1]) if area is None else area / roi.area
    pixels = round(share * roi.area)
    mask = mask_png(runs, look[0], look[1], spotlight=True)
    if not pixels:
        return Route(mask, 0, 0.0, "invalid", "Empty, so it does not count.")
    if gamma is None:
        return Route(mask, pixels, share, "valid", "The method does not say from which share a mask counts.")
    if not gamma:
        return Route(mask, pixels, share, "valid", "Valid: it is not empty.")
    if share >= gamma:
        return Route(
            mask, pixels, share, "valid", f"Valid: it covers at least {100 * gamma:.3g} % of the region (Eq. 6)."
        )
    return Route(
        mask, pixels, share, "invalid", f"Invalid: it covers less than {100 * gamma:.3g} % of the region (Eq. 6)."
    )


def _fused(result: TargetResult | None, roi: Box, side: int, colour: Colour) -> Route:
    if result is None:
        return Route(None, None, 0.0, "missing", "The query ended before the routes were fused.")
    runs = united([result.mask], roi.size)
    mask = mask_png(runs, side, colour, spotlight=True)
    state: State = "valid" if runs.area else "invalid"
    count = len(result.instances)
    words = f"The answer for this target, {count} object{'' if count == 1 else 's'}."
    return Route(mask, runs.area, runs.area / roi.area, state, words)


def _rule(result: TargetResult | None, a: Route, b: Route, gamma: float | None) -> str:
    """Eq. 7 in words."""
    if result is None:
        return "The query ended before the two routes could be fused."
    text = {
        "both": "Both routes are valid, so the answer is what they have in common: M = A ∩ B.",
        "points": f"Route A is valid and route B {_failing(b, gamma)}, so the answer is route A's: M = A.",
        "text": f"Route B is valid and route A {_failing(a, gamma)}, so the answer is route B's: M = B.",
        "none": f"Route A {_failing(a, gamma)} and route B {_failing(b, gamma)}, so the answer is empty: M = ∅.",
    }[result.rule]
    if result.within is not None:
        text += " The answer is then limited to the outline that the grounder gave."
    elif result.rule == "both" and not result.areas.mask:
        text += " They have no pixel in common, so the mask is empty."
    return text


def _failing(route: Route, gamma: float | None) -> str:
    if route.words in {_LEFT_OUT, _NO_WORDS}:
        return "was left out"
    if route.state == "missing":
        return "had no keypoint to start from"
    if not route.area or gamma is None:
        return "found nothing"
    return f"covers {100 * route.share:.2g} % of the region, less than gamma = {100 * gamma:.3g} %"


def _objects(result: TargetResult) -> list[Row]:
    rows = [Row(one.id, one.box, united([one.mask], one.mask.size).area, one.score) for one in result.instances]
    return sorted(rows, key=lambda row: (-row.area, row.id))[:MOST_INSTANCES]


def _marks(
    result: TargetResult | None, asked: Sequence[PointsStep], roi: Box, grid: tuple[int, ...] | None, hints: Hinted
) -> list[Mark]:
    """Keypoints by rank, then the caller's points in the region."""
    inside = {(p.x - roi.x1, p.y - roi.y1): p.positive for p in hints}
    if result is not None:
        keys = result.keypoints
        columns = zip(keys.points, keys.cells, keys.scores, keys.raw, strict=True)
        found = [_Key(x, y, cell, f": similarity {score:.3f}, raw {raw:.4g}") for (x, y), cell, score, raw in columns]
    else:
        given = dict.fromkeys((x, y) for step in asked for x, y in step.input.points)
        found = [_Key(x, y, None, "") for x, y in given if (x, y) not in inside]
    marks = [
        Mark("key", key.x + 0.5, key.y + 0.5, rank, f"keypoint {rank}{key.more}", _cell(key, roi, grid))
        for rank, key in enumerate(found, start=1)
    ]
    for (x, y), positive in inside.items():
        if 0 <= x < roi.width and 0 <= y < roi.height:
            kind: Kind = "plus" if positive else "minus"
            marks.append(Mark(kind, x + 0.5, y + 0.5, 0, "a point of the caller", None))
    return marks


def _cell(key: _Key, roi: Box, grid: tuple[int, ...] | None) -> Rectangle | None:
    """The cell that a keypoint stands for, or where that is not recorded the one it stands in, RoI frame."""
    if grid is None:
        return None
    row, column = key.cell or (key.y * grid[0] // roi.height, key.x * grid[1] // roi.width)
    wide, high = roi.width / grid[1], roi.height / grid[0]
    return Rectangle(column * wide, row * high, wide, high)
