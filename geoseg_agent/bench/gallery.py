"""Which pairs of a run are looked at, and what there is to see of them: the best, the worst, those without an answer.

The prediction is taken from the trace of the pair, `traces/ID.json` in the folder of the run, or from the folder of
masks that was scored. Where neither is known only the answer is drawn, as an outline, and the page says so.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import numpy as np

from geoseg_agent.bench.gallery_pictures import Frame, frame, layer
from geoseg_agent.bench.metrics import count
from geoseg_agent.bench.opened import Answered, scored_mask
from geoseg_agent.bench.outcome import mask_of
from geoseg_agent.errors import DatasetError, GeoSegError
from geoseg_agent.imagery import read_whole
from geoseg_agent.trace.ids import is_id
from geoseg_agent.trace.pictures import fit, photo
from geoseg_agent.trace.store import load
from geoseg_tools.geometry import whole

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from geoseg_agent.bench.pairs import Pair
    from geoseg_agent.bench.plan import Plan
    from geoseg_agent.bench.records import PairResult
    from geoseg_agent.imagery import Image
    from geoseg_agent.trace.model import Trace
    from geoseg_tools.arrays import Mask, Size

T = TypeVar("T")

EACH: Final = 8
"""Pairs of each kind."""

SIDE: Final = 360
"""Longest side of a picture."""

PICTURE_BYTES: Final = 60_000
"""About the largest picture, as a data address; it is stored at a lower quality where it would be larger."""


class Shelf(NamedTuple):
    """The pairs that are looked at, by kind; none stands there twice."""

    best: list[PairResult]
    worst: list[PairResult]
    silent: list[PairResult]


class Case(NamedTuple):
    """One pair in the gallery.

    Attributes:
        result: what came of it.
        size: (h, w) of the picture.
        photo: the image as a data address, or None where it cannot be read.
        colours: the layer over it, or None where the answer cannot be read.
        known: whether the prediction is in the colours; else they are the answer's outline alone.
        frame: where to look, or None.
        rules: how often each line of Eq. 7 gave a mask, for people.
        notes: what is missing or does not fit, one sentence each.
    """

    result: PairResult
    size: Size
    photo: str | None
    colours: str | None
    known: bool
    frame: Frame | None
    rules: str
    notes: list[str]


def choose(results: Sequence[PairResult], each: int = EACH) -> Shelf:
    """The best and worst by IoU of those with a mask, and those without one, `each` at the most.

    Of equal IoU the larger target comes first, then the id decides. Where there are fewer than twice `each`, the
    better half is best.
    """
    ranked = sorted(
        (one for one in results if one.answered),
        key=lambda one: (-one.scores.iou, -one.truth_area / (one.size[0] * one.size[1]), one.id),
    )
    best = ranked[: min(each, -(-len(ranked) // 2))]
    rest = sorted(
        ranked[len(best) :], key=lambda one: (one.scores.iou, -one.truth_area / (one.size[0] * one.size[1]), one.id)
    )
    silent = sorted((one for one in results if not one.answered), key=lambda one: (one.status != "failed", one.id))
    return Shelf(best, rest[:each], silent[:each])


def cases(
    chosen: Sequence[PairResult],
    pairs: Mapping[str, Pair],
    folder: Path,
    plan: Plan | None,
    told: Callable[[], None],
) -> list[Case]:
    """What there is to see of `chosen`; whatever cannot be read is said instead of shown.

    Args:
        chosen: in the order of the page.
        pairs: by id.
        folder: of the run.
        plan: of the run, or None: then its masks are those of its traces, and bands the images' own.
        told: called after each.
    """
    made = []
    for result in chosen:
        made.append(_case(result, pairs.get(result.id), folder, plan))
        told()
    return made


def _case(result: PairResult, pair: Pair | None, folder: Path, plan: Plan | None) -> Case:
    size, notes = fit(result.size, SIDE), list[str]()
    case = Case(result, size, None, None, known=False, frame=None, rules=_rules(result), notes=notes)
    if pair is None:
        notes.append("The pair is no longer in the data set, so there is nothing to draw.")
        return case
    trace = _read(notes, "The trace cannot be read", lambda: _trace(result, folder))
    image = _read(notes, "The picture cannot be read", lambda: _image(pair, trace, plan, result.size))
    if image is not None:
        if trace is not None and trace.image.sha256 != image.sha256:
            notes.append("The picture is no longer the one that was asked about.")
        case = case._replace(photo=photo(image, whole(image.size), SIDE, PICTURE_BYTES))
    truth = _read(notes, "The answer cannot be read", lambda: _truth(pair, result.size))
    if truth is None:
        return case
    prediction = _read(notes, "The mask cannot be read", lambda: _prediction(Answered(pair, result), trace, plan))
    if prediction is not None and count(prediction, truth) != result.counts:
        notes.append("The masks are no longer those that were scored.")
    seen = truth if prediction is None else truth | prediction
    return case._replace(
        colours=layer(truth, prediction, size), known=prediction is not None, frame=frame(seen, size)
    )


def _read(notes: list[str], trouble: str, reader: Callable[[], T]) -> T | None:
    try:
        return reader()
    except GeoSegError as error:
        notes.append(f"{trouble}: {error.message}.")
        return None


def _trace(result: PairResult, folder: Path) -> Trace | None:
    if result.trace is None or not is_id(result.trace):
        return None
    return load(folder / "traces" / f"{result.trace}.json")


def _image(pair: Pair, trace: Trace | None, plan: Plan | None, size: Size) -> Image:
    bands = trace.image.bands if trace is not None else plan and plan.settings.get("bands")
    image = read_whole(pair.image, bands=tuple(bands) if bands else None)
    if image.size != size:
        raise DatasetError(f"it has {image.size[1]} x {image.size[0]} pixels, and had {size[1]} x {size[0]}")
    return image


def _truth(pair: Pair, size: Size) -> Mask:
    truth = pair.truth.read()
    if truth.shape != size:
        raise DatasetError(f"it has {truth.shape[1]} x {truth.shape[0]} pixels, and had {size[1]} x {size[0]}")
    return truth


def _prediction(one: Answered, trace: Trace | None, plan: Plan | None) -> Mask | None:
    """The mask that was scored; an empty one where there was none, None where it is not known."""
    result = one.result
    if not result.prediction_area:
        return np.zeros(result.size, dtype=np.bool_)
    if trace is None:
        return None if plan is None or plan.masks is None else scored_mask(plan, one).read()
    mask = mask_of(trace)
    if mask.shape != result.size:
        raise DatasetError(f"its image has {mask.shape[1]} x {mask.shape[0]} pixels")
    return mask


def _rules(result: PairResult) -> str:
    return ", ".join(f"{rule} x {n}" if n > 1 else rule for rule, n in Counter(result.rules).items())
