"""Maps the claims of a token to rights. No I/O.

- A client without a token receives the `anonymous` regions, in the public view.
- A token grants all regions, or those listed in the claim `regions_claim`, in which `*` means all.
  A token without that claim grants the anonymous regions, or none if tokens are required. A claim
  of another type, with names that are too long or with too many regions grants none.
- `all_regions_roles` grant all regions regardless of the claim; `member_roles` grant the member
  view.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from bridge.auth.claims import at_path
from bridge.rights import Rights

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.auth.claims import Claims

log = logging.getLogger(__name__)

ALL: Final = "*"

MAX_REGIONS: Final = 100
"""Maximum number of regions in one claim. Each is a room of every client of the user."""

REGION_CHARACTERS: Final = 200
"""Longest name of a region."""

AuthMode: TypeAlias = Literal["optional", "required", "off"]
"""Whether clients need a token; `off`: tokens are ignored."""

Path: TypeAlias = "tuple[str, ...]"
"""Path of a claim: names, each inside the one before."""

Regions: TypeAlias = "tuple[str, ...] | None"
"""Names of regions; None: all."""


@dataclass(slots=True)
class AccessPolicy:
    """Rules that map claims to rights."""

    anonymous: Regions = None
    required: bool = False
    """Whether clients need a token."""
    regions_claim: Path = ()
    """Path of the claim that lists regions; empty: a token grants all."""
    role_claims: tuple[Path, ...] = ()
    all_regions_roles: frozenset[str] = frozenset()
    member_roles: frozenset[str] = frozenset()
    _warned: bool = False

    def rights_for(self, claims: Claims | None) -> Rights:
        """Return the rights that claims grant; None: those of a client without a token."""
        if claims is None:
            return Rights(self.anonymous)
        roles = self._roles(claims)
        return Rights(
            regions=None if roles & self.all_regions_roles else self._regions(claims),
            view="member" if roles & self.member_roles else "public",
            user=claims.user,
        )

    def _roles(self, claims: Claims) -> set[str]:
        roles: set[str] = set()
        for path in self.role_claims:
            _, value = at_path(claims.values, path)
            each = value if isinstance(value, list) else [value]
            roles.update(role for role in each if isinstance(role, str))
        return roles

    def _regions(self, claims: Claims) -> Regions:
        if not self.regions_claim:
            return None
        exists, value = at_path(claims.values, self.regions_claim)
        if not exists:
            return () if self.required else self.anonymous
        try:
            return regions_in([value] if isinstance(value, str) else value)
        except ValueError as error:
            if not self._warned:
                self._warned = True
                log.warning(
                    "the claim %s of a token grants no region: %s. Logged once",
                    ".".join(self.regions_claim),
                    error,
                )
            return ()


def regions_in(value: Any) -> Regions:
    """Return the regions of a list, without those inside others. Raises ValueError with the
    expected shape, but without the value.
    """
    if not isinstance(value, list | tuple):
        raise ValueError("expected a list of regions")  # noqa: TRY004 - one error type for all reasons
    if len(value) > MAX_REGIONS:
        raise ValueError(f"expected at most {MAX_REGIONS} regions, got {len(value)}")
    if not all(isinstance(name, str) and 0 < len(name) <= REGION_CHARACTERS for name in value):
        raise ValueError(f"expected regions as strings of 1 to {REGION_CHARACTERS} characters")
    if ALL in value:
        return None
    names = dict.fromkeys(value)
    return tuple(name for name in names if names.keys().isdisjoint(_containing(name)))


def _containing(region: str) -> Iterator[str]:
    """Yield the regions that contain `region`, widest first."""
    end = region.find("/")
    while end != -1:
        yield region[:end]
        end = region.find("/", end + 1)


def path(text: str) -> Path:
    """Parse the path of a claim, names with dots between them. Raises ValueError."""
    names = tuple(text.split("."))
    if not all(names):
        raise ValueError(
            "expected names of claims with dots between them, such as app_metadata.regions"
        )
    if names[0] == "user_metadata":
        raise ValueError(
            "expected a claim that only the project can write, such as app_metadata.regions; "
            "users can write their user_metadata themselves"
        )
    return names
