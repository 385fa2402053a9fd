"""Is a table, or a run, possible at all: every figure against the bounds that its definition and the method imply.

A printed table (`check_table`) is checked row by row and between rows, with what was rounded away allowed for; what
its rows imply about the use of the fusion rules is said. A run (`check_run`) has the shares of the rules and every
pair's counts besides, so that the same bounds are checked against what was measured, and the exact ones pair by pair.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any, Final

from geoseg_agent.bench.pair_bounds import Rows, check_pairs
from geoseg_agent.bench.published import COLUMNS, ROW_NAMES
from geoseg_agent.bench.row_bounds import check_row
from geoseg_agent.bench.rule_bounds import Exempt, bounded, check_rules
from geoseg_agent.bench.rules import count_rules
from geoseg_agent.bench.shares import RULES, check_shares
from geoseg_agent.bench.summary import by_id
from geoseg_agent.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from geoseg_agent.bench.finding import Finding
    from geoseg_agent.bench.records import PairResult
    from geoseg_agent.bench.shares import Shares
    from geoseg_agent.method import Variant

BOUNDARY: Final = "boundary_diagonal"
"""Which of our two boundary scores stands in the column BF."""

_ROUTES: Final[tuple[Variant, ...]] = ("full", "points", "text")


@dataclass(frozen=True, slots=True)
class Report:
    """All findings on one table or run.

    Attributes:
        name: what was checked.
        findings: one per bound and place.
    """

    name: str
    findings: tuple[Finding, ...]

    @property
    def possible(self) -> bool:
        """Whether no bound is broken."""
        return not self.broken

    @property
    def broken(self) -> tuple[Finding, ...]:
        """The findings that make it impossible."""
        return tuple(finding for finding in self.findings if finding.verdict == "impossible")

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "name": self.name,
            "possible": self.possible,
            "findings": [asdict(finding) for finding in self.findings],
        }

    def markdown(self, *, whole: bool = True) -> str:
        """For people: what is broken, what follows, and every bound with its derivation.

        Args:
            whole: list the bounds that hold too.
        """
        verdict = "possible" if self.possible else f"impossible: {len(self.broken)} bounds are broken"
        lines = [f"# Consistency of {self.name}", "", f"{len(self.findings)} checks; {verdict}.", ""]
        implied = [finding.implied for finding in self.findings if finding.implied]
        if implied:
            lines += ["What follows from it:", "", *(f"- {text}" for text in dict.fromkeys(implied)), ""]
        order = sorted(self.findings, key=lambda finding: finding.verdict != "impossible") if whole else self.broken
        if order:
            lines += ["| Verdict | Where | Bound | Why |", "|---|---|---|---|"]
        for finding in order:
            cells = (finding.verdict, finding.where, f"{finding.bound}; {finding.says}", finding.why)
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        return "\n".join([*lines, ""])


def check_table(
    name: str,
    rows: Mapping[Variant, Mapping[str, float]],
    *,
    half_unit: float = 0.0005,
    shares: Shares | None = None,
    exempt: Exempt | None = None,
) -> Report:
    """Check a table of means over pairs.

    Args:
        name: of the table.
        rows: variant to figure (`COLUMNS`) to mean, 0..1; rows and figures may be missing.
        half_unit: half of the last printed digit; 0.0005 for per cent with one decimal.
        shares: of pairs by fusion rule of the full method, where known.
        exempt: shares of pairs that bounds between rows do not bind; none where there is one target per query and
            no query failed.

    Raises:
        DatasetError: a row or figure is unknown, or a figure is no number.
    """
    for row, figures in rows.items():
        for figure, value in figures.items():
            if figure not in COLUMNS or row not in ROW_NAMES:
                raise DatasetError(
                    f"{name}: row {row!r}, figure {figure!r} is unknown",
                    hint=f"rows are {', '.join(ROW_NAMES)}, figures {', '.join(COLUMNS)}",
                )
            if not math.isfinite(value):
                raise DatasetError(f"{name}: row {row!r}: {figure} is {value!r}, which is no number")
    spared = exempt or Exempt()
    findings = [finding for row, figures in rows.items() for finding in check_row(row, figures, half_unit)]
    between = list(bounded(rows, half_unit))
    if between and rows.keys() & {"points", "text"}:
        findings += check_rules(rows, half_unit, shares, spared)
        findings.append(check_shares(between, spared))
    return Report(name, tuple(findings))


def check_run(name: str, rows: Mapping[Variant, Sequence[PairResult]]) -> Report:
    """Check a run and its ablation: the table of its means, and every pair.

    Args:
        name: of the run.
        rows: variant to the results of the same pairs; only those of `ROW_NAMES` are looked at.

    Raises:
        DatasetError: a row has no pairs, a pair twice, or other pairs than the others.
    """
    kept = {row: by_id(results) for row, results in rows.items() if row in ROW_NAMES}
    ids = {row: [result.id for result in results] for row, results in kept.items()}
    first = next(iter(ids), None)
    for row, named in ids.items():
        if first is not None and named != ids[first]:
            raise DatasetError(f"{name}: the rows {first!r} and {row!r} are not of the same pairs")
    means = {row: means_of(results) for row, results in kept.items()}
    if "full" not in kept:
        return check_table(name, means, half_unit=0.0)
    full, number = kept["full"], len(kept["full"])
    pairs = count_rules(full).pairs
    shares: Shares = {rule: pairs[rule] / number for rule in RULES}
    routes = [kept[row] for row in _ROUTES if row in kept]
    exempt = Exempt(
        loose=sum(any(_loose(result) for result in pair) for pair in zip(*routes, strict=True)) / number,
        mixed=pairs["mixed"] / number,
        several=sum(len(result.rules) > 1 for result in full) / number,
    )
    report = check_table(name, means, half_unit=0.0, shares=shares, exempt=exempt)
    if not kept.keys() >= set(_ROUTES):
        return report
    exact = check_pairs([Rows(*pair) for pair in zip(*routes, strict=True)])
    return Report(name, (*report.findings, *exact))


def means_of(results: Sequence[PairResult]) -> dict[str, float]:
    """Each figure of `COLUMNS`, averaged over the pairs; BF by `BOUNDARY`."""
    return {
        figure: fmean(getattr(result.scores, BOUNDARY if figure == "boundary" else figure) for result in results)
        for figure in COLUMNS
    }


def _loose(result: PairResult) -> bool:
    """Whether its figures follow a convention: there is no answer, or the truth is nothing or everything."""
    return not result.answered or result.truth_area in {0, result.counts.total}
