"""Replay with live tools: what the trace's model said, what today's tools make of it, and how far that is apart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from geoseg_agent.agent import Agent
from geoseg_agent.errors import QueryError, TraceCorrupt, TraceError
from geoseg_agent.imagery import as_image
from geoseg_agent.lanes import Lane
from geoseg_agent.trace import codec
from geoseg_agent.trace.model import Trace
from geoseg_agent.trace.rle import decode_mask
from geoseg_agent.trace.store import load
from geoseg_agent.trace.tape import LiveTape, recorded_settings
from geoseg_agent.trace.tape_chat import replayed_grounder
from geoseg_tools.geometry import Box

if TYPE_CHECKING:
    import os

    from geoseg_agent.imagery import Image
    from geoseg_agent.seams import Toolbox
    from geoseg_agent.segmentation import Segmentation
    from geoseg_agent.settings import Settings
    from geoseg_tools.arrays import Mask


class LiveReplay(NamedTuple):
    """A recorded query with the tools of today.

    Attributes:
        trace: the trace.
        answer: what the tools make of the recorded grounding now.
        ious: per target, intersection over union of the recorded mask and today's; 1.0 where both are empty.
    """

    trace: Trace
    answer: Segmentation
    ious: tuple[float, ...]


async def replay_live(
    source: Trace | str | os.PathLike[str],
    image: Image | str | os.PathLike[str],
    *,
    toolbox: Toolbox | None = None,
) -> LiveReplay:
    """Take the grounding from the trace, run the tools on `image`, and compare the masks.

    Args:
        source: a trace with a result.
        image: the picture that the trace is of.
        toolbox: the tools; those that the trace's settings name where None.

    Raises:
        TraceError: the trace has no result, or is of another picture.
        GeoSegError: what the image or the tools raise.
    """
    trace = source if isinstance(source, Trace) else load(Path(source))
    if trace.result is None:
        raise TraceError(f"the trace {trace.id} is {trace.status} and has no masks to compare with")
    settings = recorded_settings(trace)
    try:
        hints = codec.decode_hints(trace.hints)
        masks = [(decode_mask(target.mask), Box(*target.roi)) for target in trace.result.targets]
    except (ValueError, QueryError) as error:
        raise TraceCorrupt(f"hints or masks: {error}") from error
    grounder = replayed_grounder(LiveTape(trace), trace, settings)
    async with Agent(settings, grounder=grounder, toolbox=toolbox) as agent:
        picture = await _read(image, settings, codec.pixel_limit(trace.image, settings.max_pixels))
        if picture.sha256 != trace.image.sha256:
            raise TraceError(
                f"{picture.name} is not the picture of the trace: its sha256 is {picture.sha256}, "
                f"the trace says {trace.image.sha256}",
                hint=f"it was {trace.image.path or trace.image.name}",
            )
        answer = await agent.segment(picture, trace.query or None, hints=hints)
    pairs = zip(masks, answer.targets, strict=True)
    return LiveReplay(trace, answer, tuple(iou(*recorded, now.mask, now.roi) for recorded, now in pairs))


async def _read(image: Image | str | os.PathLike[str], settings: Settings, limit: int) -> Image:
    lane = Lane("read")
    try:
        bands = settings.bands if isinstance(image, str | Path) else None
        return await lane.run(as_image, image, bands=bands, max_pixels=limit)
    finally:
        lane.close()


def iou(mask: Mask, roi: Box, other: Mask, other_roi: Box) -> float:
    """Intersection over union of two masks, each in the frame of its RoI; 1.0 where both are empty."""
    shared = 0
    common = roi.intersection(other_roi)
    if common is not None:
        both = mask[common.relative_to(roi).slices] & other[common.relative_to(other_roi).slices]
        shared = int(np.count_nonzero(both))
    union = int(np.count_nonzero(mask)) + int(np.count_nonzero(other)) - shared
    return shared / union if union else 1.0
