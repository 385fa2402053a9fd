"""Boundary F: how well the outline of one mask follows that of another, within a stated tolerance.

    dB(M)  the boundary of M: its pixels that have a 4-neighbour inside the image which is not in M
    P = |{p in dB(A) : dist(p, dB(G)) <= t}| / |dB(A)|        A the prediction, G the truth
    R = |{g in dB(G) : dist(g, dB(A)) <= t}| / |dB(G)|        dist Euclidean, between pixel centres
    F = 2 P R / (P + R)

Several pixels of one outline may match the same pixel of the other, as in Csurka et al., "What is a good evaluation
measure for semantic segmentation?" (BMVC 2013), in MATLAB's `bfscore` and in the scripts of DAVIS (Perazzi et al.,
CVPR 2016). The Berkeley benchmark (Martin et al., PAMI 2004) matches one to one and is stricter by a little.

**Tolerance.** Two conventions are in use, and GeoSeg (arXiv 2603.03983) prints "BF" without saying which, nor how
large, nor what a boundary pixel is. So both are computed, under names that say so:

    boundary_pixels     t = 3 px, whatever the image's size
    boundary_diagonal   t = 0.0075 sqrt(H^2 + W^2), not rounded: the share of the Berkeley benchmark (`maxDist`) and
                        of `bfscore`. DAVIS takes 0.008 and rounds up. At 810 x 810 it is 8.6 px, at 283 x 283 3.0 px

The same shift, by 2 px in a small frame and by 5 px in a large one, through both (g truth, p prediction, # both):

    . . . . . . . . . . . . . .      8 x 14, a square of 4 x 4
    . . . . . . . . . . . . . .
    . . . g g # # p p . . . . .      boundary_pixels    t = 3.00 px   F = 1
    . . . g g # # p p . . . . .      boundary_diagonal  t = 0.12 px   F = 1/3: 4 of 12 pixels lie exactly on the other
    . . . g g # # p p . . . . .
    . . . g g # # p p . . . . .      800 x 800, a square of 60 x 60, 5 px off
    . . . . . . . . . . . . . .      boundary_pixels    t = 3.00 px   F = 0.517
    . . . . . . . . . . . . . .      boundary_diagonal  t = 8.49 px   F = 1

**The image's border is no boundary.** Where a target runs out of the frame the cut is the camera's, not the target's;
counted, it would match for every mask that reaches the frame. DAVIS and the Berkeley benchmark leave it out too;
Boundary IoU (Cheng et al., CVPR 2021) counts it.

    . . . . .      . . . . .       # # # . .      o o b . .      b in dB
    . # # # .      . b b b .       # # # . .      o # b . .      o on the image's border only, not in dB
    . # # # .  ->  . b # b .       # # # . .  ->  o # b . .
    . # # # .      . b b b .       # # # . .      o # b . .
    . . . . .      . . . . .       # # # . .      o o b . .

**Without a boundary** (a mask that is empty or fills the image has none) a share is 0 / 0; F is then 1 where the two
masks are equal, and 0 where they are not. DAVIS gives the same two values.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from geoseg_agent.bench.ratios import harmonic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from geoseg_tools.arrays import Mask, Size

PIXELS: Final = 3.0
"""Tolerance of `boundary_pixels`, in pixels."""

DIAGONAL: Final = 0.0075
"""Tolerance of `boundary_diagonal`, as a share of the image's diagonal."""


def tolerances(size: Size) -> tuple[float, float]:
    """The two tolerances in pixels for an image of `size` (H, W): fixed, and by its diagonal."""
    return PIXELS, DIAGONAL * math.hypot(*size)


def boundary(mask: Mask) -> Mask:
    """The pixels of the mask that have a 4-neighbour inside the image which is not in it.

    Args:
        mask: (H, W) bool.
    """
    inside = mask.copy()
    inside[1:] &= mask[:-1]
    inside[:-1] &= mask[1:]
    inside[:, 1:] &= mask[:, :-1]
    inside[:, :-1] &= mask[:, 1:]
    return mask & ~inside


def boundary_f(prediction: Mask, truth: Mask, within: Sequence[float]) -> list[float]:
    """Boundary F for each of the tolerances `within`, in pixels.

    Args:
        prediction: (H, W) bool.
        truth: (H, W) bool, the same frame.
        within: each >= 0.
    """
    ours, theirs = boundary(prediction), boundary(truth)
    n_ours, n_theirs = int(np.count_nonzero(ours)), int(np.count_nonzero(theirs))
    if not n_ours or not n_theirs:
        return [float(np.array_equal(prediction, truth))] * len(within)
    window = _around(ours | theirs)
    ours, theirs = np.ascontiguousarray(ours[window]), np.ascontiguousarray(theirs[window])
    return [
        harmonic(
            int(np.count_nonzero(ours & near(theirs, tolerance))) / n_ours,
            int(np.count_nonzero(theirs & near(ours, tolerance))) / n_theirs,
        )
        for tolerance in within
    ]


def near(pixels: Mask, tolerance: float) -> Mask:
    """The pixels whose distance to the nearest of `pixels` is at most `tolerance`.

    The same as an exact Euclidean distance transform compared with the tolerance, but in whole numbers and several
    times faster where the tolerance is small: the disk is put together from one run of pixels per row.

    Args:
        pixels: (H, W) bool, contiguous.
        tolerance: >= 0, in pixels.
    """
    # At 400 x 400 the diagonal's tolerance is the root of 18, whose square comes out as 17.999999999999996.
    square = math.floor(tolerance * tolerance + 1e-9)
    reached = np.zeros(pixels.shape, dtype=np.uint8)
    for down in range(min(math.isqrt(square), pixels.shape[0] - 1) + 1):
        half = min(math.isqrt(square - down * down), pixels.shape[1])
        row: NDArray[np.uint8] = cv2.dilate(pixels.view(np.uint8), np.ones((1, 2 * half + 1), np.uint8)).astype(
            np.uint8
        )
        reached[down:] |= row[: len(row) - down]
        reached[: len(row) - down] |= row[down:]
    return reached.view(np.bool_)


def _around(pixels: Mask) -> tuple[slice, slice]:
    """The smallest window that holds every pixel of a mask that is not empty."""
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
