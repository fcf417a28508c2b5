"""The settings of notifications."""

from __future__ import annotations

from pydantic import Field, field_validator

from bridge.notifications.rules import ANY, NotificationRules
from bridge.settings.base import Listed, SettingsGroup
from bridge.settings.project import qualified


class NotificationSettings(SettingsGroup):
    """Who is notified of what."""

    watchers: str = Field(
        "",
        description="The table that says who is notified of what, with its schema, such as "
        "public.property_watchers; empty: nobody is notified",
    )
    notify_status: Listed = Field(
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

    @property
    def notify_rules(self) -> NotificationRules:
        """Which changes are notified."""
        statuses: tuple[tuple[str, str], ...] = ()
        if self.notify_status == ("on",):
            statuses = ((ANY, ANY),)
        elif self.notify_status != ("off",):
            pairs = (transition.split(">") for transition in self.notify_status)
            statuses = tuple((old.strip(), new.strip()) for old, new in pairs)
        return NotificationRules(statuses, self.notify_price_percent, self.notify_new)
