"""The folder of a batch: what was asked for, what came of it so far, and every trace.

    batch.json       the plan; a batch goes on only under the same
    batch.jsonl      a line per item, as it ends
    retired.jsonl    failures that were asked again
    traces/00000/    a trace per item, a folder per part of the batch
    objects/00000    outlines of the answers of a part, found by what the lines say of them
    items/00000/     files of single answers, where --save wants them
    summary.json, objects.gpkg   at the end

Outlines are on the disk before the line that knows where they are; what no line knows of does not count. A line is
written after its trace: so after a kill at any moment every item has a line, or a trace from which the line is made,
or was not answered yet.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, ClassVar

from geoseg_agent.batch.plan import NAME, RESULTS, BatchPlan, load_plan
from geoseg_agent.batch.results import Answered, ItemResult, Objects, load_results
from geoseg_agent.errors import DatasetError
from geoseg_agent.grounding.keep_file import keep_lines
from geoseg_agent.runs.held import Held, left_traces
from geoseg_agent.runs.lines import append_line, cut, line_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from geoseg_agent.trace.model import Trace


class BatchFolder(Held[BatchPlan]):
    """A batch on disk, as `Held`. Its methods block."""

    NAME: ClassVar = NAME
    KIND: ClassVar = "batch"
    GO_ON: ClassVar = "go on with the same source, queries and settings, or name a new folder with --out"

    def __init__(self, path: Path, plan: BatchPlan) -> None:
        path = path.absolute()  # workers stand elsewhere
        self.results = path / RESULTS
        self.retired = path / "retired.jsonl"
        super().__init__(path, plan)

    def load_plan(self) -> BatchPlan:
        """As `Held.load_plan`."""
        return load_plan(self.path)

    def is_bare(self) -> bool:
        """As `Held.is_bare`."""
        parts = sorted((self.path / "traces").glob("*"))
        return not self.results.exists() and not any(
            True for part in parts for _ in left_traces(part, lambda _: False)
        )

    def gone_on_with(self, known: BatchPlan, plan: BatchPlan) -> BatchPlan:
        """The known one, with where the source lies now."""
        return known.model_copy(update={"roots": tuple(dict.fromkeys((*known.roots, *plan.roots)))})

    def part(self, number: int) -> int:
        """The part of the batch that an item is of."""
        return (number - 1) // self.plan.part

    def traces(self, part: int) -> Path:
        """Where the traces of a part lie."""
        return self.path / "traces" / f"{part:05d}"

    def outlines(self, part: int) -> Path:
        """The file with the outlines of a part."""
        return self.path / "objects" / f"{part:05d}"

    def done(self) -> Iterator[ItemResult]:
        """The results so far, in the order in which they came; a last line that was torn is cut off."""
        return load_results(self.results, torn=cut(self.results)) if self.results.exists() else iter(())

    def retired_before(self) -> Iterator[ItemResult]:
        """The failures that were asked again; a last line that was torn is cut off."""
        return load_results(self.retired, torn=cut(self.retired)) if self.retired.exists() else iter(())

    def append(self, answered: Answered) -> ItemResult:
        """Add a line, and before it its outlines; both are on the disk when this returns.

        Raises:
            DatasetError: the disk says no.
        """
        result = answered.result
        if answered.outlines:
            at = _add(self.outlines(self.part(result.number)), answered.outlines)
            count = answered.outlines.count(b"\n")
            placed = Objects(at=at, bytes=len(answered.outlines), count=count)
            result = result.model_copy(update={"objects": placed})
        append_line(self.results, result)
        return result

    def retire(self, leaves: Callable[[ItemResult], bool]) -> int:
        """Move the results that `leaves` names to a file of their own, so that these items are asked again.

        Killed in between, a result stands in both files, which does no harm.

        Returns:
            How many they were.
        """
        for _ in self.retired_before():  # cuts off a torn line, which another must not be glued to
            pass
        count = 0
        for result in self.done():
            if leaves(result):
                append_line(self.retired, result)
                count += 1
        if count:
            kept = (line_of(result).encode() for result in self.done() if not leaves(result))
            try:
                keep_lines(self.results, kept)
            except OSError as error:
                raise DatasetError(f"{self.results} cannot be written: {error.strerror or error}") from error
        return count


def _add(path: Path, data: bytes) -> int:
    """Add to a file, synced; where it begins there. A kill may leave bytes behind that nobody knows of."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab", buffering=0) as file:
            at = file.seek(0, os.SEEK_END)
            rest = memoryview(data)
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
            return at
    except OSError as error:
        raise DatasetError(
            f"{path} cannot be written: {error.strerror or error}",
            hint="free some space, or make its folder writable, and start the same command again",
        ) from error


def left_over(folder: BatchFolder, part: int, is_used: Callable[[str], bool]) -> Iterator[Trace]:
    """The traces of a part that no line was made of; see `left_traces`."""
    return left_traces(folder.traces(part), is_used)
