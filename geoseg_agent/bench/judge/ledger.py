"""Judgements on the disk as they come in, so that none is paid for twice: one line of JSON each, synced before use.

A kill leaves at most one torn line at the end, which is cut off when the file is next opened. A line that cannot be
read or trusted counts as not there, and is asked for again.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from geoseg_agent.lanes import Lane
from geoseg_agent.logs import log
from geoseg_agent.trace.jsontext import compact, parse

if TYPE_CHECKING:
    from pathlib import Path


class Kept(BaseModel):
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

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, protected_namespaces=())

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

    async def open(self) -> None:
        """Read what is there.

        Raises:
            OSError: the file cannot be read.
        """
        if self._path is not None:
            self._known = await self._io.run(_read, self._path)

    def get(self, key: str) -> Kept | None:
        """The judgement kept under `key`, or None."""
        return self._known.get(key)

    async def keep(self, kept: Kept) -> None:
        """Keep a judgement: once this returns, it survives a kill.

        Raises:
            OSError: the disk is full or says no.
        """
        if self._path is not None:
            await self._io.run(_append, self._path, compact(kept.model_dump(mode="json")) + b"\n")
        self._known[kept.key] = kept

    async def aclose(self) -> None:
        """Let the thread end; safe to call twice."""
        self._io.close()


def _read(path: Path) -> dict[str, Kept]:
    if not path.exists():
        return {}
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if whole != data:
        # What is appended next must begin a line of its own.
        os.truncate(path, len(whole))
        log.info("torn judgement cut off", path=str(path), length=len(data) - len(whole))
    found: dict[str, Kept] = {}
    for number, line in enumerate(whole.splitlines(), start=1):
        outcome = _line(line)
        if isinstance(outcome, Kept):
            found[outcome.key] = outcome
        else:
            log.warning("judgement ignored", path=str(path), line=number, reason=outcome.reason)
    return found


class _Unread(NamedTuple):
    reason: str


def _line(line: bytes) -> Kept | _Unread:
    try:
        data: Any = parse(line)
        return Kept.model_validate(data)
    except (ValueError, ValidationError, RecursionError) as error:
        return _Unread(str(error))


def _append(path: Path, line: bytes) -> None:
    new = not path.exists()
    if new:
        path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())
    if new:
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
