"""Which columns of the table the bridge knows, and which of them may leave it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.rights import View

DOCUMENTED = (
    "name",
    "city",
    "state",
    "price",
    "units",
    "latitude",
    "longitude",
    "created_at",
)
"""Columns that `property-created` always carries, in the order of the documented example."""


@dataclass(frozen=True)
class Projection:
    """The columns of one table.

    `published` may leave the bridge; the key always does, as `property_id`. `member` are further
    columns, which leave it for the member view only; without any there is one view. `region` says
    where a row belongs. `updated_at` names the column that moves with every write, or is None.
    """

    key: str = "id"
    published: tuple[str, ...] = (*DOCUMENTED, "address", "status")
    region: tuple[str, ...] = ("state",)
    updated_at: str | None = "updated_at"
    schema: str = "public"
    table: str = "properties"
    member: tuple[str, ...] = ()

    @cached_property
    def known(self) -> tuple[str, ...]:
        """Every column that is read and remembered, without the key, each once."""
        extra = (*self.region, *((self.updated_at,) if self.updated_at else ()))
        told = dict.fromkeys((*self.published, *self.member, *extra))
        return tuple(c for c in told if c != self.key)

    @cached_property
    def diffed(self) -> tuple[str, ...]:
        """Published columns whose changes are told: never the key, never `updated_at`."""
        return tuple(c for c in self.published if c not in (self.key, self.updated_at))

    @cached_property
    def extra(self) -> tuple[str, ...]:
        """Published columns beside the documented ones, each once."""
        documented = (self.key, *DOCUMENTED)
        return tuple(c for c in dict.fromkeys(self.published) if c not in documented)

    @cached_property
    def diffed_for_members(self) -> tuple[str, ...]:
        """Further columns whose changes are told to members."""
        others = (*self.published, self.key, self.updated_at)
        return tuple(c for c in self.member if c not in others)

    @cached_property
    def views(self) -> tuple[View, ...]:
        """The views that differ."""
        return ("public", "member") if self.member else ("public",)

    def shown(self, view: View) -> tuple[str, ...]:
        """The columns of that view."""
        if view == "public":
            return self.published
        return tuple(dict.fromkeys((*self.published, *self.member)))

    @cached_property
    def selected(self) -> tuple[str, ...]:
        """What a read of the table asks for."""
        return (self.key, *self.known)
