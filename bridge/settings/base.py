"""Base of all groups of settings: prefix of the variables and syntax of lists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from bridge.settings.env_file import EnvFile

if TYPE_CHECKING:
    from pydantic_settings import PydanticBaseSettingsSource


def _split(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


Listed = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
"""A comma-separated list."""


class SettingsGroup(BaseSettings):
    """A group of settings. Each is read from the variable `BRIDGE_<NAME>`, those of Supabase from
    Supabase's own names. Times are seconds.

    Arguments take precedence over the environment, and it over `.env` in the working folder.
    """

    model_config = SettingsConfigDict(
        env_prefix="BRIDGE_", frozen=True, extra="forbid", populate_by_name=True
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, EnvFile(settings_cls)
