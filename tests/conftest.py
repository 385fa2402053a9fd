"""No network but loopback, no settings from the caller's environment, one thread for the small models."""

import ipaddress
import os
import socket
import sys
from pathlib import Path

import pytest

SUPPORT = Path(__file__).parent / "support"
sys.path.insert(0, str(SUPPORT))

import canary  # noqa: E402 - found only now

for name in [name for name in os.environ if name.upper().startswith(("GEOSEG_", "OPENAI_"))]:
    del os.environ[name]

_connect = socket.socket.connect


def _loopback_only(self, address):
    if self.family in {socket.AF_INET, socket.AF_INET6} and not ipaddress.ip_address(address[0]).is_loopback:
        raise AssertionError(f"a test tried to reach {address[0]}")
    return _connect(self, address)


@pytest.fixture(autouse=True, scope="session")
def _no_network():
    """Refuse every connection that leaves the machine, for the whole run."""
    socket.socket.connect = _loopback_only
    yield
    socket.socket.connect = _connect


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    """A test that writes to a relative path writes into its own folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _nothing_secret_is_left(tmp_path, caplog):
    """After every test: no key, header or picture in any file that it left, nor a key in what it logged."""
    yield
    assert canary.leaks(tmp_path) == []
    assert canary.KEY not in caplog.text
