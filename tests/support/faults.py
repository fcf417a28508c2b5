"""Faults of Supabase that the scenarios and the random runs both inject.

Names and options are those of the sandbox: `bridge.sandbox.realtime.faults` for Realtime, and
`bridge.sandbox.postgrest.faults` for PostgREST, with the prefix `rest-`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

TABLE: Final = "public.properties"


class FaultTarget(Protocol):
    """A sandbox, in this process or in another one."""

    async def fault(self, name: str, **options: Any) -> None:
        """Inject the fault of this name."""
        ...

    async def execute(self, statement: str, /) -> object:
        """Run one statement as the owner of the table, in a transaction of its own."""
        ...


class LastingFault(Protocol):
    """A fault that is active between `start` and `stop`."""

    async def start(self, target: FaultTarget) -> None: ...

    async def stop(self, target: FaultTarget) -> None: ...


@dataclass(frozen=True, slots=True)
class ServiceFault:
    """A fault of Realtime or of PostgREST.

    With `reconnect` the connection of Realtime is closed at the start, because the fault concerns
    new subscriptions only.
    """

    begin: Mapping[str, Any]
    end: Mapping[str, Any]
    reconnect: bool = False

    async def start(self, target: FaultTarget) -> None:
        await target.fault(**self.begin)
        if self.reconnect:
            await target.fault("close", code=1006)

    async def stop(self, target: FaultTarget) -> None:
        await target.fault(**self.end)


@dataclass(frozen=True, slots=True)
class SchemaFault:
    """A change of the table, its publication or its rights, and the statement that undoes it."""

    begin: str
    end: str

    async def start(self, target: FaultTarget) -> None:
        await target.execute(self.begin)

    async def stop(self, target: FaultTarget) -> None:
        await target.execute(self.end)


CLOSE_CODES: Final = (1000, 1001, 1006, 1011, 1012)
"""Codes with which Realtime closes its websocket."""

CHANNEL_FAULTS: Final[Mapping[str, str]] = {
    "system_error": "`system` reports an error, the channel stays joined",
    "system_error_close": "`system` reports an error, and the channel is closed",
    "stale_phx_close": "a phx_close of an earlier join arrives",
    "phx_close": "the server closes the channel",
    "phx_error": "the channel crashes",
    "expire_tokens": "the token expires",
}
"""Faults that end a subscription, with a description each."""

COUNTED_FAULTS: Final = ("drop", "duplicate", "garble", "fail_polls")
"""Faults of the next `count` frames or polls."""

LOSING_FAULTS: Final = ("lose_pending", "rebuild", "kill_poller")
"""Faults that lose the changes which a stalled stream holds back."""

MUTE_ALL: Final = ServiceFault({"name": "mute", "new": True}, {"name": "unmute"})
RATE_LIMIT: Final = ServiceFault(
    {"name": "rate_limit", "changes_per_second": 0},
    {"name": "rate_limit", "changes_per_second": None},
)
LATE_SYSTEM: Final = ServiceFault(
    {"name": "late_system", "seconds": 1.0},
    {"name": "late_system", "seconds": 0},
    reconnect=True,
)
NO_SYSTEM: Final = ServiceFault(
    {"name": "no_system"}, {"name": "no_system", "lifted": True}, reconnect=True
)
DATABASE_TIMEOUTS: Final = ServiceFault(
    {"name": "database_timeouts"}, {"name": "database_timeouts", "lifted": True}
)
REFUSE: Final = ServiceFault({"name": "refuse"}, {"name": "accept"}, reconnect=True)
STALL: Final = ServiceFault({"name": "stall"}, {"name": "resume"})
REST_DOWN: Final = ServiceFault({"name": "rest-down"}, {"name": "rest-down", "on": False})
REST_HANG: Final = ServiceFault({"name": "rest-hang"}, {"name": "rest-hang", "on": False})
REST_DELAY: Final = ServiceFault(
    {"name": "rest-delay", "seconds": 0.2}, {"name": "rest-delay", "seconds": 0}
)

KEY_IDENTITY: Final = SchemaFault(
    f"alter table {TABLE} replica identity default", f"alter table {TABLE} replica identity full"
)
"""Large values that did not change are omitted, and deletes carry the key alone."""
NO_ROW_SECURITY: Final = SchemaFault(
    f"alter table {TABLE} disable row level security",
    f"alter table {TABLE} enable row level security",
)
EXTRA_COLUMN: Final = SchemaFault(
    f"alter table {TABLE} add column if not exists floors int default 3",
    f"alter table {TABLE} drop column if exists floors",
)
ALL_PUBLISHED: Final = (
    f"alter publication supabase_realtime set table {TABLE}, public.property_watchers"
)
NO_PUBLICATION: Final = SchemaFault(
    f"alter publication supabase_realtime drop table {TABLE}",
    ALL_PUBLISHED,
)
EMPTY_PUBLICATION: Final = SchemaFault(
    """
    do $$ begin execute (
      select coalesce('alter publication supabase_realtime drop table '
        || string_agg(format('%I.%I', schemaname, tablename), ', '), 'select')
      from pg_publication_tables where pubname = 'supabase_realtime'
    ); end $$
    """,
    ALL_PUBLISHED,
)
NO_SELECT: Final = SchemaFault(
    f"revoke select on {TABLE} from service_role", f"grant select on {TABLE} to service_role"
)


@dataclass(frozen=True, slots=True)
class LostChanges:
    """The stream is stalled while rows change, and the held changes are lost by `fault`."""

    fault: str
    stall: LastingFault = field(default=STALL)

    async def start(self, target: FaultTarget) -> None:
        await self.stall.start(target)

    async def stop(self, target: FaultTarget) -> None:
        await target.fault(self.fault)
        await self.stall.stop(target)
