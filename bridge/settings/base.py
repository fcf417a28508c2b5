"""Base of all groups of settings: prefix of the variables and syntax of lists."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


def _split(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


Listed = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
"""A comma-separated list."""


class SettingsGroup(BaseSettings):
    """A group of settings. Each is read from the variable `BRIDGE_<NAME>`, those of Supabase from
    Supabase's own names. Times are seconds.
    """

    model_config = SettingsConfigDict(
        env_prefix="BRIDGE_", frozen=True, extra="forbid", populate_by_name=True
    )
