"""A pair of a benchmark: an image, a question to it, and the mask that answers it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from geoseg_tools.arrays import Mask, Size
    from geoseg_tools.geometry import Box


class Truth(Protocol):
    """Where the answer of a pair is; read when it is needed, and never kept."""

    def read(self) -> Mask:
        """(H, W) bool, the frame of the image.

        Raises:
            DatasetError: it is not there, cannot be read, or is no mask.
        """
        ...


@dataclass(frozen=True, slots=True)
class Pair:
    """One image-query pair.

    Attributes:
        id: unique in its data set; letters, digits, and `-_.` only, so that it can name a file.
        image: the picture.
        query: what is asked.
        truth: the answer.
        size: (H, W) of the image where the data set declares it.
        level: difficulty as the data set calls it: "1", "2", "3", or None.
        domain: such as urban or nature, or None.
        source: which collection the image comes from, or None.
        phrase: a noun phrase of the data set for the target, or None.
        boxes: of the target, absolute pixels; empty where the data set has none.
    """

    id: str
    image: Path
    query: str
    truth: Truth
    size: Size | None = None
    level: str | None = None
    domain: str | None = None
    source: str | None = None
    phrase: str | None = None
    boxes: tuple[Box, ...] = ()
