"""Connection state recovery: who may come back as whom, and what is owed to them. Pure.

Every client that can recover has a session, named by a secret `pid` which only it was told. It
lives as long as its client is there and a while longer, so a client that comes back with its pid
and the position of the last event it got, its `offset`, goes on where it was: what is owed to it is
what the log holds after its offset, seen through what it was subscribed to at each of these
entries. It gets all of that or, where the bounds don't allow it, none, and is a new client.

A session remembers its last subscriptions with the positions at which they began, at most `HISTORY`
of them and of about `HISTORY_BYTES`. An offset from before them can't be served. Until a client got
an event, its offset is the position at which it connected: it has not missed anything before that.
The same holds for an offset from before that position, which the official client keeps from an
earlier session until its first event.

Who comes back must be the same user and may still hear what its session heard, which `stretch`
decides; else it is a new client. A session whose pid another user came with stays whose it is.
"""

from __future__ import annotations

import secrets
from collections import Counter
from dataclasses import dataclass, field, replace
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
"""Subscriptions that a session remembers."""

MAX_HISTORY_BYTES: Final = 32_768
"""What they may take but for the last one, about: each change of a subscription stores them anew,
in the file that the events go to as well."""

NAME_OVERHEAD_BYTES: Final = 16
"""What a name takes beyond its letters."""


class RecoveryOutcome(StrEnum):
    """How an attempt to recover ended; the word that `/status` shows."""

    RECOVERED = "recovered"
    UNKNOWN = "unknown"  # no such session: expired, crowded out, ended, or never ours
    OFFSET = "offset"  # not a position in this log, or one that the session can't serve
    GONE = "gone"  # the log no longer holds what follows
    TOO_MUCH = "too_much"  # more than one recovery may take
    RIGHTS = "rights"  # another user, another view, or rights that don't cover what was heard


@dataclass(frozen=True, slots=True)
class RecoveryOffer:
    """What a handshake said of recovery; `pid` None: nothing."""

    pid: str | None = None
    offset: str | None = None


def parse_offer(auth: Any) -> tuple[RecoveryOffer, Any]:
    """Take `pid` and `offset` out of a handshake's `auth`; what is left is the application's."""
    if not isinstance(auth, dict):
        return RecoveryOffer(), auth
    rest = {name: value for name, value in auth.items() if name not in ("pid", "offset")}
    pid, offset = auth.get("pid"), auth.get("offset")
    if not isinstance(pid, str):
        return RecoveryOffer(), rest
    # An offset of another type is as wrong as one that can't be read, not the same as none.
    return RecoveryOffer(pid, offset if offset is None or isinstance(offset, str) else ""), rest


def _size(subscription: Subscription) -> int:
    """About the bytes that it takes."""
    each = (subscription.regions, subscription.properties, subscription.rights.regions)
    return sum(NAME_OVERHEAD_BYTES + len(str(name)) for names in each for name in names or ())


@dataclass(slots=True)
class RecoverySession:
    """One client through all its connections."""

    pid: str
    sid: str
    subscriptions: list[tuple[Position, Subscription]]
    """What it hears, and the position after which that holds; oldest first."""
    complete: bool = True
    """Whether nothing was dropped from `subscriptions`."""
    disconnected_at: float | None = None
    """Monotonic seconds; None while it is connected, as far as is known."""

    @property
    def subscription(self) -> Subscription:
        return self.subscriptions[-1][1]

    def begin(self, offset: str | None, head: Position) -> Position | None:
        """The position after which this client missed what it missed; None if that can't be told.

        `head` is the log's; nobody can have been told of what comes after it.
        """
        start = self.subscriptions[0][0]
        if offset is None:
            return start if self.complete else None
        position = Position.parse(offset)
        if position is None or position.epoch != head.epoch or position > head:
            return None
        if start.epoch != head.epoch:
            return None
        if position < start:
            return start if self.complete else None
        return position

    def covered(self, rights: Rights, begin: Position) -> bool:
        """Whether a client with `rights` may be told what was heard after `begin`, and go on."""
        ends = (*(at for at, _ in self.subscriptions[1:]), None)
        return all(
            may_resume(rights, subscription)
            for (_, subscription), end in zip(self.subscriptions, ends, strict=True)
            if end is None or end > begin
        )

    def segments(self, entries: Sequence[Entry], now: Rights = UNRESTRICTED) -> list[ReplaySegment]:
        """`entries`, all that the log has from some position on, cut where the subscription was
        changed, and as a client whose rights are `now` may hear them.
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
        """From `head` on it hears `subscription`; False if it did before."""
        began, current = self.subscriptions[-1]
        if subscription == current:
            return False
        if began == head:
            self.subscriptions.pop()
        self.subscriptions.append((head, subscription))
        many = len(self.subscriptions) - self._kept_count()
        if many > 0:
            del self.subscriptions[:many]
            self.complete = False
        return True

    def _kept_count(self) -> int:
        """How many of the newest subscriptions may be kept."""
        size = 0
        for count, (_, subscription) in enumerate(reversed(self.subscriptions)):
            size += _size(subscription)
            if count and (count == MAX_SUBSCRIPTION_HISTORY or size > MAX_HISTORY_BYTES):
                return count
        return len(self.subscriptions)

    def acknowledge(self, position: Position) -> None:
        """The client has said that it has everything up to `position`."""
        kept = [index for index, (at, _) in enumerate(self.subscriptions) if at <= position]
        if kept and kept[-1]:
            del self.subscriptions[: kept[-1]]
            self.complete = False


@dataclass(slots=True)
class RecoverySessions:
    """All sessions. Those whose client is away are kept for `seconds`, the newest `limit` of them.

    Times are monotonic seconds, passed in and never running backwards.
    """

    seconds: float
    limit: int
    max_events: int
    max_bytes: int
    """What one recovery may take: events, and bytes of their JSON."""
    token: Callable[[], str] = lambda: secrets.token_urlsafe(18)
    outcomes: Counter[RecoveryOutcome] = field(default_factory=Counter)
    on_change: Callable[[str], None] = lambda _pid: None
    """Hears the pid of every session that has come, changed or gone."""
    presence: Presence = field(default_factory=Presence)
    """Is told of the users of clients that are away."""
    _by_pid: dict[str, RecoverySession] = field(default_factory=dict)
    _by_sid: dict[str, RecoverySession] = field(default_factory=dict)
    _away: dict[str, RecoverySession] = field(
        default_factory=dict
    )  # by pid, who left first comes first

    def __len__(self) -> int:
        return len(self._by_pid)

    @property
    def away(self) -> int:
        """Sessions whose client is not here."""
        return len(self._away)

    def by_pid(self, pid: str) -> RecoverySession | None:
        return self._by_pid.get(pid)

    def load(self, sessions: Iterable[RecoverySession], now: float) -> None:
        """Take up sessions whose clients are away."""
        for session in sorted(sessions, key=lambda session: session.disconnected_at or now):
            self._by_pid[session.pid] = self._by_sid[session.sid] = session
            self._mark_away(session)
        self._evict_oldest(now)

    def open(self, sid: str, subscription: Subscription, head: Position) -> RecoverySession:
        """A new client has connected at `head`."""
        session = RecoverySession(self.token(), sid, [(head, subscription)])
        self._by_pid[session.pid] = self._by_sid[sid] = session
        self.on_change(session.pid)
        return session

    def changed(self, sid: str, subscription: Subscription, head: Position) -> bool:
        """A client's subscription was changed at `head`; whether its session has. Clients without a
        session are fine.
        """
        session = self._by_sid.get(sid)
        if session is None or not session.change(subscription, head):
            return False
        self.on_change(session.pid)
        return True

    def disconnected(self, sid: str, now: float) -> None:
        """A client's connection has ended; it may come back."""
        session = self._by_sid.get(sid)
        if session is None or session.disconnected_at is not None:
            return
        session.disconnected_at = now
        self._mark_away(session)
        self.on_change(session.pid)
        self._evict_oldest(now)

    def end(self, sid: str) -> None:
        """A client has said goodbye, and won't come back as who it was."""
        session = self._by_sid.get(sid)
        if session is not None:
            self._drop(session)

    def find(self, pid: str, now: float, user: str | None = None) -> RecoverySession | None:
        """The session of that pid and that user, whether its client is here or away."""
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
        """Its client is back, with `rights`, which hold for it from here on: what it missed. None,
        and the session is no more, where it can't have all of it.
        """
        begin = session.begin(offset, log.head)
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
        stretches = session.segments(entries, rights)
        if self._exceeds_limits(entry for stretch in stretches for entry in stretch.visible):
            self._fail(session, RecoveryOutcome.TOO_MUCH)
            return None
        session.disconnected_at = None
        self._mark_present(session)
        session.acknowledge(begin)
        session.change(replace(session.subscription, rights=rights), log.head)
        self.outcomes[RecoveryOutcome.RECOVERED] += 1
        self.on_change(session.pid)
        return stretches

    def expire(self, now: float) -> None:
        """Forget who has been away for too long."""
        while self._away:
            session = next(iter(self._away.values()))
            assert session.disconnected_at is not None
            if now - session.disconnected_at < self.seconds:
                break
            self._drop(session)

    def _mark_away(self, session: RecoverySession) -> None:
        self._away[session.pid] = session
        self.presence.add(session.subscription.rights.user)

    def _mark_present(self, session: RecoverySession) -> None:
        if self._away.pop(session.pid, None) is not None:
            self.presence.remove(session.subscription.rights.user)

    def _evict_oldest(self, now: float) -> None:
        self.expire(now)
        while len(self._away) > self.limit:
            self._drop(next(iter(self._away.values())))

    def _exceeds_limits(self, entries: Iterable[Entry]) -> bool:
        size = 0
        for count, entry in enumerate(entries, 1):
            size += len(entry.event.envelope)
            if count > self.max_events or size > self.max_bytes:
                return True
        return False

    def _fail(self, session: RecoverySession, outcome: RecoveryOutcome) -> None:
        self._drop(session)
        self.outcomes[outcome] += 1

    def _drop(self, session: RecoverySession) -> None:
        self._by_pid.pop(session.pid, None)
        self._mark_present(session)
        self.on_change(session.pid)
        if self._by_sid.get(session.sid) is session:
            del self._by_sid[session.sid]
