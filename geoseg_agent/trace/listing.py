"""What a folder of traces holds, and keeping it small."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, NamedTuple

from geoseg_agent.errors import TraceError
from geoseg_agent.trace.ids import is_id, time_of
from geoseg_agent.trace.store import load

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta
    from pathlib import Path

    from geoseg_agent.trace.model import Status


class Summary(NamedTuple):
    """One line about one trace.

    Attributes:
        id: the trace's id, or the file's name where it is corrupt.
        time: when the query began, as traces write it; empty where unknown.
        status: how it ended; "corrupt" where the file cannot be read.
        query: the question.
        engine: what produced the result.
        targets: how many were found, None without a result.
        seconds: how long it took.
        path: the file.
        problem: why it is corrupt.
    """

    id: str
    time: str
    status: Status | Literal["corrupt"]
    query: str
    engine: str
    targets: int | None
    seconds: float
    path: Path
    problem: str | None = None


def summaries(folder: Path) -> Iterator[Summary]:
    """One summary per .json file in `folder`, by name, that is, by time; each is read when it is asked for.

    Raises:
        TraceError: there is no such folder.
    """
    if not folder.is_dir():
        raise TraceError(f"there is no folder {folder}", hint="say where the traces lie, or set GEOSEG_TRACES")
    for path in sorted(folder.glob("*.json")):
        yield _summary(path)


def _summary(path: Path) -> Summary:
    try:
        trace = load(path)
    except TraceError as error:
        return Summary(path.stem, "", "corrupt", "", "", None, 0.0, path, error.message)
    targets = None if trace.result is None else len(trace.result.targets)
    return Summary(trace.id, trace.started, trace.status, trace.query, trace.engine, targets, trace.seconds, path)


def prune(
    folder: Path, *, keep: int | None = None, older_than: timedelta | None = None, now: datetime | None = None
) -> list[Path]:
    """Remove traces and say which. Only files whose name is a trace id are touched, so examples and others stay.

    Args:
        folder: where they lie; journals are not touched, see `recover`.
        keep: the newest so many stay, whatever their age.
        older_than: only traces that began longer ago than this go.
        now: the present moment.

    Raises:
        TraceError: neither limit is given, or one is negative, or a file cannot be removed.
    """
    if keep is None and older_than is None:
        raise TraceError("say which traces may go", hint="--keep N, --older-than DAYS, or both")
    if (keep is not None and keep < 0) or (older_than is not None and older_than.total_seconds() < 0):
        raise TraceError(f"limits are not negative: keep {keep}, older_than {older_than}")
    traces = sorted((path for path in folder.glob("*.json") if is_id(path.stem)), reverse=True)
    limit = None if older_than is None else (now or datetime.now(UTC)) - older_than
    old = [path for path in traces[keep or 0 :] if limit is None or time_of(path.stem) < limit]
    for path in old:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise TraceError(f"{path} cannot be removed: {error.strerror or error}") from error
    return old
