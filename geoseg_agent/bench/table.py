"""The ablation as a table in the paper's layout, with the paper's own figures beside ours and never among them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from geoseg_agent.bench.published import COLUMNS, PAPER_TABLE_3, ROW_NAMES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from geoseg_agent.bench.published import PublishedTable
    from geoseg_agent.method import Variant

OURS = "ours"
THEIRS = "theirs"


@dataclass(frozen=True, slots=True)
class AblationTable:
    """Means over pairs, ours and theirs.

    Attributes:
        label: what ours were measured on: data, number of pairs, engine.
        rows: variant to figure (`COLUMNS`) to mean, 0..1.
        boundary: how our BF is measured.
        more: further rows by name, such as those of a sweep, which the paper does not have.
        theirs: the published table beside it, or None.
    """

    label: str
    rows: Mapping[Variant, Mapping[str, float]]
    boundary: str
    more: Mapping[str, Mapping[str, float]]
    theirs: PublishedTable | None = PAPER_TABLE_3

    def as_dict(self) -> dict[str, Any]:
        """As JSON values: ours and theirs apart, shares in 0..1."""
        theirs = self.theirs
        return {
            "columns": list(COLUMNS),
            OURS: {
                "label": self.label,
                "boundary": self.boundary,
                "rows": {row: dict(figures) for row, figures in self.rows.items()},
                "more": {row: dict(figures) for row, figures in self.more.items()},
            },
            THEIRS: None
            if theirs is None
            else {
                "name": theirs.name,
                "source": theirs.source,
                "label": theirs.label,
                "rows": {row: dict(figures) for row, figures in theirs.rows.items()},
            },
        }

    def markdown(self) -> str:
        """In per cent with one decimal, as the paper prints it; each row says whose it is."""
        lines = [_head("Method", "Whose"), _rule(2)]
        for row, name in ROW_NAMES.items():
            if row in self.rows:
                lines.append(_line(self.rows[row], name, OURS))
            if self.theirs is not None and row in self.theirs.rows:
                lines.append(_line(self.theirs.rows[row], name, THEIRS))
        lines += ["", f"Ours: {self.label}. BF: {self.boundary}."]
        if self.theirs is not None:
            source = f"{self.theirs.name}, {self.theirs.source}"
            lines.append(
                f"Theirs: {source}; {self.theirs.label}. Other data or other models: subtract neither from the other."
            )
        if self.more:
            lines += ["", _head("Variation"), _rule(1)]
            lines += [_line(figures, name) for name, figures in self.more.items()]
            lines += ["", "All of these are ours, on the same pairs."]
        return "\n".join([*lines, ""])


def _head(*names: str) -> str:
    return f"| {' | '.join([*names, *COLUMNS.values()])} |"


def _rule(names: int) -> str:
    return "|" + "---|" * names + "--:|" * len(COLUMNS)


def _line(figures: Mapping[str, float], *names: str) -> str:
    values = [f"{100 * figures[figure]:.1f}" if figure in figures else "-" for figure in COLUMNS]
    return f"| {' | '.join([*(name.replace('|', '/') for name in names), *values])} |"
