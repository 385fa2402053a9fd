"""The frame test: in which reading are the numbers right, and is that the one they were read in?

A model that is right in another unit looks like a biased one: 0..1000 read as pixels of an 800 px image drifts right
and down. Margins would hide it and could not repair it (docs/coordinates.md), so it is looked for first.

Readings are EQUIVALENT where they differ by no more than a step of their numbers (a pixel, or a thousandth of the
side) on 95 % of the pairs: pixels of the picture sent are pixels of the image when nothing was resized, and 0..1000
are pixels where the sides are within 1 px of 1000. They are UNTOLD where they differ and these pairs do not say which
it is: odds under 1000 to 1, by a model of the noise that is only roughly right, so that the four sides of a box count
as two. 0..1000 and pixels of a side W are |W - 1000| / 2 px apart on average, so what n pairs can tell apart grows
with sqrt(n) and shrinks with the spread of the boxes; `FrameRow.apart` and `FrameTest.spread` are these two numbers.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from geoseg_agent.calibrate.matching import iou_matrix
from geoseg_agent.calibrate.mixture import evidence_of, fit, start_of
from geoseg_agent.calibrate.readings import step_of
from geoseg_agent.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from geoseg_agent.calibrate.mixture import Evidence, Mixture
    from geoseg_agent.calibrate.pairs import BoxPair

SAME_SHARE: Final = 0.95
"""Of the pairs on which equivalent readings are within a step of each other."""

ODDS: Final = 1000.0
"""Under which two readings are not told apart."""

INDEPENDENT: Final = 0.5
"""What the likelihood of four sides counts for: a box that drifts moves two of them alike, which are then one."""

LEAST_SHARE: Final = 0.05
"""Of the pairs whose frame is sure, what a frame of a mixture has at least; and half as much of all, and three.

Where two frames lie closer than the noise, a mixture of them fits any noise that is not Laplace's a little better;
but hardly a pair is then surely in the rarer one.
"""

SURE: Final = 0.99
"""Probability with which a pair is in a frame."""

EXPLAINED: Final = 0.5
"""Of the pairs that a frame must explain to be the frame."""

LEAST_PAIRS: Final = 5
MOST_PAIRS: Final = 4000
"""Pairs that are looked at; of more, as many evenly spread ones."""


class FrameRow(NamedTuple):
    """One reading.

    Attributes:
        name: of the reading.
        iou: median intersection over union with the truth.
        residual: median distance of a side from its place after the reading's own bias, as a share of the box's side
            and 1 % of the image's.
        behind: how much less likely it makes all numbers than the best, natural logarithm times `INDEPENDENT`; 0 for
            the best.
        share: of the pairs, in a mixture of all readings; equivalent ones have it together.
        apart: median distance from the best reading, pixels of the original.
    """

    name: str
    iou: float
    residual: float
    behind: float
    share: float
    apart: float


class FrameTest(NamedTuple):
    """What the numbers say of their frame.

    Attributes:
        rows: every reading, the likeliest first.
        best: the reading that explains the pairs, or None where none explains half of them.
        equivalent: the readings that are the same as `best` on these pairs, with it.
        untold: further readings that these pairs do not tell from `best`.
        mixed: the frames of a mixture, the most frequent first; empty where there is one frame.
        recorded: the readings that the pairs were recorded in, the most frequent first.
        bias: outward displacement of left, top, right, bottom, as shares of the true box's side, in the best reading.
        spread: mean distance from it, as a share of the box's side and 1 % of the image's.
        explained: share of the pairs that the best reading, or the mixture, explains; the rest answers other things.
        assigned: for each pair looked at the frame it is in, or None where that is not sure.
        pairs: how many there are.
    """

    rows: tuple[FrameRow, ...]
    best: str | None
    equivalent: tuple[str, ...]
    untold: tuple[str, ...]
    mixed: tuple[str, ...]
    recorded: tuple[str, ...]
    bias: tuple[float, float, float, float]
    spread: float
    explained: float
    assigned: tuple[str | None, ...]
    pairs: int

    @property
    def problem(self) -> str | None:
        """Why the recorded reading must not be calibrated, in one sentence; None where nothing speaks against it."""
        if len(self.recorded) > 1:
            return f"the pairs were read in several frames: {', '.join(self.recorded)}"
        if self.mixed:
            shares = {row.name: row.share for row in self.rows}
            parts = ", ".join(f"{name} ({100 * shares[name]:.0f} %)" for name in self.mixed)
            return f"the replies mix frames: {parts}"
        if self.best is None:
            return f"no frame explains the numbers: the best explains {100 * self.explained:.0f} % of the pairs"
        if self.recorded[0] not in (*self.equivalent, *self.untold):
            behind = next(row.behind for row in self.rows if row.name == self.recorded[0])
            return (
                f"the numbers are in {self.best}, and were read in {self.recorded[0]} "
                f"(less likely by a factor of e^{behind:.0f})"
            )
        return None


def frame_test(pairs: Sequence[BoxPair]) -> FrameTest:
    """Compare every reading on these pairs.

    Raises:
        DatasetError: there are fewer than `LEAST_PAIRS` pairs, or different true boxes.
    """
    if len(pairs) < LEAST_PAIRS:
        raise DatasetError(
            f"{len(pairs)} pairs of boxes do not say in which frame they are; at least {LEAST_PAIRS} are needed"
        )
    # Of one true box any frame is any other with a bias.
    different = len({(pair.true, pair.size) for pair in pairs})
    if different < LEAST_PAIRS:
        raise DatasetError(
            f"the true boxes of {len(pairs)} pairs are only {different} different ones, which do not say in which "
            f"frame the boxes said are; at least {LEAST_PAIRS} are needed"
        )
    recorded = tuple(name for name, _ in Counter(pair.reading for pair in pairs).most_common())
    chosen = list(pairs)
    if len(pairs) > MOST_PAIRS:
        chosen = [pairs[int(place)] for place in np.linspace(0, len(pairs) - 1, MOST_PAIRS)]
    evidence = evidence_of(chosen)
    groups = _groups(evidence, chosen, recorded)
    names = [evidence.names[group[0]] for group in groups]
    singles = [_single(evidence, group[0]) for group in groups]
    likely = np.array([single.likelihood for single in singles])
    places, known = _mixture(evidence.only([group[0] for group in groups]), singles, int(likely.argmax()))
    counts = (known.belongs >= SURE).sum(axis=1)
    enough = max(3, LEAST_SHARE * counts.sum(), LEAST_SHARE / 2 * len(chosen))
    several = [places[int(number)] for number in np.argsort(-counts) if counts[number] >= enough]
    is_mixed = len(several) > 1 and 1 - known.nothing >= EXPLAINED
    if not is_mixed:
        places, several = [int(likely.argmax())], [int(likely.argmax())]
        known = singles[places[0]]
    best = several[0] if 1 - known.nothing >= EXPLAINED else None
    behind = INDEPENDENT * (likely.max() - likely)
    near = [n for n in range(len(groups)) if n != best and behind[n] < np.log(ODDS)]
    shares = np.zeros(len(groups))
    shares[places] = known.shares
    left, top, right, bottom = (float(value) for value in known.bias)
    return FrameTest(
        rows=_rows(evidence, chosen, groups, behind, shares, groups[several[0]][0]),
        best=None if best is None else names[best],
        equivalent=() if best is None else tuple(evidence.names[place] for place in groups[best]),
        untold=()
        if best is None or is_mixed
        else tuple(evidence.names[place] for number in near for place in groups[number]),
        mixed=tuple(names[place] for place in several) if is_mixed else (),
        recorded=recorded,
        bias=(left, top, right, bottom),
        spread=known.spread,
        explained=1 - known.nothing,
        assigned=_assigned([names[place] for place in places], known.belongs >= SURE),
        pairs=len(pairs),
    )


def _groups(evidence: Evidence, pairs: Sequence[BoxPair], recorded: Sequence[str]) -> list[list[int]]:
    """Equivalent readings together; the first of each stands for it, a recorded one before others, then `FRAMES`."""
    steps = np.array([[max(*step_of(name, p.size, p.sent), 1.0) for p in pairs] for name in evidence.names])

    def weight(place: int) -> tuple[bool, bool, int]:
        name = evidence.names[place]
        return name not in recorded, name.startswith("original"), place

    groups: list[list[int]] = []
    for place in sorted(range(len(evidence.names)), key=weight):
        for group in groups:
            away = np.abs(evidence.boxes[place] - evidence.boxes[group[0]]).max(axis=1)
            if (away <= np.maximum(steps[place], steps[group[0]]) + 1e-6).mean() >= SAME_SHARE:
                group.append(place)
                break
        else:
            groups.append([place])
    return groups


def _single(evidence: Evidence, place: int) -> Mixture:
    bias, spread = start_of(evidence, place)
    return fit(evidence.only([place]), bias, spread, np.array([0.9]))


def _mixture(evidence: Evidence, singles: Sequence[Mixture], first: int) -> tuple[list[int], Mixture]:
    """Places of the readings that are mixed, and the mixture: one after the other, each the likeliest next.

    A further reading must earn what it costs, log(n)/2 (Schwarz 1978), and the odds squared, beyond what its mirror
    image in the first reading earns: nobody speaks that one, so it earns only by noise that is not the model's.
    """
    cost = np.log(evidence.outward.shape[1]) / 2 + 2 * np.log(ODDS)
    places, made = [first], singles[first]
    while len(places) < len(evidence.names):
        wider = [[*places, place] for place in range(len(evidence.names)) if place not in places]
        found = [_mixed(evidence.only(chosen), made) for chosen in wider]
        best = int(np.argmax([one.likelihood for one in found]))
        gain = INDEPENDENT * (found[best].likelihood - made.likelihood)
        if gain <= cost:
            break
        mirrored = _mixed(_mirrored(evidence.only(wider[best])), made)
        if gain - max(INDEPENDENT * (mirrored.likelihood - made.likelihood), 0.0) <= cost:
            break
        places, made = wider[best], found[best]
    return places, made


def _mirrored(evidence: Evidence) -> Evidence:
    """The same, with the last reading as far on the other side of the first."""
    outward = evidence.outward.copy()
    outward[-1] = 2 * outward[0] - outward[-1]
    return evidence._replace(outward=outward)


def _mixed(evidence: Evidence, narrower: Mixture) -> Mixture:
    """The likelier of two fits: from the bias of the mixture without the last reading, and from no bias."""
    even = np.full(len(evidence.names), 0.9 / len(evidence.names))
    starts = ((narrower.bias, min(narrower.spread, 0.2)), (np.zeros(4), 0.1))
    return max((fit(evidence, bias, spread, even) for bias, spread in starts), key=lambda one: one.likelihood)


def _rows(
    evidence: Evidence,
    pairs: Sequence[BoxPair],
    groups: Sequence[Sequence[int]],
    behind: NDArray[np.float64],
    shares: NDArray[np.float64],
    best: int,
) -> tuple[FrameRow, ...]:
    true = [tuple(pair.true) for pair in pairs]
    rows = []
    for group, far, share in zip(groups, behind, shares, strict=True):
        for place in group:
            boxes = evidence.boxes[place]
            iou = [float(iou_matrix([box], [answer])[0, 0]) for box, answer in zip(boxes, true, strict=True)]
            _, residual = start_of(evidence, place)
            rows.append(
                FrameRow(
                    name=evidence.names[place],
                    iou=float(np.median(iou)),
                    residual=residual,
                    behind=float(far),
                    share=float(share),
                    apart=float(np.median(np.abs(boxes - evidence.boxes[best]).max(axis=1))),
                )
            )
    return tuple(sorted(rows, key=lambda row: row.behind))


def _assigned(names: Sequence[str], sure: NDArray[np.bool_]) -> tuple[str | None, ...]:
    return tuple(names[int(column.argmax())] if column.any() else None for column in sure.T)
