"""Makes items of the messages of a slot: whole transactions, or parts of long ones. No I/O."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from bridge.changes import Checkpoint, Gap, GapReason, Truncate
from bridge.source.replication.lsn import StreamPosition
from bridge.source.replication.pgoutput import (
    BeginMessage,
    CommitMessage,
    PgoutputDecoder,
    Relation,
    RowMessage,
    StreamAbort,
    StreamCommit,
    StreamStart,
    StreamStop,
    TruncateMessage,
    in_progress,
)
from bridge.source.replication.relation import RelationDecoder, UnreadableRowError
from bridge.source.replication.spill import TransactionsInProgress

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bridge.changes import Item
    from bridge.projection import Projection
    from bridge.source.replication.types import TypeCatalog

EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)

MAX_CHANGES: Final = 5_000
"""Changes of a transaction that are stored and published together; a longer one is divided. Each
takes some 2 kB until it is stored."""

MAX_BYTES: Final = 8_000_000
"""Bytes of messages after which a transaction is divided as well."""

_ROWS: Final = b"IUD"


def commit_time(microseconds: int) -> str:
    """Return a time of pgoutput (since 2000-01-01 UTC) as RFC 3339."""
    moment = EPOCH + timedelta(microseconds=microseconds)
    return moment.isoformat().removesuffix("+00:00") + "Z"


class TransactionAssembler:
    """Takes the messages of one session in order, and returns items as soon as they are complete.

    A transaction that the log holds already is dropped; of one that it holds in part, that part.
    """

    def __init__(
        self, projection: Projection, types: TypeCatalog, position: StreamPosition
    ) -> None:
        """`position`: what the log holds. `types`: see `needed_types`."""
        self._projection = projection
        self._types = types
        self._position = position
        self._decoder = PgoutputDecoder()
        self._tables: dict[int, RelationDecoder] = {}
        self._in_progress = TransactionsInProgress()
        self._ignored: set[int] = set()
        """OIDs of relations that are not the table."""
        self._items: list[Item] = []
        self._bytes = 0
        self._begin: BeginMessage | None = None
        self._committed_at = ""
        self._drop = False
        self._skip = 0
        self._changes = 0
        self.missing: Sequence[str] = ()
        """Columns of the projection that the stream does not have."""
        self.end = position.lsn
        """Where the last transaction ended."""
        self.queued = position
        """The position of the last checkpoint that was returned."""

    @property
    def inside(self) -> bool:
        """Whether a transaction is incomplete."""
        return self._begin is not None

    def needed_types(self, message: bytes) -> set[int]:
        """Return the OIDs of types that have to be loaded before `message` is passed to `feed`."""
        if message[:1] != b"R":
            return set()
        if self._in_progress.receiving:
            _, message = in_progress(message)
        relation = PgoutputDecoder().decode(message)
        assert isinstance(relation, Relation)
        if not self._is_table(relation):
            return set()
        return {column.type_oid for column in relation.columns}

    def feed(self, message: bytes) -> Iterable[Sequence[Item]]:
        """Take one message and return the items that are complete with it, in portions that end
        with a checkpoint; read all of them before the next call.

        Raises `pgoutput.MalformedMessageError`, `UnreadableRowError` if the table can't be followed
        at all, and OSError if a transaction in progress can't be spilled.
        """
        if self._in_progress.receiving and message[:1] != b"E":
            self._keep(message)
            return ()
        if message[0] in _ROWS and int.from_bytes(message[1:5], "big") in self._ignored:
            return ()
        decoded = self._decoder.decode(message)
        if isinstance(decoded, RowMessage):
            items = self._row(decoded, len(message))
        elif isinstance(decoded, CommitMessage):
            items = self._committed(decoded.end_lsn)
        elif isinstance(decoded, TruncateMessage):
            items = self._truncated(decoded)
        elif isinstance(decoded, StreamCommit):
            return self._replayed(decoded)
        else:
            self._noted(decoded)
            return ()
        return (items,) if items else ()

    def _noted(self, decoded: object) -> None:
        """Take a message that completes nothing."""
        if isinstance(decoded, BeginMessage):
            self._started(decoded)
        elif isinstance(decoded, Relation):
            self._described(decoded)
        elif isinstance(decoded, StreamStart):
            self._in_progress.begin(decoded.xid)
        elif isinstance(decoded, StreamStop):
            self._in_progress.pause()
        elif isinstance(decoded, StreamAbort):
            self._in_progress.abort(decoded.xid, decoded.subxid)

    def close(self) -> None:
        """Delete what was spilled."""
        self._in_progress.close()

    def idle(self, end: int) -> Sequence[Item]:
        """Return what moves the position to `end`, up to which the server has sent everything."""
        if self.inside or end <= self.end:
            return ()
        self.end = end
        return self._take(StreamPosition(self._position.system, end))

    # -- transactions -------------------------------------------------------------------------

    def _started(self, begin: BeginMessage) -> None:
        self._begin = begin
        self._committed_at = commit_time(begin.commit_timestamp)
        self._drop = begin.final_lsn < self._position.lsn
        self._changes = 0
        partial = self._position.partial == begin.final_lsn
        self._skip = self._position.changes if partial else 0

    def _committed(self, end_lsn: int) -> Sequence[Item]:
        self._begin = None
        self.end = max(self.end, end_lsn)
        if not self._items and not self._changes:
            return ()
        self._changes = 0
        return self._take(StreamPosition(self._position.system, self.end))

    # -- transactions in progress -------------------------------------------------------------

    def _keep(self, message: bytes) -> None:
        subtransaction, plain = in_progress(message)
        if plain[0] in _ROWS and int.from_bytes(plain[1:5], "big") in self._ignored:
            return
        if plain[:1] == b"R":
            relation = PgoutputDecoder().decode(plain)
            assert isinstance(relation, Relation)
            if not self._is_table(relation):
                self._ignored.add(relation.oid)
                return
            self._ignored.discard(relation.oid)
        self._in_progress.add(subtransaction, plain)

    def _replayed(self, commit: StreamCommit) -> Iterator[Sequence[Item]]:
        """Yield the changes of a transaction that was sent in progress."""
        spilled = self._in_progress.commit(commit.xid)
        if spilled is None:
            return
        try:
            self._started(BeginMessage(commit.commit_lsn, commit.commit_timestamp, commit.xid))
            for message in spilled.messages():
                yield from self.feed(message)
            if items := self._committed(commit.end_lsn):
                yield items
        finally:
            spilled.close()

    # -- changes ------------------------------------------------------------------------------

    def _row(self, message: RowMessage, size: int) -> Sequence[Item]:
        table = self._tables.get(message.relation.oid)
        if table is None or not self._counts():
            return ()
        assert self._begin is not None
        try:
            self._items.append(table.change(message, self._committed_at, self._begin.final_lsn))
        except UnreadableRowError as error:
            self._items.append(Gap(GapReason.UNREADABLE, str(error)))
        return self._added(size)

    def _truncated(self, message: TruncateMessage) -> Sequence[Item]:
        if not any(oid in self._tables for oid in message.relation_oids) or not self._counts():
            return ()
        assert self._begin is not None
        self._items.append(Truncate(self._committed_at, self._begin.final_lsn))
        return self._added(0)

    def _counts(self) -> bool:
        """Count a change. Return False if the log has it."""
        if self._drop:
            return False
        self._changes += 1
        return self._changes > self._skip

    def _added(self, size: int) -> Sequence[Item]:
        self._bytes += size
        if len(self._items) < MAX_CHANGES and self._bytes < MAX_BYTES:
            return ()
        assert self._begin is not None
        position = StreamPosition(
            self._position.system, self.end, self._begin.final_lsn, self._changes
        )
        return self._take(position)

    def _take(self, position: StreamPosition) -> Sequence[Item]:
        items, self._items, self._bytes = self._items, [], 0
        items.append(Checkpoint(str(position)))
        self.queued = position
        return items

    # -- relations ----------------------------------------------------------------------------

    def _is_table(self, relation: Relation) -> bool:
        projection = self._projection
        return relation.schema == projection.schema and relation.table == projection.table

    def _described(self, relation: Relation) -> None:
        if not self._is_table(relation):
            self._tables.pop(relation.oid, None)
            self._ignored.add(relation.oid)
            return
        self._ignored.discard(relation.oid)
        before = self._tables.get(relation.oid)
        table = RelationDecoder(relation, self._projection, self._types)
        self._tables[relation.oid] = table
        self._decoder.want(relation.oid, table.wanted)
        self.missing = table.missing
        if before is not None and self._altered(before.relation, relation):
            self._items.append(Gap(GapReason.TABLE_ALTERED, relation.table))

    def _altered(self, before: Relation, after: Relation) -> bool:
        """Return whether a column that is read has another type, or is there again."""
        types = {column.name: column.type_oid for column in before.columns}
        selected = self._projection.selected
        return any(
            column.name in selected and types.get(column.name) != column.type_oid
            for column in after.columns
        )
