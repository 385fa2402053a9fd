"""Figures that others published, as they printed them: never ours, and never averaged with ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from geoseg_agent.method import Variant

COLUMNS: Final[Mapping[str, str]] = {
    "iou": "IoU",
    "dice": "Dice",
    "accuracy": "Acc",
    "precision": "Prec",
    "recall": "Rec",
    "specificity": "Spec",
    "boundary": "BF",
}
"""Figure to its head, in the order of the paper's tables."""

ROW_NAMES: Final[Mapping[Variant, str]] = {
    "full": "full",
    "no-refinement": "w/o refinement",
    "text": "w/o Route A",
    "points": "w/o Route B",
}
"""Our variant to the paper's name of the row: without Route A the text prompt is left, without Route B the points."""


@dataclass(frozen=True, slots=True)
class PublishedTable:
    """A printed table of means over pairs.

    Attributes:
        name: which table it is.
        source: where it was printed.
        label: what a reader must know who sees it beside other figures.
        rows: variant to figure to value, 0..1.
        half_unit: half of the last printed digit: a figure may be off by as much.
    """

    name: str
    source: str
    label: str
    rows: Mapping[Variant, Mapping[str, float]]
    half_unit: float


def _row(*percent: float) -> dict[str, float]:
    return dict(zip(COLUMNS, (value / 100 for value in percent), strict=True))


PAPER_TABLE_3: Final = PublishedTable(
    name="GeoSeg, Table 3 (GeoSeg-Bench)",
    source="arXiv 2603.03983",
    label="their data, their models, and their scripts, which were not published",
    rows={
        "full": _row(56.4, 64.2, 96.8, 69.0, 65.7, 98.3, 26.6),
        "no-refinement": _row(51.1, 59.9, 96.5, 62.7, 64.3, 97.8, 21.7),
        "text": _row(52.9, 61.4, 95.8, 59.6, 71.5, 96.6, 24.3),
        "points": _row(43.2, 49.0, 96.5, 52.4, 48.9, 99.0, 21.2),
    },
    half_unit=0.0005,
)
"""The paper's ablation, in per cent with one decimal as printed. What its BF tolerates is not said."""
