"""The processes that share a log, as their notes show them. No I/O; time is passed in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

BEAT_SECONDS: Final = 5.0
"""Interval at which each process sends a note of itself, and the leader one of the upstream."""

SILENT_SECONDS: Final = 12.0
"""Time without a note after which a process counts as gone: two beats may be late."""


@dataclass(slots=True)
class Member:
    """One process. Times are monotonic seconds of the process that received its notes."""

    process: str
    machine: str
    """Its machine's id at the platform; otherwise its host's name."""
    role: str
    last_beat_at: float
    ended: bool = False
    peer_url: str = ""
    """Where the other processes reach it; empty: it serves what arrives itself only."""
    peer_key: str = ""
    """With it, it accepts forwarded requests."""


class Members:
    """All processes that share the log, this one included."""

    def __init__(self, process: str) -> None:
        self.own = process
        self._members: dict[str, Member] = {}

    def beat(
        self,
        process: str,
        machine: str,
        role: str,
        now: float,
        *,
        peer_url: str = "",
        peer_key: str = "",
    ) -> None:
        """Record the beat of a process."""
        self._members[process] = Member(
            process, machine, role, now, peer_url=peer_url, peer_key=peer_key
        )

    def left(self, process: str) -> None:
        """Record that a process has ended."""
        if process in self._members:
            self._members[process].ended = True

    def alive(self, now: float) -> Sequence[Member]:
        """Return the processes that are not silent, the oldest first."""
        return [
            member
            for member in self._members.values()
            if not member.ended and now - member.last_beat_at <= SILENT_SECONDS
        ]

    def others(self, now: float) -> int:
        """Return the number of other processes that are not silent."""
        return sum(member.process != self.own for member in self.alive(now))

    def machine_of(self, process: str, now: float) -> str | None:
        """Return the machine of a process; None if it is unknown, silent or has ended."""
        return next((m.machine for m in self.alive(now) if m.process == process), None)

    def reachable(self, process: str, now: float) -> Member | None:
        """Return a process that has an address for the others and is not silent, though it may be
        stopping; None if there is no such process.
        """
        member = self._members.get(process)
        if member is None or not member.peer_url or now - member.last_beat_at > SILENT_SECONDS:
            return None
        return member

    def forget(self, now: float, seconds: float) -> Sequence[str]:
        """Forget the processes that have been silent for that long, and return them."""
        gone = [m.process for m in self._members.values() if now - m.last_beat_at > seconds]
        for process in gone:
            del self._members[process]
        return gone
