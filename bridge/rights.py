"""Rights of one client: regions and columns. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from bridge.errors import Code, RequestRejected

if TYPE_CHECKING:
    from collections.abc import Iterable

View: TypeAlias = Literal["public", "member"]
"""Published columns: public ones only, or also those for members."""


@dataclass(frozen=True, slots=True)
class Rights:
    """Regions and columns that one client may receive.

    `regions`: None for all; a region includes the regions inside it (`TX` also `TX/Austin`). `user`
    is the `sub` of the client's token; None without a token.
    """

    regions: tuple[str, ...] | None = None
    view: View = "public"
    user: str | None = None

    def can_read_region(self, region: str) -> bool:
        """Whether all events in `region` may be received."""
        return self.regions is None or any(
            region == granted or region.startswith(granted + "/") for granted in self.regions
        )

    def check(self, region: str) -> None:
        """Raises `RequestRejected` if `region` may not be received."""
        if not self.can_read_region(region):
            raise RequestRejected(
                Code.REGION_FORBIDDEN, f"your token does not grant region {region}"
            )

    def can_read_row(self, regions: Iterable[str]) -> bool:
        """Whether a row in these regions may be received. A row without a region needs rights to
        all regions.
        """
        return self.regions is None or any(map(self.can_read_region, regions))

    def in_one_view(self) -> Rights:
        """Return these rights with the public view, for a bridge without member columns."""
        return self if self.view == "public" else replace(self, view="public")


UNRESTRICTED = Rights()
"""Rights without authentication: all regions, public columns."""
