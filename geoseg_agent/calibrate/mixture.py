r"""How likely numbers are under each reading, and a mixture of readings, by expectation and maximisation.

With t the true box, w its side along the axis in question and L that of the image, a box read as r under reading f
lies outward of the truth by e. The model behind the numbers is off in proportion to the box, and noisy:

    u_f = (e_f - b w) / n,   n = w + L/100
    p(numbers | f) = prod over the four sides of  c_f / (2 s n) exp(-|u_f| / s)                        (Laplace)
    p(numbers | none) = M^-4        anything, 0..M: M the smallest of 1, 1000, the sides, that holds the numbers

c_f is the size of one unit of f in pixels, so that all densities are of the numbers themselves and can be compared.
The bias b of each side and the spread s belong to the model and are shared by all readings, so a mixture is found
beside a true bias, and a bias is never taken for a mixture. "none" takes what answers something else.

Sources: Dempster, Laird and Rubin 1977 (EM). The weighted median is the maximum-likelihood location of a Laplace
distribution, the mean absolute deviation its spread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from geoseg_agent.calibrate.readings import READINGS, read, step_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from geoseg_agent.calibrate.pairs import BoxPair

    Numbers = NDArray[np.float64]

_OUTWARD: Final = np.array([-1.0, -1.0, 1.0, 1.0])
_FLOOR, _CEILING = 0.005, 0.5  # of the spread: whole numbers are never exact; beyond, nothing is explained
_MOST_BIAS: Final = 1.0
_LEAST_SHARE: Final = 1e-4
_ROUNDS: Final = 200
_STILL: Final = 1e-6


class Evidence(NamedTuple):
    """Every pair under every reading; n pairs, F readings, sides left, top, right, bottom.

    Attributes:
        names: of the readings.
        boxes: (F, n, 4) as read, pixels of the original image.
        outward: (F, n, 4) pixels by which each side lies outside of the truth.
        side: (n, 4) side of the true box along each axis.
        noise: (n, 4) the unit of the noise.
        volume: (F, n) logarithm of the product of c / n over the sides.
        anything: (n,) logarithm of the density of "none".
    """

    names: tuple[str, ...]
    boxes: Numbers
    outward: Numbers
    side: Numbers
    noise: Numbers
    volume: Numbers
    anything: Numbers

    def only(self, places: Sequence[int]) -> Evidence:
        """That of some of the readings."""
        chosen = list(places)
        return self._replace(
            names=tuple(self.names[place] for place in chosen),
            boxes=self.boxes[chosen],
            outward=self.outward[chosen],
            volume=self.volume[chosen],
        )


class Mixture(NamedTuple):
    """A fit.

    Attributes:
        likelihood: logarithm, of all pairs.
        shares: (F,) of the pairs, by reading.
        nothing: share that no reading explains.
        bias: (4,) outward, as shares of the true box's side; left, top, right, bottom.
        spread: mean distance from the bias, as a share of the box's side and 1 % of the image's.
        belongs: (F, n) probability that a pair is in a reading.
    """

    likelihood: float
    shares: Numbers
    nothing: float
    bias: Numbers
    spread: float
    belongs: Numbers


def evidence_of(pairs: Sequence[BoxPair]) -> Evidence:
    """Every pair read in every way."""
    names = tuple(READINGS)
    true = np.array([tuple(pair.true) for pair in pairs], dtype=np.float64)
    boxes = np.array([[read(pair.numbers, name, pair.size, pair.sent) for pair in pairs] for name in names])
    steps = np.array([[_unit(name, pair) * 2 for pair in pairs] for name in names], dtype=np.float64)
    width, height = true[:, 2] - true[:, 0], true[:, 3] - true[:, 1]
    side = np.stack([width, height, width, height], axis=1)
    image = np.array([[pair.size[1], pair.size[0]] * 2 for pair in pairs], dtype=np.float64)
    noise = side + image / 100
    return Evidence(
        names=names,
        boxes=boxes,
        outward=(boxes - true) * _OUTWARD,
        side=side,
        noise=noise,
        volume=(np.log(steps) - np.log(noise)).sum(axis=2),
        anything=np.array([-4 * np.log(_range(pair)) for pair in pairs]),
    )


def _unit(name: str, pair: BoxPair) -> tuple[float, float]:
    """Pixels of the original per 1 of the numbers, along x and y."""
    if READINGS[name].space == "unit":
        return float(pair.size[1]), float(pair.size[0])
    return step_of(name, pair.size, pair.sent)


def _range(pair: BoxPair) -> float:
    largest = max(abs(number) for number in pair.numbers)
    ends = sorted({1.0, 1000.0, float(max(pair.size)), float(max(pair.sent or pair.size))})
    return next((end for end in ends if end >= largest), largest)


def start_of(evidence: Evidence, place: int) -> tuple[Numbers, float]:
    """Bias and spread of all pairs read in one way: medians."""
    bias = np.clip(np.median(evidence.outward[place] / evidence.side, axis=0), -_MOST_BIAS, _MOST_BIAS)
    left = np.abs(evidence.outward[place] - bias * evidence.side) / evidence.noise
    return bias, float(np.clip(np.median(left), _FLOOR, _CEILING))


def fit(evidence: Evidence, bias: Numbers, spread: float, shares: Numbers) -> Mixture:
    """Expectation and maximisation from a start, to a standstill.

    Args:
        evidence: of the readings to be mixed.
        bias: (4,) to begin with.
        spread: to begin with.
        shares: (F,) to begin with; what is missing to 1 is "none".
    """
    shares, bias = shares.copy(), bias.copy()
    before = -np.inf
    made = _expect(evidence, bias, spread, shares)
    for _ in range(_ROUNDS):
        if made.likelihood - before < _STILL * abs(made.likelihood):
            break
        before = made.likelihood
        shares = np.maximum(made.belongs.mean(axis=1), 0)
        if shares.sum() > 0:
            bias, spread = _maximise(evidence, made.belongs)
        made = _expect(evidence, bias, spread, shares)
    return made


def _expect(evidence: Evidence, bias: Numbers, spread: float, shares: Numbers) -> Mixture:
    away = np.abs(evidence.outward - bias * evidence.side) / evidence.noise
    density = evidence.volume - 4 * np.log(2 * spread) - away.sum(axis=2) / spread
    nothing = max(1 - float(shares.sum()), _LEAST_SHARE)
    weights = np.log(np.maximum(shares, _LEAST_SHARE / 100))
    joint = np.concatenate([density + weights[:, None], (evidence.anything + np.log(nothing))[None]])
    top = joint.max(axis=0)
    total = top + np.log(np.exp(joint - top).sum(axis=0))
    belongs = np.exp(joint - total)
    return Mixture(float(total.sum()), shares, float(belongs[-1].mean()), bias, spread, belongs[:-1])


def _maximise(evidence: Evidence, belongs: Numbers) -> tuple[Numbers, float]:
    which = belongs > 1e-3
    weights = belongs[which]
    outward = evidence.outward[which]
    side, noise = (np.broadcast_to(array, evidence.outward.shape)[which] for array in (evidence.side, evidence.noise))
    if not weights.size:
        return np.zeros(4), _CEILING
    bias = np.array(
        [_weighted_median(outward[:, k] / side[:, k], weights * side[:, k] / noise[:, k]) for k in range(4)]
    ).clip(-_MOST_BIAS, _MOST_BIAS)
    away = np.abs(outward - bias * side) / noise
    return bias, float(np.clip((weights[:, None] * away).sum() / (4 * weights.sum()), _FLOOR, _CEILING))


def _weighted_median(values: Numbers, weights: Numbers) -> float:
    order = np.argsort(values)
    summed = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(summed, summed[-1] / 2)])
