"""Read a reply that asks to see a part of the picture closer, or say which rules it breaks. Pure.

The wish comes as a call of `zoom`, or as an answer with the status "zoom" and the box under "zoom_2d". Its box is
read by the rules of every other box.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from geoseg_agent.grounding.frames import OutOfFrame, locate
from geoseg_agent.grounding.reply.contract import check, shown
from geoseg_agent.grounding.reply.extract import NOTHING, says, thoughts, was_cut
from geoseg_agent.grounding.reply.rejected import RejectedReply, Violation
from geoseg_agent.grounding.reply.scan import scan
from geoseg_agent.grounding.reply.shapes import doubled, is_answer, is_call, opened, shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geoseg_agent.grounding.chat import ChatReply, SentImage, Terms
    from geoseg_agent.grounding.frames import Located

CALL: Final = "zoom"
"""The function's name, and the status."""

BOX: Final = "zoom_2d"
"""The key of the box in an answer."""

_EMPTY: Final[tuple[Any, ...]] = (None, [], {})
_BOXES: Final = (BOX, CALL, "bbox_2d", "box_2d", "bbox", "box")
_CORNERS: Final = ("x1", "y1", "x2", "y2")
_ONE: Final = "must be one thing: the answer, or a single part to see closer"


class _Wish(NamedTuple):
    """What a reply says of a part to see closer: the arguments of a call, or an answer."""

    data: dict[str, Any]
    called: bool


def parse_zoom(reply: ChatReply, terms: Terms, sent: SentImage) -> Located | None:
    """The part that a reply asks to see closer, absolute pixels; None where it asks for none.

    Args:
        reply: verbatim.
        terms: `read` and `outside` count.
        sent: the picture that the model saw.

    Raises:
        RejectedReply: it asks for one and breaks a rule; each is named.
    """
    try:
        wish = _wished(reply)
        return None if wish is None else _read(wish, terms, sent)
    except RejectedReply as rejected:
        raise RejectedReply(rejected.violations, truncated=was_cut(reply)) from None


def without_wish(data: Any) -> Any:
    """An answer without the empty box of a part, which the schema of an answer that may be either asks for."""
    if not isinstance(data, dict) or BOX not in data or data[BOX] not in _EMPTY or list(doubled(data)):
        return data
    return {key: value for key, value in data.items() if key != BOX}


def _wished(reply: ChatReply) -> _Wish | None:
    """The last answer in the reply, if it is a wish; what was thought counts only where nothing was said."""
    calls = [call for call in reply.calls if call.arguments.strip() not in NOTHING]
    wishes = [call for call in calls if _is_name(call.name)]
    if wishes:
        if len({call.arguments for call in calls}) > 1 or len(wishes) < len(calls):
            raise RejectedReply([Violation("", f"{len(calls)} calls", _ONE)])
        return _wish_in(wishes[-1].arguments, called=True)
    if calls:
        return _wish_in(calls[-1].arguments, called=False) if len(calls) == 1 else None
    thought, said = thoughts(reply.content or "")
    if says(said):
        return _wish_in(said, called=False)
    return next((wish for text in (thought, reply.reasoning) if text and (wish := _last_thought(text))), None)


def _last_thought(text: str) -> _Wish | None:
    found = scan(text)
    ends = found.values and not says(text[found.values[-1].end :])
    return _wish_in(text, called=False) if ends else None


def _wish_in(text: str, *, called: bool) -> _Wish | None:
    found = scan(text)
    objects = [value for value in found.values if isinstance(value.data, dict)]
    answers = objects if called else [value for value in objects if is_answer(value.data) or _is_wish(value.data)]
    if not answers or (found.unclosed is not None and found.unclosed >= answers[-1].end):
        if not called:
            return None
        rule = found.refused or "must be one complete JSON object with bbox_2d and reasoning"
        raise RejectedReply([Violation(CALL, shown(text), rule)])
    last = answers[-1].data
    if not called and is_call(last) and _is_name(opened(last)[0]):
        inner = opened(last)[1]
        return _wish_in(inner, called=True) if isinstance(inner, str) else _Wish(inner, called=True)
    return _Wish(last, called) if called or _is_wish(last) else None


def _is_wish(data: dict[str, Any]) -> bool:
    if is_call(data):
        return _is_name(opened(data)[0])
    return data.get("status") == CALL or data.get(BOX) not in _EMPTY


def _is_name(name: str) -> bool:
    # Some servers write the place of a function before its name.
    return name.strip().casefold().rpartition(".")[2] == CALL


def _read(wish: _Wish, terms: Terms, sent: SentImage) -> Located:
    data = wish.data
    broken = [Violation(path, shown(key), "must stand only once in its object") for path, key in doubled(data)]
    if not wish.called and data.get("status", CALL) != CALL:
        broken.append(Violation("status", shown(data["status"]), f'must be "{CALL}" where {BOX} is given'))
    if data.get("targets") not in _EMPTY:
        broken.append(Violation("targets", shown(data["targets"]), f'must be [] with the status "{CALL}"'))
    named = [key for key in _BOXES if data.get(key) not in _EMPTY]
    allowed = {*named, *_CORNERS, "status", "targets", "reasoning", "label", BOX}
    broken += [
        Violation(key[:40], shown(value), "is no part of the answer and must be left out")
        for key, value in data.items()
        if key not in allowed
    ]
    key = named[0] if named else ("bbox_2d" if wish.called else BOX)
    if len(named) > 1:
        broken.append(Violation(named[1], shown(data[named[1]]), "must be one box under one name"))
    if broken:
        raise RejectedReply(broken)
    corners: dict[str, Any] = {name: data[name] for name in _CORNERS if name in data}
    item = {"bbox_2d": data[key]} if named else corners
    return _located(item, key, terms, sent)


def _located(item: dict[str, Any], key: str, terms: Terms, sent: SentImage) -> Located:
    """The box of one target of any documented shape, its violations under the key that was given."""
    given = shape({"status": "found", "targets": [{**item, "label": CALL}]}, terms.read.order)
    if given.boxless or "bbox_2d" not in given.data["targets"][0]:
        raise RejectedReply([Violation(key, "missing", "must be the box of the part, four numbers")])
    try:
        targets = check(given.data).targets
    except RejectedReply as rejected:
        raise RejectedReply(_renamed(rejected.violations, key)) from None
    if len(targets) != 1:
        raise RejectedReply([Violation(key, f"{len(targets)} boxes", _ONE)])
    numbers = [int(number) if number.is_integer() else number for number in targets[0].bbox_2d]
    try:
        return locate(numbers, terms, sent)
    except OutOfFrame as error:
        rule = f"must be a part of the picture, at least 2 px on each side: {error}"
        raise RejectedReply([Violation(key, shown(numbers), rule)]) from None


def _renamed(violations: Sequence[Violation], key: str) -> list[Violation]:
    return [one._replace(path=one.path.replace("targets[0].bbox_2d", key)) for one in violations]
