"""A box that was said and the box that is true: the pair that everything here is computed from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from geoseg_agent.calibrate.readings import ORIGINAL, READINGS, box_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from geoseg_agent.grounding.chat import Frame
    from geoseg_tools.arrays import Size
    from geoseg_tools.geometry import Box

Numbers = tuple[float, float, float, float]

LARGEST: Final = 1e9
"""Beyond this, what was said is no coordinate in any frame."""


def reading_name(frame: Frame | None) -> str:
    """The name in `READINGS` of the frame that numbers were read in; None is pixels of the original image."""
    return ORIGINAL if frame is None else str(frame)


@dataclass(frozen=True, slots=True)
class BoxPair:
    """One box said, and the true box it answers.

    Attributes:
        predicted: the box said as it was read, absolute pixels of the original image; None where the reading made no
            box of the numbers (the reply was refused), which is evidence on the frame, and nothing to widen.
        true: absolute pixels of the original image, inside it.
        size: (H, W) of the original image.
        sent: (h, w) of the picture sent, or None where nothing was resized.
        raw: the numbers as the model said them; None where only `predicted` is known, which then stands for them.
        read: the frame that `raw` was read in; None is pixels of the original image.
        image: which image, so that intervals are resampled by image.
        model: who said it.
    """

    predicted: Box | None
    true: Box
    size: Size
    sent: Size | None = None
    raw: Numbers | None = None
    read: Frame | None = None
    image: str = ""
    model: str = ""

    def __post_init__(self) -> None:
        if self.predicted is None and self.raw is None:
            raise ValueError("a pair has a predicted box, or the raw numbers of one")

    @property
    def numbers(self) -> Numbers:
        """What was said: the raw numbers, or the predicted box where they are not known."""
        if self.raw is not None:
            return self.raw
        assert self.predicted is not None  # noqa: S101 - for the type checker; __post_init__ has looked
        x1, y1, x2, y2 = self.predicted
        return float(x1), float(y1), float(x2), float(y2)

    @property
    def reading(self) -> str:
        """The recorded reading, one of `READINGS`."""
        return ORIGINAL if self.raw is None else reading_name(self.read)


@dataclass(frozen=True, slots=True)
class Said:
    """All boxes of one reply, and all true boxes of its query; `geoseg_agent.calibrate.matching` pairs them.

    Attributes:
        numbers: one entry per box, as the model said it.
        predicted: what the recorded reading made of each; None for all where the reply was refused.
        true: what was asked for, absolute pixels of the original image.
        size, sent, read, image, model: as of `BoxPair`.
    """

    numbers: tuple[Numbers, ...]
    predicted: tuple[Box | None, ...]
    true: tuple[Box, ...]
    size: Size
    sent: Size | None = None
    read: Frame | None = None
    image: str = ""
    model: str = ""

    @property
    def refused(self) -> bool:
        """Whether the agent did not work with this reply."""
        return bool(self.predicted) and all(box is None for box in self.predicted)

    def pair(self, said: int, true: int) -> BoxPair:
        """The pair of one box said and one true box, by their places."""
        return BoxPair(
            predicted=self.predicted[said],
            true=self.true[true],
            size=self.size,
            sent=self.sent,
            raw=self.numbers[said],
            read=self.read,
            image=self.image,
            model=self.model,
        )


def reread(said: Iterable[Said], reading: str) -> list[Said]:
    """The replies as they would have been read in another frame; nothing is asked again.

    Boxes that reach over the picture are clamped, and a refused reply gets its boxes back where they now are some.

    Args:
        said: replies.
        reading: one of `READINGS`. "original" forgets what was sent: the numbers stand for pixels of the image.
    """
    kept_sent = not reading.startswith(ORIGINAL)
    return [
        replace(
            one,
            predicted=tuple(box_of(numbers, reading, one.size, one.sent) for numbers in one.numbers),
            read=None if reading == ORIGINAL else READINGS[reading],
            sent=one.sent if kept_sent else None,
        )
        for one in said
    ]
