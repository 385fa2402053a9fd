"""Mutate replies of the corpus by the thousand and read them: nothing but a typed rejection may escape.

    python benchmarks/fuzz_replies.py [--count 20000] [--seed 1]

Every reply of tests/corpus is cut, spliced, swapped, littered with unicode, bent in its numbers, nested and doubled,
and read under terms drawn anew. What is accepted must lie inside the picture, hold at least a pixel, and be named in
plain words. Prints counts, seconds and the slowest reply as JSON; exits 1 where a rule is broken.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from geoseg_agent.errors import InvalidReply
from geoseg_agent.grounding.chat import FRAMES, Call, ChatReply, Fit, SentImage, Terms
from geoseg_agent.grounding.reply.parse import Parsed, parse
from geoseg_agent.grounding.reply.phrases import clean
from geoseg_tools.geometry import Box

if TYPE_CHECKING:
    from collections.abc import Callable

CORPUS = Path(__file__).parents[1] / "tests" / "corpus"
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
HIDDEN = ("\u202e", "\u200b", "\x00", "\ud800", "\ufeff", "\u0301", "\n", "\t", " ")
MARKS = ("```", "<think>", "</think>", "<tool_call>", "</tool_call>", "<box>", "</box>")
LITTER = (*HIDDEN, *MARKS, *"\\\"'{}[],:-", "🚗", "é", "null", "NaN", "1e999", "\\u0000")
NUMBERS = (
    "0",
    "-1",
    "-0",
    "1",
    "999",
    "1000",
    "1001",
    "1e3",
    "1e308",
    "1e309",
    "-1e999",
    "NaN",
    "0.5",
    "1e-9",
    '"12"',
    "9" * 400,
    "true",
)
SENT = (
    ((1000, 1000), (0, 0, 1000, 1000)),
    ((1024, 1536), (0, 0, 1536, 1024)),
    ((1088, 1920), (0, 0, 7680, 4352)),
    ((1024, 1024), (0, 0, 37, 41)),
    ((992, 1056), (300, 200, 811, 680)),
    ((1024, 2048), (5, 7, 6, 8)),
)  # fmt: skip
KEYS = ("status", "targets", "bbox_2d", "label", "reasoning", "box", "x1", "name", "arguments")

Random = random.Random


def cut(text: str, dice: Random) -> str:
    return text[: dice.randrange(len(text) + 1)]


def drop(text: str, dice: Random) -> str:
    start = dice.randrange(len(text) + 1)
    return text[:start] + text[start + dice.randint(1, 12) :]


def litter(text: str, dice: Random) -> str:
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(text) + 1)
        text = text[:at] + dice.choice(LITTER) + text[at:]
    return text


def swap(text: str, dice: Random) -> str:
    a, b, c = sorted(dice.randrange(len(text) + 1) for _ in range(3))
    return text[:a] + text[b:c] + text[a:b] + text[c:]


def repeat(text: str, dice: Random) -> str:
    a, b = sorted(dice.randrange(len(text) + 1) for _ in range(2))
    return text[:b] + text[a:b] * dice.randint(1, 5) + text[b:]


def bend(text: str, dice: Random) -> str:
    """Other numbers in place of some."""

    def bent(number: re.Match[str]) -> str:
        if dice.random() < 0.6:
            return number.group()
        choice = dice.randrange(4)
        value = float(re.match(r"-?\d{1,9}", number.group()).group())  # type: ignore[union-attr]
        if choice == 0:
            return dice.choice(NUMBERS)
        if choice == 1:
            return f"{value + dice.uniform(-30, 30):.3f}"
        return str(int(value) + dice.randint(-25, 25)) if choice == 2 else f'"{value:g}"'

    return NUMBER.sub(bent, text)


def nest(text: str, dice: Random) -> str:
    depth = dice.choice((1, 5, 30, 2000))
    opening, closing = dice.choice((("[", "]"), ('{"a":', "}"), ('[{"targets":', "}]"), ("(", ")")))
    at = dice.randrange(len(text) + 1)
    return text[:at] + opening * depth + text[at:] + closing * dice.choice((depth, depth, 0))


def double(text: str, dice: Random) -> str:
    """A key renamed to another that may stand beside it."""
    return text.replace(f'"{dice.choice(KEYS)}"', f'"{dice.choice(KEYS)}"', dice.randint(1, 2))


def wrap(text: str, dice: Random) -> str:
    before, after = dice.choice(
        (
            ("```json\n", "\n```"),
            ("<think>", "</think>"),
            ("<tool_call>", "</tool_call>"),
            ("[", "]"),
            ('{"name":"f","arguments":', "}"),
        )
    )
    return before + text + dice.choice((after, after, ""))


MUTATIONS: tuple[Callable[[str, Random], str], ...] = (
    cut,
    drop,
    litter,
    swap,
    repeat,
    bend,
    bend,
    nest,
    double,
    wrap,
)


def corpus() -> list[ChatReply]:
    lines = (line for file in sorted(CORPUS.glob("*.jsonl")) for line in file.read_text("utf-8").splitlines())
    return [_reply(json.loads(line)["reply"]) for line in lines]


def _reply(raw: dict[str, object]) -> ChatReply:
    calls = raw.pop("calls", ())
    named = (Call(n, a if isinstance(a, str) else json.dumps(a)) for n, a in calls)  # type: ignore[attr-defined]
    return ChatReply(calls=tuple(named), **raw)  # type: ignore[arg-type]


def mutated(reply: ChatReply, others: list[ChatReply], dice: Random) -> ChatReply:
    """The reply changed: in every second case a little, so that much is still accepted, else without restraint."""
    return slightly(reply, dice) if dice.random() < 0.5 else wildly(reply, others, dice)


def slightly(reply: ChatReply, dice: Random) -> ChatReply:
    def bent(text: str | None) -> str | None:
        return dice.choice((bend, bend, litter, wrap))(text, dice) if text else text

    calls = tuple(Call(call.name, bent(call.arguments) or "") for call in reply.calls)
    return replace(reply, content=bent(reply.content), reasoning=bent(reply.reasoning), calls=calls)


def wildly(reply: ChatReply, others: list[ChatReply], dice: Random) -> ChatReply:
    def bent(text: str | None) -> str | None:
        if not text:
            return text
        for _ in range(dice.choice((1, 1, 2, 3))):
            text = dice.choice(MUTATIONS)(text, dice)
        if dice.random() < 0.05:
            text = cut(text, dice) + cut(dice.choice(others).content or "", dice)
        return text

    content, reasoning = bent(reply.content), bent(reply.reasoning)
    calls = tuple(Call(call.name, bent(call.arguments) or "") for call in reply.calls)
    if dice.random() < 0.1:
        content, reasoning = reasoning, content
    if dice.random() < 0.1 and content:
        calls = (*calls, Call("segment_targets", content))
    return replace(
        reply,
        content=content,
        reasoning=reasoning,
        calls=calls,
        finish=dice.choice((reply.finish, "stop", "length", "tool_calls", None)),
        stopped=dice.choice((reply.stopped, None, None, "size", "repetition", "whitespace")),
    )


def conditions(dice: Random) -> tuple[Terms, SentImage]:
    frame = dice.choice((FRAMES["norm1000"], FRAMES["pixels"], *FRAMES.values()))
    size, window = dice.choice(SENT)
    terms = Terms(
        server="unknown", model="m", rungs=("plain",), proved=False, family="unknown", asked=frame, read=frame,
        outside=dice.choice(("tolerate", "clamp")), max_targets=dice.choice((1, 2, 8)), fit=Fit(32, 1024, 2048),
    )  # fmt: skip
    return terms, SentImage(size, Box(*window), "image/jpeg", "0" * 64, None)


def faults(parsed: Parsed, terms: Terms, sent: SentImage) -> list[str]:
    """The rules that an accepted reply breaks."""
    reply, broken = parsed.reply, list[str]()
    if len(reply.targets) > terms.max_targets:
        broken.append(f"{len(reply.targets)} targets")
    for target in reply.targets:
        if target.box.area < 1 or not sent.window.contains(target.box):
            broken.append(f"box {tuple(target.box)} outside {tuple(sent.window)}")
        if clean(target.phrase) != target.phrase:
            broken.append(f"phrase {target.phrase!r}")
    texts = (reply.reasoning, *reply.notes, *parsed.repairs)
    return broken + [f"text {text[:80]!r}" for text in texts if not text.isprintable() or len(text) > 500]


def run(count: int, seed: int) -> dict[str, object]:
    """Read `count` mutated replies; what was broken is under "faults"."""
    replies, dice = corpus(), random.Random(seed)  # noqa: S311 - repeatable, keeps no secret
    outcomes: Counter[str] = Counter()
    found: list[str] = []
    slowest = 0.0
    started = time.perf_counter()
    for number in range(count):
        reply = mutated(dice.choice(replies), replies, dice)
        terms, sent = conditions(dice)
        began = time.perf_counter()
        try:
            parsed = parse(reply, terms, sent)
        except InvalidReply as rejected:
            outcomes["rejected"] += 1
            if any(len(part) > 400 for violation in getattr(rejected, "violations", ()) for part in violation):
                found.append(f"reply {number}: a violation of more than 400 characters")
        except Exception as error:  # noqa: BLE001 - whatever else escapes is what is looked for
            found.append(f"reply {number}: {type(error).__name__}: {error}")
        else:
            outcomes["accepted"] += 1
            outcomes["targets"] += len(parsed.reply.targets)
            outcomes["repaired"] += bool(parsed.repairs)
            found += [f"reply {number}: {fault}" for fault in faults(parsed, terms, sent)]
        slowest = max(slowest, time.perf_counter() - began)
    return {
        "replies": count,
        "seed": seed,
        **{name: outcomes[name] for name in ("accepted", "repaired", "targets", "rejected")},
        "faults": found,
        "seconds": round(time.perf_counter() - started, 2),
        "slowest_ms": round(1000 * slowest, 2),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    result = run(options.count, options.seed)
    print(json.dumps(result, indent=2, ensure_ascii=True))
    return 1 if result["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
