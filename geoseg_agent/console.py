"""What the command line says and where: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.table import Table

    from geoseg_agent.errors import GeoSegError

err = Console(stderr=True, highlight=False, soft_wrap=True)
out = Console(highlight=False, soft_wrap=True)

_WIDEST = 10_000


@contextmanager
def progress(doing: str) -> Iterator[Callable[[int, int], None]]:
    """A spinner with elapsed time while the block runs, on a terminal; nothing elsewhere.

    Yields a function that takes how much is done and of how much, for work that can be counted.
    """
    if not err.is_terminal:
        yield lambda _done, _total: None
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415 - not for --help

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task(escape(doing), total=None)
        yield lambda done, total: bar.update(task, description=f"{escape(doing)}: {done} of {total}")


def print_table(table: Table) -> None:
    """A table on standard output: as wide as the terminal, or as its rows where a file or a program reads it."""
    (out if out.is_terminal else Console(highlight=False, width=_WIDEST)).print(table)


def print_json(value: dict[str, Any]) -> None:
    """Exactly one JSON object on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n")


def print_error(error: GeoSegError) -> None:
    """What went wrong, what to do about it, and which trace tells more; on standard error."""
    err.print(f"[bold red]error[/] ({error.code}): {escape(error.message)}")
    if error.hint:
        err.print(f"  [bold]try:[/] {escape(error.hint)}")
    if error.trace_id:
        err.print(f"  [dim]trace: {error.trace_id}[/]")


def note(text: str) -> None:
    """A remark for the person who asked; on standard error."""
    err.print(f"[yellow]note[/]: {escape(text)}")
