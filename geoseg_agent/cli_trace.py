"""`geoseg trace list | show | recover | prune`, and what `geoseg replay` prints for one file."""

from __future__ import annotations

import asyncio
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from geoseg_agent.console import err, out, print_table, progress
from geoseg_agent.errors import TraceError

if TYPE_CHECKING:
    from geoseg_agent.imagery import Image
    from geoseg_agent.trace.model import Trace

app = typer.Typer(no_args_is_help=True, help="Look at traces, recover them after a crash, clear them away.")

_ID = 30

Folder = Annotated[Path | None, typer.Argument(help="Folder of traces; default GEOSEG_TRACES or ./traces.")]


def _folder(given: Path | None) -> Path:
    from geoseg_agent.settings import Settings  # noqa: PLC0415 - the commands pay for what they need, --help does not

    folder = Settings().traces if given is None else given
    if folder == "none" or not Path(folder).is_dir():
        raise TraceError(f"there is no folder of traces at {folder}", hint="name one, or set GEOSEG_TRACES")
    return Path(folder)


@app.command("list")
def list_traces(
    folder: Folder = None,
    last: Annotated[int, typer.Option("--last", "-n", min=1, help="How many, newest last.")] = 50,
) -> None:
    """List traces: when, how it ended, what was asked. Corrupt files are listed as such.

    **Example** `geoseg trace list traces -n 10`
    """
    from rich.table import Table  # noqa: PLC0415 - as above

    from geoseg_agent.trace.listing import summaries  # noqa: PLC0415

    found = deque(summaries(_folder(folder)), maxlen=last)
    table = Table(box=None, pad_edge=False)
    table.add_column("id", no_wrap=True, min_width=_ID)  # to be copied, so it is never cut
    for name in ("started", "status", "targets", "seconds", "engine", "query"):
        table.add_column(name, overflow="fold")
    for trace in found:
        status = trace.status if trace.status == "done" else f"[yellow]{trace.status}[/]"
        count = "" if trace.targets is None else str(trace.targets)
        started = trace.time[:19].replace("T", " ")
        query = escape(trace.query[:60]) or "[dim]points only[/]"
        table.add_row(trace.id, started, status, count, f"{trace.seconds:.2f}", trace.engine, query)
    print_table(table)


@app.command()
def show(
    trace: Annotated[Path, typer.Argument(help="A trace, ID.json, or an ID in the folder of traces.")],
    html: Annotated[Path | None, typer.Option(help="Write one self-contained page that explains the query.")] = None,
    image: Annotated[
        Path | None, typer.Option(help="The image of the trace, for the page; default where it lay then.")
    ] = None,
) -> None:
    """Show what happened to one query, in the terminal or as a page.

    The image is only used if its digest is the trace's; without it the page shows a blank canvas of the right size.

    **Example** `geoseg trace show traces/ID.json --html page.html --image scene.tif`
    """
    from geoseg_agent.trace.store import load  # noqa: PLC0415 - as above

    path = trace if trace.suffix == ".json" or trace.is_file() else _folder(None) / f"{trace}.json"
    if not path.exists():
        raise TraceError(f"there is no trace {path}", hint="`geoseg trace list FOLDER` says which there are")
    loaded = load(path)
    if html is None:
        _print(loaded)
        return
    from geoseg_agent.trace.report import write_report  # noqa: PLC0415

    with progress(f"Drawing {path.name}"):
        written = write_report(loaded, html, _image_of(loaded, image))
    out.print(f"  page  {escape(str(written))}")


def _image_of(trace: Trace, given: Path | None) -> Image | None:
    from geoseg_agent.errors import ImageError  # noqa: PLC0415 - as above
    from geoseg_agent.imagery import MAX_PIXELS, read_image  # noqa: PLC0415
    from geoseg_agent.trace.codec import pixel_limit  # noqa: PLC0415

    bands, limit = tuple(trace.image.bands), pixel_limit(trace.image, MAX_PIXELS)
    if given is not None:
        return read_image(given, bands=bands, max_pixels=limit)
    if trace.image.path is None:
        return None
    try:
        found = read_image(trace.image.path, bands=bands, max_pixels=limit)
    except ImageError:
        return None
    return found if found.sha256 == trace.image.sha256 else None


def _print(trace: Trace) -> None:
    from geoseg_agent.trace.conversation import visible  # noqa: PLC0415 - as above
    from geoseg_agent.trace.dialogue import dialogue  # noqa: PLC0415

    def safe(text: str) -> str:
        return escape(visible(text))

    out.print(f"[bold]{safe(trace.title)}[/]")
    out.print(f"  {trace.id}  {trace.status}  {trace.seconds or 0:.2f} s  engine {safe(trace.engine)}")
    out.print(
        f"  image {safe(trace.image.name)}  {trace.image.width} x {trace.image.height}  {trace.image.sha256[:12]}"
    )
    for line in dialogue(trace):
        out.print(f"  {escape(line)}")
    for step in trace.steps:
        about = "" if step.target is None else f"  target {step.target}"
        failed = f"  [red]{safe(step.error.message)}[/]" if step.error else ""
        out.print(
            f"  {step.index:>3}  {step.seam:<10}{about:<11} waited {step.waited:.3f}  took {step.took:.3f}{failed}"
        )
    if trace.result is not None:
        for number, target in enumerate(trace.result.targets, start=1):
            out.print(
                f"  {number}. {safe(target.phrase)}  box {target.box}  rule {target.rule}  {target.areas.mask} px"
            )
        for text in trace.result.notes:
            out.print(f"  note: {safe(text)}")
    if trace.error is not None:
        out.print(f"  [red]error ({trace.error.code})[/]: {safe(trace.error.message)}")
        if trace.error.hint:
            out.print(f"  [bold]try:[/] {safe(trace.error.hint)}")


@app.command()
def recover(folder: Folder = None) -> None:
    """Turn what a crash left behind into traces of status "interrupted"; running queries are left alone.

    **Example** `geoseg trace recover traces`
    """
    from geoseg_agent.trace.recover import recover as recovered  # noqa: PLC0415 - as above

    found = recovered(_folder(folder))
    for one in found:
        out.print(f"  {one.outcome:<11} {one.steps:>3} steps  {escape(str(one.path))}")
    err.print(f"{sum(one.outcome == 'recovered' for one in found)} recovered of {len(found)} left behind")


@app.command()
def prune(
    folder: Folder = None,
    keep: Annotated[int | None, typer.Option(min=0, help="Keep so many of the newest.")] = None,
    older_than: Annotated[float | None, typer.Option(min=0, help="Remove what is older than so many days.")] = None,
) -> None:
    """Remove old traces, and say which. Files not named like a trace stay, and so do running queries.

    **Example** `geoseg trace prune traces --keep 1000 --older-than 30`
    """
    from datetime import timedelta  # noqa: PLC0415 - as above

    from geoseg_agent.trace.listing import prune as pruned  # noqa: PLC0415

    age = None if older_than is None else timedelta(days=older_than)
    gone = pruned(_folder(folder), keep=keep, older_than=age)
    for path in gone:
        out.print(f"  {escape(str(path))}")
    err.print(f"{len(gone)} removed")


def replay_one(path: Path, *, live_tools: bool, image: Path | None) -> None:
    """Replay one trace and print how it went.

    Raises:
        TraceError: it does not replay; the message names step and field.
    """
    from geoseg_agent.trace.live import replay_live  # noqa: PLC0415 - as above
    from geoseg_agent.trace.replay import replay  # noqa: PLC0415

    if not live_tools:
        with progress(f"Replaying {path.name}"):
            done = asyncio.run(replay(path))
        ended = done.trace.status if done.answer is None else done.answer.status
        out.print(f"[green]same[/]  {escape(str(path))}  {ended}")
        return
    if image is None:
        raise TraceError("--live-tools runs the tools on the image", hint="name it with --image FILE")
    with progress(f"Replaying {path.name} with live tools"):
        live = asyncio.run(replay_live(path, image))
    out.print(f"[bold]live[/]  {escape(str(path))}")
    for number, overlap in enumerate(live.ious, start=1):
        out.print(f"  target {number}  IoU {overlap:.4f}")
