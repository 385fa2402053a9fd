"""A question with a picture for an endpoint, and endpoints to put it to."""

import asyncio
import hashlib
import io

import numpy as np
import PIL.Image

from geoseg_agent.grounding.chat import ChatRequest, Message, SentImage, Tool
from geoseg_agent.grounding.endpoint.openai_chat import OpenAIEndpoint
from geoseg_agent.settings import Settings
from geoseg_tools.geometry import Box

SECRET = "sk-canary-0123456789"  # noqa: S105 - public
SCHEMA = {
    "type": "object",
    "properties": {"status": {"type": "string"}, "targets": {"type": "array", "items": {"type": "object"}}},
}
TOOL = Tool("segment_targets", "Reports.", SCHEMA)


def picture():
    pixels = np.full((64, 96, 3), 120, np.uint8)
    pixels[16:48, 8:40] = (255, 0, 0)
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "PNG")
    data = file.getvalue()
    return SentImage((64, 96), Box(0, 0, 96, 64), "image/png", hashlib.sha256(data).hexdigest(), data)


IMAGE = picture()


def question(dialect="json_schema", model="qwen3-vl-8b"):
    messages = (Message("system", "rules"), Message("user", "query: the red rectangle", IMAGE))
    return ChatRequest(model, messages, TOOL, dialect, 300, 0.0, 0)


def endpoint(server, **options):
    more = {name: options.pop(name) for name in ("clock", "transport") if name in options}
    values = {"model": server.model, "api_key": SECRET, "verdicts": "verdicts", **options}
    return OpenAIEndpoint(Settings(base_url=server.base_url, **values), **more)


async def until(true):
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110 - a server's records are no events
            await asyncio.sleep(0.001)


async def failure(doing):
    try:
        await doing
    except Exception as error:  # noqa: BLE001 - looked at by the test
        return error
    raise AssertionError("it did not fail")
