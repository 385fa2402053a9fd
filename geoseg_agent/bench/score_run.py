"""Scores of another system's masks in a folder like that of a run, so that all that reads runs reads them too."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from geoseg_agent.bench.plan import picture_name, plan_of
from geoseg_agent.bench.run_folder import RunFolder
from geoseg_agent.bench.scoring import score_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from geoseg_agent.bench.datasets import Dataset
    from geoseg_agent.bench.pairs import Pair
    from geoseg_agent.bench.plan import Source


def score_into(
    dataset: Dataset[Pair],
    source: Source,
    pairs: Sequence[Pair],
    masks: Path,
    folder: Path,
    *,
    told: Callable[[int, int], None] = lambda _done, _all: None,
    engine: str | None = None,
    resize: bool = False,
    workers: int = 1,
) -> float:
    """Score the masks and write `run.json` and `results.jsonl`; the same masks again replace their scores.

    Args:
        dataset: that the pairs are from.
        source: where it is.
        pairs: what was asked.
        masks: folder with one mask per pair, see `geoseg_agent.bench.scoring`.
        folder: of the scores.
        told: called with the number of pairs so far, and of all.
        engine: what made the masks; the folder's name where None.
        resize: bring masks of another size to the image's.
        workers: processes.

    Returns:
        Seconds that scoring took.

    Raises:
        DatasetError: as `score_folder`, or `folder` holds another run.
    """
    named = {pair.id: picture_name(dataset, pair) for pair in pairs}
    results = score_folder(pairs, masks, told=told, engine=engine, resize=resize, workers=workers)
    plan = plan_of(
        source, ((pair, named[pair.id]) for pair in pairs), {}, {}, masks=str(masks.absolute()), resized=resize
    )
    run = RunFolder(folder, plan)
    try:
        began = perf_counter()
        run.keep_only([result.model_copy(update={"image": named[result.id]}) for result in results])
        return perf_counter() - began
    finally:
        run.close()
