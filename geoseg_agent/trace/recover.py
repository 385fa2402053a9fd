"""After a crash: journals become traces, and what else a kill leaves behind is cleared away.

What can be on disk when a process dies, by where it died:

    while steps are recorded     ID.journal, its last line perhaps torn
    before the first line        ID.journal, empty or with half a line
    while the trace is written   ID.journal and ID.json.tmp
    after the rename             ID.journal and ID.json

A journal is only touched under its lock, which the system takes from a process that dies and from no other.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import TypeAdapter, ValidationError

from geoseg_agent.errors import TraceError
from geoseg_agent.trace.codec import INTERRUPTED, interruption
from geoseg_agent.trace.files import DiskFiles, Files
from geoseg_agent.trace.ids import is_id, read, written
from geoseg_agent.trace.jsontext import parse
from geoseg_agent.trace.model import Opening, Step
from geoseg_agent.trace.store import write_trace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_STEP: TypeAdapter[Step] = TypeAdapter(Step)


class Recovered(NamedTuple):
    """What became of one file that a crash left.

    Attributes:
        path: the trace that was made, or the file that was removed or left alone.
        outcome: "recovered": the journal is a trace now; "finished": the trace was there, its journal is removed;
            "empty": the journal held nothing and is removed; "stray": a temporary file, removed; "running": the
            query still runs, nothing was touched; "unreadable": no journal of this version, left where it is.
        steps: how many steps the trace holds.
    """

    path: Path
    outcome: Literal["recovered", "finished", "empty", "stray", "running", "unreadable"]
    steps: int = 0


def recover(folder: Path, files: Files | None = None) -> list[Recovered]:
    """Turn the journals in `folder` that no process writes any more into traces with status "interrupted". Blocks.

    Safe beside running queries and other recoveries, and safe to be killed: what is left undone is done next time.

    Raises:
        TraceError: the folder cannot be read or written to.
    """
    files = files or DiskFiles()
    try:
        found = [_recovered(path, files) for path in sorted(folder.glob("*.journal")) if is_id(path.stem)]
        return [one for one in found if one is not None] + list(_strays(folder, files))
    except OSError as error:
        raise TraceError(f"{folder} cannot be recovered: {error.strerror or error}") from error


def _recovered(path: Path, files: Files) -> Recovered | None:
    with _locked(path) as held:
        if held is None:
            return None
        if not held:
            return Recovered(path, "running")
        trace = path.with_suffix(".json")
        if trace.exists():
            files.unlink(path)
            return Recovered(trace, "finished")
        data = path.read_bytes()
        lines = data[: data.rfind(b"\n") + 1].splitlines()
        if not lines:
            files.unlink(path)
            return Recovered(path, "empty")
        tree = _tree(lines, path)
        if tree is None:
            return Recovered(path, "unreadable")
        files.unlink(trace.with_name(trace.name + ".tmp"))
        write_trace(files, trace, tree)
        files.unlink(path)
        return Recovered(trace, "recovered", len(tree["steps"]))


@contextmanager
def _locked(path: Path) -> Iterator[bool | None]:
    """Whether the journal's lock is ours inside the block; None where the file is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        # The writer may have finished and removed it between our open and our lock.
        yield True if os.fstat(descriptor).st_nlink else None
    finally:
        os.close(descriptor)


def _tree(lines: list[bytes], path: Path) -> dict[str, Any] | None:
    """The trace up to the first line that is none; None where already the first is."""
    try:
        opening = Opening.model_validate(parse(lines[0]))
        started = read(opening.started)
    except (ValueError, ValidationError, RecursionError):
        return None
    if opening.id != path.stem:
        return None
    steps: list[dict[str, Any]] = []
    for line in lines[1:]:
        try:
            step = _STEP.validate_python(parse(line))
        except (ValueError, ValidationError, RecursionError):
            break
        if step.index != len(steps):
            break
        steps.append(step.model_dump())
    last = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    finished = read(written(max(started, last)))
    known = opening.model_dump(by_alias=True)
    return {
        "schema": known.pop("schema"),
        "id": known.pop("id"),
        "status": "interrupted",
        "started": known.pop("started"),
        "finished": written(finished),
        "seconds": (finished - started).total_seconds(),
        **known,
        "steps": steps,
        "result": None,
        "error": interruption(INTERRUPTED, opening.id).model_dump(),
    }


def _strays(folder: Path, files: Files) -> Iterator[Recovered]:
    for path in sorted(folder.glob("*.json.tmp")):
        name = path.name.removesuffix(".json.tmp")
        # Where there is a journal, its writer may be at work on this very file, or be done with it by now.
        if is_id(name) and not (folder / f"{name}.journal").exists() and path.exists():
            files.unlink(path)
            yield Recovered(path, "stray")
