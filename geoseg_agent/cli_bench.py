"""`geoseg bench validate | run | score | compare`: measure on a data set, score other systems on it, and compare."""

from __future__ import annotations

import asyncio
from pathlib import Path  # noqa: TC003 - typer reads it
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from geoseg_agent import cli_ablate, cli_judge
from geoseg_agent.cli_data import Data, Images, Kind, Split, check, opened_pairs, settings_for
from geoseg_agent.console import err, note, out, print_json, print_table, progress
from geoseg_agent.errors import InputError, first_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from geoseg_agent.bench.datasets import Dataset
    from geoseg_agent.bench.pairs import Pair
    from geoseg_agent.bench.records import PairResult
    from geoseg_agent.bench.summary import Summary

app = typer.Typer(
    rich_markup_mode="markdown",
    no_args_is_help=True,
    help="Measure on labelled data: run, score masks of other systems, compare, ablate, judge.",
)


@app.command()
def validate(data: Data, kind: Kind = "auto", split: Split = None, images: Images = None) -> None:
    """Read every record of a data set and list all that are broken.

    Exit code 0: none is; 2: some are.

    **Example** `geoseg bench validate data/manifest.jsonl`
    """
    dataset = opened_pairs(data, kind, split, images)
    count = check(dataset)
    out.print(f"[green]fine[/]  {count} pairs, layout {dataset.kind}")


@app.command()
def run(
    data: Data,
    out_folder: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run; one that was begun goes on.")],
    kind: Kind = "auto",
    split: Split = None,
    images: Images = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Pairs at once; 1 for timings that mean something.")] = 4,
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many pairs, drawn by --seed.")] = None,
    seed: Annotated[int, typer.Option(help="Another number, other pairs of --limit.")] = 0,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Ask again what failed before.")] = False,
    price: Annotated[
        float | None,
        typer.Option(
            min=0, help="Price of a million tokens: the cost left is estimated where the server tells tokens."
        ),
    ] = None,
) -> None:
    """Ask every pair of DATA, score the answers, and write results.jsonl, summary.json and report.html.

    The grounder, the tools and the method are those of the GEOSEG_* settings. A data set with broken records is
    refused with the list of them. Killed at any moment, the same command goes on: pairs with a result are not asked
    again, and replies that were paid for are taken from their journals. What fails counts as 0; nothing is left out.

    **Examples**

    - `geoseg bench run data --out runs/offline`
    - `GEOSEG_PROFILE=paper geoseg bench run data --out runs/paper --concurrency 1`
    - `GEOSEG_BASE_URL=http://localhost:8000/v1 geoseg bench run data --out runs/qwen --price 0.4`
    """
    from geoseg_agent.bench.plan import source_of  # noqa: PLC0415 - the commands pay for what they need
    from geoseg_agent.bench.run import run as run_all  # noqa: PLC0415
    from geoseg_agent.runs.progress import telling  # noqa: PLC0415

    settings = settings_for()
    dataset = opened_pairs(data, kind, split, images)
    check(dataset, settings.max_pixels)
    pairs = _chosen(dataset, limit, seed)
    source = source_of(dataset, data, split=split, images=images)
    try:
        with telling(len(pairs), price) as told, first_error():
            asyncio.run(
                run_all(
                    dataset,
                    source,
                    pairs,
                    out_folder,
                    settings,
                    concurrency=concurrency,
                    retry_failed=retry_failed,
                    told=told,
                )
            )
    except KeyboardInterrupt:
        note(f"{out_folder} holds what was done until now; the same command goes on with it.")
        raise
    _conclude(out_folder, pairs, out_folder.resolve().name)


@app.command()
def score(
    data: Data,
    pred: Annotated[Path, typer.Option("--pred", help="Folder with a mask ID.png or ID.tif for each pair.")],
    out_folder: Annotated[Path, typer.Option("--out", "-o", help="Folder for results, summary and report.")],
    kind: Kind = "auto",
    split: Split = None,
    images: Images = None,
    name: Annotated[str | None, typer.Option(help="What made the masks; default the folder's name.")] = None,
    resize: Annotated[bool, typer.Option("--resize", help="Bring masks of another size to the image's.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes; more pay from some thousand pairs on.")] = 1,
) -> None:
    """Score the masks of any system on the pairs of DATA, by the same rules as a run.

    A mask that is missing, unreadable or of another size counts as a failed query, with its reason.

    **Example** `geoseg bench score data --pred masks/lisa --out runs/lisa`
    """
    from geoseg_agent.bench.plan import source_of  # noqa: PLC0415 - as above
    from geoseg_agent.bench.score_run import score_into  # noqa: PLC0415
    from geoseg_agent.bench.scoring import strangers  # noqa: PLC0415

    dataset = opened_pairs(data, kind, split, images)
    pairs = list(dataset)
    source = source_of(dataset, data, split=split, images=images)
    with progress("Scoring") as told:
        seconds = score_into(
            dataset, source, pairs, pred, out_folder, told=told, engine=name, resize=resize, workers=workers
        )
    err.print(f"{len(pairs)} pairs in {seconds:.1f} s: {len(pairs) / max(seconds, 1e-9):.0f} pairs per second")
    unknown = strangers(pairs, pred)
    if unknown:
        shown = ", ".join(unknown[:5])
        err.print(f"[yellow]note[/]: {len(unknown)} files of {escape(str(pred))} belong to no pair: {escape(shown)}")
    _conclude(out_folder, pairs, name or pred.resolve().name)


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, or files of results.", show_default=False)],
    common_only: Annotated[
        bool, typer.Option("--common-only", help="Compare the pairs that all have, instead of refusing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of tables.")] = False,
) -> None:
    """Paired differences between runs over the same pairs, with 95 % intervals resampled by image, and their ranks.

    **Example** `geoseg bench compare runs/offline runs/points runs/lisa`
    """
    from geoseg_agent.bench.compare import compare as compared  # noqa: PLC0415 - as above
    from geoseg_agent.bench.compare_table import markdown  # noqa: PLC0415

    found = compared(dict(zip(_names(runs), map(_results, runs), strict=True)), common_only=common_only)
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        out.print(markdown(found), markup=False)


for command in (cli_ablate.ablate, cli_ablate.consistency, cli_judge.judge, cli_judge.duel, cli_judge.agree):
    app.command()(command)


def _chosen(dataset: Dataset[Pair], limit: int | None, seed: int) -> list[Pair]:
    from random import Random  # noqa: PLC0415 - as above

    pairs = list(dataset)
    if limit is None or limit >= len(pairs):
        return pairs
    kept = sorted(Random(seed).sample(range(len(pairs)), limit))  # noqa: S311 - a sample, not a secret
    return [pairs[i] for i in kept]


def _names(runs: Sequence[Path]) -> list[str]:
    """What the runs are called: by the last part of their paths where these differ, else by the whole of them."""
    short = [path.stem if path.suffix == ".jsonl" else path.resolve().name for path in runs]
    if len(set(short)) == len(runs):
        return short
    whole = [str(path) for path in runs]
    twice = next((name for name in whole if whole.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{twice} is named twice", hint="name each run once")
    return whole


def _results(path: Path) -> Iterator[PairResult]:
    from geoseg_agent.bench.records import load_results  # noqa: PLC0415 - as above

    return load_results(path if path.suffix == ".jsonl" else path / "results.jsonl")


def _conclude(folder: Path, pairs: Sequence[Pair], name: str) -> None:
    """Sum up, write summary and report, and say the most important of it."""
    from geoseg_agent.bench.records import load_results  # noqa: PLC0415
    from geoseg_agent.bench.report import write_report  # noqa: PLC0415
    from geoseg_agent.bench.summary import summarise  # noqa: PLC0415
    from geoseg_agent.runs.lines import put_file  # noqa: PLC0415 - as above

    found = list(load_results(folder / "results.jsonl"))
    summary = summarise(found)
    put_file(folder / "summary.json", summary.model_dump_json(indent=1).encode())
    with progress("Drawing the report") as told:
        write_report(folder, name, found, summary, pairs, told=told)
    _print_summary(summary)
    _tell_failures(found)
    for file in ("results.jsonl", "summary.json", "report.html"):
        out.print(f"  {file:<16} {escape(str(folder / file))}")


def _print_summary(summary: Summary) -> None:
    from rich.table import Table  # noqa: PLC0415 - as above

    from geoseg_agent.bench.compare_table import TITLES  # noqa: PLC0415

    table = Table("", "mean", "95 % by image", box=None, pad_edge=False)
    means = {title: summary.overall.metrics[metric] for metric, title in TITLES.items()}
    if summary.overall.cumulative_iou is not None:
        means["cumulative IoU"] = summary.overall.cumulative_iou
    for title, mean in means.items():
        bounds = "" if mean.low is None or mean.high is None else f"{100 * mean.low:.1f} to {100 * mean.high:.1f}"
        table.add_row(title, f"{100 * mean.value:.1f}", bounds)
    print_table(table)
    ended = summary.overall.outcomes
    out.print(
        f"\n{summary.overall.n} pairs: found {ended.found}, not found {ended.not_found}, "
        f"ambiguous {ended.ambiguous}, abstained {ended.abstained}, failed {ended.failed}: all of them count"
    )


def _tell_failures(results: Sequence[PairResult]) -> None:
    """Why pairs failed, the commonest reason of all: a figure does not say that an endpoint refused its key."""
    from collections import Counter  # noqa: PLC0415 - as above

    reasons = Counter(result.error.message for result in results if result.error is not None)
    if reasons:
        reason, count = reasons.most_common(1)[0]
        note(f"{reasons.total()} pairs failed, {count} of them with: {reason}")
