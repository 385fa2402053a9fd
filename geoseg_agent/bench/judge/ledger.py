"""Judgements on the disk as they come in, so that none is paid for twice: one line of JSON each, synced before use.

A kill leaves at most one torn line at the end, which is cut off when the file is next opened. A line that cannot be
read or trusted counts as not there, and is asked for again.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from geoseg_agent.errors import DatasetError
from geoseg_agent.lanes import Lane
from geoseg_agent.logs import log
from geoseg_agent.runs.lines import append_line
from geoseg_agent.trace.jsontext import parse
from geoseg_agent.trace.record_base import Record

if TYPE_CHECKING:
    from pathlib import Path


class Kept(Record):
    """One reply of a judge, or that none of its replies was valid.

    Attributes:
        key: sha256 of everything that decides the reply.
        pair: id of the pair.
        part: which of its questions: a sample, or an order.
        mode: of judging.
        model: the judge.
        prompt: sha256 of the prompt.
        predicted: digests of the masks judged.
        answer: the valid answer, or None: malformed to the end.
        evidence: what the judge says it saw.
        why: why there is no answer.
        threes: scores that the released judge would have read as 3 in the first reply.
        requests: replies that were read until then.
    """

    key: str
    pair: str
    part: str
    mode: str
    model: str
    prompt: str
    predicted: list[str]
    answer: dict[str, int | str] | None
    evidence: str = ""
    why: str | None = None
    threes: int = 0
    requests: int = 1


class Ledger:
    """The judgements of a file, and a place for more; without a file they last as long as this object.

    Args:
        path: of the file, made with the first judgement; its folder as well.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._known: dict[str, Kept] = {}
        self._io = Lane("judgements")
        self._writing: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Read what is there.

        Raises:
            DatasetError: the file cannot be read.
        """
        if self._path is not None:
            self._known = await self._io.run(_read, self._path)

    def get(self, key: str) -> Kept | None:
        """The judgement kept under `key`, or None."""
        return self._known.get(key)

    def knows(self, model: str) -> bool:
        """Whether this judge has ever answered."""
        return any(kept.model == model for kept in self._known.values())

    async def keep(self, kept: Kept) -> None:
        """Keep a judgement: once this returns, it survives a kill.

        Cancelling the caller does not stop it, for the reply was paid for; `aclose` waits for it.

        Raises:
            DatasetError: the disk is full or says no.
        """
        if self._path is not None:
            writing = asyncio.create_task(self._io.run(append_line, self._path, kept))
            self._writing.add(writing)
            writing.add_done_callback(self._writing.discard)
            await asyncio.shield(writing)
        self._known[kept.key] = kept

    async def aclose(self) -> None:
        """Write what is still to be written and let the thread end; safe to call twice."""
        if self._writing:
            await asyncio.wait(self._writing)
        self._io.close()


def _read(path: Path) -> dict[str, Kept]:
    try:
        data = path.read_bytes() if path.exists() else b""
        whole = data[: data.rfind(b"\n") + 1]
        if whole != data:
            # What is appended next must begin a line of its own.
            os.truncate(path, len(whole))
            log.info("torn judgement cut off", path=str(path), length=len(data) - len(whole))
    except OSError as error:
        raise DatasetError(f"{path} cannot be read as a file of judgements: {error.strerror or error}") from error
    found: dict[str, Kept] = {}
    for number, line in enumerate(whole.split(b"\n")[:-1], start=1):
        try:
            kept = Kept.model_validate(parse(line))
        except ValueError as error:  # pydantic's is one too
            log.warning("judgement ignored", path=str(path), line=number, reason=str(error))
        else:
            found[kept.key] = kept
    return found
