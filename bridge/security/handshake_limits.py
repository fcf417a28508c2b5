"""Limits of handshakes and connections: per address and in total. No I/O; time is passed in."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from bridge.errors import Code, RequestRejected
from bridge.security.concurrency import ConcurrencyLimiter, LimitReached, Slot
from bridge.security.rate_limit import RateLimiter

if TYPE_CHECKING:
    from collections.abc import Mapping

FULL_SECONDS: Final = 10.0
"""`Retry-After` of a connection that was rejected for want of a slot."""

ALL: Final = ""
"""Key of the limit of all handshakes."""


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """Limits of connections and handshakes. An address of IPv6 stands for its /64."""

    connections: int
    """Open at a time, in all."""
    connections_per_address: int
    handshakes_per_second: float
    """Sustained rate of handshakes, in all."""
    handshakes_burst: int
    """Handshakes at once, after a pause, in all."""
    handshakes_per_second_per_address: float
    handshakes_burst_per_address: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a handshake is rejected, with its HTTP status and the seconds to wait."""

    code: Code
    message: str
    status: int
    retry_after: float

    @property
    def rejection(self) -> RequestRejected:
        return RequestRejected(self.code, self.message)


class HandshakeLimits:
    """Admits handshakes."""

    def __init__(self, limits: AdmissionLimits) -> None:
        self.connections = ConcurrencyLimiter(limits.connections_per_address, limits.connections)
        self._rate_per_address = RateLimiter(
            limits.handshakes_per_second_per_address, limits.handshakes_burst_per_address
        )
        self._rate = RateLimiter(limits.handshakes_per_second, limits.handshakes_burst)

    def acquire(self, key: str | None, now: float) -> Slot | Refusal:
        """Return a slot, or why there is none. The limits of the address are checked first, so that
        an address beyond its limits takes nothing from the others.
        """
        wait = self._rate_per_address.acquire(key, now)
        if wait:
            why = f"too many new connections from this address; try again in {wait:.0f} s"
            return Refusal(Code.RATE_LIMITED, why, 429, wait)
        slot = self.connections.acquire(key)
        if slot is LimitReached.KEY:
            why = "this address has the maximum number of connections"
            return Refusal(Code.TOO_MANY_CONNECTIONS, why, 429, FULL_SECONDS)
        if isinstance(slot, LimitReached):
            why = "the bridge has the maximum number of connections"
            return Refusal(Code.TOO_MANY_CONNECTIONS, why, 503, FULL_SECONDS)
        wait = self._rate.acquire(ALL, now)
        if wait:
            slot.cancel()
            return Refusal(Code.RATE_LIMITED, "too many new connections", 503, wait)
        return slot


class OtherProcesses(Protocol):
    """The limits that all processes of a machine share."""

    async def admit(self, key: str | None) -> Refusal | None:
        """Count a connection of this process for all of them; return why it is rejected."""
        ...


class SharedHandshakeLimits:
    """The limits of all processes together, in the leader process. Counts what each holds."""

    def __init__(self, limits: AdmissionLimits) -> None:
        self._limits = HandshakeLimits(limits)
        self._held: dict[str, Counter[str | None]] = {}

    @property
    def total(self) -> int:
        return self._limits.connections.total

    def admit(self, process: str, key: str | None, now: float) -> Refusal | None:
        """Count a connection of a process, or return why it is rejected."""
        admitted = self._limits.acquire(key, now)
        if isinstance(admitted, Refusal):
            return admitted
        self._held.setdefault(process, Counter())[key] += 1
        return None

    def release(self, process: str, key: str | None) -> None:
        """Count a connection that has ended."""
        held = self._held.get(process)
        if held is None or not held[key]:
            return
        held[key] -= 1
        if not held[key]:
            del held[key]
        self._limits.connections.release(key)

    def hold(self, process: str, counts: Mapping[str | None, int]) -> None:
        """Count what a process has already, in place of what was counted for it."""
        self.left(process)
        self._held[process] = Counter(counts)
        for key, count in counts.items():
            self._limits.connections.hold(key, count)

    def left(self, process: str) -> None:
        """Release everything that a process has: it is gone."""
        for key, count in self._held.pop(process, Counter()).items():
            for _ in range(count):
                self._limits.connections.release(key)
