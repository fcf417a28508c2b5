"""A stretch of the log that a client heard under one subscription."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.chaos.subscription import Subscription


@dataclass(slots=True)
class Span:
    """Whatever the log holds in the subscription after `after` and up to `upto` was to be heard."""

    epoch: str
    after: int
    upto: int
    subscription: Subscription
    heard: list[int] = field(default_factory=list)


class Spans:
    """What one client must have heard: told of its positions and changes, gives stretches.

    Where it isn't known at which position a subscription changed, the stretch between the last
    event before and the first one after it belongs to none.
    """

    def __init__(self) -> None:
        self._done: list[Span] = []
        self._open: Span | None = None
        self._next: Subscription | None = None
        self._remembered = (0, 0)

    def begin(self, subscription: Subscription) -> None:
        """A new client: from the first position that it is told, it hears this."""
        self._close()
        self._next = subscription

    def change(self, subscription: Subscription, epoch: str | None, seq: int) -> None:
        """The subscription changed at a position; `epoch` None: nobody said where."""
        if epoch is not None and self._open is not None and self._open.epoch == epoch:
            self._open.upto = max(self._open.upto, seq)
        self._close()
        if epoch is None:
            self._next = subscription
        else:
            self._next = None
            self._open = Span(epoch, seq, seq, subscription)

    def remember(self) -> None:
        """From here on the subscription may be another one."""
        if self._open is not None:
            self._remembered = (self._open.upto, len(self._open.heard))

    def doubt(self) -> None:
        """Whether it is won't be known before the next `change`: what came since is of no use."""
        if self._open is not None:
            self._open.upto = min(self._open.upto, self._remembered[0])
            del self._open.heard[self._remembered[1] :]
        self._close()
        self._next = None

    def reach(self, epoch: str, seq: int, *, heard: bool) -> None:
        """Something came that carries a position: an event, or word of the bridge's state."""
        if self._open is None:
            if self._next is None:
                return
            self._open = Span(epoch, seq, seq, self._next)
            self._next = None
            return
        self._open.upto = max(self._open.upto, seq)
        if heard:
            self._open.heard.append(seq)

    def take(self, epoch: str, head: int) -> list[Span]:
        """All stretches so far, the last one up to `head`, and on from there. Ask when all is
        quiet and the client is there.
        """
        last = self._open
        if last is not None and last.epoch == epoch:
            last.upto = max(last.upto, head)
        self._close()
        if last is not None:
            self._open = Span(last.epoch, last.upto, last.upto, last.subscription)
        done, self._done = self._done, []
        return done

    def _close(self) -> None:
        if self._open is not None:
            self._done.append(self._open)
            self._open = None
