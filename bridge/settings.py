"""Everything that can be set, in one place: environment variables, `.env`, or keyword arguments."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import NoDecode, SettingsConfigDict

from bridge.auth.settings import AuthSettings
from bridge.errors import SettingsError
from bridge.guard.address import FORWARDED_FOR, Proxies, network
from bridge.guard.origins import Origins
from bridge.notifications import ANY, Rules
from bridge.projection import DOCUMENTED, Projection
from bridge.watches import COLUMNS

ADMIN_SECRET_CHARACTERS = 16
"""Fewer can be guessed."""

Names = Annotated[tuple[str, ...], NoDecode]
"""A comma-separated list."""


class Settings(AuthSettings):
    """Settings of one bridge. Each is read from the environment as `BRIDGE_<NAME>`, the Supabase
    ones under Supabase's own names. Times are seconds.
    """

    model_config = SettingsConfigDict(
        env_prefix="BRIDGE_", frozen=True, extra="forbid", populate_by_name=True
    )

    supabase_url: str = Field(
        validation_alias=AliasChoices("SUPABASE_URL", "supabase_url"),
        description="The project's URL, such as https://<ref>.supabase.co",
    )
    supabase_secret_key: SecretStr = Field(
        validation_alias=AliasChoices(
            "SUPABASE_SECRET_KEY", "SUPABASE_SERVICE_ROLE_KEY", "supabase_secret_key"
        ),
        description="The project's secret key (sb_secret_...) or its legacy service_role key",
    )

    table: str = Field("public.properties", description="The table, with its schema")
    key: str = Field("id", description="The table's key column")
    region: Names = Field(
        ("state",), description="Columns that say where a row belongs, widest first"
    )
    columns: Names = Field(
        (*DOCUMENTED, "address", "status"),
        description="The columns that may leave the bridge; no other ever does",
    )
    updated_at: str = Field(
        "updated_at",
        description="The column that moves with every write; empty if the table has none "
        "(then only full passes over the table find what the stream lost)",
    )

    member_columns: Names = Field(
        (),
        description="Further columns that only members see; without any, all clients see the same",
    )

    watchers: str = Field(
        "",
        description="The table that says who is notified of what, with its schema, such as "
        "public.property_watchers; empty: nobody is notified",
    )
    notify_status: Names = Field(
        ("on",),
        description="Changes of status that are notified: on (all), off, or transitions such as "
        "available>pending,*>sold",
    )
    notify_price_percent: float = Field(
        5, ge=0, description="Price moves that are notified, in percent of the old price; 0: none"
    )
    notify_new: bool = Field(True, description="Whether new listings in a region are notified")
    notify_users: int = Field(
        10_000,
        ge=1,
        description="Users who are notified of one change, at the most, of those who have a client "
        "connected or one that may come back",
    )

    host: str = Field("127.0.0.1", description="Address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one")
    path: str = Field("/socket.io", description="Path of the Socket.IO endpoint")
    cors_origins: Names = Field(
        ("http://localhost:3000",),
        description="Origins whose pages may connect; in a host's label * stands for letters, "
        "digits and hyphens (https://my-app-*-team.vercel.app), * alone for any origin",
    )
    trusted_proxies: Names = Field(
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
    max_rooms: int = Field(
        200, ge=1, description="Regions and properties that one client may name at a time"
    )

    requests_per_second: float = Field(
        20, gt=0, description="Requests (subscribe and so on) that one client may make, lasting"
    )
    requests_burst: int = Field(
        60, ge=1, description="Requests that one client may make at once, after a rest"
    )
    connections: int = Field(
        10_000,
        ge=1,
        description="Connections in all, some 30 KB each; fewer where the machine is small",
    )
    connections_per_address: int = Field(
        200,
        ge=1,
        description="Connections of one address (of IPv6: one /64): an office of 50 people with "
        "two pages each, twice, since connections that broke are noticed within 45 s only",
    )
    handshakes_per_second: float = Field(
        1000, gt=0, description="Connections that may be begun in all, lasting: a core's worth"
    )
    handshakes_burst: int = Field(
        10_000,
        ge=1,
        description="The same at once, after a rest: all that are there may come back together",
    )
    handshakes_per_second_per_address: float = Field(
        20, gt=0, description="Connections that one address may begin, lasting"
    )
    handshakes_burst_per_address: int = Field(
        400,
        ge=1,
        description="The same at once, after a rest: all of its connections, and each once more",
    )
    snapshot_pages_per_second_per_address: float = Field(
        20,
        gt=0,
        description="Full pages of snapshots that the clients of one address may ask for, lasting, "
        "some 10 ms of a core each; a smaller page counts as the part it is, GET /properties as a "
        "page for each thousand rows",
    )
    snapshot_pages_burst_per_address: int = Field(
        200,
        ge=1,
        description="The same at once, after a rest: four full pages for each of 50 people",
    )
    client_bytes: int = Field(
        1_048_576,
        ge=65_536,
        description="What may wait for one client; past it for a second, its connection is cut",
    )
    message_bytes: int = Field(
        65_536, ge=1024, description="The longest message that a client may send"
    )
    recovery_seconds: float = Field(
        120, ge=0, description="How long a client that lost its connection may come back; 0: never"
    )
    recovery_clients: int = Field(
        10_000, ge=0, description="Clients without a connection that may come back, the newest"
    )
    recovery_events: int = Field(
        20_000, ge=0, description="Missed events that one client may be told when it comes back"
    )
    recovery_bytes: int = Field(4_194_304, ge=0, description="The same, in bytes of JSON")
    batch_seconds: float = Field(
        0.05, gt=0, description="How long events gather for clients that asked for batches"
    )
    snapshot_bytes: int = Field(
        262_144, ge=1024, description="About the size of one page of a snapshot, in bytes of JSON"
    )

    log: str = Field(
        "sqlite:///bridge.sqlite3",
        description="Where events and the rows they left behind are kept: sqlite:///file, "
        "sqlite:////path/file, or memory: (a restart then begins a new history)",
    )
    log_events: int = Field(100_000, ge=1, description="Events that the log keeps at the most")
    log_seconds: float = Field(900, gt=0, description="How long the log keeps an event")

    join_timeout: float = Field(
        30, gt=0, description="From connecting to `system` ok; past it the client is built anew"
    )
    watch_interval: float = Field(
        5, gt=0, description="Between two looks at the table's newest rows"
    )
    watch_grace: float = Field(
        3, gt=0, description="How long the stream may lag behind the table before it counts as mute"
    )
    sweep_interval: float = Field(
        10,
        gt=0,
        description="Between two passes over all keys (finds deletes and TRUNCATE); longer where "
        "the table is so large that a pass takes more than a fifth of it",
    )
    pass_rows: int = Field(
        10_000,
        ge=0,
        description="Rows up to which the whole table is read after every gap, which takes under a "
        "second; of a larger one what changed since is read, then its keys, then at leisure all",
    )
    settle: float = Field(
        5, gt=0, description="After `system` ok, when the table is read once more"
    )
    stale_after: float = Field(
        30, gt=0, description="How long the source may be down before /readyz says 503"
    )
    page_rows: int = Field(1000, ge=1, le=1000, description="Rows per read of the table")
    queue_changes: int = Field(
        20_000,
        ge=1,
        description="Changes that may wait for the pipeline before they are dropped "
        "and the table is read instead",
    )
    log_level: str = Field("info", description="debug, info, warning or error")

    @field_validator(
        "region",
        "columns",
        "member_columns",
        "cors_origins",
        "trusted_proxies",
        "notify_status",
        mode="before",
    )
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("region", "columns")
    @classmethod
    def _some(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("expected at least one column name")
        return value

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
        Proxies(header=value)
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

    @field_validator("member_columns")
    @classmethod
    def _hidden(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        # What was wrong by itself is not there, and is complained of anyway.
        everybodys = {
            "BRIDGE_COLUMNS": info.data.get("columns", ()),
            "BRIDGE_KEY": (info.data.get("key"),),
            "BRIDGE_REGION": info.data.get("region", ()),
            "BRIDGE_UPDATED_AT": (info.data.get("updated_at"),),
        }
        for name, columns in everybodys.items():
            for column in value:
                if column in columns:
                    raise ValueError(
                        f"expected columns that only members see, but everybody is told {column}: "
                        f"it is in {name}"
                    )
        return value

    @field_validator("supabase_url")
    @classmethod
    def _url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ValueError("expected http(s)://host, such as https://<ref>.supabase.co")
        return value.rstrip("/")

    @field_validator("supabase_secret_key")
    @classmethod
    def _secret(cls, value: SecretStr) -> SecretStr:
        secret = value.get_secret_value()
        if not secret.strip():
            raise ValueError("expected the project's secret key, came an empty value")
        if secret.startswith("sb_publishable_"):
            raise ValueError(
                "expected a secret key (sb_secret_... or service_role), came a publishable one, "
                "which row level security binds"
            )
        return value

    @field_validator("table")
    @classmethod
    def _table(cls, value: str) -> str:
        schema, dot, table = value.partition(".")
        if not dot:
            return f"public.{value}"
        if not (schema and table) or "." in table:
            raise ValueError("expected schema.table, such as public.properties")
        return value

    @field_validator("watchers")
    @classmethod
    def _watchers(cls, value: str) -> str:
        return cls._table(value) if value else ""

    @field_validator("notify_status")
    @classmethod
    def _transitions(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if value in (("on",), ("off",)):
            return value
        for transition in value:
            old, arrow, new = transition.partition(">")
            if not (arrow and old.strip() and new.strip()) or ">" in new:
                raise ValueError(
                    "expected on, off, or transitions such as available>pending,*>sold"
                )
        if not value:
            raise ValueError("expected on, off, or transitions such as available>pending,*>sold")
        return value

    @field_validator("path")
    @classmethod
    def _path(cls, value: str) -> str:
        if not value.strip("/"):
            raise ValueError("expected a path such as /socket.io")
        return "/" + value.strip("/")

    @field_validator("log")
    @classmethod
    def _log(cls, value: str) -> str:
        file = value.removeprefix("sqlite:///")
        if value != "memory:" and (file == value or not file.strip("/")):
            raise ValueError("expected sqlite:///file, sqlite:////path/file or memory:")
        return value

    @field_validator("log_level")
    @classmethod
    def _level(cls, value: str) -> str:
        level = value.lower()
        if level not in ("debug", "info", "warning", "error"):
            raise ValueError("expected debug, info, warning or error")
        return level

    @property
    def secrets(self) -> tuple[str, ...]:
        """The values of all secrets, for those who keep them out of logs and answers."""
        values = (getattr(self, name) for name in type(self).model_fields)
        return tuple(v.get_secret_value() for v in values if isinstance(v, SecretStr))

    @property
    def projection(self) -> Projection:
        schema, _, table = self.table.partition(".")
        return Projection(
            key=self.key,
            published=self.columns,
            region=self.region,
            updated_at=self.updated_at or None,
            schema=schema,
            table=table,
            member=self.member_columns,
        )

    @property
    def notify_rules(self) -> Rules:
        """Which changes are notified."""
        statuses: tuple[tuple[str, str], ...] = ()
        if self.notify_status == ("on",):
            statuses = ((ANY, ANY),)
        elif self.notify_status != ("off",):
            pairs = (transition.split(">") for transition in self.notify_status)
            statuses = tuple((old.strip(), new.strip()) for old, new in pairs)
        return Rules(statuses, self.notify_price_percent, self.notify_new)

    @property
    def watching(self) -> Settings | None:
        """Settings of the line that follows the table of watches, as this one follows the listings:
        the same project, that table, a log beside this one. None: nobody is notified.
        """
        if not self.watchers:
            return None
        return self.model_copy(
            update={
                "table": self.watchers,
                "key": "id",
                # Nothing of it is published; whom and what it is about is where a row belongs.
                "columns": (),
                "member_columns": (),
                "region": COLUMNS,
                "updated_at": "updated_at",
                "log": _beside(self.log),
                "log_events": 1,  # nobody comes back to it; the rows are what it is kept for
            }
        )


def _beside(log: str) -> str:
    """The log of the watches: `bridge-watchers.sqlite3` beside `bridge.sqlite3`."""
    if log == "memory:":
        return log
    path = PurePosixPath(log.removeprefix("sqlite:///"))
    return f"sqlite:///{path.with_name(f'{path.stem}-watchers{path.suffix}')}"


def load(**overrides: Any) -> Settings:
    """Settings from the environment and `overrides`.

    Raises `SettingsError`, a line per setting: its name, the value that came (never a secret's) and
    what was expected.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise SettingsError(explain(error)) from None


def explain(error: ValidationError) -> str:
    """A line per wrong setting. Secrets' values are left out."""
    lines = []
    for fault in error.errors(include_url=False):
        name = _environment_name(fault["loc"])
        field = Settings.model_fields.get(name.removeprefix("BRIDGE_").lower())
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "missing":
            wanted = field.description if field else "a value"
            lines.append(f"{name} is not set. Expected: {wanted}.")
        elif "SECRET" in name or "SERVICE_ROLE" in name:
            lines.append(f"{name} is wrong: {message}.")
        else:
            lines.append(f"{name}={fault['input']!r} is wrong: {message}.")
    return "\n".join(lines)


def _environment_name(loc: tuple[int | str, ...]) -> str:
    name = str(loc[0]) if loc else "settings"
    if name.upper().startswith("SUPABASE_"):
        return name.upper()
    return f"BRIDGE_{name.upper()}"
