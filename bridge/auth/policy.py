"""From claims to rights, as the settings say.

- Who comes without a token hears `anonymous` regions, in the public view.
- A token opens all regions, or those in the claim that the settings name; in that claim, `*` is all
  of them. A token without that claim opens the anonymous regions, and none where nobody may come
  without a token. A claim of another type, too long, or with too many regions opens none.
- Some roles hear all regions whatever the claim says; some see the columns of members.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from bridge.auth.claims import at_path
from bridge.rights import Rights

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.auth.claims import Claims

log = logging.getLogger(__name__)

ALL: Final = "*"

MAX_REGIONS: Final = 100
"""In one claim. Each is a room of every client of the user."""

REGION_CHARACTERS: Final = 200

Path: TypeAlias = "tuple[str, ...]"
"""Names of claims, each inside the one before."""

Regions: TypeAlias = "tuple[str, ...] | None"
"""None for all."""


@dataclass(slots=True)
class AccessPolicy:
    anonymous: Regions = None
    required: bool = False
    """Whether nobody gets in without a token."""
    regions_claim: Path = ()
    """Where a token says what its bearer may hear; empty: it opens all."""
    role_claims: tuple[Path, ...] = ()
    all_regions_roles: frozenset[str] = frozenset()
    member_roles: frozenset[str] = frozenset()
    _warned: bool = False

    def rights_for(self, claims: Claims | None) -> Rights:
        """Of the bearer of a token, or of who came without one."""
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
        there, value = at_path(claims.values, self.regions_claim)
        if not there:
            return () if self.required else self.anonymous
        try:
            return regions_in([value] if isinstance(value, str) else value)
        except ValueError as error:
            if not self._warned:
                self._warned = True
                log.warning(
                    "the claim %s of a token opens no region: %s. This is said once",
                    ".".join(self.regions_claim),
                    error,
                )
            return ()


def regions_in(value: Any) -> Regions:
    """The regions that a list names, without those inside others. Raises ValueError, which says
    what was expected and not what came.
    """
    if not isinstance(value, list | tuple):
        raise ValueError("expected a list of regions")  # noqa: TRY004 - like its other faults
    if len(value) > MAX_REGIONS:
        raise ValueError(f"expected at most {MAX_REGIONS} regions, came {len(value)}")
    if not all(isinstance(name, str) and 0 < len(name) <= REGION_CHARACTERS for name in value):
        raise ValueError(f"expected regions as strings of 1 to {REGION_CHARACTERS} characters")
    if ALL in value:
        return None
    each = dict.fromkeys(value)
    return tuple(name for name in each if each.keys().isdisjoint(_around(name)))


def _around(region: str) -> Iterator[str]:
    """The regions that `region` lies in."""
    end = region.find("/")
    while end != -1:
        yield region[:end]
        end = region.find("/", end + 1)


def path(text: str) -> Path:
    """The path that a setting spells with dots. Raises ValueError."""
    names = tuple(text.split("."))
    if not all(names):
        raise ValueError(
            "expected names of claims with dots between them, such as app_metadata.regions"
        )
    if names[0] == "user_metadata":
        raise ValueError(
            "expected a claim that only the project can write, such as app_metadata.regions; "
            "users write their user_metadata themselves"
        )
    return names
