"""Runs the checks in the order of their premises."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.changes import MAX_SAFE_INTEGER
from bridge.cli.check import database, render
from bridge.cli.check.api_key import claims_of, key_findings
from bridge.cli.check.environment import environment_findings, proxy_findings
from bridge.cli.check.event_log import log_findings
from bridge.cli.check.finding import exit_code, ok
from bridge.cli.check.project import Project
from bridge.cli.check.report import Report
from bridge.cli.check.rights import rights_findings
from bridge.cli.check.stream import stream_findings
from bridge.cli.check.table import (
    CheckedTable,
    absent_finding,
    column_findings,
    key_advice,
    long_keys,
    null_regions,
    read_findings,
)
from bridge.cli.check.tokens import token_finding
from bridge.options import source_options, watch_projection
from bridge.settings.environment import variables
from bridge.source.column_types import canonical_type
from bridge.source.factory import create_source, create_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.settings import Settings
    from bridge.source.base import TableConnection
    from bridge.source.factory import SourceOptions


async def check(
    settings: Settings,
    out: Callable[[str], None],
    *,
    as_json: bool = False,
    strict: bool = False,
) -> int:
    """Check the settings, the project, the tables and the log, without any write. `out` gets each
    finding as it is known, or all of them as one JSON object. Return the exit code.
    """
    report = Report(settings.secrets, lambda each: None if as_json else out(render.text(each)))
    await _Run(settings, report).all()
    code = exit_code(report.findings, strict=strict)
    if as_json:
        out(render.document(report.findings, code))
    return code


class _Run:
    """One run. Each method returns whether the checks that depend on it can run."""

    def __init__(self, settings: Settings, report: Report) -> None:
        self._settings = settings
        self._add = report.add
        claims = claims_of(settings.supabase_secret_key.get_secret_value()) or {}
        self._role = str(claims.get("role") or "service_role")

    async def all(self) -> None:
        settings = self._settings
        self._add(ok("settings", f"table {settings.table} of {settings.supabase_url}"))
        self._add(*environment_findings(settings, variables()))
        self._add(*await log_findings(settings))
        if settings.source == "postgres":
            self._add(await token_finding(settings))
            await self._tables(None)
            return
        usable = [self._add(*key_findings(settings)), self._add(*proxy_findings(settings))]
        if not all(usable):
            return
        async with Project(settings) as project:
            if self._add(*await project.reach()):
                self._add(await token_finding(settings))
                await self._tables(project)

    async def _tables(self, project: Project | None) -> None:
        settings = self._settings
        await self._table(CheckedTable(settings.projection), source_options(settings), project)
        if settings.watchers:
            self._add(
                ok("settings", f"table {settings.watchers} lists the watches for notifications")
            )
            watches = watch_projection(settings)
            await self._table(
                CheckedTable(watches, "BRIDGE_WATCHERS"),
                source_options(settings, watches),
                project,
            )

    async def _table(
        self, table: CheckedTable, options: SourceOptions, project: Project | None
    ) -> None:
        reader = create_table(options)
        try:
            await reader.open()
            if project is None:
                if await self._rows(table, reader, None):
                    self._add(*await database.replication_findings(options))
                else:
                    return
            elif await self._catalog(table, options) and await self._described(
                table, project, reader
            ):
                if await self._rows(table, reader, project):
                    source = create_source(options, reader)
                    self._add(*await stream_findings(self._settings, table, source))
                self._add(*await database.slot_findings(options))
        finally:
            await reader.close()

    async def _catalog(self, table: CheckedTable, options: SourceOptions) -> bool:
        facts, findings = await database.read_catalog(table, options, self._role)
        self._add(*findings)
        if facts is None:
            return True
        if not self._add(*database.table_of(table, facts)):
            return False
        assert facts.table is not None, "otherwise it is missing"
        columns = self._add(*column_findings(table, facts.table["columns"]))
        return self._add(*database.details(table, facts, self._role)) and columns

    async def _described(
        self, table: CheckedTable, project: Project, reader: TableConnection
    ) -> bool:
        """Compare with the description that PostgREST shows, if it does."""
        projection = table.projection
        if project.tables is not None and projection.table not in project.tables:
            await project.describe(projection.schema)
        tables = project.tables
        if not tables:
            return True
        if projection.table not in tables:
            # Tables that the role may not read are left out there too.
            others = [f"{projection.schema}.{name}" for name in tables]
            return self._add(await absent_finding(table, reader, others))
        columns = tables[projection.table].get("properties", {})
        return self._add(
            *column_findings(table, {name: _type(each) for name, each in columns.items()})
        )

    async def _rows(
        self, table: CheckedTable, reader: TableConnection, project: Project | None
    ) -> bool:
        if not self._add(*await read_findings(table, reader)):
            return False
        self._add(*key_advice(reader.key_advice))
        if project is not None:
            await self._counts(table, project)
        return self._add(*await rights_findings(table, reader))

    async def _counts(self, table: CheckedTable, project: Project) -> None:
        projection = table.projection
        for column in projection.region:
            nulls = await project.count(
                projection.schema,
                projection.table,
                {"select": projection.key, column: "is.null"},
            )
            self._add(*null_regions(column, nulls))
        described = (project.tables or {}).get(projection.table, {}).get("properties", {})
        if canonical_type(_type(described.get(projection.key, {}))) == "int8":
            filters = {"select": projection.key, projection.key: f"gt.{MAX_SAFE_INTEGER}"}
            self._add(
                *long_keys(table, await project.count(projection.schema, projection.table, filters))
            )


def _type(column: dict[str, str]) -> str:
    return "enum" if "enum" in column else str(column.get("format", ""))
