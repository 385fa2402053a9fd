"""From answers about known boxes to what the numbers mean: the frame, and how far it is off.

Each answer is read in every frame there is. A frame is named by the answers that it fits far better than any other;
where none is fitted as it stands, by the smallest distance that a scale and shift of all answers leave (a server
that moves boxes). Scale and shift are those of Theil and Sen: a few wild answers do not move them.
"""

from __future__ import annotations

from collections import Counter
from statistics import median
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from geoseg_agent.grounding.chat import FRAMES, Frame, SentImage
from geoseg_agent.grounding.endpoint.verdicts import GOOD_SCALE, GOOD_SHIFT
from geoseg_agent.grounding.frames import to_original

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from geoseg_tools.geometry import Box

GOOD_IOU: Final = 0.8
"""Median intersection over union of a faithful endpoint."""

GOOD_SHARE: Final = 0.8
"""Of the boxes asked for must be answered."""

_NEAR = 0.05  # of the longer side of the picture sent: an answer farther off than this speaks no frame as it stands
_CLEARLY = 0.5  # times the distance of the next best frame
_SEVERAL = 0.15  # of the named answers make a frame one of a mixture
_MOST = 0.5  # of the answers name a frame, or the fit decides


class Answer(NamedTuple):
    """What came back for one known box.

    Attributes:
        truth: the box drawn, absolute pixels.
        sent: the picture asked about.
        numbers: the four numbers of the reply as the model said them, or None where there was no box.
    """

    truth: Box
    sent: SentImage
    numbers: tuple[float, float, float, float] | None


class Finding(NamedTuple):
    """What the answers amount to.

    Attributes:
        frame: the frame of the numbers, or None where they fit none, or mix several.
        mixed: the frames mixed, where they are several; their `str`.
        named: the frame of each answer, or None where it cannot be told.
        iou: median intersection over union of what was drawn and what came back, read in `frame`; 0 without one.
        scale, shift, residual: as in `geoseg_agent.grounding.chat.Verdict`.
        answered: answers with a box.
        asked: answers in all.
    """

    frame: Frame | None
    mixed: tuple[str, ...]
    named: tuple[Frame | None, ...]
    iou: float
    scale: tuple[float, float]
    shift: tuple[float, float]
    residual: float
    answered: int
    asked: int

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong, one sentence each; none for a faithful endpoint."""
        found = []
        if self.answered < GOOD_SHARE * self.asked:
            found.append(f"only {self.answered} of {self.asked} boxes were answered")
        if self.mixed:
            found.append(f"the replies mix frames: {' and '.join(self.mixed)}")
        elif self.frame is None:
            found.append("the numbers fit no known frame")
        else:
            (sx, sy), (tx, ty) = self.scale, self.shift
            if max(abs(sx - 1), abs(sy - 1)) > GOOD_SCALE:
                found.append(f"boxes are scaled by {sx:.3f} along x and {sy:.3f} along y")
            if max(abs(tx), abs(ty)) > GOOD_SHIFT:
                found.append(f"boxes are shifted by {tx:+.1f} px along x and {ty:+.1f} px along y")
            if self.iou < GOOD_IOU:
                found.append(f"the median IoU is {self.iou:.2f}, below {GOOD_IOU}")
        return tuple(found)


class _Fit(NamedTuple):
    scale: tuple[float, float]
    shift: tuple[float, float]
    residual: float


def examine(answers: Sequence[Answer]) -> Finding:
    """Name the frame of the answers, and fit scale and shift in it."""
    given = [answer for answer in answers if answer.numbers is not None]
    named = tuple(None if answer.numbers is None else _speaks(answer) for answer in answers)
    votes = Counter(frame for frame in named if frame is not None)
    several = [frame for frame, count in votes.most_common() if count >= max(2, _SEVERAL * votes.total())]
    counts = len(given), len(answers)
    nothing = ((1.0, 1.0), (0.0, 0.0), 0.0)
    if not given:
        return Finding(None, (), named, 0.0, *nothing, *counts)
    if len(several) > 1:
        return Finding(None, tuple(str(frame) for frame in several), named, 0.0, *nothing, *counts)
    if several and votes[several[0]] >= _MOST * len(given):
        frame, fit = several[0], _fit(given, several[0])
    else:
        fits = {candidate: _fit(given, candidate) for candidate in FRAMES.values()}
        likely = {known: fit for known, fit in fits.items() if all(0.5 <= scale <= 2 for scale in fit.scale)}
        if not likely:
            return Finding(None, (), named, 0.0, *nothing, *counts)
        frame, fit = min(likely.items(), key=lambda item: item[1].residual)
        if fit.residual > _NEAR * max(max(answer.sent.size) for answer in given):
            return Finding(None, (), named, 0.0, *nothing, *counts)
    iou = median(iou_of(answer, frame) for answer in given)
    return Finding(frame, (), named, iou, *fit, *counts)


def _speaks(answer: Answer) -> Frame | None:
    """The frame in which this one answer is right, or None where none is, or two are."""
    far = sorted((_distance(answer, frame), number) for number, frame in enumerate(FRAMES.values()))
    (best, which), (second, _) = far[0], far[1]
    if best > _NEAR * max(answer.sent.size) or best > _CLEARLY * second:
        return None
    return list(FRAMES.values())[which]


def _corners(answer: Answer, frame: Frame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(2, 2) true and answered x1 y1 / x2 y2, both in pixels of the picture sent."""
    window, (height, width) = answer.sent.window, answer.sent.size
    assert answer.numbers is not None  # noqa: S101 - for the type checker; callers have looked
    step = np.array([width / window.width, height / window.height])
    origin = np.array([window.x1, window.y1])
    true = (np.array(tuple(answer.truth), dtype=np.float64).reshape(2, 2) - origin) * step
    said = (np.array(to_original(answer.numbers, frame, answer.sent)).reshape(2, 2) - origin) * step
    return true, said


def _distance(answer: Answer, frame: Frame) -> float:
    true, said = _corners(answer, frame)
    return float(np.abs(said - true).max())


def _fit(answers: Sequence[Answer], frame: Frame) -> _Fit:
    from scipy.stats import theilslopes  # noqa: PLC0415 - a second to import, and only the doctor needs it

    pairs = [_corners(answer, frame) for answer in answers]
    true = np.concatenate([pair[0] for pair in pairs])
    said = np.concatenate([pair[1] for pair in pairs])
    scale, shift, left = [], [], []
    for axis in (0, 1):
        slope, offset, *_ = theilslopes(said[:, axis], true[:, axis])
        scale.append(float(slope))
        shift.append(float(offset))
        # In pixels of what was drawn: a frame that makes all numbers small must not look exact.
        left.append(np.abs(said[:, axis] - slope * true[:, axis] - offset) / max(abs(slope), 1e-9))
    return _Fit((scale[0], scale[1]), (shift[0], shift[1]), float(np.median(np.concatenate(left))))


def iou_of(answer: Answer, frame: Frame) -> float:
    """Intersection over union of the box drawn and the box said, both as they are, outside of the picture too."""
    true, said = _corners(answer, frame)
    common = np.clip(np.minimum(true[1], said[1]) - np.maximum(true[0], said[0]), 0, None).prod()
    areas = [float(np.clip(box[1] - box[0], 0, None).prod()) for box in (true, said)]
    return float(common / (sum(areas) - common)) if sum(areas) > common else 0.0
