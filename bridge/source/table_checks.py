"""Asks the database about a table: which rows the reads can show, how many there are, and what a
range of keys holds.

The first and the last are functions of `deploy/supabase/migrations`, which a project may lack.
"""

from __future__ import annotations

import base64
import json
import logging
import time
from typing import TYPE_CHECKING, Any, Final

import httpx

from bridge import clock as clocks
from bridge.errors import TableUnreadableError
from bridge.source.base import ReadRights

if TYPE_CHECKING:
    from collections.abc import Mapping

    from supabase import AsyncClient

    from bridge.changes import Key
    from bridge.projection import Projection

log = logging.getLogger(__name__)

RIGHTS: Final = "bridge_rights"
DIGEST: Final = "bridge_digest"

ABSENT_SECONDS: Final = {RIGHTS: 30.0, DIGEST: 600.0}
"""After which an absent function is looked for again."""

_ABSENT_CODES: Final = ("PGRST202", "PGRST203", "42883", "404")

TIMEOUT_SECONDS: Final = 20.0


class TableChecks:
    """Questions about one table, over PostgREST."""

    def __init__(self, projection: Projection, key: str) -> None:
        """`key`: the API key of the reads."""
        self._projection = projection
        self._table = f"{projection.schema}.{projection.table}"
        self._key_role = key_role(key)
        self._absent_until: dict[str, float] = {}

    async def rights(self, client: AsyncClient) -> ReadRights:
        """Return which rows the reads can show. Raises `TableUnreadableError` if the function
        exists and can't be called.
        """
        found = await self._call(client, RIGHTS, {})
        if found is None:
            return ReadRights(self._key_role)
        try:
            return ReadRights(
                str(found["role"]),
                filtered=bool(found["filtered"]) or not found["select"],
                update_triggers=tuple(map(str, found["update_triggers"])),
            )
        except (KeyError, TypeError):
            raise TableUnreadableError(
                f"{RIGHTS} of {self._table}: expected an object with role, select, filtered and "
                "update_triggers, got another result: apply deploy/supabase/migrations again"
            ) from None

    async def digest(self, client: AsyncClient, after: Key | None, up_to: Key | None) -> str | None:
        """Return a digest of the rows with keys above `after`, up to and with `up_to`; None: there
        is none.
        """
        bounds = {"after": after, "up_to": up_to}
        arguments = {name: str(key) for name, key in bounds.items() if key is not None}
        try:
            found = await self._call(
                client, DIGEST, {"key_column": self._projection.key, **arguments}
            )
        except TableUnreadableError as error:
            log.info("rows are compared without digests: %s", error)
            self._absent_until[DIGEST] = time.monotonic() + ABSENT_SECONDS[DIGEST]
            return None
        return found if isinstance(found, str) else None

    async def count(self, client: AsyncClient, **filters: str) -> int:
        """Return the exact number of rows. Raises `TableUnreadableError`."""
        response = await self._request(
            client,
            "HEAD",
            self._projection.table,
            {"select": self._projection.key, **filters},
            {"Prefer": "count=exact"},
        )
        total = response.headers.get("Content-Range", "").rpartition("/")[2]
        if not response.is_success or not total.isdigit():
            code = response.headers.get("Proxy-Status", f"status {response.status_code}")
            raise TableUnreadableError(f"counting the rows of {self._table} failed: {code}")
        return int(total)

    async def unusual_updates(self, client: AsyncClient) -> tuple[int, int]:
        """Return in how many rows `updated_at` is null, and in how many it is in the future."""
        column = self._projection.updated_at
        assert column is not None
        future = clocks.timestamp(time.time() + clocks.FUTURE_SECONDS)
        return (
            await self.count(client, **{column: "is.null"}),
            await self.count(client, **{column: f"gt.{future}"}),
        )

    async def _call(self, client: AsyncClient, name: str, arguments: Mapping[str, str]) -> Any:
        """Return the result of a function; None: it is absent."""
        if time.monotonic() < self._absent_until.get(name, float("-inf")):
            return None
        response = await self._request(
            client,
            "GET",
            f"rpc/{name}",
            {
                "table_schema": self._projection.schema,
                "table_name": self._projection.table,
                **arguments,
            },
        )
        try:
            body = response.json()
        except ValueError:
            body = None
        if response.is_success and body is not None:
            return body
        code, message = (
            (str(body.get("code")), str(body.get("message")))
            if isinstance(body, dict)
            else (str(response.status_code), "")
        )
        if code in _ABSENT_CODES or (code == "42501" and name in message):
            self._absent_until[name] = time.monotonic() + ABSENT_SECONDS[name]
            return None
        raise TableUnreadableError(f"calling {name} for {self._table} failed: {code} {message}")

    async def _request(
        self,
        client: AsyncClient,
        method: str,
        path: str,
        parameters: Mapping[str, str],
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        rest = client.postgrest
        try:
            return await rest.session.request(
                method,
                f"{str(rest.base_url).rstrip('/')}/{path}",
                params=dict(parameters),
                headers={
                    **dict(rest.headers),
                    "Accept-Profile": self._projection.schema,
                    **(headers or {}),
                },
                timeout=TIMEOUT_SECONDS,
            )
        except httpx.HTTPError as error:
            raise TableUnreadableError(
                f"asking about {self._table} failed: {type(error).__name__}: {error}"
            ) from error


def key_role(key: str) -> str:
    """Return the role that an API key claims; empty if it can't be known."""
    if key.startswith("sb_secret_"):
        return "service_role"
    payload = key.split(".")[1] if key.count(".") == 2 else ""  # noqa: PLR2004 - a JWT
    try:
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except ValueError:
        return ""
    return str(claims.get("role", "")) if isinstance(claims, dict) else ""
