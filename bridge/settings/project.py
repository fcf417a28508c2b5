"""The settings of what is followed: the project, its table, and what of it may be told."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, ValidationInfo, field_validator

from bridge.projection import DOCUMENTED, Projection
from bridge.settings.base import Listed, SettingsGroup


class ProjectSettings(SettingsGroup):
    """The project, its table, and what of it may be told."""

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
    region: Listed = Field(
        ("state",), description="Columns that say where a row belongs, widest first"
    )
    columns: Listed = Field(
        (*DOCUMENTED, "address", "status"),
        description="The columns that may leave the bridge; no other ever does",
    )
    updated_at: str = Field(
        "updated_at",
        description="The column that moves with every write; empty if the table has none "
        "(then only full passes over the table find what the stream lost)",
    )
    member_columns: Listed = Field(
        (),
        description="Further columns that only members see; without any, all clients see the same",
    )

    @field_validator("region", "columns")
    @classmethod
    def _some(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("expected at least one column name")
        return value

    @field_validator("columns", "member_columns")
    @classmethod
    def _no_envelope(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "property_id" in value:
            raise ValueError(
                "expected columns without property_id: the key is told under that name, whatever "
                "its own is"
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
        return qualified(value)

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


def qualified(table: str) -> str:
    """The table with its schema. Raises ValueError."""
    schema, dot, name = table.partition(".")
    if not dot:
        return f"public.{table}"
    if not (schema and name) or "." in name:
        raise ValueError("expected schema.table, such as public.properties")
    return table
