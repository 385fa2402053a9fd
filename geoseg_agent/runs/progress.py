"""How far a run is, on a terminal: what is done, pace, what is left of time and cost."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from geoseg_agent.console import err

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from geoseg_agent.runs.tally import Tally

_MILLION = 1e6


@contextmanager
def telling(total: int | None, price: float | None) -> Iterator[Callable[[Tally], None]]:
    """A bar on standard error while the block runs; a line every tenth of the run where that is no terminal.

    Args:
        total: questions of the run, or None where only the tally knows.
        price: of a million tokens, for an estimate of cost; None leaves it out.
    """
    if not err.is_terminal:
        yield lambda tally: _line(tally, price)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("asking", total=total)
        yield lambda tally: bar.update(task, total=tally.total, completed=tally.done, description=said(tally, price))


def said(tally: Tally, price: float | None) -> str:
    """The tally in words: what failed, what is left."""
    parts = ["asking"]
    if tally.failed:
        parts.append(f"{tally.failed} failed")
    if tally.calls:
        # Servers need not say how many tokens a reply took.
        parts.append(f"{tally.calls} calls" + (f", {tally.tokens:,} tokens" if tally.tokens else ""))
    if tally.seconds_left:
        parts.append(f"about {_duration(tally.seconds_left)} left")
    if tally.tokens_left:
        cost = "" if price is None else f", {tally.tokens_left * price / _MILLION:.2f} to pay"
        parts.append(f"{tally.tokens_left:,} tokens left{cost}")
    elif price is not None and tally.calls and not tally.tokens:
        parts.append("cost unknown: the server tells no tokens (GEOSEG_EARLY_STOP=off lets it)")
    return ", ".join(parts)


def _line(tally: Tally, price: float | None) -> None:
    tenth = max(1, tally.total // 10)
    if tally.done % tenth == 0 or tally.done == tally.total:
        err.print(f"{tally.done} of {tally.total}: {said(tally, price)}")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
