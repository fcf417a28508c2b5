"""What one client may hear. Pure: made of claims by `auth.rules`, obeyed by the hub."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

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

    def may_hear(self, region: str) -> bool:
        """Whether all that happens in `region` may be heard."""
        return self.regions is None or any(
            region == mine or region.startswith(mine + "/") for mine in self.regions
        )


EVERYBODY = Rights()
"""Of a bridge that checks no tokens: all regions, public columns."""
