"""Targets from a JSON file (`GEOSEG_GROUNDER=scripted:FILE`): for demos, tests, load, and boxes you already have.

    {"replies": [{"image": "<sha256 of the decoded pixels, or *>", "query": "the lake", "status": "found",
                  "targets": [{"box": [10, 20, 200, 180], "phrase": "lake", "confidence": 0.9}],
                  "reasoning": "drawn by hand"}]}

`geoseg segment --json` and every trace print an image's sha256. An entry that names the image wins over "*".
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from geoseg_agent.errors import ConfigError
from geoseg_agent.types import GroundingReply, Query, Target
from geoseg_tools.geometry import Box

if TYPE_CHECKING:
    from geoseg_agent.imagery import Image


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class _Target(_Strict):
    box: list[int] = Field(min_length=4, max_length=4)
    phrase: str
    confidence: float | None = Field(None, ge=0, le=1)


class _Reply(_Strict):
    image: str = Field(pattern=r"^(\*|[0-9a-f]{64})$")
    query: str
    status: Literal["found", "not_found", "ambiguous"]
    targets: list[_Target] = []
    reasoning: str = ""

    def reply(self) -> GroundingReply:
        targets = tuple(Target(Box(*t.box), t.phrase, t.confidence) for t in self.targets)
        return GroundingReply(self.status, targets, self.reasoning)


class _Script(_Strict):
    replies: list[_Reply]


class ScriptedGrounder:
    """Answers from a file, read once.

    Raises:
        ConfigError: the file is missing or malformed; the message names the entry and the rule.
    """

    engine = "scripted"
    # Its boxes are of whole images.
    whole_only = True

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            script = _Script.model_validate_json(self.path.read_bytes())
            self._replies = {(r.image, Query(r.query).text): r.reply() for r in script.replies}
        except OSError as error:
            raise ConfigError(
                f"the script {self.path} cannot be read: {error.strerror}", hint="GEOSEG_GROUNDER=scripted:FILE"
            ) from error
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ConfigError(f"the script {self.path} is malformed at {where}: {first['msg']}") from error
        except Exception as error:
            raise ConfigError(f"the script {self.path} holds an impossible reply: {error}") from error

    async def ground(self, image: Image, query: Query) -> GroundingReply:
        """As `Grounder.ground`.

        Raises:
            ConfigError: the script has no entry for this image and query.
        """
        for key in ((image.sha256, query.text), ("*", query.text)):
            if key in self._replies:
                return self._replies[key]
        known = sorted({text for _, text in self._replies})
        raise ConfigError(
            f"the script {self.path} has no reply to {query.text!r} for the image with sha256 {image.sha256}",
            hint=f"it knows {len(known)} queries, the first are {known[:3]}",
        )

    async def aclose(self) -> None:
        """Nothing to release."""
