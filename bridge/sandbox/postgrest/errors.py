"""Error responses with the statuses and bodies of PostgREST and of Supabase's API gateway."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    import psycopg


class PostgrestError(Exception):
    """A request is rejected, with PostgREST's error body and HTTP status."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        details: str | None = None,
        hint: str | None = None,
        challenge: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = details
        self.hint = hint
        self.challenge = challenge

    def response(self) -> web.Response:
        """Return the response to the client."""
        # HEAD has no body; clients then read the code from Proxy-Status.
        headers = {"Proxy-Status": f"PostgREST; error={self.code}"}
        if self.challenge:
            headers["WWW-Authenticate"] = self.challenge
        body = {
            "code": self.code,
            "details": self.details,
            "hint": self.hint,
            "message": self.message,
        }
        return web.Response(
            status=self.status,
            text=json.dumps(body),
            content_type="application/json",
            headers=headers,
        )


class GatewayError(PostgrestError):
    """The API gateway in front of PostgREST rejects the request; its error body differs."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(401, "", message, hint=hint)

    def response(self) -> web.Response:
        return web.json_response({"message": self.message, "hint": self.hint}, status=401)


def parse_error(label: str, text: str, column: int, details: str) -> PostgrestError:
    return PostgrestError(
        400,
        "PGRST100",
        f'"failed to parse {label} ({text})" (line 1, column {column})',
        details=details,
    )


def invalid_token(code: str, message: str, details: str | None = None) -> PostgrestError:
    return PostgrestError(
        401,
        code,
        message,
        details=details,
        challenge=f'Bearer error="invalid_token", error_description="{message}"',
    )


def cannot_connect() -> PostgrestError:
    return PostgrestError(503, "PGRST000", "Database connection error. Retrying the connection.")


def connection_lost() -> PostgrestError:
    return PostgrestError(503, "PGRST001", "Database client error. Retrying the connection.")


def no_schema_cache() -> PostgrestError:
    return PostgrestError(
        503, "PGRST002", "Could not query the database for the schema cache. Retrying."
    )


def unknown_table(schema: str, table: str, similar: str | None) -> PostgrestError:
    return PostgrestError(
        404,
        "PGRST205",
        f"Could not find the table '{schema}.{table}' in the schema cache",
        hint=f"Perhaps you meant the table '{schema}.{similar}'" if similar else None,
    )


STATUS_BY_CLASS = (
    # SQLSTATE prefix -> HTTP status; the first match applies.
    ("08", 503),
    ("09", 500),
    ("0L", 403),
    ("0P", 403),
    ("23503", 409),
    ("23505", 409),
    ("25006", 405),
    ("21000", 500),
    ("25", 500),
    ("28", 403),
    ("2D", 500),
    ("40", 500),
    ("53400", 500),
    ("53", 503),
    ("54", 500),
    ("55", 500),
    ("57P01", 503),
    ("57", 500),
    ("58", 500),
    ("P0001", 400),
    ("P0", 500),
    ("XX", 500),
    ("42883", 404),
    ("42P01", 404),
    ("42P17", 500),
)


def from_postgres(error: psycopg.Error, *, authenticated: bool) -> PostgrestError:
    """Return PostgREST's response to `error`. An error without an SQLSTATE is a lost connection."""
    code = error.sqlstate
    if code is None:
        return connection_lost()
    diagnostics = error.diag
    message = diagnostics.message_primary or str(error)
    if code == "42501":
        status = 403 if authenticated else 401
    elif code == "22023" and message.startswith("role ") and message.endswith("does not exist"):
        status = 401
    else:
        status = next((s for prefix, s in STATUS_BY_CLASS if code.startswith(prefix)), 400)
    return PostgrestError(
        status,
        code,
        message,
        details=diagnostics.message_detail,
        hint=diagnostics.message_hint,
        challenge="Bearer" if status == 401 else None,  # noqa: PLR2004
    )
