"""Compares the states that clients received with the states that were committed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.expected_table import StateOrder
from tests.support.violations import Kind, Violation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.expected_table import ExpectedTable
    from tests.support.model_client import ModelClient, ReceivedState

SHOWN_STATES = 5
"""Last committed states of a property shown with a violation."""


class StateChecker:
    """The received states of a property have to be a subsequence of its committed states; with
    `exact`, each has to follow the one before it, where a client receives everything.

    Call `check` when all commits are in `table`, as often as needed: each call takes what was
    received since the call before.
    """

    def __init__(self, table: ExpectedTable, *, exact: bool = False) -> None:
        self.table = table
        self.exact = exact
        self.followed = 0
        """Received states that had to follow the one before them."""
        self.blended = 0
        """Received states with an earlier large value; documented, so no violation."""
        self._index: dict[tuple[str, str], int] = {}
        self._blended: set[tuple[str, str]] = set()

    def check(self, client: ModelClient) -> list[Violation]:
        """Take the violations and the received states of `client`, and return all violations."""
        found = [*client.violations]
        found += [
            self.with_context(violation, client)
            for received in client.received
            for violation in self._check_state(client, received)
        ]
        client.violations.clear()
        client.received.clear()
        return found

    def unconverged(self, client: ModelClient, at: float = 0.0) -> list[Violation]:
        """Return a violation per property that `client` holds otherwise than the table does."""
        found = [
            self.with_context(Violation(Kind.UNCONVERGED, client.name, text, at, key), client)
            for key, text in client.differences(self.table.rows)
        ]
        if client.snapshots and not client.complete:
            found.append(Violation(Kind.UNCONVERGED, client.name, "has no complete snapshot", at))
        return found

    def with_context(self, violation: Violation, client: ModelClient) -> Violation:
        """Return the violation with what the client observed, and the last committed states."""
        states = self.table.states.get(violation.key, [])
        lines = [f"committed {n}: {str(row)[:400]}" for n, row in enumerate(states)]
        return Violation(
            violation.kind,
            violation.client,
            violation.text,
            violation.at,
            violation.key,
            (
                *client.observations.around(violation.key, violation.at),
                *lines[-SHOWN_STATES:],
            ),
        )

    def _check_state(self, client: ModelClient, received: ReceivedState) -> Iterator[Violation]:
        ident = (client.name, received.key)
        if client.may_go_back and received.from_snapshot:
            self._index.pop(ident, None)
        before = self._index.get(ident, -1)
        repeatable = received.from_snapshot or ident in self._blended
        if received.completes_former:
            before = max(before - 1, -1)
        order, index = self.table.order(received.key, received.state, before, repeatable=repeatable)
        self._index[ident] = index
        kind, problem = Kind.REPEATED, "was received before"
        match order:
            case StateOrder.LATER:
                self._blended.discard(ident)
                if self.exact and received.follows and before >= 0:
                    states = self.table.states[received.key]
                    # A state that a row had more than once may be any of them.
                    unique = states.count(states[before]) == states.count(states[index]) == 1
                    self.followed += unique
                    if unique and index > before + 1:
                        text = f"{received.state} after index {before} skips {index - before - 1}"
                        yield Violation(Kind.SKIPPED, client.name, text, received.at, received.key)
                return
            case StateOrder.BLENDED:
                self._blended.add(ident)
                self.blended += 1
                return
            case StateOrder.SAME if repeatable:
                self._blended.discard(ident)
                return
            case StateOrder.EARLIER:
                kind, problem = Kind.DISORDERED, "is earlier than the one received before it"
            case StateOrder.NEVER:
                kind, problem = Kind.INVENTED, "was never committed"
                if self.table.mixes_states(received.key, received.state, before):
                    problem += ", it mixes values of several states"
        source = "snapshot" if received.from_snapshot else "state"
        text = f"{source} {received.state} {problem} (index {before})"
        yield Violation(kind, client.name, text, received.at, received.key)
