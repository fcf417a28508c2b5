"""Connection state recovery: which clients may resume, and the events they missed. No I/O.

Every client that can recover has a session, identified by a secret `pid` that is sent to it alone.
The session lives as long as the client is connected and a while longer, so a client that reconnects
with its pid and the position of its last event, its `offset`, resumes where it was: it missed the
log's entries after its offset, filtered by the subscription that it had at each of these entries.
It receives all of them or, where the limits do not allow it, none, and is a new client.

A session stores its last subscriptions with the positions at which they began, at most
`MAX_SUBSCRIPTION_HISTORY` of them and about `MAX_HISTORY_BYTES`. An offset from before them can't
be served. Until a client has received an event, its offset is the position at which it connected:
it has missed nothing before that. The same holds for an offset from before that position, which the
official client keeps from an earlier session until its first event.

A reconnecting client must be of the same user and still have the rights to what its session has
received, which `replay` decides; otherwise it is a new client. A pid that
another user presents leaves its session as it is.
"""

from __future__ import annotations

import secrets
from collections import Counter
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from bridge.errors import PositionGoneError
from bridge.gateway.presence import Presence
from bridge.gateway.recovery.replay import ReplaySegment, may_resume
from bridge.log.base import Position
from bridge.rights import UNRESTRICTED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from bridge.gateway.subscription import Subscription
    from bridge.log.base import Entry, EntryReader
    from bridge.rights import Rights

MAX_SUBSCRIPTION_HISTORY: Final = 32
"""Subscriptions that a session stores."""

MAX_HISTORY_BYTES: Final = 32_768
"""Approximate bytes of all of them but the last one. Each change of a subscription writes them
again, into the file that events are written to as well."""

NAME_OVERHEAD_BYTES: Final = 16
"""Approximate bytes of a name beyond its characters."""


class RecoveryOutcome(StrEnum):
    """The outcome of an attempt to recover, as `/status` shows it."""

    RECOVERED = "recovered"
    UNKNOWN = "unknown"  # no such session: expired, evicted, ended, or of another bridge
    OFFSET = "offset"  # not a position in this log, or one that the session can't serve
    GONE = "gone"  # the log has dropped the entries that follow
    TOO_MUCH = "too_much"  # above the limits of one recovery
    RIGHTS = "rights"  # another user, another view, or rights that do not cover the session


@dataclass(frozen=True, slots=True)
class RecoveryOffer:
    """The session that a CONNECT packet asks to resume; `pid` None: none."""

    pid: str | None = None
    offset: str | None = None


def parse_offer(auth: Any) -> tuple[RecoveryOffer, Any]:
    """Split the `auth` of a CONNECT packet into the offer and the rest."""
    if not isinstance(auth, dict):
        return RecoveryOffer(), auth
    rest = {name: value for name, value in auth.items() if name not in ("pid", "offset")}
    pid, offset = auth.get("pid"), auth.get("offset")
    if not isinstance(pid, str):
        return RecoveryOffer(), rest
    # An offset of another type is as wrong as a malformed one, and not the same as none.
    return RecoveryOffer(pid, offset if offset is None or isinstance(offset, str) else ""), rest


def _size(subscription: Subscription) -> int:
    """Return the approximate bytes of a subscription."""
    each = (subscription.regions, subscription.properties, subscription.rights.regions)
    return sum(NAME_OVERHEAD_BYTES + len(str(name)) for names in each for name in names or ())


@dataclass(slots=True)
class RecoverySession:
    """One client across its connections."""

    pid: str
    sid: str
    subscriptions: list[tuple[Position, Subscription]]
    """Its subscriptions, each with the position after which it applies; oldest first."""
    complete: bool = True
    """Whether `subscriptions` reach back to the position at which it connected."""
    disconnected_at: float | None = None
    """Monotonic seconds; None while it is connected, or not known to be disconnected."""

    @property
    def subscription(self) -> Subscription:
        return self.subscriptions[-1][1]

    def begin(
        self, offset: str | None, locate: Callable[[Position], Position | None]
    ) -> Position | None:
        """Return the position after which the client missed events; None if it is not known.

        `locate` is the log's: no client can have received an event that is not in its history.
        """
        start = self.subscriptions[0][0]
        if offset is None:
            return start if self.complete else None
        parsed = Position.parse(offset)
        position = None if parsed is None else locate(parsed)
        if position is None or position.epoch != start.epoch:
            return None
        if position < start:
            return start if self.complete else None
        return position

    def covered(self, rights: Rights, begin: Position) -> bool:
        """Return whether a client with `rights` may receive the session's events after `begin`, and
        resume.
        """
        ends = (*(at for at, _ in self.subscriptions[1:]), None)
        return all(
            may_resume(rights, subscription)
            for (_, subscription), end in zip(self.subscriptions, ends, strict=True)
            if end is None or end > begin
        )

    def segments(self, entries: Sequence[Entry], now: Rights = UNRESTRICTED) -> list[ReplaySegment]:
        """Divide `entries`, the log from some position to its head, where the subscription changed;
        `now` are the present rights of the client.
        """
        out = []
        start = 0
        later = [*(at for at, _ in self.subscriptions[1:]), None]
        for (_, subscription), until in zip(self.subscriptions, later, strict=True):
            end = start
            while end < len(entries) and (until is None or entries[end].position <= until):
                end += 1
            if end > start:
                out.append(ReplaySegment.of(subscription, entries[start:end], now))
            start = end
        return out

    def change(self, subscription: Subscription, head: Position) -> bool:
        """Apply `subscription` from `head` on; False if it is the present one."""
        began, current = self.subscriptions[-1]
        if subscription == current:
            return False
        if began == head:
            self.subscriptions.pop()
        self.subscriptions.append((head, subscription))
        excess = len(self.subscriptions) - self._max_kept()
        if excess > 0:
            del self.subscriptions[:excess]
            self.complete = False
        return True

    def _max_kept(self) -> int:
        """Return how many of the newest subscriptions the limits allow."""
        size = 0
        for count, (_, subscription) in enumerate(reversed(self.subscriptions)):
            size += _size(subscription)
            if count and (count == MAX_SUBSCRIPTION_HISTORY or size > MAX_HISTORY_BYTES):
                return count
        return len(self.subscriptions)

    def acknowledge(self, position: Position) -> None:
        """Drop what is not needed after the client has confirmed everything up to `position`."""
        kept = [index for index, (at, _) in enumerate(self.subscriptions) if at <= position]
        if kept and kept[-1]:
            del self.subscriptions[: kept[-1]]
            self.complete = False


@dataclass(frozen=True, slots=True)
class RecoveryLimits:
    """Limits of recovery."""

    seconds: float
    """How long a session is kept after its client has disconnected; 0: no recovery."""
    sessions: int
    """Sessions of disconnected clients that are kept; beyond it the oldest is evicted."""
    events: int
    bytes: int
    """Events that one recovery may send, and bytes of their JSON."""


class RecoverySessions:
    """All sessions, those of disconnected clients within the limits.

    Times are monotonic seconds, passed in and never decreasing.
    """

    def __init__(
        self,
        limits: RecoveryLimits,
        *,
        presence: Presence | None = None,
        new_pid: Callable[[], str] = lambda: secrets.token_urlsafe(18),
    ) -> None:
        """`presence` counts disconnected clients for their users."""
        self.limits = limits
        self.outcomes: Counter[RecoveryOutcome] = Counter()
        self.on_change: Callable[[str], None] = lambda _pid: None
        """Called with the pid of every session that is opened, changed or dropped."""
        self._presence = presence or Presence()
        self._new_pid = new_pid
        self._by_pid: dict[str, RecoverySession] = {}
        self._away: dict[str, RecoverySession] = {}  # by pid, in order of disconnect

    def __len__(self) -> int:
        return len(self._by_pid)

    @property
    def enabled(self) -> bool:
        return self.limits.seconds > 0

    @property
    def away(self) -> int:
        """Number of sessions of disconnected clients."""
        return len(self._away)

    def by_pid(self, pid: str) -> RecoverySession | None:
        return self._by_pid.get(pid)

    def load(self, sessions: Iterable[RecoverySession], now: float) -> None:
        """Add stored sessions; their clients are disconnected."""
        for session in sorted(sessions, key=lambda session: session.disconnected_at or now):
            self._by_pid[session.pid] = session
            self._mark_away(session)
        self._evict_oldest(now)

    def open(self, sid: str, subscription: Subscription, head: Position) -> RecoverySession:
        """Open a session for a client that has connected at `head`."""
        session = RecoverySession(self._new_pid(), sid, [(head, subscription)])
        self._by_pid[session.pid] = session
        self.on_change(session.pid)
        return session

    def change(self, session: RecoverySession, subscription: Subscription, head: Position) -> bool:
        """Change the subscription of a session at `head`; False if it had it already, or the
        session has ended.
        """
        if not self._is_open(session) or not session.change(subscription, head):
            return False
        self.on_change(session.pid)
        return True

    def disconnected(self, session: RecoverySession, now: float) -> None:
        """Keep a session after its client's connection has ended."""
        if not self._is_open(session) or session.disconnected_at is not None:
            return
        session.disconnected_at = now
        self._mark_away(session)
        self.on_change(session.pid)
        self._evict_oldest(now)

    def end(self, session: RecoverySession) -> None:
        """End a session after its client has sent DISCONNECT: it can't be resumed."""
        if self._is_open(session):
            self._drop(session)

    def forget(self, session: RecoverySession) -> None:
        """Remove a session that another process has taken."""
        if self._is_open(session):
            del self._by_pid[session.pid]
            self._mark_connected(session)

    def clear(self) -> None:
        """End all sessions: the log has lost the history that their positions are in."""
        for session in list(self._by_pid.values()):
            self._drop(session)

    def find(self, pid: str, now: float, user: str | None = None) -> RecoverySession | None:
        """Return the session of that pid and that user, whether its client is connected or not."""
        self.expire(now)
        session = self._by_pid.get(pid)
        if session is None:
            self.outcomes[RecoveryOutcome.UNKNOWN] += 1
        elif session.subscription.rights.user != user:
            self.outcomes[RecoveryOutcome.RIGHTS] += 1
            return None
        return session

    def resume(
        self,
        session: RecoverySession,
        offset: str | None,
        log: EntryReader,
        rights: Rights = UNRESTRICTED,
    ) -> list[ReplaySegment] | None:
        """Resume the session of a client that has reconnected with `rights`, which apply from here
        on, and return what it missed. Returns None and drops the session if the client can't
        receive all of it.
        """
        begin = session.begin(offset, log.locate)
        if begin is None:
            self._fail(session, RecoveryOutcome.OFFSET)
            return None
        if not session.covered(rights, begin):
            self._fail(session, RecoveryOutcome.RIGHTS)
            return None
        try:
            entries = log.after(begin)
        except PositionGoneError:
            self._fail(session, RecoveryOutcome.GONE)
            return None
        segments = session.segments(entries, rights)
        if self._exceeds_limits(entry for segment in segments for entry in segment.visible):
            self._fail(session, RecoveryOutcome.TOO_MUCH)
            return None
        session.disconnected_at = None
        self._mark_connected(session)
        session.acknowledge(begin)
        session.change(replace(session.subscription, rights=rights), log.head)
        self.outcomes[RecoveryOutcome.RECOVERED] += 1
        self.on_change(session.pid)
        return segments

    def expire(self, now: float) -> None:
        """Drop the sessions of clients that have been disconnected for too long."""
        while self._away:
            session = next(iter(self._away.values()))
            assert session.disconnected_at is not None
            if now - session.disconnected_at < self.limits.seconds:
                break
            self._drop(session)

    def _is_open(self, session: RecoverySession) -> bool:
        return self._by_pid.get(session.pid) is session

    def _mark_away(self, session: RecoverySession) -> None:
        self._away[session.pid] = session
        self._presence.add(session.subscription.rights.user)

    def _mark_connected(self, session: RecoverySession) -> None:
        if self._away.pop(session.pid, None) is not None:
            self._presence.remove(session.subscription.rights.user)

    def _evict_oldest(self, now: float) -> None:
        self.expire(now)
        while len(self._away) > self.limits.sessions:
            self._drop(next(iter(self._away.values())))

    def _exceeds_limits(self, entries: Iterable[Entry]) -> bool:
        size = 0
        for count, entry in enumerate(entries, 1):
            size += len(entry.event.envelope)
            if count > self.limits.events or size > self.limits.bytes:
                return True
        return False

    def _fail(self, session: RecoverySession, outcome: RecoveryOutcome) -> None:
        self._drop(session)
        self.outcomes[outcome] += 1

    def _drop(self, session: RecoverySession) -> None:
        self._by_pid.pop(session.pid, None)
        self._mark_connected(session)
        self.on_change(session.pid)
