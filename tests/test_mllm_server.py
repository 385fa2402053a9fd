"""The test server itself, by raw requests: what each kind of server does, what it sees, and how it fails."""

import asyncio
import base64
import contextlib
import dataclasses
import io
import json
import socket
import time

import httpx2
import numpy as np
import PIL.Image
import pytest
from mllm_answers import Said, Tail
from mllm_dialects import KINDS
from mllm_faults import FAULTS
from mllm_frames import Speaks
from mllm_leaks import leaves_nothing
from mllm_server import MODEL, MllmServer
from mllm_sight import PALETTE

from geoseg_agent.samples.texture import fractal

SCHEMA = {
    "type": "object",
    "properties": {
        "status": {"enum": ["found", "not_found"]},
        "targets": {"type": "array", "items": {"type": "object"}},
    },
}
TOOL = {"type": "function", "function": {"name": "segment_targets", "parameters": SCHEMA}}
FORMS = {
    "required": {"tools": [TOOL], "tool_choice": "required"},
    "named": {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "segment_targets"}}},
    "json_schema": {
        "response_format": {"type": "json_schema", "json_schema": {"name": "segment_targets", "schema": SCHEMA}}
    },
    "json_object": {"response_format": {"type": "json_object"}},
    "plain": {},
}
BOXES = {"red": (40, 60, 180, 200), "blue": (300, 30, 420, 260), "yellow": (80, 300, 330, 440)}


def drawn(boxes, size=(512, 512), *, textured=False, seed=1):
    """Rectangles on grey, or over something like ground seen from above."""
    pixels = np.full((*size, 3), 118, np.uint8)
    if textured:
        rng = np.random.default_rng(seed)
        grown = [96 + 34 * fractal(rng, size, 48) + shade for shade in (0, 10, -14)]
        pixels = np.clip(np.stack(grown, axis=2), 0, 255).astype(np.uint8)
    for colour, (x1, y1, x2, y2) in boxes:
        pixels[y1:y2, x1:x2] = PALETTE[colour][0]
    return pixels


def data_uri(pixels):
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "JPEG", quality=92, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


PICTURE = data_uri(drawn(BOXES.items()))


def body(query="the red rectangle", form="json_schema", *, picture=PICTURE, **more):
    text = f"Answer with a JSON object only; here is the query:\n\n<q>\n{query}\n</q>"
    parts = [{"type": "image_url", "image_url": {"url": picture}}, {"type": "text", "text": text}]
    system = {"role": "system", "content": "You find things: a white tank, for example. Answer in JSON."}
    return {"model": MODEL, "messages": [system, {"role": "user", "content": parts}], **FORMS[form], **more}


async def post(server, value, **options):
    async with httpx2.AsyncClient(trust_env=False, timeout=options.pop("timeout", 10)) as client:
        return await client.post(f"{server.base_url}/chat/completions", json=value, **options)


def message_of(response):
    assert response.status_code == 200, response.text
    return response.json()["choices"][0]["message"]


def answer_of(response):
    return json.loads(message_of(response)["content"])


def iou(a, b):
    wide = min(a[2], b[2]) - max(a[0], b[0])
    high = min(a[3], b[3]) - max(a[1], b[1])
    both = max(wide, 0) * max(high, 0)
    area = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return both / (area - both)


# Reference: what the sources of these servers do with each form of asking.
TABLE = {
    "vllm": {"required": "tool", "named": "tool", "json_schema": "json", "json_object": "json"},
    "sglang": {"required": "tool", "named": "tool", "json_schema": "json", "json_object": "json"},
    "llama.cpp": {"required": "tool", "named": "prose", "json_schema": "json", "json_object": "json"},
    "llama-cpp-python": {"required": "prose", "named": "tool", "json_schema": 500, "json_object": "json"},
    "ollama": {"required": "prose", "named": "prose", "json_schema": "json", "json_object": "json"},
    "lmstudio": {"required": "tool", "named": 400, "json_schema": "json", "json_object": 400},
    "transformers": {"required": "prose", "named": "prose", "json_schema": "prose", "json_object": "prose"},
    "hosted": {"required": "tool", "named": "tool", "json_schema": "json", "json_object": "json"},
}


@pytest.mark.parametrize(
    ("dialect", "form", "expected"),
    [(dialect, form, how) for dialect, row in TABLE.items() for form, how in {**row, "plain": "prose"}.items()],
)
async def test_each_kind_supports_refuses_and_ignores_what_its_sources_say(dialect, form, expected):
    async with MllmServer(dialect) as server:
        response = await post(server, body(form=form))
    if isinstance(expected, int):
        assert response.status_code == expected
        return
    message = message_of(response)
    if expected == "tool":
        (call,) = message["tool_calls"]
        assert message["content"] is None
        found = json.loads(call["function"]["arguments"])
    elif expected == "json":
        found = json.loads(message["content"])
    else:
        before, fenced, after = message["content"].split("```")
        assert before
        assert after
        found = json.loads(fenced.removeprefix("json"))
    assert found["status"] == "found"


@pytest.mark.parametrize(
    ("dialect", "form", "enforced"),
    [
        ("vllm", "required", True),
        ("vllm", "json_schema", True),
        ("llama.cpp", "required", True),
        ("llama.cpp", "named", False),
        ("ollama", "required", False),
        ("ollama", "json_schema", True),
        ("transformers", "required", False),
        ("transformers", "json_schema", False),
        ("hosted", "json_object", False),
    ],
)
async def test_a_canary_comes_back_only_where_the_form_is_enforced(dialect, form, enforced):
    schema = {"type": "object", "properties": {"nonce": {"const": "4711abcd"}}, "required": ["nonce"]}
    asking = json.loads(json.dumps(FORMS[form]))
    for holder, key in [(tool["function"], "parameters") for tool in asking.get("tools", ())] or [
        (asking["response_format"].get("json_schema", {}), "schema")
    ]:
        holder[key] = schema
    async with MllmServer(dialect) as server:
        greeting = {"role": "user", "content": "Say hello, in JSON."}
        response = await post(server, {"model": MODEL, "messages": [greeting], **asking})
        assert (server.canaries, server.completions) == (1, 0)
    assert ("4711abcd" in response.text) is enforced


@pytest.mark.parametrize(
    ("dialect", "owner"),
    [("vllm", "vllm"), ("sglang", "sglang"), ("llama.cpp", "llamacpp"), ("ollama", "library"), ("hosted", "system")],
)
async def test_the_list_of_models_gives_the_server_away(dialect, owner):
    async with MllmServer(dialect) as server, httpx2.AsyncClient(trust_env=False) as client:
        listed = (await client.get(f"{server.base_url}/models")).json()
    assert [(entry["id"], entry["owned_by"]) for entry in listed["data"]] == [(MODEL, owner)]
    assert ("models" in listed) is (dialect == "llama.cpp")
    assert ("max_model_len" in listed["data"][0]) is (dialect in {"vllm", "sglang"})


@pytest.mark.parametrize(("dialect", "status"), [("vllm", 200), ("transformers", 422), ("hosted", 400)])
async def test_fields_outside_the_interface_pass_or_are_refused(dialect, status):
    async with MllmServer(dialect) as server:
        response = await post(server, body(form="plain", top_k=1))
    assert response.status_code == status
    assert ("top_k" in response.text) is (status != 200)


async def test_without_a_tool_parser_vllm_refuses_tools_only():
    async with MllmServer(dataclasses.replace(KINDS["vllm"], required="refused", named="refused")) as server:
        refused, answered = [await post(server, body(form=form)) for form in ("required", "json_schema")]
    assert refused.status_code == 400
    assert "--tool-call-parser" in refused.json()["error"]["message"]
    assert answer_of(answered)["status"] == "found"


async def test_a_hosted_server_wants_its_key():
    async with MllmServer("hosted", key="sk-test") as server:
        without = await post(server, body())
        with_key = await post(server, body(), headers={"authorization": "Bearer sk-test"})
    assert (without.status_code, with_key.status_code) == (401, 200)


@pytest.mark.parametrize("textured", [False, True])
@pytest.mark.parametrize(("colour", "box"), BOXES.items())
async def test_it_sees_the_rectangle_to_a_pixel(colour, box, textured):
    picture = data_uri(drawn(BOXES.items(), textured=textured))
    async with MllmServer(speaks="pixels") as server:
        (target,) = answer_of(await post(server, body(f"the {colour} one", picture=picture)))["targets"]
    assert np.abs(np.subtract(target["bbox_2d"], box)).max() <= 1
    assert target["label"] == f"{colour} rectangle"


@pytest.mark.parametrize("scale", [0.37, 0.81, 1.6])
async def test_it_sees_the_rectangle_to_a_pixel_after_resizing(scale):
    size = (round(512 * scale), round(512 * scale * 1.1))
    small = PIL.Image.fromarray(drawn(BOXES.items(), textured=True)).resize(size, PIL.Image.Resampling.BICUBIC)
    async with MllmServer(speaks="pixels") as server:
        for colour, box in BOXES.items():
            found = answer_of(await post(server, body(colour, picture=data_uri(np.asarray(small)))))["targets"]
            expected = np.multiply(box, (size[0] / 512, size[1] / 512) * 2)
            assert np.abs(np.subtract(found[0]["bbox_2d"], expected)).max() <= 1.0


async def test_it_finds_all_of_a_colour_when_asked_for_all_and_the_largest_when_asked_for_one():
    boxes = [("blue", (10, 10, 60, 60)), ("blue", (100, 100, 260, 240)), ("red", (300, 300, 400, 380))]
    picture = data_uri(drawn(boxes))
    async with MllmServer(speaks="pixels") as server:
        every, one = [
            answer_of(await post(server, body(query, picture=picture)))["targets"]
            for query in ("all blue rectangles", "the blue rectangle")
        ]
    assert [target["bbox_2d"] for target in every] == [[100, 100, 260, 240], [10, 10, 60, 60]]
    assert one == every[:1]


@pytest.mark.parametrize("query", ["the green rectangle", "the brown rectangle", "the hospital"])
async def test_what_is_not_there_is_not_found(query):
    async with MllmServer() as server:
        answer = answer_of(await post(server, body(query)))
    assert (answer["status"], answer["targets"]) == ("not_found", [])


@pytest.mark.parametrize(
    ("speaks", "expected"),
    [
        ("norm1000", [78, 117, 352, 391]),
        ("norm1000-yxyx", [117, 78, 391, 352]),
        ("unit", [0.0781, 0.1172, 0.3516, 0.3906]),
        ("pixels", [40, 60, 180, 200]),
        ("pixels-yxyx", [60, 40, 200, 180]),
        (Speaks("pixels", scale=(1.02, 1.02)), [41, 61, 184, 204]),
        (Speaks("pixels", shift=(10, -10)), [50, 50, 190, 190]),
    ],
)
async def test_it_speaks_the_frame_it_is_told_to(speaks, expected):
    async with MllmServer(speaks=speaks) as server:
        answer = answer_of(await post(server, body()))
    tolerance = 0.003 if speaks == "unit" else 2
    assert answer["targets"][0]["bbox_2d"] == pytest.approx(expected, abs=tolerance)


async def test_it_mixes_frames_and_its_noise_is_seeded():
    async with MllmServer(speaks=Speaks(mixture=("norm1000", "pixels"))) as server:
        first, second, third = [answer_of(await post(server, body()))["targets"] for _ in range(3)]
    assert first == third != second
    noisy = []
    for _ in range(2):
        async with MllmServer(speaks=Speaks("pixels", noise=4)) as server:
            noisy.append(answer_of(await post(server, body()))["targets"][0]["bbox_2d"])
    assert noisy[0] == noisy[1] != [40, 60, 180, 200]
    assert iou(noisy[0], (40, 60, 180, 200)) > 0.7


async def events_of(server, value):
    async with (
        httpx2.AsyncClient(trust_env=False) as client,
        client.stream("POST", f"{server.base_url}/chat/completions", json=value) as response,
    ):
        assert response.headers["content-type"].startswith("text/event-stream")
        events = [line.removeprefix("data: ") async for line in response.aiter_lines() if line]
    assert events[-1] == "[DONE]"
    return [json.loads(one) for one in events[:-1]]


@pytest.mark.parametrize("form", ["required", "json_schema", "plain"])
async def test_a_stream_adds_up_to_the_answer(form):
    async with MllmServer(reasoning="let me see") as server:
        whole = message_of(await post(server, body(form=form)))
        events = await events_of(server, body(form=form, stream=True, stream_options={"include_usage": True}))
    deltas = [event["choices"][0]["delta"] for event in events if event["choices"]]
    assert "".join(delta.get("content") or "" for delta in deltas) == (whole["content"] or "")
    assert "".join(delta.get("reasoning", "") for delta in deltas) == "let me see" == whole["reasoning"]
    pieces = [call["function"]["arguments"] for delta in deltas for call in delta.get("tool_calls", ())]
    assert "".join(pieces) == (whole["tool_calls"][0]["function"]["arguments"] if form == "required" else "")
    assert len(deltas) > 10
    assert (events[-1]["choices"], events[-1]["usage"]["prompt_tokens"] > 0) == ([], True)


async def test_a_script_goes_out_verbatim_and_then_the_truth():
    said = Said(calls=(("other", "{"), ("more", "{}")), finish="length")
    async with MllmServer(script=["I cannot help.", said]) as server:
        first, second, third = [message_of(await post(server, body())) for _ in range(3)]
    assert first["content"] == "I cannot help."
    assert [call["function"]["name"] for call in second["tool_calls"]] == ["other", "more"]
    assert json.loads(third["content"])["status"] == "found"


async def test_it_answers_reviews_by_a_function():
    seen = []

    def review(asked):
        seen.append(asked.tool[0])
        return {"verdicts": [], "score": 3, "reasoning": "meh"}

    tool = {"type": "function", "function": {"name": "review_targets", "parameters": {"type": "object"}}}
    async with MllmServer(review=review) as server:
        message = message_of(await post(server, body(form="plain", tools=[tool], tool_choice="required")))
    assert json.loads(message["tool_calls"][0]["function"]["arguments"])["score"] == 3
    assert seen == ["review_targets"]


async def test_a_client_that_leaves_is_noticed_at_once_and_its_tail_counted():
    async with MllmServer(tail=Tail(words=1000, interval=0.002)) as server, leaves_nothing(server):
        async with (
            httpx2.AsyncClient(trust_env=False) as client,
            client.stream("POST", f"{server.base_url}/chat/completions", json=body(stream=True)) as response,
        ):
            async for line in response.aiter_lines():
                if "indeed" in line:
                    break
        left = time.monotonic()
        await asyncio.sleep(0.05)
        (record,) = server.asked
        assert record.disconnected is not None
        assert abs(record.disconnected - left) < 0.05
        assert 0 < record.tail < 500


async def test_it_keeps_connections_until_they_are_idle():
    async with MllmServer(idle=0.1) as server, httpx2.AsyncClient(trust_env=False) as client:
        for _ in range(2):
            await client.post(f"{server.base_url}/chat/completions", json=body())
        assert [record.connection for record in server.requests] == [1, 1]
        assert server.open_sockets == 1
        await asyncio.sleep(0.25)
        assert server.open_sockets == 0


async def test_a_closed_port_refuses_until_it_is_opened_again():
    async with MllmServer() as server:
        await server.down()
        with pytest.raises(httpx2.ConnectError):
            await post(server, body())
        await server.up()
        assert answer_of(await post(server, body()))["status"] == "found"


async def test_the_delay_comes_before_the_answer():
    async with MllmServer(delay=0.15) as server:
        await post(server, body())
    (record,) = server.requests
    assert 0.15 <= record.ended - record.arrived < 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", sorted(FAULTS.keys() - {"huge", "huge-line"}))  # 50 MB: the matrix has them
async def test_every_fault_fails_where_it_is_asked_for_and_only_there(name, stream):
    async with MllmServer(faults={2: name}) as server, leaves_nothing(server):
        good = body(stream=stream)
        before = await post(server, good)
        with contextlib.suppress(httpx2.TransportError, TimeoutError):
            async with asyncio.timeout(0.3):
                faulty = await post(server, good)
            assert (faulty.content, faulty.status_code) != (before.content, 200) or name in ANSWERS
        after = await post(server, good)
        assert [record.fault for record in server.asked] == [None, name, None]
    assert before.status_code == after.status_code == 200


# These faults carry the honest answer in unusual clothes.
ANSWERS = {"wrong-media", "not-streamed", "silent-close", "slow-drip"}


async def test_what_leaves_something_is_noticed():
    async def leave(server):
        async with leaves_nothing(server, within=0.05):
            held.append(socket.create_connection(("127.0.0.1", server.port)))
            await asyncio.sleep(0.01)

    held = []
    async with MllmServer() as server:
        with pytest.raises(AssertionError, match="left behind"):
            await leave(server)
        held[0].close()
