"""Find the answer in a reply: in the arguments of calls, then in the content, then in the reasoning.

The last complete value that has the shape of an answer wins, unless another began behind it. A value that began and
never closed is not read in part. What was thought counts only where nothing else was said, and where it ends with
the answer: a draft is none.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from geoseg_agent.grounding.reply.markup import read_boxes, read_calls
from geoseg_agent.grounding.reply.phrases import remark
from geoseg_agent.grounding.reply.rejected import RejectedReply, Violation
from geoseg_agent.grounding.reply.scan import is_inside, scan
from geoseg_agent.grounding.reply.shapes import TOOL, is_answer, is_bare, is_call, is_item, opened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geoseg_agent.grounding.chat import Call, ChatReply
    from geoseg_agent.grounding.reply.scan import Scan, Value

Source = Literal["call", "content", "reasoning"]

_THOUGHT: Final = re.compile(r"</?think(?:ing)?>|◁/?think▷")
_MARKS: Final = re.compile(r"```\w*|</?\w{1,20}>|<\|\w{1,30}\|>")
_BETWEEN: Final = re.compile(r"[\s,;]*+")
_SAYS: Final = re.compile(r"\w")
_SHOWN: Final = 80

NOTHING: Final = frozenset({"", "{}", "null"})
"""Arguments of a call that says nothing."""

_FORM: Final = "must be one JSON object with status, targets and reasoning"
_ONE: Final = "must be one JSON object with status, targets and reasoning; these are several that differ"
_OTHER: Final = "must be a call of segment_targets; this calls another function with a box"


class Extract(NamedTuple):
    """The answer as the model gave it.

    Attributes:
        answers: decoded JSON: one value, or one for each of several calls.
        repairs: what stood around it.
        source: where it was.
    """

    answers: tuple[Any, ...]
    repairs: tuple[str, ...]
    source: Source


class _Read(NamedTuple):
    """What one text holds.

    Attributes:
        answers: empty where there is none.
        repairs: what stood around them.
        end: index behind them.
        cut: whether a value begins that never closes, so that the answers are not all.
        listed: whether the answers have no end of their own: more targets might have followed.
        refused: why something that looks like JSON is none.
    """

    answers: tuple[Any, ...] = ()
    repairs: tuple[str, ...] = ()
    end: int = 0
    cut: bool = False
    refused: str | None = None
    listed: bool = False


def extract(reply: ChatReply) -> Extract:
    """The answer in a reply.

    Raises:
        RejectedReply: there is none, it was cut off, or the model refused.
    """
    if reply.refusal and reply.refusal.strip():
        rule = "is a refusal; must be the answer, with status not_found where nothing fits the query"
        raise RejectedReply([Violation("", _excerpt(reply.refusal), rule)], truncated=was_cut(reply))
    called = _from_calls(reply, [call for call in reply.calls if call.arguments.strip() not in NOTHING])
    if called is not None:
        return called
    thought, said = thoughts(reply.content or "")
    read = _read(said, reply)
    if read.answers and not read.cut:
        return Extract(read.answers, read.repairs, "content")
    if read.cut or read.refused or says(said):
        raise _missing(reply, said, read)
    for text in filter(None, (thought, reply.reasoning)):
        read = _read(text, reply)
        # What more thoughts follow is a draft: they may have come to another end.
        if read.answers and not read.cut and not says(text[read.end :]):
            return Extract(read.answers, read.repairs, "reasoning")
    raise _missing(reply, said, read)


def was_cut(reply: ChatReply) -> bool:
    """Whether the server or this side says that the reply ended early."""
    return reply.finish == "length" or reply.stopped in {"whitespace", "repetition", "size"}


def _from_calls(reply: ChatReply, calls: Sequence[Call]) -> Extract | None:
    answers: list[Any] = []
    repairs: list[str] = []
    for call in calls:
        read = _read(call.arguments, reply)
        if not read.answers or read.cut:
            raise _missing(reply, call.arguments, read)
        answers += read.answers
        repairs += read.repairs
        if call.name != TOOL:
            if _is_foreign(call.name) and any(map(is_item, read.answers)):
                raise RejectedReply([Violation("", _excerpt(call.name), _OTHER)], truncated=was_cut(reply))
            repairs.append("call of another function taken")
    if len(answers) > 1:
        repairs.append(f"{len(answers)} calls joined")
    return Extract(tuple(answers), tuple(repairs), "call") if answers else None


def _is_foreign(name: str) -> bool:
    """Whether the name is of a function of its own, not one that servers or models made of ours."""
    return bool(name.strip()) and TOOL not in name


def thoughts(content: str) -> tuple[str, str]:
    """What was thought in the content, and what was said after it; marks inside a JSON value are data."""
    marks = list(_THOUGHT.finditer(content))
    values = scan(content).values if marks else ()
    marks = [mark for mark in marks if not is_inside(mark.start(), values)]
    closings = [mark.end() for mark in marks if "/" in mark.group()]
    said_from = closings[-1] if closings else 0
    said_to = next((mark.start() for mark in marks if mark.start() >= said_from), len(content))
    return content[:said_from] + content[said_to:], content[said_from:said_to]


def _read(text: str, reply: ChatReply) -> _Read:
    """The answer in one text of a reply; targets one after another may not be all where the reply ended early."""
    read = _found(text)
    more = read.listed and (was_cut(reply) or reply.stopped is not None)
    return read._replace(cut=True) if more else read


def _found(text: str) -> _Read:
    found = scan(text)
    whole = [value for value in found.values if is_answer(value.data)]
    marked = read_calls(text, found.values)
    if marked is not None and not (marked.complete and whole and whole[-1].start >= marked.end):
        return _calls(marked.data, _Read((), (marked.repair,), marked.end, not marked.complete))
    if whole or found.refused:
        # What is listed behind something broken may be the rest of it.
        return _whole(text, whole, found) if whole else _Read(cut=found.unclosed is not None, refused=found.refused)
    boxes = read_boxes(text)
    if boxes is not None:
        return _Read(
            (boxes.data,),
            (boxes.repair,),
            boxes.end,
            not boxes.complete or found.unclosed is not None,
            found.refused,
            listed=True,
        )
    items = [value for value in found.values if is_item(value.data)]
    if items:
        return _items(text, items, found.unclosed)
    if len(found.values) == 1 and is_bare(found.values[0].data) and _stands_alone(text, found.values[0]):
        bare = found.values[0]
        return _Read((bare.data,), _around(text, [bare]), bare.end)
    nothing = _Read((), (), 0, found.unclosed is not None, found.refused)
    # An object of something else is refused for what it holds rather than called missing.
    others = [value for value in found.values if isinstance(value.data, dict)]
    return nothing._replace(answers=(others[-1].data,)) if others else nothing


def _stands_alone(text: str, value: Value) -> bool:
    """Whether nothing but marks stands around: in prose, "[]" and numbers may mean anything."""
    return not says(f"{text[: value.start]} {text[value.end :]}")


def says(text: str) -> bool:
    """Whether there are words in the text, marks aside."""
    return _SAYS.search(_MARKS.sub(" ", text)) is not None


def _whole(text: str, whole: Sequence[Value], found: Scan) -> _Read:
    """The last whole answer; calls written as text are taken together."""
    last, unclosed = whole[-1], found.unclosed
    calls = [value for value in whole if _holds_calls(value.data)]
    if not _holds_calls(last.data):
        behind = any(is_item(value.data) for value in found.values if value.start >= last.end)
        # What broke off before an answer was a draft; before a list it may be the beginning of it.
        listed = isinstance(last.data, list)
        broken = found.refused_at >= last.end or listed
        refused = (found.refused if broken else None) or (_ONE if behind else _rivalled(text, whole))
        cut = unclosed is not None and (listed or unclosed >= last.end) and not _begins_again(text, last, unclosed)
        return _Read(() if refused else (last.data,), _around(text, [last]), last.end, cut, refused)
    every = [call for value in calls for call in (value.data if isinstance(value.data, list) else [value.data])]
    read = _Read((), ("call written as text read", *_around(text, calls)), last.end)
    return _calls(every, read._replace(cut=unclosed is not None and unclosed > last.end))


def _begins_again(text: str, last: Value, unclosed: int) -> bool:
    """Whether what never closes is the beginning of the same answer once more, as loops write it."""
    return "".join(text[last.start : last.end].split()).startswith("".join(text[unclosed:].split()))


def _rivalled(text: str, whole: Sequence[Value]) -> str | None:
    """Why the last of several answers is not the one meant: another stands beside it, or both are lists of a part."""
    *others, last = whole
    for other, following in zip(others, whole[1:], strict=True):
        lists = isinstance(other.data, list) and isinstance(last.data, list)
        beside = following is last and not says(text[other.end : last.start])
        if (lists or beside) and other.data != last.data:
            return _ONE
    return None


def _holds_calls(data: Any) -> bool:
    return is_call(data) or (isinstance(data, list) and any(map(is_call, data)))


def _calls(calls: Sequence[Any], read: _Read) -> _Read:
    """The arguments of calls written as text; arguments may be text in turn."""
    answers: list[Any] = []
    repairs = list(read.repairs)
    for call in calls:
        name, arguments = opened(call) if is_call(call) else (TOOL, call)
        if name != TOOL:
            if _is_foreign(name) and is_item(arguments):
                return read._replace(refused=_OTHER)
            repairs.append("call of another function taken")
        if isinstance(arguments, str):
            inner = scan(arguments)
            if not inner.values or (inner.unclosed or 0) >= inner.values[-1].end:
                return read._replace(cut=read.cut or inner.unclosed is not None, refused=inner.refused or _FORM)
            arguments = inner.values[-1].data
        answers.append(arguments)
    if len(answers) > 1:
        repairs.append(f"{len(answers)} calls joined")
    return read._replace(answers=tuple(answers), repairs=tuple(repairs), listed=any(map(is_item, answers)))


def _items(text: str, items: Sequence[Value], unclosed: int | None) -> _Read:
    """Targets one after another instead of in a list: the last, and those right before it."""
    first = len(items) - 1
    while first and _BETWEEN.fullmatch(text, items[first - 1].end, items[first].start):
        first -= 1
    taken = items[first:]
    if any(item.data != items[-1].data for item in items[:first]):
        # Whether these are drafts or more targets nobody knows.
        return _Read((), (), taken[-1].end, False, _ONE)
    repairs = _around(text, taken)
    if len(taken) == 1:
        answer: Any = taken[0].data
    else:
        answer, repairs = [value.data for value in taken], ("objects taken as a list", *repairs)
    cut = unclosed is not None
    return _Read((answer,), repairs, taken[-1].end, cut, listed=True)


def _around(text: str, taken: Sequence[Value]) -> tuple[str, ...]:
    """What the answer was found among."""
    before, after = text[: taken[0].start].strip(), text[taken[-1].end :].strip()
    repairs = [repair for value in taken for repair in value.repairs]
    if "```" in before or "```" in after:
        repairs.append("fence removed")
    if before.strip("`") not in {"", "json", "JSON"} or after.strip("`"):
        repairs.append("text around the answer ignored")
    return tuple(dict.fromkeys(repairs))


def _missing(reply: ChatReply, text: str, read: _Read) -> RejectedReply:
    """Why there is no answer in `text`, the likeliest cause first."""
    truncated = was_cut(reply) or read.cut
    path, value = "", _excerpt(text)
    if reply.stopped == "repetition":
        path, rule = "targets", "repeats the same box again and again; must name each thing once"
    elif reply.stopped == "whitespace":
        rule = "goes on with endless whitespace; must be one compact JSON object"
    elif reply.finish == "content_filter":
        rule = "was withheld by the server's content filter; must be the answer in neutral words"
    elif truncated and not text.strip():
        rule = "is missing, the thinking took all the room; must be given at once"
    elif truncated:
        value = _tail(text)
        rule = "is cut off; must be complete, so name fewer things and be brief"
    else:
        rule = read.refused or _FORM
    return RejectedReply([Violation(path, value, rule)], truncated=truncated)


def _excerpt(text: str) -> str:
    return remark(text, _SHOWN) or "empty"


def _tail(text: str) -> str:
    return remark(text, _SHOWN) if len(text) <= _SHOWN else f"…{remark(text[1 - _SHOWN :], _SHOWN - 1)}"
