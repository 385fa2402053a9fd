"""The folder of a run: what was asked for, what came of it so far, and every trace.

    run.json         the plan: data set, settings, method; a run goes on only under the same plan
    results.jsonl    a line per pair, as it ends
    retired.jsonl    failures that were asked again
    traces/          a trace per pair
    summary.json, report.html   at the end

One process writes into it at a time. A line is written after its trace, both synced; so after a kill at any moment
every pair has a line, or a trace from which the line is made, or was not answered yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from geoseg_agent.bench.plan import NAME, Plan, load_plan
from geoseg_agent.bench.records import dump, load_results
from geoseg_agent.runs.held import Held, left_traces
from geoseg_agent.runs.lines import append_line, cut, put_file

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from pathlib import Path

    from geoseg_agent.bench.records import PairResult
    from geoseg_agent.trace.model import Trace


class RunFolder(Held[Plan]):
    """A run on disk, as `Held`. Its methods block."""

    NAME: ClassVar = NAME
    KIND: ClassVar = "run"
    GO_ON: ClassVar = (
        "go on with the same settings, data set, --split, --limit and --seed, or name a new folder with --out"
    )

    def __init__(self, path: Path, plan: Plan) -> None:
        self.results = path / "results.jsonl"
        self.retired = path / "retired.jsonl"
        self.traces = path / "traces"
        super().__init__(path, plan)

    def load_plan(self) -> Plan:
        """As `Held.load_plan`."""
        return load_plan(self.path)

    def is_bare(self) -> bool:
        """As `Held.is_bare`."""
        return not self.results.exists() and not any(self.left_over(()))

    def gone_on_with(self, known: Plan, plan: Plan) -> Plan:
        """The known one, with what this start adds."""
        starts = tuple(dict.fromkeys((*known.concurrency, *plan.concurrency)))
        return known.model_copy(update={"concurrency": starts, "data": plan.data})

    def done(self) -> dict[str, PairResult]:
        """The results so far, by id of the pair; a last line that was torn is cut off."""
        if not self.results.exists():
            return {}
        return {result.id: result for result in load_results(self.results, torn=cut(self.results))}

    def append(self, result: PairResult) -> None:
        """Add a line; it is on the disk when this returns.

        Raises:
            DatasetError: the disk says no.
        """
        append_line(self.results, result)

    def keep_only(self, results: Iterable[PairResult]) -> None:
        """Replace the lines, at once or not at all.

        Raises:
            DatasetError: the disk says no.
        """
        put_file(self.results, "".join(map(dump, results)).encode())

    def retire(self, done: Mapping[str, PairResult], names: Collection[str]) -> dict[str, PairResult]:
        """Move some of the results to a file of their own, so that these pairs are asked again; what is left.

        Killed in between, a result stands in both files, which does no harm.
        """
        if not names:
            return dict(done)
        self.retired_before()  # cuts off a torn line, which another must not be glued to
        append_line(self.retired, *(done[name] for name in names))
        left = {name: result for name, result in done.items() if name not in names}
        self.keep_only(left.values())
        return left

    def retired_before(self) -> list[PairResult]:
        """The failures that were asked again; a last line that was torn is cut off."""
        return list(load_results(self.retired, torn=cut(self.retired))) if self.retired.exists() else []

    def left_over(self, used: Collection[str | None]) -> Iterator[Trace]:
        """The traces but those `used`; see `left_traces`.

        Raises:
            TraceError: one is damaged.
        """
        return left_traces(self.traces, used.__contains__)
