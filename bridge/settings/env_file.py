"""The file `.env` in the working folder, as a source of settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource

from bridge.errors import SettingsError

if TYPE_CHECKING:
    from pydantic_settings import BaseSettings

ENV_FILE: Final = ".env"


class EnvFile(DotEnvSettingsSource):
    """The variables of the file that are settings; others may be there for other programs.

    Raises `SettingsError` if the file can't be read.
    """

    def __init__(self, settings: type[BaseSettings]) -> None:
        try:
            super().__init__(settings, env_file=ENV_FILE, env_file_encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(
                f"{ENV_FILE} in the working folder can't be read: {error}. Expected: text in "
                "UTF-8, with lines such as BRIDGE_TABLE=public.properties"
            ) from None

    def __call__(self) -> dict[str, Any]:
        # The base class adds the file's other variables, which the settings would forbid.
        return EnvSettingsSource.__call__(self)
