"""The columns of the table that are read, and those that are published."""

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
"""Columns that come first in `property-created`, as far as they are published, in the order of the
documented example."""


@dataclass(frozen=True)
class Projection:
    """The columns of one table.

    `published` columns are sent to clients; the key always is, as `property_id`. `member` are
    further columns, which are sent in the member view only; without any there is one view.
    `region`: the columns that make the region of a row, widest first. `updated_at`: the column that
    moves with every write, or None.
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
        """All columns that are read and stored, without the key, each once."""
        extra = (*self.region, *((self.updated_at,) if self.updated_at else ()))
        columns = dict.fromkeys((*self.published, *self.member, *extra))
        return tuple(c for c in columns if c != self.key)

    @cached_property
    def diffed(self) -> tuple[str, ...]:
        """Published columns that are compared: neither the key nor `updated_at`."""
        return tuple(c for c in self.published if c not in (self.key, self.updated_at))

    @cached_property
    def extra(self) -> tuple[str, ...]:
        """Published columns other than the documented ones, each once."""
        documented = (self.key, *DOCUMENTED)
        return tuple(c for c in dict.fromkeys(self.published) if c not in documented)

    @cached_property
    def diffed_for_members(self) -> tuple[str, ...]:
        """Further columns that are compared for the member view."""
        others = (*self.published, self.key, self.updated_at)
        return tuple(c for c in self.member if c not in others)

    @cached_property
    def views(self) -> tuple[View, ...]:
        """The views that clients may have."""
        return ("public", "member") if self.member else ("public",)

    def shown(self, view: View) -> tuple[str, ...]:
        """Return the columns of that view."""
        if view == "public":
            return self.published
        return tuple(dict.fromkeys((*self.published, *self.member)))

    def row_columns(self, view: View) -> tuple[str, ...]:
        """Return the columns of a row in that view, in the order in which they are sent."""
        shown = self.shown(view)
        return tuple(dict.fromkeys((*(c for c in DOCUMENTED if c in shown), *shown)))

    @cached_property
    def selected(self) -> tuple[str, ...]:
        """The columns of a read: the key and all known ones."""
        return (self.key, *self.known)
