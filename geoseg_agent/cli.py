"""The command line: `geoseg segment | batch | replay | trace | bench | calibrate | sample | doctor`.

Results go to standard output, everything else to standard error. Exit codes: 0 an answer (also "not found"),
2 bad image, query or usage, 3 set-up, 4 model or endpoint, 5 tool, 6 limits, 7 trace; see `geoseg_agent.errors`.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from geoseg_agent import cli_batch, cli_bench, cli_calibrate, cli_doctor, cli_trace
from geoseg_agent.cli_search import confirm_search
from geoseg_agent.console import err, note, out, print_error, print_json, progress
from geoseg_agent.errors import GeoSegError, ImageError, InputError, QueryError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geoseg_agent.export import Files
    from geoseg_agent.imagery import Image
    from geoseg_agent.segmentation import Segmentation
    from geoseg_agent.settings import Settings
    from geoseg_agent.types import Hints

_INTERRUPTED = 130
_COLUMN = 17
"""Width of the names of files; "instances_parquet" is the longest."""

app = typer.Typer(
    name="geoseg",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Ask an aerial or satellite image a question, get a mask.\n\n"
    "Try it: `geoseg sample --out demo`, then `geoseg segment demo/lakeside/scene.tif 'Segment the lake.'`",
)
app.add_typer(cli_trace.app, name="trace")
app.add_typer(cli_doctor.app, name="doctor")
app.add_typer(cli_bench.app, name="bench")
app.command()(cli_batch.batch)
app.command()(cli_calibrate.calibrate)


def _version(value: bool) -> None:
    if value:
        from geoseg_agent import __version__  # noqa: PLC0415 - only here

        out.print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def segment(
    image: Annotated[Path, typer.Argument(help="PNG, JPEG, WebP, TIFF or GeoTIFF.", show_default=False)],
    query: Annotated[
        str | None, typer.Argument(help="An open question or a description; not needed with --point.")
    ] = None,
    out_folder: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Folder for the files; default geoseg-out/IMAGE-NAME, where the last answer stays."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")] = False,
    box: Annotated[
        str | None, typer.Option(help="x1,y1,x2,y2 in pixels: you know the place, so grounding is skipped.")
    ] = None,
    point: Annotated[
        list[str] | None,
        typer.Option(help="x,y in pixels, on the thing; -x,y for a point not on it. Repeatable; needs no QUERY."),
    ] = None,
    phrase: Annotated[
        str | None, typer.Option(help="What to call the thing, instead of the grounder's words.")
    ] = None,
    profile: Annotated[
        str | None, typer.Option(help="default, paper or released-code: a named set of the method's constants.")
    ] = None,
    grounder: Annotated[
        str | None, typer.Option(help="auto, classical, openai, scripted:FILE, replay:FILE or module:factory.")
    ] = None,
    tools: Annotated[str | None, typer.Option(help="classical, models, an entry point or module:factory.")] = None,
    vectors: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            help="geojson, gpkg, fgb (FlatGeobuf) or geoparquet ([geoparquet] extra). Repeatable; "
            "default geojson and gpkg.",
        ),
    ] = None,
    simplify: Annotated[
        float | None,
        typer.Option(
            help="How far outlines may stray from the pixels, in map units; areas stay those of the pixels."
        ),
    ] = None,
    bands: Annotated[
        str | None, typer.Option(help="Bands shown as red,green,blue, from 1; for example 4,3,2.")
    ] = None,
    traces: Annotated[str | None, typer.Option(help="Folder for traces, or none; default ./traces.")] = None,
    samples: Annotated[
        int | None, typer.Option(help="Times the model is asked; what at least half agree on is kept.")
    ] = None,
    verify_rounds: Annotated[
        int | None, typer.Option(help="Times the model may look at the result and correct it, 0 to 3.")
    ] = None,
    stability: Annotated[
        int | None, typer.Option(help="Changed copies to run again, 2 or 4: how well they agree is the confidence.")
    ] = None,
    search: Annotated[
        str | None,
        typer.Option(help="overview, tiles or auto: one picture, windows of the image, or what suits the query."),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Go on without asking where a search takes many paid calls.")
    ] = False,
    deadline: Annotated[float | None, typer.Option(help="Seconds the query may take; default 120.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the log.")] = False,
) -> None:
    """Segment what QUERY refers to in IMAGE, or what the points are on.

    Writes mask.png (up to 64 megapixels) and overlay.png, and for a georeferenced image mask.tif (cloud-optimised,
    same grid), targets.geojson (WGS 84) and targets.gpkg (native CRS), or the vectors that --format names.
    Every query leaves a trace that `geoseg replay` runs again without the image.

    **Examples**

    - `geoseg segment scene.tif "the largest field"`
    - `geoseg segment city.tif "the parked buses" --search auto`
    - `geoseg segment scene.tif "the halls" --format fgb --format geoparquet --simplify 0.5`
    - `geoseg segment port.png "Where could ducks swim?" --json | jq .confidence`
    - `geoseg segment scene.tif --point 200,150 --point -400,290`
    - `geoseg segment scene.tif "warehouse" --box 120,80,420,300 --point 200,150 --point -400,290`
    - `GEOSEG_GROUNDER=scripted:boxes.json geoseg segment scene.tif "the halls"`
    - `GEOSEG_BASE_URL=http://localhost:8000/v1 geoseg segment scene.tif "where could I seek medical help?"`

    Settings are environment variables too, for example `GEOSEG_PROFILE=paper`; README and docs/endpoints.md list
    them. `geoseg doctor` says what is set and ready.
    """
    started = perf_counter()
    given: dict[str, Any] = {
        "profile": profile,
        "grounder": grounder,
        "tools": tools,
        "bands": bands,
        "traces": traces,
    }
    given |= {"samples": samples, "verify_rounds": verify_rounds, "stability": stability, "deadline": deadline}
    given |= {"search": search}
    folder = out_folder or Path("geoseg-out") / image.stem
    try:
        _check_files(vectors, simplify, folder, image)
        settings = _settings(given, verbose=verbose)
        hints = _hints(box, point or [], phrase)
        picture = confirm_search(settings, image, query, hints, yes=yes) or image
        with progress(f"Asking {image.name}: {query or phrase or 'what is at the points'}"):
            answer = _asked(settings, picture, query, hints)
            files = _saved(answer, folder, vectors, simplify, settings)
    except GeoSegError as error:
        if not as_json:
            raise
        _print_failure(error)
        raise typer.Exit(error.exit_code) from None
    from geoseg_agent.answer import as_dict  # noqa: PLC0415 - needs numpy and pycocotools, --help does not
    from geoseg_agent.export import left_out  # noqa: PLC0415 - as above

    missing = left_out(answer, files, vectors)
    if as_json:
        print_json(as_dict(answer, files, perf_counter() - started, missing))
    else:
        _print_answer(answer, {name: Path(path) for name, path in files.items()}, perf_counter() - started, missing)


def _check_files(vectors: list[str] | None, simplify: float | None, folder: Path, image: Path) -> None:
    """Refuse what cannot be written before anything is asked."""
    from geoseg_agent.export import NAMES  # noqa: PLC0415 - as above
    from geoseg_agent.formats import chosen, tolerance  # noqa: PLC0415
    from geoseg_agent.out_folder import check_free, check_writable  # noqa: PLC0415

    chosen(vectors)
    tolerance(simplify)
    check_writable(folder)
    check_free(folder, image, NAMES.values())


def _saved(
    answer: Segmentation, folder: Path, vectors: list[str] | None, simplify: float | None, settings: Settings
) -> Files:
    """The files of an answer; where they cannot be written, the error says how to have what was paid for."""
    from geoseg_agent.backends import asks_model  # noqa: PLC0415 - as above

    try:
        return answer.save(folder, formats=vectors, simplify=simplify)
    except InputError as error:
        error.trace_id = answer.trace_id
        # Of an image that is not what it was, a replay is none.
        if answer.trace_path is not None and asks_model(settings) and not isinstance(error, ImageError):
            again = f"with --grounder replay:{answer.trace_path} nobody is asked again"
            error.hint = f"{error.hint}; {again}" if error.hint else again
        raise


def _settings(given: dict[str, Any], *, verbose: bool) -> Settings:
    import logging  # noqa: PLC0415 - the commands pay for what they need, --help does not

    from geoseg_agent.logs import configure  # noqa: PLC0415
    from geoseg_agent.settings import Settings  # noqa: PLC0415

    settings = Settings(**{name: value for name, value in given.items() if value is not None})
    configure(settings.log_format, logging.INFO if verbose or settings.log_format == "json" else logging.WARNING)
    return settings


def _hints(box: str | None, points: list[str], phrase: str | None) -> Hints:
    from geoseg_agent.types import Hints, PointHint  # noqa: PLC0415 - as above

    corners = tuple(_numbers("--box", box, 4)) if box else None
    marks = [(_numbers("--point", text, 2), not text.startswith("-")) for text in points]
    return Hints(
        box=corners,  # type: ignore[arg-type] # Hints takes four numbers and checks them
        points=tuple(PointHint(x, y, positive) for (x, y), positive in marks),
        phrase=phrase,
    )


def _numbers(option: str, text: str, count: int) -> list[int]:
    try:
        numbers = [int(part) for part in (text.removeprefix("-") if option == "--point" else text).split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != count or (option == "--point" and min(numbers) < 0):
        form = "x1,y1,x2,y2" if count == 4 else "x,y or -x,y"
        raise QueryError(f"{option} {text!r} is not {form} in whole pixels")
    return numbers


def _asked(settings: Settings, image: Path | Image, query: str | None, hints: Hints) -> Segmentation:
    try:
        return asyncio.run(_ask(settings, image, query, hints))
    except KeyboardInterrupt:
        if settings.traces != "none":
            err.print(f"what was done until then is in the newest trace in {escape(str(settings.traces))}")
        raise


async def _ask(settings: Settings, image: Path | Image, query: str | None, hints: Hints) -> Segmentation:
    from geoseg_agent.agent import Agent  # noqa: PLC0415 - as above

    async with Agent(settings) as agent:
        return await agent.segment(image, query, hints=hints)


def _print_answer(answer: Segmentation, files: dict[str, Path], seconds: float, missing: Sequence[str]) -> None:
    sure = "confidence unknown" if answer.confidence is None else f"confidence {answer.confidence:.2f}"
    colour = "green" if answer.status == "found" else "yellow"
    out.print(f"[bold {colour}]{answer.status}[/]  {sure}  engine {answer.engine}  {seconds:.1f} s")
    for number, target in enumerate(answer.targets, start=1):
        score = "" if target.score is None else f"  score {target.score:.2f}"
        out.print(
            f"  {number}. {escape(target.phrase)}  box {tuple(target.box)}  rule {target.rule}  "
            f"{target.areas.mask} px{score}"
        )
    if answer.reasoning:
        err.print(f"[dim]{escape(answer.reasoning)}[/]")
    for text in (*answer.notes, *missing):
        note(text)
    for name, path in files.items():
        out.print(f"  {name:<{_COLUMN}} {escape(str(path))}")
    out.print(f"  {'trace':<{_COLUMN}} {answer.trace_path or 'not saved'}")


def _print_failure(error: GeoSegError) -> None:
    told = {"code": error.code, "message": error.message, "hint": error.hint}
    print_json({"status": "failed", "error": told, "trace": error.trace_id})


@app.command()
def sample(
    out_folder: Annotated[
        Path, typer.Option("--out", "-o", help="Folder; each kind gets one of its own in it.")
    ] = Path("demo"),
    kind: Annotated[str, typer.Option(help="lakeside, village, farmland, airport or all.")] = "lakeside",
    seed: Annotated[int, typer.Option(help="Another number, another scene.")] = 7,
) -> None:
    """Draw a sample scene: a georeferenced overhead image with exact masks and queries on three levels.

    An earlier scene in the same place is replaced; anything else there is left alone.

    **Example** `geoseg sample --out demo && geoseg segment demo/lakeside/scene.tif "Where could ducks swim?"`
    """
    from geoseg_agent.samples import KINDS, scene, write  # noqa: PLC0415 - as above

    chosen = [known for known in KINDS if kind in {known, "all"}]
    if not chosen:
        raise InputError(f"there is no scene {kind!r}", hint=f"choose {', '.join(KINDS)} or all")
    for name in chosen:
        with progress(f"Drawing {name}"):
            drawn = scene(seed, kind=name)
            try:
                paths = write(drawn, out_folder / name, replace=True)
            except OSError as error:
                raise InputError(f"the scene cannot be written: {error}", hint="choose another --out") from error
        out.print(f"  {name:<16} {paths.geotiff}")
        for query in drawn.queries:
            out.print(f"    level {query.level}  {query.text}")


@app.command()
def replay(
    files: Annotated[list[Path], typer.Argument(help="Traces, ID.json.", show_default=False)],
    live_tools: Annotated[
        bool, typer.Option("--live-tools", help="Run the tools again on --image; only the grounding is replayed.")
    ] = False,
    image: Annotated[Path | None, typer.Option(help="The trace's image, for --live-tools.")] = None,
) -> None:
    """Run traces again and compare: every mask must come out bit for bit.

    Without options nothing but the file is needed: no image, model or network. With `--live-tools` the tools run
    on the image, and the overlap (IoU) of each target with the recorded mask is reported.

    **Examples**

    - `geoseg replay traces/*.json`
    - `geoseg replay traces/ID.json --live-tools --image scene.tif`
    """
    code = 0
    for path in files:
        try:
            cli_trace.replay_one(path, live_tools=live_tools, image=image)
        except GeoSegError as error:
            if str(path) not in error.message:
                err.print(f"[bold]{escape(str(path))}[/]")
            print_error(error)
            code = code or error.exit_code
    raise typer.Exit(code)


def main() -> None:
    """The entry point of `geoseg`: errors of the tree become a message and an exit code."""
    try:
        app()
    except GeoSegError as error:
        print_error(error)
        sys.exit(error.exit_code)
    except SystemExit as ended:
        # Typer turns a KeyboardInterrupt into this code, without a word.
        if ended.code == _INTERRUPTED:
            err.print("interrupted")
            _leave_at_once()
        raise


def _leave_at_once() -> None:
    """End the process although a thread still loads a model, which nothing can interrupt; traces are written."""
    import os  # noqa: PLC0415 - only now
    import threading  # noqa: PLC0415

    if any(thread.name.startswith("geoseg-") for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_INTERRUPTED)
