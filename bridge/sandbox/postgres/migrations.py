"""Creates Supabase's schemas and roles, then applies the project's migrations and seed."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from bridge.errors import BridgeError

if TYPE_CHECKING:
    from bridge.sandbox.postgres.server import PostgresServer

LOGINS = ("postgres", "authenticator")
MIGRATION = re.compile(r"(?P<version>\d{14})_(?P<name>.+)\.sql")


class MigrationError(BridgeError):
    """A file of the Supabase project is missing, misnamed, or fails in PostgreSQL."""


def project_directory() -> Path:
    """Return the directory with `migrations/` and `seed.sql`, of the wheel or of the repository.

    Raises `MigrationError` if there is none.
    """
    here = Path(__file__).resolve()
    candidates = (here.parents[1] / "supabase", here.parents[3] / "deploy" / "supabase")
    for candidate in candidates:
        if (candidate / "migrations").is_dir():
            return candidate
    tried = " or ".join(str(candidate) for candidate in candidates)
    raise MigrationError(f"expected migrations in {tried}, found none")


async def apply_project(
    postgres: PostgresServer, *, files: Path | None = None, seed: bool = True
) -> None:
    """Set up `postgres` as a Supabase project: platform, migrations, seed rows.

    Each step is applied once and recorded in the tables of the Supabase CLI, so that only new
    migrations are applied to a reused cluster. Raises `MigrationError` with the file and
    PostgreSQL's message.
    """
    await _platform(postgres)
    source = files or project_directory()
    async with await psycopg.AsyncConnection.connect(postgres.url(), autocommit=True) as connection:
        applied = {
            row[0]
            for row in await (
                await connection.execute(
                    "select version from supabase_migrations.schema_migrations"
                )
            ).fetchall()
        }
        fresh = not applied
        for file in sorted((source / "migrations").glob("*.sql")):
            match = MIGRATION.fullmatch(file.name)
            if match is None:
                raise MigrationError(f"expected <14 digits>_<name>.sql, found {file}")
            if match["version"] not in applied:
                await _apply(
                    connection,
                    file,
                    sql.SQL(
                        "insert into supabase_migrations.schema_migrations (version, name) "
                        "values ({}, {})"
                    ).format(match["version"], match["name"]),
                )
        seed_file = source / "seed.sql"
        # Only a new database is seeded: rows deleted since then are not inserted again.
        if seed and fresh and seed_file.exists():
            digest = hashlib.sha256(seed_file.read_bytes()).hexdigest()
            await _apply(
                connection,
                seed_file,
                sql.SQL(
                    "insert into supabase_migrations.seed_files (path, hash) values ({}, {})"
                ).format("supabase/seed.sql", digest),
            )


async def _platform(postgres: PostgresServer) -> None:
    async with await psycopg.AsyncConnection.connect(
        postgres.url("supabase_admin"), autocommit=True
    ) as connection:
        done = await (
            await connection.execute("select to_regnamespace('supabase_migrations') is not null")
        ).fetchone()
        if done == (True,):
            return
        async with connection.transaction():
            await connection.execute(Path(__file__).with_name("platform.sql").read_bytes())
            for role in LOGINS:
                await connection.execute(
                    sql.SQL("alter role {} password {}").format(
                        sql.Identifier(role), postgres.password
                    )
                )


async def _apply(
    connection: psycopg.AsyncConnection[tuple[object, ...]], file: Path, record: sql.Composed
) -> None:
    """Run a file and record it, in one transaction."""
    try:
        async with connection.transaction():
            await connection.execute(file.read_bytes())  # noqa: ASYNC240 - small and local
            await connection.execute(record)
    except psycopg.Error as error:
        raise MigrationError(f"{file}: {error}") from error
