"""The answer to one query."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from geoseg_agent.types import Hints

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from geoseg_agent.export import Files
    from geoseg_agent.imagery import Image
    from geoseg_agent.types import Status, TargetMask
    from geoseg_tools.arrays import Mask


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What the image holds of what the query asks for.

    Attributes:
        image: the image asked about.
        query: the question, as it was understood (stripped); empty where the caller only pointed.
        status: found, not_found or ambiguous. An empty mask with status found is possible: the two routes of a
            target may both be valid and not overlap; a note says so.
        targets: one entry per thing found, masks in the frame of their RoI.
        confidence: 0..1, or None where the grounder supplies none.
        engine: what produced the result, for example "offline-baseline".
        reasoning: the grounder's own words.
        notes: remarks for the person who asked, one sentence each.
        trace_id: identifies the query in logs and traces.
        trace_path: the trace file, or None where traces are off or could not be saved.
        hints: what the caller gave, with what an earlier answer was given.
    """

    image: Image
    query: str
    status: Status
    targets: tuple[TargetMask, ...]
    confidence: float | None
    engine: str
    reasoning: str
    notes: tuple[str, ...]
    trace_id: str
    trace_path: Path | None = None
    hints: Hints = field(default_factory=Hints)

    @property
    def clicked(self) -> bool:
        """Whether points said it all: without words, or on top of an earlier mask."""
        return not self.query or self.hints.earlier is not None

    @cached_property
    def mask(self) -> Mask:
        """(H, W) bool, image frame: the union of the targets' masks, assembled on first use."""
        canvas = np.zeros(self.image.size, dtype=np.bool_)
        for target in self.targets:
            canvas[target.roi.slices] |= target.mask
        return canvas

    def save(
        self,
        folder: str | os.PathLike[str],
        *,
        formats: Iterable[str] | None = None,
        simplify: float | None = None,
    ) -> Files:
        """Write mask and overlay, and for georeferenced images GeoTIFF and vectors, into `folder`.

        Args:
            folder: made where it is missing; files of an earlier answer in it are replaced.
            formats: of the vectors: geojson, gpkg, fgb, geoparquet; the first two where None, none of an empty list.
            simplify: how far outlines may stray from the pixels' edges, in units of the image's CRS.

        Returns:
            Name to path of each file written.

        Raises:
            InputError: the folder cannot be written, a format is unknown, or `simplify` is no length.
            MissingExtra: geoparquet needs `pip install 'geoseg-agent[geoparquet]'`.
        """
        from geoseg_agent.export import save  # noqa: PLC0415 - keeps OpenCV and rasterio out of the import

        return save(self, Path(folder), formats=formats, simplify=simplify)

    def _repr_png_(self) -> bytes:
        from geoseg_agent.export import overlay_png  # noqa: PLC0415 - as above

        return overlay_png(self)
