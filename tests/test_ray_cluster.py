"""A cluster that is not there is said at once, and what must listen is looked at; no Ray is needed for it."""

import asyncio
import os
import socket
from contextlib import closing
from types import SimpleNamespace

import pytest

from geoseg_agent.batch.ray_cluster import Port, join, listen
from geoseg_agent.errors import ConfigError
from geoseg_agent.settings import without_own

NEVER = SimpleNamespace()  # stands for Ray, which nobody may touch


@pytest.fixture
def closed():
    """A port of this machine that nobody listens at."""
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}", "localhost:{}"])
def test_an_address_where_nobody_listens_is_named_with_the_remedy(form, closed):
    with pytest.raises(ConfigError) as refused:
        join(NEVER, form.format(closed))
    assert f"no Ray cluster to join at {form.format(closed)}: nothing answers" in refused.value.message
    assert "ray start --head" in refused.value.hint


def test_a_stale_variable_is_named_as_what_it_is(closed, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{closed}")
    with pytest.raises(ConfigError) as refused:
        join(NEVER, "auto")
    assert f"RAY_ADDRESS=127.0.0.1:{closed}" in refused.value.message
    assert "unset RAY_ADDRESS" in refused.value.hint


async def test_all_ports_have_to_listen(closed):
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        open_port = Port(*server.sockets[0].getsockname())
        assert await listen(())
        assert await listen((open_port, open_port))
        assert not await listen((open_port, Port("127.0.0.1", closed)))


def test_what_is_started_gets_none_of_our_variables(monkeypatch):
    monkeypatch.setenv("GEOSEG_API_KEY", "secret")
    monkeypatch.setenv("OTHER", "kept")
    with without_own():
        assert not [name for name in os.environ if name.startswith("GEOSEG_")]
        assert os.environ["OTHER"] == "kept"
    assert os.environ["GEOSEG_API_KEY"] == "secret"
