"""An Agent in front of the loopback model, and pictures that the model can see something in."""

import contextlib

import numpy as np
from canary import KEY
from fakes import WordToolbox

from geoseg_agent.agent import Agent
from geoseg_agent.errors import GeoSegError
from geoseg_agent.imagery import Image
from geoseg_agent.settings import Settings
from geoseg_tools.geometry import Box

RED, BLUE = Box(300, 120, 460, 300), Box(700, 500, 900, 620)
PICTURE = (768, 1024)


def picture(size=PICTURE):
    """Grey, with the red and the blue box in it."""
    pixels = np.full((*size, 3), 128, dtype=np.uint8)
    pixels[RED.slices] = (255, 0, 0)
    pixels[BLUE.slices] = (0, 0, 255)
    return Image.from_array(pixels, name="two-boxes")


def settings(server, **values):
    """Settings for the server: a key that must stay secret, and no canary unless `dialect` says so."""
    known = {
        "grounder": "openai",
        "base_url": server.base_url,
        "dialect": "json_schema",
        "traces": "traces",
        "api_key": KEY,
    }
    return Settings(**{**known, **values})


@contextlib.asynccontextmanager
async def agent(server, **values):
    async with Agent(settings(server, **values), toolbox=WordToolbox()) as made:
        yield made


async def answer(server, query="the red rectangle", *, image=None, hints=None, **values):
    """The answer to one query by a new Agent, or the error it raised."""
    async with agent(server, **values) as asked:
        try:
            return await asked.segment(image or picture(), query, hints=hints)
        except GeoSegError as error:
            return error
