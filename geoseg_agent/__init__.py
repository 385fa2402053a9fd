"""Ask an aerial or satellite image a question, get a pixel mask, and a trace that replays.

    from geoseg_agent import segment

    answer = await segment("scene.tif", "the houses in rows beside the park")
    answer.mask            # (H, W) bool
    answer.save("out")     # mask, overlay, and for georeferenced images GeoTIFF and vectors

The public names load on first use, so that importing the package stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geoseg_agent.agent import Agent
    from geoseg_agent.errors import (
        BudgetExceeded,
        ConfigError,
        DatasetError,
        DeadlineExceeded,
        DialectRefused,
        EndpointError,
        EndpointRefused,
        EndpointTimeout,
        EndpointUnavailable,
        GeoSegError,
        ImageError,
        InputError,
        InvalidReply,
        MissingExtra,
        OutOfMemory,
        Overloaded,
        QueryError,
        ReplayMismatch,
        ToolFailed,
        TraceCorrupt,
        TraceError,
        TraceIncomplete,
        TraceTooNew,
        UnknownBackend,
        WeightsMissing,
    )
    from geoseg_agent.imagery import Image, read_image
    from geoseg_agent.segmentation import Segmentation
    from geoseg_agent.settings import Settings
    from geoseg_agent.shared import aclose, segment
    from geoseg_agent.types import Hints

__version__ = "0.1.0"

_ERRORS = (
    "BudgetExceeded",
    "ConfigError",
    "DatasetError",
    "DeadlineExceeded",
    "DialectRefused",
    "EndpointError",
    "EndpointRefused",
    "EndpointTimeout",
    "EndpointUnavailable",
    "GeoSegError",
    "ImageError",
    "InputError",
    "InvalidReply",
    "MissingExtra",
    "OutOfMemory",
    "Overloaded",
    "QueryError",
    "ReplayMismatch",
    "ToolFailed",
    "TraceCorrupt",
    "TraceError",
    "TraceIncomplete",
    "TraceTooNew",
    "UnknownBackend",
    "WeightsMissing",
)
_HOME = {
    "Agent": "agent",
    "Hints": "types",
    "Image": "imagery",
    "Segmentation": "segmentation",
    "Settings": "settings",
    "aclose": "shared",
    "read_image": "imagery",
    "segment": "shared",
    **dict.fromkeys(_ERRORS, "errors"),
}

__all__ = [
    "Agent",
    "BudgetExceeded",
    "ConfigError",
    "DatasetError",
    "DeadlineExceeded",
    "DialectRefused",
    "EndpointError",
    "EndpointRefused",
    "EndpointTimeout",
    "EndpointUnavailable",
    "GeoSegError",
    "Hints",
    "Image",
    "ImageError",
    "InputError",
    "InvalidReply",
    "MissingExtra",
    "OutOfMemory",
    "Overloaded",
    "QueryError",
    "ReplayMismatch",
    "Segmentation",
    "Settings",
    "ToolFailed",
    "TraceCorrupt",
    "TraceError",
    "TraceIncomplete",
    "TraceTooNew",
    "UnknownBackend",
    "WeightsMissing",
    "aclose",
    "read_image",
    "segment",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
