"""From values to records of a trace and back, each exactly.

Decoding checks what a file may get wrong and raises ValueError with the reason; the caller knows the place.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import numpy as np

from geoseg_agent import errors
from geoseg_agent.errors import GeoSegError
from geoseg_agent.georeference import Georeference
from geoseg_agent.imagery import Image
from geoseg_agent.trace.model import (
    AreasRecord,
    CropInput,
    ErrorRecord,
    FailureRecord,
    GroundInput,
    HeatRecord,
    HintPoint,
    HintsRecord,
    ImageRecord,
    InstanceRecord,
    KeypointsRecord,
    MasksRecord,
    PhraseInput,
    PointsInput,
    ReplyRecord,
    Result,
    SimilarityRecord,
    StabilityInput,
    StabilityRecord,
    TargetRecord,
    TargetResult,
)
from geoseg_agent.trace.rle import MAX_AREA, decode_mask, encode_mask, encode_part
from geoseg_agent.types import GroundingReply, Hints, PointHint, Query, Target
from geoseg_tools.errors import ToolError
from geoseg_tools.geometry import Box
from geoseg_tools.masks import Masks, tight

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from numpy.typing import NDArray

    from geoseg_agent.segmentation import Segmentation
    from geoseg_agent.types import Instance, TargetMask
    from geoseg_tools.arrays import Heat, Mask, Points
    from geoseg_tools.crop import Crop
    from geoseg_tools.keypoints import Keypoints

CANCELLED = "cancelled"
INTERRUPTED = "interrupted"
INTERNAL = "internal"


def encode_masks(masks: Masks) -> MasksRecord:
    """The masks of a route, with scores and notes."""
    return MasksRecord(
        size=[int(side) for side in masks.size],
        masks=[encode_part(part, masks.size) for part in masks.parts],
        areas=[int(np.count_nonzero(part.pixels)) for part in masks.parts],
        scores=None if masks.scores is None else [float(score) for score in masks.scores],
        notes=list(masks.notes),
    )


def decode_masks(record: MasksRecord) -> Masks:
    """As it was.

    Raises:
        ValueError: a mask is malformed or differs in size, or there are not as many scores as masks.
    """
    if any(rle.size != record.size for rle in record.masks):
        raise ValueError(f"a mask differs in size from {record.size}")
    if record.scores is not None and len(record.scores) != len(record.masks):
        raise ValueError(f"there are {len(record.scores)} scores for {len(record.masks)} masks")
    height, width = record.size
    if min(height, width) < 1 or height * width > MAX_AREA:
        raise ValueError(f"masks cannot have {width} x {height} pixels")
    parts = tuple(tight(decode_mask(rle)) for rle in record.masks)
    areas = [int(np.count_nonzero(part.pixels)) for part in parts]
    if areas != record.areas:
        raise ValueError(f"the masks have {areas} pixels, not {record.areas}")
    scores = None if record.scores is None else np.array(record.scores, dtype=np.float64)
    try:
        return Masks((height, width), parts, scores, tuple(record.notes))
    except ToolError as error:
        raise ValueError(str(error)) from error


def encode_heat(heat: Heat) -> HeatRecord:
    """The grid, losslessly."""
    rows = np.ascontiguousarray(heat, dtype="<f4")
    return HeatRecord(
        shape=[int(side) for side in heat.shape],
        float32=[base64.b64encode(row.tobytes()).decode("ascii") for row in rows],
    )


def decode_heat(record: HeatRecord) -> Heat:
    """(gh, gw) float32, as it was.

    Raises:
        ValueError: the data is not base64 of as many finite numbers as the shape says.
    """
    try:
        rows = [base64.b64decode(row, validate=True) for row in record.float32]
    except ValueError as error:
        raise ValueError(f"the grid is not base64: {error}") from error
    height, width = record.shape
    if min(height, width) < 1 or [len(row) for row in rows] != [4 * width] * min(height, len(rows) + 1):
        raise ValueError(f"the data is not that of a grid of {height} x {width} cells")
    heat = np.frombuffer(b"".join(rows), dtype="<f4").astype(np.float32).reshape(height, width)
    if not np.isfinite(heat).all():
        raise ValueError("the grid holds NaN or infinity")
    if encode_heat(heat) != record:
        raise ValueError("the base64 of the grid is not in its one proper form")
    return heat


def encode_reply(reply: GroundingReply) -> ReplyRecord:
    """The grounder's answer."""
    return ReplyRecord(
        status=reply.status,
        targets=[
            TargetRecord(
                box=list(target.box),
                phrase=target.phrase,
                confidence=_number(target.confidence),
                within=None if target.within is None else encode_mask(target.within),
            )
            for target in reply.targets
        ],
        reasoning=reply.reasoning,
        notes=list(dict.fromkeys(reply.notes)),  # an answer says no note twice
    )


def decode_reply(record: ReplyRecord) -> GroundingReply:
    """As it was.

    Raises:
        ValueError: a box or mask is malformed.
        InvalidReply: the parts do not fit together.
    """
    if len(set(record.notes)) != len(record.notes):
        raise ValueError("a note stands there twice")
    targets = tuple(
        Target(Box(*t.box), t.phrase, t.confidence, None if t.within is None else decode_mask(t.within))
        for t in record.targets
    )
    return GroundingReply(record.status, targets, record.reasoning, tuple(record.notes))


def ground_input(image: Image, query: Query) -> GroundInput:
    """What identifies a call of a grounder."""
    return GroundInput(image=image.sha256, size=list(image.size), query=query.text)


def crop_input(crop: Crop) -> CropInput:
    """What identifies a crop."""
    return CropInput(**_crop(crop))


def phrase_input(crop: Crop, phrase: str) -> PhraseInput:
    """What identifies a call with a phrase."""
    return PhraseInput(**_crop(crop), phrase=phrase)


def points_input(crop: Crop, points: Points, positive: NDArray[np.bool_], earlier: Mask | None = None) -> PointsInput:
    """What identifies a call with points."""
    return PointsInput(
        **_crop(crop),
        points=points.tolist(),
        positive=positive.tolist(),
        earlier=None if earlier is None else encode_mask(earlier),
    )


def stability_input(image: Image, runs: int) -> StabilityInput:
    """What identifies a look at changed copies."""
    return StabilityInput(image=image.sha256, size=list(image.size), runs=runs)


def encode_agreements(agreements: tuple[float, ...]) -> StabilityRecord:
    """The overlaps, in the order of the copies."""
    return StabilityRecord(agreements=list(agreements))


def decode_agreements(record: StabilityRecord, runs: int) -> tuple[float, ...]:
    """As they were.

    Raises:
        ValueError: there is not one for each of `runs` copies.
    """
    if len(record.agreements) != runs:
        raise ValueError(f"there are {len(record.agreements)} overlaps for {runs} copies")
    return tuple(record.agreements)


def _crop(crop: Crop) -> dict[str, Any]:
    return {
        "image": crop.digest,
        "size": list(crop.scene.size),
        "roi": list(crop.roi),
        "box": list(crop.box),
    }


def encode_image(image: Image) -> ImageRecord:
    """Everything about the picture but its pixels."""
    place = image.georeference
    return ImageRecord(
        name=image.name,
        path=image.path,
        width=image.size[1],
        height=image.size[0],
        sha256=image.sha256,
        file_sha256=image.file_sha256,
        crs=None if place is None else place.crs,
        transform=None if place is None else [float(value) for value in place.transform],
        bands=list(image.bands),
        stretch=None if image.stretch is None else [[float(low), float(high)] for low, high in image.stretch],
        opened=True if image.opened else None,
    )


def decode_image(record: ImageRecord) -> Image:
    """The picture without pixels.

    Raises:
        ValueError: one half of the georeference is missing.
    """
    place = None
    if (record.crs is None) != (record.transform is None):
        raise ValueError("crs and transform go together")
    if record.crs is not None and record.transform is not None:
        a, b, c, d, e, f = record.transform
        place = Georeference(record.crs, (a, b, c, d, e, f))
    return Image.replayed(
        (record.height, record.width),
        record.sha256,
        name=record.name,
        path=record.path,
        file_sha256=record.file_sha256,
        georeference=place,
        bands=tuple(record.bands),
        stretch=None if record.stretch is None else tuple((low, high) for low, high in record.stretch),
        opened=bool(record.opened),
    )


def pixel_limit(record: ImageRecord, limit: int) -> int:
    """The `max_pixels` with which the picture's file is opened where it was opened then, and read where it was read.

    Args:
        record: the picture as the trace has it.
        limit: what holds where another picture is given.
    """
    pixels = record.width * record.height
    return min(limit, pixels - 1) if record.opened else max(limit, pixels)


def encode_hints(hints: Hints) -> HintsRecord:
    """What the caller knew."""
    return HintsRecord(
        box=None if hints.box is None else list(hints.box),
        points=[HintPoint(x=point.x, y=point.y, positive=point.positive) for point in hints.points],
        phrase=hints.phrase,
        earlier=None if hints.earlier is None else encode_mask(hints.earlier),
    )


def decode_hints(record: HintsRecord) -> Hints:
    """As it was.

    Raises:
        QueryError: a hint is malformed.
        ValueError: the earlier mask is.
    """
    return Hints(
        box=None if record.box is None else Box(*record.box),
        points=tuple(PointHint(point.x, point.y, point.positive) for point in record.points),
        phrase=record.phrase,
        earlier=None if record.earlier is None else decode_mask(record.earlier),
    )


def encode_error(error: BaseException) -> ErrorRecord:
    """The error as programs and people need it, without its traceback."""
    if isinstance(error, GeoSegError):
        return ErrorRecord(type=type(error).__name__, code=error.code, message=error.message, hint=error.hint)
    if isinstance(error, Exception):
        return ErrorRecord(type=type(error).__name__, code=INTERNAL, message=str(error), hint=None)
    return cancelled_step()


def cancelled_step() -> ErrorRecord:
    """What a call that was cancelled is recorded as, whatever cancelled it."""
    return ErrorRecord(type="CancelledError", code=CANCELLED, message="the call was cancelled", hint=None)


def interruption(code: str, trace_id: str) -> FailureRecord:
    """What ended a query that was cancelled, or whose process ended first."""
    kind, message = {
        CANCELLED: ("CancelledError", "the query was cancelled, or ran out of time"),
        INTERRUPTED: ("Interrupted", "the process ended before the query did"),
    }[code]
    return FailureRecord(type=kind, code=code, message=message, hint=None, trace_id=trace_id)


def encode_failure(error: BaseException, trace_id: str) -> FailureRecord:
    """What ended a query."""
    record = encode_error(error)
    if record.code == CANCELLED:
        return interruption(CANCELLED, trace_id)
    return FailureRecord(**record.model_dump(), trace_id=trace_id)


def decode_error(record: ErrorRecord) -> GeoSegError:
    """An error of the same class, code, message and hint.

    Raises:
        ValueError: there is no such class, or it has another code.
    """
    found = getattr(errors, record.type, None)
    if not (isinstance(found, type) and issubclass(found, GeoSegError)):
        raise ValueError(f"{record.type[:80]!r} is no error of this package")  # noqa: TRY004 - a name, not a value
    if found.code != record.code:
        raise ValueError(f"{record.type} has the code {found.code!r}, not {record.code[:80]!r}")
    return found(record.message, hint=record.hint)


def encode_result(answer: Segmentation, method: Mapping[str, Any], trace_id: str) -> Result:
    """The answer, its masks in the frames of their regions."""
    return Result(
        trace_id=trace_id,
        query=answer.query,
        status=answer.status,
        confidence=_number(answer.confidence),
        engine=answer.engine,
        reasoning=answer.reasoning,
        notes=list(answer.notes),
        method=dict(method),
        targets=[_target(target) for target in answer.targets],
    )


def _target(found: TargetMask) -> TargetResult:
    return TargetResult(
        box=list(found.box),
        roi=list(found.roi),
        phrase=found.phrase,
        confidence=_number(found.target.confidence),
        within=None if found.target.within is None else encode_mask(found.target.within),
        rule=found.rule,
        score=_number(found.score),
        areas=AreasRecord(**found.areas._asdict()),
        similarity=None if found.similarity is None else SimilarityRecord(**found.similarity._asdict()),
        keypoints=_keypoints(found.keypoints),
        mask=encode_mask(found.mask),
        instances=[_instance(instance) for instance in found.instances],
        notes=list(found.notes),
    )


def _keypoints(keypoints: Keypoints) -> KeypointsRecord:
    return KeypointsRecord(
        points=keypoints.points.tolist(),
        scores=keypoints.scores.tolist(),
        cells=keypoints.cells.tolist(),
        raw=keypoints.raw.tolist(),
    )


def _instance(instance: Instance) -> InstanceRecord:
    return InstanceRecord(
        id=instance.id, box=list(instance.box), score=_number(instance.score), mask=encode_mask(instance.pixels)
    )


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)
