"""Judges what the catalog of PostgreSQL has: only with BRIDGE_DATABASE_URL. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bridge.cli.check.clock import clock_findings
from bridge.cli.check.finding import Finding, fail, ok, warn
from bridge.cli.check.table import missing_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bridge.cli.check.table import CheckedTable
    from bridge.source.replication.facts import TableFacts

KINDS: Final = {"v": "a view", "m": "a materialized view", "f": "a foreign table"}

REALTIME: Final = "supabase_realtime"
"""The publication that Realtime reads."""

MANY_ROWS: Final = 10_000
"""From which on a read by `updated_at` without an index is slow."""

SHORT_TIMEOUT_SECONDS: Final = 5.0

_UNITS: Final = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}


def table_findings(table: CheckedTable, facts: TableFacts) -> Iterator[Finding]:
    """Whether the table is one of which changes are published."""
    found = facts.table
    if found is None:
        yield missing_table(table, facts.tables)
    elif found["kind"] in KINDS:
        yield fail(
            "table",
            f"{table.name} is {KINDS[found['kind']]}, whose changes PostgreSQL does not publish",
            f"set {table.setting} to the table that has the rows",
        )
    elif found["partition"]:
        yield warn(
            "table",
            f"{table.name} is a partition of {found['parent']}: rows of other partitions are not "
            "seen",
            f"set {table.setting}={found['parent']} if all rows are meant",
        )


def key_findings(table: CheckedTable, found: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether the key identifies rows, and the stream has it."""
    key = table.projection.key
    if key not in found["columns"]:
        return
    columns = ", ".join(found["primary_key"])
    primary = f"the primary key is ({columns})" if columns else "there is no primary key"
    if not found["unique_key"]:
        yield fail(
            "key",
            f"no constraint makes {key} unique; {primary}",
            f'alter table {table.quoted} add unique ("{key}"); or name a unique column in '
            f"{table.setting_of(key)}",
        )
    elif found["primary_key"] != [key]:
        yield warn(
            "key",
            f"{key} is unique, but {primary}: of a deleted row Realtime sends the replica identity",
            f"set BRIDGE_KEY={found['primary_key'][0]}"
            if len(found["primary_key"]) == 1
            else f"alter table {table.quoted} replica identity full",
        )
    if found["identity"] != "f" and key not in found["identity_columns"]:
        yield fail(
            "replica identity",
            f"it does not have {key}, so that updates and deletes do not show their row",
            f"alter table {table.quoted} replica identity full",
        )


def publication_findings(
    table: CheckedTable, found: Mapping[str, Any], facts: TableFacts, name: str
) -> Iterator[Finding]:
    """Whether all changes of the table are in the publication that Realtime reads."""
    published = facts.publication
    add = f'alter publication "{name}" add table {table.quoted}'
    if published is None:
        yield fail(
            "publication",
            f"there is no publication {name}",
            f'create publication "{name}" for table {table.quoted}',
        )
        return
    if found["kind"] == "p" and published["via_root"]:
        yield fail(
            "publication",
            f"{name} publishes the partitions of {table.name} under the name of their root "
            "(publish_via_partition_root), which Realtime can't match: nothing ever comes",
            f"use BRIDGE_SOURCE=postgres, which reads partitioned tables; or set {table.setting} "
            "to one partition, and: "
            f'alter publication "{name}" set (publish_via_partition_root = false)',
        )
        return
    if found["kind"] == "p":
        yield fail(
            "publication",
            f"{table.name} is partitioned, and Realtime sends changes under the partitions' names",
            "use BRIDGE_SOURCE=postgres, which reads partitioned tables",
        )
        return
    if not published["has_table"]:
        yield fail("publication", f"{table.name} is not in the publication {name}", add)
        return
    absent = [kind for kind in ("inserts", "updates", "deletes") if not published[kind]]
    if absent:
        yield fail(
            "publication",
            f"{name} leaves out {', '.join(absent)}",
            f"alter publication \"{name}\" set (publish = 'insert, update, delete, truncate')",
        )
    listed = published["columns"]
    hidden = [column for column in table.projection.selected if listed and column not in listed]
    again = f'alter publication "{name}" drop table {table.quoted}; {add}'
    if any(column in found["columns"] for column in hidden):
        yield fail("publication", f"its column list leaves out {', '.join(hidden)}", again)
    if published["row_filter"]:
        yield warn(
            "publication",
            f"{name} has the row filter {published['row_filter']}: changes of other rows may not "
            "be published, though reads show them",
            again,
        )
    if not absent and not hidden and not published["row_filter"]:
        yield ok("publication", f"{table.name} is in {name}, whole")


def role_findings(table: CheckedTable, facts: TableFacts, name: str) -> Iterator[Finding]:
    """Whether the role of the key may read the columns of all rows. `name`: of the role."""
    found, role = facts.table, facts.role
    if found is None:
        return
    if role is None:
        yield fail("grants", f"the role {name} of the key does not exist", f"create role {name}")
        return
    if not role["usage"]:
        schema = table.projection.schema
        yield fail(
            "grants",
            f"{name} may not use the schema {schema}",
            f'grant usage on schema "{schema}" to {name}',
        )
    hidden = [column for column in table.projection.selected if column in role["hidden"]]
    if hidden:
        yield fail(
            "grants",
            f"{name} may not select {', '.join(hidden)} of {table.name}",
            f"grant select on {table.quoted} to {name}",
        )
    if found["row_security"] and not role["bypasses"]:
        bypass = f"alter role {name} bypassrls"
        if not role["policies"]:
            yield fail(
                "row level security",
                f"it is on, {name} has no BYPASSRLS, and no policy shows it a row",
                bypass,
            )
        else:
            yield warn(
                "row level security",
                f"{name} has no BYPASSRLS: it sees what the policies "
                f"{', '.join(role['policies'])} show",
                bypass,
            )
    short = [text for text in role["timeouts"] if 0 < seconds_of(text) < SHORT_TIMEOUT_SECONDS]
    if short:
        yield warn(
            "statement timeout",
            f"that of {name} is {short[0]}: reads of a large table may end before it",
            f"alter role {name} set statement_timeout = '30s'; notify pgrst, 'reload config'",
        )


def index_findings(table: CheckedTable, found: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether `updated_at` has an index, which the newest rows are read by."""
    column = table.projection.updated_at
    if column and column in found["columns"] and not found["updated_at_index"]:
        large = f", of about {found['rows']:,} rows" if found["rows"] >= MANY_ROWS else ""
        yield warn(
            "updated_at",
            f"{column} has no index: every few seconds the whole table{large} is scanned",
            f'create index concurrently on {table.quoted} ("{column}")',
        )


def server_findings(facts: TableFacts, now: float) -> Iterator[Finding]:
    """Whether the server can decode its WAL. `now`: Unix seconds."""
    server = facts.server
    if server["wal_level"] != "logical":
        yield fail(
            "server",
            f"wal_level is {server['wal_level']}, so that no change is decoded",
            "alter system set wal_level = logical; then restart PostgreSQL",
        )
    inactive = server["inactive_slots"]
    drop = "".join(f"; select pg_drop_replication_slot('{slot}')" for slot in inactive[:1])
    for kind, setting in (("slots", "max_replication_slots"), ("senders", "max_wal_senders")):
        used, most = server[f"{kind}_used"], server[kind]
        if used >= most:
            free = f"alter system set {setting} = {most + 10}; then restart PostgreSQL{drop}"
            yield warn("server", f"all {most} of {setting} are in use", free)
    if inactive:
        yield warn(
            "server",
            f"nothing reads the slots {', '.join(inactive)}, for which WAL is kept",
            f"if they are not needed{drop}",
        )
    plugins = server["plugins"]
    if plugins is not None and "wal2json" not in plugins and "*" not in plugins:
        yield fail(
            "server",
            f"output_plugin_libraries is {plugins!r}, without Realtime's wal2json: it subscribes, "
            "and nothing ever comes",
            f"alter system set output_plugin_libraries = '{plugins}, wal2json'; "
            "select pg_reload_conf()",
        )
    yield from clock_findings(now - float(server["clock"]), "the database's")
    yield ok("server", f"PostgreSQL {server['version']}, wal_level {server['wal_level']}")


def seconds_of(text: str) -> float:
    """Return a duration of PostgreSQL's settings, such as `8s`, in seconds; bare numbers are ms."""
    digits = text.strip().rstrip("abcdefghijklmnopqrstuvwxyz ")
    unit = text.strip()[len(digits) :].strip() or "ms"
    try:
        return float(digits) * _UNITS.get(unit, 0.001)
    except ValueError:
        return 0.0
