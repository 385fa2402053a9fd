"""What the commands that measure share: opening and checking a data set, opening a run, settings, progress."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from geoseg_agent.console import err, progress
from geoseg_agent.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geoseg_agent.bench.datasets import BoxRecord, Dataset
    from geoseg_agent.bench.datasets.collection import Broken
    from geoseg_agent.bench.opened import OpenedRun
    from geoseg_agent.bench.pairs import Pair
    from geoseg_agent.settings import Settings

_SHOWN = 20  # broken records that are listed

Data = Annotated[Path, typer.Argument(help="A data set: its folder, or its file of records.", show_default=False)]
Kind = Annotated[str, typer.Option(help="auto, manifest, geoseg-bench, lasers or referring: the layout.")]
Split = Annotated[str | None, typer.Option(help="Only this split; LaSeRS and referring data have them.")]
Images = Annotated[
    Path | None, typer.Option(help="Folder of the images, if elsewhere; for LaSeRS and referring data.")
]
Run = Annotated[Path, typer.Argument(help="Folder of a run.", show_default=False)]
Moved = Annotated[Path | None, typer.Option("--data", help="The run's data set, if it has moved.")]


def settings_for(**given: Any) -> Settings:
    """The settings of the environment, and of the options that were given; the log keeps to errors."""
    import logging  # noqa: PLC0415 - the commands pay for what they need, --help does not

    from geoseg_agent.logs import configure  # noqa: PLC0415
    from geoseg_agent.settings import Settings  # noqa: PLC0415

    settings = Settings(**{name: value for name, value in given.items() if value is not None})
    configure(settings.log_format, logging.ERROR)
    return settings


def opened_pairs(data: Path, kind: str, split: str | None, images: Path | None) -> Dataset[Pair]:
    """The data set; its records are not read yet."""
    from geoseg_agent.bench.datasets import open_pairs  # noqa: PLC0415 - as above

    return open_pairs(data, kind=kind, split=split, images=images)  # type: ignore[arg-type] # it says which there are


def check(dataset: Dataset[Pair] | Dataset[BoxRecord], max_pixels: int | None = None) -> int:
    """Read every record; the number of records.

    Raises:
        DatasetError: some are broken, and are listed on standard error; or there is none.
    """
    from geoseg_agent.bench.datasets import validate  # noqa: PLC0415 - as above

    count = 0

    def counted(done: int, total: int | None) -> None:
        nonlocal count
        count = done
        told(done, total or done)

    limit = {} if max_pixels is None else {"max_pixels": max_pixels}
    with progress("Reading every record") as told:
        broken = validate(dataset, told=counted, **limit)
    _list(broken)
    if broken:
        more = f", {len(broken) - _SHOWN} more than are shown" if len(broken) > _SHOWN else ""
        raise DatasetError(
            f"{len(broken)} rules are broken in {count} records{more}",
            hint="mend the data set; nothing was asked yet",
        )
    if not count:
        raise DatasetError(f"{dataset.root} holds no record", hint="with --split, is the split called so?")
    return count


def _list(broken: Sequence[Broken]) -> None:
    for one in broken[:_SHOWN]:
        err.print(f"  {escape(one.where)}{'' if one.id is None else f' ({escape(one.id)})'}: {escape(one.rule)}")


def opened_run(folder: Path, data: Path | None) -> OpenedRun:
    """The run, and a remark where it is not complete yet."""
    from geoseg_agent.bench.opened import open_run  # noqa: PLC0415 - as above
    from geoseg_agent.console import note  # noqa: PLC0415

    with progress(f"Opening {folder}"):
        run = open_run(folder, data=data)
    if not run.complete:
        note(f"{folder} has {len(run.answered)} of {run.plan.pairs} pairs yet; the rest is left out here.")
    return run
