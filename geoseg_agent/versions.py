"""What a result was made with."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version

_NAMED = (
    "geoseg-agent",
    "numpy",
    "scipy",
    "opencv-python-headless",
    "pillow",
    "rasterio",
    "torch",
    "torchvision",
    "sam3",
    "open_clip_torch",
    "openai",
)


@cache
def _installed() -> tuple[tuple[str, str], ...]:
    found = [("python", platform.python_version())]
    for name in _NAMED:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return tuple(found)


def versions() -> dict[str, str]:
    """Package to version, of those installed that can change a result; Python itself as "python"."""
    return dict(_installed())
