"""The one place where numbers of a model become pixels, and back.

A model speaks of the picture it was sent (`SentImage`): that picture shows a window of the original image, scaled
along each side. `Frame` says in which unit and order the numbers are; nothing here guesses either.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

from geoseg_tools.geometry import Box

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geoseg_agent.grounding.chat import Frame, SentImage, Terms

TOLERATED: Final = 0.02
"""Share of the side that a box may reach over the picture under "tolerate"."""

SMALLEST: Final = 2.0
"""Shortest side of a box, in pixels of the picture sent."""

_NOISE: Final = 1e-6
"""Pixels by which floating point may miss a whole number."""

_UNIT_DECIMALS: Final = 4
_NAMES: Final = {"xyxy": ("x1", "y1", "x2", "y2"), "yxyx": ("y1", "x1", "y2", "x2")}


class OutOfFrame(ValueError):
    """The numbers are no box in their frame; the message states value and rule, and can be shown to the model."""


class Located(NamedTuple):
    """A box that a model named.

    Attributes:
        box: absolute pixels of the original image, inside the window that was sent.
        repairs: what had to be put right, one remark each.
    """

    box: Box
    repairs: tuple[str, ...]


def to_original(numbers: Sequence[float], frame: Frame, sent: SentImage) -> tuple[float, float, float, float]:
    """Four numbers of a model as x1, y1, x2, y2 in absolute pixels of the original image.

    Neither clamped, rounded nor put in order: what is outside or inverted stays so.

    Args:
        numbers: four finite numbers in `frame`.
        frame: their unit and order.
        sent: the picture they speak of.
    """
    (width, height), window = _ends(frame, sent), sent.window
    x1, y1, x2, y2 = _reordered(numbers, frame)
    return (
        window.x1 + x1 * window.width / width,
        window.y1 + y1 * window.height / height,
        window.x1 + x2 * window.width / width,
        window.y1 + y2 * window.height / height,
    )


def to_model(box: Box, frame: Frame, sent: SentImage) -> tuple[float, float, float, float]:
    """What a perfect model says of `box` (absolute pixels of the original image), to the nearest it can say.

    Whole numbers for "norm1000" and "pixels", four decimals for "unit".
    """
    (width, height), window = _ends(frame, sent), sent.window
    exact = (
        (box.x1 - window.x1) * width / window.width,
        (box.y1 - window.y1) * height / window.height,
        (box.x2 - window.x1) * width / window.width,
        (box.y2 - window.y1) * height / window.height,
    )
    decimals = _UNIT_DECIMALS if frame.space == "unit" else None
    x1, y1, x2, y2 = (round(value, decimals) for value in exact)
    return (x1, y1, x2, y2) if frame.order == "xyxy" else (y1, x1, y2, x2)


def locate(numbers: Sequence[float], terms: Terms, sent: SentImage) -> Located:
    """The box that four numbers of a model mean, under the terms it was asked on.

    In this order: finite, put in order, read in `terms.read`, corners swapped where inverted, what reaches over the
    picture clamped or refused as `terms.outside` says, at least 2 px of the picture sent on each side, rounded to
    whole pixels of the original image.

    Rounding is outward, except that a number within half of what the frame can tell apart (1/1000 of the side, or a
    pixel of the picture sent) of a whole pixel means that pixel, at most half a pixel away. A box on whole pixels so
    comes back exactly where that step is under a pixel of the original, and otherwise with an error of at most half
    a step and half a pixel.

    Args:
        numbers: four numbers as the model gave them.
        terms: `read` and `outside` count.
        sent: the picture the model saw.

    Raises:
        OutOfFrame: the numbers are no box under these rules.
    """
    frame = terms.read
    given = dict(zip(_NAMES[frame.order], _finite(numbers, frame), strict=True))
    limits = _ends(frame, sent)
    repairs: list[str] = []
    sides = []
    for axis, limit in zip("xy", limits, strict=True):
        low, high = f"{axis}1", f"{axis}2"
        ends = [_inside(name, given[name], limit, terms, repairs) for name in (low, high)]
        if given[low] > given[high]:
            repairs.append(f"{low} was right of or below {high}; swapped")
            ends.reverse()
        sides.append((ends[0], ends[1]))
    (x1, x2), (y1, y2) = sides
    _check_sides((x1, y1, x2, y2), given, frame, sent)
    ordered = (x1, y1, x2, y2) if frame.order == "xyxy" else (y1, x1, y2, x2)
    return Located(_rounded(to_original(ordered, frame, sent), frame, sent), tuple(repairs))


def _ends(frame: Frame, sent: SentImage) -> tuple[float, float]:
    """Where the picture ends in the frame's units, along x and y."""
    if frame.space == "norm1000":
        return 1000, 1000
    return (1, 1) if frame.space == "unit" else (sent.size[1], sent.size[0])


def _reordered(numbers: Sequence[float], frame: Frame) -> tuple[float, float, float, float]:
    a, b, c, d = numbers
    return (a, b, c, d) if frame.order == "xyxy" else (b, a, d, c)


def _finite(numbers: Sequence[float], frame: Frame) -> list[float]:
    names = _NAMES[frame.order]
    if len(numbers) != 4:
        raise OutOfFrame(f"a box is four numbers, {', '.join(names)}; this one has {len(numbers)}")
    for name, number in zip(names, numbers, strict=True):
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise OutOfFrame(f"{name} is not a number")
        if not _is_finite(number):
            raise OutOfFrame(f"{name} is not a finite number")
    return list(numbers)


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # a whole number can be too large for a float
        return False


def _inside(name: str, value: float, limit: float, terms: Terms, repairs: list[str]) -> float:
    """`value` clamped to 0..limit; the repair is noted.

    Raises:
        OutOfFrame: it is farther outside than tolerated.
    """
    if 0 <= value <= limit:
        return value
    over = value > limit
    share = (value - limit if over else -value) / limit
    if terms.outside == "tolerate" and share > TOLERATED + _NOISE:
        where = f"ends at {limit:g}" if over else "starts at 0"
        percent = f"{100 * share:{'.1f' if share < 10 else '.3g'}} %"
        how_far = f"{percent} {'over' if over else 'under'}, {100 * TOLERATED:g} % are allowed"
        raise OutOfFrame(f"{name} is {value:.6g}, the frame {terms.read} {where}: {how_far}")
    clamped = limit if over else 0
    repairs.append(f"{name} clamped from {value:.6g} to {clamped:g}")
    return clamped


def _check_sides(
    inside: tuple[float, float, float, float], given: dict[str, float], frame: Frame, sent: SentImage
) -> None:
    """Refuse what clamping left nothing of, and what is too small to be meant."""
    x1, y1, x2, y2 = inside
    for axis, side, limit, pixels in (
        ("x", x2 - x1, _ends(frame, sent)[0], sent.size[1]),
        ("y", y2 - y1, _ends(frame, sent)[1], sent.size[0]),
    ):
        low, high = f"{axis}1", f"{axis}2"
        numbers = f"{low} is {given[low]:.6g} and {high} is {given[high]:.6g}"
        if side <= 0 and given[low] != given[high]:
            raise OutOfFrame(f"{numbers}, but the frame {frame} runs from 0 to {limit:g}: the box lies outside")
        length = side * pixels / limit
        if length < SMALLEST - _NOISE:
            raise OutOfFrame(
                f"{numbers}: {length:.2g} px of the picture, at least {SMALLEST:g} are needed; "
                f"the frame {frame} runs from 0 to {limit:g}"
            )


def _rounded(exact: tuple[float, float, float, float], frame: Frame, sent: SentImage) -> Box:
    """`exact` (absolute pixels, inside the window) as a `Box`, by the rule of `locate`."""
    x1, y1, x2, y2 = exact
    left, right = _whole(x1, x2, _slack(sent.window.width, sent.size[1], frame))
    top, bottom = _whole(y1, y2, _slack(sent.window.height, sent.size[0], frame))
    return Box(left, top, right, bottom)


def _slack(side: int, pixels: int, frame: Frame) -> float:
    """Half of what the frame can tell apart along a `side` of the original, in its pixels: under one half.

    A fraction is taken for no finer than 0..1000: three decimals are what models write.
    """
    step = side / (pixels if frame.space == "pixels" else 1000)
    # A tie goes outward.
    return min(step / 2 + _NOISE, 0.5 - _NOISE)


def _whole(low: float, high: float, slack: float) -> tuple[int, int]:
    first, last = math.floor(low + slack), math.ceil(high - slack)
    if first < last:
        return first, last
    # A box that is thinner than a pixel of an enlarged original still has one.
    return math.floor(low), math.ceil(high)
