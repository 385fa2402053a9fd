"""The seams to a multimodal model: the terms it is asked under, the picture it is sent, what it is asked and answers.

`geoseg_agent.grounding.mllm` speaks to these four protocols only. `openai_chat` implements `Endpoint` on the wire,
`sent_image` implements `Pictures`, `cache` implements `Cache`; recording and replaying are further implementations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from geoseg_agent.imagery import Image
    from geoseg_agent.types import GroundingReply, TargetMask
    from geoseg_tools.arrays import Size
    from geoseg_tools.geometry import Box

Dialect = Literal["tool", "json_schema", "json_object", "plain"]
Space = Literal["norm1000", "unit", "pixels"]
Order = Literal["xyxy", "yxyx"]
Outside = Literal["tolerate", "clamp"]
Role = Literal["system", "user", "assistant"]
Stopped = Literal["answer", "whitespace", "repetition", "size"]


class Frame(NamedTuple):
    """The coordinates a model speaks.

    Attributes:
        space: "norm1000" is 0..1000 along each side, "unit" is 0..1, "pixels" are those of the image sent.
        order: which number comes first.
    """

    space: Space
    order: Order = "xyxy"

    def __str__(self) -> str:
        return self.space if self.order == "xyxy" else f"{self.space}-{self.order}"

    @classmethod
    def parse(cls, text: str) -> Frame:
        """The frame that `str` gives, for example "norm1000" or "norm1000-yxyx".

        Raises:
            ValueError: there is no such frame; the message lists them.
        """
        if text not in FRAMES:
            raise ValueError(f"there is no frame {text!r}; known are {', '.join(FRAMES)}")
        return FRAMES[text]


FRAMES: Mapping[str, Frame] = {
    str(frame): frame
    for frame in (
        Frame("norm1000"),
        Frame("norm1000", "yxyx"),
        Frame("unit"),
        Frame("unit", "yxyx"),
        Frame("pixels"),
        Frame("pixels", "yxyx"),
    )
}


@dataclass(frozen=True, slots=True)
class Fit:
    """How large a picture is sent: each side a multiple of `align`, its area `least`..`most` visual tokens.

    A visual token is a square of `align` x `align` pixels.
    """

    align: int
    least: int
    most: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `geoseg doctor grounding` found for one endpoint, model and prompt.

    Attributes:
        frame: the frame in which the replies are, or None where they mix frames or fit none.
        mixed: the frames seen, where they are several; their `str`.
        iou: median intersection over union of what was drawn and what came back, read in `frame`.
        scale: fitted factor along x and y of what came back against what was drawn; 1.0 is faithful.
        shift: fitted displacement along x and y in pixels of the image sent; 0.0 is faithful.
        residual: median distance, in pixels of the image sent, that the fit leaves.
        prompt: sha256 of the prompt it was found with.
        found: when, UTC, ISO 8601.
    """

    frame: Frame | None
    mixed: tuple[str, ...]
    iou: float
    scale: tuple[float, float]
    shift: tuple[float, float]
    residual: float
    prompt: str
    found: str


@dataclass(frozen=True, slots=True)
class Terms:
    """What both sides rest on for one query; every part of it is in the trace.

    Attributes:
        server: the fingerprint: vllm, sglang, llama.cpp, ollama, lmstudio, transformers, hosted or unknown.
        model: its name as the endpoint knows it.
        rungs: the dialects to ask in; the first is where a query starts, a refused one steps to the next.
        proved: whether a canary showed that the server enforces the first rung.
        family: row of the table of model profiles.
        asked: the frame the prompt asks for.
        read: the frame the reply is read in.
        outside: what to do with a box that reaches over the picture: "tolerate" up to 2 % of the side and reject
            the rest, or "clamp" always.
        max_targets: most targets asked for and taken.
        fit: how large the picture is sent.
        verdict: what `doctor grounding` found, where it was run.
    """

    server: str
    model: str
    rungs: tuple[Dialect, ...]
    proved: bool
    family: str
    asked: Frame
    read: Frame
    outside: Outside
    max_targets: int
    fit: Fit
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True, eq=False)
class SentImage:
    """A picture as it goes to the model.

    Attributes:
        size: (h, w) in pixels, as sent.
        window: the part of the original image that it shows, absolute pixels.
        media_type: for example "image/jpeg".
        sha256: of the encoded bytes.
        data: the encoded bytes, or None in a replay.
    """

    size: Size
    window: Box
    media_type: str
    sha256: str
    data: bytes | None


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """One turn; the picture, where there is one, stands before the text."""

    role: Role
    text: str
    image: SentImage | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Tool:
    """The one function a model may call, or the first of two.

    Attributes:
        name: of the function.
        description: for the model.
        schema: JSON schema of its arguments, without $ref; also what the "json_schema" dialect asks for.
        other: a second function that may be called instead, or None.
        either: with `other`, what the "json_schema" dialect asks for: a schema of an answer that may be the one or
            the other.
    """

    name: str
    description: str
    schema: Mapping[str, Any]
    other: Tool | None = None
    either: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ChatRequest:
    """One request.

    Attributes:
        model: as in `Terms`.
        messages: the whole conversation.
        tool: what the answer must be a call of.
        dialect: how that is asked for on the wire.
        max_tokens: most tokens of the reply.
        temperature: 0 for the likeliest answer.
        seed: for servers that take one.
    """

    model: str
    messages: tuple[Message, ...]
    tool: Tool
    dialect: Dialect
    max_tokens: int
    temperature: float = 0.0
    seed: int | None = None


class Call(NamedTuple):
    """A function call as the model wrote it; `arguments` is text that should be JSON."""

    name: str
    arguments: str


class Usage(NamedTuple):
    """Tokens as the server counted them."""

    prompt: int
    completion: int


@dataclass(frozen=True, slots=True)
class ChatReply:
    """One reply, verbatim.

    Attributes:
        content: the text, or None.
        reasoning: what the model thought aloud, where the server tells it apart, or None.
        calls: the function calls, in order.
        refusal: the text of a refusal, or None.
        finish: the server's reason to stop, as it says; never evidence that the answer is complete.
        stopped: why this side stopped reading first, or None: the answer was complete, or endless whitespace, a box
            repeated again and again, more bytes than any answer has.
        usage: None where the server did not say, as when this side stopped first.
        request_id: the server's name for the request, or None.
    """

    content: str | None = None
    reasoning: str | None = None
    calls: tuple[Call, ...] = ()
    refusal: str | None = None
    finish: str | None = None
    stopped: Stopped | None = None
    usage: Usage | None = None
    request_id: str | None = None


class Endpoint(Protocol):
    """A multimodal model somewhere.

    Attributes:
        address: scheme, host, port and path, without user, password, query or key.
        model: as configured, or None where the endpoint's only model is meant.
    """

    address: str
    model: str | None

    async def terms(self) -> Terms:
        """The terms of the next query; found out once, then remembered.

        Raises:
            ConfigError: the settings leave something open that must be known before anything is paid.
        """
        ...

    async def complete(self, request: ChatRequest) -> ChatReply:
        """One attempt on the wire, without retry.

        Raises:
            DialectRefused: the server cannot answer in this dialect; ask in the next.
            EndpointUnavailable, EndpointTimeout: asking again may help.
            EndpointRefused, EndpointError: asking again does not help.
        """
        ...

    def step_down(self, refused: Dialect) -> None:
        """Remember that this server does not speak `refused`."""
        ...

    async def aclose(self) -> None:
        """Release connections; safe to call twice."""
        ...


class Pictures(Protocol):
    """Makes what is sent."""

    async def view(
        self, image: Image, window: Box, fit: Fit, *, overlay: Sequence[TargetMask] | None = None
    ) -> SentImage:
        """`window` of the image as sent, with the targets' masks and numbers drawn over it where given."""
        ...

    async def aclose(self) -> None:
        """Release threads; safe to call twice."""
        ...


class Cache(Protocol):
    """Replies of earlier queries."""

    async def get(self, key: str) -> GroundingReply | None:
        """The reply kept under `key` (a sha256 of everything that decides it), or None."""
        ...

    async def put(self, key: str, reply: GroundingReply) -> None:
        """Keep the reply, atomically; what cannot be kept is logged and forgotten."""
        ...

    async def aclose(self) -> None:
        """Release threads; safe to call twice."""
        ...
