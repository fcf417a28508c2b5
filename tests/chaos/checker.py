"""Checks all clients of a run against the committed states and against each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.checker import StateChecker
from tests.support.violations import Kind, Violation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.chaos.client_session import ClientSession
    from tests.chaos.published_log import PublishedLog
    from tests.support.expected_table import ExpectedTable


class Checker:
    """Call `check` when all events are delivered, as often as that is; what it took is dropped."""

    def __init__(self, table: ExpectedTable, published: PublishedLog) -> None:
        self.published = published
        self.states = StateChecker(table)

    def check(self, clients: Sequence[ClientSession], *, exact: bool = False) -> list[Violation]:
        """Return all violations since the last call, with what happened around each. `exact`: every
        committed state has to have been published.
        """
        self.states.exact = exact
        found: list[Violation] = []
        replayed = list(self.published.replay())
        for client in clients:
            found += self.states.check(client)
            found += [self.states.with_context(v, client) for v in self._check_ranges(client)]
        found += [self.states.with_context(violation, clients[0]) for violation in replayed]
        self.published.forget()
        return sorted(found, key=lambda violation: violation.at)

    def unconverged(self, clients: Sequence[ClientSession], at: float) -> list[Violation]:
        """Return what each client holds otherwise than the table does now."""
        found = []
        for client in clients:
            if not client.connected:
                found.append(Violation(Kind.UNCONVERGED, client.name, "is not connected", at))
            found += self.states.unconverged(client, at)
        return found

    def _check_ranges(self, client: ClientSession) -> Iterator[Violation]:
        if client.batches:
            return  # a batch has one position for all its events; their states are checked
        position = client.position
        log = None if position is None else self.published.epochs.get(position.epoch)
        if position is None or log is None:
            return
        for subscribed in client.ranges.take(position.epoch, log.replayed or 0):
            yield from self.published.check_range(client.name, subscribed)
