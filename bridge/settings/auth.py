"""Settings of users' tokens and of the rights that tokens grant."""

from __future__ import annotations

from pydantic import AliasChoices, Field, SecretStr, field_validator

from bridge.auth.policy import AuthMode, path, regions_in
from bridge.settings.base import Listed, SettingsGroup

SECRET_BYTES = 32
"""Shortest accepted HS256 secret: the length of its digest."""


class AuthSettings(SettingsGroup):
    """Tokens and rights."""

    supabase_jwt_secret: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("SUPABASE_JWT_SECRET", "supabase_jwt_secret"),
        description="The project's legacy JWT secret, if users' tokens are still signed with it "
        "(HS256); public keys are fetched from the project",
    )
    auth: AuthMode = Field(
        "optional",
        description="Whether clients need the token of a signed-in user: optional (clients without "
        "a token receive public data; a token that is sent has to be valid), required, or off "
        "(tokens are ignored)",
    )
    token_issuer: str = Field(
        "", description="Expected iss of users' tokens; empty: <SUPABASE_URL>/auth/v1"
    )
    token_audience: str = Field(
        "authenticated",
        min_length=1,
        description="Expected aud of users' tokens; a token may have further ones",
    )
    token_leeway: float = Field(
        10, ge=0, le=300, description="Accepted clock difference to the token's issuer"
    )
    token_seconds: float = Field(
        604_800,
        gt=0,
        description="Longest accepted lifetime of a token (default: Supabase's maximum); also how "
        "long a sign-out is stored",
    )
    token_warning_seconds: float = Field(
        60,
        ge=0,
        description="How long before the expiry of its token a client receives auth-status "
        "expiring",
    )
    anonymous_regions: Listed = Field(
        ("*",), description="Regions that clients without a token may receive; *: all, empty: none"
    )
    regions_claim: str = Field(
        "",
        description="Claim that lists the regions that a token grants, with dots, such as "
        "app_metadata.regions; empty: a token grants all",
    )
    role_claims: Listed = Field(
        ("role", "app_metadata.role", "app_metadata.roles"),
        description="Claims that name a user's roles",
    )
    all_regions_roles: Listed = Field(
        (), description="Roles that receive all regions, whatever BRIDGE_REGIONS_CLAIM grants"
    )
    member_roles: Listed = Field((), description="Roles that also receive BRIDGE_MEMBER_COLUMNS")

    @field_validator("supabase_jwt_secret")
    @classmethod
    def _jwt_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value().encode()) < SECRET_BYTES:
            raise ValueError(
                f"expected the project's JWT secret, of at least {SECRET_BYTES} bytes, got a "
                "shorter one"
            )
        return value

    @field_validator("anonymous_regions")
    @classmethod
    def _anonymous(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        regions_in(value)
        return value

    @field_validator("regions_claim")
    @classmethod
    def _regions_claim(cls, value: str) -> str:
        if value:
            path(value)
        return value

    @field_validator("role_claims")
    @classmethod
    def _role_claims(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            path(each)
        return value
