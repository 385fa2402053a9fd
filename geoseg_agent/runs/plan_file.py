"""The file in the folder of a long run that says what the run asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError

from geoseg_agent.errors import DatasetError
from geoseg_agent.runs.lines import told
from geoseg_agent.trace.record_base import Record

if TYPE_CHECKING:
    from pathlib import Path

R = TypeVar("R", bound=Record)


def read_plan(file: Path, kind: type[R], *, run: str, command: str) -> R:
    """The plan in `file`.

    Args:
        file: of the plan, in the folder of the run.
        kind: what the plan is.
        run: what such a run is called, for messages.
        command: that makes one, for messages.

    Raises:
        DatasetError: there is none, or one of another version.
    """
    try:
        return kind.model_validate_json(file.read_bytes())
    except OSError as error:
        raise DatasetError(
            f"{file.parent} holds no {run}: {file.name}: {error.strerror or error}", hint=f"make one with `{command}`"
        ) from error
    except ValidationError as error:
        raise DatasetError(
            f"{file} is no plan of a {run}: {told(error)}",
            hint="put back the file that was there, or name a new folder with --out",
        ) from error
