"""`geoseg batch SOURCE`: many images, one or several questions."""

from __future__ import annotations

import asyncio
from pathlib import Path  # noqa: TC003 - typer reads it
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.markup import escape

from geoseg_agent.cli_data import settings_for
from geoseg_agent.console import err, note, out, print_table, progress
from geoseg_agent.errors import DatasetError, first_error

if TYPE_CHECKING:
    from geoseg_agent.batch.engines import Engine
    from geoseg_agent.batch.items import Refused
    from geoseg_agent.batch.sources import Source
    from geoseg_agent.batch.summary import Summary
    from geoseg_agent.settings import Settings

_SHOWN = 20  # broken records, and failures, that are listed


def batch(
    source: Annotated[
        str,
        typer.Argument(
            help="Folder, pattern in quotes, CSV, JSON lines, or file of a STAC ItemCollection.", show_default=False
        ),
    ],
    out_folder: Annotated[Path, typer.Option("--out", "-o", help="Folder of the batch; one that was begun goes on.")],
    query: Annotated[
        list[str] | None, typer.Argument(help="One or several; not for rows that name their own.", show_default=False)
    ] = None,
    queries: Annotated[Path | None, typer.Option(help="A file with further queries, one a line.")] = None,
    asset: Annotated[
        str | None, typer.Option(help="Of STAC items; default visual, image, data or the first picture.")
    ] = None,
    save: Annotated[
        Literal["none", "vectors", "all"], typer.Option(help="Files of each answer: none, its outlines, or all.")
    ] = "none",
    retry: Annotated[bool, typer.Option("--retry", help="Ask again what failed before.")] = False,
    concurrency: Annotated[int, typer.Option(min=1, help="Items at once, for each worker.")] = 8,
    engine: Annotated[Literal["local", "ray"], typer.Option(help="This process, or a Ray cluster.")] = "local",
    address: Annotated[
        str, typer.Option(help="With --engine ray: local starts a cluster here; auto and HOST:PORT join one.")
    ] = "local",
    workers: Annotated[
        int | None, typer.Option(min=1, help="With --engine ray: default one per GPU, or per node.")
    ] = None,
    worker_cpus: Annotated[float, typer.Option(min=0, help="With --engine ray: CPUs that a worker asks for.")] = 1.0,
    worker_gpus: Annotated[
        float | None, typer.Option(min=0, help="With --engine ray: default 1 with GEOSEG_TOOLS=models, else 0.")
    ] = None,
    price: Annotated[float | None, typer.Option(min=0, help="Of a million tokens, for an estimate of cost.")] = None,
) -> None:
    """Put every QUERY to every image of SOURCE; write batch.jsonl, summary.json and objects.gpkg.

    Killed at any moment, the same command goes on: what has a line is not asked again, and replies that were paid for
    are taken from their journals. What fails is listed with its code and does not stop the rest. Columns of a table:
    image, query, id, box, phrase. Grounder, tools and method are those of the GEOSEG_* settings.

    Exit code 0: every item has a line, failures included; the summary counts them.

    **Examples**

    - `geoseg batch scenes "the halls" "open water" --out halls`
    - `geoseg batch "2024/**/*.tif" --queries questions.txt --out survey`
    - `geoseg batch parcels.csv --out parcels --save all`
    - `geoseg batch items.json "solar panels" --asset visual --engine ray --address auto --out solar`
    """
    from geoseg_agent.batch.run import run  # noqa: PLC0415 - the commands pay for what they need
    from geoseg_agent.batch.sources import open_source  # noqa: PLC0415 - as above
    from geoseg_agent.runs.progress import telling  # noqa: PLC0415 - as above

    settings = settings_for()
    found = open_source(source, asset=asset, leave_out=out_folder)
    asked = _queries(query or [], queries, found)
    answering = _engine(engine, settings, concurrency, address, workers, worker_cpus, worker_gpus)
    try:
        with telling(None, price) as told, first_error():
            options: dict[str, Any] = {"save": save, "retry": retry, "refused": _Listed(), "told": told}
            asyncio.run(run(found, asked, out_folder, settings, answering, **options))
    except KeyboardInterrupt:
        note(f"{out_folder} holds what was done until now; the same command goes on with it.")
        raise
    _conclude(out_folder)


class _Listed:
    """Shows the first records that cannot be used, on standard error."""

    def __init__(self) -> None:
        self.shown = 0

    def __call__(self, one: Refused) -> None:
        self.shown += 1
        if self.shown <= _SHOWN:
            err.print(f"  {escape(one.where)}: {escape(one.rule)}")


def _queries(given: list[str], file: Path | None, source: Source) -> list[str]:
    from geoseg_agent.batch.plan import repeated  # noqa: PLC0415 - as above
    from geoseg_agent.errors import QueryError  # noqa: PLC0415
    from geoseg_agent.types import Query  # noqa: PLC0415

    lines = list(given)
    if file is not None:
        try:
            lines += [line for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise DatasetError(f"{file} cannot be read: {error}") from error
    asked = [Query(line).text for line in lines]
    twice = repeated(asked)
    if twice is not None:
        raise QueryError(f"the query {twice!r} is there twice", hint="ask it once")
    if not asked and not source.names_queries:
        raise QueryError("there is no query", hint='name one behind the source, as in `geoseg batch scenes "halls"`')
    return asked


def _engine(
    name: str,
    settings: Settings,
    concurrency: int,
    address: str,
    workers: int | None,
    cpus: float,
    gpus: float | None,
) -> Engine:
    if name == "local":
        from geoseg_agent.batch.engines import LocalEngine  # noqa: PLC0415 - as above

        return LocalEngine(settings, concurrency)
    from geoseg_agent.batch.ray_engine import Cluster, RayEngine  # noqa: PLC0415 - needs an extra

    return RayEngine(settings, concurrency, Cluster(address, workers, cpus, gpus), note)


def _conclude(folder: Path) -> None:
    from geoseg_agent.batch.layer import write_layer  # noqa: PLC0415 - as above
    from geoseg_agent.batch.summary import write_summary  # noqa: PLC0415

    with progress("Writing the layer") as told:
        objects = write_layer(folder, told=told)
    summary = write_summary(folder)
    _print(summary)
    _tell_failures(folder, summary)
    for file in ("batch.jsonl", "summary.json", *(("objects.gpkg",) if objects else ())):
        out.print(f"  {file:<16} {escape(str(folder / file))}")


def _print(summary: Summary) -> None:
    from rich.table import Table  # noqa: PLC0415 - as above

    table = Table("", "items", box=None, pad_edge=False, show_header=False)
    for status in ("found", "not_found", "ambiguous"):
        if summary.statuses.get(status):
            table.add_row(status.replace("_", " "), f"{summary.statuses[status]:,}")
    for code, count in summary.failures.items():
        table.add_row(f"failed: {code}", f"{count:,}")
    table.add_row("objects", f"{summary.objects:,}")
    if summary.area_m2:
        table.add_row("area", f"{summary.area_m2:,.0f} m2")
    table.add_row("seconds of queries, added up", f"{summary.seconds:,.1f}")
    if summary.calls:
        table.add_row("calls", f"{summary.calls:,}")
        table.add_row("tokens", "not told by the server" if summary.tokens is None else f"{summary.tokens:,}")
    print_table(table)
    answered = summary.done - summary.failed
    out.print(f"\n{summary.done} of {summary.items} items: {answered} answered, {summary.failed} failed")
    if summary.placeless:
        note(f"{summary.placeless} answers are not in objects.gpkg: their images have no place on the ground")


def _tell_failures(folder: Path, summary: Summary) -> None:
    """The first failures, each with its code; all of them are in batch.jsonl."""
    from geoseg_agent.batch.results import load_results  # noqa: PLC0415 - as above

    left = min(summary.failed, _SHOWN)
    for result in load_results(folder / "batch.jsonl") if left else ():
        if result.error is not None:
            err.print(f"  {escape(result.id)} ({result.error.code}): {escape(result.error.message)}")
            left -= 1
            if not left:
                break
    if summary.failed:
        more = f"; {summary.failed - _SHOWN} more are in batch.jsonl" if summary.failed > _SHOWN else ""
        failed = f"{summary.failed} item{'s' if summary.failed > 1 else ''} failed"
        note(f"{failed}{more}; the same command with --retry asks them again")
