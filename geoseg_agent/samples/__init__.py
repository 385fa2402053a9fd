"""Sample scenes: seeded, plausible overhead pictures with exact masks and queries on three levels.

    from geoseg_agent.samples import scene, write

    made = scene(7, kind="lakeside")
    made.queries[0].text      # "Segment all water."
    write(made, "samples/lakeside-7")

They serve the demo, the tests and a small synthetic benchmark. They are drawn, not photographed: a score on them says
that the pipeline runs and how it reacts, never how it does on real imagery. The names load on first use, so that
importing the package stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geoseg_agent.samples.compose import DEFAULT_KIND, DEFAULT_SEED, KINDS, scene
    from geoseg_agent.samples.values import Kind, SampleInstance, SampleQuery, SampleScene
    from geoseg_agent.samples.writer import SamplePaths, write

_HOME = {
    "DEFAULT_KIND": "compose",
    "DEFAULT_SEED": "compose",
    "KINDS": "compose",
    "Kind": "values",
    "SampleInstance": "values",
    "SamplePaths": "writer",
    "SampleQuery": "values",
    "SampleScene": "values",
    "scene": "compose",
    "write": "writer",
}

__all__ = [
    "DEFAULT_KIND",
    "DEFAULT_SEED",
    "KINDS",
    "Kind",
    "SampleInstance",
    "SamplePaths",
    "SampleQuery",
    "SampleScene",
    "scene",
    "write",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
