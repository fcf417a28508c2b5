"""Notes that the processes of one log exchange: beats, users, reports, sign-outs, sessions.

| kind | sent | content |
|---|---|---|
| `hello` | by a process that missed notes | the process to answer it; empty: all |
| `beat` | every 5 s, and as an answer | machine, role, number of users, address for peers |
| `bye` | by a process that ends | |
| `presence` | on each change, all as an answer | users of the process |
| `upstream` | by the leader, on each change and with each beat | its report |
| `sign-out` | after each | user or session whose tokens are revoked |
| `closed` | as the answer | the number of connections that it ended |
| `taken` | after a client recovered at another process | the names of its sessions |

A note may be lost while the log can't be written: each is backed by a store, or is repeated.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import orjson

from bridge.errors import LogUnusableError
from bridge.members import BEAT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.clock import Clock
    from bridge.gateway.upstream_status import UpstreamState
    from bridge.log.base import EventLog, Lease, Note
    from bridge.members import Members
    from bridge.shared_presence import SharedPresence
    from bridge.upstream import Upstream

log = logging.getLogger(__name__)

ANSWER_SECONDS: Final = 1.0
"""Longest wait of a sign-out for the numbers of the other processes."""

POLL_SECONDS: Final = 0.05
"""Interval at which changes are looked for that others have to know."""


class Receiver(Protocol):
    """What notes of other processes change here."""

    def signed_out(self, kind: str, name: str, at: float) -> int:
        """Reject the tokens of a user or of a session, and close the connections with one; return
        their number.
        """
        ...

    def sessions_taken(self, names: Sequence[str]) -> None:
        """Check whether these sessions still belong to this process."""
        ...

    async def reload_revocations(self) -> None:
        """Apply the stored sign-outs. Raises `errors.LogUnusableError`."""
        ...


@dataclass(frozen=True, slots=True)
class CoordinationOptions:
    """`machine`: id of this machine at its platform. `keep_seconds`: how long the clients of a
    process that is gone may recover. `peer_url`: where the other processes reach this one, empty if
    they don't. `peer_key`: with it they may forward requests to this one.
    """

    machine: str
    keep_seconds: float
    peer_url: str = ""
    peer_key: str = ""


class Coordination:
    """Sends this process's notes and receives those of the others."""

    def __init__(
        self,
        options: CoordinationOptions,
        log: EventLog,
        lease: Lease,
        *,
        members: Members,
        presence: SharedPresence | None,
        upstream: Upstream,
        clock: Clock,
    ) -> None:
        """Without `presence` the users of other processes are not needed."""
        self.receiver: Receiver | None = None
        self.lag_seconds = 0.0
        """Time that the last beat took from here to here through the log."""
        self._options = options
        self._log = log
        self._lease = lease
        self._members = members
        self._presence = presence
        self._upstream = upstream
        self._clock = clock
        self._answer_due = True
        self._missed = True  # notes may have been missed
        self._beat_due = 0.0
        self._beat_sent_at: float | None = None
        self._sent_state: UpstreamState | None = None
        self._sent_role = ""
        self._taken: list[str] = []
        self._closed: dict[tuple[str, str], dict[str, int]] = {}  # by sign-out and process
        self._answers: list[tuple[str, str, str, int]] = []
        self._unknown: set[str] = set()  # processes with other users than known here

    @property
    def role(self) -> str:
        return "leader" if self._upstream.own is not None else "follower"

    def lag(self) -> float:
        """Return how many seconds this process is behind, as its own beats show."""
        waiting = self._beat_sent_at
        if waiting is None:
            return self.lag_seconds
        return max(self.lag_seconds, self._clock.monotonic() - waiting)

    # -- sending

    async def run(self) -> None:
        """Send notes until cancelled."""
        while True:
            if self._log.error is not None:
                self._missed = True
            else:
                await self._send_due()
            await asyncio.sleep(POLL_SECONDS)

    async def sign_out(self, kind: str, name: str, at: float) -> int:
        """Send a sign-out that was applied and stored here. Return the number of connections that
        the others have closed, those that answer within `ANSWER_SECONDS`.
        """
        closed = self._closed[kind, name] = {}
        try:
            await self._log.note("sign-out", orjson.dumps([kind, name, at]))
            until = self._clock.monotonic() + ANSWER_SECONDS
            while (now := self._clock.monotonic()) < until:
                others = {m.process for m in self._members.alive(now)} - {self._log.process}
                if others <= closed.keys():
                    break
                await asyncio.sleep(POLL_SECONDS / 5)
            return sum(closed.values())
        finally:
            self._closed.pop((kind, name), None)

    def taken(self, name: str) -> None:
        """Send the name of a session that this process took from another one, soon."""
        self._taken.append(name)

    async def bye(self) -> None:
        """Send that this process ends."""
        await self._log.note("bye", b"")

    def resync(self) -> None:
        """Request what the others sent, since it may have been missed."""
        self._missed = True

    async def _send_due(self) -> None:
        if self._missed:
            self._missed = False
            await self._catch_up()
        answers, self._answers = self._answers, []
        for answer_to in answers:
            await self._log.note("closed", orjson.dumps(answer_to))
        if self._taken:
            taken, self._taken = self._taken, []
            await self._log.note("taken", orjson.dumps(taken))
        while self._unknown:
            await self._log.note("hello", self._unknown.pop().encode())
        now = self._clock.monotonic()
        answer, self._answer_due = self._answer_due, False
        presence = self._presence
        if presence is not None and answer:
            for data in presence.take_all():
                await self._log.note("presence", data)
        elif presence is not None and presence.unsent:
            await self._log.note("presence", presence.take_changes())
        beat = answer or now >= self._beat_due or self.role != self._sent_role
        await self._send_report(repeat=beat)
        if beat:
            self._sent_role = self.role
            self._beat_due = now + BEAT_SECONDS
            self._beat_sent_at = now
            await self._log.note("beat", self._beat())
            for process in self._members.forget(now, self._options.keep_seconds):
                if presence is not None:
                    presence.forget(process)

    async def _catch_up(self) -> None:
        self._answer_due = True
        await self._log.note("hello", b"")
        if self.receiver is not None:
            try:
                await self.receiver.reload_revocations()
            except LogUnusableError as error:
                log.warning("the stored sign-outs can't be read, which is tried again: %s", error)
                self._missed = True

    def _beat(self) -> bytes:
        presence = self._presence
        beat: dict[str, Any] = {
            "machine": self._options.machine,
            "role": self.role,
            "users": None if presence is None else presence.announced,
        }
        if self._options.peer_url:
            beat["peer"] = [self._options.peer_url, self._options.peer_key]
        return orjson.dumps(beat)

    async def _send_report(self, *, repeat: bool) -> None:
        if self._upstream.own is None or not self._lease.leading:
            self._sent_state = None
            return
        state = self._upstream.state()
        if repeat or state != self._sent_state:
            self._sent_state = state
            await self._log.note("upstream", self._upstream.encode(self._lease.term))

    # -- receiving

    def receive(self, note: Note) -> None:
        """Apply a note. Never raises."""
        try:
            self._receive(note)
        except Exception:
            log.exception("a note of kind %.40r could not be read", note.kind)

    def _receive(self, note: Note) -> None:
        own = note.origin == self._log.process
        if note.kind == "beat":
            self._receive_beat(note.origin, orjson.loads(note.data), own=own)
        elif own:
            return
        elif note.kind == "hello":
            if note.data in (b"", self._log.process.encode()):
                self._answer_due = True
        elif note.kind == "closed":
            process, kind, name, count = orjson.loads(note.data)
            if process == self._log.process and (kind, name) in self._closed:
                self._closed[kind, name][note.origin] = count
        elif note.kind == "bye":
            self._members.left(note.origin)
        elif note.kind == "upstream":
            self._upstream.receive(note.data)
        elif note.kind == "presence" and self._presence is not None:
            self._presence.receive(note.origin, note.data)
        elif self.receiver is None:
            return
        elif note.kind == "sign-out":
            kind, name, at = orjson.loads(note.data)
            count = self.receiver.signed_out(kind, name, at)
            self._answers.append((note.origin, kind, name, count))
        elif note.kind == "taken":
            self.receiver.sessions_taken(orjson.loads(note.data))

    def _receive_beat(self, process: str, beat: dict[str, Any], *, own: bool) -> None:
        now = self._clock.monotonic()
        url, key = beat.get("peer", ("", ""))
        self._members.beat(process, beat["machine"], beat["role"], now, peer_url=url, peer_key=key)
        if own:
            if self._beat_sent_at is not None:
                self.lag_seconds = now - self._beat_sent_at
                self._beat_sent_at = None
        elif (
            self._presence is not None
            and beat["users"] is not None
            and self._presence.count(process) != beat["users"]
        ):
            self._unknown.add(process)
