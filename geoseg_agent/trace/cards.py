"""One target of a trace, as a card shows it: what each route saw, and why the answer is what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from geoseg_agent.trace.codec import decode_heat
from geoseg_agent.trace.model import GroundStep, MasksRecord, PointsStep, SimilarityStep, TextStep
from geoseg_agent.trace.pictures import Runs, heat_png, mask_png, united
from geoseg_tools.geometry import Box, whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geoseg_agent.trace.model import ErrorRecord, Rle, Step, TargetResult, Trace
    from geoseg_agent.trace.pictures import Colour
    from geoseg_tools.arrays import Heat

State = Literal["valid", "invalid", "missing"]

MOST_INSTANCES = 6
"""Rows of the table of objects."""

_MOST_RANKS = 20  # more numbers than this would hide the grid they stand on


class Place(NamedTuple):
    """Where a target is; the RoI is None where the query ended before there was one."""

    number: int
    phrase: str
    box: Box
    roi: Box | None


class Mark(NamedTuple):
    """A point on the crop, in its frame, with the cell of the grid that it stands for."""

    kind: Literal["key", "plus", "minus"]
    x: float
    y: float
    rank: str
    title: str
    cell: tuple[float, float, float, float] | None


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
        elif step.target is not None:
            known = found.get(step.target, (trace.hints.phrase or trace.query, [], None))[0]
            found[step.target] = (getattr(step.input, "phrase", known), step.input.box, step.input.roi)
    if trace.result is not None:
        found = {n: (target.phrase, target.box, target.roi) for n, target in enumerate(trace.result.targets, start=1)}
    elif not found and trace.hints.box is not None:
        found = {1: (trace.hints.phrase or trace.query, trace.hints.box, None)}
    size = (trace.image.height, trace.image.width)
    return [
        Place(number, phrase, _inside(box, size), None if roi is None else _inside(roi, size))
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
    steps = [step for step in trace.steps if step.target == place.number]
    result = None if trace.result is None else trace.result.targets[place.number - 1]
    gamma = trace.method.get("gamma")
    gamma = float(gamma) if isinstance(gamma, int | float) else None
    heat = next((decode_heat(s.output) for s in steps if isinstance(s, SimilarityStep) and s.output), None)
    asked = [step for step in steps if isinstance(step, PointsStep)]
    named = [step for step in steps if isinstance(step, TextStep)]
    areas = None if result is None else result.areas
    by_points = _route(asked, None if areas is None else areas.points, roi, gamma, (side, colour))
    best = trace.method.get("text_mode") == "best"
    by_text = _route(named, None if areas is None else areas.text, roi, gamma, (side, colour), best=best)
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
        marks=_marks(result, asked, roi, None if heat is None else heat.shape, trace),
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
    *,
    best: bool = False,
) -> Route:
    """What a route gave in one or several calls; `area` is the recorded one, in pixels of the RoI."""
    failed: Step | None = next((step for step in steps if step.error is not None), None)
    outputs = [step.output for step in steps if step.output is not None]
    if failed is not None or not outputs:
        crashed = failed is not None and failed.error is not None
        words = f"Ended by an error: {failed.error.message}" if crashed else "It did not run."
        return Route(None, None if area is None else 0, 0.0, "missing", words)
    runs = _union(outputs, best=best)
    share = runs.area / (runs.size[0] * runs.size[1]) if area is None else area / roi.area
    pixels = round(share * roi.area)
    mask = mask_png(runs, look[0], look[1], spotlight=True)
    if not pixels:
        return Route(mask, 0, 0.0, "invalid", "Empty, so it does not count.")
    if gamma is None:
        return Route(mask, pixels, share, "valid", "The method does not say from which share a mask counts.")
    if share >= gamma:
        return Route(mask, pixels, share, "valid", f"Valid: covers at least {gamma:.3g} of the region (Eq. 6).")
    return Route(mask, pixels, share, "invalid", f"Invalid: covers less than {gamma:.3g} of the region (Eq. 6).")


def _union(outputs: Sequence[MasksRecord], *, best: bool) -> Runs:
    masks: list[Rle] = []
    for output in outputs:
        if best and output.scores and len(output.scores) == len(output.masks):
            masks.append(output.masks[output.scores.index(max(output.scores))])
        else:
            masks += output.masks
    return united(masks, outputs[0].size)


def _fused(result: TargetResult | None, roi: Box, side: int, colour: Colour) -> Route:
    if result is None:
        return Route(None, None, 0.0, "missing", "The query ended before the routes were fused.")
    runs = united([result.mask], roi.size)
    mask = mask_png(runs, side, colour, spotlight=True)
    state: State = "valid" if runs.area else "invalid"
    return Route(mask, runs.area, runs.area / roi.area, state, "")


def _rule(result: TargetResult | None, a: Route, b: Route, gamma: float | None) -> str:
    """Eq. 7 in words."""
    if result is None:
        return "The query ended before the two routes could be fused."
    why = f"the share γ = {gamma:.3g} of the region" if gamma else "a single pixel"
    text = {
        "both": "Both routes are valid, so the answer is what they have in common: M = A ∩ B.",
        "points": f"Route A is valid, route B {_failing(b)} does not cover {why}, so the answer is route A's: M = A.",
        "text": f"Route B is valid, route A {_failing(a)} does not cover {why}, so the answer is route B's: M = B.",
        "none": f"Neither route covers {why}, so the answer is empty: M = ∅.",
    }[result.rule]
    if result.within is not None:
        text += " The answer is then limited to the outline that the grounder gave."
    if result.rule == "both" and not result.areas.mask:
        text += " They have no pixel in common, so the mask is empty."
    return text


def _failing(route: Route) -> str:
    return "has no keypoint and" if route.state == "missing" else f"({100 * route.share:.2f} %)"


def _objects(result: TargetResult) -> list[Row]:
    rows = [Row(one.id, one.box, united([one.mask], one.mask.size).area, one.score) for one in result.instances]
    return sorted(rows, key=lambda row: (-row.area, row.id))[:MOST_INSTANCES]


def _marks(
    result: TargetResult | None,
    asked: Sequence[PointsStep],
    roi: Box,
    grid: tuple[int, ...] | None,
    trace: Trace,
) -> list[Mark]:
    """Keypoints by rank, then the caller's points in the region."""
    hints = {(p.x - roi.x1, p.y - roi.y1): p.positive for p in trace.hints.points}
    found = [
        Mark("plus" if good else "minus", x + 0.5, y + 0.5, "", "from the caller", None)
        for (x, y), good in hints.items()
        if 0 <= x < roi.width and 0 <= y < roi.height
    ]
    if result is not None:
        keys = result.keypoints
        named = [
            (x, y, f"φ {score:.3f}, raw {raw:.4f}")
            for (x, y), score, raw in zip(keys.points, keys.scores, keys.raw, strict=True)
        ]
    else:
        given = [tuple(point) for step in asked for point in step.input.points]
        named = [(x, y, "") for x, y in dict.fromkeys(given) if (x, y) not in hints]
    ranked = [
        Mark(
            "key",
            x + 0.5,
            y + 0.5,
            str(rank) if rank <= _MOST_RANKS else "",
            f"keypoint {rank}: x {x}, y {y} {more}",
            _cell(x, y, roi, grid),
        )
        for rank, (x, y, more) in enumerate(named, start=1)
    ]
    return [*ranked, *found]


def _cell(x: int, y: int, roi: Box, grid: tuple[int, ...] | None) -> tuple[float, float, float, float] | None:
    """x, y, width and height of the grid cell that a point stands in, RoI frame."""
    if grid is None:
        return None
    wide, high = roi.width / grid[1], roi.height / grid[0]
    return x * grid[1] // roi.width * wide, y * grid[0] // roi.height * high, wide, high
