"""The ablation of a run for people and programs: the paper's table, what had to run for each row, and why."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from geoseg_agent.bench.boundary import DIAGONAL
from geoseg_agent.bench.consistency import means_of
from geoseg_agent.bench.published import ROW_NAMES
from geoseg_agent.bench.table import AblationTable
from geoseg_agent.runs.lines import put_file
from geoseg_agent.trace.jsontext import pretty

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from geoseg_agent.bench.ablation_run import Chosen, Row
    from geoseg_agent.bench.opened import OpenedRun


@dataclass(frozen=True, slots=True)
class Ablation:
    """Rows and what they took.

    Attributes:
        name: of the run.
        table: means beside the paper's.
        chosen: the variations, what each needs, and those that were left out.
        rows: by name.
    """

    name: str
    table: AblationTable
    chosen: Chosen
    rows: Mapping[str, Row]

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "run": self.name,
            "table": self.table.as_dict(),
            "ran": {
                name: {**asdict(row.ran), "failed": row.failed, **self.chosen.needs[name]._asdict()}
                for name, row in self.rows.items()
            },
            "left_out": {name: need._asdict() for name, need in self.chosen.left_out.items()},
        }

    def markdown(self) -> str:
        """For people."""
        lines = [f"# Ablation of {self.name}", "", self.table.markdown()]
        lines += ["What ran beyond the traces, and no call of the model:", ""]
        lines += ["| Row | Failed | Encoded | Similarity | Points | Text | From memory | Runs | Why |"]
        lines += ["|---|--:|--:|--:|--:|--:|--:|---|---|"]
        for name, row in self.rows.items():
            need, ran = self.chosen.needs[name], row.ran
            counts = (row.failed, ran.encode, ran.similarity, ran.points, ran.text, ran.hits)
            lines.append(f"| {name} | {' | '.join(map(str, counts))} | {need.runs} | {need.why} |")
        lines += ["", "A row is charged only for what no row before it asked for."]
        if self.chosen.left_out:
            lines += ["", "Left out, because no tool was to run:", ""]
            lines += [f"- {name}: {need.runs}; {need.why}" for name, need in self.chosen.left_out.items()]
        return "\n".join([*lines, ""])


def tabled(run: OpenedRun, chosen: Chosen, rows: Mapping[str, Row]) -> Ablation:
    """The ablation of `run` as tables."""
    name = run.path.resolve().name
    means = {variant: means_of(row.results) for variant, row in rows.items()}
    table = AblationTable(
        label=f"{name}, {len(run.answered)} pairs, engine {run.engine or 'none'}",
        rows={variant: means[variant] for variant in ROW_NAMES if variant in means},
        boundary=f"boundary_diagonal, within {100 * DIAGONAL:g} % of the diagonal",
        more={variant: figures for variant, figures in means.items() if variant not in ROW_NAMES},
    )
    return Ablation(name, table, chosen, rows)


def write(folder: Path, ablation: Ablation) -> dict[str, Path]:
    """Write ablation.md and ablation.json, each whole or not at all; name to path.

    Raises:
        DatasetError: the folder cannot be written to.
    """
    files = {name: folder / name for name in ("ablation.md", "ablation.json")}
    put_file(files["ablation.md"], ablation.markdown().encode())
    put_file(files["ablation.json"], pretty(ablation.as_dict()))
    return files
