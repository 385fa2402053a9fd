"""Every fault of the wire on the first, a middle and the last attempt: a typed outcome, the right number of requests.

The attempts before the fault fail with 503. What the policy says of a fault is one word:

    again   asked again after a wait while attempts are left, else the error
    reask   the reply is not valid: asked again with the reason while attempts are left, else InvalidReply
    next    the server does not take a field that the request can do without: asked without it at once, which costs
            no attempt
    final   the error, at once
    answer  answered all the same
"""

import asyncio
import io
import time
from dataclasses import dataclass

import numpy as np
import PIL.Image
import pytest
from fakes import WordToolbox
from mllm_faults import FAULTS
from mllm_leaks import leaves_nothing
from mllm_server import MllmServer

from geoseg_agent import Agent, EndpointError, GeoSegError, Image, InvalidReply, Settings, errors
from geoseg_agent.grounding.chat import SentImage
from geoseg_agent.grounding.endpoint.openai_chat import OpenAIEndpoint
from geoseg_agent.grounding.mllm import Asking, MllmGrounder

ATTEMPTS = 4
BOX = (8, 16, 40, 48)
SIZE = (64, 64)
Refused, Timeout, Unavailable = errors.EndpointRefused, errors.EndpointTimeout, errors.EndpointUnavailable


@dataclass(frozen=True)
class Policy:
    """What a fault leads to, and the class of the error where it leads to one."""

    then: str
    error: type[GeoSegError] = EndpointError


AGAIN, FINAL, NEXT = Policy("again", Unavailable), Policy("final", Refused), Policy("next", Refused)
DIALECT = Policy("final", errors.DialectRefused)  # the settings name one dialect, so there is no other
REASK, ANSWER, LATE = Policy("reask", InvalidReply), Policy("answer"), Policy("again", Timeout)

# Streamed or not; where the two differ, the policy of the stream stands second.
POLICY = {
    "refused": AGAIN,
    "reset": AGAIN,
    "hang-up": AGAIN,
    "garbage": AGAIN,
    "reset-mid-body": AGAIN,
    "cut-mid-body": AGAIN,
    "stall": LATE,
    "stall-mid-body": LATE,
    "slow-drip": LATE,
    "307": FINAL,
    "400": FINAL,
    "401": FINAL,
    "403": FINAL,
    "404": FINAL,
    "408": AGAIN,
    "409": AGAIN,
    "413": FINAL,
    "422": FINAL,
    "425": AGAIN,
    "429": AGAIN,
    "500": AGAIN,
    "501": FINAL,
    "502": AGAIN,
    "503": AGAIN,
    "504": AGAIN,
    "529": AGAIN,
    "502-html": AGAIN,
    "429-retry-after": AGAIN,
    "429-retry-after-ms": AGAIN,
    "429-retry-after-date": AGAIN,
    "429-retry-after-past": AGAIN,
    "429-bad-retry-after": AGAIN,
    "429-negative-retry-after": AGAIN,
    "429-huge-retry-after": FINAL,
    "429-endless-retry-after": FINAL,
    "503-retry-after": AGAIN,
    "400-naming-response_format": DIALECT,
    "501-naming-response_format": DIALECT,
    "500-validation": DIALECT,
    "400-naming-seed": NEXT,
    "422-naming-seed": NEXT,
    "400-naming-chat_template_kwargs": NEXT,
    "400-naming-max_tokens": NEXT,
    "400-naming-tools": FINAL,
    "400-naming-tool_choice": FINAL,
    "404-naming-tool_choice": FINAL,
    "html": FINAL,
    "empty-body": AGAIN,
    "truncated-json": AGAIN,
    "null-choices": AGAIN,
    "empty-choices": AGAIN,
    "null-message": AGAIN,
    "error-object": AGAIN,
    "wrong-type": AGAIN,
    "choices-wrong-type": AGAIN,
    "number": AGAIN,
    "bad-utf8": AGAIN,
    "huge": REASK,
    "huge-line": Policy("final", EndpointError),
    "wrong-media": ANSWER,
    "not-streamed": ANSWER,
    "silent-close": ANSWER,
    "endless-whitespace": REASK,
    "repeated-boxes": REASK,
    "stream-cut": AGAIN,
    "stream-torn": AGAIN,
    "stream-error-event": AGAIN,
    "stream-garbage": AGAIN,
    "stream-stall": LATE,
    "stream-empty": AGAIN,
}


def drawn():
    pixels = np.full((*SIZE, 3), 120, np.uint8)
    pixels[BOX[1] : BOX[3], BOX[0] : BOX[2]] = (255, 0, 0)
    return pixels


def encoded(pixels):
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "JPEG", quality=92, subsampling=0)
    return file.getvalue()


IMAGE = Image.from_array(drawn(), name="red")
DATA = encoded(drawn())


class SmallPictures:
    """Sends a small picture as it is, so that hundreds of requests take seconds."""

    async def view(self, image, window, fit, *, overlay=None):
        return SentImage(SIZE, window, "image/jpeg", "0" * 64, DATA)

    async def aclose(self):
        pass


class Waits:
    """The waits between requests, not waited; the port is closed during the ones before attempt `refused`."""

    def __init__(self, server, refused=None):
        self.server, self.refused, self.seconds = server, refused, []

    async def prepare(self, attempt):
        if self.refused is None:
            return
        if attempt == self.refused:
            await self.server.down()
        elif attempt == self.refused + 1:
            await self.server.up()

    async def __call__(self, seconds):
        self.seconds.append(seconds)
        await self.prepare(len(self.seconds) + 1)
        await asyncio.sleep(0)


def settings_for(server, **values):
    common = {"grounder": "openai", "base_url": server.base_url, "model": server.model, "traces": "none"}
    limits = {"attempts": ATTEMPTS, "max_running": 1, "endpoint_calls": 1, "call_timeout": 20, "deadline": 100}
    return Settings(**{**common, **limits, "dialect": "json_schema", **values})


def grounder_for(settings, waits):
    endpoint = OpenAIEndpoint(settings)
    return endpoint, MllmGrounder(endpoint, SmallPictures(), None, Asking.of(settings), sleep=waits)


async def outcome(agent):
    """The answer or the error of one query."""
    try:
        return await agent.segment(IMAGE, "the red rectangle")
    except GeoSegError as error:
        return error


def expected(policy, attempt):
    """Whether an answer comes, and how many requests reach the wire."""
    if policy.then == "answer":
        return True, attempt
    if policy.then == "next":
        return True, attempt + 1
    if policy.then == "final" or attempt == ATTEMPTS:
        return False, attempt
    return True, attempt + 1


def faults_of(name, attempt):
    return dict.fromkeys(range(1, attempt), "503") | ({attempt: name} if name != "refused" else {})


@pytest.mark.parametrize(("attempt", "early_stop"), [(1, "on"), (2, "on"), (ATTEMPTS, "on"), (1, "off")])
@pytest.mark.parametrize("name", POLICY)
async def test_a_fault_has_its_outcome_and_its_number_of_requests(name, attempt, early_stop):
    policy = POLICY[name]
    async with MllmServer("vllm", faults=faults_of(name, attempt)) as server, leaves_nothing(server):
        settings = settings_for(server, early_stop=early_stop, call_timeout=0.2 if policy is LATE else 20)
        waits = Waits(server, attempt if name == "refused" else None)
        endpoint, grounder = grounder_for(settings, waits)
        async with Agent(settings, grounder=grounder, toolbox=WordToolbox()) as agent:
            await endpoint.terms()
            await waits.prepare(1)
            result = await outcome(agent)
            answers, requests = expected(policy, attempt)
            if answers:
                assert getattr(result, "status", result) == "found"
                (target,) = result.targets
                assert np.abs(np.subtract(tuple(target.target.box), BOX)).max() <= 1
            else:
                assert isinstance(result, policy.error), result
            refused = name == "refused"
            assert server.completions == requests - refused
            assert not server.canaries
            # The only place at the gate and the only call on the endpoint are free again.
            if refused:
                await server.up()
            assert (await outcome(agent)).status == "found"
            assert server.completions == requests - refused + 1


def test_every_fault_of_the_server_is_in_the_matrix():
    assert POLICY.keys() - {"refused"} == FAULTS.keys()


@pytest.mark.parametrize("attempt", [1, 2, ATTEMPTS])
@pytest.mark.parametrize("name", [name for name, policy in POLICY.items() if policy is DIALECT])
async def test_a_refused_dialect_is_stepped_down_from_at_once_and_for_good(name, attempt):
    async with MllmServer("vllm", faults=faults_of(name, attempt)) as server, leaves_nothing(server):
        settings = settings_for(server, dialect=None)
        waits = Waits(server)
        _, grounder = grounder_for(settings, waits)
        async with Agent(settings, grounder=grounder, toolbox=WordToolbox()) as agent:
            assert (await outcome(agent)).status == "found"
            assert server.completions == attempt + 1
            assert len(waits.seconds) == attempt - 1
            assert (await outcome(agent)).status == "found"
        asked = [("tools" in one.body, "response_format" in one.body) for one in server.asked]
        assert asked == [(False, True)] * attempt + [(True, False)] * 2
        assert server.canaries == 2  # one for each dialect, before the first query in it


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("429-retry-after", 2.0, 2.5),
        ("429-retry-after-ms", 1.5, 1.875),
        ("429-retry-after-date", 1.0, 3.75),  # whole seconds
        ("503-retry-after", 1.0, 1.25),
        ("429-retry-after-past", 0.0, 1.0),
        ("429-bad-retry-after", 0.0, 1.0),
        ("429-negative-retry-after", 0.0, 1.0),
        ("500", 0.0, 1.0),
    ],
)
async def test_it_waits_as_the_server_says_and_a_random_time_otherwise(name, least, most):
    async with MllmServer("vllm", faults={1: name}) as server, leaves_nothing(server):
        settings = settings_for(server)
        waits = Waits(server)
        _, grounder = grounder_for(settings, waits)
        async with Agent(settings, grounder=grounder, toolbox=WordToolbox()) as agent:
            assert (await outcome(agent)).status == "found"
    (seconds,) = waits.seconds
    assert least <= seconds <= most


@pytest.mark.parametrize("where", ["stall", "stream-stall"])
async def test_a_cancelled_query_closes_its_socket_at_once(where):
    async with MllmServer("vllm", faults={1: where}) as server, leaves_nothing(server):
        settings = settings_for(server)
        _, grounder = grounder_for(settings, Waits(server))
        async with Agent(settings, grounder=grounder, toolbox=WordToolbox()) as agent:
            asking = asyncio.ensure_future(agent.segment(IMAGE, "the red rectangle"))
            while not server.completions:  # noqa: ASYNC110 - the server has no event for it
                await asyncio.sleep(0.005)
            await asyncio.sleep(0.05)
            left = time.monotonic()
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            await asyncio.sleep(0.1)
            (record,) = server.asked
            assert 0 <= record.disconnected - left < 0.05
            assert (await outcome(agent)).status == "found"


async def test_many_queries_at_once_are_all_answered_and_every_request_is_accounted_for():
    faults = ["503", "reset", "hang-up", "stream-cut", "null-choices", "429-retry-after", "stream-torn"]

    def fault(attempt):
        return None if attempt % 2 else faults[attempt // 2 % len(faults)]

    async with MllmServer("vllm", faults=fault) as server, leaves_nothing(server):
        settings = settings_for(server, max_running=32, endpoint_calls=5, attempts=20)
        _, grounder = grounder_for(settings, Waits(server))
        agent = Agent(settings, grounder=grounder, toolbox=WordToolbox())
        async with agent, asyncio.TaskGroup() as together:
            tasks = [together.create_task(outcome(agent)) for _ in range(32)]
        assert [getattr(task.result(), "status", task.result()) for task in tasks] == ["found"] * 32
        assert server.completions == 32 + sum(record.fault is not None for record in server.asked)
