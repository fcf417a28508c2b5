"""Registry of the subscriptions, and the checks that a subscription has to pass.

The real server has a table, `realtime.subscription`, with a trigger for the checks. This module
keeps the subscriptions in memory and runs the same checks as statements on a separate connection,
which may be lost without losing changes.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import psycopg
from psycopg import sql

from bridge.sandbox.realtime import bindings, pg_catalog, row_security

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bridge.changes import Op

CONNECT_TIMEOUT = 5
"""Seconds."""

CHECK_SECONDS = 15.0
"""Timeout of the statements that check a subscription: the real driver's."""


class ChangeReceiver(Protocol):
    """A joined channel, as the poller uses it."""

    def deliver(self, data: str, ids: list[int]) -> None:
        """Send one change. Must not block, must not raise."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class RealtimeSubscription:
    """One binding of one channel."""

    receiver: ChangeReceiver
    binding: bindings.Binding
    reader: pg_catalog.ReaderRole


class SubscriptionRejected(Exception):  # noqa: N818 - a rejection of the client's request
    """The database does not accept a binding. The message is that of the real server's `system`
    error; the subscription is not retried.
    """


class SubscriptionRegistry:
    """Subscriptions by channel. `len` is the number of channels with one."""

    def __init__(self, database_url: str, publication: str) -> None:
        self._database_url = database_url
        self._publication = publication
        self._connection: pg_catalog.Connection | None = None
        self._lock = asyncio.Lock()
        self._subscriptions: dict[ChangeReceiver, tuple[RealtimeSubscription, ...]] = {}
        self.check_seconds = CHECK_SECONDS
        """Timeout of `check`. Not scaled."""

    def __len__(self) -> int:
        return len(self._subscriptions)

    def add(self, receiver: ChangeReceiver, subscriptions: Sequence[RealtimeSubscription]) -> None:
        """Set the subscriptions of `receiver`; replaces earlier ones."""
        self._subscriptions[receiver] = tuple(subscriptions)

    def remove(self, receiver: ChangeReceiver) -> None:
        self._subscriptions.pop(receiver, None)

    def clear(self) -> None:
        """Forget all subscriptions; the channels are not notified."""
        self._subscriptions.clear()

    def covering(self, schema: str, table: str, ops: Iterable[Op]) -> list[RealtimeSubscription]:
        """Return the subscriptions to such changes, without evaluating filters. The bindings of a
        channel are in reverse order, which is the order of `ids` in the real server's messages.
        """
        wanted = set(ops)
        return [
            subscription
            for subscriptions in self._subscriptions.values()
            for subscription in reversed(subscriptions)
            if subscription.binding.covers(schema, table)
            and any(subscription.binding.matches(op) for op in wanted)
        ]

    async def check(self, wanted: Sequence[bindings.Binding], role: str) -> None:
        """Check bindings against the database.

        Raises `SubscriptionRejected` for the first binding that fails, and psycopg's error if the
        database cannot be queried, or not within `check_seconds`.
        """
        async with self._lock:
            try:
                async with asyncio.timeout(self.check_seconds):
                    connection = await self._ensure_connected()
                    for binding in wanted:
                        await self._check(connection, binding, role)
            except TimeoutError:
                await self._disconnect()
                raise psycopg.errors.ConnectionTimeout(
                    f"no answer within {self.check_seconds:g} s"
                ) from None

    async def published(self) -> frozenset[tuple[str, str]]:
        """The publication's tables now."""
        async with self._lock:
            cursor = await (await self._ensure_connected()).execute(
                "select schemaname::text, tablename::text from pg_publication_tables"
                " where pubname = %s",
                (self._publication,),
            )
            return frozenset((schema, table) for schema, table in await cursor.fetchall())

    async def terminate(self, pid: int) -> None:
        """Terminate another backend of the same database."""
        async with self._lock:
            await (await self._ensure_connected()).execute(
                "select pg_terminate_backend(%s)", (pid,)
            )

    async def close(self) -> None:
        async with self._lock:
            await self._disconnect()

    async def _disconnect(self) -> None:
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    async def _ensure_connected(self) -> pg_catalog.Connection:
        connection = self._connection
        if connection is not None and not connection.closed:
            try:
                await connection.execute("select 1")  # a lost connection is detected only on use
            except psycopg.OperationalError:
                await connection.close()
            else:
                return connection
        self._connection = await psycopg.AsyncConnection.connect(
            self._database_url,
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT,
            application_name="realtime_subscription_manager",
        )
        return self._connection

    async def _check(
        self, connection: pg_catalog.Connection, binding: bindings.Binding, role: str
    ) -> None:
        try:
            cursor = await connection.execute(
                """
                select array(
                    select a.attname::text from pg_attribute a
                    where a.attrelid = format('%%I.%%I', t.schemaname, t.tablename)::regclass
                      and a.attnum > 0 and not a.attisdropped
                      and has_column_privilege(%(role)s::regrole, a.attrelid, a.attnum, 'SELECT')),
                  t.schemaname::text, t.tablename::text
                from pg_publication_tables t
                where t.pubname = %(publication)s
                  and %(schema)s::text in ('*', t.schemaname)
                  and %(table)s::text in ('*', t.tablename)
                """,
                {
                    "role": role,
                    "publication": self._publication,
                    "schema": binding.schema,
                    "table": binding.table,
                },
            )
            tables = await cursor.fetchall()
            if not tables:
                raise SubscriptionRejected(
                    "Unable to subscribe to changes with given parameters. Please check Realtime "
                    f"is enabled for the given connect parameters: {binding}"
                )
            for columns, schema, table in tables:
                await _check_columns(connection, binding, set(columns), schema, table)
        except (psycopg.OperationalError, psycopg.InterfaceError):
            raise
        except psycopg.Error as error:
            raise SubscriptionRejected(_exception_message(binding, error)) from error


async def _check_columns(
    connection: pg_catalog.Connection,
    binding: bindings.Binding,
    columns: set[str],
    schema: str,
    table: str,
) -> None:
    for name in binding.select or ():
        if name not in columns:
            raise psycopg.errors.RaiseException(f"invalid column for select {name}")
    for test in binding.filters:
        if test.column not in columns:
            raise psycopg.errors.RaiseException(f"invalid column for filter {test.column}")
        cursor = await connection.execute(
            "select a.atttypid::regtype::text from pg_attribute a"
            " where a.attrelid = format('%%I.%%I', %s::text, %s::text)::regclass"
            " and a.attname = %s",
            (schema, table, test.column),
        )
        row = await cursor.fetchone()
        assert row is not None, "the column was in the privilege check above"
        parameters, verdict = row_security.condition(test, str(row[0]))
        count = await connection.execute(
            "select cardinality(%s::text[])", (test.value if test.operator == "in" else "{}",)
        )
        values = await count.fetchone()
        if values is not None and values[0] > bindings.MAX_IN_VALUES:
            raise psycopg.errors.RaiseException(
                f"too many values for `in` filter. Maximum {bindings.MAX_IN_VALUES}"
            )
        await connection.execute(
            sql.SQL("select {} from (values (null::text)) t(v)").format(verdict), parameters
        )


def _exception_message(binding: bindings.Binding, error: psycopg.Error) -> str:
    words: Any = error.diag.message_primary or str(error)
    code = error.sqlstate or "XX000"
    condition = re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__).lower()
    return (
        "Unable to subscribe to changes with given parameters. An exception happened so please "
        f"check your connect parameters: {binding}. "
        f"Exception: ERROR {code} ({condition}) {words}"
    )
