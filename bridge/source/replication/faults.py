"""What a failure of a connection, a slot or the stream means, with advice for an operator."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import psycopg

if TYPE_CHECKING:
    from collections.abc import Sequence

POOLER_ADVICE: Final = (
    "BRIDGE_DATABASE_URL leads to a connection pooler, which does not pass on replication: use the "
    "direct connection (on Supabase: host db.<ref>.supabase.co, port 5432)"
)

_ADVICE: Final[Sequence[tuple[str, str]]] = (
    # Messages of poolers: PgBouncer, Supavisor, and servers that never see `replication`.
    (r"unsupported startup parameter.*replication|Tenant or user not found", POOLER_ADVICE),
    (r"syntax error at or near \"(IDENTIFY_SYSTEM|CREATE_REPLICATION_SLOT|START_)", POOLER_ADVICE),
    (
        (
            r"permission denied to (start WAL sender|use replication slots|initiate)|"
            r"must be superuser or replication role|must have replication"
        ),
        (
            "the role of BRIDGE_DATABASE_URL has no right to replicate: run as an administrator "
            "ALTER ROLE <role> REPLICATION (Supabase's role postgres has it)"
        ),
    ),
    (
        r"affected by row-level security policy",
        (
            "the role of BRIDGE_DATABASE_URL may not read all rows: run ALTER ROLE <role> "
            "BYPASSRLS (Supabase's role postgres has it)"
        ),
    ),
    (
        r"logical decoding requires .?wal_level|wal_level.* >= .*logical",
        "run ALTER SYSTEM SET wal_level = logical and restart PostgreSQL (on Supabase it is so)",
    ),
    (
        r"all replication slots are in use",
        (
            "drop a slot that nothing uses (SELECT slot_name, active FROM pg_replication_slots; "
            "SELECT pg_drop_replication_slot('<name>')), or raise max_replication_slots "
            "and restart PostgreSQL"
        ),
    ),
    (
        r"number of requested standby connections exceeds|max_wal_senders",
        (
            "end a replication that is not needed (SELECT pid, application_name FROM "
            "pg_stat_replication), or raise max_wal_senders and restart PostgreSQL"
        ),
    ),
    (
        r"replication slot \"[^\"]*\" is active",
        (
            "another process streams from this slot: stop the other bridge, or give this one a "
            "name of its own with BRIDGE_SLOT"
        ),
    ),
    (
        r"password authentication failed|no password supplied",
        "correct the password of BRIDGE_DATABASE_URL, or that of PGPASSFILE",
    ),
    (
        r"certificate verify failed",
        (
            "the server's certificate has expired, or sslrootcert of BRIDGE_DATABASE_URL does not "
            "contain the certificate of its issuer: renew the former, or correct the latter (on "
            "Supabase the dashboard has the file, under Database Settings, SSL Configuration)"
        ),
    ),
    (
        r"root certificate file|could not read root certificate",
        (
            "name a readable file with the certificate of the server's issuer with sslrootcert in "
            "BRIDGE_DATABASE_URL (sslrootcert=system: the issuers that this machine trusts)"
        ),
    ),
    (
        r"server certificate for .* does not match host name",
        (
            "in BRIDGE_DATABASE_URL, use a host name that the server's certificate is made out for "
            "(sslmode=verify-ca checks its issuer, and not the name)"
        ),
    ),
    (
        r"server does not support SSL",
        (
            "the server has TLS turned off: set ssl = on there, or connect without TLS "
            "(sslmode=prefer) where the network is trusted"
        ),
    ),
    (
        r"no pg_hba.conf entry for replication",
        "add a line for this role to pg_hba.conf; a logical slot needs one for its database",
    ),
    (
        r"cannot be run during recovery|recovery is in progress|read-only",
        "BRIDGE_DATABASE_URL leads to a standby: use the primary (target_session_attrs=read-write)",
    ),
)

_SLOT_LOST: Final = re.compile(
    r"can no longer (access|get changes from) replication slot|has been invalidated|"
    r"replication slot \"[^\"]*\" does not exist|"
    r"requested WAL segment .* has already been removed|"
    r"publication \"[^\"]*\" does not exist|was not created in this database|"
    r"(option|parameter) .*(proto_version|publication_names).*(unknown|unrecognized)|"
    r"(unknown|unrecognized) (pgoutput )?(option|parameter)"
)
"""Errors of a stream after which the slot has to be created again."""


class SourceFault(Exception):  # noqa: N818 - as in "upstream faults"
    """The stream ended or could not begin. `needs_operator`: a retry alone is unlikely to help.
    `slot_lost`: the slot can't be used any more.
    """

    def __init__(
        self, message: str, *, needs_operator: bool = False, slot_lost: bool = False
    ) -> None:
        super().__init__(message)
        self.needs_operator = needs_operator
        self.slot_lost = slot_lost


def advice_on(text: str) -> str | None:
    """Return what an operator can do about an error with that text, or None."""
    return next((advice for pattern, advice in _ADVICE if re.search(pattern, text)), None)


def fault_of(error: psycopg.Error, doing: str) -> SourceFault:
    """Return what `error` means while `doing`."""
    text = " ".join(str(error).split()) or type(error).__name__
    advice = advice_on(text)
    return SourceFault(
        f"{doing}: {text}" + (f"; {advice}" if advice else ""),
        needs_operator=advice is not None
        or isinstance(error, psycopg.errors.InsufficientPrivilege | psycopg.errors.UndefinedTable),
        slot_lost=_SLOT_LOST.search(text) is not None,
    )
