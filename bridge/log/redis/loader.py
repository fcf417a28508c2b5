"""Begins the history of this process from what is stored: at the start, and after a loss."""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING, Final

from bridge.errors import LogUnusableError
from bridge.log.redis.keys import SCHEMA
from bridge.log.redis.losses import LOSSES
from bridge.log.redis.reading import read_entries
from bridge.log.redis.scripts import RefusedError

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from bridge.log.base import Entry
    from bridge.log.redis.connection import Connection
    from bridge.log.redis.history import LocalHistory
    from bridge.log.redis.keys import Keys
    from bridge.log.redis.scripts import Scripts

log = logging.getLogger(__name__)

ALIVE_SECONDS: Final = 12.0
"""A process without a beat for so long, two are due, does not use the keys any more."""


class HistoryLoader:
    """Loads the recent entries of the stream, and the place where to go on."""

    def __init__(
        self,
        connection: Connection,
        scripts: Scripts,
        keys: Keys,
        history: LocalHistory,
        *,
        process: str,
        events: int,
    ) -> None:
        """`events`: number of events that are kept in memory."""
        self._connection = connection
        self._scripts = scripts
        self._keys = keys
        self._history = history
        self._process = process
        self._events = events

    async def load(self) -> None:
        """Begin the local history. Raises `LogUnusableError` if the keys are those of another
        bridge, and `ServerUnavailableError`.
        """
        await self._connection.run(self._load)

    async def _load(self, redis: Redis) -> None:
        try:
            entered = await self._scripts.enter(
                redis, self._process, secrets.token_hex(6), alive=ALIVE_SECONDS
            )
        except RefusedError as error:
            raise self._refused(error) from None
        if entered.began == "shape":
            log.warning(
                "the log %r at %s was written for other columns or another key, and no other "
                "bridge uses it: a new epoch begins, and clients load a new snapshot",
                self._keys.name,
                self._connection.shown,
            )
        elif entered.began in LOSSES:
            log.error(
                "the log %r at %s is lost (%s): a new epoch begins, and clients load a new "
                "snapshot",
                self._keys.name,
                self._connection.shown,
                LOSSES[entered.began],
            )
        entries = await read_entries(
            redis,
            self._keys("stream"),
            after=max(0, entered.head - self._events),
            last_id=entered.top,
            epoch=entered.evidence.epoch,
        )
        # Less than all, if it was trimmed or lost meanwhile: what follows each other at the end.
        self._history.begin(entered, entries if _ends_at(entered.head, entries) else ())

    def _refused(self, error: RefusedError) -> LogUnusableError:
        name, server = self._keys.name, self._connection.shown
        if error.schema > SCHEMA:
            return LogUnusableError(
                f"the log {name!r} at {server} is from a later version of the bridge (its keys are "
                f"version {error.schema}, this one knows {SCHEMA}): run that version, or name "
                "another log in BRIDGE_LOG_NAME"
            )
        users = f"{error.others} other bridge{'s' if error.others > 1 else ''}"
        if error.reason == "schema":
            return LogUnusableError(
                f"the log {name!r} at {server} is used by {users} of an earlier version (its keys "
                f"are version {error.schema}, this one writes {SCHEMA}): stop them first, or name "
                "another log in BRIDGE_LOG_NAME"
            )
        return LogUnusableError(
            f"the log {name!r} at {server} is used by {users} with another table, key, columns or "
            "region: give all bridges of one log the same settings, stop the others first, or name "
            "another log in BRIDGE_LOG_NAME"
        )


def _ends_at(head: int, entries: list[Entry]) -> bool:
    if not entries:
        return True
    first, last = entries[0].position.seq, entries[-1].position.seq
    return last == head and last - first == len(entries) - 1
