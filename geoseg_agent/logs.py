"""Logs: structlog over the standard library's logger "geoseg_agent".

As a library the package says nothing by itself: what is below a warning is dropped until the application, or
`configure`, gives the logger a handler. Every line of a query carries its `trace_id`.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any, Literal, cast

import structlog

if TYPE_CHECKING:
    from collections.abc import MutableMapping

NAME = "geoseg_agent"
_SECRET_WORDS = ("api_key", "authorization", "token", "password", "secret")
_LONGEST = 2000


def redact(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Hide what is named like a secret, cut what is long, and never print bytes."""
    for key, value in event.items():
        if any(word in key.lower() for word in _SECRET_WORDS):
            event[key] = "***"
        elif isinstance(value, bytes | bytearray | memoryview):
            event[key] = f"<{len(value)} bytes>"
        elif isinstance(value, str) and len(value) > _LONGEST:
            event[key] = value[:_LONGEST] + "..."
    return event


_SHARED = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    redact,
)

_in_words = structlog.processors.KeyValueRenderer(key_order=["event"], drop_missing=True)


def _handed_over(logger: Any, name: str, event: MutableMapping[str, Any]) -> Any:
    """The event for the handler of `configure`, or, where an application has its own logging, as one line of text."""
    if logging.getLogger(NAME).handlers:
        return structlog.stdlib.ProcessorFormatter.wrap_for_formatter(logger, name, event)
    return _in_words(logger, name, {key: event[key] for key in event if key not in {"level", "timestamp"}})


log = cast(
    "structlog.stdlib.BoundLogger",
    structlog.wrap_logger(
        logging.getLogger(NAME),
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            _handed_over,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
    ),
)


def configure(form: Literal["console", "json"] = "console", level: int = logging.INFO) -> None:
    """Send the package's logs to standard error, for people or as one JSON object a line. Called once, by the CLI."""
    renderer = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer]
        )
    )
    logger = logging.getLogger(NAME)
    logger.handlers[:] = [handler]
    logger.setLevel(level)
    logger.propagate = False
