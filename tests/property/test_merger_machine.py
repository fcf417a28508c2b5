"""The ledger against every order of commits, losses, late deliveries and reads."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from bridge.changes import Change
from bridge.pipeline.event_sink import events_of
from bridge.pipeline.merger import READ_AHEAD_SECONDS, ChangeMerger
from bridge.rows import RowStore
from tests.property.world import LARGE, PROJECTION, Client, Row, World, published
from tests.support.examples import examples

KEYS = st.sampled_from(["a", "b", "c"])
STATES = st.sampled_from(["TX", "CA", None])
AT = "2026-01-01T12:00:00Z"


class LedgerMachine(RuleBasedStateMachine):
    @initialize(full=st.booleans(), rows=st.integers(0, 3), fill=st.booleans())
    def start(self, full: bool, rows: int, fill: bool) -> None:
        self.world = World(full_identity=full)
        self.rows = RowStore(PROJECTION.known)
        self.ledger = ChangeMerger(PROJECTION, self.rows)
        self.client = Client()
        self.now = 0.0
        self.newest: dict[str, int] = {}
        self.reading: list[str] | None = None
        self.answer: dict[str, Row | None] | None = None
        for key in "abc"[:rows]:
            self.world.put(key, name=key, state="TX", price=0, notes="long")
        if fill:
            for key in self.world.table:
                row = self.world.read(key)
                assert row is not None
                self.ledger.load_initial(row)
            self.ledger.initial_load_done(self.now)
            self.client.load(published(self.world.table))
        self.store()

    def store(self) -> None:
        changes = self.ledger.take()
        for event in events_of(PROJECTION, self.rows, changes.changes):
            self.client.receive_event(event)
        self.rows.apply(changes.rows.items())
        self.ledger.applied()

    # -- the database --------------------------------------------------------------------------

    @rule(key=KEYS, state=STATES, price=st.integers(0, 3))
    def write(self, key: str, state: str | None, price: int) -> None:
        self.world.put(key, state=state, price=price)

    @rule(key=KEYS, notes=st.sampled_from(["long", "longer"]))
    def write_large(self, key: str, notes: str) -> None:
        self.world.put(key, notes=notes)

    @rule(key=KEYS, silently=st.booleans())
    def delete(self, key: str, silently: bool) -> None:
        if key in self.world.table:
            self.world.remove(key, silently=silently)

    # -- the stream ----------------------------------------------------------------------------

    @precondition(lambda self: self.world.stream)
    @rule(count=st.integers(1, 4), twice=st.booleans(), doubtful=st.booleans())
    def deliver(self, count: int, twice: bool, doubtful: bool) -> None:
        for _ in range(min(count, len(self.world.stream))):
            change = self.world.stream.popleft()
            if doubtful:
                change = Change(
                    change.op, change.key, {}, change.committed_at, truncated=change.op != "DELETE"
                )
            for _ in range(1 + twice):
                self.ledger.apply_change(change, self.now)
        self.store()

    @precondition(lambda self: self.world.stream)
    @rule(count=st.integers(1, 4))
    def lose(self, count: int) -> None:
        for _ in range(min(count, len(self.world.stream))):
            self.world.stream.popleft()

    # -- reads ---------------------------------------------------------------------------------

    @precondition(lambda self: self.reading is None)
    @rule(keys=st.lists(KEYS, min_size=1, max_size=3, unique=True), doubts=st.booleans())
    def ask(self, keys: list[str], doubts: bool) -> None:
        self.reading = [str(k) for k in self.ledger.rows_to_reread(3)] if doubts else keys
        self.ledger.begin_read()

    @precondition(lambda self: self.reading is not None and self.answer is None)
    @rule()
    def database_answers(self) -> None:
        assert self.reading is not None
        self.answer = {key: self.world.read(key) for key in self.reading}

    @precondition(lambda self: self.answer is not None)
    @rule()
    def hand_in(self) -> None:
        assert self.answer is not None
        for key, row in self.answer.items():
            self.ledger.apply_read(key, row, self.now, AT)
        self.ledger.end_read()
        self.reading = self.answer = None
        self.store()

    @precondition(lambda self: self.reading is not None)
    @rule()
    def read_fails(self) -> None:
        self.ledger.end_read()
        self.reading = self.answer = None

    @rule(seconds=st.sampled_from([0.1, 1.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.ledger.expire(self.now)

    # -- what must hold ------------------------------------------------------------------------

    @invariant()
    def a_row_never_goes_back(self) -> None:
        """What was told last is a state that the row had, not before the one told earlier."""
        if not hasattr(self, "world"):
            return
        for key, history in self.world.history.items():
            told = self.rows.get(key)
            state = _comparable(None if told is None else self.rows.decode(told))
            start = self.newest.get(key, 0)
            for index in range(start, len(history)):
                if _comparable(history[index]) == state:
                    self.newest[key] = index
                    break
            else:
                raise AssertionError(f"{key} was told {state}, not in {history[start:]}")

    @invariant()
    def the_client_holds_what_was_told(self) -> None:
        if not hasattr(self, "world"):
            return
        told = {str(key): self.rows.decode(self.rows.get(key) or b"") for key in self.rows}
        assert self.client.rows == published(told)

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        if self.reading is not None:
            self.read_fails()
        self.full_pass()
        while self.world.stream:
            self.ledger.apply_change(self.world.stream.popleft(), self.now)
            self.store()
        self.settle()
        if self.world.silent:
            # An insert that the stream tells after the row was truncated away is nobody's fault;
            # the next sweep finds it.
            self.full_pass()
        self.a_row_never_goes_back()
        assert self.client.rows == published(self.world.table), "not converged"

    def full_pass(self) -> None:
        self.ledger.begin_read()
        for key in ("a", "b", "c"):
            self.ledger.apply_read(key, self.world.read(key), self.now, AT)
        self.ledger.end_read()
        self.store()
        self.settle()

    def settle(self) -> None:
        for _ in range(10):
            keys = self.ledger.rows_to_reread(100)
            if not keys:
                return
            self.ledger.begin_read()
            for key in keys:
                self.ledger.apply_read(key, self.world.read(str(key)), self.now, AT)
            self.ledger.end_read()
            self.store()
        raise AssertionError("doubts that reads do not settle")


def _comparable(row: Any) -> str:
    """Without the large column: a lost change of it may be filled with an older value for a
    while."""
    if row is None:
        return "gone"
    return json.dumps({k: v for k, v in row.items() if k != LARGE}, sort_keys=True)


assert READ_AHEAD_SECONDS > 20, "the machine's clock must not run past it"

LedgerMachine.TestCase.settings = settings(max_examples=examples(750), stateful_step_count=40)
TestLedger = LedgerMachine.TestCase
