"""A matplotlib figure as SVG for a page: inline, in the page's type, and in its colours by day and by night.

The page forbids style attributes, so what matplotlib puts into them becomes attributes; each of the colours below
becomes a class as well, `f-NAME` for what it fills and `s-NAME` for what it strokes, which the page's own style sheet
gives its light and dark values. Nothing of pyplot is used, and a user's matplotlibrc has no say.
"""

from __future__ import annotations

import io
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.figure import Figure

INK: Final = "#1a1d22"
SOFT: Final = "#626873"
LINE: Final = "#e0ddd3"
ACCENT: Final = "#0b6e67"
BAD: Final = "#b42318"
WARN: Final = "#9a5b00"

_NAMES: Final = {INK: "ink", SOFT: "soft", LINE: "line", ACCENT: "accent", BAD: "bad", WARN: "warn"}
_LEFT_TO_THE_PAGE: Final = frozenset({"font-family", "font-size", "font", "font-weight"})
_LINK: Final = "{http://www.w3.org/1999/xlink}href"


@contextmanager
def plain_style() -> Iterator[None]:
    """Matplotlib's own defaults while the block runs; text stays text."""
    import matplotlib.style  # noqa: PLC0415 - half a second, for reports only

    with matplotlib.style.context(["default", {"svg.fonttype": "none", "svg.hashsalt": "geoseg"}]):
        yield


def svg_of(figure: Figure, says: str) -> str:
    """The figure as one `<svg>` element, without a size of its own; `says` is read to those who do not see it.

    Equal figures give equal text. It refers to nothing outside itself.
    """
    text = io.BytesIO()
    figure.savefig(text, format="svg", metadata={"Date": None}, transparent=True)
    root = ET.fromstring(text.getvalue())  # noqa: S314 - as above
    for parent in list(root.iter()):
        parent.tag = parent.tag.rpartition("}")[2]
        for child in list(parent):
            if child.tag.rpartition("}")[2] in {"metadata", "style"}:
                parent.remove(child)
    used = {value for node in root.iter() for value in _references(node)}
    for node in root.iter():
        _clean(node, used)
    frame = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": says}
    root.attrib.clear()
    root.attrib.update(frame)
    return ET.tostring(root, encoding="unicode")


def _references(node: ET.Element) -> Iterator[str]:
    yield node.get(_LINK, "").removeprefix("#")
    yield node.get("clip-path", "").removeprefix("url(#").removesuffix(")")


def _clean(node: ET.Element, used: set[str]) -> None:
    if node.get("id") not in used:
        node.attrib.pop("id", None)
    if _LINK in node.attrib:
        node.set("href", node.attrib.pop(_LINK))
    if node.get("transform", "").startswith("rotate(-0 "):
        node.attrib.pop("transform")
    if node.tag in {"g", "defs", "svg"} and not (node.text or "").strip():
        node.text = None
    node.tail = None
    classes = []
    for rule in filter(None, node.attrib.pop("style", "").split(";")):
        name, _, value = (part.strip() for part in rule.partition(":"))
        if name in _LEFT_TO_THE_PAGE:
            continue
        node.set(name, value)
        if name in {"fill", "stroke"} and value in _NAMES:
            classes.append(f"{name[0]}-{_NAMES[value]}")
    if classes:
        node.set("class", " ".join(classes))
    if "d" in node.attrib:
        node.set("d", " ".join(node.attrib["d"].split()))
