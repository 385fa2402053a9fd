"""Records of boxes as pairs of a benchmark: the class is the question, the boxes are the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from geoseg_agent.bench.datasets.collection import Broken, Dataset, Record
from geoseg_agent.bench.pairs import Pair

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geoseg_agent.bench.datasets.box_records import BoxRecord
    from geoseg_agent.bench.datasets.collection import Found
    from geoseg_tools.arrays import Mask, Size
    from geoseg_tools.geometry import Box


def question_of(class_name: str) -> str:
    """What a model is asked for the objects of a class; what joins words in its name is a blank."""
    name = " ".join(class_name.replace("_", " ").replace("-", " ").split())
    return f"Find every object of the class {name or class_name}."


@dataclass(frozen=True, slots=True)
class Filled:
    """Boxes as a mask; a `Truth`.

    Attributes:
        size: (H, W) of the image.
        boxes: absolute pixels, inside it.
    """

    size: Size
    boxes: tuple[Box, ...]

    def read(self) -> Mask:
        """(H, W) bool, the frame of the image: every pixel that is in a box."""
        mask = np.zeros(self.size, dtype=np.bool_)
        for box in self.boxes:
            mask[box.slices] = True
        return mask


def pair_of(record: BoxRecord) -> Pair:
    """The record as a pair."""
    return Pair(
        id=record.id,
        image=record.image,
        query=question_of(record.class_name),
        truth=Filled(record.size, record.boxes),
        size=record.size,
        source=record.source,
        phrase=record.class_name,
        boxes=record.boxes,
    )


def as_pairs(dataset: Dataset[BoxRecord]) -> Dataset[Pair]:
    """The data set with its records as pairs; `geoseg_agent.calibrate.from_traces.truths_of` takes it."""

    def records() -> Iterator[Found[Pair]]:
        for found in dataset.source():
            yield found if isinstance(found, Broken) else Record(found.where, pair_of(found.item))

    return Dataset(dataset.kind, dataset.root, records, dataset.count)
