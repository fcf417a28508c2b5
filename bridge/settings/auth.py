"""The settings that say who may come in and what they may hear."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import AliasChoices, Field, SecretStr, field_validator

from bridge.auth.policy import AccessPolicy, path, regions_in
from bridge.settings.base import Listed, SettingsGroup

AuthMode: TypeAlias = Literal["optional", "required", "off"]

SECRET_BYTES = 32
"""Of the shortest secret of HS256: as long as what it computes."""


class AuthSettings(SettingsGroup):
    """Who may come in, and what they may hear."""

    supabase_jwt_secret: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("SUPABASE_JWT_SECRET", "supabase_jwt_secret"),
        description="The project's legacy JWT secret, if users' tokens are still signed with it "
        "(HS256); other keys are fetched from the project",
    )
    auth: AuthMode = Field(
        "optional",
        description="Whether clients need the token of a signed-in user: optional (who has none "
        "hears what is public, a token that is shown has to be valid), required, or off (tokens "
        "are not looked at)",
    )
    token_issuer: str = Field(
        "", description="iss of users' tokens; empty for <SUPABASE_URL>/auth/v1"
    )
    token_audience: str = Field(
        "authenticated", min_length=1, description="aud of users' tokens, or one of several"
    )
    token_leeway: float = Field(
        10, ge=0, le=300, description="By how much the clock of who signs tokens may be off"
    )
    token_seconds: float = Field(
        604_800,
        gt=0,
        description="The longest life of a token, as long as Supabase allows; those that live "
        "longer are refused, and a sign-out is remembered for that long",
    )
    token_warning_seconds: float = Field(
        60, ge=0, description="How long before its token ends a client is told so"
    )
    anonymous_regions: Listed = Field(
        ("*",), description="What is heard without a token; * is all, empty is none"
    )
    regions_claim: str = Field(
        "",
        description="The claim that lists the regions which a token opens, with dots, such as "
        "app_metadata.regions; empty: a token opens all",
    )
    role_claims: Listed = Field(
        ("role", "app_metadata.role", "app_metadata.roles"),
        description="The claims that name a user's roles",
    )
    all_regions_roles: Listed = Field(
        (), description="Roles that hear all regions, whatever the claim says"
    )
    member_roles: Listed = Field((), description="Roles that also see the columns of members")

    @field_validator("supabase_jwt_secret")
    @classmethod
    def _jwt_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value().encode()) < SECRET_BYTES:
            raise ValueError(
                f"expected the project's JWT secret, of at least {SECRET_BYTES} bytes, came a "
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

    @property
    def rules(self) -> AccessPolicy:
        return AccessPolicy(
            anonymous=regions_in(self.anonymous_regions),
            required=self.auth == "required",
            regions_claim=path(self.regions_claim) if self.regions_claim else (),
            role_claims=tuple(map(path, self.role_claims)),
            all_regions_roles=frozenset(self.all_regions_roles),
            member_roles=frozenset(self.member_roles),
        )
