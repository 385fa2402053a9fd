"""Masks of any other system, scored on the same pairs.

The folder holds one file per pair, named by its id: `ID.png`, or `ID.tif` or `ID.tiff`; not zero is in the mask. What
is missing, unreadable, of another size or no mask counts as a failed query, with the reason; nothing is resized
unless asked for, and nothing is left out.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import islice
from multiprocessing import get_context
from typing import TYPE_CHECKING, Final

import numpy as np

from geoseg_agent.bench.mask_files import MaskFault, read_prediction
from geoseg_agent.bench.records import result_of
from geoseg_agent.errors import DatasetError, ToolFailed
from geoseg_agent.runs.failure import Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from pathlib import Path

    from geoseg_agent.bench.pairs import Pair
    from geoseg_agent.bench.records import PairResult

SUFFIXES: Final = (".png", ".tif", ".tiff")
_AHEAD = 4  # pairs per worker that are read before they are asked for


def score_folder(
    pairs: Sequence[Pair],
    folder: Path,
    *,
    told: Callable[[int, int], None] = lambda _done, _all: None,
    engine: str | None = None,
    resize: bool = False,
    workers: int = 1,
) -> Iterator[PairResult]:
    """Score the masks of a folder, pair by pair in their order, a few at a time in memory.

    Args:
        pairs: what was asked.
        folder: where the masks are.
        told: called with the number of pairs so far, and of all.
        engine: what made the masks; the folder's name where None.
        resize: bring masks of another size to the image's, nearest neighbour, instead of failing them.
        workers: processes that read and score; with 1 this one does. More pay where cores idle and pairs are many:
            each takes a second or two to start.

    Raises:
        DatasetError: the folder is none, holds no mask of any pair, or a pair's own answer cannot be read.
        ToolFailed: a process died.
    """
    _check(pairs, folder)
    judge = partial(_scored, folder=folder, engine=engine or folder.resolve().name, resize=resize)
    results = map(judge, pairs) if workers == 1 else _side_by_side(judge, pairs, workers)
    for done, result in enumerate(results, 1):
        told(done, len(pairs))
        yield result


def _side_by_side(judge: Callable[[Pair], PairResult], pairs: Sequence[Pair], workers: int) -> Generator[PairResult]:
    """The results in the order of the pairs; only a few pairs are on their way at one time."""
    waiting = iter(pairs)
    # Not forked: the caller may run threads, whose locks a copy of the process would hold for ever.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        try:
            running = deque(pool.submit(judge, pair) for pair in islice(waiting, workers * _AHEAD))
            while running:
                yield running.popleft().result()
                running.extend(pool.submit(judge, pair) for pair in islice(waiting, 1))
        except BrokenProcessPool as problem:
            raise ToolFailed("a process that scored masks died", hint="score with one worker") from problem
        finally:
            pool.shutdown(cancel_futures=True)


def strangers(pairs: Sequence[Pair], folder: Path) -> tuple[str, ...]:
    """Names of the mask files that belong to no pair, in order: misspelt ids and endings such as .PNG show here."""
    known = {f"{pair.id}{suffix}" for pair in pairs for suffix in SUFFIXES}
    masks = (path.name for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    return tuple(sorted(name for name in masks if name not in known))


def _check(pairs: Sequence[Pair], folder: Path) -> None:
    if not folder.is_dir():
        raise DatasetError(f"{folder} is no folder", hint="name the folder that holds one mask per pair")
    if pairs and not any(files_of(pair, folder) for pair in pairs):
        raise DatasetError(
            f"{folder} holds no mask of any of the {len(pairs)} pairs",
            hint=f"a mask is named by its pair, for example {pairs[0].id}{SUFFIXES[0]}",
        )


def files_of(pair: Pair, folder: Path) -> list[Path]:
    """The files that are named like the mask of a pair; one is as it should be."""
    return [path for suffix in SUFFIXES if (path := folder / f"{pair.id}{suffix}").is_file()]


def _scored(pair: Pair, *, folder: Path, engine: str, resize: bool) -> PairResult:
    truth = pair.truth.read()
    size = (truth.shape[0], truth.shape[1])
    try:
        mask = read_prediction(_only(files_of(pair, folder)), size, resize=resize)
    except MaskFault as fault:
        error = Failure(code=fault.code, message=str(fault))
        return result_of(pair, truth, None, status="failed", engine=engine, error=error)
    return result_of(pair, truth, mask, status="found" if np.any(mask) else "not_found", engine=engine)


def _only(files: list[Path]) -> Path:
    if not files:
        raise MaskFault("missing_mask", "there is no mask of this pair")
    if len(files) > 1:
        raise MaskFault("several_masks", f"there are {len(files)} masks of this pair: {files[0].name} and others")
    return files[0]
