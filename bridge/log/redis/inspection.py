"""What a server holds of a bridge's log, read without a change: for `bridge check`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bridge.errors import LogUnusableError
from bridge.log.redis.connection import Connection, ServerUnavailableError
from bridge.log.redis.keys import SCHEMA, Keys
from bridge.log.redis.loader import ALIVE_SECONDS, refused
from bridge.log.redis.scripts import RefusedError
from bridge.log.redis.server_check import inspect

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from bridge.log.redis.build import RedisOptions
    from bridge.log.redis.server_check import ServerFacts


@dataclass(frozen=True, slots=True)
class LogInspection:
    """A log at one moment. `machines`: seconds since the last beat of each process that is there.
    `leader` is the process that has the lease; empty: none has. `term` counts the leaders.
    `head` is empty if there is no history yet. `replaced`: whether the next bridge begins another
    history, since the stored one has other columns or another key, and nothing uses it.
    """

    server: ServerFacts
    name: str
    shown: str
    head: str
    term: int
    leader: str
    machines: dict[str, float]
    replaced: bool


async def inspect_log(options: RedisOptions) -> LogInspection:
    """Return what the server holds. Raises `LogUnusableError` if a bridge with these options would
    refuse to start.
    """
    connection = Connection(options.url)
    try:
        server = await connection.run(lambda redis: inspect(redis, connection.shown))
        return await connection.run(lambda redis: _read(redis, options, connection, server))
    except ServerUnavailableError as error:
        raise LogUnusableError(
            f"{error}. Check the address, the user and the password in BRIDGE_LOG, and that the "
            "server runs"
        ) from error
    finally:
        await connection.close()


async def _read(
    redis: Redis, options: RedisOptions, connection: Connection, server: ServerFacts
) -> LogInspection:
    keys = Keys(options.name)
    async with redis.pipeline(transaction=True) as pipe:
        pipe.hmget(keys("meta"), "schema", "shape", "epoch", "head", "term")
        pipe.get(keys("lease"))
        pipe.hgetall(keys("machines"))
        pipe.time()
        meta, lease, beats, (seconds, micros) = await pipe.execute()
    now = seconds * 1000 + micros / 1000
    machines = {_text(name): (now - int(at)) / 1000 for name, at in beats.items()}
    alive = {name: ago for name, ago in machines.items() if ago < ALIVE_SECONDS}
    schema, shape, epoch, head, term = map(_text, meta)
    if schema:
        if int(schema) > SCHEMA:
            raise refused(options.name, connection.shown, RefusedError("schema", int(schema), 0))
        differs = "schema" if int(schema) != SCHEMA else "shape" if shape != options.shape else ""
        if differs and alive:
            error = RefusedError(differs, int(schema), len(alive))
            raise refused(options.name, connection.shown, error)
    return LogInspection(
        server=server,
        name=options.name,
        shown=connection.shown,
        head=f"{epoch}-{head}" if epoch else "",
        term=int(term or 0),
        leader=_text(lease).partition("/")[0],
        machines=alive,
        replaced=bool(schema) and (int(schema) != SCHEMA or shape != options.shape),
    )


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else value or ""
