"""The connection to one Redis server: its clients, and which of its errors may pass."""

from __future__ import annotations

import asyncio
import random
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    MaxConnectionsError,
    NoPermissionError,
    RedisError,
)
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)
from redis.exceptions import (
    TimeoutError as RedisTimeoutError,
)

from bridge.errors import BridgeError, LogUnusableError
from bridge.log.redis.url import client_url, shown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator

T = TypeVar("T")

CONNECT_SECONDS: Final = 3.0
ANSWER_SECONDS: Final = 5.0
"""Longest wait for a connection and for an answer; then the connection is replaced."""

COMMAND_CONNECTIONS: Final = 16
"""Connections for commands; hosts limit them per database, often to some hundreds."""

FIRST_RETRY_SECONDS: Final = 0.05
LONGEST_RETRY_SECONDS: Final = 2.0
"""Between attempts to reach the server; doubling, with jitter."""

CANCEL_SECONDS: Final = 0.05
"""Between two cancellations of a task that did not end with the first one."""

TEMPORARY: Final = re.compile(
    r"\b(LOADING|BUSY|OOM|READONLY|NOREPLICAS|MISCONF|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|UNBLOCKED"
    r"|NOAUTH|WRONGPASS)\b"
    r"|command not allowed when used memory|read only replica|loading the dataset"
)
"""Errors of a server that refuses a command for now. Older servers have them within a script's
error, newer ones at its beginning, and the client removes some."""


_OPTIONS: Final[dict[str, Any]] = {
    "protocol": 2,
    "socket_connect_timeout": CONNECT_SECONDS,
    "socket_keepalive": True,
    # A command whose answer is missing may have been carried out: only the bridge knows which of
    # them may be repeated.
    "retry": Retry(NoBackoff(), 0),
    "health_check_interval": 0,
}
"""Of every connection."""


class ServerUnavailableError(BridgeError):
    """The server can't be reached, or refuses commands for now; nothing is known of the last one.
    The message says what it answered.
    """


class Connection:
    """One server. Clients are opened on demand and never repeat a command by themselves."""

    def __init__(self, url: str) -> None:
        self.shown = shown(url)
        """The server, for messages: without credentials."""
        self._url = client_url(url)
        self._running = 0  # commands
        self._closed = False
        self._commands: Redis = Redis.from_pool(
            BlockingConnectionPool.from_url(
                self._url,
                max_connections=COMMAND_CONNECTIONS,
                timeout=ANSWER_SECONDS,
                socket_timeout=ANSWER_SECONDS,
                **_OPTIONS,
            )
        )

    async def run(self, command: Callable[[Redis], Awaitable[T]]) -> T:
        """Return the result of a command. Raises `ServerUnavailableError`, and `LogUnusableError`
        where a retry can't help.
        """
        self._running += 1
        try:
            with self.errors():
                return await cancellable(command(self._commands))
        finally:
            self._running -= 1
            if self._closed and not self._running:
                await completed(self._disconnect())  # it may have connected after `close`

    async def until_done(
        self, command: Callable[[Redis], Awaitable[T]], failed: Callable[[str], None]
    ) -> T:
        """Return the result of a command, retried for as long as the server is unavailable.

        `failed` is called with the reason of each failure. Raises `LogUnusableError`.
        """
        for delay in delays():
            try:
                return await self.run(command)
            except ServerUnavailableError as error:
                failed(str(error))
                await asyncio.sleep(delay)
        raise AssertionError("the delays have no end")

    @asynccontextmanager
    async def own_client(self, *, answer_seconds: float) -> AsyncIterator[Redis]:
        """Open a client with one connection of its own, for blocking commands; close it after the
        block. Errors in the block are raised as `run` does.
        """
        client: Redis = Redis.from_url(
            self._url, single_connection_client=True, socket_timeout=answer_seconds, **_OPTIONS
        )
        try:
            with self.errors():
                yield client
        finally:
            await completed(client.aclose())

    async def close(self) -> None:
        """Close all connections; a running command closes its own at its end. Idempotent."""
        self._closed = True
        await completed(self._disconnect())

    async def _disconnect(self) -> None:
        await self._commands.aclose(close_connection_pool=True)

    def errors(self) -> _Errors:
        """Return a context that turns the client's errors into the bridge's."""
        return _Errors(self.shown)


async def cancellable(command: Awaitable[T]) -> T:
    """Return the result or raise the error of a command, unless the task was cancelled meanwhile.

    The client sends within `asyncio.wait_for`, which drops a cancellation that arrives in the step
    in which the command was sent or failed (Python 3.11, CPython issue 86296).
    """
    task = asyncio.current_task()
    assert task is not None, "a coroutine runs in a task"
    before = task.cancelling()
    try:
        result = await command
    except Exception as error:
        if task.cancelling() > before:
            raise asyncio.CancelledError from error
        raise
    if task.cancelling() > before:
        raise asyncio.CancelledError
    return result


async def completed(closing: Coroutine[Any, Any, None]) -> None:
    """Complete `closing` even if this task is cancelled meanwhile: the client would leave a
    connection open whose closing has not begun.
    """
    task = asyncio.create_task(closing, name="close connections")
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    task.result()


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks that use the client, and wait until they have ended: see `cancellable`."""
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_SECONDS)


class _Errors:
    def __init__(self, server: str) -> None:
        self._server = server

    def __enter__(self) -> None: ...

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, (RedisError, OSError)):
            raise translated(error, self._server) from error


def translated(error: Exception, server: str) -> BridgeError:
    """Return the bridge's exception for one of the client."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, NoPermissionError):
        return LogUnusableError(
            f"the user of BRIDGE_LOG may not do what the bridge needs on {server}: {text}. Give it "
            "all commands on keys that begin with {bridge:"
        )
    if isinstance(error, (AuthenticationError, AuthorizationError)) or "NOAUTH" in text:
        return ServerUnavailableError(
            f"{server} refuses the password or user of BRIDGE_LOG ({text})"
        )
    if isinstance(error, (RedisConnectionError, RedisTimeoutError, MaxConnectionsError, OSError)):
        return ServerUnavailableError(f"{server} can't be reached: {text}")
    if TEMPORARY.search(text):
        return ServerUnavailableError(f"{server} refuses commands at present: {text}")
    return LogUnusableError(f"the log at {server} can't be used: {text}")


def refused_credentials(error: BaseException) -> bool:
    """Return whether `error` is of a server that refuses the password or user."""
    cause = error.__cause__
    return isinstance(cause, (AuthenticationError, AuthorizationError)) or "NOAUTH" in str(cause)


def delays() -> Iterator[float]:
    """Yield the seconds before each retry, without an end."""
    delay = FIRST_RETRY_SECONDS
    while True:
        yield delay * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
        delay = min(2 * delay, LONGEST_RETRY_SECONDS)
