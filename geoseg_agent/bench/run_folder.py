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

import os
from typing import TYPE_CHECKING

from geoseg_agent.bench.plan import NAME, load_plan
from geoseg_agent.bench.records import dump, load_results
from geoseg_agent.errors import ConfigError, DatasetError, TraceCorrupt
from geoseg_agent.runs.lines import append_line, cut, put_file
from geoseg_agent.runs.lock import locked
from geoseg_agent.trace.ids import is_id
from geoseg_agent.trace.recover import recover
from geoseg_agent.trace.resume import paid_replies
from geoseg_agent.trace.store import load

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from pathlib import Path

    from geoseg_agent.bench.plan import Plan
    from geoseg_agent.bench.records import PairResult
    from geoseg_agent.trace.model import Trace


class RunFolder:
    """A run on disk, and the right to write it until `close`, or the end of the process. Its methods block.

    Raises:
        DatasetError: of the constructor, where the folder holds the run of another plan or anything else, or another
            process is writing it.
    """

    def __init__(self, path: Path, plan: Plan) -> None:
        self.path = path
        self.results = path / "results.jsonl"
        self.retired = path / "retired.jsonl"
        self.traces = path / "traces"
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = locked(path)
        except OSError as error:
            raise DatasetError(f"{path} cannot hold a run: {error.strerror or error}") from error
        try:
            self._begin(plan)
        except BaseException:
            self.close()
            raise

    def _begin(self, plan: Plan) -> None:
        file = self.path / NAME
        try:
            if not file.exists():
                if any(not one.name.startswith(".") for one in self.path.iterdir()):
                    raise DatasetError(
                        f"{self.path} is not empty and holds no run, for it has no {NAME}",
                        hint="name a new folder with --out",
                    )
                self._keep(plan)
                return
            known = load_plan(self.path)
            odd = list(known.differences(plan))
            if odd and self._is_bare():
                self._keep(plan)
                return
            if odd:
                raise DatasetError(
                    f"{self.path} holds a run of another plan: {'; '.join(odd[:3])}",
                    hint="go on with the same settings, data set, --split, --limit and --seed, "
                    "or name a new folder with --out",
                )
            starts = tuple(dict.fromkeys((*known.concurrency, *plan.concurrency)))
            going_on = known.model_copy(update={"concurrency": starts, "data": plan.data})
            if going_on != known:
                self._keep(going_on)
        except OSError as error:
            raise DatasetError(f"{self.path} cannot be read: {error.strerror or error}") from error

    def _keep(self, plan: Plan) -> None:
        put_file(self.path / NAME, plan.model_dump_json(indent=1).encode())

    def _is_bare(self) -> bool:
        """Whether nothing came of the run yet and nothing was paid: its settings may then be others."""
        return not self.results.exists() and not any(self.left_over(()))

    def close(self) -> None:
        """Give up the right to write."""
        os.close(self._lock)

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
        """The traces but those `used`, read one by one, oldest first; journals are recovered before.

        Those from which nothing follows are left out: that end in a complaint about the settings, or were interrupted
        before a reply was paid for, perhaps by such a complaint of another.

        Raises:
            TraceError: one is damaged.
        """
        if not self.traces.is_dir():
            return
        recover(self.traces)
        for path in sorted(self.traces.glob("*.json")):
            if is_id(path.stem) and path.stem not in used:
                try:
                    trace = load(path)
                except TraceCorrupt as error:
                    raise TraceCorrupt(error.message, hint="move it away; its pair is then asked again") from error
                complains = trace.error is not None and trace.error.code == ConfigError.code
                if not complains and (trace.status != "interrupted" or paid_replies(trace)):
                    yield trace
