"""A model that looks closer: it sees the picture, asks for the part around what it finds, and answers there."""

import json

from mllm_answers import Said, look
from mllm_sight import decode, find

RED = (255, 0, 0)


def offered(asked):
    """Whether the request offers a closer look, by the functions, the schema or the words."""
    body = asked.body
    if body.get("tools"):
        return len(body["tools"]) == 2
    wanted = body.get("response_format") or {}
    if wanted.get("type") == "json_schema":
        return "zoom_2d" in wanted["json_schema"]["schema"]["properties"]
    return "zoom_2d" in json.dumps(body["messages"][0])


def handed(asked, value, kind=None):
    """The value as a server hands it over in the dialect asked for; a dict with "zoom_2d" is a wish."""
    zooms = bool(value.get("zoom_2d"))
    if asked.body.get("tools") and (kind is None or kind.required == "enforced"):
        if zooms:
            return Said(calls=(("zoom", json.dumps({"bbox_2d": value["zoom_2d"], "reasoning": "closer"})),))
        return Said(calls=(("segment_targets", json.dumps(value)),))
    if offered(asked) and not zooms:
        value = {"status": value["status"], "zoom_2d": [], **value}
    text = json.dumps(value)
    return Said(content=text if asked.body.get("response_format") else f"I see.\n```json\n{text}\n```\nDone.")


def wish(box):
    return {"status": "zoom", "zoom_2d": box, "targets": [], "reasoning": "It is small."}


class Looker:
    """A script for the server: where a closer look is offered it asks for `widths[i]` times the target's box.

    Attributes:
        seen: size of each picture (h, w), whether a closer look was offered, and the target's box in it.
    """

    def __init__(self, speaks, widths=(6, 6), kind=None, colour="red"):
        self.speaks, self.widths, self.kind, self.colour, self.seen = speaks, widths, kind, colour, []

    def __call__(self, asked):
        size = decode(asked.picture).shape[:2]
        boxes = find(asked.picture, self.colour)
        may = offered(asked)
        self.seen.append((size, may, boxes[0] if boxes else None))
        if not may or not boxes:
            return handed(asked, look(asked, self.speaks), self.kind)
        width = self.widths[min(sum(may for _, may, _ in self.seen), len(self.widths)) - 1]
        x1, y1, x2, y2 = boxes[0]
        across, down = (x2 - x1) * (width - 1) / 2, (y2 - y1) * (width - 1) / 2
        part = (max(x1 - across, 0), max(y1 - down, 0), min(x2 + across, size[1]), min(y2 + down, size[0]))
        return handed(asked, wish(self.speaks.say(part, size)), self.kind)
