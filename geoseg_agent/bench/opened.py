"""A run that is there already, opened to be looked into: its plan, results, pairs, and the masks it answered with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, get_args

from geoseg_agent.bench.datasets import Layout
from geoseg_agent.bench.mask_files import MaskFault, read_prediction
from geoseg_agent.bench.outcome import mask_of
from geoseg_agent.bench.plan import load_plan
from geoseg_agent.bench.records import load_results
from geoseg_agent.bench.scoring import files_of
from geoseg_agent.errors import DatasetError
from geoseg_agent.trace.store import load

if TYPE_CHECKING:
    from geoseg_agent.bench.datasets import Dataset
    from geoseg_agent.bench.pairs import Pair, Truth
    from geoseg_agent.bench.plan import Plan
    from geoseg_agent.bench.records import PairResult
    from geoseg_tools.arrays import Mask, Size


class Answered(NamedTuple):
    """A pair and what came of it."""

    pair: Pair
    result: PairResult


class TraceMask(NamedTuple):
    """The mask of a trace, read when it is needed."""

    path: Path

    def read(self) -> Mask:
        """(H, W) bool, the frame of the image.

        Raises:
            TraceError: the trace is not there, or damaged.
        """
        return mask_of(load(self.path))


class MaskOf(NamedTuple):
    """A mask of another system, as it was scored; read when it is needed."""

    path: Path
    size: Size
    resize: bool

    def read(self) -> Mask:
        """(H, W) bool, the frame of the image.

        Raises:
            DatasetError: it is not what was scored any more.
        """
        try:
            return read_prediction(self.path, self.size, resize=self.resize)
        except MaskFault as fault:
            raise DatasetError(f"{self.path} is no longer the mask that was scored: {fault}") from fault


@dataclass(frozen=True, slots=True)
class OpenedRun:
    """A run on disk.

    Attributes:
        path: its folder.
        plan: what it asks for.
        answered: the pairs with a result, in the order of the data set.
    """

    path: Path
    plan: Plan
    answered: tuple[Answered, ...]

    @property
    def results(self) -> list[PairResult]:
        """In the order of the data set."""
        return [one.result for one in self.answered]

    @property
    def complete(self) -> bool:
        """Whether every pair of the plan has a result."""
        return len(self.answered) == self.plan.pairs

    @property
    def engine(self) -> str | None:
        """What answered; None where every pair failed before it was asked."""
        return next((one.result.engine for one in self.answered if one.result.engine != "none"), None)

    def trace(self, result: PairResult) -> Path | None:
        """Where the trace of a result lies; None where it left none."""
        return None if result.trace is None else self.path / "traces" / f"{result.trace}.json"

    def prediction(self, one: Answered) -> Truth | None:
        """The mask that was scored, or None: there is none.

        Raises:
            DatasetError: what was scored is not there any more.
        """
        if not one.result.answered:
            return None
        trace = self.trace(one.result)
        return scored_mask(self.plan, one) if trace is None else TraceMask(trace)


def scored_mask(plan: Plan, one: Answered) -> MaskOf:
    """Where the mask of another system lies that was scored for a pair.

    Raises:
        DatasetError: it is not there any more.
    """
    found = [] if plan.masks is None else files_of(one.pair, Path(plan.masks))
    if len(found) != 1:
        raise DatasetError(
            f"the mask of pair {one.pair.id} that was scored is not in {plan.masks} any more",
            hint="score the folder again",
        )
    return MaskOf(found[0], one.result.size, plan.resized)


def open_run(folder: Path, *, data: Path | None = None) -> OpenedRun:
    """Open the run in `folder`, with its data set.

    Args:
        folder: of a `geoseg bench run` or `score`.
        data: where the data set lies now, if it has moved.

    Raises:
        DatasetError: there is no run, or its data set does not hold its pairs any more.
    """
    plan = load_plan(folder)
    lines = folder / "results.jsonl"
    results = {result.id: result for result in load_results(lines)} if lines.exists() else {}
    if not results:
        again = "`geoseg bench score`" if plan.masks else "`geoseg bench run`"
        raise DatasetError(f"{folder} has no results yet", hint=f"start the same {again} again")
    answered = []
    for pair in _opened(folder, plan, data):
        result = results.pop(pair.id, None)
        if result is not None:
            if result.query != pair.query:
                raise DatasetError(
                    f"pair {pair.id} asks {pair.query!r} in the data set, and asked {result.query!r} in {folder}",
                    hint="name the data set that the run was made on with --data",
                )
            answered.append(Answered(pair, result))
    if results:
        raise DatasetError(
            f"{len(results)} pairs of {folder} are not in the data set, such as {next(iter(results))}",
            hint="name the data set that the run was made on with --data",
        )
    return OpenedRun(folder, plan, tuple(answered))


def _opened(folder: Path, plan: Plan, data: Path | None) -> Dataset[Pair]:
    if plan.data.kind not in get_args(Layout):
        raise DatasetError(
            f"{folder} holds boxes that were asked for in {plan.data.path}, a data set without masks",
            hint="`geoseg calibrate` with that data set reads them",
        )
    if data is None and not Path(plan.data.path).exists():
        raise DatasetError(
            f"{plan.data.path}, the data set of {folder}, does not exist any more", hint="say where it is with --data"
        )
    return plan.data.open(data)
