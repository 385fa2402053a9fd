"""What every record of a trace is built from, and the records that several seams share."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

BoxRecord = Annotated[list[int], Field(min_length=4, max_length=4)]
Pair = Annotated[list[int], Field(min_length=2, max_length=2)]
Seconds = Annotated[float, Field(ge=0)]


class Record(BaseModel):
    """Strict, frozen, nothing unknown, nothing infinite."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Sparse(Record):
    """A record that leaves out what it may leave out and has not, so that a file without it stays as it was."""

    @model_serializer(mode="wrap")
    def _given(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        return {
            name: value for name, value in serialise(self).items() if value is not None or fields[name].is_required()
        }


class Rle(Record):
    """A mask as COCO run-lengths, compressed, columns first: what pycocotools encodes."""

    size: Pair
    counts: str


class TargetRecord(Record):
    """A target as the grounder gave it; `within` in the frame of `box`."""

    box: BoxRecord
    phrase: str
    confidence: float | None
    within: Rle | None


class ReplyRecord(Record):
    """A grounding reply."""

    status: Literal["found", "not_found", "ambiguous"]
    targets: list[TargetRecord]
    reasoning: str
    notes: list[str]


class ErrorRecord(Record):
    """What went wrong; `code` is the stable name of the kind of failure."""

    type: str
    code: str
    message: str
    hint: str | None


class StepRecord(Record):
    """What all steps have; `took` and `waited` in seconds."""

    index: int
    target: int | None
    waited: Seconds
    took: Seconds
    error: ErrorRecord | None
