"""Limits of handshakes and connections that all processes share, counted in the leader process.

While that is away, each process applies the limits by itself, to its own connections.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import orjson

from bridge.errors import Code
from bridge.log.ipc.calls import CallFailedError
from bridge.security.handshake_limits import Refusal, SharedHandshakeLimits

if TYPE_CHECKING:
    from bridge.log.ipc.leader import FollowerServer
    from bridge.log.ipc.link import LeaderLink
    from bridge.security.concurrency import ConcurrencyLimiter
    from bridge.security.handshake_limits import AdmissionLimits


_CODES: Final = {code.value: code for code in Code}


class LeaderAdmission:
    """Implements `security.handshake_limits.OtherProcesses` with the leader process."""

    def __init__(self, link: LeaderLink, own: ConcurrencyLimiter) -> None:
        """`own`: the connections of this process."""
        self._link = link
        self._own = own
        own.on_release = self._release
        link.on_connected.append(self._announce)

    async def admit(self, key: str | None) -> Refusal | None:
        try:
            answer = await self._link.call_now("admit", orjson.dumps(key))
        except CallFailedError:
            return None
        if not answer:
            return None
        code, message, status, retry_after = orjson.loads(answer)
        return Refusal(_CODES[code], message, status, retry_after)

    def _release(self, key: str | None) -> None:
        self._link.send("release", orjson.dumps(key))

    def _announce(self) -> None:
        """Send what this process has: a new leader process counts from nothing."""
        counts: list[tuple[str | None, int]] = list(self._own.by_key.items())
        counts.append((None, self._own.total - sum(self._own.by_key.values())))
        self._link.send("hold", orjson.dumps([pair for pair in counts if pair[1]]))


def serve_admission(server: FollowerServer, limits: AdmissionLimits) -> None:
    """Have the leader process count the connections of all processes."""
    shared = SharedHandshakeLimits(limits)

    async def admit(process: str, argument: bytes) -> bytes:
        refusal = shared.admit(process, orjson.loads(argument), time.monotonic())
        if refusal is None:
            return b""
        return orjson.dumps([refusal.code, refusal.message, refusal.status, refusal.retry_after])

    async def release(process: str, argument: bytes) -> bytes:
        shared.release(process, orjson.loads(argument))
        return b""

    async def hold(process: str, argument: bytes) -> bytes:
        shared.hold(process, dict(orjson.loads(argument)))
        return b""

    server.handlers.update(admit=admit, release=release, hold=hold)
    server.on_left.append(shared.left)
