"""Settings of notifications."""

from __future__ import annotations

from pydantic import Field, field_validator

from bridge.settings.base import Listed, SettingsGroup
from bridge.settings.project import qualified


class NotificationSettings(SettingsGroup):
    """Which changes are notified, and to which users."""

    watchers: str = Field(
        "",
        description="Table of watches: which user is notified of what, with its schema, such as "
        "public.property_watchers; empty: no notifications",
    )
    notify_status: Listed = Field(
        ("on",),
        description="Notified changes of status: on (all), off, or transitions such as "
        "available>pending,*>sold",
    )
    notify_price_percent: float = Field(
        5,
        ge=0,
        description="Notified changes of price, at least so many percent of the old price; 0: none",
    )
    notify_new: bool = Field(
        True, description="Whether new listings in a watched region are notified"
    )
    notify_users: int = Field(
        10_000,
        ge=1,
        description="Maximum number of users notified of one change, among those with a client "
        "that "
        "is connected or can be recovered",
    )

    @field_validator("watchers")
    @classmethod
    def _watchers(cls, value: str) -> str:
        return qualified(value) if value else ""

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
