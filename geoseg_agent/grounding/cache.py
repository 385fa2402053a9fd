"""Replies of earlier queries in a folder (`GEOSEG_CACHE=DIR`), so that the same question is paid for once.

One file per key, written under a name of its own and renamed, so that processes may share the folder. A file that
cannot be read or trusted counts as a miss. Nothing is ever removed: delete the folder, or files in it, at will.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from geoseg_agent.errors import InvalidReply
from geoseg_agent.grounding.keep_file import keep_file
from geoseg_agent.lanes import Lane
from geoseg_agent.logs import log
from geoseg_agent.trace.codec import decode_reply, encode_reply
from geoseg_agent.trace.model import Record, ReplyRecord

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from geoseg_agent.types import GroundingReply


class _Entry(Record):
    schema_version: Literal[1]
    key: str
    reply: ReplyRecord


def key_of(parts: Mapping[str, Any]) -> str:
    """The sha256 of everything that decides a reply, whatever the order in which it is given."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


class FileCache:
    """A `Cache` in a folder, made with the first reply that is kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser()
        self._io = Lane("cache")

    async def get(self, key: str) -> GroundingReply | None:
        """As `Cache.get`."""
        return await self._io.run(self._read, key)

    async def put(self, key: str, reply: GroundingReply) -> None:
        """As `Cache.put`; what is kept survives a kill of this process at any moment whole or not at all."""
        await self._io.run(self._write, key, reply)

    async def aclose(self) -> None:
        """Let the thread end; safe to call twice."""
        self._io.close()

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    def _read(self, key: str) -> GroundingReply | None:
        path = self._path(key)
        try:
            entry = _Entry.model_validate_json(path.read_bytes())
            if entry.key != key:
                raise ValueError(f"it was kept under {entry.key}")  # noqa: TRY301 - one way out for all damage
            return decode_reply(entry.reply)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, ValidationError, InvalidReply) as error:
            log.warning("cached reply ignored", path=str(path), reason=str(error))
            return None

    def _write(self, key: str, reply: GroundingReply) -> None:
        entry = _Entry(schema_version=1, key=key, reply=encode_reply(reply))
        try:
            keep_file(self._path(key), entry.model_dump_json().encode())
        except OSError as error:
            log.warning("reply not cached", folder=str(self.folder), reason=str(error))
