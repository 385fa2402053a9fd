"""The recorder of one query, found through a context variable; `geoseg_agent.trace.record` holds what feeds it.

Whatever goes wrong with a trace once a query runs never changes the answer.
"""

from __future__ import annotations

from asyncio import CancelledError
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import timedelta
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from geoseg_agent.errors import GeoSegError, leaves_of
from geoseg_agent.logs import log
from geoseg_agent.settings import SECRET
from geoseg_agent.trace import codec
from geoseg_agent.trace.ids import new_id, time_of, written
from geoseg_agent.trace.model import SCHEMA

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    from geoseg_agent.imagery import Image
    from geoseg_agent.segmentation import Segmentation
    from geoseg_agent.trace.model import ErrorRecord, Input, Output, PromptRecord, Seam, Status
    from geoseg_agent.trace.store import Journal, Store
    from geoseg_agent.types import Hints, Query

UNSAVED = "the trace of this answer could not be saved"


@dataclass(frozen=True, slots=True, eq=False)
class Header:
    """What is known of a query before its first step.

    Attributes:
        engine: what the result will be labelled with.
        versions: package to version.
        weights: sha256 of each weight file in use.
        settings: every setting but the secret ones, as JSON values.
        method: the method's constants in force.
        image, query, hints: what was asked.
        prompt: name, version and digest of the prompt, where a model is asked.
    """

    engine: str
    versions: Mapping[str, str]
    weights: Mapping[str, str]
    settings: Mapping[str, Any]
    method: Mapping[str, Any]
    image: Image
    query: Query
    hints: Hints
    prompt: PromptRecord | None = None

    def opening(self, trace_id: str) -> dict[str, Any]:
        """The first line of the journal, as JSON values."""
        return {
            "schema": SCHEMA,
            "id": trace_id,
            "started": written(time_of(trace_id)),
            "engine": self.engine,
            "versions": dict(self.versions),
            "weights": dict(self.weights),
            "settings": {name: value for name, value in self.settings.items() if name not in SECRET},
            "method": dict(self.method),
            "image": codec.encode_image(self.image).model_dump(),
            "query": self.query.text,
            "hints": codec.encode_hints(self.hints).model_dump(),
            "prompt": None if self.prompt is None else self.prompt.model_dump(),
        }


class Ended(NamedTuple):
    """A call of a seam that has ended, as it happened; it becomes JSON on the lane, not on the event loop."""

    seam: Seam
    target: int | None
    input: Callable[[], Input]
    output: Callable[[], Output | None]
    waited: float
    took: float
    error: BaseException | None


class Recorder:
    """The trace of one query in the making; keeps nothing where `store` is None.

    Attributes:
        saved: whether the trace of a query that failed is on the disk.
    """

    def __init__(self, store: Store | None, header: Header) -> None:
        self.id = new_id()
        self._store = store
        self._header = header
        self._began = perf_counter()
        self._opening: dict[str, Any] = {}
        self._steps: list[dict[str, Any]] = []
        self._journal: Journal | None = None
        self._torn = False
        self._fault: Exception | None = None
        self._count = 0
        self._over = store is None
        self.saved = False

    @property
    def keeps(self) -> bool:
        """Whether a step would be kept."""
        return not self._over

    async def begin(self) -> None:
        """Open the journal.

        Raises:
            ConfigError: the folder cannot be written to, or the disk is full.
        """
        if self._store is not None:
            await self._store.now(self._begin)

    async def step(self, ended: Ended, *, paid: bool = False) -> None:
        """Keep a step; waits for the disk only where the step was paid for."""
        if self._store is None or self._over:
            return
        index, self._count = self._count, self._count + 1
        if not paid:
            self._store.later(lambda: self._keep(index, ended))
            return
        try:
            await self._store.now(lambda: self._keep(index, ended, paid=True))
        except RuntimeError as error:  # the lane is closed: the Agent was, under a running query
            log.error("step not kept", trace_id=self.id, step=index, error=str(error))

    async def finish(self, answer: Segmentation) -> Segmentation:
        """Write the trace of `answer` and return the answer with its path.

        If it cannot be saved, the answer comes back with a note instead, and the reason is logged.
        """
        if self._store is None or self._over:
            return answer
        self._over = True

        def save() -> Path:
            result = codec.encode_result(answer, self._header.method, self.id)
            return self._save("done", result=result.model_dump())

        path = await self._saved(save)
        return replace(answer, notes=(*answer.notes, UNSAVED)) if path is None else replace(answer, trace_path=path)

    async def fail(self, error: BaseException) -> None:
        """Write the trace of a query that ended by `error`, and tell the error which trace that is."""
        if self._journal is None or self._over:
            return
        self._over = True
        found = leaves_of(error)
        known = [leaf for leaf in found if isinstance(leaf, GeoSegError)]
        failure = codec.encode_failure(known[0] if known else found[0], self.id)
        status: Status = "interrupted" if failure.code == codec.CANCELLED else "failed"
        path = await self._saved(lambda: self._save(status, error=failure.model_dump()))
        self.saved = path is not None
        if self.saved:
            for leaf in known:
                leaf.trace_id = self.id

    def _begin(self) -> None:
        assert self._store is not None  # noqa: S101 - for the type checker; begin() has looked
        self._opening = self._header.opening(self.id)
        self._journal = self._store.begin(self.id, self._opening)

    def _keep(self, index: int, ended: Ended, *, paid: bool = False) -> None:
        try:
            record = _step_record(index, ended)
            self._steps.append(record)
            if self._journal is not None and not self._torn:
                self._torn = True
                self._journal.append(record, paid=paid)
                self._torn = False
        except OSError as error:
            # The journal may now end in half a line; what is in memory still makes a whole trace.
            log.error("journal broken", trace_id=self.id, step=index, error=str(error))
        except Exception as error:  # noqa: BLE001 - tracing never changes the answer
            self._fault = error

    def _save(self, status: Status, *, result: Any = None, error: Any = None) -> Path:
        if self._fault is not None:
            raise self._fault
        assert self._journal is not None  # noqa: S101 - for the type checker; begin() has opened it
        started = time_of(self.id)
        elapsed = timedelta(milliseconds=round(1000 * (perf_counter() - self._began)))
        head = ("schema", "id")
        tree = {
            **{name: self._opening[name] for name in head},
            "status": status,
            "started": written(started),
            "finished": written(started + elapsed),
            "seconds": elapsed.total_seconds(),
            **{name: value for name, value in self._opening.items() if name not in {*head, "started"}},
            "steps": self._steps,
            "result": result,
            "error": error,
        }
        return self._journal.finish(tree)

    async def _saved(self, save: Callable[[], Path]) -> Path | None:
        assert self._store is not None  # noqa: S101 - for the type checker; both callers have looked
        path: Path | None = None

        def attempt() -> None:
            nonlocal path
            try:
                path = save()
            except Exception as error:  # noqa: BLE001 - tracing never changes the answer
                log.error("trace not saved", trace_id=self.id, error=f"{type(error).__name__}: {error}")
            finally:
                self._drop()

        try:
            await self._store.now(attempt)
        except RuntimeError as error:  # the lane is closed: the Agent was, under a running query
            log.error("trace not saved", trace_id=self.id, error=str(error))
            self._drop()
        return path

    def _drop(self) -> None:
        """Give the journal's file back; what is in it stays for `recover`."""
        if self._journal is not None:
            try:
                self._journal.close()
            except OSError as error:
                log.error("journal not closed", trace_id=self.id, error=str(error))


current_recorder: ContextVar[Recorder | None] = ContextVar("current_recorder", default=None)


@asynccontextmanager
async def recording(store: Store | None, header: Header) -> AsyncIterator[Recorder]:
    """Record what crosses the seams inside the block, in this task and those it starts.

    Where the block ends by an error, the trace is finished as "failed" (cancelled: "interrupted"), GeoSegErrors
    learn its id, and the error passes on unchanged. Left without `finish`, it is "interrupted" too.

    Raises:
        ConfigError: the folder of `store` cannot be written to, or the disk is full; nothing was paid yet.
    """
    recorder = Recorder(store, header)
    token = current_recorder.set(recorder)
    try:
        await recorder.begin()
        yield recorder
    except BaseException as error:
        await recorder.fail(error)
        raise
    else:
        await recorder.fail(CancelledError())  # the block was left without an answer
    finally:
        current_recorder.reset(token)


def _step_record(index: int, ended: Ended) -> dict[str, Any]:
    error: ErrorRecord | None = None if ended.error is None else codec.encode_error(ended.error)
    output = ended.output()
    return {
        "index": index,
        "seam": ended.seam,
        "target": ended.target,
        "input": ended.input().model_dump(),
        "output": None if output is None else output.model_dump(),
        "waited": ended.waited,
        "took": ended.took,
        "error": None if error is None else error.model_dump(),
    }
