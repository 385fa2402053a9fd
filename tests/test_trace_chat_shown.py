"""How a query's conversation with a model is shown: on its page, and in a terminal."""

import html
import re

import pytest
from chat_ways import (
    BUSY,
    FAILURES,
    MOVED,
    NO_TOOLS,
    TWO,
    WAYS,
    judged,
    plainly,
    way,
)
from fakes import ask, scene

from geoseg_agent.grounding.chat import (
    ChatReply,
)
from geoseg_agent.trace.dialogue import dialogue
from geoseg_agent.trace.report import write_report
from geoseg_agent.trace.store import load

# the page


async def test_the_page_tells_the_conversation(tmp_path):
    answer, trace = await way(
        tmp_path, (BUSY, ChatReply(content="<b>no</b>"), NO_TOOLS, plainly(TWO), MOVED, judged(8)), (None,),
        verify_rounds=1, attempts=6,
    )  # fmt: skip
    page = write_report(trace, tmp_path / "page.html", scene()).read_text(encoding="utf-8")
    for text in (
        "What the model was asked",
        "http://models.example:8000/v1",
        "asked for in <b>norm1000</b>, read in <b>norm1000</b>",
        "IoU 0.970, scale 1 × 0.99, shift 0.5, -1.25 px",  # noqa: RUF001 - the sign
        "miss",
        "the same again, after an error",
        "asked again, told what was wrong",
        "the same in another dialect",
        "review: asked",
        "picture with the result drawn over it",
        "&lt;b&gt;no&lt;/b&gt;",
        html.escape(BUSY.message),
        "DialectRefused",
    ):
        assert text in page, text
    assert "<b>no</b>" not in page
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!data:|#)""", page)
    assert len(answer.targets) == 2
    for target in answer.targets:
        assert f"{target.areas.mask:,} px" in page


@pytest.mark.parametrize("name", [*WAYS, *FAILURES])
async def test_every_way_has_a_page(tmp_path, name):
    _, trace = await way(tmp_path, **(WAYS[name] if name in WAYS else FAILURES[name][0]))
    page = write_report(trace, tmp_path / "page.html").read_text(encoding="utf-8")
    assert ("What the model was asked" in page) == (name != "box")
    for step in trace.steps:
        assert step.seam in page


# for a terminal


async def test_a_terminal_is_told_what_was_asked_and_said(tmp_path):
    odd = ChatReply(content="no \x1b[31m\u202e" + "x" * 10_000)
    _, trace = await way(
        tmp_path, (BUSY, odd, NO_TOOLS, plainly(TWO), judged(9)), (None,), verify_rounds=1, attempts=6
    )
    lines = list(dialogue(trace))
    text = "\n".join(lines)
    assert (
        lines[0]
        == "endpoint http://models.example:8000/v1  seer-2 on vllm, boxes asked in norm1000, read in norm1000"
    )
    assert lines[1].startswith("cache miss")
    assert "picture with the result drawn over it  128 × 96 px" in text  # noqa: RUF001 - the sign
    assert [line.split("  ", 1)[1].split(",")[0] for line in lines if line.startswith("step")] == [
        "asked",
        "the same again",
        "asked again",
        "the same in another dialect",
        "review: asked",
    ]
    assert "  EndpointUnavailable: the endpoint answers 503" in lines
    assert "content: no ⟨U+001B⟩[31m⟨U+202E⟩xxx" in text
    assert not set(text) & set("\x1b\u202e")
    assert len(text) < 12_000


async def test_where_no_model_was_asked_there_is_nothing_to_tell(tmp_path):
    answer = await ask(tmp_path, "both")
    assert list(dialogue(load(answer.trace_path))) == []
