"""One client of a run across all its connections: a `ModelClient` with sessions and requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bridge.log.base import Position
from tests.chaos.subscribed_ranges import SubscribedRanges
from tests.support.history import parse_in_history
from tests.support.model_client import ModelClient
from tests.support.subscription import Subscription

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bridge.projection import Projection
    from tests.chaos.published_log import PublishedLog


class ClientSession(ModelClient):
    """Fed by a client in another process; reports what it receives to the `PublishedLog`."""

    def __init__(
        self,
        name: str,
        projection: Projection,
        published: PublishedLog,
        clock: Callable[[], float],
        *,
        snapshots: bool,
        batches: bool,
    ) -> None:
        super().__init__(projection, name=name, snapshots=snapshots, batches=batches, clock=clock)
        self.connected = False
        self.ranges = SubscribedRanges()
        self._published = published
        self._requesting = False
        self._was_complete = False

    def on_connect(self, auth: Mapping[str, Any], *, recovered: bool, transport: str = "") -> None:
        """The client is connected."""
        self.observe("", f"connected by {transport}, {'recovered' if recovered else 'fresh'}")
        self.connected = True
        self.counts["connects"] += 1
        self.counts["recovered" if recovered else "fresh"] += 1
        if recovered:
            self.resume()
        else:
            self.start(Subscription.of_handshake(auth))
            self.ranges.start(self.subscription)

    def on_disconnect(self, reason: str) -> None:
        """The connection has ended."""
        self.observe("", f"disconnected: {reason}")
        self.connected = False
        if self._requesting:
            # The bridge may have received the request or not, so the subscription is unknown.
            self._requesting, self.uncertain = False, True
            self._was_complete, self.complete = self.complete or self._was_complete, False
            self.ranges.discard_uncertain()

    def on_request(self) -> None:
        """The client sends `subscribe` or `unsubscribe`."""
        self._requesting = True
        if not self.uncertain:
            self._was_complete = self.complete
            self.ranges.mark()

    def on_ack(self, request: Mapping[str, Any], ack: Mapping[str, Any]) -> None:
        """The client receives the ack of `request`."""
        rows = ack.get("snapshot")
        shown = {k: v for k, v in ack.items() if k != "snapshot"}
        self.observe(
            "", f"{request['name']} {request['argument']}: {shown}, {len(rows or ())} rows"
        )
        self._requesting = False
        if not ack["ok"]:
            self.counts["rejected"] += 1
            return
        position = parse_in_history(ack["offset"]) if "offset" in ack else None
        subscription = Subscription.of_ack(ack)
        if subscription != self.subscription or self.uncertain:
            at = (None, 0) if position is None else (position.epoch, position.seq)
            self.ranges.change(subscription, *at)
            self.subscribe(subscription)
        if rows is None:
            self.complete = self._was_complete
            return
        if "after" not in request["argument"]:
            self.counts["snapshots"] += 1
        if not self.snapshots:
            return
        self.apply_page(rows, position, last="more" not in ack)
        if position is not None:
            keys = [row["property_id"] for row in rows]
            held = {key: dict(self.rows[key]) for key in keys if key in self.rows}
            self._published.add_page(self.name, position, held)

    def _on_position(self, position: Position, *, is_event: bool) -> None:
        self.ranges.reach(position.epoch, position.seq, is_event=is_event)

    def _on_envelope(self, position: Position | None, text: bytes) -> None:
        if position is not None and not self.batches:
            found = self._published.add_event(self.name, position, text, self._clock())
            if found is not None:
                self.violations.append(found)
