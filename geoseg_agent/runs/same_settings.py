"""Whether a run that goes on is set up as it was begun, as far as that changes what comes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from geoseg_agent.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_NO_EFFECT: Final = frozenset(
    {
        "base_url",
        "traces",
        "log_format",
        "max_running",
        "max_queued",
        "max_encoded",
        "endpoint_calls",
        "devices",
        "cache",
        "call_timeout",
    }
)
"""Settings that change how long a run takes, or where its model is served, and not what comes of it; see `_asks`."""


def settings_differ(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """In what other settings come to other results, one sentence each; both as `Settings.recorded` gives them."""
    if _asks(old) != _asks(new):
        yield f"it asks {_asks(old)}, this one {_asks(new)}"
    yield from values_differ("settings", old, new)


def values_differ(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """The same for named values of any kind: `name` is what messages call them."""
    for field in sorted((old.keys() | new.keys()) - _NO_EFFECT):
        before, now = (side.get(field, _default(field)) for side in (old, new))
        if before != now:
            yield f"{name}.{field} was {before!r} and is {now!r}"


def _default(field: str) -> Any:
    """What a setting was before there was one of that name; None for all else."""
    known = Settings.model_fields.get(field)
    return None if known is None else known.get_default()


def _asks(settings: Mapping[str, Any]) -> str:
    """Who answers: an address may change, but with none at all, the grounder "auto" is another."""
    if settings.get("grounder") != "auto":
        return "as GEOSEG_GROUNDER says"
    return "the offline default" if settings.get("base_url") is None else "a model (GEOSEG_BASE_URL)"
