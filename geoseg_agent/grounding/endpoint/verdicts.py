"""What `geoseg doctor grounding` found, kept per endpoint, model and prompt (`GEOSEG_VERDICTS=DIR`).

One file each, written under a name of its own and renamed, so that processes may share the folder. A file that cannot
be read or trusted is reported and counts as none; deleting it, or running the doctor again, is always safe.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from geoseg_agent.errors import ConfigError
from geoseg_agent.grounding.chat import Frame, Verdict
from geoseg_agent.grounding.keep_file import keep_file
from geoseg_agent.logs import log

if TYPE_CHECKING:
    from pathlib import Path

GOOD_SCALE: Final = 0.01
"""Scale may differ from 1 by as much."""

GOOD_SHIFT: Final = 5.0
"""Pixels of the image sent."""

_Number = Annotated[float, Field(allow_inf_nan=False)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    schema_version: Literal[1]
    address: str
    model: str
    prompt: str
    frame: str | None
    mixed: list[str]
    iou: _Number
    scale: Annotated[list[_Number], Field(min_length=2, max_length=2)]
    shift: Annotated[list[_Number], Field(min_length=2, max_length=2)]
    residual: _Number
    found: str


def find(folder: Path, address: str, model: str, prompt_sha256: str) -> Verdict | None:
    """The verdict on a model at an address with a prompt, or None where there is none that can be trusted."""
    path = path_of(folder, address, model, prompt_sha256)
    try:
        entry = _Entry.model_validate_json(path.read_bytes())
        if (entry.address, entry.model, entry.prompt) != (address, model, prompt_sha256):
            raise ValueError(f"it is about {entry.model} at {entry.address}")  # noqa: TRY301 - one way out for damage
        return Verdict(
            frame=None if entry.frame is None else Frame.parse(entry.frame),
            mixed=tuple(str(Frame.parse(name)) for name in entry.mixed),
            iou=entry.iou,
            scale=(entry.scale[0], entry.scale[1]),
            shift=(entry.shift[0], entry.shift[1]),
            residual=entry.residual,
            prompt=entry.prompt,
            found=entry.found,
        )
    except FileNotFoundError:
        return None
    except ValidationError as error:
        reason = f"{'.'.join(map(str, error.errors()[0]['loc']))}: {error.errors()[0]['msg']}"
    except (OSError, ValueError) as error:
        reason = str(error)
    log.warning("verdict ignored; run `geoseg doctor grounding` again", path=str(path), reason=reason)
    return None


def keep(folder: Path, address: str, model: str, verdict: Verdict) -> Path:
    """Keep the verdict in place of an earlier one and say where; whole or not at all, whatever happens meanwhile.

    Raises:
        ConfigError: the folder cannot be written to, or a number of the verdict is not finite.
    """
    path = path_of(folder, address, model, verdict.prompt)
    try:
        entry = _Entry(
            schema_version=1,
            address=address,
            model=model,
            prompt=verdict.prompt,
            frame=None if verdict.frame is None else str(verdict.frame),
            mixed=list(verdict.mixed),
            iou=verdict.iou,
            scale=list(verdict.scale),
            shift=list(verdict.shift),
            residual=verdict.residual,
            found=verdict.found,
        )
        keep_file(path, entry.model_dump_json(indent=1).encode())
    except ValidationError as error:
        raise ConfigError(
            f"the verdict on {model} cannot be kept: {error.errors()[0]['msg']} in {error.errors()[0]['loc'][0]}",
            hint="run `geoseg doctor grounding` again",
        ) from error
    except OSError as error:
        raise ConfigError(
            f"the verdict on {model} cannot be kept in {path.parent}: {error}", hint="set GEOSEG_VERDICTS"
        ) from error
    return path


def is_off(verdict: Verdict, read: Frame) -> bool:
    """Whether boxes read in the frame `read` would be wrong: of another frame, scaled or shifted."""
    scaled = max(abs(factor - 1) for factor in verdict.scale) > GOOD_SCALE
    shifted = max(abs(pixels) for pixels in verdict.shift) > GOOD_SHIFT
    return scaled or shifted or verdict.frame != read


def path_of(folder: Path, address: str, model: str, prompt_sha256: str) -> Path:
    """Where the verdict is kept; the name says nothing, the file says all."""
    key = hashlib.sha256(f"{address}\n{model}\n{prompt_sha256}".encode()).hexdigest()
    return folder.expanduser() / f"{key}.json"
