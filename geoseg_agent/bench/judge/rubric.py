"""What a judge is asked in each mode, and its answer read strictly: integers 1..5, nothing converted or guessed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple, get_args

from pydantic import BaseModel, ConfigDict, Field

from geoseg_agent.errors import ConfigError
from geoseg_agent.grounding.chat import ChatRequest, Message, Tool
from geoseg_agent.grounding.messages import VARIED, answer_tokens
from geoseg_agent.grounding.quoting import enclosed, one_line
from geoseg_agent.grounding.review import read_answer
from geoseg_prompts import Prompt, load

if TYPE_CHECKING:
    from geoseg_agent.bench.pairs import Pair
    from geoseg_agent.grounding.chat import ChatReply, SentImage, Terms

Mode = Literal["paper-3", "paper-4", "released"]
Better = Literal["first", "second", "tie"]

THREE: Final = ("faithfulness", "localization", "robustness")
FOUR: Final = (*THREE, "overlap")
LONGEST: Final = 400
"""Characters of evidence that are asked for and kept; more is cut, not refused."""

_EVIDENCE: Final = {"evidence": {"type": "string", "maxLength": LONGEST}}
_SCORE: Final = {"type": "integer", "minimum": 1, "maximum": 5}
_FORM: Final = "must be one complete JSON object with a whole number from 1 to 5 for each of "

Score = Annotated[int, Field(ge=1, le=5)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    evidence: str = ""


class _Three(_Strict):
    faithfulness: Score
    localization: Score
    robustness: Score


class _Four(_Three):
    overlap: Score


class _Choice(_Strict):
    better: Better


class Said(NamedTuple):
    """A valid answer: score by criterion, or "better" by name; and the evidence as one line, empty without."""

    answer: dict[str, Any]
    evidence: str


@dataclass(frozen=True, slots=True)
class Rubric:
    """How a judge is asked.

    Attributes:
        name: the mode, or "pairwise".
        prompt: with the gap "query".
        keys: of the answer, evidence aside: the criteria in order, or "better".
        tool: what the answer must be a call of; evidence first, because constrained decoding follows the order.
        plain: whether the picture shows the image without colours too.
        model: what the answer must be.
    """

    name: str
    prompt: Prompt
    keys: tuple[str, ...]
    tool: Tool
    plain: bool
    model: type[_Strict]

    def request(self, subject: str, sent: SentImage, terms: Terms, *, sample: int = 0) -> ChatRequest:
        """The request: system, then picture and text; nothing but these arguments decides it.

        Args:
            subject: what was asked for, as data.
            sent: the composite.
            terms: model and dialects.
            sample: 0 asks for the likeliest answer, any other number for a varied one with that seed.
        """
        parts = self.prompt.render(query=enclosed(subject))
        return ChatRequest(
            model=terms.model,
            messages=(Message("system", parts["system"]), Message("user", parts["user"], sent)),
            tool=self.tool,
            dialect=terms.rungs[0],
            max_tokens=answer_tokens(len(self.keys)),
            temperature=VARIED if sample else 0.0,
            seed=sample,
        )

    def read(self, reply: ChatReply) -> Said:
        """The answer in a reply.

        Raises:
            RejectedReply: it holds none, or one that breaks a rule.
        """
        form = (
            f"{_FORM}{', '.join(self.keys)}" if self.model is not _Choice else 'must be a JSON object with "better"'
        )
        return self.checked(read_answer(reply, self.model, frozenset(self.keys), form).model_dump())

    def checked(self, answer: dict[str, Any]) -> Said:
        """An answer that was kept, checked anew.

        Raises:
            pydantic.ValidationError: it breaks a rule.
        """
        said = self.model.model_validate(answer).model_dump()
        return Said({key: said[key] for key in self.keys}, one_line(said["evidence"], LONGEST))


def rubric_of(mode: Mode, version: str | None = None) -> Rubric:
    """The rubric of a mode.

    "paper-3" has the three criteria of the paper's text, "paper-4" also Overlap, rated by the model as its Appendix A
    says; "released" is described in `geoseg_agent.bench.judge.released`.

    Args:
        mode: one of `Mode`.
        version: of the prompt; the newest where None.

    Raises:
        ConfigError: there is no such mode.
    """
    if mode == "paper-3":
        return _rating(mode, load("judge", version), _Three, THREE, evidence=True)
    if mode == "paper-4":
        return _rating(mode, load("judge_overlap", version), _Four, FOUR, evidence=True)
    if mode == "released":
        return _rating(mode, load("judge_class", version), _Four, FOUR, evidence=False)
    raise ConfigError(f"the judge has no mode {mode!r}", hint=f"known are {', '.join(get_args(Mode))}")


def pairwise_rubric(version: str | None = None) -> Rubric:
    """The rubric by which two results are compared; the answer is first, second or tie."""
    schema = _object({**_EVIDENCE, "better": {"type": "string", "enum": list(get_args(Better))}})
    tool = Tool("compare_results", "Say which of the two results answers the query better.", schema)
    return Rubric("pairwise", load("judge_pair", version), ("better",), tool, plain=True, model=_Choice)


def subject_of(pair: Pair, mode: str) -> str:
    """What the judge is told was asked for: the query; in mode "released" the pair's phrase where it has one."""
    return pair.phrase if mode == "released" and pair.phrase else pair.query


def _rating(mode: Mode, prompt: Prompt, model: type[_Strict], keys: tuple[str, ...], *, evidence: bool) -> Rubric:
    schema = _object({**(_EVIDENCE if evidence else {}), **{key: dict(_SCORE) for key in keys}})
    tool = Tool("rate_result", "Rate how well the result answers the query.", schema)
    return Rubric(mode, prompt, keys, tool, plain=mode != "released", model=model)


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
