"""Traces on disk: a journal while a query runs, one sealed file when it has ended.

    ID.journal     first line: what is known before the first step; then one line per step, as it ends
    ID.json        the trace, written in one step from a temporary file; then the journal is removed

So after a kill at any moment there is the whole trace, or a journal that `recover` turns into one.
"""

from __future__ import annotations

import asyncio
import errno
from collections import deque
from contextlib import suppress
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from geoseg_agent.errors import ConfigError, TraceCorrupt, TraceError, TraceTooNew
from geoseg_agent.logs import log
from geoseg_agent.trace.consistent import contradictions
from geoseg_agent.trace.files import DiskFiles, Files, write_atomically
from geoseg_agent.trace.ids import is_id
from geoseg_agent.trace.jsontext import compact, parse, pretty
from geoseg_agent.trace.model import SCHEMA, Trace
from geoseg_agent.trace.seal import changes, reseal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from geoseg_agent.lanes import Lane

T = TypeVar("T")

MAX_BYTES = 256 << 20


class Journal:
    """The open journal of one query. Its methods block; they run on the store's lane.

    Raises:
        OSError: of every method, when the disk says no.
    """

    def __init__(self, files: Files, folder: Path, trace_id: str, opening: Mapping[str, Any]) -> None:
        self.path = folder / f"{trace_id}.journal"
        self._files = files
        self._synced = False
        folder.mkdir(parents=True, exist_ok=True)
        self._descriptor: int | None = files.create(self.path)
        try:
            self.append(opening)
        except BaseException:
            for tidy in (self.close, partial(files.unlink, self.path)):
                with suppress(OSError):
                    tidy()
            raise

    def append(self, record: Mapping[str, Any], *, paid: bool = False) -> None:
        """Add one line; what was paid for is synced, so that it is never paid for twice."""
        if self._descriptor is None:
            raise OSError(errno.EBADF, "the journal is closed")
        self._files.write(self._descriptor, compact(record) + b"\n")
        if paid:
            self._files.fsync(self._descriptor)
            if not self._synced:
                self._files.fsync_folder(self.path.parent)
                self._synced = True

    def finish(self, tree: Mapping[str, Any]) -> Path:
        """Write the sealed trace, and only then remove the journal; its lock is held throughout."""
        path = self.path.with_suffix(".json")
        write_trace(self._files, path, tree)
        try:
            self._files.unlink(self.path)
        except OSError as error:
            log.warning("journal not removed, recover will", path=str(self.path), error=str(error))
        return path

    def close(self) -> None:
        """Give the file back; safe to call twice."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            self._files.close(descriptor)


class Store:
    """A folder of traces, written to on one lane in order of arrival.

    Args:
        folder: made when the first query begins.
        io: the lane that every file call runs on.
        files: the file calls themselves.
    """

    def __init__(self, folder: Path, io: Lane, files: Files | None = None) -> None:
        self.folder = folder
        self._io = io
        self._files: Files = files or DiskFiles()
        self._jobs: deque[Callable[[], None]] = deque()
        self._drainer: asyncio.Task[None] | None = None

    def begin(self, trace_id: str, opening: Mapping[str, Any]) -> Journal:
        """Open the journal of a query. Blocks; runs on the lane.

        Raises:
            ConfigError: the folder cannot be written to, or the disk is full.
        """
        if not is_id(trace_id):
            raise TraceError(f"{trace_id[:80]!r} is not a trace id")
        try:
            return Journal(self._files, self.folder, trace_id, opening)
        except OSError as error:
            full = error.errno in {errno.ENOSPC, errno.EDQUOT}
            remedy = "free some space" if full else "make it writable, or choose another with GEOSEG_TRACES=FOLDER"
            raise ConfigError(
                f"no trace can be written to {self.folder}: {error.strerror or error}",
                hint=f"{remedy}; GEOSEG_TRACES=none switches traces off",
            ) from error

    def later(self, job: Callable[[], None]) -> None:
        """Run the job on the lane after those before it, without waiting for it. The job raises nothing."""
        self._jobs.append(job)
        if self._drainer is None or self._drainer.done():
            # An empty context: the job belongs to no query, and must not count as anybody's time in a lane.
            self._drainer = asyncio.get_running_loop().create_task(self._drain(), context=Context())

    async def now(self, job: Callable[[], T]) -> T:
        """Run the job on the lane after those before it, to its end even when the caller is cancelled meanwhile.

        Raises:
            CancelledError: the caller was cancelled; raised after the job has ended.
        """
        outcome: list[T] = []
        fault: list[BaseException] = []

        def in_turn() -> None:
            try:
                outcome.append(job())
            except BaseException as error:  # noqa: BLE001 - it is the caller's, who waits for it
                fault.append(error)

        self._jobs.append(in_turn)
        running = asyncio.get_running_loop().create_task(self._io.run(self._work), context=Context())
        cancelled: asyncio.CancelledError | None = None
        while not running.done():
            try:
                await asyncio.wait({running})
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            if not running.cancelled():
                running.exception()
            raise cancelled
        running.result()
        if fault:
            raise fault[0]
        return outcome[0]

    async def _drain(self) -> None:
        try:
            while self._jobs:
                await self._io.run(self._work)
        except RuntimeError as error:  # the lane is closed: the Agent was, under a running query
            log.error("journal not written", folder=str(self.folder), error=str(error))

    def _work(self) -> None:
        while True:
            try:
                job = self._jobs.popleft()
            except IndexError:
                return
            job()

    @staticmethod
    def load(path: Path) -> Trace:
        """The trace in a file, checked against its seal. Blocks.

        Raises:
            TraceCorrupt: it is no trace, or was changed; the message names step and field.
            TraceTooNew: a later version wrote it.
            TraceError: the file cannot be read.
        """
        return load(path)


def write_trace(files: Files, path: Path, tree: Mapping[str, Any]) -> None:
    """Seal the tree and write it in one step.

    Raises:
        OSError: the disk says no.
        ValueError: a number in it is not finite.
    """
    write_atomically(files, path, pretty(reseal(tree)))


def load(path: Path) -> Trace:
    """As `Store.load`."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise TraceCorrupt(f"{path} has more than {MAX_BYTES >> 20} MiB, no trace is that large")
        data = path.read_bytes()
    except OSError as error:
        raise TraceError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        return checked(parse(data), str(path))
    except RecursionError as error:
        raise TraceCorrupt(f"{path} is no trace: it is nested too deep") from error
    except ValueError as error:
        raise TraceCorrupt(f"{path} is no trace: {error}") from error


def checked(tree: Any, name: str) -> Trace:
    """The trace that the JSON value `tree` holds; `name` is what messages call it.

    Raises:
        TraceCorrupt: a field is malformed, or not as it was sealed.
        TraceTooNew: a later version wrote it.
    """
    if not isinstance(tree, dict) or not isinstance(tree.get("seal"), dict) or type(tree.get("schema")) is not int:
        raise TraceCorrupt(f"{name} is no trace: it has no schema or no seal")
    if tree["schema"] > SCHEMA:
        raise TraceTooNew(
            f"{name} has schema {tree['schema']}, this version reads up to {SCHEMA}", hint="update geoseg-agent"
        )
    changed = changes(tree, tree["seal"])
    if changed:
        more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
        place = named(tree, changed[0].path)
        raise TraceCorrupt(f"{name}: {place} {changed[0].kind} since the trace was written{more}")
    try:
        trace = Trace.model_validate(tree)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in _plain(first["loc"]))
        raise TraceCorrupt(f"{name}: {named(tree, where.lstrip('.'))}: {first['msg']}") from None
    problem = next(contradictions(trace), None)
    if problem is not None:
        raise TraceCorrupt(f"{name}: {named(tree, problem)}")
    return trace


def _plain(loc: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Where the error is, without the name that the union of steps puts in: steps, 4, "text", output."""
    return (*loc[:2], *loc[3:]) if loc[0] == "steps" else loc


def named(tree: Mapping[str, Any], path: str) -> str:
    """A path for people: "step 4 (text, target 1): output.masks[0].counts"."""
    if not path.startswith("steps["):
        return path
    number, _, field = path.removeprefix("steps[").partition("]")
    try:
        step = tree["steps"][int(number)]
        target = "" if step["target"] is None else f", target {step['target']}"
        return f"step {number} ({step['seam']}{target}): {field.lstrip('.') or 'the step'}"
    except (KeyError, IndexError, TypeError, ValueError):
        return f"step {number}: {field.lstrip('.') or 'the step'}"
