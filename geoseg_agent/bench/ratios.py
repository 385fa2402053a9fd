"""Shares and what they are where there is nothing to share."""

from __future__ import annotations


def ratio(part: int, whole: int, *, right: bool) -> float:
    """The share part / whole; of nothing 1 where the prediction equals the truth (`right`), and else 0."""
    return part / whole if whole else float(right)


def harmonic(first: float, second: float) -> float:
    """The harmonic mean 2 a b / (a + b), the F-measure of precision and recall; 0 where both are 0."""
    # The product in brackets, so that a swap of the two gives the same to the last bit: equal pairs are counted.
    return 2 * (first * second) / (first + second) if first + second else 0.0
