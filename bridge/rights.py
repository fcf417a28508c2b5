"""What one client may hear. Pure: made of claims by `auth.rules`, obeyed by the hub."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from bridge.errors import Code, RequestRejected

if TYPE_CHECKING:
    from collections.abc import Iterable

View: TypeAlias = Literal["public", "member"]
"""Which columns: those of everybody, or also those that only members may see."""


@dataclass(frozen=True, slots=True)
class Rights:
    """What one client may hear.

    `regions`: None for all; a region includes those inside it (`TX` also `TX/Austin`). `user` is
    the `sub` of the client's token, None for who came without one.
    """

    regions: tuple[str, ...] | None = None
    view: View = "public"
    user: str | None = None

    def can_read_region(self, region: str) -> bool:
        """Whether all that happens in `region` may be heard."""
        return self.regions is None or any(
            region == mine or region.startswith(mine + "/") for mine in self.regions
        )

    def check(self, region: str) -> None:
        """Raises `RequestRejected` if that region may not be heard."""
        if not self.can_read_region(region):
            raise RequestRejected(Code.REGION_FORBIDDEN, f"region {region} is not yours to hear")

    def can_read_row(self, regions: Iterable[str]) -> bool:
        """Whether a row that is in these regions may be known. One that is in none may be known
        only to those who may hear all.
        """
        return self.regions is None or any(map(self.can_read_region, regions))

    def in_one_view(self) -> Rights:
        """The same where all columns are public: everybody has the public view."""
        return self if self.view == "public" else replace(self, view="public")


UNRESTRICTED = Rights()
"""Of a bridge that checks no tokens: all regions, public columns."""
