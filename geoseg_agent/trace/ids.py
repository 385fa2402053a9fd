"""Trace ids: they sort by time, and are safe as file names because nothing else is accepted.

An id is the time in UTC to the millisecond and ten random characters: 20260131T235959123Z-0123456789.
"""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime, timedelta

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_ID = re.compile(rf"\d{{8}}T\d{{9}}Z-[{_ALPHABET}]{{10}}", re.ASCII)


def new_id(now: datetime | None = None) -> str:
    """An id that nobody else has: 50 random bits beside the time."""
    now = (now or datetime.now(UTC)).astimezone(UTC)
    random = "".join(secrets.choice(_ALPHABET) for _ in range(10))
    return f"{now:%Y%m%dT%H%M%S}{now.microsecond // 1000:03d}Z-{random}"


def is_id(text: str) -> bool:
    """Whether `text` is an id; nothing that is one leads out of a folder."""
    if not _ID.fullmatch(text):
        return False
    try:
        time_of(text)
    except ValueError:
        return False
    return True


def time_of(trace_id: str) -> datetime:
    """When the query began, UTC, to the millisecond.

    Raises:
        ValueError: this is not an id.
    """
    if not _ID.fullmatch(trace_id):
        raise ValueError(f"{trace_id[:80]!r} is not a trace id")
    whole = datetime.strptime(trace_id[:15], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    return whole + timedelta(milliseconds=int(trace_id[15:18]))


def written(time: datetime) -> str:
    """The time as traces write it: 2026-01-31T23:59:59.123Z."""
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1000:03d}Z"


def read(text: str) -> datetime:
    """The inverse of `written`.

    Raises:
        ValueError: the text has another form.
    """
    time = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    if written(time) != text:
        raise ValueError(f"{text!r} is not a time to the millisecond")
    return time
