"""The folder of a run: what was asked for, what came of it so far, and every trace.

    run.json         the plan: data set, settings, method; a run goes on only under the same plan
    results.jsonl    a line per pair, as it ends
    traces/          a trace per pair
    summary.json, report.html   at the end

A line is written after its trace, both synced; so after a kill at any moment every pair has a line, or a trace from
which the line is made, or was not answered yet.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from geoseg_agent.bench.records import dump, load_results
from geoseg_agent.errors import DatasetError
from geoseg_agent.grounding.keep_file import keep_file
from geoseg_agent.trace.ids import is_id
from geoseg_agent.trace.record_base import Record
from geoseg_agent.trace.recover import recover
from geoseg_agent.trace.store import load

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from geoseg_agent.bench.pairs import Pair
    from geoseg_agent.bench.records import PairResult, Torn
    from geoseg_agent.trace.model import Trace

_NO_EFFECT = frozenset(
    {
        "traces",
        "log_format",
        "max_running",
        "max_queued",
        "max_encoded",
        "endpoint_calls",
        "devices",
        "cache",
        "verdicts",
        "call_timeout",
    }
)
"""Settings that change how long a run takes and not what comes of it."""


class Plan(Record):
    """What a run asks for.

    Attributes:
        kind: layout of the data set.
        pairs: how many.
        digest: sha256 over ids, queries and names of pictures, in their order.
        settings: all but the secret ones and those without an effect on results.
        method: the method's constants.
    """

    schema_version: Literal[1] = 1
    kind: str
    pairs: int
    digest: str
    settings: dict[str, Any]
    method: dict[str, Any]


def plan_of(kind: str, pairs: Iterable[tuple[Pair, str]], settings: dict[str, Any], method: dict[str, Any]) -> Plan:
    """The plan to ask `pairs`, each with the name of its picture, under these settings."""
    digest, count = hashlib.sha256(), 0
    for pair, image in pairs:
        digest.update(f"{pair.id}\0{pair.query}\0{image}\0".encode())
        count += 1
    kept = {name: value for name, value in settings.items() if name not in _NO_EFFECT}
    return Plan(kind=kind, pairs=count, digest=digest.hexdigest(), settings=kept, method=method)


class RunFolder:
    """A run on disk. Its methods block.

    Raises:
        DatasetError: of the constructor, where the folder holds the run of another plan, or is no run at all.
    """

    def __init__(self, path: Path, plan: Plan) -> None:
        self.path = path
        self.results = path / "results.jsonl"
        self.traces = path / "traces"
        self._open(plan)

    def _open(self, plan: Plan) -> None:
        file = self.path / "run.json"
        try:
            if not file.exists():
                if self.path.exists() and any(self.path.iterdir()):
                    raise DatasetError(
                        f"{self.path} is not empty and holds no run", hint="name a new folder with --out"
                    )
                keep_file(file, plan.model_dump_json(indent=1).encode())
                return
            known = Plan.model_validate_json(file.read_bytes())
        except OSError as error:
            raise DatasetError(f"the run in {self.path} cannot be opened: {error.strerror or error}") from error
        except ValidationError as error:
            raise DatasetError(f"{file} is no plan of a run: {error.errors()[0]['msg']}") from error
        odd = list(_differences(known, plan))
        if odd:
            raise DatasetError(
                f"{self.path} holds a run of another plan: {'; '.join(odd[:3])}",
                hint="go on with the same settings and data set, or name a new folder with --out",
            )

    def done(self) -> dict[str, PairResult]:
        """The results so far, by id of the pair; a last line that was torn is cut off."""
        if not self.results.exists():
            return {}
        torn: list[Torn] = []
        found = {result.id: result for result in load_results(self.results, torn=torn.append)}
        for cut in torn:
            os.truncate(self.results, cut.offset)
        return found

    def append(self, result: PairResult) -> None:
        """Add a line; it is on the disk when this returns.

        Raises:
            DatasetError: the disk says no.
        """
        try:
            with self.results.open("ab") as file:
                file.write(dump(result).encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise DatasetError(f"{self.results} cannot be written: {error.strerror or error}") from error

    def keep_only(self, results: Iterable[PairResult]) -> None:
        """Replace the lines, at once or not at all."""
        keep_file(self.results, "".join(map(dump, results)).encode())

    def left_over(self, done: Iterable[PairResult]) -> dict[tuple[str | None, str], list[Trace]]:
        """Traces that no line was made of, by path of the picture and query; journals are recovered first."""
        if not self.traces.is_dir():
            return {}
        recover(self.traces)
        used = {result.trace for result in done}
        found: dict[tuple[str | None, str], list[Trace]] = {}
        for path in sorted(self.traces.glob("*.json")):
            if is_id(path.stem) and path.stem not in used:
                trace = load(path)
                found.setdefault((trace.image.path, trace.query), []).append(trace)
        return found


def _differences(known: Plan, plan: Plan) -> Iterator[str]:
    if known.digest != plan.digest or known.pairs != plan.pairs:
        yield f"it asks {known.pairs} pairs, this one {plan.pairs}, and they are not the same"
    for name in ("settings", "method"):
        old, new = getattr(known, name), getattr(plan, name)
        for field in sorted(old.keys() | new.keys()):
            if old.get(field) != new.get(field):
                yield f"{name}.{field} was {old.get(field)!r} and is {new.get(field)!r}"
