"""What a trace file holds, as strict models: the format, schema 1, in one place.

Frames are those of `geoseg_agent.types`. Boxes are [x1, y1, x2, y2] in absolute pixels of the image, sizes
[height, width], points [x, y]. Numbers are finite; unknown and missing fields are refused.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field

from geoseg_agent.trace.model_chat import (
    CacheInput,
    CacheStep,
    ChatInput,
    ChatRecord,
    ChatStep,
    EndpointInput,
    EndpointStep,
    SearchInput,
    SearchRecord,
    SearchStep,
    SentInput,
    SentRecord,
    SentStep,
    TermsRecord,
)
from geoseg_agent.trace.record_base import (
    BoxRecord,
    ErrorRecord,
    Pair,
    Record,
    ReplyRecord,
    Rle,
    Seconds,
    Sparse,
    StepRecord,
    TargetRecord,
)

__all__ = [  # what is defined elsewhere; the whole format is to be had from here
    "BoxRecord",
    "CacheInput",
    "CacheStep",
    "ChatInput",
    "ChatRecord",
    "ChatStep",
    "EndpointInput",
    "EndpointStep",
    "ErrorRecord",
    "Record",
    "ReplyRecord",
    "Rle",
    "SearchInput",
    "SearchRecord",
    "SearchStep",
    "SentInput",
    "SentRecord",
    "SentStep",
    "TargetRecord",
    "TermsRecord",
]

# Steps of multimodal models joined schema 1 before its first release, so there is no file that would not read.
SCHEMA = 1

Status: TypeAlias = Literal["done", "failed", "interrupted"]


class MasksRecord(Record):
    """The answer of a route: masks in the frame of the RoI, all of one size, and how many pixels each has."""

    size: Pair
    masks: list[Rle]
    areas: list[int]
    scores: list[float] | None
    notes: list[str]


class HeatRecord(Record):
    """A raw similarity grid of `shape` (rows, columns), losslessly: base64 of little-endian float32, row by row."""

    shape: Pair
    float32: list[str]


class GroundInput(Record):
    """What a grounder was asked: the picture by digest and size, and the question."""

    image: str
    size: Pair
    query: str


class CropInput(Record):
    """Which crop a tool worked on: the picture by digest and size, the region, and the target's own box in it."""

    image: str
    size: Pair
    roi: BoxRecord
    box: BoxRecord


class PhraseInput(CropInput):
    """A crop and what to look for."""

    phrase: str


class PointsInput(Sparse, CropInput):
    """A crop and points on it, RoI frame; `positive` is False where to exclude; `earlier` is what they correct."""

    points: list[Pair]
    positive: list[bool]
    earlier: Rle | None = None


class StabilityInput(Record):
    """Which picture was run again, and on how many changed copies."""

    image: str
    size: Pair
    runs: Annotated[int, Field(ge=1)]


class StabilityRecord(Record):
    """How well the masks of the copies overlap with the answer's, IoU, in the order of the copies."""

    agreements: list[Annotated[float, Field(ge=0, le=1)]]


class FailureRecord(ErrorRecord):
    """What ended the query."""

    trace_id: str


class GroundStep(StepRecord):
    """Image and query in, targets out."""

    seam: Literal["ground"]
    input: GroundInput
    output: ReplyRecord | None


class EncodeStep(StepRecord):
    """A crop made ready for both routes; what came of it stays with the tool."""

    seam: Literal["encode"]
    input: CropInput
    output: None


class SimilarityStep(StepRecord):
    """Where in the crop the phrase is."""

    seam: Literal["similarity"]
    input: PhraseInput
    output: HeatRecord | None


class PointsStep(StepRecord):
    """Route A: masks from points."""

    seam: Literal["points"]
    input: PointsInput
    output: MasksRecord | None


class TextStep(StepRecord):
    """Route B: masks from the phrase."""

    seam: Literal["text"]
    input: PhraseInput
    output: MasksRecord | None


class StabilityStep(StepRecord):
    """The same query on changed copies; what they came to stays where it was computed."""

    seam: Literal["stability"]
    input: StabilityInput
    output: StabilityRecord | None


ToolStep: TypeAlias = EncodeStep | SimilarityStep | PointsStep | TextStep
ModelStep: TypeAlias = SearchStep | EndpointStep | CacheStep | SentStep | ChatStep
Step: TypeAlias = GroundStep | ToolStep | ModelStep | StabilityStep
Input: TypeAlias = (
    GroundInput
    | PhraseInput
    | PointsInput
    | CropInput
    | EndpointInput
    | CacheInput
    | SentInput
    | ChatInput
    | StabilityInput
    | SearchInput
)
Output: TypeAlias = (
    ReplyRecord | HeatRecord | MasksRecord | TermsRecord | SentRecord | ChatRecord | StabilityRecord | SearchRecord
)
Seam: TypeAlias = Literal[
    "ground", "encode", "similarity", "points", "text", "search", "endpoint", "cache", "sent", "chat", "stability"
]

MODEL_SEAMS: frozenset[str] = frozenset({"search", "endpoint", "cache", "sent", "chat"})
"""Where a query meets a multimodal model; a trace has these or "ground", never both."""


class ImageRecord(Sparse):
    """The picture without its pixels: digests, size, and its place on the ground.

    `opened` says that it was read in windows, and that `sha256` is of its file's directories and not of all pixels.
    """

    name: str
    path: str | None
    width: Annotated[int, Field(ge=1)]
    height: Annotated[int, Field(ge=1)]
    sha256: str
    file_sha256: str | None
    crs: str | None
    transform: Annotated[list[float], Field(min_length=6, max_length=6)] | None
    bands: list[int]
    stretch: list[Annotated[list[float], Field(min_length=2, max_length=2)]] | None
    opened: bool | None = None


class HintPoint(Record):
    """A point the caller gave, absolute pixels."""

    x: int
    y: int
    positive: bool


class HintsRecord(Sparse):
    """What the caller knew; `earlier` is the mask that the points correct, image frame."""

    box: BoxRecord | None
    points: list[HintPoint]
    phrase: str | None
    earlier: Rle | None = None


class PromptRecord(Record):
    """The prompt a model was asked with."""

    name: str
    version: str
    sha256: str


class SimilarityRecord(Record):
    """What the raw similarity grid amounts to."""

    low: float
    high: float
    mean: float


class AreasRecord(Record):
    """Pixels of each route and of the result."""

    points: int
    text: int
    mask: int


class KeypointsRecord(Record):
    """Where route A started, RoI frame; cells are [row, column] on the grid."""

    points: list[Pair]
    scores: list[float]
    cells: list[Pair]
    raw: list[float]


class InstanceRecord(Record):
    """One object; its mask is in the frame of its box."""

    id: int
    box: BoxRecord
    score: float | None
    mask: Rle


class TargetResult(Record):
    """The answer for one target; the mask is in the frame of the RoI."""

    box: BoxRecord
    roi: BoxRecord
    phrase: str
    confidence: float | None
    within: Rle | None
    rule: Literal["both", "points", "text", "none"]
    score: float | None
    areas: AreasRecord
    similarity: SimilarityRecord | None  # None where the variant has no route A
    keypoints: KeypointsRecord
    mask: Rle
    instances: list[InstanceRecord]
    notes: list[str]


class Result(Record):
    """The answer. Query, engine, method and trace_id stand here once more because they belong to it."""

    trace_id: str
    query: str
    status: Literal["found", "not_found", "ambiguous"]
    confidence: float | None
    engine: str
    reasoning: str
    notes: list[str]
    method: dict[str, Any]
    targets: list[TargetResult]


class Opening(Record):
    """What is known before the first step; the first line of a journal."""

    schema_: Literal[1] = Field(alias="schema")
    id: str
    started: str
    engine: str
    versions: dict[str, str]
    weights: dict[str, str]
    settings: dict[str, Any]
    method: dict[str, Any]
    image: ImageRecord
    query: str
    hints: HintsRecord
    prompt: PromptRecord | None

    @property
    def clicked(self) -> bool:
        """Whether the caller's points said it all: without words, or on top of an earlier mask."""
        return not self.query or self.hints.earlier is not None

    @property
    def title(self) -> str:
        """What was asked, for people."""
        said = self.query or self.hints.phrase or "what the points are on"
        return f"{said}, corrected" if self.hints.earlier is not None else said


class Trace(Opening):
    """One query, from question to answer or failure."""

    status: Status
    finished: str
    seconds: Seconds
    steps: list[Annotated[Step, Field(discriminator="seam")]]
    result: Result | None
    error: FailureRecord | None
    seal: dict[str, str]
