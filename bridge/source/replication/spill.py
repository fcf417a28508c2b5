"""Transactions that the server sends before their commit (pgoutput's protocol version 2).

Their messages are kept until the commit, in memory up to a size and then in a temporary file, so
that a transaction of any length takes little memory. What a savepoint took back is left out.
"""

from __future__ import annotations

import struct
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

MEMORY_BYTES: Final = 1_000_000
"""Of one transaction, before it is spilled to a file."""

_HEADER: Final = struct.Struct(">II")


class SpilledTransaction:
    """The messages of one transaction in progress. `close` it."""

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(max_size=MEMORY_BYTES)  # noqa: SIM115 - closed by `close`
        self._aborted: set[int] = set()

    def add(self, subtransaction: int, message: bytes) -> None:
        """Raises OSError."""
        self._file.write(_HEADER.pack(subtransaction, len(message)))
        self._file.write(message)

    def abort(self, subtransaction: int) -> None:
        """Leave out the messages of a subtransaction, also those that were added before."""
        self._aborted.add(subtransaction)

    def messages(self) -> Iterator[bytes]:
        """Yield the messages in order, once. Raises OSError."""
        self._file.seek(0)
        while header := self._file.read(_HEADER.size):
            subtransaction, length = _HEADER.unpack(header)
            message = self._file.read(length)
            if subtransaction not in self._aborted:
                yield message

    def close(self) -> None:
        self._file.close()


class TransactionsInProgress:
    """All transactions in progress of one session, by their id."""

    def __init__(self) -> None:
        self._transactions: dict[int, SpilledTransaction] = {}
        self._current: SpilledTransaction | None = None

    def __len__(self) -> int:
        return len(self._transactions)

    @property
    def receiving(self) -> bool:
        """Whether the next message belongs to a transaction in progress."""
        return self._current is not None

    def begin(self, transaction: int) -> None:
        """Begin or continue a transaction: the next messages are its own, until `pause`."""
        self._current = self._transactions.get(transaction)
        if self._current is None:
            self._current = self._transactions[transaction] = SpilledTransaction()

    def pause(self) -> None:
        self._current = None

    def add(self, subtransaction: int, message: bytes) -> None:
        """Raises OSError."""
        assert self._current is not None
        self._current.add(subtransaction, message)

    def abort(self, transaction: int, subtransaction: int) -> None:
        """Drop a transaction, or a subtransaction of it."""
        if transaction == subtransaction:
            if (dropped := self._transactions.pop(transaction, None)) is not None:
                dropped.close()
        elif transaction in self._transactions:
            self._transactions[transaction].abort(subtransaction)

    def commit(self, transaction: int) -> SpilledTransaction | None:
        """Return a transaction to be read and closed."""
        return self._transactions.pop(transaction, None)

    def close(self) -> None:
        for transaction in self._transactions.values():
            transaction.close()
        self._transactions.clear()
        self._current = None
