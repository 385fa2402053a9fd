"""Templates of pages that are one file, load nothing and run nothing: everything escaped, nothing undefined."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, StrictUndefined, Template

from geoseg_agent.trace.conversation import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def template_of(
    package: str, filters: Mapping[str, Callable[..., Any]], functions: Mapping[str, Callable[..., Any]] | None = None
) -> Template:
    """The `report.html.j2` of a package, with the filter `digest` for its content policy.

    Args:
        package: that the file lies in.
        filters: of the template, by name.
        functions: likewise.
    """
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: visible(value) if type(value) is str else value,  # not Markup, which is the page's own
    )
    environment.filters |= {**filters, "digest": _digest}
    environment.globals |= functions or {}
    return environment.from_string(files(package).joinpath("report.html.j2").read_text(encoding="utf-8"))


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
