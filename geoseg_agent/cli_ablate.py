"""`geoseg bench ablate | consistency`: variations of one recorded run, and whether a table is possible at all."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geoseg_agent.cli_data import Moved, Run, opened_run, settings_for
from geoseg_agent.console import note, out, print_json, progress
from geoseg_agent.errors import DatasetError, InputError

if TYPE_CHECKING:
    from geoseg_agent.bench.consistency import Report
    from geoseg_agent.bench.variations import Variation


def ablate(
    run: Run,
    data: Moved = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(help="SETTING=V,V,...: one more row per value, for example gamma=0,0.01,0.05. Repeatable."),
    ] = None,
    margins: Annotated[
        list[str] | None, typer.Option(help="A:B,A:B,...: one more row per alpha and beta of Eq. 2. Repeatable.")
    ] = None,
    ungrounded: Annotated[
        bool, typer.Option("--ungrounded", help="Also the tools alone: the whole image, and the query for a phrase.")
    ] = False,
    recorded_only: Annotated[
        bool, typer.Option("--recorded-only", help="Run no tool: only what the traces hold the answers for.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of the table.")] = False,
) -> None:
    """The paper's ablation, and sweeps of k, tau, gamma or margins, from the traces of one run: no call of the model.

    Similarity grids and masks of the routes are taken from the traces; tools run only for what these cannot answer,
    and the table says for what and why. Writes RUN/ablation: ablation.md, ablation.json, and results of each row.

    **Examples**

    - `geoseg bench ablate runs/qwen`
    - `geoseg bench ablate runs/qwen --sweep k=1,5,10 --sweep gamma=0,0.01,0.05 --margins 0:0,0.2:0.1,0.4:0.2`
    - `geoseg bench ablate runs/qwen --recorded-only --sweep gamma=0,0.02`
    """
    from geoseg_agent.bench.ablation_report import tabled, write  # noqa: PLC0415 - the commands pay for what they need
    from geoseg_agent.bench.ablation_run import ablate_run, chosen  # noqa: PLC0415

    settings_for()
    opened = opened_run(run, data)
    picked = chosen(opened, _variations(sweep or [], margins or [], ungrounded=ungrounded), live=not recorded_only)
    folder = run / "ablation"
    with progress("Varying") as told:
        rows = asyncio.run(ablate_run(opened, picked.variations, folder, live=not recorded_only, told=told))
    ablation = tabled(opened, picked, rows)
    files = write(folder, ablation)
    if as_json:
        print_json(ablation.as_dict())
        return
    out.print(ablation.markdown(), markup=False)
    for name, path in files.items():
        out.print(f"  {name:<16} {path}", markup=False)


def consistency(
    table: Annotated[
        str, typer.Argument(help="Folder of a run, a table as JSON, or the word paper.", show_default=False)
    ],
    every: Annotated[bool, typer.Option("--all", help="List the bounds that hold too, and why.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of tables.")] = False,
) -> None:
    """Test figures against the bounds that their definitions and the method imply: is such a table possible at all?

    A run is tested with its ablation, where `geoseg bench ablate` has made one: exactly, pair by pair. A published
    table is a JSON file of means in per cent as they are printed:
    {"name": "...", "decimals": 1, "rows": {"full": {"iou": 56.4, "recall": 65.7}, "points": {...}, "text": {...}}}.
    Exit code 0: possible; 2: not.

    **Examples**

    - `geoseg bench consistency paper`
    - `geoseg bench consistency runs/qwen`
    - `geoseg bench consistency their-table.json`
    """
    report = _report(table)
    if as_json:
        print_json(report.as_dict())
    else:
        out.print(report.markdown(whole=every), markup=False)
    if not report.possible:
        raise typer.Exit(DatasetError.exit_code)


def _report(table: str) -> Report:
    from geoseg_agent.bench.consistency import check_run, check_table  # noqa: PLC0415 - as above
    from geoseg_agent.bench.published import PAPER_TABLE_3, ROW_NAMES  # noqa: PLC0415
    from geoseg_agent.bench.records import load_results  # noqa: PLC0415
    from geoseg_agent.bench.table_file import read_table  # noqa: PLC0415

    path = Path(table)
    if not path.is_dir():
        published = PAPER_TABLE_3 if table == "paper" else read_table(path)
        return check_table(published.name, published.rows, half_unit=published.half_unit)
    files = {row: path / "ablation" / row / "results.jsonl" for row in ROW_NAMES}
    found = {row: list(load_results(file)) for row, file in files.items() if file.exists()}
    run = list(load_results(path / "results.jsonl"))
    if found and any(
        {(one.id, one.trace) for one in row} != {(one.id, one.trace) for one in run} for row in found.values()
    ):
        note(
            f"The run in {path} has gone on since the ablation that is tested here; `geoseg bench ablate` renews it."
        )
    return check_run(path.resolve().name, found or {"full": run})


def _variations(sweeps: list[str], pairs: list[str], *, ungrounded: bool) -> list[Variation]:
    from geoseg_agent.bench.variations import TABLE_3, UNGROUNDED, margins, sweep  # noqa: PLC0415 - as above

    found = [*TABLE_3, *(UNGROUNDED if ungrounded else ())]
    for text in sweeps:
        setting, given, values = text.partition("=")
        if not given or not values:
            raise InputError(f"--sweep {text!r} is no SETTING=V,V,...", hint="for example --sweep k=1,5,10")
        found += sweep(setting.strip(), [_value(value) for value in values.split(",")])
    for text in pairs:
        found += margins(_margins(text))
    return list({variation.name: variation for variation in found}.values())


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text.strip()


def _margins(text: str) -> list[tuple[float, float]]:
    try:
        pairs = [tuple(float(part) for part in pair.split(":")) for pair in text.split(",")]
        return [(alpha, beta) for alpha, beta in pairs]
    except ValueError:
        raise InputError(f"--margins {text!r} is no A:B,A:B,...", hint="for example --margins 0:0,0.2:0.1") from None
