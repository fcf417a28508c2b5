"""The settings of where the bridge listens, and to whom."""

from __future__ import annotations

from pydantic import Field, SecretStr, field_validator

from bridge.security.client_ip import FORWARDED_FOR, ClientAddress, network
from bridge.security.origins import Origins
from bridge.settings.base import Listed, SettingsGroup

ADMIN_SECRET_CHARACTERS = 16
"""Fewer can be guessed."""


class ServerSettings(SettingsGroup):
    """Where the bridge listens, and to whom."""

    host: str = Field("127.0.0.1", description="Address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one")
    path: str = Field("/socket.io", description="Path of the Socket.IO endpoint")
    cors_origins: Listed = Field(
        ("http://localhost:3000",),
        description="Origins whose pages may connect; in a host's label * stands for letters, "
        "digits and hyphens (https://my-app-*-team.vercel.app), * alone for any origin",
    )
    trusted_proxies: Listed = Field(
        (),
        description="Addresses and networks of the proxies before the bridge, which say for whom "
        "they ask; what others say of that is not believed",
    )
    client_ip_header: str = Field(
        FORWARDED_FOR.title(),
        description="The header in which trusted proxies say whose request it is: X-Forwarded-For, "
        "or one that holds a single address, such as Fly-Client-IP",
    )
    admin_secret: SecretStr | None = Field(
        None,
        description="What operators send as `Authorization: Bearer ...` for /status, /metrics and "
        "/admin, 16 characters or more; without one these answer this machine only, /admin nobody",
    )

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
                "`openssl rand -hex 32` gives"
            )
        return value

    @field_validator("path")
    @classmethod
    def _path(cls, value: str) -> str:
        if not value.strip("/"):
            raise ValueError("expected a path such as /socket.io")
        return "/" + value.strip("/")
