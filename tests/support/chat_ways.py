"""A multimodal model small enough to be told what to say, and every way a query to it can go."""

import asyncio
import hashlib
import json

from fakes import ask, pause

from geoseg_agent.errors import (
    BudgetExceeded,
    ConfigError,
    DialectRefused,
    EndpointRefused,
    EndpointTimeout,
    EndpointUnavailable,
    InvalidReply,
    ToolFailed,
)
from geoseg_agent.grounding.chat import Call, ChatReply, Fit, Frame, SentImage, Terms, Usage, Verdict
from geoseg_agent.grounding.mllm import Asking, MllmGrounder
from geoseg_agent.settings import Settings
from geoseg_agent.trace.jsontext import compact
from geoseg_agent.trace.model import Opening
from geoseg_agent.trace.record_chat import RecordingCache, RecordingEndpoint, RecordingPictures
from geoseg_agent.trace.recover import recover
from geoseg_agent.trace.store import load
from geoseg_agent.types import Hints
from geoseg_tools.geometry import Box

VERDICT = Verdict(Frame("norm1000"), (), 0.97, (1.0, 0.99), (0.5, -1.25), 0.75, "ab" * 32, "2026-11-24T00:00:00.000Z")
TERMS = Terms(
    server="vllm",
    model="seer-2",
    rungs=("tool", "json_schema", "plain"),
    proved=True,
    family="qwen3-vl",
    asked=Frame("norm1000"),
    read=Frame("norm1000"),
    outside="tolerate",
    max_targets=8,
    fit=Fit(32, 4, 64),
    verdict=VERDICT,
)
LEFT, RIGHT, LOW = [50, 60, 450, 700], [500, 100, 950, 800], [100, 500, 600, 950]


def said(*targets, status=None, reasoning="because"):
    """A reply as a call of the tool, for boxes in 0..1000 with labels."""
    listed = [{"bbox_2d": list(box), "label": label} for box, label in targets]
    body = {"status": status or ("found" if listed else "not_found"), "targets": listed, "reasoning": reasoning}
    return ChatReply(
        calls=(Call("segment_targets", json.dumps(body)),),
        finish="stop",
        stopped="answer",
        usage=Usage(1000, 50),
        request_id="req-1",
    )


def plainly(reply):
    """The same reply as text."""
    return ChatReply(content=reply.calls[0].arguments, finish="stop")


def judged(score, *verdicts):
    """A review: (target, verdict, box or None) each."""
    listed = [
        {"target": number, "verdict": verdict, "bbox_2d": box or [], "label": label}
        for number, verdict, box, label in verdicts
    ]
    return ChatReply(content=json.dumps({"verdicts": listed, "score": score, "reasoning": "looked"}))


BOTH, TWO = said((LEFT, "both ways")), said((LEFT, "both ways"), (RIGHT, "points of it"))
NOTHING, BROKEN = said(), said((LEFT, "both ways"), (RIGHT, "broken thing"))
BUSY = EndpointUnavailable("the endpoint answers 503", hint="wait", retry_after=0.01)
SLOW = EndpointTimeout("no answer in 60 s")
NO_TOOLS = DialectRefused("the server has no tools")


class Model:
    """An endpoint that answers request after request of each seed as it is told, after some turns of the loop."""

    address = "http://models.example:8000/v1"
    model = "seer-2"

    def __init__(self, *script, terms=TERMS, seeds=None):
        self.script = list(script)
        self.seeds = {seed: list(replies) for seed, replies in (seeds or {}).items()}
        self._terms = terms
        self.asked = 0
        self.closed = False

    async def terms(self):
        await pause("terms")
        if isinstance(self._terms, Exception):
            raise self._terms
        return self._terms

    async def complete(self, request):
        self.asked += 1
        await pause("chat", request.seed, self.asked)
        line = self.seeds.get(request.seed % 1000, self.script)
        if not line:
            await asyncio.Event().wait()
        outcome = line.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def step_down(self, refused):
        pass

    async def aclose(self):
        self.closed = True


class Camera:
    """Pictures of a few bytes that depend on what is shown."""

    fault = None

    async def view(self, image, window, fit, *, overlay=None):
        await pause("view")
        if self.fault is not None:
            raise self.fault
        drawn = [(tuple(t.roi), t.phrase, t.mask.tobytes()) for t in overlay or ()]
        data = b"\xff\xd8picture" + repr((image.sha256, tuple(window), drawn)).encode()
        return SentImage((96, 128), window, "image/jpeg", hashlib.sha256(data).hexdigest(), data)

    async def aclose(self):
        pass


class Memory:
    """A cache that says one thing."""

    def __init__(self, reply=None):
        self.reply = reply
        self.kept = []

    async def get(self, key):
        await pause("cache")
        return self.reply

    async def put(self, key, reply):
        self.kept.append((key, reply))

    async def aclose(self):
        pass


async def no_wait(_):
    await asyncio.sleep(0)


def grounder_of(seer, /, *, camera=None, cache=None, **values):
    return MllmGrounder(
        RecordingEndpoint(seer),
        RecordingPictures(camera or Camera()),
        None if cache is None else RecordingCache(cache),
        Asking.of(Settings(**{"model": "seer-2", **values})),
        sleep=no_wait,
    )


async def traced(folder, *script, camera=None, cache=None, seeds=None, terms=TERMS, hints=None, **values):
    """One query to such a model: the answer or the error, and its trace."""
    values = {"model": "seer-2", **values}
    grounder = grounder_of(Model(*script, seeds=seeds, terms=terms), camera=camera, cache=cache, **values)
    known = set(folder.glob("*.json"))
    answer = await ask(folder, "where is it?", grounder=grounder, hints=hints, **values)
    (path,) = set(folder.glob("*.json")) - known
    return answer, load(path)


def seams(trace):
    return [step.seam for step in trace.steps]


MOVED = judged(3, (1, "reground", LOW, "both there"))
WAYS = {
    "one": {"script": (BOTH,)},
    "two": {"script": (TWO,)},
    "nothing": {"script": (NOTHING,)},
    "unsure": {"script": (said((LEFT, "both ways"), status="ambiguous"),)},
    "reasked": {"script": (ChatReply(content="I think it is there"), said(([1, 2], "both")), TWO)},
    "retried": {"script": (BUSY, SLOW, BUSY, BOTH)},
    "stepped down": {"script": (NO_TOOLS, BUSY, plainly(TWO))},
    "all of it": {"script": (BUSY, ChatReply(content="{"), NO_TOOLS, plainly(BOTH)), "attempts": 6},
    "samples": {"seeds": {0: (TWO,), 1: (TWO,), 2: (BOTH,)}, "samples": 3},
    "samples lost": {
        "seeds": {0: (BUSY, TWO), 1: (EndpointRefused("no"),), 2: (ChatReply(content="no"), BOTH), 3: (NOTHING,)},
        "samples": 4,
    },
    "accepted": {"script": (TWO, judged(9)), "verify_rounds": 1},
    "corrected": {"script": (TWO, MOVED, judged(8)), "verify_rounds": 2},
    "corrected twice": {
        "script": (TWO, MOVED, judged(5, (1, "drop", None, ""), (2, "reground", LEFT, "")), judged(9)),
        "verify_rounds": 2,
    },
    "made worse": {"script": (TWO, MOVED, judged(2)), "verify_rounds": 3},
    "review reasked": {"script": (TWO, ChatReply(content="fine"), judged(8)), "verify_rounds": 1},
    "review lost": {"script": (BOTH, EndpointRefused("no more")), "verify_rounds": 1},
    "missed": {"script": (BOTH,), "cache": (None,)},
    "phrase": {"script": (TWO,), "hints": Hints(phrase="text by hand")},
    "box": {"script": (), "hints": Hints(box=Box(5, 5, 40, 40), phrase="both ways")},
    "budget enough": {"script": (BOTH,), "max_tokens_total": 10**6},
    "paper": {"script": (BOTH,), "profile": "paper"},
    "odd": {"script": (ChatReply(content="\ud800\x00 \udc00", reasoning="\ud83d", request_id="\x7f"), BOTH)},
}
FAILURES = {
    "refused": ({"script": (EndpointRefused("401: no such key", hint="set GEOSEG_API_KEY"),)}, EndpointRefused),
    "gone": ({"script": (BUSY,) * 9}, EndpointUnavailable),
    "invalid": ({"script": (ChatReply(content="no"),) * 9}, InvalidReply),
    "no dialect": ({"script": (NO_TOOLS,) * 3}, DialectRefused),
    "all samples": ({"seeds": {0: (SLOW,) * 4, 1: (EndpointRefused("b"),)}, "samples": 2}, EndpointTimeout),
    "budget": ({"script": (BOTH,), "max_tokens_total": 10}, BudgetExceeded),
    "budget later": (
        {"script": (ChatReply(content="no", usage=Usage(9000, 9000)),), "max_tokens_total": 18500},
        BudgetExceeded,
    ),
    "tool": ({"script": (BUSY, BROKEN)}, ToolFailed),
    "no terms": ({"script": (), "terms": ConfigError("no frame", hint="run geoseg doctor grounding")}, ConfigError),
    "crash": ({"script": (), "camera": ValueError("no pixels \ud800")}, ToolFailed),
    "memory": ({"script": (), "camera": MemoryError("no memory")}, ToolFailed),
    "endpoint crash": ({"script": (RuntimeError("a bug"),)}, ToolFailed),
}


async def way(folder, script=(), cache=None, camera=None, **how):
    """The answer and trace of one entry of the tables above."""
    lens = Camera()
    lens.fault = camera
    return await traced(folder, *script, cache=None if cache is None else Memory(*cache), camera=lens, **how)


def cut_short(folder, trace, count):
    """What recovery makes of the journal of this trace, killed after `count` steps."""
    folder.mkdir()
    tree = trace.model_dump(by_alias=True)
    opening = {name: tree[name] for name in ("schema", *Opening.model_fields) if name in tree}
    lines = [opening, *tree["steps"][:count]]
    (folder / f"{trace.id}.journal").write_bytes(b"".join(compact(line) + b"\n" for line in lines))
    (one,) = recover(folder)
    return one.path
