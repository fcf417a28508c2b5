"""Settings of the HTTP server: address, origins, proxies and operators."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from bridge.security.client_ip import FORWARDED_FOR, ClientAddress, network
from bridge.security.origins import Origins
from bridge.settings.base import Listed, SettingsGroup

ADMIN_SECRET_CHARACTERS = 16
"""A shorter secret can be guessed."""


class ServerSettings(SettingsGroup):
    """Server."""

    host: str = Field(
        "127.0.0.1", description="Address to listen on; :: is every IPv6 and IPv4 one"
    )
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0: a free one")
    processes: int = Field(
        1,
        ge=0,
        le=64,
        description="Processes of `bridge serve` that share the port, for machines with several "
        "cores; 0: one for each core; with more than 1 another process follows the table and owns "
        "the log",
    )
    process_stuck_seconds: float = Field(
        30.0,
        ge=3,
        description="With several processes: one whose event loop has not run for this time is "
        "killed and started again",
    )
    drain_seconds: float | None = Field(
        None,
        ge=0,
        description="Time over which the connections of clients are closed when the bridge stops; "
        "empty: 20 with a log that other machines share, otherwise 0",
    )
    peer_url: str = Field(
        "",
        description="With several machines behind a balancer without sticky sessions: address at "
        "which the other machines reach this one, such as http://10.0.0.7:8000, or auto for "
        "http://<host name>:<BRIDGE_PORT>. They forward polls of its clients to it; empty: they "
        "refuse them, and the clients connect again. Keep the address off the internet. Not needed "
        "on Fly.io, nor for websockets",
    )
    path: str = Field("/socket.io", description="Path of the Socket.IO endpoint")
    cors_origins: Listed = Field(
        ("http://localhost:3000",),
        description="Origins of pages that may connect; in a label of the host * matches letters, "
        "digits and hyphens (https://my-app-*-team.vercel.app), * alone matches any origin; the "
        "bridge's own origin is always allowed",
    )
    trusted_proxies: Listed = Field(
        (),
        description="Addresses and networks of the proxies in front of the bridge; forwarding "
        "headers of other peers are ignored",
    )
    client_ip_header: str = Field(
        FORWARDED_FOR.title(),
        description="Header in which trusted proxies send the client's address: X-Forwarded-For, "
        "or one that holds a single address, such as Fly-Client-IP",
    )
    admin_secret: SecretStr | None = Field(
        None,
        description="Secret of operators, sent as `Authorization: Bearer ...` to /status, /metrics "
        "and /admin, 16 characters or more; empty: /status and /metrics are open to this machine "
        "only, at localhost or 127.0.0.1, /admin is off",
    )

    @field_validator("drain_seconds", mode="before")
    @classmethod
    def _drain_seconds(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("peer_url")
    @classmethod
    def _peer_url(cls, value: str) -> str:
        if value in ("", "auto"):
            return value
        parts = urlsplit(value)
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or parts.path not in ("", "/")
            or parts.query
            or parts.fragment
            or "@" in parts.netloc
        ):
            raise ValueError(
                "expected the address of this machine, such as http://10.0.0.7:8000, or auto"
            )
        return value.rstrip("/")

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        Origins(value)
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _proxies(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            network(text)
        return value

    @field_validator("client_ip_header")
    @classmethod
    def _header(cls, value: str) -> str:
        ClientAddress(header=value)
        return value

    @field_validator("admin_secret")
    @classmethod
    def _admin_secret(cls, value: SecretStr | None) -> SecretStr | None:
        secret = value.get_secret_value() if value else ""
        if not secret:
            return None
        if len(secret) < ADMIN_SECRET_CHARACTERS or not (secret.isascii() and secret.isprintable()):
            raise ValueError(
                f"expected {ADMIN_SECRET_CHARACTERS} or more printable ASCII characters, such as "
                "the output of `openssl rand -hex 32`"
            )
        return value

    @field_validator("path")
    @classmethod
    def _path(cls, value: str) -> str:
        if not value.strip("/"):
            raise ValueError("expected a path such as /socket.io")
        return "/" + value.strip("/")
