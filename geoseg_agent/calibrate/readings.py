"""The ways to read four numbers: those of `geoseg_agent.grounding.chat.FRAMES`, and pixels of the original image.

"pixels" are those of the picture that was sent, as everywhere in geoseg-agent. "original" are pixels of the image
before any resizing: what a pipeline reads that takes numbers as they come. Where nothing was resized they are one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from geoseg_agent.grounding.chat import FRAMES, Fit, Frame, SentImage, Terms
from geoseg_agent.grounding.frames import OutOfFrame, locate, to_original
from geoseg_tools.geometry import whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from geoseg_tools.arrays import Size
    from geoseg_tools.geometry import Box

ORIGINAL: Final = "original"
_PIXELS: Final = Frame("pixels")

READINGS: Final[Mapping[str, Frame]] = {
    ORIGINAL: _PIXELS,
    f"{ORIGINAL}-yxyx": Frame("pixels", "yxyx"),
    **FRAMES,
}
"""Name to frame; the two that begin with "original" are pixels of a picture that was not resized."""


def picture_of(reading: str, size: Size, sent: Size | None) -> SentImage:
    """The picture that numbers of this reading speak of: the one sent, or the original."""
    shown = size if sent is None or reading.startswith(ORIGINAL) else sent
    return SentImage(shown, whole(size), "", "", None)


def read(numbers: Sequence[float], reading: str, size: Size, sent: Size | None) -> tuple[float, float, float, float]:
    """x1, y1, x2, y2 in pixels of the original image, neither clamped nor rounded nor put in order.

    Args:
        numbers: four numbers as the model said them.
        reading: one of `READINGS`.
        size: (H, W) of the original image.
        sent: (h, w) of the picture sent, or None where nothing was resized.
    """
    return to_original(numbers, READINGS[reading], picture_of(reading, size, sent))


def box_of(numbers: Sequence[float], reading: str, size: Size, sent: Size | None) -> Box | None:
    """The box that the agent would work with under this reading: clamped, in whole pixels; None where there is none.

    Arguments as of `read`.
    """
    frame = READINGS[reading]
    terms = Terms("", "", (), False, "", frame, frame, "clamp", 1, Fit(1, 1, 1))
    try:
        return locate(numbers, terms, picture_of(reading, size, sent)).box
    except OutOfFrame:
        return None


def step_of(reading: str, size: Size, sent: Size | None) -> tuple[float, float]:
    """Pixels of the original per smallest difference that the reading's numbers show, along x and y.

    Whole numbers for pixels and 0..1000; 0..1 is taken for no finer than three decimals, as models write it.
    """
    if READINGS[reading].space == "pixels":
        shown = picture_of(reading, size, sent).size
        return size[1] / shown[1], size[0] / shown[0]
    return size[1] / 1000, size[0] / 1000
