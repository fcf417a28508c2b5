"""What an operator should know about a log in Redis, read without any write."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from bridge.errors import BridgeError
from bridge.log.redis.connection import Connection
from bridge.log.redis.keys import SCHEMA, Keys
from bridge.log.redis.loader import ALIVE_SECONDS
from bridge.log.redis.server_check import inspect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.log.base import LogServer


async def report(url: str, name: str, shape: str) -> Sequence[tuple[bool, str]]:
    """Return what was found, and whether a bridge with these settings can start with it."""
    connection, keys = Connection(url), Keys(name)
    try:
        server = await connection.run(lambda redis: inspect(redis, connection.shown))
        meta, lease, beats = await connection.run(lambda redis: _read(redis, keys))
    except BridgeError as error:
        return [(False, f"log: {error}")]
    finally:
        await connection.close()
    lines = [(True, f"log: {_server(server, connection.shown)}")]
    lines += [(True, f"log: warning: {warning}") for warning in server.warnings]
    if not meta:
        return [*lines, (True, f"log: no bridge has used the name {name!r} yet")]
    now = time.time()
    alive = [p for p, at in beats.items() if int(at) > 0 and now - int(at) / 1000 < ALIVE_SECONDS]
    stored = {field.decode(): value.decode() for field, value in meta.items()}
    leader = lease.decode().partition("/")[0] if lease else "none"
    lines.append((True, f"log: {name!r} {_history(stored)}; bridges {len(alive)}, leader {leader}"))
    if int(stored["schema"]) != SCHEMA or stored["shape"] != shape:
        lines.append((not alive, f"log: {name!r} {_other(running=bool(alive))}"))
    return lines


def _history(stored: dict[str, str]) -> str:
    return (
        f"has {int(stored['rows']):,} rows, and events up to {int(stored['head']):,} of epoch "
        f"{stored['epoch']}, term {stored['term']}"
    )


def _other(*, running: bool) -> str:
    what = "was written with another table, key, columns or region, or by another version"
    if running:
        return f"{what}, by bridges that run: stop them, or name another log in BRIDGE_LOG_NAME"
    return f"{what}: the first bridge that starts begins a new epoch"


async def _read(redis: Any, keys: Keys) -> tuple[dict[bytes, bytes], bytes | None, Any]:
    return (
        await redis.hgetall(keys("meta")),
        await redis.get(keys("lease")),
        await redis.hgetall(keys("machines")),
    )


def _server(server: LogServer, shown: str) -> str:
    return (
        f"{server.version} at {shown}, {server.role}, eviction {server.eviction}, "
        f"persistence {server.persistence}, memory {server.memory}"
    )
