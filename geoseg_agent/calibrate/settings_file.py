"""Calibrated margins as a file of settings that the agent takes from its environment.

    set -a; . ./calibration.env; set +a        # sh, bash, zsh: every assignment becomes a variable
    geoseg segment image.tif "the lake"

Lines that begin with # say what the margins rest on. Nothing of it is a secret.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from geoseg_agent.errors import ConfigError
from geoseg_agent.grounding.chat import FRAMES
from geoseg_agent.grounding.keep_file import keep_file

if TYPE_CHECKING:
    from pathlib import Path

    from geoseg_agent.calibrate.margins import Margins

NAME: Final = "calibration.env"
_LONGEST = 200


class Origin(NamedTuple):
    """What margins rest on.

    Attributes:
        model: whose boxes.
        pairs, images: how many were used.
        elsewhere: pairs that no margins were asked to hold.
        date: when, as the caller says.
        frame: the reading that the pairs were calibrated in, where the settings must be told to read so; else None.
    """

    model: str
    pairs: int
    images: int
    elsewhere: int
    date: str
    frame: str | None = None


def render(margins: Margins, origin: Origin) -> str:
    """The text of the file.

    Raises:
        ConfigError: there is no setting that makes the agent read boxes as they were calibrated.
    """
    if origin.frame is not None and origin.frame not in FRAMES:
        raise ConfigError(
            f"no setting reads boxes in {origin.frame}",
            hint=f"GEOSEG_FRAME takes {', '.join(FRAMES)}",
        )
    lines = [
        "# Margins of Eq. 2, calibrated by geoseg-agent. Load with: set -a; . ./calibration.env; set +a",
        f"# model: {_line(origin.model) or 'not named'}",
        f"# date: {_line(origin.date)}",
        f"# pairs: {origin.pairs} on {origin.images} images; {origin.elsewhere} more on other things, not counted",
        f"# coverage: {margins.coverage:g} of the true boxes wholly inside the region",
        f"# alpha 95 %: {_range(margins.alpha_range)}, beta 95 %: {_range(margins.beta_range)}, by image",
        f"# the region has {margins.cost.growth:.2f} times the area of the box said",
        f"GEOSEG_ALPHA={margins.alpha:.3f}",
        f"GEOSEG_BETA={margins.beta:.3f}",
    ]
    if origin.frame is not None:
        lines += ["# the margins hold only for boxes that are read in this frame", f"GEOSEG_FRAME={origin.frame}"]
    return "\n".join(lines) + "\n"


def write(folder: Path, margins: Margins, origin: Origin) -> Path:
    """Write `calibration.env` into `folder`, whole or not at all, and say where.

    Raises:
        ConfigError: the folder cannot be written to, or as `render`.
    """
    path = folder / NAME
    try:
        keep_file(path, render(margins, origin).encode())
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror or error}", hint="choose another folder"
        ) from error
    return path


def _range(ends: tuple[float, float] | None) -> str:
    return "unknown, of one image" if ends is None else f"{ends[0]:.3f}..{ends[1]:.3f}"


def _line(text: str) -> str:
    """Foreign text as a part of one comment: what would end the line, and what does not show, is a question mark."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)[:_LONGEST]
