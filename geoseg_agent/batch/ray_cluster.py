"""A Ray cluster that is there, or a typed error soon; Ray itself tries for two minutes, and tells nobody.

Whether a cluster can be joined is found out by a process of its own, which can be ended: nothing can interrupt Ray
while it tries. What listens at the address may be a dashboard, or a head that hangs, so it must really be joined.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import socket
import subprocess
import sys
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from geoseg_agent.errors import ConfigError, MissingExtra
from geoseg_agent.settings import quieten_ray, ray_address, without_own

JOIN_S: Final = 15.0
"""Seconds within which a cluster has to be joined."""

LISTENS_S: Final = 5.0
"""Seconds within which a port has to answer."""

_QUIET: Final[dict[str, Any]] = {"log_to_driver": False, "logging_level": "ERROR"}

_TRY: Final = f"""
import sys
import ray
try:
    ray.init(address=sys.argv[1], **{_QUIET!r})
except Exception as error:
    sys.exit(f"{{error}}")
"""


class Port(NamedTuple):
    """Where something listens.

    Attributes:
        host: name or address.
        port: its number.
    """

    host: str
    port: int


def ray_package() -> Any:
    """The package.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        quieten_ray()
        return importlib.import_module("ray")
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "--engine ray needs the package 'ray'", hint="pip install 'geoseg-agent[cluster]', or leave --engine out"
        ) from error


def join(ray: Any, address: str) -> None:
    """Start a cluster on this machine where the address is "local", else join the one that is there.

    What is started gets none of our environment: the settings, and the key in them, go to the workers themselves.

    Args:
        ray: the package.
        address: "local", "auto", HOST:PORT or ray://HOST:PORT.

    Raises:
        ConfigError: there is no such cluster, or it cannot be joined from here.
    """
    local: dict[str, Any] = {}
    if address == "local":
        local = {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    else:
        _try(address)
    try:
        with without_own():
            ray.init(address=address, **_QUIET, **local)
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        raise _none_at(address, str(error)) from error


def ports(ray: Any, address: str) -> tuple[Port, ...]:
    """What has to listen as long as the cluster that was joined is there: its head, and Ray on this machine."""
    if address.startswith("ray://"):
        return tuple(port for port in (_port(address),) if port)
    here = ray.get_runtime_context()
    node = here.get_node_id()
    own = [
        Port(row["NodeManagerAddress"], int(row["NodeManagerPort"])) for row in ray.nodes() if row["NodeID"] == node
    ]
    head = _port(here.gcs_address)
    return (*((head,) if head else ()), *own)


async def listen(wanted: tuple[Port, ...]) -> bool:
    """Whether all of them take a connection."""
    for one in wanted:
        try:
            async with asyncio.timeout(LISTENS_S):
                _, writer = await asyncio.open_connection(*one)
        except OSError:  # a timeout is one too
            return False
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    return True


def _try(address: str) -> None:
    """Join and leave again, in a process that is ended when it takes too long."""
    known = ray_address() if address == "auto" else address
    port = _port(known) if known else None
    if port is not None:
        try:
            socket.create_connection(port, LISTENS_S).close()
        except OSError as error:
            raise _none_at(address, f"nothing answers at {port.host}:{port.port} ({error})") from error
    with without_own():
        trying = subprocess.Popen(  # noqa: S603 - our own interpreter
            [sys.executable, "-c", _TRY, address],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
    with trying:
        try:
            _, said = trying.communicate(timeout=JOIN_S)
        except BaseException as error:
            trying.kill()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            _, said = trying.communicate()
            raise _none_at(address, f"none was joined within {JOIN_S:.0f} s", said) from error
    if trying.returncode:
        raise _none_at(address, "none was joined", said)


def _none_at(address: str, why: str, said: str = "") -> ConfigError:
    """That there is none.

    Args:
        address: as the user said it.
        why: in words.
        said: what Ray wrote about it.
    """
    stale = ray_address() if address == "auto" else None
    named = f"{address} (RAY_ADDRESS={stale})" if stale else address
    hint = "start one with `ray start --head`, say where it is with --address, or leave --address out"
    if stale:
        hint = f"unset RAY_ADDRESS if that cluster is gone; else {hint}"
    if "AuthToken" in said:  # `ray start` asks for one where a file of it lies; who joins has to say that he knows
        hint = "set RAY_AUTH_MODE=token, with what `ray get-auth-token` prints on the head in ~/.ray/auth_token"
    last = _last(said)
    return ConfigError(
        f"there is no Ray cluster to join at {named}: {why}" + (f" ({last})" if last else ""), hint=hint
    )


def _port(address: str) -> Port | None:
    """From HOST:PORT, with a scheme or without; None where it is neither."""
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        return Port(parts.hostname, parts.port) if parts.hostname and parts.port else None
    except ValueError:
        return None


def _last(said: str) -> str:
    """The last thing that Ray said, without when and where it said it."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return (lines[-1].rsplit("] ", 1)[-1] if lines else "")[:300]
