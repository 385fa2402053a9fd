"""The commands of `geoseg doctor`: what is installed, what an endpoint's boxes mean, whether the models work."""

from __future__ import annotations

import asyncio
from pathlib import Path  # noqa: TC003 - typer evaluates it
from typing import TYPE_CHECKING, Annotated

import typer

from geoseg_agent.console import err, note, out, print_table, progress
from geoseg_agent.errors import ConfigError, InputError

if TYPE_CHECKING:
    from rich.table import Table

    from geoseg_agent.checkup import Stage
    from geoseg_agent.method import Profile
    from geoseg_agent.probe.run import Probed
    from geoseg_agent.settings import Settings

app = typer.Typer(rich_markup_mode="markdown")

UNFIT = 4


@app.callback(invoke_without_command=True)
def doctor(context: typer.Context) -> None:
    """Say what is installed and ready, what is known of the endpoint, and how to get what is missing.

    Nobody is called for it. `geoseg doctor grounding` does call the endpoint: it asks for boxes that are known, and
    says what the numbers mean. `geoseg doctor models` loads CLIP and SAM3, lets them test themselves, and times them.
    """
    if context.invoked_subcommand is None:
        from geoseg_agent.doctor import examine, show  # noqa: PLC0415 - the commands pay for what they need

        _settings("WARNING")
        show(examine())


@app.command()
def grounding(
    profile: Annotated[
        list[str] | None, typer.Option(help="default, paper or released-code; repeatable. Default: each prompt once.")
    ] = None,
    out_folder: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for a picture of every answer, drawn over the truth.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Another number, other boxes.")] = 0,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show every answer, and the log.")] = False,
) -> None:
    """Ask the endpoint for rectangles that are known, and say in which frame it answers and how far it is off.

    30 requests per prompt: five sizes, on grey and over texture, three colours. Nothing is ever corrected by the
    result: the default profile keeps reading what the model's family speaks (or GEOSEG_FRAME) and warns; the paper
    profile reads replies by it. The verdict is kept and goes into every trace made with this endpoint and model.

    **Examples**

    - `GEOSEG_BASE_URL=http://localhost:8000/v1 geoseg doctor grounding`
    - `geoseg doctor grounding --profile paper --out doctor`

    Exit code 0: faithful, or faults with a usable frame, named; 4: no frame fits the answers.
    """
    from geoseg_agent.method import PROFILES  # noqa: PLC0415 - as above

    chosen = [name for name in PROFILES if name in (profile or ("default", "paper"))]
    for name in profile or ():
        if name not in PROFILES:
            raise InputError(f"there is no profile {name!r}", hint=f"known are {', '.join(PROFILES)}")
    # What it finds is told below; that it differs from an earlier verdict is not worth a warning.
    settings = _settings("WARNING" if verbose else "ERROR")
    _check_room(settings)
    found = [asyncio.run(_probe(settings, name, seed)) for name in chosen]
    for one in found:
        _show(one, rows=verbose)
    if out_folder is not None:
        from geoseg_agent.probe.sheet import write  # noqa: PLC0415 - as above

        for one in found:
            out.print(f"  {'answers':<16} {write(one, out_folder)}")
    if any(one.finding.frame is None for one in found):
        raise typer.Exit(UNFIT)


@app.command()
def models(
    known: Annotated[
        bool, typer.Option("--list", help="List the CLIP models that GEOSEG_CLIP_MODEL may name.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the log.")] = False,
) -> None:
    """Load the models, let them test themselves, and time each stage on a drawn scene.

    Says which versions, devices and weights there are and how much memory is free; that the surgery leaves CLIP's
    class token alone (within 1e-4 of the plain encoder); that one pass of the image encoder serves both prompts; and
    what loading and each stage take. Where a toolset of your own is set (GEOSEG_TOOLS=module:factory), that one.

    **Examples**

    - `geoseg doctor models`
    - `GEOSEG_DEVICES=cuda:0 GEOSEG_SAM3_CHECKPOINT=sam3.pt geoseg doctor models`
    - `geoseg doctor models --list`

    Exit code 0: the models can be used; 3: something is missing or wrong, and the report says what to do.
    """
    settings = _settings("INFO" if verbose else "WARNING")
    if known:
        _list_models()
        return
    from geoseg_agent.checkup import examine_models  # noqa: PLC0415 - as above
    from geoseg_agent.doctor import print_findings  # noqa: PLC0415

    chosen = settings if settings.tools != "classical" else settings.model_copy(update={"tools": "models"})
    with progress("Examining the models") as told:
        found = asyncio.run(examine_models(chosen, told))
    print_findings(found.findings)
    if found.stages:
        _show_stages(found.stages)
    if any(finding.state != "ready" for finding in found.findings):
        raise typer.Exit(ConfigError.exit_code)


def _show_stages(stages: list[Stage]) -> None:
    from rich.table import Table  # noqa: PLC0415 - as above

    table = Table("stage", "seconds", "what came of it", box=None, pad_edge=False)
    for stage in stages:
        table.add_row(stage.name, f"{stage.seconds:.3f}", stage.detail)
    out.print()
    print_table(table)


def _list_models() -> None:
    """The table of CLIP models; it needs what the models need."""
    from rich.table import Table  # noqa: PLC0415

    from geoseg_agent.models import clip_models  # noqa: PLC0415 - as above

    table = Table("GEOSEG_CLIP_MODEL", "input", "weights", "licence", box=None, pad_edge=False)
    for entry in clip_models():
        weights = f"file: {entry.where}" if entry.needs_file else f"hub: {entry.name}, {entry.tag}"
        table.add_row(entry.key, f"{entry.side} px", weights, entry.licence)
    print_table(table)


def _settings(level: str) -> Settings:
    import logging  # noqa: PLC0415 - as above

    from geoseg_agent.logs import configure  # noqa: PLC0415
    from geoseg_agent.settings import Settings  # noqa: PLC0415

    settings = Settings()
    configure(settings.log_format, logging.getLevelNamesMapping()[level])
    return settings


def _check_room(settings: Settings) -> None:
    """Fail before anything is paid where the verdict could not be kept."""
    from tempfile import TemporaryFile  # noqa: PLC0415 - as above

    folder = settings.verdicts.expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
    except OSError as error:
        raise ConfigError(
            f"no verdict can be kept in {folder}: {error.strerror or error}",
            hint="set GEOSEG_VERDICTS to a folder with space that you may write; nothing was asked yet",
        ) from error


async def _probe(settings: Settings, profile: Profile, seed: int) -> Probed:
    from geoseg_agent.probe.run import probe  # noqa: PLC0415 - as above

    with progress(f"Asking for known boxes, profile {profile}") as tell:
        return await probe(settings, profile, seed=seed, told=tell)


def _show(one: Probed, *, rows: bool) -> None:
    from rich.markup import escape  # noqa: PLC0415 - as above

    finding, terms = one.finding, one.terms
    head = f"\n[bold]{escape(terms.model)}[/] at {escape(one.address)} ({terms.server}), prompt {one.prompt.name}"
    out.print(f"{head} {one.prompt.version}, asked in {terms.asked}, {one.dialect}")
    if rows:
        out.print(_table(one))
    if finding.frame is None:
        out.print("[red]no frame[/] fits the answers", end="  ")
    else:
        out.print(f"[bold]{finding.frame}[/]", end="  ")
        (sx, sy), (tx, ty) = finding.scale, finding.shift
        out.print(f"median IoU {finding.iou:.3f}  scale {sx:.4f}, {sy:.4f}  shift {tx:+.1f}, {ty:+.1f} px", end="  ")
        out.print(f"residual {finding.residual:.1f} px", end="  ")
    out.print(f"answered {finding.answered} of {finding.asked}")
    for fault in one.faults:
        note(fault)
    if one.finding.frame not in {None, terms.asked} and not one.faults:
        note(
            f"asked for {terms.asked}, it answers in {one.finding.frame}; "
            "the paper profile reads that, unless GEOSEG_FRAME says otherwise"
        )
    if not one.faults:
        err.print("[green]faithful[/]")
    out.print(f"  {'verdict':<16} {one.kept}")


def _table(one: Probed) -> Table:
    from rich.markup import escape  # noqa: PLC0415 - as above
    from rich.table import Table  # noqa: PLC0415

    table = Table("picture", "sent", "asked for", "answered", "frame", "IoU", box=None, pad_edge=False)
    for row in one.rows:
        numbers = "no box" if row.numbers is None else ", ".join(f"{number:g}" for number in row.numbers)
        iou = "" if row.iou is None else f"{row.iou:.2f}"
        table.add_row(row.picture, row.size, row.colour, escape(numbers), row.frame or "?", iou)
    return table
