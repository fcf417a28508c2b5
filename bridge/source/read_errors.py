"""What a failed read of a table means, with advice for an operator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bridge.errors import TableUnreadableError

if TYPE_CHECKING:
    from postgrest import APIError

_PERMANENT_ERRORS: Final = {
    "42703": "a column of BRIDGE_COLUMNS, BRIDGE_REGION, BRIDGE_KEY or BRIDGE_UPDATED_AT does not "
    "exist: correct the setting or add the column",
    "42P01": "the table does not exist: correct BRIDGE_TABLE or BRIDGE_WATCHERS, or apply the "
    "migrations",
    "PGRST205": "the table does not exist or is not exposed: correct BRIDGE_TABLE or "
    "BRIDGE_WATCHERS, or expose its schema in the project's API settings",
    "PGRST106": "the schema is not exposed: add it in the project's API settings",
    "42501": "the key's role may not read the table: grant select on it to service_role",
    "PGRST301": "the key was rejected: set SUPABASE_SECRET_KEY to this project's secret key",
    "PGRST303": "the key was rejected: set SUPABASE_SECRET_KEY to this project's secret key",
    "401": "the key was rejected: set SUPABASE_SECRET_KEY to this project's secret key",
    "22P02": "expected BRIDGE_UPDATED_AT to name a column of dates or timestamps: correct it, or "
    "leave it empty",
    "Invalid API key": "set SUPABASE_SECRET_KEY to this project's secret key",
    "Unregistered API key": "set SUPABASE_SECRET_KEY to a secret key of the project of "
    "SUPABASE_URL",
    "Legacy API keys are disabled": "set SUPABASE_SECRET_KEY to a secret key (sb_secret_...) "
    "instead of the legacy service_role key",
    "Invalid authentication credentials": "set SUPABASE_SECRET_KEY to this project's secret key",
}
"""Errors that persist until an operator acts, by the code of PostgREST or Postgres, with advice.
The gateways in front of PostgREST send a message without a code: the messages on API keys are those
of Supabase's gateway, the last one is that of a self-hosted Kong.
"""

_REFUSALS: Final = ("400", "413", "414", "431", "57014", "22", "54", "PGRST100")
"""Codes, or classes of them, of reads that may succeed with fewer rows: the gateway's for a request
that is too large, the statement timeout, values that can't be serialized, limits of PostgreSQL."""


def unreadable(table: str, error: APIError) -> TableUnreadableError:
    """Return the error of a read of `table` that PostgREST, or the gateway, rejected."""
    advice = _PERMANENT_ERRORS.get(str(error.code or error.message))
    reason = " ".join(str(part) for part in (error.code, error.message) if part)
    return TableUnreadableError(
        f"reading {table} failed: {reason}" + (f"; {advice}" if advice else ""),
        permanent=advice is not None,
        refused=advice is None and str(error.code).startswith(_REFUSALS),
    )
