"""Ranges of log positions during which a client had one subscription."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.subscription import Subscription


@dataclass(slots=True)
class SubscribedRange:
    """The client has to receive all entries in `subscription` after `after` and up to `upto`."""

    epoch: str
    after: int
    upto: int
    subscription: Subscription
    received: list[int] = field(default_factory=list)


class SubscribedRanges:
    """Derives the ranges of one client from its positions and its changes of subscription.

    If the position of a change of subscription is unknown, no range covers the entries between the
    last event before it and the first one after it.
    """

    def __init__(self) -> None:
        self._closed: list[SubscribedRange] = []
        self._open: SubscribedRange | None = None
        self._next: Subscription | None = None
        self._mark = (0, 0)

    def start(self, subscription: Subscription) -> None:
        """Start a new session, whose range begins at the first position received."""
        self._close()
        self._next = subscription

    def change(self, subscription: Subscription, epoch: str | None, seq: int) -> None:
        """The subscription changed at a position; `epoch` is None if that is unknown."""
        if epoch is not None and self._open is not None and self._open.epoch == epoch:
            self._open.upto = max(self._open.upto, seq)
        self._close()
        if epoch is None:
            self._next = subscription
        else:
            self._next = None
            self._open = SubscribedRange(epoch, seq, seq, subscription)

    def mark(self) -> None:
        """Mark the position from which on the subscription may be another one."""
        if self._open is not None:
            self._mark = (self._open.upto, len(self._open.received))

    def discard_uncertain(self) -> None:
        """Drop what was received since `mark`: the subscription then is unknown until `change`."""
        if self._open is not None:
            self._open.upto = min(self._open.upto, self._mark[0])
            del self._open.received[self._mark[1] :]
        self._close()
        self._next = None

    def reach(self, epoch: str, seq: int, *, is_event: bool) -> None:
        """A frame with a position was received: an event, or a status event."""
        if self._open is None:
            if self._next is None:
                return
            self._open = SubscribedRange(epoch, seq, seq, self._next)
            self._next = None
            return
        self._open.upto = max(self._open.upto, seq)
        if is_event:
            self._open.received.append(seq)

    def take(self, epoch: str, head: int) -> list[SubscribedRange]:
        """Return all ranges so far, the last one up to `head`, and start the next one there.

        Call it when the client is connected and every event is delivered.
        """
        last = self._open
        if last is not None and last.epoch == epoch:
            last.upto = max(last.upto, head)
        self._close()
        if last is not None:
            self._open = SubscribedRange(last.epoch, last.upto, last.upto, last.subscription)
        closed, self._closed = self._closed, []
        return closed

    def _close(self) -> None:
        if self._open is not None:
            self._closed.append(self._open)
            self._open = None
