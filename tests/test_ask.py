"""One question to a model: what is repeated, how often, after how long, and what ends it."""

import asyncio

import pytest

from geoseg_agent import errors
from geoseg_agent.errors import (
    BudgetExceeded,
    DialectRefused,
    EndpointError,
    EndpointRefused,
    EndpointTimeout,
    EndpointUnavailable,
    InvalidReply,
)
from geoseg_agent.grounding.ask import Line, ask
from geoseg_agent.grounding.budget import Budget, current_budget
from geoseg_agent.grounding.chat import ChatReply, ChatRequest, Fit, Frame, Message, Terms, Tool, Usage
from geoseg_agent.grounding.reply.rejected import RejectedReply, Violation

FIT = Fit(32, 1024, 2048)
TERMS = Terms(
    server="unknown",
    model="m",
    rungs=("tool", "json_schema", "plain"),
    proved=False,
    family="unknown",
    asked=Frame("norm1000"),
    read=Frame("norm1000"),
    outside="tolerate",
    max_targets=8,
    fit=FIT,
)
REQUEST = ChatRequest(
    "m", (Message("system", "rules"), Message("user", "the lake")), Tool("t", "", {}), "tool", max_tokens=100
)
GOOD, BAD = ChatReply(content="good"), ChatReply(content="bad")
BUSY, SLOW = EndpointUnavailable("busy"), EndpointTimeout("slow")


class Scripted:
    """An endpoint that says what it is told to, one entry per request."""

    def __init__(self, *script):
        self.script = list(script)
        self.requests = []
        self.refused = []

    async def complete(self, request):
        self.requests.append(request)
        await asyncio.sleep(0)
        outcome = self.script.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def step_down(self, refused):
        self.refused.append(refused)


def read(reply):
    if reply.content != "good":
        raise RejectedReply([Violation("targets[0].label", reply.content, "must be good")])
    return reply.content


async def asked(*script, attempts=4, terms=TERMS):
    endpoint, waits = Scripted(*script), []

    async def sleep(seconds):
        waits.append(seconds)

    try:
        outcome = await ask(Line(endpoint, terms, attempts, sleep), REQUEST, read)
    except errors.GeoSegError as error:
        outcome = error
    return outcome, endpoint, waits


async def test_a_good_reply_takes_one_request():
    outcome, endpoint, waits = await asked(GOOD)
    assert (outcome, len(endpoint.requests), waits) == ("good", 1, [])


@pytest.mark.parametrize("fault", [BUSY, SLOW])
@pytest.mark.parametrize("failures", [1, 2, 3])
async def test_what_may_pass_is_tried_again_after_a_wait(fault, failures):
    outcome, endpoint, waits = await asked(*[fault] * failures, GOOD)
    assert outcome == "good"
    assert len(endpoint.requests) == failures + 1
    assert len(waits) == failures
    assert all(0 <= wait <= 0.5 * 2 ** (turn + 1) for turn, wait in enumerate(waits))


@pytest.mark.parametrize("fault", [BUSY, SLOW])
async def test_the_last_error_says_how_often_it_was_tried(fault):
    outcome, endpoint, _ = await asked(*[fault] * 9)
    assert type(outcome) is type(fault)
    assert len(endpoint.requests) == 4
    assert "gave up after 4 requests" in outcome.message


async def test_one_attempt_means_one_request_and_the_error_as_it_is():
    outcome, endpoint, waits = await asked(BUSY, attempts=1)
    assert outcome is BUSY
    assert (len(endpoint.requests), waits) == (1, [])


@pytest.mark.parametrize("fault", [EndpointRefused("no"), EndpointError("odd"), InvalidReply("odd")])
async def test_what_will_not_pass_is_not_tried_again(fault):
    outcome, endpoint, waits = await asked(BUSY, fault, GOOD)
    assert outcome is fault
    assert (len(endpoint.requests), len(waits)) == (2, 1)


async def test_the_server_says_how_long_to_wait():
    outcome, _, waits = await asked(EndpointUnavailable("busy", retry_after=7), GOOD)
    assert outcome == "good"
    assert 7 <= waits[0] <= 7 * 1.25


async def test_waits_differ_so_that_clients_do_not_come_back_together():
    waits = [(await asked(BUSY, BUSY, BUSY, GOOD))[2] for _ in range(8)]
    assert len({wait[2] for wait in waits}) == 8


async def test_a_refused_dialect_is_left_at_once_and_costs_no_attempt():
    outcome, endpoint, waits = await asked(DialectRefused("no tools"), DialectRefused("no schema"), GOOD, attempts=1)
    assert outcome == "good"
    assert [request.dialect for request in endpoint.requests] == ["tool", "json_schema", "plain"]
    assert endpoint.refused == ["tool", "json_schema"]
    assert waits == []


async def test_a_refused_dialect_is_not_asked_in_again():
    bad = [DialectRefused("no tools"), BUSY, BAD, GOOD]
    outcome, endpoint, _ = await asked(*bad)
    assert outcome == "good"
    assert [request.dialect for request in endpoint.requests] == ["tool", *["json_schema"] * 3]


async def test_no_dialect_left_is_an_error():
    outcome, endpoint, _ = await asked(*[DialectRefused("no")] * 5)
    assert isinstance(outcome, DialectRefused)
    assert len(endpoint.requests) == 3


async def test_a_reply_that_breaks_a_rule_is_asked_for_again_with_the_rule():
    outcome, endpoint, waits = await asked(BAD, GOOD)
    assert (outcome, waits) == ("good", [])
    first, second = endpoint.requests
    assert second.messages[:2] == first.messages
    assert [message.role for message in second.messages[2:]] == ["assistant", "user"]
    assert second.messages[2].text == "bad"
    for part in ("targets[0].label", "bad", "must be good"):
        assert part in second.messages[3].text


async def test_it_is_asked_again_twice_and_no_more():
    outcome, endpoint, _ = await asked(*[BAD] * 9, attempts=20)
    assert isinstance(outcome, InvalidReply)
    assert len(endpoint.requests) == 3
    assert "after 3 requests" in outcome.message
    assert "targets[0].label is bad: must be good" in outcome.message


@pytest.mark.parametrize(
    ("script", "attempts", "made", "kind"),
    [
        ([BUSY, BAD, BUSY, BAD, GOOD], 4, 4, InvalidReply),
        ([BAD, BUSY, BAD, GOOD], 4, 4, str),
        ([BAD, BUSY, BUSY, BUSY, GOOD], 4, 4, EndpointUnavailable),
        ([BAD, BAD, GOOD], 2, 2, InvalidReply),
        ([BUSY, BUSY, BUSY, BAD], 4, 4, InvalidReply),
    ],
)
async def test_repeating_and_asking_again_share_one_number_of_attempts(script, attempts, made, kind):
    outcome, endpoint, _ = await asked(*script, attempts=attempts)
    assert isinstance(outcome, kind)
    assert len(endpoint.requests) == made


async def test_cancellation_passes_and_is_never_tried_again():
    class Stuck(Scripted):
        async def complete(self, request):
            self.requests.append(request)
            await asyncio.get_running_loop().create_future()

    endpoint = Stuck()
    task = asyncio.create_task(ask(Line(endpoint, TERMS, 4, asyncio.sleep), REQUEST, read))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(endpoint.requests) == 1


async def test_a_bug_passes_too():
    with pytest.raises(ZeroDivisionError):
        await asked(ZeroDivisionError())


async def test_the_request_that_may_break_the_budget_is_not_made():
    current_budget.set(Budget(1000))
    told = ChatReply(content="bad", usage=Usage(500, 100))
    outcome, endpoint, _ = await asked(told, GOOD)
    assert isinstance(outcome, BudgetExceeded)
    assert len(endpoint.requests) == 1
    assert "600 of 1000" in outcome.message
    assert "GEOSEG_MAX_TOKENS_TOTAL" in outcome.hint


async def test_a_request_without_an_answer_costs_nothing_but_is_set_aside_while_it_runs():
    budget = Budget(10_000)
    current_budget.set(budget)
    await asked(BUSY, BUSY, ChatReply(content="good", usage=Usage(300, 20)))
    assert budget.spent == 320


async def test_what_the_server_does_not_count_is_estimated_high():
    budget = Budget(None)
    current_budget.set(budget)
    await asked(GOOD)
    assert budget.spent >= 2


async def test_requests_side_by_side_cannot_break_the_budget_together():
    budget = Budget(500)
    current_budget.set(budget)
    one = budget.reserve(REQUEST, FIT)
    assert one < 500 < 2 * one
    with pytest.raises(BudgetExceeded):
        budget.reserve(REQUEST, FIT)
