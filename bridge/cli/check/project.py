"""Checks that the project answers, with one request to PostgREST's root, which also describes its
tables.
"""

from __future__ import annotations

import asyncio
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit

import httpx

from bridge.cli.check.api_key import SECRET_FIX
from bridge.cli.check.clock import clock_findings
from bridge.cli.check.finding import Finding, fail, ok

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from bridge.settings import Settings

TIMEOUT_SECONDS: Final = 10.0

URL_FIX: Final = (
    "set SUPABASE_URL to the Project URL of the dashboard's Project Settings > Data API"
)

_STATUSES: Final[Mapping[int, tuple[str, str]]] = {
    401: ("the key was rejected", SECRET_FIX),
    402: (
        "the organization is over its quota, or has an unpaid invoice: Supabase restricts it",
        "the dashboard's Organization > Billing: upgrade, raise the spend cap, or pay",
    ),
    403: ("the key was refused, or the project is suspended", SECRET_FIX),
    404: ("no project answers at this URL", URL_FIX),
    530: (
        "Cloudflare finds no server of this project: it is paused, being restored, or removed",
        "restore it on the dashboard, and check SUPABASE_URL",
    ),
    540: (
        "the project is paused",
        (
            "the dashboard's project page: Restore project. Free projects pause after a week of "
            "inactivity"
        ),
    ),
    544: ("the project's gateway times out", "wait, or restart the project on the dashboard"),
}
"""What a status means, with the fix."""


class Project:
    """Requests to the project's PostgREST. An asynchronous context manager."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.supabase_url
        key = settings.supabase_secret_key.get_secret_value()
        self._headers = {"apikey": key, "Authorization": f"Bearer {key}"}
        self._http = httpx.AsyncClient(timeout=TIMEOUT_SECONDS, follow_redirects=True)
        self.tables: dict[str, dict[str, Any]] | None = None
        """The description of each table of the schema; None: the project shows none."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    async def reach(self) -> Sequence[Finding]:
        """Return one failure, or what an answer shows."""
        asked = time.time()
        try:
            response = await self._get("", {"Accept": "application/openapi+json, application/json"})
        except httpx.HTTPError as error:
            return [await self._unreachable(error)]
        status = response.status_code
        if status in _STATUSES:
            text, fix = _STATUSES[status]
            return [
                fail("project", f"{self._url} answers {status}: {text}{_reason(response)}", fix)
            ]
        if status >= 500:  # noqa: PLR2004 - HTTP's server errors
            text = f"{self._url} answers {status}{_reason(response)}"
            return [fail("project", text, "wait, and look at status.supabase.com")]
        if not _is_json(response):
            text = f"{self._url} answers {status} with a page, not with PostgREST"
            return [fail("project", text, URL_FIX)]
        self._describe(response)
        clock = _clock(response, (asked + time.time()) / 2)
        return [ok("project", f"{self._url} answers and accepts the key"), *clock]

    async def describe(self, schema: str) -> None:
        """Read the tables of another schema than PostgREST's first one."""
        try:
            self._describe(await self._get("", {"Accept-Profile": schema}))
        except httpx.HTTPError:
            self.tables = None

    async def count(self, schema: str, table: str, filters: Mapping[str, str]) -> int | None:
        """Return the exact number of such rows; None: it can't be known."""
        try:
            response = await self._http.head(
                f"{self._url}/rest/v1/{table}",
                params=dict(filters),
                headers={**self._headers, "Accept-Profile": schema, "Prefer": "count=exact"},
            )
        except httpx.HTTPError:
            return None
        total = response.headers.get("Content-Range", "").rpartition("/")[2]
        return int(total) if response.is_success and total.isdigit() else None

    async def _get(self, path: str, headers: Mapping[str, str]) -> httpx.Response:
        return await self._http.get(
            f"{self._url}/rest/v1/{path}", headers={**self._headers, **headers}
        )

    def _describe(self, response: httpx.Response) -> None:
        try:
            found = response.json()["definitions"]
        except (ValueError, KeyError, TypeError):
            found = None
        self.tables = found if isinstance(found, dict) else None

    async def _unreachable(self, error: httpx.HTTPError) -> Finding:
        parts = urlsplit(self._url)
        host = parts.hostname or ""
        port = parts.port or (443 if parts.scheme == "https" else 80)
        if isinstance(error, httpx.TimeoutException):
            text = f"{self._url} does not answer within {TIMEOUT_SECONDS:g} s"
            return fail("project", text, "check SUPABASE_URL, the network and the firewall")
        if isinstance(error, httpx.ConnectError):
            try:
                await asyncio.get_running_loop().getaddrinfo(host, port)
            except OSError:
                text = f"the host {host} of SUPABASE_URL is not known: a typing error, or the "
                return fail("project", f"{text}project was removed", URL_FIX)
            if "certificate" in str(error).lower() or "ssl" in str(error).lower():
                return fail("project", f"TLS with {host} fails: {error}", "check SUPABASE_URL")
            text = f"nothing listens at {host}:{port}, which SUPABASE_URL names"
            return fail("project", text, "start the project (supabase start), or correct the URL")
        return fail("project", f"{self._url}: {type(error).__name__}: {error}", URL_FIX)


def _clock(response: httpx.Response, now: float) -> list[Finding]:
    try:
        served = parsedate_to_datetime(response.headers["Date"]).timestamp()
    except (KeyError, ValueError):
        return []
    return list(
        clock_findings(
            now - served,
            "the project's",
            ": tokens are taken for expired or not yet valid, and `updated_at` for later or "
            "earlier than it is",
        )
    )


def _is_json(response: httpx.Response) -> bool:
    try:
        response.json()
    except ValueError:
        return False
    return True


def _reason(response: httpx.Response) -> str:
    """Return the message of an error in JSON."""
    try:
        body = response.json()
    except ValueError:
        return ""
    message = body.get("message") or body.get("msg") if isinstance(body, dict) else None
    return f" ({str(message)[:200]})" if message else ""
