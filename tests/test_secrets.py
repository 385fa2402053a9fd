"""No key, header or picture gets anywhere but to the endpoint; tests/conftest.py looks after every other test too."""

import json
import logging
import traceback

import pytest
from asking import agent, answer, picture
from canary import KEY, chain, leaks, spoken
from mllm_faults import FAULTS
from mllm_server import MllmServer

from geoseg_agent.errors import GeoSegError
from geoseg_agent.settings import Settings

SLOW = {"stall", "stall-mid-body", "slow-drip", "stream-stall"}


@pytest.mark.parametrize("fault", sorted(FAULTS))
async def test_whatever_goes_wrong_says_nothing_secret(fault, caplog):
    caplog.set_level(logging.DEBUG)
    async with MllmServer("hosted", faults=fault, key=KEY) as server:
        found = await answer(server, attempts=1, call_timeout=0.3 if fault in SLOW else 20)
    assert server.asked[0].headers["authorization"] == f"Bearer {KEY}"
    assert KEY.encode() not in server.asked[0].raw
    if isinstance(found, GeoSegError):
        said = spoken(found) + "".join(traceback.format_exception(found))
        for mark in (KEY, "Bearer", "base64", "/9j/"):
            assert mark not in said, [type(one) for one in chain(found)]
    assert KEY not in caplog.text
    assert "base64" not in caplog.text


async def test_a_server_that_repeats_the_key_is_not_quoted(caplog):
    async with MllmServer("hosted", faults="401", key="another") as server:
        found = await answer(server, api_key=KEY)
    assert KEY not in spoken(found)
    said = json.dumps({"status": "found", "targets": [], "reasoning": KEY})
    async with MllmServer("hosted", script=[said] * 3) as server:
        found = await answer(server, api_key=KEY)
    assert KEY not in spoken(found)
    assert KEY not in caplog.text


async def test_the_agent_and_its_settings_do_not_show_the_key():
    async with MllmServer() as server, agent(server) as asked:
        assert KEY not in repr(asked.settings)
        assert KEY not in str(asked.settings.recorded())
        assert KEY not in repr(vars(asked))
        await asked.segment(picture(), "the red rectangle")


def test_a_key_in_the_address_is_refused_and_not_repeated():
    with pytest.raises(GeoSegError) as refused:
        Settings(base_url=f"https://user:{KEY}@example.org/v1")
    assert KEY not in spoken(refused.value)


def test_the_search_finds_what_it_looks_for(tmp_path):
    (tmp_path / "trace.json").write_text(f'"{KEY}"')
    (tmp_path / "page.html").write_text("data:image/jpeg;base64,")
    (tmp_path / "scene.png").write_bytes(b"/9j/4AAQ")
    assert len(leaks(tmp_path)) == 2
    for name in ("trace.json", "page.html"):
        (tmp_path / name).unlink()
