"""Boxes said by the model that the settings name, for records of true boxes: what `boxes.jsonl` is calibrated from.

Every record is a query of a benchmark run (`geoseg_agent.bench.run`) whose tools take the box for the object. So all
that holds of a run holds here: one trace per record; who is killed goes on with the same call; records with a result
are not asked again; replies that an interrupted query had paid for are taken from its journal. The folder is that of
a run, and its results score the boxes said against the true ones, both as masks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from geoseg_agent.bench.plan import Source
from geoseg_agent.bench.run import run
from geoseg_agent.calibrate import box_tools
from geoseg_agent.calibrate.box_pairs import as_pairs, pair_of
from geoseg_agent.calibrate.from_traces import FromTraces, gather
from geoseg_agent.errors import DatasetError
from geoseg_agent.lanes import Lane

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from geoseg_agent.bench.datasets import BoxRecord, Dataset
    from geoseg_agent.bench.records import PairResult
    from geoseg_agent.bench.run_folder import RunFolder
    from geoseg_agent.calibrate.pairs import Said
    from geoseg_agent.runs.tally import Tally
    from geoseg_agent.settings import Settings


class Asked(NamedTuple):
    """What came of asking.

    Attributes:
        said: one entry per reply with boxes in it, refused ones too.
        skipped: reason to number of records that gave none.
        failed: id of a record to why its query failed; its refused replies, if any, are in `said` all the same.
    """

    said: tuple[Said, ...]
    skipped: dict[str, int]
    failed: dict[str, str]


async def ask_boxes(
    dataset: Dataset[BoxRecord],
    records: Sequence[BoxRecord],
    folder: Path,
    settings: Settings,
    *,
    concurrency: int = 4,
    retry_failed: bool = False,
    told: Callable[[Tally], None] = lambda _: None,
) -> Asked:
    """Ask for the objects of every record that has no result in `folder` yet, and read all replies.

    The grounder is asked as the settings say, but it never reviews, and its cache is not used: a reply from there
    holds boxes and not what the model said.

    Args:
        dataset: that the records are from.
        records: those to ask, ids unique; `geoseg_agent.bench.datasets.sample` draws some.
        folder: of the run; made where it is not there.
        settings: those of a query; what concerns tools and margins is not used.
        concurrency: records at once, >= 1.
        retry_failed: ask again what failed before.
        told: is given the tally after each record.

    Raises:
        DatasetError: the folder holds another run or cannot be written, an image has another size than its record
            says, or no reply can be compared.
        ConfigError: a backend cannot be had as configured.
    """
    changed = settings.model_copy(update={**box_tools.SETTINGS, **_PLAIN})
    source = Source(path=str(dataset.root), kind=dataset.kind)
    pairs = [pair_of(record) for record in records]
    runs = await run(
        as_pairs(dataset),
        source,
        pairs,
        folder,
        changed,
        concurrency=concurrency,
        retry_failed=retry_failed,
        told=told,
    )
    io = Lane("calibrate")
    try:
        found, failed = await io.run(_read, runs, records)
    finally:
        io.close()
    if not found.said:
        first = "" if not failed else f"; {len(failed)} queries failed, the first with {next(iter(failed.values()))}"
        raise DatasetError(f"no reply to {len(records)} records holds boxes{first}")
    return Asked(found.said, found.skipped, failed)


_PLAIN: Final = {"verify_rounds": 0, "zoom_rounds": 0, "search": "overview", "cache": None}
"""What is said of one picture of the whole image counts."""


def _read(runs: RunFolder, records: Sequence[BoxRecord]) -> tuple[FromTraces, dict[str, str]]:
    results = runs.done()
    true = {trace: record.boxes for record in records if (trace := results[record.id].trace) is not None}
    found = gather([runs.traces / f"{trace}.json" for trace in true], lambda trace: true[trace.id])
    failed = {record.id: why for record in records if (why := _why(results[record.id])) is not None}
    return found, failed


def _why(result: PairResult) -> str | None:
    return None if result.error is None else f"{result.error.code}: {result.error.message}"
