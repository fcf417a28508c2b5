"""All settings of a bridge, from environment variables or keyword arguments."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import SecretStr, ValidationError, model_validator

from bridge.errors import SettingsError
from bridge.log.redis.url import secrets_of
from bridge.settings.auth import AuthSettings
from bridge.settings.base import SettingsGroup  # noqa: TC001
from bridge.settings.limits import LimitSettings
from bridge.settings.notifications import NotificationSettings
from bridge.settings.project import ProjectSettings
from bridge.settings.replication import ReplicationSettings
from bridge.settings.server import ServerSettings

GROUPS: Final[tuple[tuple[str, type[SettingsGroup]], ...]] = (
    ("Project and table", ProjectSettings),
    ("Server", ServerSettings),
    ("Tokens and rights", AuthSettings),
    ("Notifications", NotificationSettings),
    ("Limits", LimitSettings),
    ("Source, scans and log", ReplicationSettings),
)
"""The groups with their titles, in the order of the reference."""


KEY_NAMES: Final = ("supabase_secret_key", "SUPABASE_SECRET_KEY", "SUPABASE_SERVICE_ROLE_KEY")

NO_KEY: Final = "no-key-with-the-source-postgres"


# pydantic collects fields from the last base to the first: errors are listed in this order.
class Settings(
    ReplicationSettings,
    LimitSettings,
    NotificationSettings,
    AuthSettings,
    ServerSettings,
    ProjectSettings,
):
    """Settings of one bridge."""

    @model_validator(mode="before")
    @classmethod
    def _without_key(cls, data: dict[str, Any]) -> dict[str, Any]:
        """The source `postgres` sends no request to Supabase, so that it needs no key."""
        if data.get("source") != "postgres" or any(name in data for name in KEY_NAMES):
            return data
        return {**data, KEY_NAMES[0]: NO_KEY}

    @property
    def secrets(self) -> tuple[str, ...]:
        """The values of all secrets, to be redacted in logs and responses."""
        values = (getattr(self, name) for name in type(self).model_fields)
        secrets = [v.get_secret_value() for v in values if isinstance(v, SecretStr)]
        if self.database_url is not None:
            parts = urlsplit(self.database_url.get_secret_value())
            given = parse_qs(parts.query)
            passwords = [parts.password or ""]
            passwords += [*given.get("password", ()), *given.get("sslpassword", ())]
            secrets += [form for each in passwords if each for form in (each, unquote(each))]
        return (*secrets, *secrets_of(self.log))


def load(**overrides: Any) -> Settings:
    """Return the settings of the environment and of `overrides`, which take precedence.

    Raises `SettingsError` with one line per missing or wrong setting: its name, its value (never
    that of a secret) and the expected value.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise SettingsError(explain(error)) from None


def explain(error: ValidationError) -> str:
    """Return one line per wrong setting, without the values of secrets."""
    lines = []
    for fault in error.errors(include_url=False):
        name = _environment_name(fault["loc"])
        field = Settings.model_fields.get(name.removeprefix("BRIDGE_").lower())
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "literal_error":
            message = "expected " + fault["ctx"]["expected"].replace("'", "")
        if fault["type"] == "missing":
            expected = field.description if field else "a value"
            lines.append(f"{name} is not set. Expected: {expected}.")
        elif (
            "SECRET" in name
            or "SERVICE_ROLE" in name
            or name == "BRIDGE_DATABASE_URL"
            or _has_credentials(fault["input"])
        ):
            lines.append(f"{name} is wrong: {message}.")
        else:
            lines.append(f"{name}={fault['input']!r} is wrong: {message}.")
    return "\n".join(lines)


def _has_credentials(value: object) -> bool:
    """Return whether `value` may be a URL with a password."""
    return isinstance(value, str) and "://" in value and "@" in value


def _environment_name(loc: tuple[int | str, ...]) -> str:
    name = str(loc[0]) if loc else "settings"
    if name.upper().startswith("SUPABASE_"):
        return name.upper()
    return f"BRIDGE_{name.upper()}"
