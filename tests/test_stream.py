"""Reading a reply: every shape a server hands it over in, every cut, and where reading stops."""

import asyncio
import json

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg_agent.errors import EndpointError, EndpointRefused, EndpointUnavailable
from geoseg_agent.grounding.chat import Call, Usage
from geoseg_agent.grounding.endpoint.refusals import Place
from geoseg_agent.grounding.endpoint.stopping import Watch
from geoseg_agent.grounding.endpoint.stream import MOST_BYTES, MOST_TEXT, Listening, read_reply

PLACE = Place("http://localhost:8000/v1", "m", secret="sk-canary")  # noqa: S106 - public
NAMES = frozenset({"status", "targets"})
ANSWER = '{"status": "found", "targets": [{"bbox_2d": [1, 2, 3, 4], "label": "a {b} \\"c\\""}]}'
DONE = b"data: [DONE]\n\n"


def how(*, early=True, thinking=False):
    return Listening(PLACE, NAMES, early=early, thinking=thinking)


def event(delta=None, finish=None, **more):
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return f"data: {json.dumps({'id': 'c1', 'choices': choices, **more})}\n\n".encode()


def whole(message, finish="stop", **more):
    return json.dumps({"id": "c1", "choices": [{"index": 0, "message": message, "finish_reason": finish}], **more})


class Source:
    """Chunks of a response; counts those that were taken, and may break at the end."""

    def __init__(self, *chunks, breaks=None):
        self.chunks, self.breaks, self.taken, self.closed = chunks, breaks, 0, False

    async def __call__(self):
        try:
            for chunk in self.chunks:
                self.taken += 1
                yield chunk
            if self.breaks is not None:
                raise self.breaks
        finally:
            self.closed = True


def read(*chunks, breaks=None, **options):
    return asyncio.run(read_reply(Source(*chunks, breaks=breaks)(), how(**options)))


USAGE = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}


def test_a_stream_is_put_together():
    reply = read(
        event({"role": "assistant", "content": ""}),
        event({"reasoning_content": "hm "}),
        event({"reasoning": "so"}),
        event({"content": "one "}),
        b": keep-alive\r\n\r\n",
        event({"content": "two"}),
        event({}, "stop"),
        event(usage=USAGE),
        DONE,
    )
    assert (reply.content, reply.reasoning, reply.finish) == ("one two", "hm so", "stop")
    assert (reply.usage, reply.stopped, reply.request_id) == (Usage(7, 5), None, "c1")


def test_calls_are_put_together_by_their_index():
    def part(index, name=None, arguments=""):
        return {"tool_calls": [{"index": index, "function": {"name": name, "arguments": arguments}}]}

    reply = read(
        event(part(0, "segment_targets")),
        event(part(1, "other", '{"sta')),
        event(part(0, None, '{"x"')),
        event(part(1, None, 'tus": 1}')),
        event(part(0, None, ": 1}")),
        event({}, "tool_calls"),
        DONE,
        early=False,
    )
    assert reply.calls == (Call("segment_targets", '{"x": 1}'), Call("other", '{"status": 1}'))


def test_calls_without_an_index_begin_with_their_name():
    def part(**function):
        return {"tool_calls": [{"function": function}]}

    parts = [part(name="a", arguments='{"x":'), part(arguments=" 1}"), part(name="b", arguments={"y": 2})]
    reply = read(*map(event, parts), event({}, "stop"), DONE)
    assert reply.calls == (Call("a", '{"x": 1}'), Call("b", '{"y": 2}'))


def test_a_server_that_does_not_stream_is_read_too():
    call = {"id": "1", "function": {"name": "segment_targets", "arguments": json.loads(ANSWER)}}
    body = whole({"role": "assistant", "content": None, "tool_calls": [call]}, usage=USAGE)
    reply = read(body[:20].encode(), body[20:].encode())

    assert json.loads(reply.calls[0].arguments) == json.loads(ANSWER)
    assert (reply.usage, reply.stopped, reply.finish) == (Usage(7, 5), None, "stop")


def test_content_parts_and_refusals_are_text():
    body = whole({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "refusal": "no"})
    reply = read(body.encode())
    assert (reply.content, reply.refusal) == ("ab", "no")


@given(st.lists(st.integers(1, 400), max_size=40))
@settings(max_examples=60, deadline=None)
def test_how_the_bytes_are_cut_makes_no_difference(cuts):
    data = b"".join(
        [b"event: message\r\n", event({"content": "Zürich "}), event({"content": ANSWER}), event({}, "stop"), DONE]
    )
    chunks, start = [], 0
    for cut in cuts:
        chunks.append(data[start : start + cut])
        start += cut
    reply = read(*chunks, data[start:], early=False)
    assert (reply.content, reply.finish) == ("Zürich " + ANSWER, "stop")


def pieces(text, size=7):
    return [event({"content": text[start : start + size]}) for start in range(0, len(text), size)]


def test_reading_stops_where_the_answer_ends():
    source = Source(*pieces(ANSWER), *[event({"content": " indeed"})] * 500, event({}, "stop"), DONE)
    reply = asyncio.run(read_reply(source(), how()))

    assert reply.stopped == "answer"
    assert reply.usage is None
    assert reply.content.startswith(ANSWER)
    assert source.taken == len(pieces(ANSWER))
    assert source.closed


def test_reading_goes_on_where_that_is_not_wanted():
    reply = read(*pieces(ANSWER + " indeed"), event({}, "stop"), event(usage=USAGE), DONE, early=False)
    assert (reply.stopped, reply.usage, reply.content) == (None, Usage(7, 5), ANSWER + " indeed")


@pytest.mark.parametrize(
    "before",
    [
        "[see image] ",
        "I looked at {x1, y1} and [0, 1000). ",
        '{"thought": "a draft"} ',
        "[1, 2, 3, 4] ",
        "<think>" + ANSWER + "</think>",
        "```json\n",
        "a [b",
    ],
)
def test_other_brackets_are_no_answer(before):
    text = before + ANSWER
    source = Source(*pieces(text), *[event({"content": " indeed"})] * 50, event({}, "stop"), DONE)
    reply = asyncio.run(read_reply(source(), how()))

    assert reply.stopped == "answer"
    assert source.taken == len(pieces(text))


def test_a_list_of_objects_is_an_answer():
    reply = read(*pieces('[{"bbox_2d": [1, 2, 3, 4], "label": "a"}] indeed'), event({}, "stop"), DONE)
    assert reply.stopped == "answer"


def test_a_draft_in_thoughts_that_only_end_is_no_answer():
    text = f"I would say {ANSWER} but wait.</think>{ANSWER} indeed indeed"
    source = Source(*pieces(text), event({}, "stop"), DONE)
    reply = asyncio.run(read_reply(source(), how(thinking=True)))

    assert reply.stopped == "answer"
    assert reply.content.count(ANSWER) == 2


def test_thoughts_apart_are_no_answer():
    thoughts = [event({"reasoning": part}) for part in (ANSWER, " no")]
    reply = read(*thoughts, *pieces(ANSWER), event({"content": "tail"}), DONE)
    assert (reply.reasoning, reply.content, reply.stopped) == (ANSWER + " no", ANSWER, "answer")


def test_a_call_is_an_answer_too():
    parts = [ANSWER[start : start + 9] for start in range(0, len(ANSWER), 9)]
    events = [event({"tool_calls": [{"index": 0, "function": {"arguments": part}}]}) for part in parts]
    reply = read(*events, *[event({"content": "tail"})] * 9, DONE)
    assert reply.stopped == "answer"
    assert reply.calls == (Call("", ANSWER),)


@pytest.mark.parametrize("early", [True, False])
def test_endless_whitespace_is_given_up(early):
    source = Source(*pieces('{"status": "found",'), *[event({"content": "\n        "})] * 2000)
    reply = asyncio.run(read_reply(source(), how(early=early)))
    assert reply.stopped == "whitespace"
    assert source.taken < 20


def test_whitespace_in_strings_and_in_indented_answers_is_none():
    value = {"status": "found", "targets": [{"bbox_2d": [1, 2, 3, 4], "label": "a" + " " * 200 + "b"}]}
    text = json.dumps(value, indent=12)
    reply = read(*pieces(text), DONE, early=False)
    assert (reply.stopped, reply.content) == (None, text)


@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize("box", ["[100, 100, 300, 300]", "[ 0.1,0.1 ,0.3,\n0.3 ]", '["1", "2", "3", "4"]'])
def test_a_box_again_and_again_is_given_up(early, box):
    one = '{"bbox_2d": ' + box + ', "label": "red"}, '
    source = Source(*pieces('{"targets": [' + one * 1000))
    reply = asyncio.run(read_reply(source(), how(early=early)))
    assert reply.stopped == "repetition"
    assert reply.content.count(box) <= 4


def test_boxes_twice_and_boxes_in_prose_are_no_repetition():
    text = 'At [1, 2, 3, 4] or [1, 2, 3, 4]: {"targets": [{"bbox_2d": [1, 2, 3, 4]}, {"bbox_2d": [1, 2, 3, 4]}]}'
    reply = read(*pieces(text), DONE, early=False)
    assert (reply.stopped, reply.content) == (None, text)


def test_text_has_a_limit():
    source = Source(*[event({"content": "x" * 65_536})] * 800)
    reply = asyncio.run(read_reply(source(), how()))
    assert reply.stopped == "size"
    assert MOST_TEXT < len(reply.content) <= MOST_TEXT + 65_536


@pytest.mark.parametrize("start", [b"data: ", b'{"choices": [', b"<html>"])
def test_a_response_has_a_limit(start):
    source = Source(start, *[b" " * 65_536] * 800)
    with pytest.raises(EndpointError, match="more than 4 MiB") as caught:
        asyncio.run(read_reply(source(), how()))
    assert not caught.value.retryable
    assert source.taken <= MOST_BYTES / 65_536 + 2
    assert source.closed


HALF = pieces(ANSWER)[:5]
BROKEN = httpx2.ReadError(
    "reset", request=httpx2.Request("POST", "http://x/", headers={"authorization": "sk-canary"})
)


@pytest.mark.parametrize(
    "chunks",
    [
        HALF,
        [*HALF, b'data: {"id": "x", "cho'],
        [event({"role": "assistant"})],
        [event({"content": "words without end"})],
    ],
)
@pytest.mark.parametrize("breaks", [None, BROKEN])
def test_a_stream_that_is_cut_is_unavailable(chunks, breaks):
    with pytest.raises(EndpointUnavailable) as caught:
        read(*chunks, breaks=breaks)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("last", "breaks"),
    [
        (event({}, "stop"), None),
        (event({}, "stop"), BROKEN),
        (event({"content": ANSWER}), None),
        (event({"content": ANSWER}), BROKEN),
        (event({}, "length")[:-2], None),
        (b"data: [DONE]", None),
    ],
)
def test_a_cut_behind_the_end_does_not_matter(last, breaks):
    reply = read(event({"content": "Look: "}), last, breaks=breaks, early=False)
    assert reply.content.startswith("Look: ")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", EndpointUnavailable),
        (b"   \n", EndpointUnavailable),
        (b'{"id": "x", "choices": [{"mess', EndpointUnavailable),
        (b'{"id": "x", "choices": null}', EndpointUnavailable),
        (b'{"id": "x", "choices": []}', EndpointUnavailable),
        (b'{"id": "x", "choices": "none"}', EndpointUnavailable),
        (b'{"id": "x", "choices": [{"message": null}]}', EndpointUnavailable),
        (b'{"id": "x", "choices": ["text"]}', EndpointUnavailable),
        (b'{"choices": [{"message": {"tool_calls": ["x"]}}]}', EndpointUnavailable),
        (b'[1, 2, "three"]', EndpointUnavailable),
        (b"42", EndpointUnavailable),
        (b'{"choices": [{"message": {"content": "\xff\xfe"}}]}', EndpointUnavailable),
        (b"[" * 100_000, EndpointUnavailable),
        (b'{"error": {"message": "upstream failed", "code": 502}}', EndpointUnavailable),
        (b'{"error": "upstream failed"}', EndpointUnavailable),
        (b'{"object": "error", "message": "upstream failed", "code": 500}', EndpointUnavailable),
        (b'{"error": {"message": "no credit", "code": 402}}', EndpointRefused),
        (b"data: this is not JSON {\n\ndata: [DONE]\n\n", EndpointUnavailable),
        (b"data: [DONE]\n\n", EndpointUnavailable),
        (b'data: {"choices": []}\n\n', EndpointUnavailable),
        (b'data: {"error": {"message": "the engine died", "code": 500}}\n\n', EndpointUnavailable),
        (b"<!doctype html><html>It works!</html>", EndpointRefused),
        (b"It works!", EndpointRefused),
    ],
)
def test_what_is_no_completion_is_refused_or_unavailable(body, error):
    with pytest.raises(EndpointError) as caught:
        read(body)
    assert type(caught.value) is error
    assert PLACE.address in caught.value.message
    assert caught.value.__context__ is None


def test_an_error_names_what_the_server_says():
    with pytest.raises(EndpointUnavailable, match="upstream \\*\\*\\* failed"):
        read(b'{"error": {"message": "upstream sk-canary\\u0007 failed"}}')


@given(st.text(alphabet='{}[]"\\,: 1a<>/think\n', max_size=200), st.integers(1, 9))
@settings(max_examples=200, deadline=None)
def test_whatever_is_said_the_watch_says_stop_only_where_json_ends(text, size):
    watch = Watch(frozenset({"a", "1"}))
    for start in range(0, len(text), size):
        if watch.feed(text[start : start + size]) == "answer":
            assert watch.complete
            return
    assert not watch.complete


async def test_a_server_that_does_not_hang_up_is_not_waited_for():
    async def source():
        yield event({"content": "hello"}, "stop") + DONE
        await asyncio.Event().wait()

    async with asyncio.timeout(1):
        reply = await read_reply(source(), how())
    assert (reply.content, reply.finish) == ("hello", "stop")
