"""`geoseg calibrate`: the margins of Eq. 2 for one model, after a test of the frame that it speaks."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path  # noqa: TC003 - typer reads it
from typing import TYPE_CHECKING, Annotated

import typer

from geoseg_agent.cli_data import Moved, check, opened_run, settings_for
from geoseg_agent.console import note, out, progress
from geoseg_agent.errors import ConfigError, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geoseg_agent.calibrate.pairs import Said

_FIRST = 1 << 16  # characters looked at to tell a file of replies from one of boxes
_SHOWN = 5  # failures that are listed


def calibrate(
    source: Annotated[
        Path,
        typer.Argument(
            help="A run with its traces; a file of boxes said and true; or a data set of boxes.", show_default=False
        ),
    ],
    out_folder: Annotated[Path, typer.Option("--out", "-o", help="Folder for settings, figure and report.")],
    data: Moved = None,
    kind: Annotated[str, typer.Option(help="Of box data: auto, boxes, dior, nwpu or loveda.")] = "auto",
    limit: Annotated[int, typer.Option(min=1, help="Records of box data to ask for, by class.")] = 500,
    seed: Annotated[int, typer.Option(help="Of the records that are drawn, and of the intervals.")] = 0,
    concurrency: Annotated[int, typer.Option(min=1, help="Records asked for at once.")] = 4,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Ask again what failed before.")] = False,
    price: Annotated[float | None, typer.Option(min=0, help="Of a million tokens: an estimate of cost.")] = None,
    model: Annotated[str | None, typer.Option(help="Only replies of this model, where there are several.")] = None,
    coverage: Annotated[float, typer.Option(help="Share of the true boxes that the margins are to hold.")] = 0.9,
    reading: Annotated[
        str | None, typer.Option(help="Read the numbers in this frame instead of as recorded, e.g. norm1000.")
    ] = None,
) -> None:
    """Measure how a model's boxes miss, and propose the margins of Eq. 2 for it.

    First the numbers are tested against every frame that they could be in (pixels, 0..1000, 0..1, pixels of the sent
    image, y first): a unit error is named and never calibrated away as bias. Then margins are proposed, with
    intervals by image, for several coverages and size classes.

    A run gives its traces, and its data set the true boxes; where that has masks only, the box around each mask
    counts as true. A file of replies has lines like {"image": "a.jpg", "size": [h, w], "said": [[x1, y1, x2, y2]],
    "true": [[...]], "read": "norm1000"}; docs/evaluation.md has all of it. A data set of boxes (boxes.jsonl, DIOR,
    NWPU VHR-10, LoveDA) is asked for at the endpoint of the settings, one trace each, in OUT/asked; the same command
    goes on after a kill.

    Writes calibration.env, to load with `set -a; . OUT/calibration.env; set +a`, offsets.png, calibration.md and
    calibration.json. Exit code 3: no margins, because the frame is wrong or unsure; the report says which.

    **Examples**

    - `geoseg calibrate runs/qwen --out calibration`
    - `GEOSEG_BASE_URL=http://localhost:8000/v1 geoseg calibrate DIOR --limit 300 --out calibration`
    - `geoseg calibrate replies.jsonl --reading norm1000 --out calibration`
    """
    from geoseg_agent.calibrate.run import calibrate as calibrated  # noqa: PLC0415 - the commands pay for what they need

    if (source / "run.json").is_file():
        said = _of_run(source, data, model)
    elif _has_replies(source):
        said = _of_file(source, model)
    else:
        said = _asked(source, kind, limit, seed, concurrency, price, out_folder / "asked", retry_failed=retry_failed)
    try:
        with progress("Calibrating"):
            made = calibrated(
                said, out_folder, date=f"{datetime.now(UTC):%Y-%m-%d}", coverage=coverage, reading=reading, seed=seed
            )
    except OSError as error:
        raise InputError(
            f"{out_folder} cannot be written: {error.strerror or error}", hint="name another folder with --out"
        ) from error
    out.print(made.files["markdown"].read_text(encoding="utf-8"), markup=False)
    for name, path in made.files.items():
        out.print(f"  {name:<16} {path}", markup=False)
    if made.refused is not None:
        raise made.refused


def _of_run(source: Path, data: Path | None, model: str | None) -> Sequence[Said]:
    from geoseg_agent.calibrate.from_traces import read_traces, truths_of  # noqa: PLC0415 - as above
    from geoseg_agent.calibrate.mask_boxes import with_mask_boxes  # noqa: PLC0415

    run = opened_run(source, data)
    pairs = [one.pair for one in run.answered]
    if not any(pair.boxes for pair in pairs):
        note("The data set has no boxes: the box around each mask counts as the true one.")
        pairs = list(with_mask_boxes(pairs))
    found = read_traces(source / "traces", truths_of(pairs), model=model)
    _skipped(found.skipped)
    return found.said


def _of_file(source: Path, model: str | None) -> Sequence[Said]:
    from geoseg_agent.calibrate.pairs_file import read_pairs  # noqa: PLC0415 - as above

    said = read_pairs(source)
    kept = [one for one in said if model is None or one.model == model]
    if not kept:
        names = ", ".join(sorted({one.model or "not named" for one in said}))
        raise InputError(f"{source} holds no replies of {model}", hint=f"there are {names}")
    return kept


def _asked(
    source: Path,
    kind: str,
    limit: int,
    seed: int,
    concurrency: int,
    price: float | None,
    folder: Path,
    *,
    retry_failed: bool,
) -> Sequence[Said]:
    from geoseg_agent.bench.datasets import open_boxes, sample  # noqa: PLC0415 - as above
    from geoseg_agent.calibrate.ask import ask_boxes  # noqa: PLC0415
    from geoseg_agent.runs.progress import telling  # noqa: PLC0415

    settings = settings_for()
    dataset = open_boxes(source, kind=kind)  # type: ignore[arg-type] # it says which there are
    if settings.grounder == "auto" and settings.base_url is None:
        raise ConfigError(
            f"{source} holds true boxes only, so a model is to be asked for its own, and none is set",
            hint="set GEOSEG_BASE_URL, and GEOSEG_MODEL where the endpoint has several",
        )
    check(dataset, settings.max_pixels)
    records = sample(dataset, limit, seed)
    with telling(len(records), price) as told:
        asking = ask_boxes(
            dataset, records, folder, settings, concurrency=concurrency, retry_failed=retry_failed, told=told
        )
        asked = asyncio.run(asking)
    _skipped(asked.skipped)
    for name, why in list(asked.failed.items())[:_SHOWN]:
        note(f"{name} failed: {why}")
    if len(asked.failed) > _SHOWN:
        note(f"{len(asked.failed) - _SHOWN} more failed; --retry-failed asks all of them again.")
    return asked.said


def _skipped(reasons: dict[str, int]) -> None:
    for reason, count in reasons.items():
        note(f"{count} left out: {reason}.")


def _has_replies(source: Path) -> bool:
    """Whether a file's first line is a reply with boxes said; anything else is taken for a data set of boxes."""
    if not source.is_file():
        return False
    try:
        with source.open(encoding="utf-8") as lines:
            first = json.loads(lines.readline(_FIRST))
    except (OSError, ValueError):
        return False
    return isinstance(first, dict) and "said" in first
