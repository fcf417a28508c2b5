"""Settings of the project, its table and the published columns."""

from __future__ import annotations

from typing import Any

from pydantic import AliasChoices, Field, SecretStr, ValidationInfo, field_validator

from bridge.projection import DOCUMENTED, Projection
from bridge.settings.base import Listed, SettingsGroup
from bridge.settings.project_url import project_url


class ProjectSettings(SettingsGroup):
    """Project and table."""

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
        ("state",), description="Columns that make the region of a row, widest first"
    )
    columns: Listed = Field(
        (*DOCUMENTED, "address", "status"),
        description="Published columns; no other column ever leaves the bridge",
    )
    updated_at: str = Field(
        "updated_at",
        description="Column that changes with every write; empty if the table has none (then only "
        "full scans find changes that the stream missed)",
    )
    member_columns: Listed = Field(
        (),
        description="Further columns, sent to members only; empty: all clients receive the same",
    )

    @field_validator("region", "columns")
    @classmethod
    def _some(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("expected at least one column name")
        return value

    @field_validator("region", "updated_at")
    @classmethod
    def _not_the_key(cls, value: tuple[str, ...] | str, info: ValidationInfo) -> Any:
        key = info.data.get("key")
        if key in ((value,) if isinstance(value, str) else value):
            raise ValueError(
                f"expected other columns than the key {key}, which is BRIDGE_KEY: each row would "
                "be a region of its own, and property:<id> is that already"
                if info.field_name == "region"
                else f"expected another column than the key {key}, which is BRIDGE_KEY"
            )
        return value

    @field_validator("columns", "member_columns")
    @classmethod
    def _no_envelope(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "property_id" in value:
            raise ValueError(
                "expected columns without property_id: the key is published under that name, "
                "whatever its own name is"
            )
        return value

    @field_validator("member_columns")
    @classmethod
    def _hidden(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        # Settings that failed their own validation are missing here, and reported anyway.
        public = {
            "BRIDGE_COLUMNS": info.data.get("columns", ()),
            "BRIDGE_KEY": (info.data.get("key"),),
            "BRIDGE_REGION": info.data.get("region", ()),
            "BRIDGE_UPDATED_AT": (info.data.get("updated_at"),),
        }
        for name, columns in public.items():
            for column in value:
                if column in columns:
                    raise ValueError(
                        f"expected columns for members only, but all clients receive {column}: "
                        f"it is in {name}"
                    )
        return value

    @field_validator("supabase_url")
    @classmethod
    def _url(cls, value: str) -> str:
        return project_url(value)

    @field_validator("supabase_secret_key")
    @classmethod
    def _secret(cls, value: SecretStr) -> SecretStr:
        secret = value.get_secret_value().strip()
        if not secret:
            raise ValueError("expected the project's secret key, got an empty value")
        if not secret.isascii() or any(character.isspace() for character in secret):
            raise ValueError(
                "expected a key without blanks, line breaks and non-ASCII characters: copy it again"
            )
        if secret.startswith("sb_publishable_"):
            raise ValueError(
                "expected a secret key (sb_secret_... or service_role), got a publishable one, "
                "which is subject to row level security"
            )
        return SecretStr(secret)

    @field_validator("table")
    @classmethod
    def _table(cls, value: str) -> str:
        return qualified(value)

    @property
    def projection(self) -> Projection:
        """The columns of the table of listings."""
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
    """Return the table with its schema, `public` by default. Raises ValueError."""
    schema, dot, name = table.partition(".")
    if not dot:
        return f"public.{table}"
    if not (schema and name) or "." in name:
        raise ValueError("expected schema.table, such as public.properties")
    return table
