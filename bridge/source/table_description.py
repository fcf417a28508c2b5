"""Reads the types of a table's columns over PostgREST.

PostgREST describes its tables at its root, as OpenAPI; domains are resolved to their base types
there. A project may have that switched off. Then PostgreSQL is asked for each column: it rejects a
filter whose value does not suit the column's type, and names the type.
"""

from __future__ import annotations

import asyncio
import logging
import re
from typing import TYPE_CHECKING, Any, Final

import httpx

from bridge.errors import TableUnreadableError
from bridge.source.column_types import ENUM

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from supabase import AsyncClient

    from bridge.projection import Projection
    from bridge.source.column_types import ColumnTypes

log = logging.getLogger(__name__)

REFRESH_SECONDS: Final = 600.0
"""After which the description is read again: a type may be changed without a change of a row. That
of a project with many tables is megabytes."""

TIMEOUT_SECONDS: Final = 5.0
"""Of the whole description. Rows are not read before it, so it may not take long."""

PROBE: Final = "{bridge asks for the type}"
"""A value of texts, and of arrays of texts, only."""

_NAMED_TYPE: Final = re.compile(
    r'for type (?P<type>[^:"]+?)(?: "|: |$)|operator does not exist: (?P<without>.+?) = unknown'
)
_REJECTED_VALUE: Final = re.compile(r"failed: (22\w{3}|42883) ")


class TableDescription:
    """Keeps `types` as the table's description has them."""

    def __init__(self, projection: Projection, types: ColumnTypes) -> None:
        self._projection = projection
        self._types = types
        self._due = float("-inf")

    def is_due(self, now: float) -> bool:
        """Return whether the description is to be read before the next rows. `now`: monotonic."""
        return now >= self._due

    async def read(
        self, client: AsyncClient, run: Callable[[Any], Awaitable[Any]], now: float
    ) -> None:
        """Read the description. `run` executes a query. Raises `TableUnreadableError` if the types
        are not known in any way.
        """
        first = self._due == float("-inf")
        definition = await self._definition(client)
        if definition is not None:
            columns = definition.get("properties", {})
            self._types.describe(
                {name: _type_of(column) for name, column in columns.items()},
                [
                    name
                    for name, column in columns.items()
                    if "<pk/>" in column.get("description", "")
                ],
            )
        elif first:
            self._types.describe(
                {
                    column: await self._probe(client, run, column)
                    for column in self._projection.selected
                }
            )
        self._due = now + REFRESH_SECONDS

    async def _definition(self, client: AsyncClient) -> dict[str, Any] | None:
        """Return the table's part of the description; None: there is none."""
        rest = client.postgrest
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                response = await rest.session.get(
                    f"{str(rest.base_url).rstrip('/')}/",
                    headers={
                        **dict(rest.headers),
                        "Accept": "application/openapi+json, application/json",
                        "Accept-Profile": self._projection.schema,
                    },
                )
            definition = response.json()["definitions"][self._projection.table]
            if isinstance(definition["properties"], dict):
                return dict(definition)
        except (httpx.HTTPError, TimeoutError, ValueError, KeyError, TypeError) as error:
            log.debug("no description of the tables: %s", type(error).__name__)
        return None

    async def _probe(
        self, client: AsyncClient, run: Callable[[Any], Awaitable[Any]], column: str
    ) -> str:
        """Return the type of a column; empty if it is not known."""
        query = client.table(self._projection.table).select("*").filter(column, "eq", PROBE)
        try:
            await run(query.limit(1))
        except TableUnreadableError as error:
            text = str(error)
            if not _REJECTED_VALUE.search(text):
                raise
            if "invalid input value for enum" in text:
                return ENUM
            found = _NAMED_TYPE.search(text)
            if found is None:
                return ""
            # A jsonb is named json there; a json has no operator of equality.
            name = found["type"] or found["without"]
            return "jsonb" if found["type"] == "json" else name
        return "text"


def _type_of(column: dict[str, Any]) -> str:
    return ENUM if "enum" in column else str(column.get("format", ""))
