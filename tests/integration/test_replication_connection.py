"""How the source reaches PostgreSQL: TLS, passwords, IPv6 and names; failures with a remedy."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import psycopg
import pytest
from pydantic import SecretStr

from bridge.sandbox.postgres import server as postgres_server
from bridge.sandbox.postgres.server import PostgresServer
from bridge.source.replication import connection as connections
from bridge.source.replication.faults import SourceFault
from tests.integration.replication_rig import ReplicationRig
from tests.integration.test_replication_faults import failed, prices, settings, write
from tests.support.certificates import Authority
from tests.support.postgres_tls import tls_postgres

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.sandbox import Sandbox
    from bridge.settings import Settings

__all__ = ["settings"]

NAME = "db.bridge.test"


def reaching(settings: Settings, host: str, port: int, **query: object) -> Settings:
    """Return settings with another host, port and query in the URL."""
    assert settings.database_url is not None
    given = psycopg.conninfo.conninfo_to_dict(settings.database_url.get_secret_value())
    options = "&".join(f"{name}={quote(str(value))}" for name, value in query.items())
    url = f"postgresql://{given['user']}:{given['password']}@{host}:{port}/{given['dbname']}"
    return settings.model_copy(update={"database_url": SecretStr(f"{url}?{options}")})


def resolve(monkeypatch: pytest.MonkeyPatch, addresses: list[str]) -> list[str]:
    """Let `NAME` resolve to the last of `addresses` at the time; return the growing list of what it
    resolved to.
    """
    genuine = socket.getaddrinfo
    resolved: list[str] = []

    def getaddrinfo(host: Any, *args: Any, **options: Any) -> Any:
        if host != NAME:
            return genuine(host, *args, **options)
        resolved.append(addresses[-1])
        return genuine(addresses[-1], *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return resolved


# -- TLS --------------------------------------------------------------------------------------


async def test_verified_tls_connection_is_streamed(
    sandbox: Sandbox, settings: Settings, tmp_path: Path
) -> None:
    authority = Authority(tmp_path, "authority")
    async with tls_postgres(sandbox.postgres.port, authority.server("127.0.0.1")) as port:
        verified = reaching(
            settings, "127.0.0.1", port, sslmode="verify-full", sslrootcert=authority.file
        )
        async with ReplicationRig.open(verified) as rig:
            await rig.live()
            await write(sandbox, 1, 3)
            await rig.until(lambda: len(prices(rig)) == 3)


async def test_verified_tls_connection_matches_the_name_that_it_resolved(
    sandbox: Sandbox, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve(monkeypatch, ["127.0.0.1"])
    authority = Authority(tmp_path, "authority")
    async with tls_postgres(sandbox.postgres.port, authority.server(NAME)) as port:
        verified = reaching(settings, NAME, port, sslmode="verify-full", sslrootcert=authority.file)
        async with ReplicationRig.open(verified) as rig:
            await rig.live()


@pytest.mark.parametrize(
    ("certificate", "trusted", "advice"),
    [
        (("127.0.0.1", False), "other", "sslrootcert"),
        (("127.0.0.1", True), "authority", "expired"),
        (("elsewhere.test", False), "authority", "a host name that the server's certificate is"),
        (("127.0.0.1", False), "none", "sslrootcert=system"),
    ],
    ids=["issuer", "expired", "name", "no file"],
)
async def test_certificate_that_fails_verification_is_refused_with_the_remedy(
    sandbox: Sandbox,
    settings: Settings,
    tmp_path: Path,
    *,
    certificate: tuple[str, bool],
    trusted: str,
    advice: str,
) -> None:
    name, expired = certificate
    authority = Authority(tmp_path, "authority")
    Authority(tmp_path, "other")
    context = authority.server(name, expired=expired)
    async with tls_postgres(sandbox.postgres.port, context) as port:
        verified = reaching(
            settings,
            "127.0.0.1",
            port,
            sslmode="verify-full",
            sslrootcert=tmp_path / f"{trusted}.crt",
        )
        async with ReplicationRig.open(verified) as rig:
            error = await failed(rig)
            assert not rig.events
    assert advice in error
    assert sandbox.postgres.password not in error


async def test_server_without_tls_is_refused_where_it_must_be_verified(
    sandbox: Sandbox, settings: Settings, tmp_path: Path
) -> None:
    authority = Authority(tmp_path, "authority")
    port = sandbox.postgres.port
    verified = reaching(
        settings, "127.0.0.1", port, sslmode="verify-full", sslrootcert=authority.file
    )
    async with ReplicationRig.open(verified) as rig:
        assert "set ssl = on" in await failed(rig)


# -- passwords --------------------------------------------------------------------------------


async def test_password_is_proved_by_scram(sandbox: Sandbox, settings: Settings) -> None:
    port = sandbox.postgres.port
    async with ReplicationRig.open(
        reaching(settings, "127.0.0.1", port, require_auth="scram-sha-256")
    ) as rig:
        await rig.live()


@pytest.mark.parametrize("password", ["part%zzof", "part@of", "part%of@it"])
async def test_url_with_a_password_that_is_not_encoded_is_named_without_it(password: str) -> None:
    with pytest.raises(SourceFault) as caught:
        await connections.connect(f"postgresql://postgres:{password}@127.0.0.1:1/postgres")
    assert caught.value.needs_operator
    assert "%40" in str(caught.value)
    assert caught.value.__cause__ is None
    for part in ("part", "of@", "zzof"):
        assert part not in str(caught.value)


# -- addresses --------------------------------------------------------------------------------


async def test_server_is_reached_over_ipv6(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(postgres_server.SETTINGS, "listen_addresses", "127.0.0.1,::1")
    async with (
        PostgresServer() as server,
        await psycopg.AsyncConnection.connect(
            server.url("supabase_admin"), autocommit=True
        ) as admin,
    ):
        await admin.execute("create table houses (id int primary key, state text, price int)")
        given = settings.model_copy(
            update={"database_url": SecretStr(server.url("supabase_admin"))}
        )
        async with ReplicationRig.open(reaching(given, "[::1]", server.port)) as rig:
            await rig.live()
            assert await sender_addresses(admin) == ["::1"]
            await admin.execute("insert into houses values (1, 'TX', 0)")
            await rig.until(lambda: len(rig.events) == 1)


async def test_name_that_moves_to_another_address_is_followed_without_loss(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = ["127.0.0.1"]
    resolved = resolve(monkeypatch, addresses)
    monkeypatch.setitem(postgres_server.SETTINGS, "listen_addresses", "127.0.0.1,::1")
    async with (
        PostgresServer() as server,
        await psycopg.AsyncConnection.connect(
            server.url("supabase_admin"), autocommit=True
        ) as admin,
    ):
        await admin.execute("create table houses (id int primary key, state text, price int)")
        await admin.execute("insert into houses values (1, 'TX', 0)")
        given = settings.model_copy(
            update={"database_url": SecretStr(server.url("supabase_admin"))}
        )
        async with ReplicationRig.open(reaching(given, NAME, server.port)) as rig:
            await rig.live()
            assert await sender_addresses(admin) == ["127.0.0.1"]
            addresses.append("::1")
            for price in range(1, 6):
                await admin.execute("update houses set price = %s", (price,))
            await admin.execute("select pg_terminate_backend(pid) from pg_stat_replication")
            for price in range(6, 11):
                await admin.execute("update houses set price = %s", (price,))
            await rig.until(lambda: len(prices(rig)) >= 10)
            async with asyncio.timeout(20):
                while await sender_addresses(admin) != ["::1"]:
                    await asyncio.sleep(0.01)
            assert prices(rig) == [(n, n + 1) for n in range(10)]
            assert rig.pipeline.status().counts["gaps"] == 1
    assert set(resolved) == {"127.0.0.1", "::1"}


async def sender_addresses(admin: psycopg.AsyncConnection[Any]) -> list[str]:
    """Return the addresses from which slots are streamed."""
    cursor = await admin.execute("select host(client_addr) from pg_stat_replication")
    return [address for (address,) in await cursor.fetchall()]
